/* SPDX-License-Identifier: MIT */
/* upg-hostile: a service that speaks the channel's protocol by itself and means no good. What follows the first - in the name it
 * was started by says how. */
#include "wire/app.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINGER_S 30
#define NOT_YETS 400u
#define FLOOD 30000u
#define LONG_NAME 60000u
#define LONG_NAMES 2000u

static const char *character;
static int channel;
static struct wire_fds fds;
static volatile sig_atomic_t reads_now;

static bool is(const char *what)
{
	return strcmp(character, what) == 0;
}

static void nap(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

static void on_signal(int signal)
{
	(void)signal;
	reads_now = 1;
}

/* ---- what it says ---- */

/* Waits for room. Return: false: nobody is there any more. */
static bool say(const Upgraded__Wire__AppMessage *message, const int *with, size_t n)
{
	struct pollfd room = { .fd = channel, .events = POLLOUT };
	int r;

	/* ETOOMANYREFS: as many descriptors are on their way as this user may have there. */
	while ((r = wire_send(channel, &message->base, with, n, NULL)) == WIRE_AGAIN || r == -ETOOMANYREFS)
		poll(&room, 1, 1);
	return r == WIRE_OK;
}

#define SAY(kind, field, body) \
	say(&(Upgraded__Wire__AppMessage)APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_##kind, .field = &(body)), NULL, 0)

static void say_hello(void)
{
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__Schema schema = UPGRADED__WIRE__SCHEMA__INIT, *schemas[] = { &schema };

	schema.name = wire_text("hostile.State");
	schema.version = 1;
	hello.protocol = WIRE_PROTOCOL;
	hello.pid = getpid();
	hello.schemas = schemas;
	hello.n_schemas = 1;
	SAY(HELLO, hello, hello);
}

static bool say_standby(void)
{
	Upgraded__Wire__Standby standby = UPGRADED__WIRE__STANDBY__INIT;

	return SAY(STANDBY, standby, standby);
}

static void say_ready(void)
{
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;

	SAY(READY, ready, ready);
}

static void say_quiesced(void)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;

	SAY(QUIESCED, quiesced, quiesced);
}

static bool say_not_yet(void)
{
	Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;

	return SAY(NOT_YET, not_yet, not_yet);
}

static bool say_pong(const int *with, size_t n)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	return say(&message, with, n);
}

/* @fd, so often in one message. */
static bool hand_over(int fd, const char *name, size_t n)
{
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *list[WIRE_FDS_MAX];
	Upgraded__Wire__Fds body = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &body);
	int with[WIRE_FDS_MAX];
	static uint64_t tag;

	for (size_t i = 0; i < n; i++) {
		upgraded__wire__fd_info__init(&infos[i]);
		infos[i].name = wire_text(name);
		infos[i].tag = ++tag;
		list[i] = &infos[i];
		with[i] = fd;
	}
	body.fds = list;
	body.n_fds = n;
	return say(&message, with, n);
}

/* ---- what it hears ---- */

/* The next message, its descriptors in @fds. Return: its kind; 0: nothing came in @timeout_ms (-1: for ever). */
static int hear(int timeout_ms)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	struct pollfd ready = { .fd = channel, .events = POLLIN };
	ProtobufCMessage *message;
	int kind, r;

	if (poll(&ready, 1, timeout_ms) <= 0)
		return 0;
	r = wire_receive(channel, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, NULL);
	if (r == WIRE_CLOSED)
		_exit(0);
	if (r != WIRE_OK)
		return 0;
	kind = (int)((Upgraded__Wire__AppMessage *)message)->body_case;
	protobuf_c_message_free_unpacked(message, NULL);
	return kind;
}

static void await_prepare(void)
{
	while (hear(-1) != UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE)
		wire_fds_close(&fds);
	wire_fds_close(&fds);
}

static void start(void)
{
	say_hello();
	say_standby();
	while (is("stands-by") && say_standby()) /* and nothing but this */
		;
	while (hear(-1) != UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME)
		wire_fds_close(&fds);
	say_ready();
}

/* ---- descriptors that are not its own ---- */

