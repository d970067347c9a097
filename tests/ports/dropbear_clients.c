/* SPDX-License-Identifier: MIT */
#include "tests/ports/dropbear_clients.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define PAUSE_MS 2 /* between two answers, so that two processors are enough for everybody */
#define GATE_BYTES 16384

struct ssh_setup ssh_setup;

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static bool comes(int fd, int timeout_ms)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, timeout_ms) > 0;
}

/* ---- dbclient ---- */

static int spawn(const char *const argv[], int in, int out, int err, pid_t *ret_pid)
{
	char home[sizeof(ssh_setup.home) + 8];
	char *environment[] = { home, (char[]){ "PATH=/usr/bin:/bin" }, NULL };
	posix_spawn_file_actions_t actions;
	int r;

	snprintf(home, sizeof(home), "HOME=%s", ssh_setup.home);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, err, 2);
	r = posix_spawn(ret_pid, argv[0], &actions, NULL, (char **)(uintptr_t)argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int ssh_begin(struct ssh *ssh, uint16_t port, enum ssh_trust trust, const char *command)
{
	int in[2], out[2], err[2], r;
	const char *argv[16];
	char at[16];
	size_t n = 0;

	snprintf(at, sizeof(at), "%u", port);
	argv[n++] = ssh_setup.dbclient;
	if (trust == SSH_TRUST_ANY)
		argv[n++] = "-yy";
	argv[n++] = "-T";
	argv[n++] = "-i";
	argv[n++] = ssh_setup.key;
	argv[n++] = "-p";
	argv[n++] = at;
	argv[n++] = "root@127.0.0.1";
	argv[n++] = command;
	argv[n] = NULL;
	*ssh = (struct ssh){ .in = -1, .out = -1, .err = -1 };
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return -errno; /* the test fails, and its process ends */
	r = spawn(argv, in[0], out[1], err[1], &ssh->pid);
	fd_close(in[0]);
	fd_close(out[1]);
	fd_close(err[1]);
	ssh->in = in[1];
	ssh->out = out[0];
	ssh->err = err[0];
	return r;
}

const char *ssh_read(struct ssh *ssh)
{
	static _Thread_local char line[sizeof(ssh->text)];
	char *end;

	while (!(end = memchr(ssh->text, '\n', ssh->used))) {
		ssize_t n;

		if (ssh->used == sizeof(ssh->text) || !comes(ssh->out, PATIENCE_MS))
			return NULL;
		n = read(ssh->out, ssh->text + ssh->used, sizeof(ssh->text) - ssh->used);
		if (n <= 0)
			return NULL;
		ssh->used += (size_t)n;
	}
	snprintf(line, sizeof(line), "%.*s", (int)(end - ssh->text), ssh->text);
	ssh->used -= (size_t)(end - ssh->text) + 1;
	memmove(ssh->text, end + 1, ssh->used);
	return line;
}

bool ssh_write(struct ssh *ssh, const char *line)
{
	size_t size = strlen(line);

	return write(ssh->in, line, size) == (ssize_t)size;
}

int ssh_end(struct ssh *ssh, char *ret_errors, size_t size)
{
	uint64_t due_us = clock_now_us() + PATIENCE_MS * USEC_PER_MSEC;
	bool killed = false;
	int status = 0;

	ssh->in = fd_close(ssh->in);
	/* It ends when its output does. */
	while (comes(ssh->out, clock_timeout_ms(due_us)) && read(ssh->out, ssh->text, sizeof(ssh->text)) > 0)
		;
	if (clock_now_us() >= due_us)
		killed = kill(ssh->pid, SIGKILL) == 0;
	while (waitpid(ssh->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ret_errors) {
		ssize_t n = comes(ssh->err, 0) ? read(ssh->err, ret_errors, size - 1) : 0;

		ret_errors[n > 0 ? n : 0] = '\0';
	}
	ssh->out = fd_close(ssh->out);
	ssh->err = fd_close(ssh->err);
	ssh->pid = 0;
	return killed || !WIFEXITED(status) ? -1 : WEXITSTATUS(status);
}

/* ---- one that counts ---- */

static bool count_once(struct counter *counter)
{
	uint64_t asked_us = clock_now_us(), took_us, want = atomic_load(&counter->count) + 1;
	const char *line = ssh_write(&counter->ssh, "next\n") ? ssh_read(&counter->ssh) : NULL;

	if (!line || strtoull(line, NULL, 10) != want) {
		snprintf(counter->wrong, sizeof(counter->wrong), "wanted %llu, got %.100s", (unsigned long long)want,
			 line ? line : "nothing: the session is over, or stands");
		return false;
	}
	took_us = clock_now_us() - asked_us;
	if (took_us > counter->longest_us)
		counter->longest_us = took_us;
	atomic_store(&counter->count, want);
	return true;
}

static void *count_on(void *data)
{
	struct counter *counter = data;

	while (!atomic_load(&counter->ends) && count_once(counter))
		(void)poll(NULL, 0, PAUSE_MS);
	return NULL;
}

int counter_begin(struct counter *counter, uint16_t port)
{
	const char *line;
	int r;

	*counter = (struct counter){ .wrong = "" };
	r = ssh_begin(&counter->ssh, port, SSH_TRUST_ANY, "echo $PPID; i=0; while read -r x; do i=$((i + 1)); echo $i; done");
	line = r == 0 ? ssh_read(&counter->ssh) : NULL;
	if (!line)
		return r < 0 ? r : -EPIPE;
	counter->session = (pid_t)atoi(line);
	return count_once(counter) ? -pthread_create(&counter->thread, NULL, count_on, counter) : -EPROTO;
}

bool counter_await(struct counter *counter, uint64_t more)
{
	uint64_t due_us = clock_now_us() + PATIENCE_MS * USEC_PER_MSEC, want = atomic_load(&counter->count) + more;

	while (atomic_load(&counter->count) < want && clock_now_us() < due_us)
		(void)poll(NULL, 0, 5);
	return atomic_load(&counter->count) >= want;
}

int counter_end(struct counter *counter)
{
	atomic_store(&counter->ends, true);
	pthread_join(counter->thread, NULL);
	return ssh_end(&counter->ssh, NULL, 0);
}

/* ---- those that come and go ---- */

struct comer {
	struct comers *comers;
	unsigned number;
};

static bool come(struct comers *comers, unsigned number, unsigned long long turn)
{
	char command[80], want[64], errors[160] = "";
	uint64_t began_us = clock_now_us(), took_us;
	struct ssh ssh;
	bool well;
	const char *line;
	int status;

	snprintf(want, sizeof(want), "comer %u turn %llu", number, turn);
	snprintf(command, sizeof(command), "echo %s", want);
	if (ssh_begin(&ssh, comers->port, SSH_TRUST_ANY, command) < 0)
		return false;
	line = ssh_read(&ssh);
	well = line && strcmp(line, want) == 0;
	status = ssh_end(&ssh, errors, sizeof(errors));
	took_us = clock_now_us() - began_us;
	if (took_us > comers->longest_us[number])
		comers->longest_us[number] = took_us;
	if (well && status == 0)
		return true;
	snprintf(comers->wrong[number], sizeof(comers->wrong[number]), "turn %llu: status %d, %s", turn, status, errors);
	return false;
}

static void *come_and_go(void *data)
{
	struct comer comer = *(struct comer *)data;

	free(data);
	for (unsigned long long turn = 1; !atomic_load(&comer.comers->ends); turn++)
		atomic_fetch_add(come(comer.comers, comer.number, turn) ? &comer.comers->came : &comer.comers->failed, 1);
	return NULL;
}

int comers_begin(struct comers *comers, uint16_t port, unsigned n)
{
	*comers = (struct comers){ .port = port };
	for (unsigned i = 0; i < n; i++) {
		struct comer *comer = malloc(sizeof(*comer));

		if (!comer)
			return -ENOMEM;
		*comer = (struct comer){ .comers = comers, .number = i };
		if (pthread_create(&comers->threads[i], NULL, come_and_go, comer) != 0) {
			free(comer);
			return -EAGAIN;
		}
		comers->n++;
	}
	return 0;
}

void comers_end(struct comers *comers)
{
	atomic_store(&comers->ends, true);
	for (unsigned i = 0; i < comers->n; i++)
		pthread_join(comers->threads[i], NULL);
}

/* ---- one that is held half-way ---- */

static bool pass(int from, int to, size_t bytes_max, size_t *ret_bytes)
{
	char bytes[GATE_BYTES];
	ssize_t n = recv(from, bytes, bytes_max < sizeof(bytes) ? bytes_max : sizeof(bytes), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	*ret_bytes += (size_t)n;
	return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

/* How much the client has sent that is not let through yet. */
static size_t waiting(int client)
{
	char bytes[GATE_BYTES];
	ssize_t n = recv(client, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

static void relay(struct gate *gate, int client, int server)
{
	size_t up = 0, down = 0;
	bool well = true;

	while (well) {
		bool held = up >= gate->first && !atomic_load(&gate->open);
		struct pollfd fds[] = { { .fd = server, .events = POLLIN }, { .fd = held ? -1 : client, .events = POLLIN },
					{ .fd = gate->stop[0], .events = POLLIN } };

		/* What is held is looked at now and then, as it would be reported all the time. */
		if (poll(fds, 3, held ? 10 : -1) < 0 || fds[2].revents)
			return;
		if (fds[0].revents)
			well = pass(server, client, GATE_BYTES, &down);
		if (held)
			atomic_store(&gate->held, waiting(client));
		else if (fds[1].revents)
			well = well && pass(client, server, up < gate->first ? gate->first - up : GATE_BYTES, &up);
	}
}

static void *keep_gate(void *data)
{
	struct gate *gate = data;
	struct sockaddr_in address = loopback(gate->server);
	struct pollfd fds[] = { { .fd = gate->listener, .events = POLLIN }, { .fd = gate->stop[0], .events = POLLIN } };

	while (poll(fds, 2, -1) >= 0 && !fds[1].revents) {
		FD_CLEANUP int client = accept4(gate->listener, NULL, NULL, SOCK_CLOEXEC);
		FD_CLEANUP int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (client >= 0 && connect(server, (const struct sockaddr *)&address, sizeof(address)) == 0)
			relay(gate, client, server);
	}
	return NULL;
}

int gate_begin(struct gate *gate, uint16_t port, uint16_t server, size_t first)
{
	struct sockaddr_in address = loopback(port);

	*gate = (struct gate){ .port = port, .server = server, .first = first };
	gate->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (gate->listener < 0 || pipe2(gate->stop, O_CLOEXEC) < 0 ||
	    bind(gate->listener, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(gate->listener, 4) < 0)
		return -errno;
	return -pthread_create(&gate->thread, NULL, keep_gate, gate);
}

void gate_open(struct gate *gate)
{
	atomic_store(&gate->open, true);
}

void gate_end(struct gate *gate)
{
	fd_close(gate->stop[1]);
	pthread_join(gate->thread, NULL);
	fd_close(gate->stop[0]);
	fd_close(gate->listener);
}

/* ---- one that never logs in ---- */

int visitor_open(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error;
	char word[8];

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		error = errno;
		fd_close(fd);
		return -error;
	}
	if (!comes(fd, PATIENCE_MS) || recv(fd, word, sizeof(word), MSG_WAITALL) != (ssize_t)sizeof(word)) {
		error = comes(fd, 0) ? EPIPE : ETIMEDOUT;
		fd_close(fd);
		return -error;
	}
	if (memcmp(word, "SSH-2.0-", sizeof(word)) != 0) {
		fd_close(fd);
		return -EPROTO;
	}
	return fd;
}
