/* SPDX-License-Identifier: MIT */
/* jail [--] PROGRAM [ARGUMENT...]: run a program so that nothing of it can stay behind.
 *
 * Tests and demonstrations start daemons, listen on ports, restore processes under chosen pids and get killed half-way.
 * Here all of that happens in namespaces of its own: processes (with their ids), mounts (/tmp, /run and /dev/shm are
 * private and empty), network (only `lo`) and System V IPC. When the program ends, or make is killed with SIGKILL,
 * the kernel ends every process in there:
 *
 *     make ── jail ──┃── init ── PROGRAM ── ...
 *                namespaces
 *
 * make's death kills the jail and the jail's death kills init (PR_SET_PDEATHSIG, which only a direct child can rely on: the
 * recipe has to `exec` the jail), and a pid namespace does not outlive its init.
 *
 * Exit status: the program's, 128 + n if signal n ended it, 125 if the jail could not be built.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_JAIL 125
#define EXIT_SIGNAL 128

static const char *const covered[] = { "/tmp", "/run", "/dev/shm" };

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	int error = errno;
	va_list args;

	fputs("jail: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, ": %s%s\n", strerror(error), error == EPERM ? " (this needs root with CAP_SYS_ADMIN)" : "");
	_exit(EXIT_JAIL);
}

/* Exits by the same signal's number, so that nobody takes an interrupted run for one that failed by itself. */
static int exit_status(int status)
{
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static void lo_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		fail("reading the flags of lo");
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP | IFF_RUNNING);
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		fail("bringing lo up");
	close(fd);
}

static void make_directories(char *path)
{
	for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			fail("creating %s", path);
		if (!slash)
			return;
		*slash = '/';
	}
}

/* A checkout below /tmp would vanish under the private one: show the working directory at its place again. */
static void keep_visible(int cwd, char *path)
{
	char link[64];

	for (size_t i = 0; i < sizeof(covered) / sizeof(*covered); i++) {
		size_t length = strlen(covered[i]);

		if (strncmp(path, covered[i], length) || path[length] != '/')
			continue;
		make_directories(path);
		snprintf(link, sizeof(link), "/proc/self/fd/%d", cwd);
		if (mount(link, path, NULL, MS_BIND | MS_REC, NULL) < 0)
			fail("showing %s again", path);
		if (chdir(path) < 0)
			fail("entering %s", path);
	}
}

static void mount_private(void)
{
	char path[PATH_MAX];
	int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (cwd < 0 || !getcwd(path, sizeof(path)))
		fail("finding the working directory");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("making the mounts private (a plain chroot's / is no mount point)");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		fail("mounting /proc");
	for (size_t i = 0; i < sizeof(covered) / sizeof(*covered); i++) {
		const char *mode = strcmp(covered[i], "/run") ? "mode=1777" : "mode=0755";

		if (access(covered[i], F_OK) == 0 && mount("tmpfs", covered[i], "tmpfs", MS_NOSUID | MS_NODEV, mode) < 0)
			fail("covering %s", covered[i]);
	}
	keep_visible(cwd, path);
	close(cwd);
}

/* Whatever started us may ignore signals, and that is inherited. glibc's posix_spawn(), which make uses, even ignores the
 * two of its threads, which sigaction(2) will not touch; hence the bare system call, with the kernel's struct. */
static void signals_default(void)
{
	const struct {
		unsigned long handler, flags, restorer, mask;
	} by_default = { 0 };

	for (int number = 1; number < NSIG; number++)
		syscall(SYS_rt_sigaction, number, &by_default, NULL, sizeof(by_default.mask));
}

__attribute__((noreturn)) static void program_exec(char **argv)
{
	sigset_t none;

	signals_default();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setenv("TMPDIR", "/tmp", 1);
	/* A stray descriptor of make or of the shell makes CRIU refuse the processes that inherited it. */
	close_range(3, ~0u, 0);
	execvp(argv[0], argv);
	fail("running %s", argv[0]);
}

/* The first process of the namespace: reaps whatever is orphaned in it, until the program has ended. */
__attribute__((noreturn)) static void init_run(char **argv)
{
	pid_t program;
	int status;

	mount_private();
	lo_up();
	program = fork();
	if (program < 0)
		fail("fork");
	if (program == 0)
		program_exec(argv);
	for (;;) {
		pid_t pid = wait(&status);

		if (pid == program)
			_exit(exit_status(status));
		if (pid < 0 && errno != EINTR)
			fail("waiting for %s", argv[0]);
	}
}

/* Both sides of PR_SET_PDEATHSIG's race: a parent that was gone before the call is noticed after it. */
static void die_with_maker(pid_t maker)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("PR_SET_PDEATHSIG");
	if (getppid() != maker)
		_exit(EXIT_JAIL);
}

/* Init sees parent 0 whether the jail lives or not, but the jail's end of the pipe closes with it. */
static void die_with_jail(int alive)
{
	struct pollfd pipe_end = { .fd = alive };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("PR_SET_PDEATHSIG");
	if (poll(&pipe_end, 1, 0) != 0)
		_exit(EXIT_JAIL);
	close(alive);
}

static int jail_wait(pid_t init, const sigset_t *signals)
{
	int status;

	for (;;) {
		int signal = sigwaitinfo(signals, NULL);

		if (signal < 0 && errno != EINTR)
			fail("sigwaitinfo");
		if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP) {
			kill(init, SIGKILL);
			waitpid(init, &status, 0);
			return EXIT_SIGNAL + signal;
		}
		if (waitpid(init, &status, WNOHANG) == init)
			return exit_status(status);
	}
}

int main(int argc, char **argv)
{
	char **program = argv + (argc > 1 && !strcmp(argv[1], "--") ? 2 : 1);
	pid_t maker = getppid(), init;
	sigset_t signals;
	int alive[2];

	if (!argc || !*program) {
		fputs("usage: jail [--] PROGRAM [ARGUMENT...]\n", stderr);
		return EXIT_JAIL;
	}
	die_with_maker(maker);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* An ignored SIGCHLD, inherited, would reap the program before we see how it ended. */
	signal(SIGCHLD, SIG_DFL);
	if (pipe2(alive, O_CLOEXEC) < 0)
		fail("pipe");
	if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		fail("unshare");
	init = fork();
	if (init < 0)
		fail("fork");
	if (init == 0) {
		close(alive[1]);
		die_with_jail(alive[0]);
		init_run(program);
	}
	close(alive[0]);
	return jail_wait(init, &signals);
}
