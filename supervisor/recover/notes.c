/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/notes.h"

#include "base/base.h"
#include "supervisor/logbook/note.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/process/origin.h"
#include "supervisor/process/regain.h"
#include "supervisor/recover/users.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define DOUBTS_TOLD 16u /* in the log; there may be as many as somebody likes */
#define USER_SHARE_US USEC_PER_SEC
#define CANDIDATES 16u   /* of a process, which holds one note, and a second one for a moment */
#define USER_TRICKS 16u

/* How long the processes of a user have been looked at. */
struct share {
	uid_t uid;
	uint64_t spent_us;
	unsigned tricks; /* descriptors that were something else when we had them than when we looked */
};

struct gathering {
	Upgraded__Logbook__Note **notes;
	size_t n;
	unsigned doubts;
	struct share *shares; /* of the users of services, and behind these one of everybody else */
	size_t n_shares;
	uint64_t mount; /* where memory lies that has no other name */
	struct why *why;

	/* The process that is being looked at. */
	pid_t pid;
	uid_t uid;
	int pidfd;
	bool told;
	struct share *share;
	uint64_t inodes[CANDIDATES];
	size_t n_inodes;
	bool has_note; /* the last one of the notes is of this process */
	uint64_t due_us; /* 0: there is no limit */
};

/* ---- who is looked at, and for how long ---- */

/* Users of whom no service is may be as many as somebody likes. Return: NULL: as long as it takes. */
static struct share *share_of(const struct gathering *g, uid_t uid)
{
	size_t i = 0;

	if (uid == geteuid())
		return NULL;
	while (i < g->n_shares && g->shares[i].uid != uid)
		i++;
	return &g->shares[i];
}

static int make_shares(struct gathering *g, const struct registry *registry)
{
	uid_t *users = NULL;
	int r = users_list(registry, &users, &g->n_shares);

	if (r == 0)
		g->shares = calloc(g->n_shares + 1, sizeof(*g->shares));
	if (!g->shares)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < g->n_shares; i++)
		g->shares[i].uid = users[i];
	free(users);
	return r < 0 ? why_errno(g->why, r, "the users of services") : 0;
}

/* ---- a note ---- */

static void doubt(struct gathering *g, const char *reason)
{
	char name[64];

	if (g->told || g->doubts++ >= DOUBTS_TOLD)
		return;
	g->told = true;
	log_warning("pid %d (%s, of user %u) holds what looks as if upgraded had noted that it serves, and upgraded has not: %s; "
		    "it is not believed, and left alone",
		    (int)g->pid, procfs_name(g->pid, name, sizeof(name)), (unsigned)g->uid, reason);
}

/* A child of a process holds its notes as well, and says nothing with them. */
static bool tells_of(const Upgraded__Logbook__Note *note, pid_t pid)
{
	for (size_t i = 0; i < note->n_entries; i++) {
		const Upgraded__Logbook__Entry *entry = note->entries[i];

		if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS && entry->process->pid == pid &&
		    regain_lives(entry->process))
			return true;
	}
	return false;
}

/* It is there, and waits to be reaped, however long that takes. */
static bool has_ended(pid_t pid)
{
	char state = procfs_state(pid);

	return state == 'Z' || state == 'X';
}

/* Its processes are in the hands of another supervisor. */
static bool writer_lives(const Upgraded__Logbook__Note *note)
{
	uint64_t ticks;

	return note->pid != getpid() && procfs_start_ticks(note->pid, &ticks) == 0 && ticks == note->start_ticks &&
	       !has_ended(note->pid);
}

static bool is_for_us(const struct gathering *g, const Upgraded__Logbook__Note *note, const struct logbook *book)
{
	if (strcmp(note->boot_id, regain_boot()) != 0 || strcmp(note->place, logbook_place(book)) != 0 || !tells_of(note, g->pid))
		return false;
	if (!writer_lives(note))
		return true;
	log_warning("pid %d is in the hands of the upgraded that is pid %d; it is left to that", (int)g->pid, note->pid);
	return false;
}

struct looking {
	struct gathering *g;
	const struct logbook *book;
};

/* A process holds the last one that it was given; an older one may lie about. */
static int keep(struct gathering *g, Upgraded__Logbook__Note *note_consume)
{
	Upgraded__Logbook__Note **more, *drop = note_consume;

	if (g->has_note) {
		Upgraded__Logbook__Note **last = &g->notes[g->n - 1];

		if ((*last)->written_us < note_consume->written_us) {
			drop = *last;
			*last = note_consume;
		}
		upgraded__logbook__note__free_unpacked(drop, NULL);
		return 0;
	}
	more = reallocarray(g->notes, g->n + 1, sizeof(*more));
	if (!more) {
		upgraded__logbook__note__free_unpacked(note_consume, NULL);
		return why_errno(g->why, -ENOMEM, "pid %d: its note", (int)g->pid);
	}
	g->notes = more;
	more[g->n++] = note_consume;
	g->has_note = true;
	return 0;
}

