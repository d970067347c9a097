/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/custody.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SAMPLE_US (100 * USEC_PER_MSEC)
#define NOTE_MAX 64u
#define NOTE_US USEC_PER_MSEC
#define CLOSED_AT_ONCE 256u

/* ---- room ---- */

static int custody_reserve(struct custody *custody, size_t more)
{
	size_t cap = custody->cap ? custody->cap : 64;
	struct custody_entry *entries;

	while (cap < custody->n + more)
		cap *= 2;
	if (cap == custody->cap)
		return 0;
	entries = realloc(custody->entries, cap * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	custody->entries = entries;
	custody->cap = cap;
	return 0;
}

/* ---- how much may be taken ---- */

/* Of the limit on our descriptors. A small limit is not all reserve. */
static size_t reserve_of(size_t limit)
{
	return limit / 4 < CUSTODY_RESERVE ? limit / 4 : CUSTODY_RESERVE;
}

/* @more are open already, as they came with the message. */
static int check_room(const struct custody *custody, size_t more, struct why *why)
{
	size_t n = custody->n + more, limit = fd_limit(), used = fd_count() + reserve_of(limit);

	if (custody->most && n > custody->most)
		return why_set(why, -EMFILE, "it hands over more descriptors (%zu) than it may have open (%zu)", n, custody->most);
	if (used > limit || n / 2 > limit - used)
		return why_set(why, -EMFILE,
			       "it hands over %zu descriptors, and there is no room for that many beside what other services need "
			       "(raise LimitNOFILE= of upgraded, which is %zu)", n, limit);
	return 0;
}

static int check_message(const Upgraded__Wire__Fds *message, const struct wire_fds *fds, struct why *why)
{
	if (message->n_fds != fds->n)
		return why_set(why, -EPROTO, "%zu descriptors are named, %zu came", message->n_fds, fds->n);
	for (size_t i = 0; i < message->n_fds; i++)
		if (strlen(message->fds[i]->name) > WIRE_FD_NAME_MAX)
			return why_set(why, -EPROTO, "the name of a descriptor is longer than %u bytes", WIRE_FD_NAME_MAX);
	return 0;
}

/* ---- in ---- */

static void note_door(struct custody_entry *entry)
{
	struct door_place place;

	if (!door_note(entry->ref->fd, &place))
		return;
	entry->door = place.kind;
	entry->place = malloc(sizeof(place));
	if (entry->place)
		*entry->place = place;
}

struct custody_entry *custody_add(struct custody *custody, const char *name, uint64_t tag, int fd_consume)
{
	struct fd_ref *ref = fd_ref_new_foreign(fd_consume);
	char *copy = strdup(name);
	struct custody_entry *entry;

	if (!ref || !copy || custody_reserve(custody, 1) < 0) {
		free(copy);
		fd_ref_drop(ref);
		return NULL;
	}
	entry = &custody->entries[custody->n++];
	*entry = (struct custody_entry){ .name = copy, .tag = tag, .ref = ref };
	entry->is_tcp = conn_identify(ref->fd, &entry->id) == 0;
	note_door(entry);
	return entry;
}

int custody_take(struct custody *custody, const Upgraded__Wire__Fds *message, struct wire_fds *fds, struct why *why)
{
	int r = check_message(message, fds, why);

	if (r == 0)
		r = check_room(custody, fds->n, why);
	for (size_t i = 0; r == 0 && i < fds->n; i++)
		if (!custody_add(custody, message->fds[i]->name, message->fds[i]->tag, wire_fds_claim(fds, i)))
			r = why_errno(why, -ENOMEM, "descriptors");
	return r;
}

/* ---- out ---- */

/* The peer gets a RST now, whoever else may still hold the connection; closing it comes later. */
static void reset_now(int fd)
{
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)connect(fd, &nobody, sizeof(nobody));
}

void custody_drop_at(struct custody *custody, size_t i, bool reset)
{
	struct custody_entry *entry = &custody->entries[i];

	if (reset && entry->is_tcp)
		reset_now(entry->ref->fd);
	fd_ref_drop(entry->ref);
	free(entry->name);
	free(entry->place);
	*entry = custody->entries[--custody->n];
}

/* What the application closed, as it is looked for: in order, each name and tag once. */
struct closed {
	const char *name;
	uint64_t tag;
	unsigned left; /* so many are not found yet */
};

