/* SPDX-License-Identifier: MIT */
/* What an image needs is opened again as root. Each test is a way in which a service of another user could lead that astray. */
#include "base/fd.h"
#include "supervisor/image/pins.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/imaged.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NOBODY 65534u
#define SERVICE_FD 5

TestSuite(pins, .timeout = 60);

static struct loop *loop;
static struct child service;
static struct image_pins pins;
static struct pin_loans loans;
static struct why why;
static char root[64];

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned n;
	char *buf = path[n++ % 4];

	snprintf(buf, sizeof(path[0]), "%s/%s", root, name);
	return buf;
}

static int make_file(const char *name, unsigned uid, int flags)
{
	int fd = open(at(name), flags | O_CREAT | O_CLOEXEC, 0644);

	cr_assert(fd >= 0 && fchown(fd, uid, uid) == 0);
	cr_assert((flags & O_ACCMODE) == O_RDONLY || write(fd, "text", 4) == 4);
	return fd;
}

static void make_folder(const char *name, unsigned uid, unsigned mode)
{
	cr_assert(mkdir(at(name), 0700) == 0);
	cr_assert(chown(at(name), uid, uid) == 0 && chmod(at(name), mode) == 0);
}

static void set_up(void)
{
	cr_assert(loop_new(&loop, &why) == 0);
	child_init(&service);
	folder_temporary(root);
	cr_assert(chmod(root, 0755) == 0);
	make_folder("own", NOBODY, 0755); /* the service's user may do there what it likes */
	make_folder("safe", 0, 0755);
	pins = (struct image_pins){ 0 };
	loans = (struct pin_loans){ 0 };
}

static void tear_down(void)
{
	pins_loans_done(&loans);
	pins_done(&pins);
	child_done(&service);
	cr_assert(folder_remove(root, &why) == 0, "%s", why.text);
	loop_free(loop);
}

/* Start a process of user @uid that has @fd open, and end our own copy. @cwd: NULL: "/". */
static void start_in(unsigned uid, int fd, int another, const char *cwd)
{
	char path[] = "/bin/sleep", long_time[] = "1000", *argv[] = { path, long_time, NULL }, *envp[] = { NULL };
	const struct child_fd fds[] = { { fd, SERVICE_FD }, { another, SERVICE_FD + 1 } };
	const struct child_spec spec = { .path = path, .argv = argv, .envp = envp, .cwd = cwd, .fds = fds,
					 .n_fds = fd < 0 ? 0 : another < 0 ? 1 : 2, .uid = uid, .gid = uid };

	cr_assert(child_spawn(loop, &service, &spec, NULL, &why) == 0, "%s", why.text);
	fd_close(fd);
	fd_close(another);
}

static void start(unsigned uid, int fd)
{
	start_in(uid, fd, -1, NULL);
}

static int take(void)
{
	const struct pins_spec spec = { .pid = service.pid };

	why = (struct why){ 0 };
	return pins_take(&spec, &pins, &why);
}

static void taken(void)
{
	cr_assert(take() == 0, "%s", why.text);
}

/* It is refused, and the words say what and where. */
static void refused(int rc, const char *what, const char *where)
{
	int r = take();

	cr_assert(r == rc, "%d: %s", r, why.text);
	cr_assert(strstr(why.text, what) && strstr(why.text, where), "%s", why.text);
}

static void check_says(int rc, const char *words)
{
	int r = pins_check(&pins, &why);

	cr_assert(r == rc, "%d: %s", r, why.text);
	cr_assert(!words || strstr(why.text, words), "%s", why.text);
}

static ino_t inode_of(int fd)
{
	struct stat st;

	cr_assert(fstat(fd, &st) == 0);
	return st.st_ino;
}

/* What CRIU gets in place of @name. */
static int lent(const char *name, const int *files, size_t n_files)
{
	cr_assert(pins_lend(&pins, files, n_files, &loans, &why) == 0, "%s", why.text);
	for (size_t i = 0; i < loans.n; i++)
		if (strcmp(loans.loans[i].key, at(name) + 1) == 0)
			return loans.loans[i].fd;
	return -1;
}