/* A Prepare brings a commit word and a pipe, or a file. The supervisor has channels and processes besides. */
static bool is_of_others(int fd)
{
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	return strncmp(target, "socket:", 7) == 0 || strstr(target, "pidfd") || strstr(target, "event");
}

/* Reads all that waits for it, and tells what came along. */
static void tell_what_came(void)
{
	unsigned messages = 0, of_others = 0;
	size_t most = 0;

	while (hear(1000)) {
		messages++;
		most = fds.n > most ? fds.n : most;
		for (size_t i = 0; i < fds.n; i++)
			of_others += is_of_others(fds.fd[i]);
		wire_fds_close(&fds);
	}
	printf("read %u messages; %zu descriptors at most in one; %u of others\n", messages, most, of_others);
	fflush(stdout);
}

/* Not yet, not yet, not yet: each would be answered with another Prepare, ten milliseconds later, until its socket is full. Then it
 * falls silent, so that whoever asked waits for an answer to the last one. */
static void leave_unread(void)
{
	await_prepare();
	for (unsigned i = 0; i < NOT_YETS && !reads_now && say_not_yet(); i++)
		nap(12);
	while (!reads_now)
		nap(12);
	tell_what_came();
}

/* ---- closes that take their time ---- */

static int lingering_socket(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct linger linger = { 1, LINGER_S };
	socklen_t size = sizeof(address);
	static const char data[65536];

	(void)bind(listener, (struct sockaddr *)&address, size);
	(void)listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&address, &size);
	(void)connect(fd, (struct sockaddr *)&address, sizeof(address));
	(void)accept(listener, NULL, NULL); /* stays open, and is never read from */
	close(listener);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	return fd;
}

static void linger(void)
{
	for (unsigned i = 0; i < 20; i++) {
		int fd = lingering_socket();

		say_pong(&fd, 1);
		close(fd);
		nap(50);
	}
}

static void linger_in_custody(void)
{
	await_prepare();
	say_quiesced();
	for (unsigned i = 0; i < 20; i++) {
		int fd = lingering_socket();

		hand_over(fd, "client", 1);
		close(fd);
	}
}

/* ---- too much ---- */

static void flood(const char *name, unsigned n, size_t at_once)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	await_prepare();
	say_quiesced();
	for (unsigned i = 0; i < n && hand_over(null, name, at_once); i += (unsigned)at_once)
		;
}

static void flood_with_names(void)
{
	static char name[LONG_NAME + 1];

	memset(name, 'n', LONG_NAME);
	flood(name, LONG_NAMES, 1);
}

/* Each as large as a message may be, and as many parts as fit. */
static void talk(void)
{
	static Upgraded__Wire__FdInfo *list[WIRE_MESSAGE_MAX / 2 - 16];
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT;
	Upgraded__Wire__Closed closed = UPGRADED__WIRE__CLOSED__INIT;

	closed.fds = list;
	closed.n_fds = sizeof(list) / sizeof(*list);
	for (size_t i = 0; i < closed.n_fds; i++)
		list[i] = &info;
	while (SAY(CLOSED, closed, closed))
		;
}

static void waste(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), with[WIRE_FDS_MAX];

	for (size_t i = 0; i < WIRE_FDS_MAX; i++)
		with[i] = null;
	while (say_pong(with, WIRE_FDS_MAX))
		;
}

/* When its roll is called off it is a service again. */
static void serve_on(void)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	for (;;) {
		if (hear(-1) == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT)
			SAY(RESUMED, resumed, resumed);
		wire_fds_close(&fds);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} characters[] = {
	{ "leaves-unread", leave_unread }, { "lingers", linger }, { "lingers-in-custody", linger_in_custody },
	{ "long-names", flood_with_names }, { "talks", talk }, { "wastes", waste },
};

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL, *dash = strchr(name ? name : "", '-');
	const char *number = getenv(WIRE_FD_ENV);

	character = dash ? dash + 1 : "";
	channel = number ? atoi(number) : -1;
	signal(SIGUSR2, on_signal);
	start();
	for (size_t i = 0; i < sizeof(characters) / sizeof(*characters); i++)
		if (is(characters[i].name))
			characters[i].run();
	if (is("floods"))
		flood("client", FLOOD, WIRE_FDS_MAX);
	serve_on();
}
