/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/criu.h"
#include "supervisor/machine/folder.h"
#include "supervisor/criu/obstacles.h"
#include "tests/supervisor/imaged.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

TestSuite(obstacles, .timeout = 120);

static struct loop *loop;
static struct criu_job job;
static char folder[64];
static int held[8]; /* the other ends of what the process has, closed after each case */
static size_t n_held;
static bool done;
static int done_rc;
static struct why done_why;

static void on_done(struct criu_job *done_job, int rc, const struct why *why)
{
	(void)done_job;
	done = true;
	done_rc = rc;
	done_why = *why;
}

static void set_up(void)
{
	struct why why;

	cr_assert(loop_new(&loop, &why) == 0);
	criu_job_init(&job, NULL);
	folder_temporary(folder);
}

static void tear_down(void)
{
	criu_job_done(&job);
	folder_remove(folder, NULL);
	loop_free(loop);
}

static void hold(int fd)
{
	cr_assert(fd >= 0, "%s", strerror(errno));
	held[n_held++] = fd;
}

static void let_go(void)
{
	while (n_held > 0)
		fd_close(held[--n_held]);
}

/* ---- what a process may have open: each returns one descriptor for it ---- */

static int make_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int make_event(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static int make_timer(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static int make_stale_epoll(void)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };

	hold(eventfd(0, EFD_CLOEXEC));
	cr_assert(epoll_ctl(epoll, EPOLL_CTL_ADD, held[n_held - 1], &event) == 0);
	return epoll;
}

static int make_io_uring(void)
{
	struct io_uring_params params = { 0 };

	return (int)syscall(SYS_io_uring_setup, 4, &params);
}

