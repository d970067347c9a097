/* SPDX-License-Identifier: MIT */
/* upgraded, as systemd would start it: it says on a socket of ours when it listens. */
#include "tests/rig/private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* It takes an image to find out whether images work, and stops its services with their own timeouts. */
#define START_TIMEOUT_US (30 * USEC_PER_SEC)
#define STOP_TIMEOUT_US (40 * USEC_PER_SEC)

struct notice {
	struct source source;
	int fd;
	bool ready;
	const struct rig_child *daemon;
	char variable[64];
};

static void on_notice(struct source *source, uint32_t events)
{
	struct notice *notice = container_of(source, struct notice, source);
	char text[512];
	ssize_t n = recv(notice->fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	(void)events;
	if (n <= 0)
		return;
	text[n] = '\0';
	notice->ready |= strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1") != NULL;
}

/* The kernel finds an abstract name that nobody has: a path could be too long for an address. */
static int notice_open(struct rig *rig, struct notice *notice)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(address.sun_family);

	notice->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notice->fd < 0 || bind(notice->fd, (const struct sockaddr *)&address, size) < 0)
		return -errno;
	size = sizeof(address);
	if (getsockname(notice->fd, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	snprintf(notice->variable, sizeof(notice->variable), "NOTIFY_SOCKET=@%.*s",
		 (int)(size - offsetof(struct sockaddr_un, sun_path) - 1), address.sun_path + 1);
	return source_add(rig->loop, &notice->source, notice->fd, EPOLLIN, on_notice);
}

static void notice_close(struct notice *notice)
{
	source_del(&notice->source);
	fd_close(notice->fd);
}

static bool is_ready_or_gone(void *data)
{
	const struct notice *notice = data;

	return notice->ready || notice->daemon->child.exited;
}

static int begin(struct rig *rig, const char *criu, const struct notice *notice)
{
	char config[PATH_MAX], state[PATH_MAX], program[PATH_MAX], owner[16];
	const char *argv[] = { program, "--config-dir", log_path(rig, "conf", config), "--run-dir", rig->folder,
			       "--state-dir", log_path(rig, "state", state), "--criu", criu, "--debug", "--trust-user", owner,
			       NULL };
	const char *environment[] = { notice->variable, NULL };
	struct rig_run run = { .argv = argv, .environment = environment };
	struct stat st;

	/* Root may run the tests in a checkout that is somebody else's. */
	snprintf(owner, sizeof(owner), "%u", stat(rig->build, &st) == 0 ? (unsigned)st.st_uid : 0);
	snprintf(program, sizeof(program), "%s", rig_program(rig, "upgraded"));
	return program_begin(rig, &(struct program_spec){ .run = &run, .log = "upgraded.log" }, &rig->daemon);
}

static const char *usable_criu(const struct rig *rig, char path[static PATH_MAX])
{
	if (getenv("UPG_CRIU"))
		return getenv("UPG_CRIU");
	snprintf(path, PATH_MAX, "%s/criu/bin/criu", rig->build);
	return access(path, X_OK) == 0 ? path : "criu";
}

int rig_daemon_start(struct rig *rig, const char *criu)
{
	struct notice notice = { .fd = -1 };
	char path[PATH_MAX], how[96];
	int rc;

	if (rig->daemon)
		return rig_fail(rig, -EBUSY, "upgraded runs already, pid %d", rig->daemon->child.pid);
	rc = notice_open(rig, &notice);
	if (rc < 0)
		rc = rig_fail(rig, rc, "no socket to be notified on: %s", strerror(-rc));
	if (rc == 0)
		rc = begin(rig, criu ? criu : usable_criu(rig, path), &notice);
	if (rc == 0) {
		notice.daemon = rig->daemon;
		rc = rig_wait(rig, is_ready_or_gone, &notice, START_TIMEOUT_US, "upgraded (pid %d) to listen",
			      rig->daemon->child.pid);
	}
	notice_close(&notice);
	if (rc == 0 && !notice.ready)
		rc = rig_fail(rig, -ECHILD, "upgraded %s before it listened",
			      child_describe(&rig->daemon->child, how, sizeof(how)));
	if (rc < 0 && rig->daemon)
		program_free(rig->daemon);
	return rc;
}

static bool daemon_is_gone(void *data)
{
	const struct rig_child *daemon = data;

	return daemon->child.exited;
}

static int wait_gone(struct rig *rig)
{
	struct rig_child *daemon = rig->daemon;

	return rig_wait(rig, daemon_is_gone, daemon, STOP_TIMEOUT_US, "the end of upgraded (pid %d)", daemon->child.pid);
}

int rig_daemon_stop(struct rig *rig)
{
	unsigned left;
	int status, rc;

	if (!rig->daemon)
		return rig_fail(rig, -ESRCH, "upgraded does not run");
	child_kill(&rig->daemon->child, SIGTERM);
	rc = wait_gone(rig);
	status = rc == 0 ? program_status(rig->daemon) : 0;
	if (status)
		rc = rig_fail(rig, -ECHILD, "upgraded ended on SIGTERM with status %d", status);
	program_free(rig->daemon);
	rig_reap(rig); /* what came back to it from a daemon that was killed is nobody's child but ours */
	left = reap_others(rig);
	if (left && rc == 0)
		rc = rig_fail(rig, -EBUSY, "upgraded ended and left %u processes behind", left);
	return rc;
}

int rig_daemon_kill(struct rig *rig, int signal)
{
	int rc;

	if (!rig->daemon)
		return rig_fail(rig, -ESRCH, "upgraded does not run");
	rc = child_kill(&rig->daemon->child, signal);
	if (rc < 0)
		return rig_fail(rig, rc, "signal %d to upgraded: %s", signal, strerror(-rc));
	if (signal != SIGKILL)
		return 0;
	rc = wait_gone(rig);
	program_free(rig->daemon);
	return rc;
}

pid_t rig_daemon_pid(const struct rig *rig)
{
	return rig->daemon && !rig->daemon->child.exited ? rig->daemon->child.pid : 0;
}

int rig_daemon_status(struct rig *rig)
{
	loop_turn(rig->loop, 0);
	return rig->daemon && rig->daemon->child.exited ? program_status(rig->daemon) : -1;
}

const char *rig_control_path(const struct rig *rig)
{
	return rig->control;
}

char *rig_daemon_log(const struct rig *rig)
{
	char path[PATH_MAX], *text = NULL;
	FILE *file = fopen(log_path(rig, "upgraded.log", path), "re");
	size_t size = 0;
	ssize_t n;

	if (!file)
		return strdup("");
	n = getdelim(&text, &size, '\0', file); /* a log has no NUL in it */
	fclose(file);
	if (n >= 0)
		return text;
	free(text);
	return strdup("");
}