static int compare_closed(const void *a, const void *b)
{
	const struct closed *one = a, *two = b;

	return one->tag != two->tag ? (one->tag > two->tag ? 1 : -1) : strcmp(one->name, two->name);
}

/* Return: how many there are in @ret. */
static size_t closed_sort(Upgraded__Wire__FdInfo *const *fds, size_t n, struct closed ret[static CLOSED_AT_ONCE])
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct closed){ .name = fds[i]->name, .tag = fds[i]->tag, .left = 1 };
	qsort(ret, n, sizeof(*ret), compare_closed);
	for (size_t i = 0; i < n; i++) {
		if (kept && compare_closed(&ret[kept - 1], &ret[i]) == 0)
			ret[kept - 1].left++;
		else
			ret[kept++] = ret[i];
	}
	return kept;
}

/* Is @entry among them, and does it go? A door of old's stays: another one of the application's own may have taken its name
 * since. */
static bool closed_takes(struct closed *closed, size_t n, struct custody_entry *entry)
{
	const struct closed key = { .name = entry->name, .tag = entry->tag };
	struct closed *found = bsearch(&key, closed, n, sizeof(key), compare_closed);

	if (!found)
		return false;
	if (entry->door != DOOR_NONE && !entry->since_commit) {
		entry->closed = true;
		return false;
	}
	if (!found->left)
		return false;
	found->left--;
	return true;
}

void custody_closed(struct custody *custody, Upgraded__Wire__FdInfo *const *fds, size_t n)
{
	struct closed closed[CLOSED_AT_ONCE];

	/* One way along the entries for many names, as there may be many of both. */
	for (size_t now; n; fds += now, n -= now) {
		size_t n_closed;

		now = n < CLOSED_AT_ONCE ? n : CLOSED_AT_ONCE;
		n_closed = closed_sort(fds, now, closed);
		for (size_t i = custody->n; i > 0; i--) /* the last one, which was looked at, takes the place of one that goes */
			if (closed_takes(closed, n_closed, &custody->entries[i - 1]))
				custody_drop_at(custody, i - 1, false);
	}
}

#define LENT_MAX 64u /* they are handed on in one message */

static bool is_taken(const struct custody *custody, const struct custody_entry *entry)
{
	for (size_t i = 0; i < custody->n; i++)
		if (custody->entries[i].tag == entry->tag && strcmp(custody->entries[i].name, entry->name) == 0)
			return true;
	return false;
}

static bool lend(const struct custody_entry *entry, struct custody *to)
{
	struct custody_entry *copy = custody_reserve(to, 1) == 0 ? &to->entries[to->n] : NULL;
	char *name = strdup(entry->name);

	if (!copy || !name) {
		free(name);
		return false;
	}
	*copy = (struct custody_entry){ .name = name, .tag = entry->tag, .door = entry->door, .optional = true, .lent = true };
	while (is_taken(to, copy))
		copy->tag++;
	copy->ref = fd_ref_use(entry->ref);
	to->n++;
	return true;
}

