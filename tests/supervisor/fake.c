/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/fake.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_PID 100000000 /* beyond any that there is */

struct fake *fake_of(struct instance *instance)
{
	return container_of(instance, struct fake, instance);
}

/* ---- as every instance ---- */

static void map_word(struct fake *fake, uint64_t generation, const int *fds, size_t n)
{
	if (n < 2) /* a save: there is no commit word */
		return;
	commit_unmap(&fake->word);
	cr_assert_eq(commit_map(&fake->word, fds[0], generation, NULL), 0);
}

static void note_given(struct fake *fake, const Upgraded__Wire__Fds *fds)
{
	size_t used = strlen(fake->given);

	for (size_t i = 0; i < fds->n_fds && used < sizeof(fake->given); i++)
		used += (size_t)snprintf(fake->given + used, sizeof(fake->given) - used, "%s%s %llu%s", used ? ", " : "",
					 fds->fds[i]->name, (unsigned long long)fds->fds[i]->tag,
					 fds->fds[i]->optional ? "?" : "");
}

static void fake_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	struct fake *fake = fake_of(instance);

	if (fake->deaf)
		return;
	for (size_t i = 0; i < n; i++)
		cr_assert_geq(fds[i], 0, "a descriptor that is none was sent");
	if (fake->n_sent == FAKE_SENT_MAX)
		memmove(fake->sent, fake->sent + 1, --fake->n_sent * sizeof(fake->sent[0]));
	fake->sent[fake->n_sent++] = message->body_case;
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_FDS)
		note_given(fake, message->fds);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_PING)
		fake->nonce = message->ping->nonce;
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE) {
		fake->question = message->prepare->question;
		fake->quiesce_deadline_us = message->prepare->quiesce_deadline_us;
		fake->commit_deadline_us = message->prepare->commit_deadline_us;
		map_word(fake, message->prepare->generation, fds, n);
	}
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE && !message->receive->from_file)
		map_word(fake, message->receive->generation, fds, n);
}

static void forget_queued(struct instance *instance)
{
	(void)instance;
}

static void note_signal(struct instance *instance, int signal)
{
	struct fake *fake = fake_of(instance);

	if (fake->signal != SIGKILL)
		fake->signal = signal;
}

static bool has_ended(struct instance *instance)
{
	(void)instance;
	return false;
}

static int reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why)
{
	(void)why;
	cr_assert_eq(instance->life, INSTANCE_ENDED, "what still runs cannot come back");
	*ret_channel = fcntl(0, F_DUPFD_CLOEXEC, 0);
	*ret_log = fcntl(0, F_DUPFD_CLOEXEC, 0);
	return 0;
}

static int adopt(struct instance *instance, pid_t pid, struct why *why)
{
	(void)why;
	fake_of(instance)->signal = 0;
	instance_came_back(instance, pid);
	return 0;
}

static void release(struct instance *instance)
{
	struct fake *fake = fake_of(instance);

	if (fake->at)
		*fake->at = NULL;
	commit_unmap(&fake->word);
	free(fake);
}

static const struct instance_kind fake_kind = {
	.name = "fake",
	.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_REAP | INSTANCE_CAN_IMAGE,
	.send = fake_send,
	.forget_queued = forget_queued,
	.signal = note_signal,
	.has_ended = has_ended,
	.reconnect = reconnect,
	.adopt = adopt,
	.free = release,
};

struct fake *fake_new(const char *service, const char *version)
{
	static pid_t last = FIRST_PID;
	struct fake *fake = calloc(1, sizeof(*fake));

	cr_assert_not_null(fake);
	instance_init(&fake->instance, &fake_kind, service, version);
	fake->instance.pid = ++last;
	return fake;
}

void fake_watch(struct fake *fake, struct fake **at)
{
	fake->at = at;
	*at = fake;
}

/* ---- what it says ---- */

