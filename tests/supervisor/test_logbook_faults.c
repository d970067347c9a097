/* SPDX-License-Identifier: MIT */
/* A logbook on a disk that fails, when the supervisor is killed, and when the power is cut: at each call to the disk in turn. What
 * was written is in force afterwards, and what was refused is not. After a power cut, what was safe is in force. */
#include "base/why.h"
#include "base/loop.h"
#include "base/work.h"
#include "supervisor/logbook/bytes.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/book.h"
#include "tests/supervisor/spoiled_disk.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[64];
static struct why why;

static void set_up(void)
{
	strcpy(root, "/tmp/upg-logbook.XXXXXX");
	cr_assert(mkdtemp(root));
}

static void tear_down(void)
{
	cr_assert_eq(folder_remove(root, &why), 0, "%s", why.text);
}

TestSuite(logbook_faults, .init = set_up, .fini = tear_down, .timeout = 300);

/* Every kind of change, and two compactions. */
static const struct change script[] = {
	{ PROCESS, 1, 1, 30 },	  { SERVICE, 1, 2, 0 },	   { PROCESS, 2, 3, 22000 }, { PROCESS, 2, 4, 22000 },
	{ PROCESS, 2, 5, 22000 }, { SERVICE, 2, 6, 0 },	   { PROCESS, 2, 7, 200 },   { PROCESS, 2, 8, 300 },
	{ PROCESS, 3, 9, 35000 }, { PROCESS_GONE, 1, 0, 0 }, { PROCESS, 3, 10, 35000 }, { SERVICE, 1, 11, 0 },
	{ PROCESS_GONE, 3, 0, 0 }, { SERVICE_GONE, 2, 0, 0 }, { PROCESS, 4, 12, 10 },
};
#define N_SCRIPT (sizeof(script) / sizeof(script[0]))

/* What is in force: what was written. After a kill there may be one more entry, which was being written. After a power cut, what
 * was safe is in force, and perhaps some of what was written after it, in its order. */
struct truth {
	struct model model, safe;
	struct change since[2 * N_SCRIPT]; /* it was safe */
	size_t n_since;
	struct change refused[2 * N_SCRIPT];
	size_t n_refused;
};

static void truth_tell(struct truth *truth, const struct change *change, bool written, const struct logbook *book)
{
	if (written) {
		model_apply(&truth->model, change);
		truth->n_refused = 0;
		cr_assert(truth->n_since < 2 * N_SCRIPT);
		truth->since[truth->n_since++] = *change;
	} else {
		truth->refused[truth->n_refused++] = *change;
	}
	if (logbook_is_safe(book)) {
		truth->safe = truth->model;
		truth->n_since = 0;
	}
}

static bool truth_allows(const struct truth *truth, const struct logbook *book, bool exactly)
{
	bool allowed = book_is(book, &truth->model);

	for (size_t i = 0; i < truth->n_refused && !exactly && !allowed; i++) {
		struct model with = truth->model;

		model_apply(&with, &truth->refused[i]);
		allowed = book_is(book, &with);
	}
	return allowed;
}

/* As the safe ones, and those of the others that come before @until, but for some that begin at @from. */
static bool is_without(const struct truth *truth, const struct logbook *book, size_t from, size_t until)
{
	struct model with = truth->safe;
	bool is = false;

	for (size_t i = 0; i < from; i++)
		model_apply(&with, &truth->since[i]);
	is = book_is(book, &with);
	for (size_t i = until; i < truth->n_since && !is; i++) {
		model_apply(&with, &truth->since[i]);
		is = book_is(book, &with);
	}
	return is;
}

/* @holed: some are missing before the last ones. */
static bool truth_allows_after_cut(const struct truth *truth, const struct logbook *book, bool holed)
{
	bool allowed = truth_allows(truth, book, false) || is_without(truth, book, 0, 0);

	for (size_t from = 0; from < truth->n_since && holed; from++)
		for (size_t until = from + 1; until <= truth->n_since && !allowed; until++)
			allowed = is_without(truth, book, from, until);
	return allowed;
}