size_t custody_lend_doors(const struct custody *from, struct custody *to)
{
	size_t n = 0;

	for (size_t i = 0; i < from->n && n < LENT_MAX; i++)
		n += from->entries[i].closed && lend(&from->entries[i], to);
	return n;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

void custody_end_connections(struct custody *custody)
{
	for (size_t i = custody->n; i > 0; i--) {
		const struct custody_entry *entry = &custody->entries[i - 1];

		if (entry->door != DOOR_NONE || !is_socket(entry->ref->fd))
			continue;
		if (!entry->is_tcp)
			(void)shutdown(entry->ref->fd, SHUT_RDWR);
		custody_drop_at(custody, i - 1, true);
	}
}

void custody_drop_files(struct custody *custody, bool (*keep)(int fd, void *userdata), void *userdata)
{
	for (size_t i = custody->n; i > 0; i--) {
		int fd = custody->entries[i - 1].ref->fd;

		if (!custody->entries[i - 1].is_tcp && !is_socket(fd) && !keep(fd, userdata))
			custody_drop_at(custody, i - 1, false);
	}
}

bool custody_reopen(const struct custody_entry *entry)
{
	if (entry->door == DOOR_NONE)
		return true;
	return entry->place ? door_reopen(entry->ref->fd, entry->place) == 0 : door_is_open(entry->ref->fd, entry->door);
}

void custody_reset_given_up(struct custody *custody)
{
	/* From the end, as dropping one moves the last into its place. */
	for (size_t i = custody->n; i > 0; i--)
		if (custody->entries[i - 1].given_up)
			custody_drop_at(custody, i - 1, true);
}

void custody_clear(struct custody *custody)
{
	while (custody->n)
		custody_drop_at(custody, custody->n - 1, custody->entries[custody->n - 1].given_up);
	free(custody->entries);
	*custody = (struct custody){ .most = custody->most };
}

static struct conn_id *ids_of(const struct custody *custody, bool moved_too, size_t *ret_n)
{
	struct conn_id *ids = calloc(custody->n + 1, sizeof(*ids));

	*ret_n = 0;
	for (size_t i = 0; ids && i < custody->n; i++)
		if (custody->entries[i].is_tcp && (moved_too || !custody->entries[i].known_moved))
			ids[(*ret_n)++] = custody->entries[i].id;
	return ids;
}

/* The kernel finds a socket that is bound to an interface only with that interface. Few sockets are bound, so ask only those that
 * the kernel did not find. Return: true if another sample may find more. */
static bool learn_interfaces(struct custody *custody, const struct conn_sample *sample)
{
	bool learned = false;

	for (size_t i = 0; i < custody->n; i++) {
		struct custody_entry *entry = &custody->entries[i];
		const struct conn *conn = entry->is_tcp ? conn_sample_find(sample, entry->id.inode) : NULL;

		if (!conn || conn->present || entry->id.addresses.idiag_if)
			continue;
		entry->id.addresses.idiag_if = conn_bound_interface(entry->ref->fd);
		learned |= entry->id.addresses.idiag_if != 0;
	}
	return learned;
}

void custody_sample(struct custody *custody, struct conntable *table, struct conn_sample *ret_sample)
{
	uint64_t deadline_us = clock_now_us() + SAMPLE_US;
	struct why why = { 0 };
	bool again;

	*ret_sample = (struct conn_sample){ .conn = NULL };
	do {
		struct conn_id *ids;
		size_t n;

		again = false;
		conn_sample_done(ret_sample);
		ids = ids_of(custody, false, &n);
		if (n && table && conntable_sample(table, ids, n, deadline_us, ret_sample, &why) < 0)
			log_warning("connection table: %s", why.text);
		else
			again = learn_interfaces(custody, ret_sample);
		free(ids);
	} while (again);
}

/* Did it move for certain? conntable_compare() counts a doubtful connection as moved; here it stays to be looked at again. */
static bool has_moved(const struct conn_sample *before, const struct conn *now)
{
	const struct conn *was = conn_sample_find(before, now->inode);

	return was && was->stable && was->present && now->stable && now->present &&
	       (was->consumed != now->consumed || was->written != now->written);
}

bool custody_note_moved(struct custody *custody, struct conntable *table, const struct conn_sample *before, size_t at_most)
{
	struct conn_id ids[NOTE_MAX];
	struct custody_entry *entries[NOTE_MAX];
	struct conn_sample now = { .conn = NULL };
	struct why why = { 0 };
	size_t n = 0;

	at_most = at_most < NOTE_MAX ? at_most : NOTE_MAX;
	for (size_t i = 0; i < custody->n && n < at_most; i++) {
		struct custody_entry *entry = &custody->entries[custody->noted++ % custody->n];

		if (!entry->is_tcp || entry->known_moved || entry->since_commit)
			continue;
		entries[n] = entry;
		ids[n++] = entry->id;
	}
	/* A connection that does not come to rest in this time has its turn again later. */
	if (n == 0 || !before->n || !table ||
	    conntable_sample(table, ids, n, clock_now_us() + NOTE_US, &now, &why) < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct conn *conn = conn_sample_find(&now, entries[i]->id.inode);

		entries[i]->known_moved = conn && has_moved(before, conn);
	}
	conn_sample_done(&now);
	return true;
}

bool custody_was_written(const struct custody *custody, struct conntable *table, const struct conn_sample *before)
{
	struct conn_sample now = { .conn = NULL };
	bool written = false;
	size_t n;
	struct conn_id *ids = ids_of(custody, true, &n);

	if (ids && n && table && conntable_sample(table, ids, n, clock_now_us() + SAMPLE_US, &now, NULL) < 0)
		now.n = 0;
	for (size_t i = 0; i < now.n && !written; i++) {
		const struct conn *was = conn_sample_find(before, now.conn[i].inode);

		written = was && was->present && now.conn[i].present && was->written != now.conn[i].written;
	}
	conn_sample_done(&now);
	free(ids);
	return written;
}
