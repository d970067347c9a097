/* SPDX-License-Identifier: MIT */
#include "tests/load/control.h"

#include "base/clock.h"
#include "tests/load/conn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TURN_EVENTS 512u /* the fewest sockets that one turn hears, if so many have something to say */

static void line_print_consume(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);

	if (text)
		puts(text);
	fflush(stdout);
	free(text);
	json_decref(object);
}

static json_t *answer_new(const char *command)
{
	json_t *object = json_object();

	json_object_set_new(object, "answer", json_string(command));
	return object;
}

static void number_set(json_t *object, const char *name, uint64_t n)
{
	json_object_set_new(object, name, json_integer((json_int_t)n));
}

static void answer_error(const char *command, const char *text)
{
	json_t *object = answer_new(command);

	json_object_set_new(object, "error", json_string(text));
	line_print_consume(object);
}

static void report_fill(const struct load *load, json_t *object)
{
	number_set(object, "connections", load->live);
	stats_json(&load->stats, object);
}

/* ---- commands ---- */

static void report_begin(struct control *control)
{
	json_t *object = answer_new("report");

	report_fill(control->load, object);
	line_print_consume(object);
}

static void mark_begin(struct control *control)
{
	stats_mark(&control->load->stats);
	line_print_consume(answer_new("mark"));
}

static void crash_begin(struct control *control)
{
	if (control->load->window_open) {
		answer_error("crash", "a crash window is open already; settle it first");
		return;
	}
	control->load->window_open = true;
	control->load->settlement = (struct settlement){ 0 };
	line_print_consume(answer_new("crash"));
}

static void settle_begin(struct control *control, const char *args)
{
	uint64_t commit_us, resume_us;
	int used = 0;

	if (sscanf(args, "%" SCNu64 " %" SCNu64 " %n", &commit_us, &resume_us, &used) < 2 || args[used] ||
	    resume_us < commit_us) {
		answer_error("settle", "usage: settle COMMIT_US RESUME_US, both CLOCK_MONOTONIC, the second not before the first");
		return;
	}
	if (!control->load->window_open) {
		answer_error("settle", "no crash window is open; say crash before the crash");
		return;
	}
	control->commit_us = commit_us;
	control->resume_us = resume_us;
	control->drain_turns = control->load->config->connections / TURN_EVENTS + 2;
	control->work = CONTROL_DRAIN;
}

static void reopen_begin(struct control *control, const char *args)
{
	uint64_t rate;
	int used = 0;

	if (sscanf(args, "%" SCNu64 " %n", &rate, &used) < 1 || args[used] || rate > 100000) {
		answer_error("reopen", "usage: reopen N, connections per second, up to 100000");
		return;
	}
	load_reopen(control->load, rate);
	control->work = CONTROL_REOPEN;
}

static void pause_begin(struct control *control)
{
	load_pause(control->load);
	control->work = CONTROL_PAUSE;
}

static void continue_begin(struct control *control)
{
	if (control->load->paused)
		load_continue(control->load);
	line_print_consume(answer_new("continue"));
}

static void audit_begin(struct control *control)
{
	control->wrong_before = control->load->stats.total.wrong;
	load_audit(control->load);
	control->work = CONTROL_AUDIT;
}

static void stop_begin(struct control *control)
{
	load_pause(control->load);
	control->work = CONTROL_STOP_PAUSE;
}

static void command_begin(struct control *control, char *line)
{
	char *args = line + strcspn(line, " ");

	if (*args)
		*args++ = '\0';
	if (strcmp(line, "settle") == 0)
		settle_begin(control, args);
	else if (strcmp(line, "reopen") == 0)
		reopen_begin(control, args);
	else if (*args)
		answer_error(line, "this command takes no arguments");
	else if (strcmp(line, "report") == 0)
		report_begin(control);
	else if (strcmp(line, "mark") == 0)
		mark_begin(control);
	else if (strcmp(line, "crash") == 0)
		crash_begin(control);
	else if (strcmp(line, "pause") == 0)
		pause_begin(control);
	else if (strcmp(line, "continue") == 0)
		continue_begin(control);
	else if (strcmp(line, "audit") == 0)
		audit_begin(control);
	else if (strcmp(line, "stop") == 0) {
		control->by_command = true;
		stop_begin(control);
	} else {
		answer_error(line, "no such command; there are report, mark, crash, settle, reopen, pause, continue, audit, stop");
	}
}

/* ---- ends of what takes time ---- */

static void audit_answer(struct control *control)
{
	json_t *object = answer_new("audit");

	number_set(object, "keys", control->load->audited);
	number_set(object, "connections", control->load->live);
	number_set(object, "wrong", control->load->stats.total.wrong - control->wrong_before);
	line_print_consume(object);
}

static void settle_answer(struct control *control)
{
	const struct settlement *settlement = &control->load->settlement;
	json_t *object = answer_new("settle");

	number_set(object, "kept", settlement->kept);
	number_set(object, "reset", settlement->reset);
	number_set(object, "interrupted", settlement->interrupted);
	number_set(object, "reverted", settlement->reverted);
	number_set(object, "wrong", settlement->wrong);
	number_set(object, "served_by_lost", settlement->served_by_lost);
	line_print_consume(object);
}

/* A crash window that nobody settled: what was reset in it stays unexplained. */
static void window_abandon(struct load *load)
{
	if (!load->window_open)
		return;
	load->window_open = false;
	for (unsigned i = 0; i < load->config->connections; i++)
		if (load->conns[i].state == CONN_RESET)
			conn_abandon(&load->conns[i]);
}