/* The script, as far as the disk lets it; each entry that is refused is tried once more, as a caller might. Whoever is dead tries
 * nothing more. */
static void play(const struct logbook_disk *disk, const char *folder, struct truth *truth, const char *what, unsigned n)
{
	enum logbook_found found;
	struct logbook *book;
	int r = logbook_open_on(disk, folder, &book, &found, &why);

	if (r < 0 && !spoiled_disk_is_dead()) {
		cr_assert_str_not_empty(why.text);
		r = logbook_open_on(disk, folder, &book, &found, &why);
	}
	if (r < 0)
		return;
	for (size_t i = 0; i < N_SCRIPT && !spoiled_disk_is_dead(); i++) {
		r = book_put(book, &script[i], &why);
		truth_tell(truth, &script[i], r == 0, book);
		if (r < 0 && !spoiled_disk_is_dead()) {
			cr_assert(strstr(why.text, "/" LOGBOOK_NAME), "%s", why.text);
			cr_assert(truth_allows(truth, book, true), "%s at call %u: change %zu was refused, and is in force", what,
				  n, i);
			r = book_put(book, &script[i], &why);
			truth_tell(truth, &script[i], r == 0, book);
		}
		cr_assert(truth_allows(truth, book, true), "%s at call %u: after change %zu", what, n, i);
	}
	logbook_free(book);
}

enum after { AFTER_ALL, AFTER_KILL, AFTER_CUT };

