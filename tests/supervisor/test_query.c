/* SPDX-License-Identifier: MIT */
/* `status` and `list`: a process that serves is asked how many descriptors it has registered, and not waited for longer than a
 * person notices. */
#include "supervisor/control/verbs.h"
#include "supervisor/process/query.h"

#include "tests/supervisor/hosted.h"

#include <criterion/criterion.h>
#include <signal.h>

#define MS USEC_PER_MSEC
#define ASKED UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_REGISTERED

static struct fake *serves;

static void setup(void)
{
	hosted_set(NULL);
	serves = hosted_serve("v1");
}

TestSuite(query, .init = setup, .fini = hosted_clear, .timeout = 20);

/* Return: what goes on. */
static struct errand *status(struct caller *caller)
{
	Upgraded__Wire__Request wire = UPGRADED__WIRE__REQUEST__INIT;
	struct wire_fds fds = { .n = 0 };

	wire.protocol = WIRE_PROTOCOL;
	wire.verb = UPGRADED__WIRE__VERB__VERB_STATUS;
	wire.service = wire_text("web");
	return verbs_run(&hosted.place.registry, &wire, &fds, ask(caller));
}

static void end(struct errand *errand)
{
	if (errand)
		errand->free(errand);
}

static void say(uint64_t count)
{
	Upgraded__Wire__Registered registered = UPGRADED__WIRE__REGISTERED__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_REGISTERED, .registered = &registered);

	registered.count = count;
	fake_say(serves, &message);
}

static void assert_told(const struct caller *caller, bool told, uint32_t count)
{
	const Upgraded__Wire__ServiceStatus *service;

	cr_assert_eq(caller->asked.answers, 1);
	cr_assert_eq(caller->result->n_services, 1);
	service = caller->result->services[0];
	cr_assert(service->descriptors_told == told && service->descriptors == count, "%d, %u", service->descriptors_told,
		  service->descriptors);
}

Test(query, asks_the_version_that_serves)
{
	struct errand *errand = status(&ann);

	cr_assert_eq(fake_heard_times(serves, ASKED), 1);
	assert_waits(&ann);
	say(42);
	hosted_turn();
	assert_told(&ann, true, 42);
	cr_assert_eq(ann.asked.code, WIRE_EXIT_DONE);
	end(errand);
}

Test(query, does_not_wait_for_one_that_is_busy_and_asks_it_once)
{
	struct errand *errand = status(&ann);

	hosted_pass(100 * MS - 1);
	assert_waits(&ann);
	hosted_pass(1);
	assert_told(&ann, false, 0);
	end(errand);
	errand = status(&ann);
	cr_assert_eq(fake_heard_times(serves, ASKED), 1, "it has a question");
	say(7);
	hosted_turn();
	assert_told(&ann, true, 7);
	end(errand);
	say(8); /* unasked */
	errand = status(&ann);
	cr_assert_eq(fake_heard_times(serves, ASKED), 2);
	hosted_pass(100 * MS);
	assert_told(&ann, false, 0);
	end(errand);
}

Test(query, asks_once_for_two_who_want_to_know)
{
	struct errand *first = status(&ann), *second = status(&bob);

	cr_assert_eq(fake_heard_times(serves, ASKED), 1);
	say(42);
	hosted_turn();
	assert_told(&ann, true, 42);
	assert_told(&bob, true, 42);
	end(first);
	end(second);
}

Test(query, is_over_for_one_who_goes_away)
{
	end(status(&ann));
	say(42);
	hosted_pass(200 * MS);
	assert_waits(&ann);
}

Test(query, answers_when_the_process_ends)
{
	struct errand *errand = status(&ann);

	fake_exit(serves, SIGSEGV);
	hosted_turn();
	assert_told(&ann, false, 0);
	end(errand);
}

Test(query, asks_nothing_that_would_call_a_save_off)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct errand *errand;

	service_save(hosted.web, fd, ask(&bob));
	errand = status(&ann);
	cr_assert_null(errand);
	assert_told(&ann, false, 0);
	cr_assert_not(fake_heard(serves, ASKED));
}

Test(query, asks_nothing_that_would_call_a_roll_off)
{
	static const enum roll_state states[] = { ROLL_STANDBY, ROLL_QUIESCE, ROLL_TRANSFER, ROLL_LOADING, ROLL_COMMIT };
	struct fake *new = hosted_roll("v2");

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (i)
			hosted_lead_on(serves, new, states[i - 1], states[i]);
		cr_assert_null(status(&bob), "%s", roll_state_name(states[i]));
		cr_assert_eq(bob.asked.answers, 1);
		cr_assert_not(fake_heard(serves, ASKED));
		cr_assert_not(fake_heard(new, ASKED));
	}
	/* What is handed over is known without it. */
	assert_told(&bob, true, 2);
}

Test(query, forgets_what_is_not_waited_for)
{
	struct query query = { .of = NULL };

	query_forget(&query);
	query_ask(&query, &serves->instance);
	query_forget(&query);
	query_forget(&query);
	say(1);
}
