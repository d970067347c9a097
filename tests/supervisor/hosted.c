/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/hosted.h"

#include <signal.h>

#define STEP_US (50 * USEC_PER_MSEC)

struct hosted hosted;
struct caller ann, bob;

/* ---- people ---- */

static void on_progress(struct asker *asker, const Upgraded__Wire__Progress *progress)
{
	struct caller *caller = container_of(asker, struct caller, asked.asker);
	size_t n = strlen(caller->said);
	char line[400];

	cr_assert_eq(caller->asked.answers, 0, "progress after the answer");
	asked_on_progress(asker, progress);
	snprintf(line, sizeof(line), "%s: %s\n", progress->phase, progress->text);
	if (n + strlen(line) + 1 > sizeof(caller->said))
		n = 0;
	snprintf(caller->said + n, sizeof(caller->said) - n, "%s", line);
}

static void forget_result(struct caller *caller)
{
	if (caller->result)
		upgraded__wire__result__free_unpacked(caller->result, NULL);
	caller->result = NULL;
}

static void on_result(struct asker *asker, const Upgraded__Wire__Result *result)
{
	struct caller *caller = container_of(asker, struct caller, asked.asker);
	size_t size = upgraded__wire__result__get_packed_size(result);
	uint8_t *packed = malloc(size + 1);

	cr_assert_not_null(packed);
	asked_on_result(asker, result);
	forget_result(caller);
	upgraded__wire__result__pack(result, packed);
	caller->result = upgraded__wire__result__unpack(NULL, size, packed);
	cr_assert_not_null(caller->result);
	free(packed);
}

struct asker *ask(struct caller *caller)
{
	cr_assert_null(caller->asked.asker.service, "it waits for something already");
	forget_result(caller);
	*caller = (struct caller){ .asked.asker = { .on_progress = on_progress, .on_result = on_result } };
	return &caller->asked.asker;
}

void caller_leave(struct caller *caller)
{
	cr_assert_not_null(caller->asked.asker.service, "nobody waits for it: %s", caller->asked.text);
	service_forget(&caller->asked.asker);
	/* Whoever still tells it anything falls over it. */
	caller->asked.asker.on_progress = NULL;
	caller->asked.asker.on_result = NULL;
}

struct roll_request request(const char *version)
{
	struct roll_request made = { .bake_us = 0 };

	snprintf(made.version, sizeof(made.version), "%s", version);
	return made;
}

/* ---- begin and end ---- */

void hosted_write(const char *more)
{
	char text[2048];

	snprintf(text, sizeof(text), "%s%s", HOSTED_UNIT, more ? more : "");
	place_write(&hosted.place, "web.conf", text);
}

void hosted_set(const char *more)
{
	struct why why = { 0 };

	memset(&hosted, 0, sizeof(hosted));
	hosted.now_us = 1000 * USEC_PER_SEC;
	clock_fake(&hosted.now_us);
	fake_imaging_reset();
	place_open(&hosted.place);
	fake_origin_init(&hosted.origin);
	hosted.place.registry.host.origin = &hosted.origin.origin;
	hosted.site = &hosted.place.registry.host.site;
	hosted.site->criu_path = "criu";
	hosted.site->imaging = &imaging_fake;
	hosted.loop = hosted.site->loop;
	hosted_write(more);
	hosted.web = registry_find(&hosted.place.registry, "web", &why);
	cr_assert_not_null(hosted.web, "%s", why.text);
}

void hosted_clear(void)
{
	place_close(&hosted.place);
	for (unsigned i = 0; i < hosted.origin.n_started; i++)
		cr_assert_null(hosted.origin.started[i], "nobody owns process %u, and it was not freed", i);
	forget_result(&ann);
	forget_result(&bob);
	clock_fake(NULL);
	cr_assert_eq(hosted.site->counts.misfits, 0, "an event had no cell; see the log");
}

/* ---- processes ---- */

bool is_gone(unsigned n)
{
	cr_assert_lt(n, hosted.origin.n_started, "only %u were started", hosted.origin.n_started);
	return !hosted.origin.started[n];
}

struct fake *started(unsigned n)
{
	cr_assert_not(is_gone(n), "process %u was freed", n);
	return hosted.origin.started[n];
}

static void say_hello(struct fake *fake)
{
	unsigned version = (unsigned)atoi(fake->instance.version + 1);

	fake_hello(fake, version, true);
}

void hosted_start_up(struct fake *fake)
{
	say_hello(fake);
	fake_standby(fake);
	fake_ready(fake);
}

struct fake *hosted_serve(const char *version)
{
	unsigned n = hosted.origin.n_started;

	service_start(hosted.web, version, -1, ask(&ann));
	hosted_start_up(started(n));
	assert_answer(&ann, WIRE_EXIT_DONE, "web version %s serves (pid %d)", version, started(n)->instance.pid);
	return started(n);
}

struct fake *hosted_roll(const char *version)
{
	struct roll_request to = request(version);
	unsigned n = hosted.origin.n_started;

	service_roll(hosted.web, &to, ask(&ann));
	assert_waits(&ann);
	return started(n);
}

