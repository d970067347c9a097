/* SPDX-License-Identifier: MIT */
/* plain-NAME: a server that knows nothing of upgraded. It serves at the listeners that LISTEN_FDS gives it, and says READY=1 as
 * systemd's manual has it. A client says "who", and is told "I am NAME PID"; at SIGTERM or SIGQUIT it serves those that it has
 * until they go, and takes no more. Its NAME says what else it does:
 *
 *     mute      never says that it is ready
 *     dies      ends with status 3 at its start
 *     slow      is ready after 1.5 s, and asks for more time meanwhile
 *     crash     crashes when it has answered ten clients, and is half a second old
 *     deaf      does not end when it is told to
 *     forks     a child of its serves, and its parent does not
 *     daemon    goes to the background
 *     beats     says WATCHDOG=1, until SIGUSR1
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_FD 3
#define CLIENTS_MAX 4096

static const char *name;
static int set = -1, listeners, clients, answered;
static bool ends, beats = true;
static long long begun_ms;

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void tell(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd;

	if (!path || strlen(path) >= sizeof(at.sun_path))
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memcpy(at.sun_path, path, strlen(path));
	if (sendto(fd, text, strlen(text), 0, (const struct sockaddr *)&at, sizeof(at)) < 0)
		fprintf(stderr, "upg-plain: %s: %s\n", path, strerror(errno));
	close(fd);
}

static void watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
		exit(10);
}

static bool is(const char *what)
{
	return strcmp(name, what) == 0;
}

static void take(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) /* another process of the service had it */
		return;
	clients++;
	watch(fd);
}

static void answer(int fd)
{
	char text[128];
	ssize_t n = read(fd, text, sizeof(text));
	int size;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(fd);
		clients--;
		return;
	}
	size = snprintf(text, sizeof(text), "I am %s %d\n", name, (int)getpid());
	if (write(fd, text, (size_t)size) != size)
		exit(11);
	if (is("crash") && ++answered >= 10 && now_ms() - begun_ms > 500)
		abort();
}

static void end(void)
{
	if (is("deaf") || ends)
		return;
	tell("STOPPING=1");
	ends = true;
	/* They belong to others as well: who waits there is not lost. */
	for (int i = 0; i < listeners; i++) {
		epoll_ctl(set, EPOLL_CTL_DEL, FIRST_FD + i, NULL);
		close(FIRST_FD + i);
	}
}

static void hear(int signals)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		beats = false;
	else
		end();
}

static void beat(int timer)
{
	unsigned long long times;

	(void)!read(timer, &times, sizeof(times));
	if (beats)
		tell("WATCHDOG=1");
}

static int make_signals(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGQUIT);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int make_timer(void)
{
	const struct itimerspec often = { .it_interval.tv_nsec = 50000000, .it_value.tv_nsec = 50000000 };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (is("beats") && timerfd_settime(fd, 0, &often, NULL) < 0)
		exit(12);
	return fd;
}

static void serve(void)
{
	int signals = make_signals(), timer = make_timer();

	set = epoll_create1(EPOLL_CLOEXEC);
	watch(signals);
	watch(timer);
	for (int i = 0; i < listeners; i++) {
		fcntl(FIRST_FD + i, F_SETFL, O_NONBLOCK);
		watch(FIRST_FD + i);
	}
	if (!is("mute") && !is("forks"))
		tell("READY=1\nSTATUS=at your service");
	while (!ends || clients) {
		struct epoll_event event;

		if (epoll_wait(set, &event, 1, -1) < 1)
			continue;
		if (event.data.fd == signals)
			hear(signals);
		else if (event.data.fd == timer)
			beat(timer);
		else if (event.data.fd >= FIRST_FD && event.data.fd < FIRST_FD + listeners)
			take(event.data.fd);
		else
			answer(event.data.fd);
	}
}

static void pass_on(int signal, pid_t worker)
{
	kill(worker, signal);
}

static void lead(void)
{
	pid_t worker = fork();
	int status, got;
	sigset_t mask;

	if (worker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		serve();
		_exit(0);
	}
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGQUIT);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	tell("READY=1");
	while (sigwait(&mask, &got) == 0) {
		if (got == SIGCHLD && waitpid(worker, &status, WNOHANG) == worker)
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 20);
		if (got != SIGCHLD)
			pass_on(got, worker);
	}
}

static void start_slowly(void)
{
	const struct timespec part = { .tv_nsec = 300000000 };

	for (int i = 0; i < 5; i++) {
		tell("EXTEND_TIMEOUT_USEC=1000000\nSTATUS=warming up");
		nanosleep(&part, NULL);
	}
}

/* What it says after that is said by no process that anybody knows of. */
static void go_to_background(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	pid_t parent = getpid();

	if (daemon(0, 1) < 0)
		exit(4);
	while (getppid() == parent)
		nanosleep(&moment, NULL);
}

int main(int argc, char *argv[])
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");

	(void)argc;
	name = strrchr(argv[0], '-') ? strrchr(argv[0], '-') + 1 : argv[0];
	signal(SIGPIPE, SIG_IGN);
	begun_ms = now_ms();
	if (pid && fds && atoi(pid) == (int)getpid())
		listeners = atoi(fds);
	printf("upg-plain: %s has %d listeners: %s\n", name, listeners, names ? names : "none");
	fflush(stdout);
	if (is("dies")) {
		fprintf(stderr, "upg-plain: the configuration is wrong\n");
		return 3;
	}
	if (is("daemon"))
		go_to_background();
	if (is("slow"))
		start_slowly();
	if (is("forks"))
		lead();
	else
		serve();
	return 0;
}
