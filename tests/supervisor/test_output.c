/* SPDX-License-Identifier: MIT */
/* What a process prints: a pipe that a test writes to, under a clock that stands still. */
#include "supervisor/process/output.h"
#include "tests/supervisor/output_log.h"

#include "base/base.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>

static struct loop *loop;
static uint64_t now_us;
static struct output *output;
static struct lines lines;
static int theirs = -1;
static unsigned n_ends;

static void set_up(void)
{
	now_us = 1000 * USEC_PER_SEC;
	clock_fake(&now_us);
	cr_assert_eq(loop_new(&loop, NULL), 0);
	log_catch();
}

static void on_end(struct output *ended)
{
	cr_assert_eq(ended, output);
	n_ends++;
}

static void begin(uint64_t line_rate, uint64_t byte_rate)
{
	unsigned long long inode;

	output = output_new(loop, line_rate, byte_rate, &lines);
	cr_assert_not_null(output);
	output->on_end = on_end;
	output_name(output, "web", "v1", 4711);
	cr_assert_eq(output_open(output, &theirs, &inode, NULL), 0);
	cr_assert_eq(fd_nonblock(theirs, 1), 0);
}

static void tear_down(void)
{
	output = output_free(output);
	theirs = fd_close(theirs);
	loop_free(loop);
	log_release();
	clock_fake(NULL);
}

TestSuite(output, .init = set_up, .fini = tear_down, .timeout = 30);

static void turn(void)
{
	cr_assert_eq(loop_turn(loop, 0), 0);
}

static void print(const char *text)
{
	cr_assert_eq(write(theirs, text, strlen(text)), (ssize_t)strlen(text));
	turn();
}

static void pass(uint64_t us)
{
	now_us += us;
	turn();
}

static const char *last_line(unsigned back)
{
	char *list[LINES_MAX];
	size_t n = lines_list(&lines, list);

	cr_assert_gt(n, back);
	return list[n - 1 - back];
}

/* ---- lines ---- */

Test(output, is_logged_line_by_line_with_its_name)
{
	begin(0, 0);
	print("one\ntw");
	cr_assert_eq(log_times("web[v1 4711]: one\n"), 1);
	cr_assert_eq(log_times("tw"), 0);
	print("o\r\n\nthree");
	cr_assert_eq(log_times("web[v1 4711]: two\n"), 1);
	cr_assert_eq(log_times("web[v1 4711]: \n"), 1);
	theirs = fd_close(theirs);
	turn();
	cr_assert_eq(log_times("web[v1 4711]: three\n"), 1, "the last line needs no end");
	cr_assert_eq(n_ends, 1);
	cr_assert_str_eq(last_line(0), "three");
	cr_assert_str_eq(last_line(3), "one");
}

Test(output, keeps_other_languages_in_whatever_pieces_they_come)
{
	begin(0, 0);
	for (const char *at = "Gr\xc3\xbc\xc3\x9f Gott, \xe6\x97\xa5\xe6\x9c\xac\n"; *at; at++)
		print((char[]){ *at, '\0' });
	cr_assert_eq(log_times(": Gr\xc3\xbc\xc3\x9f Gott, \xe6\x97\xa5\xe6\x9c\xac\n"), 1);
	cr_assert_str_eq(last_line(0), "Gr\xc3\xbc\xc3\x9f Gott, \xe6\x97\xa5\xe6\x9c\xac");
}

Test(output, cannot_drive_a_terminal)
{
	begin(0, 0);
	print("\033[2J \xc2\x9b""1m \x9b""1m <0>\n");
	cr_assert_eq(log_times(": ?[2J ??1m ?1m <0>\n"), 1);
}

Test(output, keeps_a_line_of_json_whole_and_cuts_longer_ones_between_characters)
{
	char line[OUTPUT_LINE_BYTES + 3] = { 0 };

	begin(0, 0);
	memset(line, 'j', OUTPUT_LINE_BYTES);
	line[0] = '{';
	line[OUTPUT_LINE_BYTES - 1] = '}';
	print(line);
	print("\n");
	cr_assert_eq(log_times(line), 1);
	cr_assert_eq(strlen(last_line(0)), LINE_BYTES - 1);
	memset(line, 'k', sizeof(line) - 1);
	memcpy(line + OUTPUT_LINE_BYTES - 1, "\xe6\x97\xa5", 3);
	print(line);
	print("\n");
	cr_assert_eq(log_times("web[v1 4711]: \xe6\x97\xa5\n"), 1, "%s", log_caught());
	cr_assert_eq(log_times("?"), 0);
}

/* ---- too much of it ---- */

static void print_numbers(unsigned from, unsigned to)
{
	char text[32];

	for (unsigned i = from; i < to; i++) {
		snprintf(text, sizeof(text), "number %u.\n", i);
		while (write(theirs, text, strlen(text)) < 0) {
			cr_assert_eq(errno, EAGAIN);
			now_us += 10 * USEC_PER_MSEC; /* it is read again then */
			turn();
		}
	}
	turn();
}

