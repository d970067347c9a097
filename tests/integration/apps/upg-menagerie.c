/* SPDX-License-Identifier: MIT */
/* upg-menagerie PORT FOLDER KIND...: an application that keeps one of each kind of thing a process may have open, and proves on
 * request that what it keeps still works. A client sends "prove KIND" or "die", one line for each connection, and gets a line that
 * begins with "ok" or "broken".
 *
 * Kinds whose other end is in another process get it from who listens at FOLDER/giver. A successor makes its own of all that is
 * not registered, as any real service would. */
#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/upgrade.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTENT "what was written once"
#define COUNT 7u
#define PATIENCE_MS 3000
#define KINDS_MAX 32

static struct upg *upg;
static const char *folder;
static bool fresh;
static char said[160]; /* the answer to prove */

/* One thing that is kept. */
struct kept {
	const struct kind *kind;
	int fd, other; /* -1 */
	char *map;
	unsigned written;
};

struct kind {
	const char *name;
	int (*make)(struct kept *kept);  /* 0 or -errno */
	bool (*prove)(struct kept *kept);
};

static bool broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static bool broken(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(said, sizeof(said), fmt, args);
	va_end(args);
	return false;
}

static const char *in_folder(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* The errno of a call that gave -1 for it, negative; else what it gave. */
static int or_errno(int rc)
{
	return rc < 0 ? -errno : rc;
}

static bool comes(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, PATIENCE_MS) == 1 && (poll_fd.revents & POLLIN);
}

static bool holds_content(int fd)
{
	char text[sizeof(CONTENT)] = "";

	if (pread(fd, text, sizeof(CONTENT) - 1, 0) != (ssize_t)sizeof(CONTENT) - 1 || strcmp(text, CONTENT) != 0)
		return broken("it holds \"%s\"", text);
	return true;
}

/* A byte in here comes out there. */
static bool passes(int in, int out)
{
	char byte = 'x';

	if (write(in, &byte, 1) != 1)
		return broken("write: %s", strerror(errno));
	byte = 0;
	if (!comes(out) || read(out, &byte, 1) != 1 || byte != 'x')
		return broken("nothing came out");
	return true;
}

/* ---- files ---- */