void fake_say_fds(struct fake *fake, const Upgraded__Wire__AppMessage *message, const int *fds_consume, size_t n)
{
	size_t size = upgraded__wire__app_message__get_packed_size(message);
	uint8_t *packed = malloc(size + 1);
	struct wire_fds fds = { .n = n };

	cr_assert_not_null(packed);
	cr_assert_leq(n, WIRE_FDS_MAX);
	memcpy(fds.fd, fds_consume, n * sizeof(int));
	upgraded__wire__app_message__pack(message, packed);
	instance_hear(&fake->instance, upgraded__wire__app_message__unpack(NULL, size, packed), &fds);
	free(packed);
}

void fake_say(struct fake *fake, const Upgraded__Wire__AppMessage *message)
{
	const int none = -1;

	fake_say_fds(fake, message, &none, 0);
}

#define SAY(fake, kind, field, body)                                                                            \
	do {                                                                                                        \
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_##kind, .field = &(body)); \
		fake_say(fake, &message);                                                                               \
	} while (0)

void fake_hello(struct fake *fake, unsigned version, bool migrates)
{
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__Schema schema = UPGRADED__WIRE__SCHEMA__INIT, *schemas[] = { &schema };
	Upgraded__Wire__MigrationEdge edges[16], *list[16];

	schema.name = wire_text("thing");
	schema.version = version;
	schema.fingerprint = version;
	hello.protocol = WIRE_PROTOCOL;
	hello.leaves = !fake->is_old_library;
	hello.n_schemas = 1;
	hello.schemas = schemas;
	hello.migrations = list;
	for (unsigned v = 1; migrates && v < version && v < 8; v++) {
		for (unsigned down = 0; down < 2; down++) {
			Upgraded__Wire__MigrationEdge *edge = &edges[hello.n_migrations];

			upgraded__wire__migration_edge__init(edge);
			edge->type = wire_text("thing");
			edge->from = down ? v + 1 : v;
			edge->to = down ? v : v + 1;
			list[hello.n_migrations++] = edge;
		}
	}
	SAY(fake, HELLO, hello, hello);
}

#define SAYS(name, kind, field, type, init)        \
	void fake_##name(struct fake *fake)            \
	{                                              \
		Upgraded__Wire__##type body = init;        \
		SAY(fake, kind, field, body);              \
	}

SAYS(standby, STANDBY, standby, Standby, UPGRADED__WIRE__STANDBY__INIT)
SAYS(ready, READY, ready, Ready, UPGRADED__WIRE__READY__INIT)
SAYS(parked, PARKED, parked, Parked, UPGRADED__WIRE__PARKED__INIT)

void fake_quiesced(struct fake *fake)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;

	quiesced.question = fake->question;
	SAY(fake, QUIESCED, quiesced, quiesced);
}

void fake_not_yet(struct fake *fake)
{
	Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;

	not_yet.question = fake->question;
	SAY(fake, NOT_YET, not_yet, not_yet);
}

void fake_pong(struct fake *fake)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;

	pong.nonce = fake->nonce;
	SAY(fake, PONG, pong, pong);
}

void fake_refused(struct fake *fake, const char *reason)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;

	refused.reason = wire_text(reason);
	refused.question = fake->question;
	SAY(fake, REFUSED, refused, refused);
}

void fake_progress(struct fake *fake, const char *text)
{
	Upgraded__Wire__StartProgress progress = UPGRADED__WIRE__START_PROGRESS__INIT;

	progress.text = wire_text(text);
	SAY(fake, START_PROGRESS, start_progress, progress);
}

void fake_saved(struct fake *fake, uint64_t records, uint32_t fds)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;

	totals.records = totals.digest_lo = records;
	saved.totals = &totals;
	saved.fds = fds;
	saved.question = fake->question;
	SAY(fake, SAVED, saved, saved);
}

void fake_loaded(struct fake *fake, uint64_t records, uint32_t fds)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;

	totals.records = totals.digest_lo = records;
	loaded.totals = &totals;
	loaded.fds = fds;
	SAY(fake, LOADED, loaded, loaded);
}

