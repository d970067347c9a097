/* SPDX-License-Identifier: MIT */
/* A program that a test runs: what it says is read whenever the rig waits, for whatever it waits. */
#include "tests/rig/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what it says ---- */

static void stream_close(struct stream *stream)
{
	source_del(&stream->source);
	stream->fd = fd_close(stream->fd);
}

static void tell_lines(struct stream *stream)
{
	char *end;

	while (stream->on_line && (end = memchr(stream->text + stream->told, '\n', stream->size - stream->told)) != NULL) {
		*end = '\0';
		stream->on_line(stream->data, stream->text + stream->told);
		*end = '\n';
		stream->told = (size_t)(end - stream->text) + 1;
	}
}

static bool stream_grow(struct stream *stream)
{
	size_t room = stream->room ? stream->room * 2 : 4096;
	char *text;

	if (stream->size + 1 < stream->room)
		return true;
	if (room > STREAM_MAX)
		return false;
	text = realloc(stream->text, room);
	if (!text)
		return false;
	text[stream->size] = '\0'; /* also when nothing ever comes */
	stream->text = text;
	stream->room = room;
	return true;
}

static void on_readable(struct source *source, uint32_t events)
{
	struct stream *stream = container_of(source, struct stream, source);
	ssize_t n;

	(void)events;
	if (!stream_grow(stream)) {
		stream_close(stream);
		return;
	}
	n = read(stream->fd, stream->text + stream->size, stream->room - stream->size - 1);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		stream_close(stream);
		return;
	}
	stream->size += (size_t)n;
	stream->text[stream->size] = '\0';
	tell_lines(stream);
}

/* @ret_theirs: the end the program gets; the caller closes it. */
static int stream_open(struct rig *rig, struct stream *stream, int *ret_theirs)
{
	int pair[2], rc;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(&rig->why, -errno, "pipe");
	stream->fd = pair[0];
	fd_nonblock(stream->fd, 1);
	*ret_theirs = pair[1];
	rc = source_add(rig->loop, &stream->source, stream->fd, EPOLLIN, on_readable);
	return rc < 0 ? why_errno(&rig->why, rc, "cannot read from a pipe") : 0;
}

/* ---- starting ---- */

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static const char *find_program(const char *name, char path[static PATH_MAX])
{
	const char *at = getenv("PATH");

	if (strchr(name, '/'))
		return name;
	for (at = at ? at : "/usr/bin:/bin"; *at; at += strcspn(at, ":"), at += *at == ':') {
		snprintf(path, PATH_MAX, "%.*s/%s", (int)strcspn(at, ":"), at, name);
		if (is_program(path))
			return path;
	}
	return name;
}

static bool same_variable(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Ours with @added on top. The strings stay where they are; release the array. */
static const char **environment_with(const char *const *added)
{
	size_t n = 0, n_added = 0, used = 0;
	const char **all;

	while (environ[n])
		n++;
	while (added && added[n_added])
		n_added++;
	all = calloc(n + n_added + 1, sizeof(*all));
	if (!all)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool replaced = false;

		for (size_t j = 0; j < n_added; j++)
			replaced |= same_variable(added[j], environ[i]);
		if (!replaced)
			all[used++] = environ[i];
	}
	for (size_t j = 0; j < n_added; j++)
		all[used++] = added[j];
	return all;
}

struct ends {
	int in, out, err, log; /* the program's */
};

static void ends_close(struct ends *ends)
{
	fd_close(ends->in);
	fd_close(ends->out);
	fd_close(ends->err);
	fd_close(ends->log);
}