/* ---- a file in a folder that the user may change ---- */

/* Start a service of nobody with own/f, and note what it needs. Return: the inode of own/f. */
static ino_t hold(void)
{
	int fd = make_file("own/f", NOBODY, O_RDWR);
	ino_t inode = inode_of(fd);

	cr_assert(lseek(fd, 2, SEEK_SET) == 2);
	start(NOBODY, fd);
	taken();
	cr_assert(pins.of_user && pins_find(&pins, at("own/f"))->is_held);
	return inode;
}

static void still_the_same(ino_t inode)
{
	int fd;

	check_says(0, NULL);
	fd = lent("own/f", NULL, 0);
	cr_assert(fd >= 0 && inode_of(fd) == inode);
	cr_assert((fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_RDWR);
	cr_assert(lseek(fd, 0, SEEK_CUR) == 2);
}

Test(pins, hold_the_file_that_is_replaced_by_a_link_to_a_file_of_root, .init = set_up, .fini = tear_down)
{
	ino_t inode = hold();

	fd_close(make_file("safe/target", 0, O_WRONLY));
	cr_assert(unlink(at("own/f")) == 0 && symlink(at("safe/target"), at("own/f")) == 0);
	still_the_same(inode);
}

Test(pins, hold_the_file_that_is_replaced_by_a_hard_link, .init = set_up, .fini = tear_down)
{
	ino_t inode = hold();

	fd_close(make_file("safe/target", 0, O_WRONLY));
	cr_assert(unlink(at("own/f")) == 0 && link(at("safe/target"), at("own/f")) == 0);
	still_the_same(inode);
}

Test(pins, hold_the_file_whose_folder_is_replaced, .init = set_up, .fini = tear_down)
{
	ino_t inode = hold();

	fd_close(make_file("safe/f", 0, O_WRONLY));
	cr_assert(rename(at("own"), at("was")) == 0 && symlink(at("safe"), at("own")) == 0);
	still_the_same(inode);
}

Test(pins, hold_the_file_that_is_hidden_by_a_mount, .init = set_up, .fini = tear_down)
{
	ino_t inode = hold();

	fd_close(make_file("safe/target", 0, O_WRONLY));
	cr_assert(mount(at("safe/target"), at("own/f"), NULL, MS_BIND, NULL) == 0);
	still_the_same(inode);
	cr_assert(umount(at("own/f")) == 0);
}

Test(pins, hold_the_file_that_is_replaced_by_a_fifo_and_nobody_waits_at_it, .init = set_up, .fini = tear_down)
{
	ino_t inode = hold();

	cr_assert(unlink(at("own/f")) == 0 && mkfifo(at("own/f"), 0644) == 0);
	still_the_same(inode);
}

Test(pins, that_are_held_are_worth_nothing_once_their_holder_has_ended, .init = set_up, .fini = tear_down)
{
	struct image_pin *pin;

	hold();
	pin = pins_find(&pins, at("own/f"));
	pin->fd = fd_close(pin->fd); /* as after image_load() */
	check_says(-ESTALE, "the upgraded that held it has ended");
	cr_assert(pins_lend(&pins, NULL, 0, &loans, &why) == -ESTALE);
}

Test(pins, do_not_wait_for_a_lease_that_the_user_has, .init = set_up, .fini = tear_down)
{
	int lease;

	hold();
	lease = open(at("own/f"), O_RDONLY | O_CLOEXEC);
	cr_assert(fchown(lease, geteuid(), getegid()) == 0);
	cr_assert(fcntl(lease, F_SETSIG, SIGURG) == 0);
	child_done(&service); /* who has it open to write */
	cr_assert(fcntl(lease, F_SETLEASE, F_RDLCK) == 0, "%s", strerror(errno));
	cr_assert(pins_lend(&pins, NULL, 0, &loans, &why) == -EAGAIN, "%s", why.text);
	fd_close(lease);
}

Test(pins, hold_a_working_directory, .init = set_up, .fini = tear_down)
{
	const struct image_pin *pin;
	struct stat st;
	int fd;

	start_in(NOBODY, -1, -1, at("own"));
	taken();
	pin = pins_find(&pins, at("own"));
	cr_assert(pin && !pin->is_held, "the folder that it is in is root's, so its path is safe");
	pins_done(&pins);
	child_done(&service);
	make_folder("own/deep", NOBODY, 0755);
	start_in(NOBODY, -1, -1, at("own/deep"));
	taken();
	pin = pins_find(&pins, at("own/deep"));
	cr_assert(pin && pin->kind == PIN_FOLDER && pin->is_held);
	cr_assert(rename(at("own/deep"), at("own/away")) == 0 && symlink("/root", at("own/deep")) == 0);
	fd = lent("own/deep", NULL, 0);
	cr_assert(fd >= 0 && stat(at("own/away"), &st) == 0 && inode_of(fd) == st.st_ino);
}

Test(pins, hold_what_root_has_open_in_a_folder_of_another_user, .init = set_up, .fini = tear_down)
{
	start(0, make_file("own/log", 0, O_WRONLY | O_APPEND));
	taken();
	cr_assert(!pins.of_user && pins_find(&pins, at("own/log"))->is_held);
	cr_assert(fcntl(lent("own/log", NULL, 0), F_GETFL) & O_APPEND);
}

Test(pins, hold_what_is_the_users_in_a_folder_like_tmp, .init = set_up, .fini = tear_down)
{
	make_folder("tmp", 0, 01777);
	start_in(NOBODY, make_file("tmp/theirs", NOBODY, O_RDWR), make_file("tmp/roots", 0, O_RDWR), NULL);
	taken();
	cr_assert(pins_find(&pins, at("tmp/theirs"))->is_held);
	cr_assert(!pins_find(&pins, at("tmp/roots"))->is_held && pins_find(&pins, at("tmp/roots"))->same_file);
}

Test(pins, refuse_a_held_file_that_is_open_twice, .init = set_up, .fini = tear_down)
{
	int fd = make_file("own/f", NOBODY, O_RDWR);

	start_in(NOBODY, fd, open(at("own/f"), O_RDONLY | O_CLOEXEC), NULL);
	refused(-EPERM, "open 2 times", "own/f");
}

Test(pins, take_two_descriptors_of_one_open_file_for_one, .init = set_up, .fini = tear_down)
{
	int fd = make_file("own/f", NOBODY, O_RDWR);

	start_in(NOBODY, fd, fcntl(fd, F_DUPFD_CLOEXEC, 0), NULL);
	taken();
	cr_assert(pins_find(&pins, at("own/f"))->n_opens == 1);
}

/* ---- what cannot be held ---- */

Test(pins, refuse_a_fifo_that_the_user_could_replace, .init = set_up, .fini = tear_down)
{
	cr_assert(mkfifo(at("own/fifo"), 0600) == 0);
	start(NOBODY, open(at("own/fifo"), O_RDWR | O_CLOEXEC));
	refused(-EPERM, "own/fifo", "belongs to user 65534");
}

Test(pins, refuse_a_removed_file_that_would_be_made_again_where_the_user_may_write, .init = set_up, .fini = tear_down)
{
	int fd = make_file("own/gone", NOBODY, O_RDWR);

	cr_assert(unlink(at("own/gone")) == 0);
	start(NOBODY, fd);
	refused(-EPERM, "own/gone (deleted)", "memfd_create");
}

Test(pins, refuse_a_removed_file_of_the_user_in_a_folder_like_tmp, .init = set_up, .fini = tear_down)
{
	int fd;

	make_folder("tmp", 0, 01777);
	fd = make_file("tmp/gone", NOBODY, O_RDWR);
	cr_assert(unlink(at("tmp/gone")) == 0);
	start(NOBODY, fd);
	refused(-EPERM, "tmp/gone (deleted)", "mode 1777");
}

Test(pins, take_a_removed_file_where_only_root_may_write, .init = set_up, .fini = tear_down)
{
	int fd = make_file("safe/gone", NOBODY, O_RDWR);

	cr_assert(unlink(at("safe/gone")) == 0);
	start(NOBODY, fd);
	taken();
	check_says(0, NULL);
	cr_assert(chown(at("safe"), NOBODY, NOBODY) == 0);
	check_says(-EPERM, "removed file");
}

static int bound(const char *name, bool relative)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", relative ? name : at(name));
	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "%s", strerror(errno));
	return fd;
}