Test(output, beyond_its_lines_a_second_is_dropped_and_counted)
{
	begin(10, 0);
	print_numbers(0, 200);
	cr_assert_eq(log_times("number "), 10 * RATE_BURST_S);
	cr_assert_eq(log_times("dropped"), 0, "told before it is known how many");
	pass(USEC_PER_SEC);
	cr_assert_eq(log_times("web[v1 4711]: 150 lines dropped (2 KiB): more than LogRate=, LogRateBytes= let through\n"), 1, "%s",
		     log_caught());
	/* What it says last is remembered all the same. */
	cr_assert_str_eq(last_line(0), "number 199.");
	cr_assert_str_eq(last_line(LINES_MAX - 1), "number 188.");
	/* A second brings as many as are let through a second. */
	print_numbers(1000, 1020);
	cr_assert_eq(log_times("number 10"), 10 + 1, "%s", log_caught()); /* and "number 10." */
	pass(100 * USEC_PER_SEC);
	cr_assert_eq(log_times("10 lines dropped"), 1);
	pass(100 * USEC_PER_SEC);
	cr_assert_eq(log_times("lines dropped"), 2, "told without a reason");
}

Test(output, beyond_its_bytes_a_second_is_dropped)
{
	char line[1001];

	begin(0, 4096);
	memset(line, 'b', sizeof(line) - 1);
	line[999] = '\n';
	line[1000] = '\0';
	for (unsigned i = 0; i < 40; i++)
		print(line);
	cr_assert_leq(log_times("bbb\n"), 4096 * RATE_BURST_S / 1000);
	cr_assert_geq(log_times("bbb\n"), (4096 * RATE_BURST_S - OUTPUT_LINE_BYTES) / 1000);
	pass(2 * USEC_PER_SEC);
	cr_assert_eq(log_times("lines dropped"), 1);
}

Test(output, without_bounds_is_all_logged)
{
	begin(0, 0);
	print_numbers(0, 20000);
	for (unsigned i = 0; i < 100; i++)
		pass(10 * USEC_PER_MSEC);
	cr_assert_eq(log_times("number "), 20000);
}

Test(output, of_a_flood_is_read_once_a_turn_and_not_in_every_turn)
{
	static char flood[64u << 10];
	ssize_t fitted, again;

	begin(10, 0);
	memset(flood, '\n', sizeof(flood));
	fitted = write(theirs, flood, sizeof(flood));
	cr_assert_eq(fitted, (ssize_t)sizeof(flood));
	turn();
	again = write(theirs, flood, sizeof(flood));
	cr_assert_gt(again, 0, "nothing was read");
	cr_assert_leq(again, 16 << 10, "a turn is too long");
	for (unsigned i = 0; i < 100; i++)
		turn();
	cr_assert_lt(write(theirs, flood, 1), 0, "it is read in every turn");
	pass(10 * USEC_PER_MSEC); /* its timer comes after the sources of a turn */
	turn();
	cr_assert_geq(write(theirs, flood, sizeof(flood)), 48 << 10, "it waits longer than it has to");
}

/* ---- the end ---- */

Test(output, that_somebody_else_goes_on_writing_has_an_end)
{
	const char text[] = "x";

	begin(0, 0);
	cr_assert_gt(write(theirs, "last words\n", 11), 0);
	output_finish(output);
	cr_assert_eq(log_times("last words"), 1);
	output_close(output);
	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(write(theirs, text, 1), -1);
	cr_assert_eq(errno, EPIPE);
	cr_assert_eq(n_ends, 0, "who closes it knows");
}

Test(output, tells_what_was_dropped_before_it_is_closed)
{
	begin(10, 0);
	for (unsigned i = 0; i < 60; i++)
		cr_assert_eq(write(theirs, "x\n", 2), 2);
	cr_assert_eq(write(theirs, "why", 3), 3);
	output_finish(output);
	cr_assert_eq(log_times(": x\n"), 10 * RATE_BURST_S);
	cr_assert_eq(log_times("11 lines dropped"), 1);
	cr_assert_str_eq(last_line(0), "why");
}

/* ---- rates ---- */

Test(output, rates_fill_up_and_do_not_run_over)
{
	struct rate rate;

	rate_init(&rate, 100, 0);
	cr_assert(rate_take(&rate, 100 * RATE_BURST_S, 0));
	cr_assert_not(rate_take(&rate, 1, 0));
	cr_assert_not(rate_take(&rate, 1, 9999));
	cr_assert(rate_take(&rate, 1, 10000));
	cr_assert_not(rate_take(&rate, 1, 10000));
	cr_assert_not(rate_take(&rate, 101, 1010000));
	cr_assert(rate_take(&rate, 100, 1010000));
	cr_assert_not(rate_take(&rate, 1, 5000), "a clock that goes back brings something");
	cr_assert(rate_take(&rate, 100 * RATE_BURST_S, UINT64_MAX / 2));
	cr_assert_not(rate_has(&rate, 1, UINT64_MAX / 2));
	rate_init(&rate, UINT64_MAX, 0);
	cr_assert(rate_take(&rate, UINT64_C(1) << 40, 1));
	rate_init(&rate, 0, 0);
	cr_assert(rate_take(&rate, UINT64_MAX, 0), "0 is no limit");
}