static int take(const struct looking *looking, int fd_consume)
{
	struct gathering *g = looking->g;
	Upgraded__Logbook__Note *note;
	struct why why = { 0 };
	int r = note_read(fd_consume, &note, &why);

	fd_give_up(fd_consume);
	if (r == -EPERM) {
		doubt(g, why.text);
		return 0;
	}
	if (r < 0)
		return why_set(g->why, r, "pid %d: %s", (int)g->pid, why.text);
	if (!is_for_us(g, note, looking->book)) {
		upgraded__logbook__note__free_unpacked(note, NULL);
		return 0;
	}
	return keep(g, note);
}

/* ---- a descriptor ---- */

/* Only memory of the kernel's own is taken: with a file of somebody's file system, its close would wait for them. */
static bool is_memory(const struct gathering *g, pid_t pid, int number, uint64_t *ret_inode)
{
	uint64_t mount;

	return procfs_fd(pid, number, &mount, ret_inode) == 0 && mount == g->mount;
}

static bool is_new(const struct gathering *g, uint64_t inode)
{
	for (size_t i = 0; i < g->n_inodes; i++)
		if (inode && g->inodes[i] == inode)
			return false;
	return true;
}

static int find_mount(struct gathering *g)
{
	FD_CLEANUP int fd = memfd_create("upgraded-mount", MFD_CLOEXEC);
	uint64_t inode;
	int r = fd < 0 ? -errno : procfs_fd(getpid(), fd, &g->mount, &inode);

	return r < 0 ? why_errno(g->why, r, "memory to compare notes with") : 0;
}

static int on_link(void *arg, int number, const char *link)
{
	const struct looking *looking = arg;
	struct gathering *g = looking->g;
	uint64_t inode;
	int fd;

	if (g->due_us && clock_now_us() > g->due_us) {
		log_warning("the processes of user %u%s have more descriptors than can be looked at; what is behind pid %d is "
			    "passed over",
			    (unsigned)g->uid, g->share == &g->shares[g->n_shares] ? ", or of others of whom no service is," : "",
			    (int)g->pid);
		return 1;
	}
	if (strcmp(link, NOTE_LINK) != 0 || (g->share && g->share->tricks >= USER_TRICKS))
		return 0;
	if (!is_memory(g, g->pid, number, &inode)) {
		doubt(g, "it is a file of some file system");
		return 0;
	}
	if (!is_new(g, inode))
		return 0;
	if (g->n_inodes == CANDIDATES) {
		doubt(g, "it holds more of them than one");
		return 0;
	}
	g->inodes[g->n_inodes++] = inode;
	fd = pidfd_getfd(g->pidfd, number, 0);
	if (fd >= 0 && !is_memory(g, getpid(), fd, &inode)) {
		if (g->share)
			g->share->tricks++;
		doubt(g, "it was another file a moment before");
		fd_give_up(fd);
		return 0;
	}
	if (fd >= 0)
		return take(looking, fd);
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
		return why_errno(g->why, -errno, "pid %d: its note", (int)g->pid);
	return 0; /* closed meanwhile, or it has ended; or we may not trace it, and then nothing could be had back of it */
}

static int on_process(void *arg, pid_t pid)
{
	const struct looking *looking = arg;
	struct gathering *g = looking->g;
	uint64_t began_us = clock_now_us();
	FD_CLEANUP int pidfd = -1;
	struct share *share;
	int r;

	if (pid == getpid() || procfs_user(pid, &g->uid) < 0)
		return 0;
	share = share_of(g, g->uid);
	if (share && share->spent_us >= USER_SHARE_US)
		return 0;
	g->due_us = share ? began_us + USER_SHARE_US - share->spent_us : 0;
	g->pid = pid;
	g->pidfd = pidfd = pidfd_open(pid, 0);
	g->told = g->has_note = false;
	g->n_inodes = 0;
	g->share = share;
	if (pidfd < 0)
		return errno == ESRCH || errno == EINVAL ? 0 : why_errno(g->why, -errno, "pid %d", (int)pid);
	r = procfs_each_fd(pid, PROCFS_FDS_MAX, on_link, arg);
	if (share)
		share->spent_us += clock_now_us() - began_us;
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return *g->why->text ? r : why_errno(g->why, r, "the descriptors of pid %d", (int)pid);
	return *g->why->text ? r : 0; /* it has ended, or is not ours to look at */
}