Test(pins, refuse_a_socket_that_would_be_bound_where_the_user_may_write, .init = set_up, .fini = tear_down)
{
	start(NOBODY, bound("own/s", false));
	refused(-EPERM, "unix socket", "own/s");
}

Test(pins, refuse_a_socket_with_a_relative_path, .init = set_up, .fini = tear_down)
{
	cr_assert(chdir(at("own")) == 0);
	start(NOBODY, bound("s", true));
	refused(-EPERM, "unix socket", "relative");
	cr_assert(chdir("/") == 0);
}

Test(pins, refuse_a_connection_to_a_socket_that_the_user_could_replace, .init = set_up, .fini = tear_down)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int server = bound("own/s", false), client = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", at("own/s"));
	cr_assert(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
	start(NOBODY, client);
	refused(-EPERM, "connection to the unix socket", "own/s");
	fd_close(server);
}

Test(pins, take_a_socket_where_only_root_may_write, .init = set_up, .fini = tear_down)
{
	start(NOBODY, bound("safe/s", false));
	taken();
	cr_assert(pins_find(&pins, at("safe/s"))->kind == PIN_SOCKET);
	check_says(0, NULL);
	cr_assert(chmod(at("safe"), 0777) == 0);
	check_says(-EPERM, "mode 777");
}