/* ---- along the good way ---- */

static void stand_by(struct fake *from, struct fake *to)
{
	(void)from;
	say_hello(to);
	fake_standby(to);
}

static void come_to_rest(struct fake *from, struct fake *to)
{
	(void)to;
	fake_quiesced(from);
}

static void save(struct fake *from, struct fake *to)
{
	(void)to;
	fake_hand_over(from, 2, true);
	fake_saved(from, 10, 2);
}

static void load(struct fake *from, struct fake *to)
{
	(void)from;
	fake_loaded(to, 10, 2);
}

static void commit(struct fake *from, struct fake *to)
{
	(void)from;
	cr_assert(fake_commit(to), "the commit word is not to be had");
}

static void park(struct fake *from, struct fake *to)
{
	(void)to;
	fake_parked(from);
}

static void image(struct fake *from, struct fake *to)
{
	(void)from;
	(void)to;
	if (fake_imaging.job)
		fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
}

void hosted_lead_on(struct fake *from, struct fake *to, enum roll_state since, enum roll_state until)
{
	static const struct {
		enum roll_state state;
		void (*leave)(struct fake *from, struct fake *to);
	} way[] = {
		{ ROLL_STANDBY, stand_by }, { ROLL_QUIESCE, come_to_rest }, { ROLL_TRANSFER, save }, { ROLL_LOADING, load },
		{ ROLL_COMMIT, commit },    { ROLL_PARK, park },	    { ROLL_IMAGE, image },
	};

	for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++)
		if (way[i].state >= since && way[i].state < until)
			way[i].leave(from, to);
}

void hosted_lead(struct fake *from, struct fake *to, enum roll_state until)
{
	hosted_lead_on(from, to, ROLL_STANDBY, until);
}

struct fake *hosted_bake(void)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	hosted_lead(old, new, ROLL_BAKE);
	assert_status("baking", "v2");
	return new;
}

/* ---- time ---- */

void hosted_turn(void)
{
	cr_assert_eq(loop_turn(hosted.loop, 0), 0);
}

/* Return: whether there was any. */
static bool answer_pings(void)
{
	bool any = false;

	for (unsigned i = 0; i < hosted.origin.n_started; i++) {
		struct fake *fake = hosted.origin.started[i];

		if (fake && instance_is_alive(&fake->instance) &&
		    fake_heard_last(fake) == UPGRADED__WIRE__APP_MESSAGE__BODY_PING) {
			fake_pong(fake);
			any = true;
		}
	}
	return any;
}

void hosted_pass(uint64_t us)
{
	uint64_t until = hosted.now_us + us;

	do {
		uint64_t left = until - hosted.now_us;

		hosted.now_us += left < STEP_US ? left : STEP_US;
		hosted_turn();
		if (!hosted.silent && answer_pings())
			hosted_turn();
	} while (hosted.now_us < until);
}

/* ---- ends ---- */

static bool reap_one(void)
{
	for (unsigned i = 0; i < hosted.origin.n_started; i++)
		if (hosted.origin.started[i] && fake_reap(hosted.origin.started[i]))
			return true;
	return false;
}

void hosted_reap(void)
{
	while (reap_one())
		;
}

static void obey(struct fake *fake)
{
	if (fake->instance.life == INSTANCE_LAST_WORDS)
		fake_end_exit(fake);
	else if (!instance_is_alive(&fake->instance))
		return;
	else if (fake->signal == SIGTERM)
		fake_exit(fake, 0);
	else if (fake_heard_last(fake) == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT)
		fake_resumed(fake);
}

static void do_as_told(void)
{
	hosted_reap();
	for (unsigned i = 0; i < hosted.origin.n_started; i++)
		if (hosted.origin.started[i])
			obey(hosted.origin.started[i]);
	if (fake_imaging.job)
		fake_imaging_done(-5, CRIU_TARGET_RUNNING);
}

void hosted_end_all(void)
{
	service_end(hosted.web);
	for (unsigned i = 0; i < 4096 && !service_is_idle(hosted.web); i++) {
		do_as_told();
		hosted_pass(STEP_US);
		service_end(hosted.web);
	}
	cr_assert(service_is_idle(hosted.web), "it does not end: %s", hosted_processes());
}

/* ---- what it says ---- */

const char *hosted_doing(void)
{
	static char what[64];
	struct caller curious = { .said = "" };
	const char *open;

	service_start(hosted.web, "", -1, ask(&curious));
	cr_assert_eq(curious.asked.code, WIRE_EXIT_BUSY, "%s", curious.asked.text);
	open = strrchr(curious.asked.text, '(');
	cr_assert_not_null(open);
	snprintf(what, sizeof(what), "%.*s", (int)strcspn(open + 1, ")"), open + 1);
	forget_result(&curious);
	return what;
}

const char *hosted_processes(void)
{
	static char list[512];
	struct status status;
	size_t used = 0;

	*list = 0;
	service_status(hosted.web, &status);
	for (size_t i = 0; i < status.message.n_instances; i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s %s", i ? ", " : "",
					 status.message.instances[i]->state, status.message.instances[i]->version);
	status_done(&status);
	return list;
}