/* ---- into the book ---- */

static int older_first(const void *a, const void *b)
{
	const Upgraded__Logbook__Note *const *one = a, *const *other = b;

	return ((*one)->written_us > (*other)->written_us) - ((*one)->written_us < (*other)->written_us);
}

/* What the book has, for a process of a note. */
struct place {
	const Upgraded__Logbook__Process *of;
	uint64_t serial; /* it has that one already; 0: it is not there */
	bool later;      /* and what it has was written later */
	bool taken;      /* another process has its serial */
};

static bool same_process(const Upgraded__Logbook__Process *a, const Upgraded__Logbook__Process *b)
{
	return a->pid == b->pid && a->start_ticks == b->start_ticks && strcmp(a->boot_id, b->boot_id) == 0;
}

static int look_up(void *arg, const Upgraded__Logbook__Entry *entry)
{
	const Upgraded__Logbook__Process *is = entry->process;
	struct place *place = arg;

	if (entry->what_case != UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS)
		return 0;
	if (same_process(is, place->of)) {
		place->serial = is->serial;
		place->later = is->written_us > place->of->written_us;
	} else if (is->serial == place->of->serial) {
		place->taken = regain_lives(is);
	}
	return 0;
}

/* Serials began anew where a logbook was lost, and two that live may have the same. */
static int write_process(struct spawner *spawner, const Upgraded__Logbook__Entry *entry, struct why *why)
{
	Upgraded__Logbook__Process process = *entry->process;
	Upgraded__Logbook__Entry copy = *entry;
	struct place place = { .of = entry->process };
	int r = logbook_each(spawner->logbook, look_up, &place);

	if (r < 0)
		return why_errno(why, r, "the logbook could not be read to its end");
	if (place.later)
		return 0;
	if (place.serial)
		process.serial = place.serial;
	else if (place.taken)
		process.serial = ++spawner->last_serial;
	copy.process = &process;
	return logbook_write(spawner->logbook, &copy, why);
}

struct comparison {
	const Upgraded__Logbook__Service *with;
	bool later;
};

static int compare_service(void *arg, const Upgraded__Logbook__Entry *entry)
{
	struct comparison *comparison = arg;

	if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE && strcmp(entry->service->name, comparison->with->name) == 0)
		comparison->later = entry->service->written_us > comparison->with->written_us;
	return 0;
}

static int write_service(struct spawner *spawner, const Upgraded__Logbook__Entry *entry, struct why *why)
{
	struct comparison comparison = { .with = entry->service };
	int r = logbook_each(spawner->logbook, compare_service, &comparison);

	if (r < 0)
		return why_errno(why, r, "the logbook could not be read to its end");
	return comparison.later ? 0 : logbook_write(spawner->logbook, entry, why);
}

/* Of a damaged book, entries that are whole may be later than the note. */
static int write_entry(struct spawner *spawner, const Upgraded__Logbook__Entry *entry, struct why *why)
{
	if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS)
		return write_process(spawner, entry, why);
	if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE)
		return write_service(spawner, entry, why);
	return logbook_write(spawner->logbook, entry, why);
}

static int write_note(struct spawner *spawner, const Upgraded__Logbook__Note *note, struct why *why)
{
	for (size_t i = 0; i < note->n_entries; i++) {
		const Upgraded__Logbook__Entry *entry = note->entries[i];
		bool is_process = entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS;
		int r;

		if (is_process && !regain_lives(entry->process))
			continue;
		r = write_entry(spawner, entry, why);
		if (r < 0)
			return r;
		if (is_process)
			log_info("the logbook: pid %d is version %s of %s, by the note that upgraded pid %d has left",
				 entry->process->pid, entry->process->version, entry->process->service, note->pid);
	}
	return 0;
}

int notes_gather(const struct registry *registry, struct spawner *spawner, struct why *why)
{
	struct gathering g = { .why = why };
	struct looking looking = { &g, spawner->logbook };
	int r;

	*why->text = 0;
	r = make_shares(&g, registry);
	if (r == 0)
		r = find_mount(&g);
	if (r == 0)
		r = procfs_each(on_process, &looking);
	if (r < 0 && !*why->text)
		why_errno(why, r, "/proc");
	if (g.n)
		qsort(g.notes, g.n, sizeof(*g.notes), older_first);
	for (size_t i = 0; r == 0 && i < g.n; i++)
		r = write_note(spawner, g.notes[i], why);
	for (size_t i = 0; i < g.n; i++)
		upgraded__logbook__note__free_unpacked(g.notes[i], NULL);
	free(g.notes);
	free(g.shares);
	return r < 0 ? why_prefix(why, r, "what serves could not be found without the logbook") : 0;
}