Test(pins, leave_a_socket_out_that_is_given_up_before, .init = set_up, .fini = tear_down)
{
	int fd = bound("own/s", false);
	unsigned long long inode = inode_of(fd);
	struct pins_spec spec;

	start(NOBODY, fd);
	spec = (struct pins_spec){ .pid = service.pid, .known = &inode, .n_known = 1 };
	cr_assert(pins_take(&spec, &pins, &why) == 0, "%s", why.text);
}

Test(pins, refuse_a_file_of_proc_that_is_another_ones_after_a_restore, .init = set_up, .fini = tear_down)
{
	struct child other;
	char path[64];
	int fd;

	start(NOBODY, -1);
	child_init(&other);
	cr_assert(child_move(&service, &other, NULL) == 0);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)other.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0);
	start(NOBODY, fd);
	refused(-EPERM, path, "its open file");
	child_done(&other);
}

Test(pins, see_the_files_of_a_child, .init = set_up, .fini = tear_down)
{
	char path[] = "/bin/sh", how[] = "-c", text[256], *argv[] = { path, how, text, NULL }, *envp[] = { NULL };
	const struct child_spec spec = { .path = path, .argv = argv, .envp = envp, .uid = NOBODY, .gid = NOBODY };
	uint64_t until_us = clock_now_us() + WAIT_US;

	cr_assert(mkfifo(at("own/fifo"), 0666) == 0 && chmod(at("own/fifo"), 0666) == 0);
	snprintf(text, sizeof(text), "/bin/sleep 1000 3<>%s & wait", at("own/fifo"));
	cr_assert(child_spawn(loop, &service, &spec, NULL, &why) == 0, "%s", why.text);
	/* Until the child is its program; while it becomes that, it has files of both. */
	while ((take() == 0 || !strstr(why.text, "own/fifo")) && clock_now_us() < until_us)
		pins_done(&pins);
	cr_assert(strstr(why.text, "own/fifo"), "%s", why.text);
}

/* ---- a file at a safe path ---- */

static void safe_file(void)
{
	start(NOBODY, make_file("safe/f", NOBODY, O_RDWR));
	taken();
	cr_assert(!pins_find(&pins, at("safe/f"))->is_held);
	check_says(0, NULL);
}

Test(pins, refuse_another_file_at_the_path, .init = set_up, .fini = tear_down)
{
	safe_file();
	fd_close(make_file("safe/g", NOBODY, O_RDWR));
	cr_assert(rename(at("safe/g"), at("safe/f")) == 0);
	check_says(-ESTALE, "it is another file");
}

