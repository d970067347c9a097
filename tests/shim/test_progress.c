/* SPDX-License-Identifier: MIT */
/* A slow start that says it gets on. */
#include "tests/shim/fake.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_progress, .timeout = 60);

#define EVERY_US (100 * USEC_PER_MSEC)

static struct app *app;
static uint64_t now_us;

static void setup(void)
{
	app = app_new();
}

Test(shim_progress, is_nothing_without_a_supervisor, .init = setup)
{
	struct upg *upg;

	unsetenv(WIRE_FD_ENV);
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	upg_progress(upg, "nobody hears this");
	upg_progress(upg, NULL);
	cr_assert_str_empty(upg_why(upg));
	upg_free(upg);
}

/* This very process as an application, with its supervisor's end. */
static struct upg *open_here(int *ret_supervisor)
{
	static char hello[WIRE_MESSAGE_MAX];
	char number[16];
	struct upg *upg;
	int pair[2];

	now_us = 1000 * USEC_PER_SEC;
	clock_fake(&now_us);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	snprintf(number, sizeof(number), "%d", pair[1]);
	setenv(WIRE_FD_ENV, number, 1);
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	cr_assert_gt(recv(pair[0], hello, sizeof(hello), 0), 0);
	*ret_supervisor = pair[0];
	return upg;
}

/* Return: its text, valid until the next call; NULL: there was none. */
static const char *hear(int supervisor)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	static char text[4096];
	ProtobufCMessage *message;
	struct wire_fds fds;
	Upgraded__Wire__AppMessage *said;

	if (wire_receive(supervisor, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, NULL) != WIRE_OK)
		return NULL;
	said = (void *)message;
	cr_assert_eq(said->body_case, UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS);
	snprintf(text, sizeof(text), "%s", said->start_progress->text);
	upgraded__wire__app_message__free_unpacked(said, NULL);
	return text;
}

Test(shim_progress, is_told_at_most_once_in_a_hundred_milliseconds, .init = setup)
{
	int supervisor;
	struct upg *upg = open_here(&supervisor);

	upg_progress(upg, "1 of 3");
	upg_progress(upg, "2 of 3");
	cr_assert_str_eq(hear(supervisor), "1 of 3");
	cr_assert_null(hear(supervisor));
	now_us += EVERY_US - 1;
	upg_progress(upg, "2 of 3");
	cr_assert_null(hear(supervisor));
	now_us++;
	upg_progress(upg, "3 of 3");
	cr_assert_str_eq(hear(supervisor), "3 of 3");
	upg_free(upg);
	close(supervisor);
}

Test(shim_progress, is_cut_where_it_is_long, .init = setup)
{
	static char text[100000];
	const char *heard;
	int supervisor;
	struct upg *upg = open_here(&supervisor);

	memset(text, 'x', sizeof(text) - 1);
	upg_progress(upg, text);
	heard = hear(supervisor);
	cr_assert_not_null(heard);
	cr_assert_lt(strlen(heard), 200);
	upg_free(upg);
	close(supervisor);
}

Test(shim_progress, never_waits_for_a_supervisor_that_does_not_read, .init = setup)
{
	int supervisor;
	struct upg *upg = open_here(&supervisor);

	for (unsigned i = 0; i < 20000; i++) {
		now_us += EVERY_US;
		upg_progress(upg, "talking into the void");
	}
	cr_assert_str_eq(hear(supervisor), "talking into the void");
	cr_assert_str_empty(upg_why(upg));
	close(supervisor);
	now_us += EVERY_US;
	upg_progress(upg, "and to nobody");
	upg_free(upg);
}

static void *talk(void *upg)
{
	for (unsigned i = 0; i < 10000; i++)
		upg_progress(upg, "of many");
	return NULL;
}

Test(shim_progress, of_many_threads_is_told_once, .init = setup)
{
	pthread_t threads[4];
	int supervisor;
	struct upg *upg = open_here(&supervisor);

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, talk, upg), 0);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_str_eq(hear(supervisor), "of many");
	cr_assert_null(hear(supervisor));
	upg_free(upg);
	close(supervisor);
}
