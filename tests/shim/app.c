/* SPDX-License-Identifier: MIT */
#include "tests/shim/app.h"

#include "shim/core/channel.h"
#include "shim/core/upg.h"

#include "tests/shim/note.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NOTE_V1 (&test__shim__note_v1__descriptor)
#define NOTE_V2 (&test__shim__note_v2__descriptor)

void app_broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "application: %s:%d: %s (errno: %s)\n", file, line, what, strerror(errno));
	_exit(APP_BROKEN);
}

struct app *app_new(void)
{
	struct app *app = mmap(NULL, sizeof(*app), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(app, MAP_FAILED);
	app_version_1(app);
	return app;
}

/* ---- its state ---- */

static char *text_of(const struct app *app)
{
	static char text[65536];

	memset(text, 'n', app->text_bytes);
	text[app->text_bytes] = 0;
	return text;
}

static int save_v1(struct upg_saver *saver, void *userdata)
{
	struct app *app = userdata;
	Test__Shim__NoteV1 note = TEST__SHIM__NOTE_V1__INIT;
	int r = 0;

	note.text = text_of(app);
	for (uint32_t i = 0; r == 0 && i < app->n_notes; i++) {
		note.id = app->notes[i].id;
		r = upg_save(saver, &note.base);
	}
	return r;
}

static int save_v2(struct upg_saver *saver, void *userdata)
{
	struct app *app = userdata;
	Test__Shim__NoteV2 note = TEST__SHIM__NOTE_V2__INIT;
	int r = 0;

	note.text = text_of(app);
	for (uint32_t i = 0; r == 0 && i < app->n_notes; i++) {
		note.id = app->notes[i].id;
		note.stars = app->notes[i].stars;
		r = upg_save(saver, &note.base);
	}
	return r;
}

static int take_note(struct app *app, struct upg_loader *loader, uint64_t id, const char *text, uint32_t stars)
{
	if (app->fail_load && id == 3)
		return upg_load_fail(loader, "note %d is of no use", 3);
	if (app->dies_loading && id == 3)
		_exit(APP_BROKEN);
	if (app->skip_above && id > app->skip_above) {
		APP_MUST(upg_load_skip(loader, "note %llu is one too many", (unsigned long long)id) == 0);
		return upg_load_skip(loader, "said twice");
	}
	APP_MUST(app->n_notes < APP_NOTES_MAX);
	app->text_bytes = strlen(text);
	app->notes[app->n_notes++] = (struct app_note){ id, stars };
	return 0;
}

static int load_v1(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Test__Shim__NoteV1 *note = (const void *)message;

	return take_note(userdata, loader, note->id, note->text, 0);
}

static int load_v2(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Test__Shim__NoteV2 *note = (const void *)message;

	return take_note(userdata, loader, note->id, note->text, note->stars);
}

static uint64_t count(void *userdata)
{
	struct app *app = userdata;

	return (uint64_t)((int64_t)app->n_notes + app->count_off_by);
}

static int up(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const Test__Shim__NoteV1 *old = (const void *)from;
	Test__Shim__NoteV2 *new = (void *)to;

	new->id = old->id;
	new->text = upg_step_alloc(step, strlen(old->text) + 1);
	strcpy(new->text, old->text);
	new->stars = (uint32_t)old->id + 1;
	return 0;
}

static int down(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const Test__Shim__NoteV2 *old = (const void *)from;
	Test__Shim__NoteV1 *new = (void *)to;

	if (old->stars == 99999)
		return upg_step_fail(step, "%u stars do not fit", old->stars);
	new->id = old->id;
	new->text = old->text;
	return 0;
}

static const struct upg_type types_v1[] = {
	{ .name = "test.Note", .version = 1, .descriptor = NOTE_V1, .save = save_v1, .load = load_v1, .count = count }
};
static const struct upg_type types_v2[] = {
	{ .name = "test.Note", .version = 2, .descriptor = NOTE_V2, .save = save_v2, .load = load_v2, .count = count }
};
static const struct upg_migration migrations[] = {
	{ "test.Note", 1, 2, NOTE_V1, NOTE_V2, up },
	{ "test.Note", 2, 1, NOTE_V2, NOTE_V1, down },
};

void app_fill(struct app *app, uint32_t n, size_t text_bytes)
{
	cr_assert_leq(n, APP_NOTES_MAX);
	app->n_notes = n;
	app->text_bytes = text_bytes;
	for (uint32_t i = 0; i < n; i++)
		app->notes[i] = (struct app_note){ i, i + 1 };
}

/* ---- its callbacks ---- */

static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	struct app *app = userdata;
	unsigned n = atomic_fetch_add(&app->n_prepared, 1);

	app->level = (int)level;
	app->prepare_deadline_us = deadline_us;
	if (*app->prepare_reason)
		upg_refuse(app->upg, "%s", app->prepare_reason);
	if (n < 4 && app->prepare_says[n] == UPG_AWAIT_CHILD)
		return upg_await_child(app->upg, app->prepare_child, "child: %s", app->prepare_reason);
	return n < 4 ? app->prepare_says[n] : UPG_AT_REST;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	struct app *app = userdata;