Test(pins, refuse_a_hard_link_to_another_file_at_the_path, .init = set_up, .fini = tear_down)
{
	safe_file();
	fd_close(make_file("safe/g", NOBODY, O_RDWR));
	cr_assert(unlink(at("safe/f")) == 0 && link(at("safe/g"), at("safe/f")) == 0);
	check_says(-ESTALE, "it is another file");
}

Test(pins, refuse_a_link_at_the_path_and_in_it, .init = set_up, .fini = tear_down)
{
	safe_file();
	cr_assert(rename(at("safe/f"), at("safe/g")) == 0 && symlink("g", at("safe/f")) == 0);
	check_says(-ELOOP, "symbolic link");
	cr_assert(unlink(at("safe/f")) == 0 && rename(at("safe/g"), at("safe/f")) == 0);
	check_says(0, NULL);
	cr_assert(rename(at("safe"), at("moved")) == 0 && symlink("moved", at("safe")) == 0);
	check_says(-ELOOP, "symbolic link");
}

Test(pins, refuse_a_mount_over_the_path, .init = set_up, .fini = tear_down)
{
	safe_file();
	fd_close(make_file("safe/g", NOBODY, O_RDWR));
	cr_assert(mount(at("safe/g"), at("safe/f"), NULL, MS_BIND, NULL) == 0);
	check_says(-ESTALE, "it is another file");
	cr_assert(umount(at("safe/f")) == 0);
}

Test(pins, refuse_a_fifo_at_the_path_without_waiting_at_it, .init = set_up, .fini = tear_down)
{
	safe_file();
	cr_assert(unlink(at("safe/f")) == 0 && mkfifo(at("safe/f"), 0644) == 0);
	check_says(-ESTALE, NULL);
}

Test(pins, refuse_a_path_that_has_become_unsafe, .init = set_up, .fini = tear_down)
{
	safe_file();
	cr_assert(chown(at("safe"), NOBODY, NOBODY) == 0);
	check_says(-EPERM, "belongs to user 65534");
	cr_assert(chown(at("safe"), 0, 0) == 0 && chmod(at("safe"), 0775) == 0);
	check_says(-EPERM, "mode 775");
	cr_assert(chmod(at("safe"), 0755) == 0 && chown(at("safe/f"), 0, 0) == 0);
	check_says(-ESTALE, "it belongs to 0:0");
}

/* ---- what CRIU wrote ---- */

static size_t entry(uint8_t *at_byte, const void *bytes, size_t n)
{
	uint32_t size = (uint32_t)n;

	memcpy(at_byte, &size, 4);
	memcpy(at_byte + 4, bytes, n);
	return n + 4;
}

