/* SPDX-License-Identifier: MIT */
/* The load client: a command is a line, its answer another one. */
#include "tests/rig/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A request may take 30 s before it counts as failed, and an answer may have to wait for it. */
#define ANSWER_TIMEOUT_US (60 * USEC_PER_SEC)

struct rig_load {
	struct rig_child *child;
	json_t *answer; /* that came and was not taken yet */
};

static void on_answer(void *data, const char *line)
{
	struct rig_load *load = data;

	json_decref(load->answer);
	load->answer = json_loads(line, 0, NULL);
}

static bool answered_or_gone(void *data)
{
	const struct rig_load *load = data;

	return load->answer || load->child->out.fd < 0;
}

/* @ret_answer: a new reference. */
static int await(struct rig_load *load, const char *what, json_t **ret_answer)
{
	struct rig *rig = load->child->rig;
	int rc = rig_wait(rig, answered_or_gone, load, ANSWER_TIMEOUT_US, "upg-load (pid %d) to answer %s",
			  load->child->child.pid, what);

	if (rc < 0)
		return rc;
	if (!load->answer)
		return rig_fail(rig, -ECHILD, "upg-load ended instead of answering %s", what);
	*ret_answer = load->answer;
	load->answer = NULL;
	if (!json_object_get(*ret_answer, "error"))
		return 0;
	rc = rig_fail(rig, -EPROTO, "upg-load, asked to %s: %s", what, rig_text(*ret_answer, "error"));
	json_decref(*ret_answer);
	*ret_answer = NULL;
	return rc;
}

static struct rig_load *load_free(struct rig_load *load)
{
	if (load->child)
		program_free(load->child);
	json_decref(load->answer);
	free(load);
	return NULL;
}

static int begin(struct rig *rig, uint16_t port, const struct rig_load_options *options, struct rig_load *load)
{
	char program[PATH_MAX], connections[16], keys[16], rate[16], pipeline[16], seed[16], reopen[16], address[32];
	const char *argv[] = { program, "--control", "-c", connections, "-k", keys, "-r", rate, "--pipeline", pipeline,
			       "--seed", seed, "--reopen", reopen, "--value-bytes",
			       options->values ? options->values : "32-1500", address, NULL };
	struct rig_run run = { .argv = argv };
	struct program_spec spec = { .run = &run, .log = "upg-load.log", .log_error_only = true, .input = true };
	int rc;

	snprintf(program, sizeof(program), "%s", rig_program(rig, "upg-load"));
	snprintf(connections, sizeof(connections), "%u", options->connections ? options->connections : 1000);
	snprintf(keys, sizeof(keys), "%u", options->keys ? options->keys : 8);
	snprintf(rate, sizeof(rate), "%u", options->rate ? options->rate : 5000);
	snprintf(pipeline, sizeof(pipeline), "%u", options->pipeline ? options->pipeline : 4);
	snprintf(seed, sizeof(seed), "%u", options->seed ? options->seed : 1);
	snprintf(reopen, sizeof(reopen), "%u", options->reopen);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	rc = program_begin(rig, &spec, &load->child);
	if (rc < 0)
		return rc;
	load->child->out.on_line = on_answer;
	load->child->out.data = load;
	return 0;
}

int rig_load_start(struct rig *rig, uint16_t port, const struct rig_load_options *options, struct rig_load **ret_load)
{
	static const struct rig_load_options usual;
	struct rig_load *load = calloc(1, sizeof(*load));
	json_t *ready = NULL;
	int rc;

	if (!load)
		return rig_fail(rig, -ENOMEM, "no memory");
	rc = begin(rig, port, options ? options : &usual, load);
	if (rc == 0)
		rc = await(load, "that it is ready", &ready);
	json_decref(ready);
	if (rc < 0) {
		load_free(load);
		return rc;
	}
	*ret_load = load;
	return 0;
}

int rig_load_ask(struct rig_load *load, json_t **ret_answer, const char *fmt, ...)
{
	char command[128], line[sizeof(command) + 1];
	json_t *answer = NULL;
	va_list args;
	int rc;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	snprintf(line, sizeof(line), "%s\n", command);
	rc = fd_write_all(load->child->in, line, strlen(line), clock_now_us() + USEC_PER_SEC);
	if (rc < 0)
		return rig_fail(load->child->rig, rc, "upg-load takes no commands any more: %s", strerror(-rc));
	rc = await(load, command, &answer);
	if (rc == 0 && ret_answer)
		*ret_answer = answer;
	else
		json_decref(answer);
	return rc;
}

int rig_load_stop(struct rig_load *load, json_t **ret_report, int *ret_status)
{
	struct rig_answer ended = { 0 };
	json_t *report = NULL;
	int rc = rig_load_ask(load, &report, "stop");

	if (rc == 0) {
		rc = rig_run_wait(load->child, ANSWER_TIMEOUT_US, &ended);
		load->child = NULL;
	}
	load_free(load);
	if (rc == 0 && ret_status)
		*ret_status = ended.status;
	if (rc == 0 && ret_report)
		*ret_report = json_incref(report);
	json_decref(report);
	rig_answer_done(&ended);
	return rc;
}