	APP_MUST(!app->stops_threads || app->own_stopped);
	APP_MUST(go_on->n_lost <= APP_FDS_MAX);
	APP_MUST((go_on->lost == NULL) == (go_on->n_lost == 0));
	APP_MUST(go_on->reason == UPG_CAME_BACK || !go_on->n_lost);
	app->n_lost = (int)go_on->n_lost;
	for (size_t i = 0; i < go_on->n_lost; i++)
		app->lost[i] = go_on->lost[i];
	if (go_on->reason == UPG_SAVED)
		atomic_fetch_add(&app->n_saved, 1);
	atomic_fetch_add(go_on->reason == UPG_CAME_BACK ? &app->n_resumed : &app->n_aborted, 1);
}

static int stop_threads(uint64_t deadline_us, void *userdata)
{
	struct app *app = userdata;

	APP_MUST(!app->own_stopped);
	app->stop_deadline_us = deadline_us;
	if (app->stop_says == 0)
		app->own_stopped = true;
	return app->stop_says;
}

static void start_threads(void *userdata)
{
	struct app *app = userdata;

	APP_MUST(app->own_stopped);
	app->own_stopped = false;
	atomic_fetch_add(&app->n_started, 1);
}

void app_stops_threads(struct app *app)
{
	app->stops_threads = true;
	app->config.stop_threads = stop_threads;
	app->config.start_threads = start_threads;
}

void app_version_1(struct app *app)
{
	app->config = (struct upg_config){ .service = "notes",
					   .version = "v1",
					   .types = types_v1,
					   .n_types = 1,
					   .nudge_signal = SIGUSR1,
					   .on_prepare = on_prepare,
					   .on_go_on = on_go_on,
					   .userdata = app };
}

void app_version_2(struct app *app)
{
	app_version_1(app);
	app->config.version = "v2";
	app->config.types = types_v2;
	app->config.migrations = migrations;
	app->config.n_migrations = 2;
}

/* ---- its threads ---- */

struct app_worker *app_worker_add(struct app *app, const char *name, void (*body)(struct app_worker *worker))
{
	struct app_worker *worker = &app->workers[app->n_workers++];

	cr_assert_leq(app->n_workers, APP_WORKERS_MAX);
	worker->app = app;
	worker->body = body;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->work, NULL);
	snprintf(worker->name, sizeof(worker->name), "%s", name);
	return worker;
}

static void pause_shortly(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
}

static void enter(struct app_worker *worker)
{
	worker->thread = upg_thread_enter(worker->app->upg, worker->name, worker);
	APP_MUST(worker->thread);
	atomic_store(&worker->entered, true);
}

/* Return: true: go on. */
static bool pass_point(struct app_worker *worker)
{
	if (upg_point(worker->thread) == UPG_LEAVE) {
		upg_thread_leave(worker->thread);
		atomic_store(&worker->left, true);
		return false;
	}
	atomic_fetch_add(&worker->turns, 1);
	return true;
}

static void turn(struct app_worker *worker)
{
	while (pass_point(worker))
		pause_shortly();
}

/* Does not look at what it is told. */
void worker_careless(struct app_worker *worker)
{
	enter(worker);
	for (;;) {
		(void)!upg_point(worker->thread);
		atomic_fetch_add(&worker->turns, 1);
	}
}

void worker_turns(struct app_worker *worker)
{
	enter(worker);
	turn(worker);
}

void worker_reads(struct app_worker *worker)
{
	int pair[2];
	char byte;

	APP_MUST(pipe(pair) == 0);
	enter(worker);
	while (pass_point(worker))
		APP_MUST(read(pair[0], &byte, 1) < 0 && errno == EINTR);
}

void worker_waits(struct app_worker *worker)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(0), silent = eventfd(0, 0);

	APP_MUST(epoll_fd >= 0 && silent >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, silent, &event) == 0);
	enter(worker);
	while (pass_point(worker))
		APP_MUST(epoll_wait(epoll_fd, &event, 1, -1) < 0 && errno == EINTR);
}

void worker_deaf(struct app_worker *worker)
{
	struct pollfd fd = { .events = POLLIN };
	eventfd_t ignored;

	worker->fd = fd.fd = eventfd(0, 0);
	enter(worker);
	while (pass_point(worker)) {
		while (poll(&fd, 1, -1) < 0)
			APP_MUST(errno == EINTR);
		APP_MUST(eventfd_read(fd.fd, &ignored) == 0);
	}
}

static void await_work(struct app_worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	while (!worker->woken)
		pthread_cond_wait(&worker->work, &worker->lock);
	worker->woken = false;
	pthread_mutex_unlock(&worker->lock);
}