static void final_answer(struct control *control)
{
	json_t *object = json_object();

	if (control->by_command)
		json_object_set_new(object, "answer", json_string("stop"));
	else
		json_object_set_new(object, "event", json_string("done"));
	json_object_set_new(object, "ok", json_boolean(stats_clean(&control->load->stats)));
	number_set(object, "audited", control->load->audited);
	report_fill(control->load, object);
	line_print_consume(object);
}

/* Return: whether something came to its end. */
static bool work_advance(struct control *control)
{
	struct load *load = control->load;

	switch (control->work) {
	case CONTROL_REOPEN:
		if (!load->reopen_rate && !load->paused && load->fresh)
			return false;
		line_print_consume(answer_new("reopen"));
		break;
	case CONTROL_PAUSE:
		if (load->outstanding || load->reopening)
			return false;
		line_print_consume(answer_new("pause"));
		break;
	case CONTROL_AUDIT:
		if (load->auditing)
			return false;
		audit_answer(control);
		break;
	case CONTROL_DRAIN:
		if (control->drain_turns && control->drain_turns--)
			return false;
		load_settle(load, control->commit_us, control->resume_us);
		control->work = CONTROL_SETTLE;
		return true;
	case CONTROL_SETTLE:
		if (load->surveying)
			return false;
		settle_answer(control);
		break;
	case CONTROL_STOP_PAUSE:
		if (load->outstanding || load->reopening)
			return false;
		window_abandon(load);
		load_audit(load);
		control->work = CONTROL_STOP_AUDIT;
		return true;
	case CONTROL_STOP_AUDIT:
		if (load->auditing)
			return false;
		final_answer(control);
		control->work = CONTROL_DONE;
		return false;
	case CONTROL_NOTHING:
	case CONTROL_DONE:
		return false;
	}
	control->work = CONTROL_NOTHING;
	return true;
}

/* ---- input ---- */

int control_init(struct control *control, struct load *load, bool enabled, struct why *why)
{
	int rc;

	*control = (struct control){ .load = load, .enabled = enabled, .end_us = UINT64_MAX };
	if (!enabled)
		return 0;
	rc = load_watch_input(load, STDIN_FILENO);
	if (rc < 0 && rc != -EPERM)
		return why_errno(why, rc, "cannot wait for commands on standard input");
	control->input_polled = rc == 0;
	return 0;
}

static void input_end(struct control *control)
{
	if (control->input_polled)
		epoll_ctl(control->load->epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
	control->input_ended = true;
}

static void input_read(struct control *control)
{
	size_t room = sizeof(control->input) - control->size;
	ssize_t n;

	/* A file is always ready; it is read no faster than it is executed. */
	if (!control->enabled || control->input_ended || !room || (control->input_polled && !control->load->input_ready))
		return;
	control->load->input_ready = false;
	n = read(STDIN_FILENO, control->input + control->size, room);
	if (n > 0)
		control->size += (size_t)n;
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		input_end(control);
}

/* Return: whether there was a whole line, now in @line. */
static bool line_take(struct control *control, char *line, size_t size)
{
	char *end = memchr(control->input, '\n', control->size);
	size_t n = end ? (size_t)(end - control->input) : control->size;
	size_t used = end ? n + 1 : n;

	if (!end && n < sizeof(control->input))
		return false;
	while (n && (control->input[n - 1] == '\r' || control->input[n - 1] == ' '))
		n--;
	n = n < size - 1 ? n : size - 1;
	memcpy(line, control->input, n);
	line[n] = '\0';
	memmove(control->input, control->input + used, control->size - used);
	control->size -= used;
	return true;
}

/* ---- the loop's side ---- */

uint64_t control_until_us(const struct control *control)
{
	bool file_waits = control->enabled && !control->input_polled && !control->input_ended;

	if (control->work == CONTROL_DRAIN || (file_waits && control->work == CONTROL_NOTHING))
		return 0;
	return control->end_us;
}

static void announce(struct control *control)
{
	const struct load_config *config = control->load->config;
	json_t *object;

	control->announced = true;
	if (config->duration_us)
		control->end_us = clock_now_us() + config->duration_us;
	if (!control->enabled)
		return;
	object = json_object();
	json_object_set_new(object, "event", json_string("ready"));
	number_set(object, "connections", control->load->live);
	number_set(object, "keys", (uint64_t)control->load->live * config->keys);
	number_set(object, "at_us", clock_now_us());
	line_print_consume(object);
}

/* Nobody is left to give a command, or nothing to give it to. */
static bool end_reached(const struct control *control)
{
	if (clock_now_us() >= control->end_us)
		return true;
	return control->enabled ? control->input_ended : control->load->live == 0;
}

bool control_advance(struct control *control, bool stop)
{
	char line[256];

	input_read(control);
	if (!control->load->ready)
		return !stop;
	if (!control->announced)
		announce(control);
	while (work_advance(control))
		;
	while (control->work == CONTROL_NOTHING && line_take(control, line, sizeof(line))) {
		if (*line)
			command_begin(control, line);
		while (work_advance(control))
			;
	}
	if (control->work == CONTROL_NOTHING && (stop || end_reached(control)))
		stop_begin(control);
	return control->work != CONTROL_DONE;
}