static int make_log(struct kept *kept)
{
	return kept->fd = or_errno(open(in_folder("log"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
}

static bool prove_log(struct kept *kept)
{
	return write(kept->fd, "line\n", 5) == 5 || broken("write: %s", strerror(errno));
}

static int make_file(struct kept *kept)
{
	return kept->fd = or_errno(open(in_folder("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

static bool prove_file(struct kept *kept)
{
	/* From where it stood, which is part of what comes back. */
	if (write(kept->fd, "line\n", 5) != 5)
		return broken("write: %s", strerror(errno));
	kept->written += 5;
	return lseek(kept->fd, 0, SEEK_CUR) == (off_t)kept->written || broken("its position is not what it was");
}

static int make_removed(struct kept *kept)
{
	kept->fd = or_errno(open(in_folder("removed"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	if (kept->fd >= 0 && (write(kept->fd, CONTENT, strlen(CONTENT)) < 0 || unlink(in_folder("removed")) < 0))
		return -errno;
	return kept->fd;
}

static int make_renamed(struct kept *kept)
{
	char path[256];

	kept->fd = or_errno(open(in_folder("first"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	if (kept->fd >= 0) {
		snprintf(path, sizeof(path), "%s/second.%d", folder, (int)getpid());
		if (link(in_folder("first"), path) < 0 || unlink(in_folder("first")) < 0)
			return -errno;
	}
	return kept->fd;
}

static int make_memfd(struct kept *kept)
{
	kept->fd = or_errno(memfd_create("menagerie", MFD_CLOEXEC));
	if (kept->fd < 0 || write(kept->fd, CONTENT, strlen(CONTENT)) < 0)
		return -errno;
	kept->map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, kept->fd, 0);
	return kept->map == MAP_FAILED ? -errno : 0;
}

static bool prove_memfd(struct kept *kept)
{
	if (memcmp(kept->map, CONTENT, strlen(CONTENT)) != 0)
		return broken("the mapping holds something else");
	return holds_content(kept->fd);
}

static int make_shared(struct kept *kept)
{
	kept->fd = or_errno(memfd_create("menagerie-shared", MFD_CLOEXEC));
	if (kept->fd < 0 || ftruncate(kept->fd, 4096) < 0)
		return -errno;
	kept->map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd, 0);
	if (kept->map == MAP_FAILED)
		return -errno;
	memcpy(kept->map, CONTENT, sizeof(CONTENT));
	return 0;
}

static bool prove_shared(struct kept *kept)
{
	char byte = 0;

	if (memcmp(kept->map, CONTENT, strlen(CONTENT)) != 0)
		return broken("the mapping holds something else");
	kept->map[100]++;
	if (pread(kept->fd, &byte, 1, 100) != 1 || byte != kept->map[100])
		return broken("the mapping and the descriptor are not the same memory any more");
	return holds_content(kept->fd);
}

static bool prove_content(struct kept *kept)
{
	return holds_content(kept->fd);
}

/* ---- what the kernel makes without a name ---- */

static int make_pipe(struct kept *kept)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	kept->fd = pair[0];
	kept->other = pair[1];
	return write(kept->other, CONTENT, strlen(CONTENT)) < 0 ? -errno : 0;
}

static bool prove_pipe(struct kept *kept)
{
	char text[sizeof(CONTENT)] = "";

	/* What lay in it when the image was taken is still there. */
	if (!comes(kept->fd) || read(kept->fd, text, sizeof(CONTENT) - 1) < 0 || strcmp(text, CONTENT) != 0)
		return broken("it held \"%s\"", text);
	return write(kept->other, CONTENT, strlen(CONTENT)) > 0 || broken("write: %s", strerror(errno));
}

static int make_socketpair(struct kept *kept)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	kept->fd = pair[0];
	kept->other = pair[1];
	return 0;
}

static bool prove_socketpair(struct kept *kept)
{
	return passes(kept->fd, kept->other) && passes(kept->other, kept->fd);
}

static int make_timer(struct kept *kept)
{
	struct itimerspec every = { .it_interval.tv_nsec = 20000000, .it_value.tv_nsec = 20000000 };

	kept->fd = or_errno(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
	return kept->fd < 0 ? kept->fd : or_errno(timerfd_settime(kept->fd, 0, &every, NULL));
}

static bool prove_timer(struct kept *kept)
{
	uint64_t ticks;

	while (read(kept->fd, &ticks, sizeof(ticks)) > 0)
		;
	return comes(kept->fd) || broken("it does not tick");
}

static int make_event(struct kept *kept)
{
	return kept->fd = or_errno(eventfd(COUNT, EFD_CLOEXEC | EFD_NONBLOCK));
}

static bool prove_event(struct kept *kept)
{
	uint64_t count = 0;

	if (read(kept->fd, &count, sizeof(count)) < 0 || count != COUNT)
		return broken("it counted %llu", (unsigned long long)count);
	return write(kept->fd, &count, sizeof(count)) > 0 || broken("write: %s", strerror(errno));
}

static int make_signal(struct kept *kept)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return kept->fd = or_errno(signalfd(-1, &set, SFD_CLOEXEC));
}

static bool prove_signal(struct kept *kept)
{
	struct signalfd_siginfo info = { 0 };

	kill(getpid(), SIGUSR2);
	return (comes(kept->fd) && read(kept->fd, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGUSR2) ||
	       broken("the signal did not come");
}

static int make_inotify(struct kept *kept)
{
	kept->fd = or_errno(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
	return kept->fd < 0 ? kept->fd : or_errno(inotify_add_watch(kept->fd, folder, IN_CREATE));
}

static bool prove_inotify(struct kept *kept)
{
	char events[4096];
	int fd;

	while (read(kept->fd, events, sizeof(events)) > 0)
		;
	unlink(in_folder("noticed"));
	fd = open(in_folder("noticed"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	return comes(kept->fd) || broken("a new file was not noticed");
}

static int make_io_uring(struct kept *kept)
{
	struct io_uring_params params = { 0 };

	return kept->fd = or_errno((int)syscall(SYS_io_uring_setup, 4, &params));
}

/* One that could be used: it is mapped. */
static int make_ring(struct kept *kept)
{
	struct io_uring_params params = { 0 };
	int fd = or_errno((int)syscall(SYS_io_uring_setup, 4, &params));

	if (fd < 0)
		return fd;
	kept->map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)IORING_OFF_SQ_RING);
	return kept->map == MAP_FAILED ? -errno : (kept->fd = fd);
}

static void *take_from(void *arg)
{
	const struct kept *of = arg;
	char byte;

	while (recv(of->fd, &byte, 1, 0) != 0)
		;
	return NULL;
}

/* A thread that the library does not know waits on a socket that is registered. */
static int make_taker(struct kept *kept)
{
	pthread_t thread;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 || upg_fd_register(upg, pair[0], "taken", 0) < 0)
		return -errno;
	kept->fd = pair[0];
	kept->other = pair[1];
	return pthread_create(&thread, NULL, take_from, kept) == 0 ? 0 : -EAGAIN;
}

static bool prove_nothing(struct kept *kept)
{
	return fcntl(kept->fd, F_GETFD) >= 0 || broken("closed");
}

/* ---- devices ---- */

static int make_null(struct kept *kept)
{
	return kept->fd = or_errno(open("/dev/null", O_RDWR | O_CLOEXEC));
}

static bool prove_null(struct kept *kept)
{
	char byte;

	return (write(kept->fd, "x", 1) == 1 && read(kept->fd, &byte, 1) == 0) || broken("it is not /dev/null any more");
}

static int make_pty(struct kept *kept)
{
	kept->fd = or_errno(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
	return kept->fd < 0 ? kept->fd : or_errno(grantpt(kept->fd) < 0 ? -1 : unlockpt(kept->fd));
}

static bool prove_pty(struct kept *kept)
{
	char name[64];
	bool ok;
	int slave;

	if (ptsname_r(kept->fd, name, sizeof(name)) != 0)
		return broken("it has no other side");
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return broken("%s: %s", name, strerror(errno));
	ok = passes(slave, kept->fd);
	close(slave);
	return ok;
}

static int make_terminal(struct kept *kept)
{
	char name[64];
	int r = make_pty(kept);

	if (r < 0 || ptsname_r(kept->fd, name, sizeof(name)) != 0)
		return r < 0 ? r : -errno;
	return kept->other = or_errno(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
}

/* ---- other processes ---- */

static int connect_unix(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", folder, name);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd;
}

static int make_peer(struct kept *kept)
{
	return kept->fd = connect_unix("giver");
}

static int make_registered_peer(struct kept *kept)
{
	kept->fd = fresh ? connect_unix("giver") : upg_fd_claim(upg, "peer", 0);
	return kept->fd >= 0 && fresh ? upg_fd_register(upg, kept->fd, "peer", 0) : kept->fd;
}

static bool prove_peer(struct kept *kept)
{
	/* The other side echoes. */
	return passes(kept->fd, kept->fd);
}

/* The write end of a pipe that the other process reads. */
static int make_foreign_pipe(struct kept *kept)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = "" };
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int fd = connect_unix("giver");

	if (fd < 0)
		return fd;
	if (write(fd, "p", 1) != 1 || recvmsg(fd, &message, MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&message))
		return -EPROTO;
	memcpy(&kept->fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	close(fd);
	return 0;
}

static bool prove_written(struct kept *kept)
{
	return write(kept->fd, "x", 1) == 1 || broken("write: %s", strerror(errno));
}

static int make_unix_listener(struct kept *kept)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/listener", folder);
	unlink(address.sun_path);
	kept->fd = or_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (kept->fd < 0 || bind(kept->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return or_errno(listen(kept->fd, 5));
}

static int make_registered_listener(struct kept *kept)
{
	int r = fresh ? make_unix_listener(kept) : 0;

	if (!fresh)
		return kept->fd = upg_fd_claim(upg, "unix", 0);
	return r < 0 ? r : upg_fd_register(upg, kept->fd, "unix", 0);
}

static bool prove_unix_listener(struct kept *kept)
{
	int caller = connect_unix("listener"), called;
	bool ok;

	if (caller < 0)
		return broken("connect: %s", strerror(-caller));
	called = comes(kept->fd) ? accept4(kept->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
	ok = called >= 0 ? passes(caller, called) : broken("the call did not come here");
	close(caller);
	close(called);
	return ok;
}

/* Echoes what it gets, and ends when nobody writes any more. */
static int make_child(struct kept *kept)
{
	int to[2], from[2];
	pid_t child;

	if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		char byte;

		dup2(to[0], 3);
		dup2(from[1], 4);
		close_range(5, ~0u, 0);
		while (read(3, &byte, 1) == 1 && write(4, &byte, 1) == 1)
			;
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	kept->fd = to[1];
	kept->other = from[0];
	return 0;
}

static bool prove_child(struct kept *kept)
{
	return passes(kept->fd, kept->other);
}

static int make_tcp(struct kept *kept)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const char *port = getenv("MENAGERIE_TCP");

	address.sin_port = htons((uint16_t)atoi(port ? port : "0"));
	kept->fd = or_errno(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	return kept->fd < 0 ? kept->fd : or_errno(connect(kept->fd, (const struct sockaddr *)&address, sizeof(address)));
}

static int make_udp(struct kept *kept)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);

	kept->fd = or_errno(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (kept->fd < 0 || bind(kept->fd, (const struct sockaddr *)&address, length) < 0 ||
	    getsockname(kept->fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	/* To itself: what is sent comes back. */
	return or_errno(connect(kept->fd, (const struct sockaddr *)&address, length));
}

static bool prove_udp(struct kept *kept)
{
	return passes(kept->fd, kept->fd);
}

static const struct kind kinds[] = {
	{ "log", make_log, prove_log },
	{ "file", make_file, prove_file },
	{ "removed", make_removed, prove_content },
	{ "renamed", make_renamed, prove_nothing },
	{ "memfd", make_memfd, prove_memfd },
	{ "shared-memfd", make_shared, prove_shared },
	{ "pipe", make_pipe, prove_pipe },
	{ "foreign-pipe", make_foreign_pipe, prove_written },
	{ "socketpair", make_socketpair, prove_socketpair },
	{ "timerfd", make_timer, prove_timer },
	{ "eventfd", make_event, prove_event },
	{ "signalfd", make_signal, prove_signal },
	{ "inotify", make_inotify, prove_inotify },
	{ "io_uring", make_io_uring, prove_nothing },
	{ "ring", make_ring, prove_nothing },
	{ "taker", make_taker, prove_nothing },
	{ "null", make_null, prove_null },
	{ "pty", make_pty, prove_pty },
	{ "terminal", make_terminal, prove_nothing },
	{ "peer", make_peer, prove_peer },
	{ "registered-peer", make_registered_peer, prove_peer },
	{ "listener", make_unix_listener, prove_unix_listener },
	{ "registered-listener", make_registered_listener, prove_unix_listener },
	{ "child", make_child, prove_child },
	{ "tcp", make_tcp, prove_written },
	{ "udp", make_udp, prove_udp },
};

/* ---- serving ---- */

static struct kept kept[KINDS_MAX];
static size_t n_kept;

static int keep(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && n_kept < KINDS_MAX; i++) {
		struct kept *next = &kept[n_kept];
		int r;

		if (strcmp(kinds[i].name, name) != 0)
			continue;
		*next = (struct kept){ .kind = &kinds[i], .fd = -1, .other = -1 };
		r = kinds[i].make(next);
		if (r < 0) {
			fprintf(stderr, "menagerie: %s: %s\n", name, strerror(-r));
			return r;
		}
		n_kept++;
		return 0;
	}
	fprintf(stderr, "menagerie: no kind is called %s\n", name);
	return -EINVAL;
}

static void answer(int client, const char *line)
{
	char text[256] = "broken no such kind\n";

	if (strcmp(line, "die") == 0)
		_exit(9);
	for (size_t i = 0; i < n_kept; i++) {
		if (strncmp(line, "prove ", 6) != 0 || strcmp(line + 6, kept[i].kind->name) != 0)
			continue;
		said[0] = 0;
		if (kept[i].kind->prove(&kept[i]))
			snprintf(text, sizeof(text), "ok\n");
		else
			snprintf(text, sizeof(text), "broken %s\n", said);
	}
	(void)!send(client, text, strlen(text), MSG_NOSIGNAL);
}

static void hear_client(int listener)
{
	struct timeval patience = { .tv_sec = 5 };
	int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char line[128];
	ssize_t n;

	if (client < 0)
		return;
	setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = recv(client, line, sizeof(line) - 1, 0); /* one line is one segment here */
	if (n > 0) {
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		answer(client, line);
	}
	close(client);
}

static int open_listener(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
		return -1;
	return upg_fd_register(upg, fd, "listener", 0) < 0 ? -1 : fd;
}

static int serve(int listener)
{
	struct pollfd fds[2] = { { .fd = upg_fd(upg), .events = POLLIN }, { .fd = listener, .events = POLLIN } };

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents && upg_dispatch(upg) == UPG_LEAVE)
			return 0;
		if (fds[1].revents)
			hear_client(listener);
	}
}

/* A state stream has at least one type: here of one record, which says nothing. */
static int save_one(struct upg_saver *saver, void *userdata)
{
	Cached__V1__Connection one = CACHED__V1__CONNECTION__INIT;

	(void)userdata;
	return upg_save(saver, &one.base);
}

static int load_one(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader;
	(void)message;
	(void)userdata;
	return 0;
}

static const struct upg_type types[] = {
	{ .name = "menagerie.One", .version = 1, .descriptor = &cached__v1__connection__descriptor, .save = save_one,
	  .load = load_one },
};

int main(int argc, char **argv)
{
	static const struct upg_config config = { .service = "menagerie", .version = "", .types = types, .n_types = 1 };
	enum upg_received rc;
	int listener;

	if (argc < 3)
		return 2;
	folder = argv[2];
	if (upg_open(&config, &upg) < 0)
		return 1;
	rc = upg_receive(upg);
	if (rc != UPG_FRESH && rc != UPG_RECEIVED)
		return 0;
	fresh = rc == UPG_FRESH;
	listener = fresh ? open_listener((uint16_t)atoi(argv[1])) : upg_fd_claim(upg, "listener", 0);
	if (listener < 0)
		return 1;
	if (!fresh)
		(void)upg_fd_claim(upg, "taken", 0);
	/* A version of that name takes over what is registered, and keeps nothing else. */
	for (int i = 3; i < argc && !strstr(argv[0], "-bare"); i++)
		if (keep(argv[i]) < 0)
			return 1;
	return upg_ready(upg) == UPG_SERVE ? serve(listener) : 0;
}