void fake_committed(struct fake *fake)
{
	Upgraded__Wire__Committed committed = UPGRADED__WIRE__COMMITTED__INIT;

	committed.at_us = clock_now_us();
	SAY(fake, COMMITTED, committed, committed);
}

bool fake_commit(struct fake *fake)
{
	if (!commit_take(&fake->word, COMMIT_NEW))
		return false;
	fake_committed(fake);
	return true;
}

void fake_resumed(struct fake *fake)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = clock_now_us();
	resumed.question = fake->question;
	SAY(fake, RESUMED, resumed, resumed);
}

void fake_hand_over(struct fake *fake, size_t n, bool last)
{
	Upgraded__Wire__FdInfo infos[8], *list[8];
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	static uint64_t tag;
	int numbers[8];

	cr_assert_leq(n, 8);
	for (size_t i = 0; i < n; i++) {
		upgraded__wire__fd_info__init(&infos[i]);
		infos[i].name = wire_text("socket");
		infos[i].tag = ++tag;
		list[i] = &infos[i];
		numbers[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		cr_assert_geq(numbers[i], 0);
	}
	fds.n_fds = n;
	fds.fds = list;
	fds.last = last;
	fake_say_fds(fake, &message, numbers, n);
}

void fake_hand(struct fake *fake, const char *name, uint64_t tag, int fd_consume, bool last)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	info.name = wire_text(name);
	info.tag = tag;
	fds.fds = list;
	fds.n_fds = 1;
	fds.last = last;
	fake_say_fds(fake, &message, &fd_consume, 1);
}

void fake_closed(struct fake *fake, const char *name, uint64_t tag)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Closed closed = UPGRADED__WIRE__CLOSED__INIT;

	info.name = wire_text(name);
	info.tag = tag;
	closed.fds = list;
	closed.n_fds = 1;
	SAY(fake, CLOSED, closed, closed);
}

void fake_traffic(struct fake *fake, uint64_t unanswered, bool answered)
{
	Upgraded__Wire__Traffic traffic = UPGRADED__WIRE__TRAFFIC__INIT;

	traffic.unanswered = unanswered;
	traffic.answered = answered;
	SAY(fake, TRAFFIC, traffic, traffic);
}

void fake_garbage(struct fake *fake, const char *reason)
{
	fake->instance.events->on_garbage(&fake->instance, reason);
}

/* ---- its end ---- */

void fake_begin_exit(struct fake *fake, int status)
{
	cr_assert_eq(fake->instance.life, INSTANCE_RUNS);
	instance_exited(&fake->instance, status);
}

void fake_end_exit(struct fake *fake)
{
	cr_assert_eq(fake->instance.life, INSTANCE_LAST_WORDS);
	instance_ended(&fake->instance);
}

void fake_exit(struct fake *fake, int status)
{
	fake_begin_exit(fake, status);
	fake_end_exit(fake);
}

bool fake_reap(struct fake *fake)
{
	if (fake->signal != SIGKILL || fake->instance.life != INSTANCE_RUNS)
		return false;
	fake_exit(fake, SIGKILL);
	return true;
}

/* ---- what it heard ---- */

unsigned fake_heard_times(const struct fake *fake, Upgraded__Wire__AppMessage__BodyCase what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < fake->n_sent; i++)
		n += fake->sent[i] == what;
	return n;
}

bool fake_heard(const struct fake *fake, Upgraded__Wire__AppMessage__BodyCase what)
{
	return fake_heard_times(fake, what);
}

Upgraded__Wire__AppMessage__BodyCase fake_heard_last(const struct fake *fake)
{
	return fake->n_sent ? fake->sent[fake->n_sent - 1] : UPGRADED__WIRE__APP_MESSAGE__BODY__NOT_SET;
}

/* ---- where they come from ---- */