static int make_half_stream(void)
{
	int pair[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	hold(pair[0]);
	return pair[1];
}

static int make_log_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/log", folder);
	unlink(address.sun_path);
	hold(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	cr_assert(bind(held[n_held - 1], (struct sockaddr *)&address, sizeof(address)) == 0);
	cr_assert(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static int make_listener(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	cr_assert(listen(fd, 5) == 0);
	return fd;
}

static int make_connection(void)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	hold(make_listener());
	cr_assert(getsockname(held[n_held - 1], (struct sockaddr *)&address, &length) == 0);
	cr_assert(connect(fd, (struct sockaddr *)&address, length) == 0);
	hold(accept4(held[n_held - 1], NULL, NULL, SOCK_CLOEXEC));
	return fd;
}

static int make_udp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static int make_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static int make_raw(void)
{
	return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
}

static int make_mptcp(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
}

static int make_vsock(void)
{
	return socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int make_half_pipe(void)
{
	int ends[2];

	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	hold(ends[1]);
	return ends[0];
}

static int make_terminal_master(void)
{
	return open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int make_terminal(void)
{
	int unlock = 0;

	hold(make_terminal_master());
	cr_assert(ioctl(held[n_held - 1], TIOCSPTLCK, &unlock) == 0);
	return ioctl(held[n_held - 1], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int make_memfd(void)
{
	return memfd_create("scratch", MFD_CLOEXEC);
}

static int make_removed_file(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/removed", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && write(fd, "x", 1) == 1 && unlink(path) == 0);
	return fd;
}

static int make_large_removed_file(void)
{
	int fd = make_removed_file();

	cr_assert(fallocate(fd, 0, 0, CRIU_GHOST_LIMIT_BYTES + 1) == 0);
	return fd;
}

static int make_log(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/log-file", folder);
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int make_file(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", folder);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int make_renamed_link(void)
{
	char path[128], other[128];
	int fd;

	snprintf(path, sizeof(path), "%s/name", folder);
	snprintf(other, sizeof(other), "%s/other-name", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unlink(other);
	cr_assert(fd >= 0 && link(path, other) == 0 && unlink(path) == 0);
	return fd;
}

static int make_pidfd(void)
{
	return pidfd_open(getpid(), 0);
}

enum verdict { FINE, WARNED, REFUSED };

static const struct {
	const char *name;
	int (*make)(void);
	enum verdict verdict;
	const char *text;
} all[] = {
	{ "/dev/null", make_null, FINE, NULL },
	{ "an eventfd", make_event, FINE, NULL },
	{ "a timerfd", make_timer, FINE, NULL },
	{ "a memfd", make_memfd, FINE, NULL },
	{ "a removed file", make_removed_file, FINE, NULL },
	{ "a log", make_log, FINE, NULL },
	{ "a file to write in", make_file, WARNED, "must not change after the image" },
	{ "a socket to the log", make_log_socket, FINE, NULL },
	{ "a netlink socket", make_netlink, FINE, NULL },
	{ "a terminal's master", make_terminal_master, FINE, NULL },
	{ "a raw socket", make_raw, FINE, NULL },
	{ "a TCP listener", make_listener, WARNED, "listens on 127.0.0.1:" },
	{ "a TCP connection", make_connection, WARNED, "a TCP connection to 127.0.0.1:" },
	{ "a UDP socket", make_udp, WARNED, "a UDP socket at 127.0.0.1:" },
	{ "half a pipe", make_half_pipe, WARNED, "other end of this pipe" },
	{ "an epoll with a closed descriptor", make_stale_epoll, REFUSED, "still watches descriptor" },
	{ "an io_uring", make_io_uring, REFUSED, "io_uring" },
	{ "half a unix connection", make_half_stream, REFUSED, "half of a connection" },
	{ "a socket of another family", make_vsock, REFUSED, "address family 40" },
	{ "an MPTCP socket", make_mptcp, REFUSED, "protocol 262" },
	{ "a terminal", make_terminal, REFUSED, "terminal" },
	{ "a removed file that is too large", make_large_removed_file, REFUSED, "bytes on disk" },
	{ "a removed name of a file", make_renamed_link, REFUSED, "has others" },
	{ "a pidfd of another process", make_pidfd, REFUSED, "not in the image" },
};

static void check(const struct imaged *imaged, unsigned long long one_more, struct obstacles_report *report)
{
	unsigned long long known[] = { imaged->control_inode, imaged->output_inode, one_more };
	struct obstacles_spec spec = { .pid = imaged->pid, .known = known, .n_known = 3 };
	struct why why;

	cr_assert(obstacles_check(&spec, report, &why) == 0, "%s", why.text);
}

static void image_and_end(struct imaged *imaged)
{
	char images[128];
	struct criu_dump_spec spec = { .criu_path = criu_path(), .images_dir = images, .pid = imaged->pid,
				       .external_sockets = &imaged->control_inode, .n_external_sockets = 1,
				       .timeout_us = WAIT_US };
	struct why why;

	snprintf(images, sizeof(images), "%s/images", folder);
	folder_remove(images, NULL);
	cr_assert(mkdir(images, 0700) == 0);
	done = false;
	cr_assert(criu_dump_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
}

static void bring_back(struct imaged *imaged, const char *what)
{
	char images[128], keys[2][64];
	struct criu_inherit inherits[2];
	struct criu_restore_spec spec = { .criu_path = criu_path(), .images_dir = images, .pid = imaged->pid,
					  .inherits = inherits, .n_inherits = 2, .timeout_us = WAIT_US };
	int control, output;

	UNTIL(loop, imaged->child.exited);
	fd_close(imaged->control);
	fd_close(imaged->output);
	imaged_ends(imaged, &control, &output);
	snprintf(images, sizeof(images), "%s/images", folder);
	snprintf(keys[0], sizeof(keys[0]), "socket:[%llu]", imaged->control_inode);
	snprintf(keys[1], sizeof(keys[1]), "pipe:[%llu]", imaged->output_inode);
	inherits[0] = (struct criu_inherit){ keys[0], control };
	inherits[1] = (struct criu_inherit){ keys[1], output };
	done = false;
	cr_assert(criu_restore_start(loop, &job, &spec, on_done, NULL) == 0);
	UNTIL(loop, done);
	fd_close(control);
	fd_close(output);
	cr_assert(done_rc == 0, "%s: %s", what, done_why.text);
	cr_assert(child_adopt(loop, &imaged->child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(imaged, 'r');
}

/* The verdict is only worth something if CRIU's is the same: each case is tried. */
Test(obstacles, says_of_every_descriptor_what_criu_will_say, .init = set_up, .fini = tear_down)
{
	char path[] = "/bin/cat";
	char *argv[] = { path, NULL };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct obstacles_report report;
		struct imaged imaged;
		int fd = all[i].make();

		cr_assert(fd >= 0, "%s: %s", all[i].name, strerror(errno));
		imaged_start(loop, &imaged, argv, fd);
		fd_close(fd);
		check(&imaged, 0, &report);
		cr_assert(report.n_fatal == (all[i].verdict == REFUSED), "%s: %s", all[i].name, report.obstacle[0].text);
		cr_assert(report.n_warnings == (all[i].verdict == WARNED), "%s: %s", all[i].name, report.obstacle[0].text);
		if (all[i].verdict != FINE) {
			cr_assert(report.obstacle[0].fd == 3, "%s", all[i].name);
			cr_assert(strstr(report.obstacle[0].text, all[i].text), "%s: %s", all[i].name,
				  report.obstacle[0].text);
		}
		image_and_end(&imaged);
		if (all[i].verdict == REFUSED) {
			cr_assert(done_rc == -EIO, "CRIU takes %s", all[i].name);
			imaged_says(&imaged, 'b');
		} else {
			cr_assert(done_rc == 0, "CRIU refuses %s: %s", all[i].name, done_why.text);
			bring_back(&imaged, all[i].name);
		}
		imaged_done(&imaged);
		let_go();
	}
}

Test(obstacles, passes_over_what_is_taken_care_of, .init = set_up, .fini = tear_down)
{
	int (*const makes[])(void) = { make_listener, make_connection, make_half_stream, make_half_pipe };
	char path[] = "/bin/cat";
	char *argv[] = { path, NULL };

	for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
		struct obstacles_report report;
		unsigned long long inode;
		struct imaged imaged;
		int fd = makes[i]();

		cr_assert(fd_inode(fd, &inode) == 0);
		imaged_start(loop, &imaged, argv, fd);
		fd_close(fd);
		check(&imaged, inode, &report);
		cr_assert(report.n == 0, "%s", report.obstacle[0].text);
		imaged_done(&imaged);
		let_go();
	}
}

static bool report_has(const struct obstacles_report *report, enum obstacle_level level, const char *text)
{
	for (size_t i = 0; i < report->n; i++)
		if (report->obstacle[i].level == level && strstr(report->obstacle[i].text, text))
			return true;
	return false;
}

static void start_copy(struct imaged *imaged, char *path, size_t size)
{
	char command[256];
	char *argv[] = { path, NULL };

	snprintf(path, size, "%s/cat", folder);
	snprintf(command, sizeof(command), "cp /bin/cat %s", path);
	cr_assert(system(command) == 0);
	imaged_start(loop, imaged, argv, -1);
}

Test(obstacles, wants_versions_at_paths_of_their_own, .init = set_up, .fini = tear_down)
{
	struct obstacles_report report;
	struct obstacles_spec spec;
	struct imaged imaged;
	char exe[128], linked[128];

	start_copy(&imaged, exe, sizeof(exe));
	unsigned long long known[] = { imaged.control_inode, imaged.output_inode };
	spec = (struct obstacles_spec){ .pid = imaged.pid, .known = known, .n_known = 2, .next_exe = "/bin/sh" };
	cr_assert(obstacles_check(&spec, &report, NULL) == 0 && report.n == 0);
	snprintf(linked, sizeof(linked), "%s/current", folder);
	cr_assert(symlink(exe, linked) == 0);
	spec.next_exe = linked;
	cr_assert(obstacles_check(&spec, &report, NULL) == 0 && report.n_warnings == 1);
	cr_assert(report_has(&report, OBSTACLE_WARNING, "both versions are the file"));
	cr_assert(unlink(exe) == 0);
	cr_assert(obstacles_check(&spec, &report, NULL) == 0 && report.n_fatal == 1);
	cr_assert(report_has(&report, OBSTACLE_FATAL, "(deleted)"), "%s", report.obstacle[0].text);
	imaged_done(&imaged);
}

Test(obstacles, sees_children_of_the_process, .init = set_up, .fini = tear_down)
{
	char shell[] = "/bin/sh", flag[] = "-c", script[] = "sleep 1000 & exec cat";
	char *argv[] = { shell, flag, script, NULL };
	struct obstacles_spec spec = { .children_stay = true };
	struct obstacles_report report;
	struct imaged imaged;
	struct why why = { 0 };

	imaged_start(loop, &imaged, argv, -1);
	check(&imaged, 0, &report);
	cr_assert(report.n_fatal == 0 && report_has(&report, OBSTACLE_WARNING, "child process"));
	spec.pid = imaged.pid;
	cr_assert_eq(obstacles_check(&spec, &report, &why), 0, "%s", why.text);
	cr_assert(report_has(&report, OBSTACLE_FATAL, "they are to go on without it; see Children="));
	cr_assert_not(report_has(&report, OBSTACLE_FATAL, " )"), "%s", report.obstacle[0].text);
	kill(-imaged.pid, SIGKILL);
	UNTIL(loop, imaged.child.exited);
	imaged_done(&imaged);
}

static unsigned pidfds_in_the_way(pid_t pid, bool holds_us)
{
	struct obstacles_spec spec = { .pid = pid, .holds_us = holds_us };
	struct obstacles_report report;
	unsigned n = 0;

	cr_assert(obstacles_check(&spec, &report, NULL) == 0);
	for (size_t i = 0; i < report.n; i++)
		n += strcmp(report.obstacle[i].kind, "pidfd") == 0;
	return n;
}

/* The library has one, and lets go of it. What the application has besides stays. */
Test(obstacles, passes_over_one_pidfd_of_ours_where_the_library_holds_it, .init = set_up, .fini = tear_down)
{
	int ours[] = { pidfd_open(getpid(), 0), pidfd_open(getpid(), 0) };
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	cr_assert_eq(pidfds_in_the_way(pid, false), 2);
	cr_assert_eq(pidfds_in_the_way(pid, true), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd_close(ours[0]);
	fd_close(ours[1]);
}

static bool report_names(const struct obstacles_report *report, int fd)
{
	for (size_t i = 0; i < report->n; i++)
		if (report->obstacle[i].fd == fd)
			return true;
	return false;
}

Test(obstacles, is_content_with_both_ends_in_one_process, .init = set_up, .fini = tear_down)
{
	struct obstacles_spec spec = { .pid = getpid() };
	struct obstacles_report report;
	int pair[2], ends[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	cr_assert(obstacles_check(&spec, &report, NULL) == 0);
	cr_assert(!report_names(&report, pair[0]) && !report_names(&report, pair[1]));
	cr_assert(!report_names(&report, ends[0]) && !report_names(&report, ends[1]));
	fd_close(ends[0]);
	cr_assert(obstacles_check(&spec, &report, NULL) == 0);
	cr_assert(report_names(&report, ends[1]));
	fd_close(ends[1]);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

Test(obstacles, looks_at_session_and_mappings, .init = set_up, .fini = tear_down)
{
	/* This very process, which Criterion started: no leader of a session, and with mappings as wanted. */
	int memfd = make_memfd();
	unsigned long long known[1];
	struct obstacles_spec spec = { .pid = getpid(), .known = known };
	struct obstacles_report report;
	struct why why;
	void *shared;

	cr_assert(ftruncate(memfd, 4096) == 0);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	cr_assert(shared != MAP_FAILED);
	cr_assert(obstacles_check(&spec, &report, &why) == 0, "%s", why.text);
	cr_assert(report_has(&report, OBSTACLE_WARNING, "/memfd:scratch"));
	cr_assert(getsid(0) == getpid() || report_has(&report, OBSTACLE_FATAL, "session"));
	cr_assert(fd_inode(memfd, &known[0]) == 0);
	spec.n_known = 1;
	cr_assert(obstacles_check(&spec, &report, &why) == 0);
	cr_assert(!report_has(&report, OBSTACLE_WARNING, "/memfd:scratch"));
	munmap(shared, 4096);
	fd_close(memfd);
}

Test(obstacles, counts_more_than_it_lists, .init = set_up, .fini = tear_down)
{
	struct obstacles_spec spec = { .pid = getpid() };
	struct obstacles_report report;
	int fds[OBSTACLES_MAX + 10];

	for (size_t i = 0; i < OBSTACLES_MAX + 10; i++)
		fds[i] = make_udp();
	cr_assert(obstacles_check(&spec, &report, NULL) == 0);
	cr_assert(report.n == OBSTACLES_MAX && report.n_warnings >= OBSTACLES_MAX + 10);
	for (size_t i = 0; i < OBSTACLES_MAX + 10; i++)
		fd_close(fds[i]);
}

Test(obstacles, says_that_there_is_no_such_process, .init = set_up, .fini = tear_down)
{
	struct obstacles_spec spec;
	struct obstacles_report report;
	struct imaged imaged;
	struct why why;

	imaged_start_cat(loop, &imaged);
	imaged_done(&imaged);
	spec = (struct obstacles_spec){ .pid = imaged.pid };
	cr_assert(obstacles_check(&spec, &report, &why) == -ENOENT);
	cr_assert(strstr(why.text, "cannot look at process"), "%s", why.text);
}