static void reopen(const char *folder, const struct truth *truth, enum after after, const char *what, unsigned n)
{
	enum logbook_found found;
	struct logbook *book;

	cr_assert_eq(logbook_open_on(spoiled_disk_reset(folder), folder, &book, &found, &why), 0, "%s", why.text);
	/* A crash tears, and does not damage. But of several entries that were not safe the later ones may be there alone. */
	cr_assert(found == LOGBOOK_WHOLE || (after != AFTER_ALL && (found == LOGBOOK_TORN || found == LOGBOOK_NEW)) ||
		  (after == AFTER_CUT && truth->n_since > 1 && found == LOGBOOK_DAMAGED),
		  "%s at call %u: %d: %s", what, n, found, why.text);
	cr_assert(after == AFTER_CUT ? truth_allows_after_cut(truth, book, found == LOGBOOK_DAMAGED) :
				       truth_allows(truth, book, after == AFTER_ALL),
		  "%s at call %u: %s", what, n, book_state(book));
	/* It goes on from here. */
	cr_assert_eq(book_put(book, &script[1], &why), 0, "%s", why.text);
	logbook_free(book);
	cr_assert_eq(logbook_open_on(spoiled_disk_reset(folder), folder, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(found, LOGBOOK_WHOLE);
	logbook_free(book);
}

static unsigned calls_of_script(void)
{
	const char *folder = folder_new(root);
	struct truth truth = { .n_refused = 0 };

	play(spoiled_disk_reset(folder), folder, &truth, "no fault", 0);
	cr_assert_eq(truth.n_refused, 0);
	/* Fewer would mean that the script does not reach compaction. */
	cr_assert_geq(spoiled_disk_calls(), 2 * N_SCRIPT + 3 * 5);
	return spoiled_disk_calls();
}

static void fail_each_once(enum spoil spoil, const char *what)
{
	unsigned calls = calls_of_script();

	for (unsigned n = 1; n <= calls; n++) {
		const char *folder = folder_new(root);
		const struct logbook_disk *disk = spoiled_disk_reset(folder);
		struct truth truth = { .n_refused = 0 };

		spoiled_disk_spoil(n, spoil);
		play(disk, folder, &truth, what, n);
		cr_assert_eq(truth.model.n, 3, "%s at call %u: it did not go on", what, n);
		reopen(folder, &truth, AFTER_ALL, what, n);
		cr_assert_eq(folder_remove(folder, &why), 0);
	}
}

Test(logbook_faults, each_call_fails_once_with_eio)
{
	fail_each_once(SPOIL_EIO, "EIO");
}

Test(logbook_faults, each_call_fails_once_with_enospc)
{
	fail_each_once(SPOIL_ENOSPC, "ENOSPC");
}

Test(logbook_faults, each_write_is_short_once)
{
	fail_each_once(SPOIL_SHORT, "a short write");
}

Test(logbook_faults, any_two_calls_fail)
{
	unsigned calls = calls_of_script() + 8;

	for (unsigned n = 1; n <= calls; n++) {
		/* Close to each other, each pair; further apart, some. */
		for (unsigned m = n + 1; m <= calls; m += m - n < 10 ? 1 : 7) {
			const char *folder = folder_new(root);
			const struct logbook_disk *disk = spoiled_disk_reset(folder);
			struct truth truth = { .n_refused = 0 };

			spoiled_disk_spoil(n, (n + m) % 2 ? SPOIL_EIO : SPOIL_SHORT);
			spoiled_disk_spoil(m, m % 3 ? SPOIL_EIO : SPOIL_SHORT);
			play(disk, folder, &truth, "two faults", n * 1000 + m);
			reopen(folder, &truth, AFTER_KILL, "two faults", n * 1000 + m);
			cr_assert_eq(folder_remove(folder, &why), 0);
		}
	}
}

/* What is left in the folder after kill -9: all that was done, and half of the write that was under way. */
Test(logbook_faults, killed_at_each_call)
{
	unsigned calls = calls_of_script();

	for (unsigned n = 1; n <= calls; n++) {
		const char *folder = folder_new(root);
		const struct logbook_disk *disk = spoiled_disk_reset(folder);
		struct truth truth = { .n_refused = 0 };

		spoiled_disk_spoil(n, SPOIL_DEAD);
		play(disk, folder, &truth, "killed", n);
		reopen(folder, &truth, AFTER_KILL, "killed", n);
		cr_assert_eq(folder_remove(folder, &why), 0);
	}
}

static void cut_power(const struct truth *truth, const char *what, unsigned n)
{
	const char *folders[CUT_KINDS];

	/* All of them before any is opened, which forgets the disk. */
	for (unsigned kind = 0; kind < CUT_KINDS; kind++) {
		folders[kind] = folder_new(root);
		spoiled_disk_cut(folders[kind], kind);
	}
	for (unsigned kind = 0; kind < CUT_KINDS; kind++) {
		char words[64];

		(void)snprintf(words, sizeof(words), "%s, kind %u", what, kind);
		reopen(folders[kind], truth, AFTER_CUT, words, n);
	}
}

/* What is left on the disk: what was synced, and of the rest nothing, all, half, or zeros. */
Test(logbook_faults, the_power_is_cut_at_each_call)
{
	unsigned calls = calls_of_script();

	for (unsigned n = 1; n <= calls + 1; n++) {
		char inner[64];
		const char *folder = folder_new(root);
		const struct logbook_disk *disk = spoiled_disk_reset(folder);
		struct truth truth = { .n_refused = 0 };

		strcpy(inner, root);
		spoiled_disk_spoil(n, SPOIL_DEAD);
		play(disk, folder, &truth, "power cut", n);
		cut_power(&truth, "power cut", n);
		cr_assert_eq(folder_remove(root, &why), 0);
		cr_assert_eq(folder_make(inner, &why), 0);
	}
}

/* A sync that failed loses what it was to write, and those after it say that all is well: what is safe after one must not depend
 * on it. */
Test(logbook_faults, the_power_is_cut_after_a_call_failed)
{
	unsigned calls = calls_of_script();

	for (unsigned n = 1; n <= calls; n++) {
		for (unsigned later = 1; later <= 8; later++) {
			const char *folder = folder_new(root);
			const struct logbook_disk *disk = spoiled_disk_reset(folder);
			struct truth truth = { .n_refused = 0 };

			spoiled_disk_spoil(n, SPOIL_EIO);
			spoiled_disk_spoil(n + later, SPOIL_DEAD);
			play(disk, folder, &truth, "fault and power cut", n * 1000 + later);
			cut_power(&truth, "fault and power cut", n * 1000 + later);
			cr_assert_eq(folder_remove(root, &why), 0);
			cr_assert_eq(folder_make(root, &why), 0);
		}
	}
}

/* A file whose sync failed is left at once, and not only when something is written the next time: what the disk has of its last
 * block may be gone, though it was synced before, and the file that is read back does not show it. */
Test(logbook_faults, what_was_synced_before_outlives_a_sync_that_failed)
{
	unsigned calls = calls_of_script();

	for (unsigned n = 1; n <= calls; n++) {
		const char *folder = folder_new(root);
		const struct logbook_disk *disk = spoiled_disk_reset(folder);
		struct truth truth = { .n_refused = 0 };
		enum logbook_found found;
		struct logbook *book;

		cr_assert_eq(logbook_open_on(disk, folder, &book, &found, &why), 0, "%s", why.text);
		spoiled_disk_break_blocks();
		spoiled_disk_spoil(n, SPOIL_EIO);
		for (size_t i = 0; i < N_SCRIPT && !truth.n_refused; i++) {
			int r = book_put(book, &script[i], &why);

			truth_tell(&truth, &script[i], r == 0, book);
		}
		cut_power(&truth, "a sync that failed, and a power cut", n);
		logbook_free(book);
		cr_assert_eq(folder_remove(root, &why), 0);
		cr_assert_eq(folder_make(root, &why), 0);
	}
}

/* A supervisor that was killed at call @killed has left a book of which some is in memory only. As the next one opens it, its call
 * @failed fails (0: none): what it found in force, and has acted on, must be there after a power cut. Return: how many calls
 * it makes for that and to write. */
static unsigned outlive_killed(unsigned killed, unsigned failed)
{
	const char *folder = folder_new(root);
	const struct logbook_disk *disk = spoiled_disk_reset(folder);
	struct truth truth = { .n_refused = 0 };
	enum logbook_found found;
	struct logbook *book;
	unsigned calls;
	int r;

	spoiled_disk_spoil(killed, SPOIL_DEAD);
	play(disk, folder, &truth, "killed", killed);
	spoiled_disk_mend();
	calls = spoiled_disk_calls();
	if (failed)
		spoiled_disk_spoil(failed, SPOIL_EIO);
	if (logbook_open_on(disk, folder, &book, &found, &why) == 0) {
		for (size_t i = 0; i < truth.n_refused && !book_is(book, &truth.model); i++)
			model_apply(&truth.model, &truth.refused[i]);
		cr_assert(book_is(book, &truth.model), "killed at call %u: %s", killed, book_state(book));
		truth = (struct truth){ .model = truth.model };
		/* Safe by a sync that says that all is well. */
		r = book_put(book, &script[0], &why);
		calls = spoiled_disk_calls() - calls;
		truth_tell(&truth, &script[0], r == 0, book);
		if (!truth.n_refused && !truth.n_since)
			cut_power(&truth, "killed, and a call of the next one failed", killed * 1000 + failed);
		logbook_free(book);
	}
	cr_assert_eq(folder_remove(root, &why), 0);
	cr_assert_eq(folder_make(root, &why), 0);
	return calls;
}

Test(logbook_faults, what_a_killed_supervisor_left_unsynced_does_not_depend_on_a_sync_that_failed)
{
	unsigned calls = calls_of_script();

	for (unsigned killed = 1; killed <= calls; killed++) {
		unsigned opens = outlive_killed(killed, 0);

		cr_assert_gt(opens, 2u);
		for (unsigned failed = 1; failed <= opens; failed++)
			(void)outlive_killed(killed, failed);
	}
}

/* ---- the disk is slow, and a thread waits for it ---- */

/* Each sync waits at a gate, which lets one through at a time, and at another one when it is done. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool is_there, may_go;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
static bool gate_is_shut;
static const struct logbook_disk *behind_gate;
static struct loop *loop;

static void gate_pass(void)
{
	if (!gate_is_shut)
		return;
	pthread_mutex_lock(&gate.lock);
	gate.is_there = true;
	pthread_cond_broadcast(&gate.moved);
	while (!gate.may_go)
		pthread_cond_wait(&gate.moved, &gate.lock);
	gate.may_go = gate.is_there = false;
	pthread_mutex_unlock(&gate.lock);
}

static int gated_fdatasync(int fd)
{
	int r;

	gate_pass();
	r = behind_gate->fdatasync(fd);
	gate_pass();
	return r;
}

static int gated_fsync(int fd)
{
	int r;

	gate_pass();
	r = behind_gate->fsync(fd);
	gate_pass();
	return r;
}

static bool is_at_gate(void)
{
	bool is_there;

	pthread_mutex_lock(&gate.lock);
	is_there = gate.is_there && !gate.may_go;
	pthread_mutex_unlock(&gate.lock);
	return is_there;
}

/* The thread is at the gate, or there is nothing for it to do: the disk is ours to look at. */
static void come_to_rest(const struct logbook *book)
{
	while (logbook_is_busy(book) && !is_at_gate())
		cr_assert_eq(loop_turn(loop, 1), 0);
}

static void let_one_go(const struct logbook *book)
{
	pthread_mutex_lock(&gate.lock);
	gate.may_go = gate.is_there;
	pthread_cond_broadcast(&gate.moved);
	pthread_mutex_unlock(&gate.lock);
	come_to_rest(book);
}

struct told {
	unsigned troubles, again, well;
};

static void on_trouble(void *owner, const struct why *what, bool again)
{
	struct told *told = owner;

	cr_assert_str_not_empty(what->text);
	told->troubles++;
	told->again += again;
}

static void on_well(void *owner)
{
	((struct told *)owner)->well++;
}

static const struct logbook_events telling = { on_trouble, on_well };

struct slow {
	const char *folder;
	struct logbook *book;
	struct worker *worker;
	struct truth truth;
	struct told told;
};

static void slow_open(struct slow *slow)
{
	static struct logbook_disk gated;
	enum logbook_found found;

	*slow = (struct slow){ .folder = folder_new(root) };
	behind_gate = spoiled_disk_reset(slow->folder);
	gated = *behind_gate;
	gated.fdatasync = gated_fdatasync;
	gated.fsync = gated_fsync;
	gate_is_shut = false;
	cr_assert_eq(logbook_open_on(&gated, slow->folder, &slow->book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(loop_new(&loop, &why), 0);
	cr_assert_eq(worker_new(loop, &slow->worker, &why), 0);
	gate_is_shut = true;
	logbook_flush_by(slow->book, slow->worker, &telling, &slow->told);
	come_to_rest(slow->book);
}

/* What flushes what was there makes a new file. */
static void slow_begin(struct slow *slow)
{
	slow_open(slow);
	for (unsigned n = 0; !logbook_is_safe(slow->book); n++) {
		cr_assert_lt(n, 10u);
		let_one_go(slow->book);
	}
}

static bool slow_has_new(const struct slow *slow)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME ".new", slow->folder);
	return access(path, F_OK) == 0;
}

static void slow_put(struct slow *slow, size_t i)
{
	const struct change *change = &script[i % N_SCRIPT];
	int r = book_put(slow->book, change, &why);

	come_to_rest(slow->book);
	truth_tell(&slow->truth, change, r == 0, slow->book);
	cr_assert(truth_allows(&slow->truth, slow->book, true));
}

static void slow_go(struct slow *slow)
{
	let_one_go(slow->book);
	if (!logbook_is_safe(slow->book))
		return;
	slow->truth.safe = slow->truth.model;
	slow->truth.n_since = 0;
}

/* Without waiting for a disk that is told to do nothing any more. */
static void slow_close(struct slow *slow)
{
	spoiled_disk_spoil(1, SPOIL_DEAD);
	while (logbook_is_busy(slow->book))
		let_one_go(slow->book);
	gate_is_shut = false;
	logbook_free(slow->book);
	worker_free(slow->worker);
	loop = loop_free(loop);
	cr_assert_eq(folder_remove(root, &why), 0);
	cr_assert_eq(folder_make(root, &why), 0);
}

Test(logbook_faults, nobody_waits_for_a_disk_that_is_slow)
{
	struct slow slow;

	slow_begin(&slow);
	for (size_t i = 0; i < N_SCRIPT; i++)
		slow_put(&slow, i);
	/* All was written while the first sync waits. Whoever is killed now has it all. */
	cr_assert(is_at_gate());
	cr_assert(!logbook_is_safe(slow.book));
	reopen(slow.folder, &slow.truth, AFTER_ALL, "killed before the first sync", 0);
	slow_close(&slow);

	slow_begin(&slow);
	for (size_t i = 0; i < N_SCRIPT; i++)
		slow_put(&slow, i);
	for (unsigned n = 0; !logbook_is_safe(slow.book); n++) {
		cr_assert_lt(n, 40u);
		slow_go(&slow);
	}
	cr_assert(!logbook_is_busy(slow.book));
	cut_power(&slow.truth, "all is safe", 0);
	cr_assert_eq(slow.told.troubles, 0);
	slow_close(&slow);
}

/* And then to the end of it. */
static void *let_one_sync_begin(void *unused)
{
	pthread_mutex_lock(&gate.lock);
	for (unsigned pass = 0; pass < 2; pass++) {
		while (!gate.is_there || gate.may_go)
			pthread_cond_wait(&gate.moved, &gate.lock);
		gate.may_go = true;
		pthread_cond_broadcast(&gate.moved);
	}
	pthread_mutex_unlock(&gate.lock);
	return unused;
}

/* As where a start fails: the new file is on its way to the disk, and its name would be the next thing to bring there. */
Test(logbook_faults, what_is_freed_while_the_disk_is_busy_is_not_used_afterwards)
{
	struct slow slow;
	pthread_t other;

	slow_open(&slow);
	cr_assert(logbook_is_busy(slow.book));
	cr_assert_eq(pthread_create(&other, NULL, let_one_sync_begin, NULL), 0);
	logbook_free(slow.book);
	pthread_join(other, NULL);
	pthread_mutex_lock(&gate.lock);
	gate_is_shut = false;
	gate.may_go = gate.is_there;
	pthread_cond_broadcast(&gate.moved);
	pthread_mutex_unlock(&gate.lock);
	worker_free(slow.worker);
	loop = loop_free(loop);
}

static unsigned chance(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % below;
}

/* Changes and syncs in any order, with a call that fails, until the power is cut or the supervisor is killed. */
Test(logbook_faults, slow_disks_lose_nothing_that_was_safe_and_kills_nothing_that_was_written)
{
	unsigned compactions = 0, failures = 0;

	for (unsigned n = 1; n <= 1500; n++) {
		unsigned seed = n, steps, put = 0;
		struct slow slow;

		if (n % 5)
			slow_begin(&slow);
		else
			slow_open(&slow);
		if (n % 3)
			spoiled_disk_spoil(1 + chance(&seed, 60), n % 3 == 1 ? SPOIL_EIO : SPOIL_SHORT);
		steps = 1 + chance(&seed, 4 * (unsigned)N_SCRIPT);
		for (unsigned i = 0; i < steps; i++)
			if (chance(&seed, 3) == 0)
				slow_put(&slow, put++);
			else
				slow_go(&slow);
		compactions += slow_has_new(&slow);
		failures += slow.truth.n_refused > 0 || slow.told.troubles;
		if (n % 2)
			cut_power(&slow.truth, "slow, power cut", n);
		else
			reopen(slow.folder, &slow.truth, AFTER_KILL, "slow, killed", n);
		slow_close(&slow);
	}
	/* It has come to what it is about. */
	cr_assert_gt(compactions, 20u);
	cr_assert_gt(failures, 20u);
}

Test(logbook_faults, trouble_with_the_disk_is_told_and_that_it_is_over)
{
	struct slow slow;

	slow_begin(&slow);
	/* The entry is written. Its sync fails, and so does the new file: removed, made, written, synced. */
	spoiled_disk_spoil(2, SPOIL_EIO);
	spoiled_disk_spoil(5, SPOIL_EIO);
	slow_put(&slow, 0);
	while (logbook_is_busy(slow.book))
		slow_go(&slow);
	cr_assert_eq(slow.told.troubles, 1);
	cr_assert_eq(slow.told.again, 0);
	cr_assert(!logbook_is_busy(slow.book));
	/* Tried again, and refused again. */
	spoiled_disk_spoil(2, SPOIL_EIO);
	logbook_flush(slow.book);
	come_to_rest(slow.book);
	cr_assert_eq(slow.told.troubles, 2);
	cr_assert_eq(slow.told.again, 1);
	cr_assert(!logbook_is_safe(slow.book));
	/* What is written meanwhile is in force, and comes to the disk with the rest. */
	spoiled_disk_mend();
	slow_put(&slow, 1);
	for (unsigned i = 0; !logbook_is_safe(slow.book); i++) {
		cr_assert_lt(i, 16u);
		slow_go(&slow);
	}
	cr_assert_eq(slow.told.well, 1);
	cr_assert_eq(slow.told.troubles, 2);
	cut_power(&slow.truth, "it is over", 0);
	slow_close(&slow);
}

/* ---- a book that is not as it was written, on a disk that fails ---- */

struct sick {
	struct bytes bytes;
	struct truth truth;
	enum logbook_found found;
	const char *kept;
};

static void sicken(enum logbook_found found, struct sick *ret_sick)
{
	const char *folder = folder_new(root);
	struct truth truth = { .n_refused = 0 };
	struct book_header header;
	struct bytes bytes;

	play(spoiled_disk_reset(folder), folder, &truth, "no fault", 0);
	bytes = bytes_of(folder, LOGBOOK_NAME);
	cr_assert(bytes.data && book_header_get(bytes.data, bytes.size, &header));
	*ret_sick = (struct sick){ .found = found, .truth = truth };
	if (found == LOGBOOK_TORN) {
		memset(bytes.data + bytes.size - 3, 0, 3); /* the last entry: process 4 */
		model_apply(&ret_sick->truth.model, &(struct change){ PROCESS_GONE, 4, 0, 0 });
	} else if (found == LOGBOOK_DAMAGED) {
		bytes.data[9] ^= 1; /* the header's; all entries are whole */
		ret_sick->kept = LOGBOOK_NAME ".damaged-1";
	} else {
		header.format = 9;
		book_header_put(bytes.data, &header);
		ret_sick->truth.model.n = 0;
		ret_sick->kept = LOGBOOK_NAME ".other-1";
	}
	ret_sick->bytes = bytes;
}

static bool lies_in(const char *folder, const char *name, const struct bytes *ought)
{
	struct bytes bytes = bytes_of(folder, name);
	bool same = bytes.data && bytes.size == ought->size && memcmp(bytes.data, ought->data, bytes.size) == 0;

	free(bytes.data);
	return same;
}

/* Afterwards the disk is well, and it is opened again. */
static void expect_well(const char *folder, const struct sick *sick, unsigned n)
{
	enum logbook_found found;
	struct logbook *book;

	cr_assert(!sick->kept || lies_in(folder, LOGBOOK_NAME, &sick->bytes) || lies_in(folder, sick->kept, &sick->bytes),
		  "found %d, call %u: the old file is lost", sick->found, n);
	cr_assert_eq(logbook_open_on(spoiled_disk_reset(folder), folder, &book, &found, &why), 0, "%s", why.text);
	cr_assert(found == LOGBOOK_WHOLE || found == sick->found || (found == LOGBOOK_TORN && sick->truth.n_refused),
		  "call %u: %d, not %d: %s", n, found, sick->found, why.text);
	cr_assert(truth_allows(&sick->truth, book, false), "found %d, call %u: %s", sick->found, n, book_state(book));
	cr_assert(!sick->kept || lies_in(folder, sick->kept, &sick->bytes));
	cr_assert(access(strcat(strcpy((char[128]){ 0 }, folder), "/" LOGBOOK_NAME ".new"), F_OK) < 0);
	logbook_free(book);
}

static void mend_on_bad_disk(enum logbook_found ought, enum spoil spoil)
{
	struct sick sick;
	unsigned calls = 1;

	sicken(ought, &sick);
	for (unsigned n = 0; n <= calls; n++) {
		const char *folder = folder_new(root);
		struct truth truth = sick.truth;
		enum logbook_found found;
		struct logbook *book;
		const struct logbook_disk *disk;
		int r;

		bytes_leave(folder, LOGBOOK_NAME, sick.bytes.data, sick.bytes.size);
		disk = spoiled_disk_reset(folder);
		if (n > 0)
			spoiled_disk_spoil(n, spoil);
		if (logbook_open_on(disk, folder, &book, &found, &why) == 0) {
			/* Whoever is dead sees nothing; the end may have come while it read. */
			if (!spoiled_disk_is_dead()) {
				cr_assert_eq(found, ought, "call %u: %d: %s", n, found, why.text);
				cr_assert(truth_allows(&truth, book, true), "call %u: %s", n, why.text);
			}
			r = book_put(book, &script[0], &why);
			truth_tell(&truth, &script[0], r == 0, book);
			cr_assert(spoiled_disk_is_dead() || truth_allows(&truth, book, true));
			logbook_free(book);
		} else {
			cr_assert_neq(n, 0, "%s", why.text);
			cr_assert_str_not_empty(why.text);
		}
		if (n == 0)
			calls = spoiled_disk_calls();
		expect_well(folder, &(struct sick){ sick.bytes, truth, sick.found, sick.kept }, n);
		cr_assert_eq(folder_remove(folder, &why), 0);
	}
	free(sick.bytes.data);
}

Test(logbook_faults, nothing_is_lost_when_a_torn_one_cannot_be_mended)
{
	mend_on_bad_disk(LOGBOOK_TORN, SPOIL_ENOSPC);
	mend_on_bad_disk(LOGBOOK_TORN, SPOIL_EIO);
	mend_on_bad_disk(LOGBOOK_TORN, SPOIL_DEAD);
}

Test(logbook_faults, nothing_is_lost_when_a_damaged_one_cannot_be_mended)
{
	mend_on_bad_disk(LOGBOOK_DAMAGED, SPOIL_ENOSPC);
	mend_on_bad_disk(LOGBOOK_DAMAGED, SPOIL_EIO);
	mend_on_bad_disk(LOGBOOK_DAMAGED, SPOIL_DEAD);
}

Test(logbook_faults, nothing_is_lost_when_another_format_cannot_be_kept)
{
	mend_on_bad_disk(LOGBOOK_OTHER_VERSION, SPOIL_ENOSPC);
	mend_on_bad_disk(LOGBOOK_OTHER_VERSION, SPOIL_EIO);
	mend_on_bad_disk(LOGBOOK_OTHER_VERSION, SPOIL_DEAD);
}

/* A damaged one on a full disk: it can be read, nothing can be written, and when there is room again all is well. */
Test(logbook_faults, a_damaged_one_on_a_full_disk_is_read_and_written_later)
{
	struct sick sick;
	struct logbook *book;
	enum logbook_found found;
	const struct logbook_disk *disk;

	sicken(LOGBOOK_DAMAGED, &sick);
	bytes_leave(root, LOGBOOK_NAME, sick.bytes.data, sick.bytes.size);
	disk = spoiled_disk_reset(root);
	/* Opened, read twice to its end, no new one was there, made, and then no room. */
	for (unsigned n = 5; n <= 9; n++)
		spoiled_disk_spoil(n, SPOIL_ENOSPC);
	cr_assert_eq(logbook_open_on(disk, root, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(found, LOGBOOK_DAMAGED);
	cr_assert(strstr(why.text, "nothing can be written yet"), "%s", why.text);
	cr_assert(strstr(why.text, "No space left on device; make room"), "%s", why.text);
	cr_assert(truth_allows(&sick.truth, book, true));
	cr_assert_eq(book_put(book, &script[0], &why), -ENOSPC);
	cr_assert(strstr(why.text, "has to be made anew first"), "%s", why.text);
	spoiled_disk_mend();
	cr_assert_eq(book_put(book, &script[0], &why), 0, "%s", why.text);
	truth_tell(&sick.truth, &script[0], true, book);
	logbook_free(book);
	expect_well(root, &sick, 0);
	free(sick.bytes.data);
}