static int start(struct origin *origin, const struct unit *unit, const char *version, struct instance **ret_instance,
		 struct why *why)
{
	struct fake_origin *fakes = container_of(origin, struct fake_origin, origin);

	if (fakes->refuses)
		return why_set(why, -ENOENT, "version %s: no such file", version);
	if (fakes->last)
		fakes->last->at = NULL;
	fake_watch(fake_new(unit->name, version), &fakes->last);
	fakes->n_started++;
	*ret_instance = &fakes->last->instance;
	return 0;
}

void fake_origin_init(struct fake_origin *origin)
{
	*origin = (struct fake_origin){ .origin.start = start };
}

/* ---- images ---- */

struct fake_imaging fake_imaging;

static int find_obstacles(const struct obstacles_spec *spec, struct obstacles_report *ret_report, struct why *why)
{
	(void)spec;
	(void)why;
	memset(ret_report, 0, sizeof(*ret_report));
	if (fake_imaging.has_obstacle) {
		ret_report->obstacle[0].level = OBSTACLE_FATAL;
		snprintf(ret_report->obstacle[0].text, sizeof(ret_report->obstacle[0].text), "a tape drive is open");
		ret_report->n = ret_report->n_fatal = 1;
	}
	return 0;
}

static int take_start(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		      void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	(void)loop;
	cr_assert_null(fake_imaging.job, "one image at a time");
	if (fake_imaging.refuses)
		return why_set(why, -ENOSPC, "the disk is full");
	fake_imaging.taken++;
	fake_imaging.job = job;
	fake_imaging.on_done = on_done;
	fake_imaging.restores = fake_imaging.hurried = false;
	fake_imaging.leave_running = spec->leave_running;
	return 0;
}

static void take_hurry(struct image_job *job)
{
	(void)job;
	fake_imaging.hurried = true;
}

static int restore_start(struct loop *loop, struct image_job *job, struct image *image, const struct image_restore_spec *spec,
			 void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	(void)loop;
	(void)spec;
	cr_assert_null(fake_imaging.job, "one image at a time");
	if (fake_imaging.refuses)
		return why_set(why, -EBADMSG, "a file of the image is damaged");
	fake_imaging.restored++;
	fake_imaging.job = job;
	fake_imaging.on_done = on_done;
	fake_imaging.restores = true;
	fake_imaging.image = image;
	return 0;
}

static int check_beside(const struct image *image, pid_t but_pid, struct why *why)
{
	(void)image;
	(void)but_pid;
	return fake_imaging.rung_is_bad ? why_set(why, -ENOENT, "a library that the image needs is gone") : 0;
}

static bool reap_children(const struct image *image)
{
	(void)image;
	if (!fake_imaging.pids_wait)
		return false;
	fake_imaging.pids_wait--;
	return true;
}

const struct imaging imaging_fake = {
	.find_obstacles = find_obstacles,
	.take_start = take_start,
	.take_hurry = take_hurry,
	.restore_start = restore_start,
	.check_beside = check_beside,
	.reap_children = reap_children,
};

void fake_imaging_reset(void)
{
	fake_imaging = (struct fake_imaging){ .job = NULL };
}

void fake_imaging_done(int rc, enum criu_target target)
{
	struct image_job *job = fake_imaging.job;
	struct why why = { 0 };

	cr_assert_not_null(job);
	fake_imaging.job = NULL;
	if (rc < 0)
		why_set(&why, rc, "CRIU failed");
	job->target = target;
	job->elapsed_us = 1000;
	if (fake_imaging.restores) {
		job->restored_pid = fake_imaging.image->pid;
	} else if (rc == 0) {
		job->image = calloc(1, sizeof(*job->image));
		cr_assert_not_null(job->image);
		job->image->path = strdup("/nonexistent/images/web/1");
		job->image->generation = 1;
		job->image->pid = FIRST_PID;
		job->image->size_bytes = 4096;
	}
	fake_imaging.on_done(job, rc, &why);
}