static int ends_open(struct rig_child *child, const struct program_spec *spec, struct ends *ends)
{
	struct rig *rig = child->rig;
	char path[PATH_MAX];
	int pair[2], rc = 0;

	*ends = (struct ends){ .in = -1, .out = -1, .err = -1, .log = -1 };
	if (spec->log) {
		ends->log = open(log_path(rig, spec->log, path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (ends->log < 0)
			return why_errno(&rig->why, -errno, "%s", path);
	}
	if (spec->input) {
		if (pipe2(pair, O_CLOEXEC) < 0)
			return why_errno(&rig->why, -errno, "pipe");
		ends->in = pair[0];
		child->in = pair[1];
	}
	if (!spec->run->show && (!spec->log || spec->log_error_only))
		rc = stream_open(rig, &child->out, &ends->out);
	if (rc == 0 && !spec->run->show && !spec->log)
		rc = stream_open(rig, &child->err, &ends->err);
	return rc;
}

/* Its exit is seen by child.exited. */
static void on_exit_seen(struct child *child)
{
	(void)child;
}

static char *const *unconst(const char *const *strings)
{
	return (char *const *)(uintptr_t)strings; /* exec's argument arrays predate const */
}

static int spawn(struct rig_child *child, const struct program_spec *spec, const struct ends *ends)
{
	const struct rig_run *run = spec->run;
	const char **environment = environment_with(run->environment);
	char path[PATH_MAX], cwd[PATH_MAX];
	int shown = run->show ? STDOUT_FILENO : ends->log;
	struct child_fd fds[3] = {
		{ ends->out >= 0 ? ends->out : shown, 1 },
		{ ends->err >= 0 ? ends->err : shown, 2 },
		{ ends->in, 0 },
	};
	struct child_spec what = {
		.path = find_program(run->argv[0], path),
		.argv = unconst(run->argv),
		.envp = unconst((const char *const *)environment),
		.cwd = run->cwd ? run->cwd : getcwd(cwd, sizeof(cwd)),
		.fds = fds,
		.n_fds = ends->in >= 0 ? 3 : 2,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
		.nofile = fd_raise_limit(),
	};
	int rc;

	if (!environment)
		return why_errno(&child->rig->why, -ENOMEM, "environment");
	fflush(stdout);
	rc = child_spawn(child->rig->loop, &child->child, &what, on_exit_seen, &child->rig->why);
	free(environment);
	return rc;
}

static void name_it(struct rig_child *child, const char *const *argv)
{
	const char *slash = strrchr(argv[0], '/');
	size_t used = (size_t)snprintf(child->name, sizeof(child->name), "%s", slash ? slash + 1 : argv[0]);

	for (int i = 1; argv[i] && used < sizeof(child->name); i++)
		used += (size_t)snprintf(child->name + used, sizeof(child->name) - used, " %s", argv[i]);
}

int program_begin(struct rig *rig, const struct program_spec *spec, struct rig_child **ret_child)
{
	struct rig_child *child = calloc(1, sizeof(*child));
	struct ends ends;
	int rc;

	if (!child)
		return rig_fail(rig, -ENOMEM, "no memory");
	child->rig = rig;
	child->in = child->out.fd = child->err.fd = -1;
	child->err.on_line = spec->run->on_line;
	child->err.data = spec->run->data;
	child_init(&child->child);
	name_it(child, spec->run->argv);
	child->next = rig->children;
	rig->children = child;
	rc = ends_open(child, spec, &ends);
	if (rc == 0)
		rc = spawn(child, spec, &ends);
	ends_close(&ends);
	if (rc < 0) {
		struct why why = rig->why;

		program_free(child);
		return rig_fail(rig, rc, "%s", why.text);
	}
	*ret_child = child;
	return 0;
}

struct rig_child *program_free(struct rig_child *child)
{
	struct rig_child **at = &child->rig->children;

	while (*at != child)
		at = &(*at)->next;
	*at = child->next;
	if (child->rig->daemon == child)
		child->rig->daemon = NULL;
	child_done(&child->child);
	fd_close(child->in);
	stream_close(&child->out);
	stream_close(&child->err);
	free(child->out.text);
	free(child->err.text);
	free(child);
	return NULL;
}

int program_status(const struct rig_child *child)
{
	int status = child->child.status;

	return WIFSIGNALED(status) ? RIG_KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- for tests ---- */

int rig_run_begin(struct rig *rig, const struct rig_run *run, struct rig_child **ret_child)
{
	return program_begin(rig, &(struct program_spec){ .run = run }, ret_child);
}

pid_t rig_run_pid(const struct rig_child *child)
{
	return child->child.pid;
}

/* Its outputs may be in other hands too, those of a process it left behind: then its exit alone would not end the wait. */
static bool has_ended(void *data)
{
	const struct rig_child *child = data;

	return child->child.exited && child->out.fd < 0 && child->err.fd < 0;
}

bool rig_run_ended(struct rig_child *child)
{
	loop_turn(child->rig->loop, 0);
	return child->child.exited;
}

int rig_run_kill(struct rig_child *child, int signal)
{
	return child_kill(&child->child, signal);
}

static void answer_take(struct rig_child *child, struct rig_answer *ret_answer)
{
	struct rig_answer answer = { .status = program_status(child) };

	answer.out = child->out.text ? child->out.text : strdup("");
	answer.err = child->err.text ? child->err.text : strdup("");
	child->out.text = child->err.text = NULL;
	answer.json = answer.out ? json_loads(answer.out, 0, NULL) : NULL;
	*ret_answer = answer;
}

int rig_run_wait(struct rig_child *child, uint64_t timeout_us, struct rig_answer *ret_answer)
{
	int rc = rig_wait(child->rig, has_ended, child, timeout_us, "the end of %s (pid %d)", child->name, child->child.pid);

	if (rc == 0 && ret_answer)
		answer_take(child, ret_answer);
	program_free(child);
	return rc;
}

void rig_answer_done(struct rig_answer *answer)
{
	free(answer->out);
	free(answer->err);
	json_decref(answer->json);
	*answer = (struct rig_answer){ 0 };
}
