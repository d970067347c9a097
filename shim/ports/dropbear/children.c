/* SPDX-License-Identifier: MIT */
/* The table of sessions that have not logged in yet: by it the master limits how many there may be at all, and from one address.
 *
 * A session tells its master nothing but the end of a pipe, when it has logged in or is over. So that this reaches the next
 * master, the master's ends of the pipes travel, each with a record that says whose it is. A parked master keeps its ends as well,
 * and sees what has ended meanwhile when it comes back. A session that was begun by a version that failed goes on, but the version
 * that comes back has never heard of it, and does not count it.
 */
#include <port.h>

#include <dbutil.h>

#if PORT_VERSION == 1
#include <dropbear_v1.pb-c.h>
#define SESSION_INIT DROPBEAR__V1__SESSION__INIT
#define SESSION_DESCRIPTOR dropbear__v1__session__descriptor
typedef Dropbear__V1__Session session_record;
#else
#include <dropbear_v2.upgrade.h>
#define SESSION_INIT DROPBEAR__V2__SESSION__INIT
#define SESSION_DESCRIPTOR dropbear__v2__session__descriptor
typedef Dropbear__V2__Session session_record;
static const struct upg_migration migrations[] = { DROPBEAR_V2_MIGRATIONS };
#endif

#define PIPE "preauth"

static struct upgrade_table table;
static uint64_t tags[MAX_UNAUTH_CLIENTS]; /* of the pipes */

void upgrade_children_open(const struct upgrade_table *lent)
{
	table = *lent;
}

/* ---- while it serves ---- */

void upgrade_remember(size_t place)
{
	tags[place] = 0;
	/* Out of memory: it is counted until the next roll, and not after it. */
	if (upg_fd_register_new(upgrade_handle, table.pipes[place], PIPE, &tags[place]) < 0)
		dropbear_log(LOG_WARNING, "A session will not be counted after a roll: no memory");
}

void upgrade_forget(int pipe)
{
	upg_close(upgrade_handle, pipe, -1);
}

void upgrade_children_drop(void)
{
	for (size_t i = 0; i < MAX_UNAUTH_CLIENTS; i++)
		m_close(table.pipes[i]);
}

#if PORT_VERSION >= 2
void upgrade_report(const char *address)
{
	unsigned int n = 0, undated = 0;
	time_t oldest = time(NULL), now = oldest;

	for (size_t i = 0; i < MAX_UNAUTH_CLIENTS; i++) {
		if (table.pipes[i] < 0 || strcmp(table.addresses[i], address) != 0)
			continue;
		n++;
		undated += table.since[i] == 0;
		if (table.since[i] != 0 && table.since[i] < oldest)
			oldest = table.since[i];
	}
	if (n >= MAX_UNAUTH_PER_IP)
		dropbear_log(LOG_WARNING, "%s has %u sessions that have not logged in, %u of them from before version 2, "
			     "the oldest of the others for %lld s", address, n, undated, (long long)(now - oldest));
}
#endif

/* ---- across a roll ---- */

static int save(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	(void)userdata;
	for (size_t i = 0; i < MAX_UNAUTH_CLIENTS && r == 0; i++) {
		session_record record = SESSION_INIT;

		if (table.pipes[i] < 0 || tags[i] == 0)
			continue;
		record.pipe = tags[i];
		record.address = table.addresses[i];
#if PORT_VERSION >= 2
		record.since_s = table.since[i];
#endif
		r = upg_save(saver, &record.base);
	}
	return r;
}

static int load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const session_record *record = (const session_record *)message;
	size_t place = 0;
	int pipe = upg_load_claim(loader, PIPE, record->pipe);

	(void)userdata;
	while (place < MAX_UNAUTH_CLIENTS && table.pipes[place] >= 0)
		place++;
	if (pipe < 0 || place == MAX_UNAUTH_CLIENTS)
		return upg_load_fail(loader, pipe < 0 ? "the pipe of a session from %s did not come" :
				     "there is no place for a session from %s", record->address);
	table.pipes[place] = pipe;
	table.addresses[place] = m_strdup(record->address);
	tags[place] = record->pipe;
#if PORT_VERSION >= 2
	table.since[place] = (time_t)record->since_s;
#endif
	return 0;
}

static uint64_t count(void *userdata)
{
	uint64_t n = 0;

	(void)userdata;
	for (size_t i = 0; i < MAX_UNAUTH_CLIENTS; i++)
		n += table.pipes[i] >= 0 && tags[i] != 0;
	return n;
}

/* A session is a process of this machine's present: it does not go into a file. */
static const struct upg_type types[] = {
	{ .name = "dropbear.Session", .version = PORT_VERSION, .descriptor = &SESSION_DESCRIPTOR, .save = save, .load = load,
	  .count = count, .process_only = 1 },
};

static void go_on(const struct upg_go_on *go_on, void *userdata)
{
	(void)userdata;
	if (go_on->reason == UPG_CAME_BACK)
		upgrade_write_pidfile(); /* the version that failed has put its own pid there */
}

const struct upg_config upgrade_config = {
	.service = "dropbear", .version = PORT_VERSION == 1 ? "v1" : "v2", .types = types, .n_types = 1, .on_go_on = go_on,
#if PORT_VERSION >= 2
	.migrations = migrations, .n_migrations = sizeof(migrations) / sizeof(*migrations),
#endif
};