/* One file of type @type, which has in field @number a message with the string @text in field @name. */
static void write_image(unsigned type, unsigned number, unsigned name, const char *text)
{
	uint8_t whole[512], message[300], inner[260];
	size_t n = 0, length = strlen(text);
	const uint32_t magic[] = { 0x54564319, 0x56303138 };
	int fd = open(at("files.img"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	inner[0] = (uint8_t)(name << 3 | 2);
	inner[1] = (uint8_t)length;
	memcpy(inner + 2, text, length);
	message[n++] = 1 << 3;
	message[n++] = (uint8_t)type;
	message[n++] = 2 << 3;
	message[n++] = 9;
	if (number) {
		uint32_t key = number << 3 | 2;

		message[n++] = (uint8_t)(key | (key > 127 ? 0x80 : 0));
		if (key > 127)
			message[n++] = (uint8_t)(key >> 7);
		message[n++] = (uint8_t)(length + 2);
		memcpy(message + n, inner, length + 2);
		n += length + 2;
	}
	memcpy(whole, magic, sizeof(magic));
	n = sizeof(magic) + entry(whole + sizeof(magic), message, n);
	cr_assert(write(fd, whole, n) == (ssize_t)n);
	fd_close(fd);
}

static int compare(void)
{
	why = (struct why){ 0 };
	return pins_compare_paths(&pins, root, &why);
}

Test(pins, refuse_a_file_that_was_opened_behind_their_back, .init = set_up, .fini = tear_down)
{
	hold();
	write_image(1, 3, 6, at("own/f"));
	cr_assert(compare() == 0, "%s", why.text);
	fd_close(make_file("own/late", NOBODY, O_WRONLY));
	write_image(1, 3, 6, at("own/late"));
	cr_assert(compare() == -EPERM && strstr(why.text, "own/late"), "%s", why.text);
	write_image(5, 16, 11, at("own/socket"));
	cr_assert(compare() == -EPERM && strstr(why.text, "own/socket"), "%s", why.text);
	write_image(5, 16, 11, "relative");
	cr_assert(compare() == -EPERM, "%s", why.text);
	write_image(8, 0, 0, "");
	cr_assert(compare() == -EPERM && strstr(why.text, "inotify"), "%s", why.text);
	write_image(77, 0, 0, "");
	cr_assert(compare() == -EPERM && strstr(why.text, "unknown"), "%s", why.text);
	fd_close(make_file("mountpoints-1.img", 0, O_WRONLY));
	cr_assert(compare() == -EPERM && strstr(why.text, "namespace"), "%s", why.text);
}

Test(pins, come_to_have_what_was_opened_late_at_a_safe_path, .init = set_up, .fini = tear_down)
{
	hold();
	fd_close(make_file("safe/late", 0, O_WRONLY));
	write_image(1, 3, 6, at("safe/late"));
	cr_assert(compare() == 0 && pins_find(&pins, at("safe/late")), "%s", why.text);
	cr_assert(unlink(at("safe/late")) == 0);
	check_says(-ENOENT, "safe/late");
}

Test(pins, read_what_criu_wrote_with_suspicion, .init = set_up, .fini = tear_down)
{
	struct stat st;

	hold();
	cr_assert(compare() == -ENOENT); /* not there: nobody can say what the image has */
	write_image(1, 3, 6, at("own/f"));
	cr_assert(stat(at("files.img"), &st) == 0);
	for (off_t size = st.st_size - 1; size > 8; size--) {
		cr_assert(truncate(at("files.img"), size) == 0);
		cr_assert(compare() < 0, "cut at %lld", (long long)size);
	}
	write_image(1, 3, 5, at("own/f")); /* without a name */
	cr_assert(compare() == -EBADMSG);
}

/* ---- handed over ---- */

Test(pins, give_a_restore_the_very_open_file_that_others_hold, .init = set_up, .fini = tear_down)
{
	int fd = make_file("safe/lock", 0, O_RDWR), ours = fcntl(fd, F_DUPFD_CLOEXEC, 0), again, other;

	cr_assert(flock(fd, LOCK_EX | LOCK_NB) == 0);
	other = make_file("safe/other", 0, O_RDWR);
	start(0, fd);
	taken();
	cr_assert(pins_want(&pins, ours) && !pins_want(&pins, other));
	again = lent("safe/lock", (int[]){ other, ours }, 2);
	cr_assert(again == ours, "the lock stays where it is");
	fd_close(other);
	fd_close(ours);
}

Test(pins, give_a_restore_a_pipe_of_which_the_process_has_one_end, .init = set_up, .fini = tear_down)
{
	int ends[2], ours;

	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	ours = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
	start(0, ends[1]);
	taken();
	cr_assert(pins_want(&pins, ours) && !pins_want(&pins, ends[0]), "the reading end is not the process's");
	cr_assert(pins_lend(&pins, &ours, 1, &loans, &why) == 0 && loans.n == 1 && loans.loans[0].fd == ours);
	cr_assert(strncmp(loans.loans[0].key, "pipe:[", 6) == 0);
	fd_close(ours);
	fd_close(ends[0]);
}

Test(pins, give_no_pipe_of_which_the_process_has_both_ends, .init = set_up, .fini = tear_down)
{
	int ends[2], ours;

	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	ours = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
	start_in(0, ends[0], ends[1], NULL);
	taken();
	cr_assert(!pins_want(&pins, ours));
	fd_close(ours);
}