void worker_idle(struct app_worker *worker)
{
	enter(worker);
	while (pass_point(worker))
		await_work(worker);
}

/* Whoever is being woken must not be gone. */
void worker_leaves_woken(struct app_worker *worker)
{
	enter(worker);
	await_work(worker);
	APP_MUST(atomic_load(&worker->being_woken));
	upg_thread_leave(worker->thread);
	APP_MUST(!atomic_load(&worker->being_woken));
	atomic_store(&worker->left, true);
}

static void wake(struct upg_thread *thread, void *userdata)
{
	struct app_worker *worker = upg_thread_data(thread);

	(void)userdata;
	APP_MUST(worker->thread == thread);
	atomic_store(&worker->being_woken, true);
	if (worker->fd)
		APP_MUST(eventfd_write(worker->fd, 1) == 0);
	pthread_mutex_lock(&worker->lock);
	worker->woken = true;
	pthread_cond_broadcast(&worker->work);
	pthread_mutex_unlock(&worker->lock);
	/* Long enough for a thread that would not wait to be gone. */
	nanosleep(&(struct timespec){ .tv_nsec = worker->body == worker_leaves_woken ? 20000000 : 0 }, NULL);
	atomic_store(&worker->being_woken, false);
	atomic_fetch_add(&worker->n_wakes, 1);
}

void app_wakes(struct app *app)
{
	app->config.nudge_signal = 0;
	app->config.wake = wake;
}

static void await_go(struct app_worker *worker)
{
	while (!atomic_load(&worker->go))
		pause_shortly();
}

void worker_held_up(struct app_worker *worker)
{
	enter(worker);
	await_go(worker);
	turn(worker);
}

void worker_leaves(struct app_worker *worker)
{
	enter(worker);
	await_go(worker);
	upg_thread_leave(worker->thread);
}

void worker_comes_late(struct app_worker *worker)
{
	await_go(worker);
	atomic_store(&worker->entering, true);
	enter(worker);
	turn(worker);
}

static void *worker_main(void *arg)
{
	struct app_worker *worker = arg;

	worker->body(worker);
	return NULL;
}

static void start_workers(struct app *app)
{
	for (unsigned i = 0; i < app->n_workers; i++) {
		pthread_t *thread = &app->workers[i].id;

		APP_MUST(pthread_create(thread, NULL, worker_main, &app->workers[i]) == 0);
		if (!app->joins_threads)
			pthread_detach(*thread);
	}
}

/* ---- its life ---- */

static int failed(struct app *app)
{
	snprintf(app->why, sizeof(app->why), "%s", upg_why(app->upg));
	return APP_FAILED;
}

/* It is to leave: because it was told so, or because something failed? */
static int left_or_failed(struct app *app)
{
	return *upg_why(app->upg) ? failed(app) : APP_LEFT;
}

static int serve(struct app *app)
{
	for (;;) {
		struct pollfd fd = { .fd = upg_fd(app->upg), .events = POLLIN };
		enum upg_dispatched r;

		if (!channel_is_open(app->upg->channel))
			return APP_ORPHANED;
		if (poll(&fd, 1, -1) < 0 && errno != EINTR)
			return APP_BROKEN;
		r = upg_dispatch(app->upg);
		if (r != UPG_GO_ON || *upg_why(app->upg)) {
			app->last_dispatch = r == UPG_GO_ON ? -1 : (int)r;
			snprintf(app->why, sizeof(app->why), "%s", upg_why(app->upg));
		}
		if (r == UPG_LEAVE)
			return APP_LEFT;
		if (app->step)
			app->step(app);
		atomic_fetch_add(&app->n_steps, 1);
	}
}

static int live(struct app *app)
{
	enum upg_received received;

	if (app->opened)
		app->opened(app);
	received = upg_receive(app->upg);

	if (received == UPG_NOT_RECEIVED)
		return left_or_failed(app);
	if (received == UPG_RECEIVED && app->claim)
		app->claim(app);
	if (received == UPG_FRESH && app->fresh)
		app->fresh(app);
	if (upg_ready(app->upg) == UPG_NOT_READY)
		return left_or_failed(app);
	if (app->registers_main)
		app->main_thread = upg_thread_enter(app->upg, "main", NULL);
	start_workers(app);
	if (app->begin)
		app->begin(app);
	return serve(app);
}

int app_main(struct app *app)
{
	int r = upg_open(&app->config, &app->upg), end;

	if (r < 0) {
		snprintf(app->why, sizeof(app->why), "upg_open: %s", strerror(-r));
		return APP_FAILED;
	}
	end = live(app);
	if (end == APP_LEFT && app->leave)
		app->leave(app);
	for (unsigned i = 0; app->joins_threads && i < app->n_workers; i++)
		APP_MUST(pthread_join(app->workers[i].id, NULL) == 0);
	/* With threads that may be anywhere the handle stays. */
	if (!app->n_workers)
		app->upg = upg_free(app->upg);
	return end;
}
