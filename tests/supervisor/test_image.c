/* SPDX-License-Identifier: MIT */
#include "supervisor/image/image.h"
#include "supervisor/image/manifest.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/imaged.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <utime.h>

TestSuite(image, .timeout = 120);

static struct loop *loop;
static struct image_job job;
static char root[64];
static bool done;
static int done_rc;
static struct why done_why;

static void on_done(struct image_job *done_job, int rc, const struct why *why)
{
	cr_assert(done_job == &job);
	cr_assert(!done, "told twice");
	done = true;
	done_rc = rc;
	done_why = *why;
}

static void set_up(void)
{
	struct why why;

	cr_assert(loop_new(&loop, &why) == 0);
	image_job_init(&job, NULL);
	folder_temporary(root);
	done = false;
}

static void tear_down(void)
{
	struct why why;

	image_job_done(&job);
	cr_assert(folder_remove(root, &why) == 0, "%s", why.text);
	loop_free(loop);
}

static struct image_take_spec take_spec(const struct imaged *imaged, uint64_t generation, bool leave_running)
{
	return (struct image_take_spec){ .criu_path = criu_path(), .images_root = root, .service = "cached",
					 .generation = generation, .version = "v1", .pid = imaged->pid,
					 .control_inode = imaged->control_inode, .stdout_inode = imaged->output_inode,
					 .stderr_inode = imaged->output_inode, .leave_running = leave_running,
					 .timeout_us = WAIT_US };
}

static struct image *take(const struct imaged *imaged, uint64_t generation, bool leave_running)
{
	struct image_take_spec spec = take_spec(imaged, generation, leave_running);
	struct image *image;
	struct why why;

	done = false;
	cr_assert(image_take_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	cr_assert(image_job_busy(&job));
	UNTIL(loop, done);
	image = job.image;
	job.image = NULL;
	return image;
}

static void restore(struct imaged *imaged, struct image *image)
{
	struct image_restore_spec spec = { .criu_path = criu_path(), .stderr_fd = -1, .timeout_us = WAIT_US };
	struct why why;

	fd_close(imaged->control);
	fd_close(imaged->output);
	imaged_ends(imaged, &spec.control, &spec.stdout_fd);
	done = false;
	cr_assert(image_restore_start(loop, &job, image, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	fd_close(spec.control);
	fd_close(spec.stdout_fd);
}

static bool exists(const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return lstat(path, &st) == 0;
}

static void touch(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	cr_assert(write(fd, "x", 1) == 1);
	fd_close(fd);
}

static void make_folder(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	cr_assert(folder_make(path, NULL) == 0);
}

/* A copy of cat that a test may change. */
static void start_copy(struct imaged *imaged, char *path, size_t size)
{
	char command[256];
	char *argv[] = { path, NULL };

	snprintf(path, size, "%s/cat", root);
	snprintf(command, sizeof(command), "cp /bin/cat %s", path);
	cr_assert(system(command) == 0);
	imaged_start(loop, imaged, argv, -1);
}

static void files_are_private(const char *name)
{
	char path[256];
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	dir = opendir(path);
	cr_assert(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			cr_assert(fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && (st.st_mode & 0777) == 0600, "%s has mode %o",
				  entry->d_name, st.st_mode);
	closedir(dir);
}

Test(image, brings_a_process_back_after_the_original_has_ended, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct image *image;
	struct stat st;

	imaged_start_cat(loop, &imaged);
	image = take(&imaged, 7, false);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	cr_assert(job.target == CRIU_TARGET_GONE);
	UNTIL(loop, imaged.child.exited);
	cr_assert(image->size_bytes > 10000 && image->taken_in_us > 0 && image->pid == imaged.pid);
	cr_assert(stat(image->path, &st) == 0 && (st.st_mode & 0777) == 0700);
	cr_assert(exists("cached/7/manifest") && !exists("cached/7.tmp"));
	files_are_private("cached/7");

	restore(&imaged, image);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(job.restored_pid == imaged.pid);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(&imaged, 'z');
	imaged_done(&imaged);
	cr_assert(image_drop(image) == NULL);
	cr_assert(!exists("cached/7") && !exists("cached/7.tmp"));
}

Test(image, can_be_restored_more_than_once, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct image *image;

	imaged_start_cat(loop, &imaged);
	image = take(&imaged, 1, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	imaged_says(&imaged, 'b');
	child_done(&imaged.child);
	for (int letter = 'c'; letter < 'f'; letter++) {
		restore(&imaged, image);
		cr_assert(done_rc == 0, "%s", done_why.text);
		cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
		imaged_says(&imaged, (char)letter);
		child_done(&imaged.child);
	}
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, is_read_back_by_a_later_supervisor, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct image *image, *loaded;
	struct why why;

	imaged_start_cat(loop, &imaged);
	image = take(&imaged, 3, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	cr_assert(image_load(root, "cached", 3, &loaded, &why) == 0, "%s", why.text);
	cr_assert_str_eq(loaded->path, image->path);
	cr_assert_str_eq(loaded->version, "v1");
	cr_assert_str_eq(loaded->service, "cached");
	cr_assert_str_eq(pins_exe(&loaded->pins), pins_exe(&image->pins));
	cr_assert(loaded->pins.n == image->pins.n && loaded->n_files == image->n_files);
	for (size_t i = 0; i < image->n_files; i++)
		cr_assert(loaded->files[i].is_summed &&
			  memcmp(&loaded->files[i].sum, &image->files[i].sum, sizeof(struct checksum)) == 0);
	cr_assert(loaded->generation == 3 && loaded->pid == image->pid && loaded->size_bytes == image->size_bytes &&
		  loaded->control_inode == imaged.control_inode && loaded->stdout_inode == imaged.output_inode &&
		  loaded->stderr_inode == imaged.output_inode && loaded->taken_at_s == image->taken_at_s);
	image_free(image);
	imaged_done(&imaged);
	image_drop(loaded);
	cr_assert(image_load(root, "cached", 3, &loaded, &why) == -ENOENT);
}

Test(image, that_failed_is_not_there, .init = set_up, .fini = tear_down)
{
	char path[] = "/bin/cat";
	char *argv[] = { path, NULL };
	struct imaged imaged;
	int pair[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	imaged_start(loop, &imaged, argv, pair[1]);
	cr_assert(take(&imaged, 4, false) == NULL);
	cr_assert(done_rc == -EIO);
	cr_assert(job.target == CRIU_TARGET_RUNNING);
	cr_assert(!exists("cached/4") && !exists("cached/4.tmp"));
	cr_assert(exists("cached/dump.log"), "the reason has to outlive the image");
	imaged_done(&imaged);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

Test(image, is_not_taken_twice, .init = set_up, .fini = tear_down)
{
	struct image_take_spec spec;
	struct imaged imaged;
	struct image *image;
	struct why why;

	imaged_start_cat(loop, &imaged);
	image = take(&imaged, 5, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	spec = take_spec(&imaged, 5, true);
	cr_assert(image_take_start(loop, &job, &spec, on_done, &why) == -EEXIST);
	cr_assert(exists("cached/5/manifest"));
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, counts_when_criu_was_stopped_after_the_last_byte, .init = set_up, .fini = tear_down)
{
	char wrapper[128];
	struct image_take_spec spec;
	struct imaged imaged;
	struct image *image;
	FILE *file;

	/* What it looks like when the deadline strikes between the end of the process and the answer. */
	snprintf(wrapper, sizeof(wrapper), "%s/criu", root);
	file = fopen(wrapper, "we");
	cr_assert(file);
	imaged_start_cat(loop, &imaged);
	fprintf(file, "#!/bin/sh\necho x >%s/cached/6.tmp/inventory.img\nkill -9 %d\nexec sleep 1000\n", root,
		(int)imaged.pid);
	fclose(file);
	cr_assert(chmod(wrapper, 0700) == 0);
	spec = take_spec(&imaged, 6, false);
	spec.criu_path = wrapper;
	spec.timeout_us = 300 * USEC_PER_MSEC;
	cr_assert(image_take_start(loop, &job, &spec, on_done, NULL) == 0);
	UNTIL(loop, done);
	cr_assert(done_rc == 0, "%s", done_why.text);
	image = job.image;
	job.image = NULL;
	cr_assert(image && exists("cached/6/inventory.img"));
	UNTIL(loop, imaged.child.exited);
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, given_up_half_way_leaves_nothing, .init = set_up, .fini = tear_down)
{
	struct image_take_spec spec;
	struct imaged imaged;
	char wrapper[80];
	FILE *file;

	/* Half way by an event, not by the clock: in 10 ms a dump has begun, has ended, or has its code inside the process. */
	snprintf(wrapper, sizeof(wrapper), "%s/criu", root);
	file = fopen(wrapper, "we");
	cr_assert(file);
	fprintf(file, "#!/bin/sh\necho x >%s/cached/8.tmp/inventory.img\nexec sleep 1000\n", root);
	fclose(file);
	cr_assert(chmod(wrapper, 0700) == 0);
	imaged_start_cat(loop, &imaged);
	spec = take_spec(&imaged, 8, true);
	spec.criu_path = wrapper;
	cr_assert(image_take_start(loop, &job, &spec, on_done, NULL) == 0);
	UNTIL(loop, exists("cached/8.tmp/inventory.img"));
	image_job_done(&job);
	cr_assert(!image_job_busy(&job) && !done);
	cr_assert(!exists("cached/8") && !exists("cached/8.tmp"));
	imaged_says(&imaged, 'h');
	imaged_done(&imaged);
}

static void refuse_restore(struct image *image, int rc, const char *text)
{
	struct image_restore_spec spec = { .criu_path = criu_path(), .control = 0, .stdout_fd = 1, .stderr_fd = 2,
					   .timeout_us = WAIT_US };
	struct why why;

	cr_assert(image_restore_start(loop, &job, image, &spec, on_done, &why) == rc, "%s", why.text);
	cr_assert(strstr(why.text, text), "%s", why.text);
	cr_assert(!image_job_busy(&job));
}

Test(image, refuses_to_restore_what_cannot_be, .init = set_up, .fini = tear_down)
{
	struct utimbuf times = { .actime = 1, .modtime = 1 };
	struct imaged imaged;
	struct image *image;
	char exe[128];
	pid_t pid;

	start_copy(&imaged, exe, sizeof(exe));
	image = take(&imaged, 9, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	refuse_restore(image, -EBUSY, "is taken by a running process: 'cat'");
	kill(imaged.pid, SIGKILL);
	siginfo_t info;
	waitid(P_PID, (id_t)imaged.pid, &info, WEXITED | WNOWAIT);
	refuse_restore(image, -EBUSY, "nobody has waited for it");
	pid = imaged.pid;
	imaged_done(&imaged);
	cr_assert(image_check(image, &done_why) == 0, "%s", done_why.text);
	cr_assert(utime(exe, &times) == 0);
	refuse_restore(image, -ESTALE, "was changed");
	cr_assert(unlink(exe) == 0);
	refuse_restore(image, -ENOENT, exe);
	cr_assert(kill(pid, 0) < 0);
	image_drop(image);
}

Test(image, is_refused_of_a_process_whose_executable_was_replaced, .init = set_up, .fini = tear_down)
{
	struct image_take_spec spec;
	struct imaged imaged;
	struct why why;
	char exe[128];

	start_copy(&imaged, exe, sizeof(exe));
	cr_assert(unlink(exe) == 0);
	spec = take_spec(&imaged, 10, true);
	cr_assert(image_take_start(loop, &job, &spec, on_done, &why) == -ESTALE);
	cr_assert(strstr(why.text, "was replaced or removed while it runs"), "%s", why.text);
	imaged_done(&imaged);
}

Test(image, names_no_folder_outside_its_root, .init = set_up, .fini = tear_down)
{
	struct image *image;
	struct why why;

	cr_assert(image_load(root, "../etc", 1, &image, &why) == -EINVAL);
	cr_assert(image_load(root, "..", 1, &image, &why) == -EINVAL);
	cr_assert(image_load(root, "", 1, &image, &why) == -EINVAL);
}

Test(image, removal_follows_no_link, .init = set_up, .fini = tear_down)
{
	char from[256], to[256];

	make_folder("precious");
	touch("precious/file");
	make_folder("cached/1.tmp/deep/deeper");
	touch("cached/1.tmp/deep/file");
	snprintf(to, sizeof(to), "%s/precious", root);
	snprintf(from, sizeof(from), "%s/cached/1.tmp/deep/link", root);
	cr_assert(symlink(to, from) == 0);
	snprintf(from, sizeof(from), "%s/linked-service", root);
	cr_assert(symlink(to, from) == 0);
	touch("precious/2.tmp");
	cr_assert(image_gc_partial(root, NULL) == 2);
	cr_assert(!exists("cached/1.tmp") && exists("precious/file") && exists("linked-service"));
}

Test(image, gc_takes_only_what_is_half, .init = set_up, .fini = tear_down)
{
	make_folder("a/1");
	make_folder("a/2.tmp");
	make_folder("b/3.tmp/x");
	touch("b/dump.log");
	cr_assert(image_gc_partial(root, NULL) == 2);
	cr_assert(exists("a/1") && exists("b/dump.log") && !exists("a/2.tmp") && !exists("b/3.tmp"));
	cr_assert(image_gc_partial(root, NULL) == 0);
	cr_assert(image_gc_partial("/nowhere/at/all", NULL) == 0);
}

/* ---- the manifest ---- */

static void manifest_path(char *path, size_t size)
{
	snprintf(path, size, "%s/cached/1/manifest", root);
}

static int load_bytes(const char *bytes, size_t size, struct why *why)
{
	struct image *image;
	char path[256];
	FILE *file;
	int r;

	make_folder("cached/1");
	manifest_path(path, sizeof(path));
	file = fopen(path, "we");
	cr_assert(file);
	cr_assert(fwrite(bytes, 1, size, file) == size);
	fclose(file);
	*why = (struct why){ 0 };
	r = image_load(root, "cached", 1, &image, why);
	if (r == 0)
		image_free(image);
	else
		cr_assert(strstr(why->text, path), "%s", why->text);
	return r;
}

/* With the checksum that belongs to it, so that what it says is what is judged. */
static int load_text(const char *text, struct why *why)
{
	struct checksum sum = checksum_data(text, strlen(text));
	char whole[2048], digits[CHECKSUM_TEXT];

	snprintf(whole, sizeof(whole), "%ssum=%s\n", text, checksum_text(&sum, digits));
	return load_bytes(whole, strlen(whole), why);
}

#define HEAD "format=3\nservice=cached\ngeneration=1\npid=5\nversion=v\n"
#define NUMBERS "control_inode=0\nstdout_inode=0\nstderr_inode=0\ntaken_at=1\ntaken_in_us=1\nbytes=1\n"
#define FILES "file=- 5 core-5.img\nfile=00112233445566778899aabbccddeeff 6 pages-1.img\n"
#define PIN_REST " 1 -2 100755 3 4 0 0 /bin/x\n"
#define PINS "pin=exe st" PIN_REST
#define REST NUMBERS FILES PINS

Test(image, manifest_is_read_with_suspicion, .init = set_up, .fini = tear_down)
{
	static const char *const bad[] = {
		"", "nonsense\n", HEAD, HEAD NUMBERS, HEAD NUMBERS FILES, HEAD NUMBERS PINS, REST,
		"format=1\nservice=cached\ngeneration=1\npid=5\nversion=v\n" REST,
		"format=3\nservice=other\ngeneration=1\npid=5\nversion=v\n" REST,
		"format=3\nservice=cached\ngeneration=2\npid=5\nversion=v\n" REST,
		"format=3\nservice=cached\ngeneration=1\npid=0\nversion=v\n" REST,
		"format=3\nservice=cached\ngeneration=1\npid=-1\nversion=v\n" REST,
		"format=3\nservice=cached\ngeneration=1\npid=5x\nversion=v\n" REST,
		"format=3\nservice=cached\ngeneration=1\npid=99999999999999999999\nversion=v\n" REST,
		"format=3\nservice=cached\ngeneration=1\npid=5\n" REST,
		HEAD "pid=6\n" REST, HEAD "version=w\n" REST, HEAD "service=cached\n" REST, HEAD REST "line\n",
		HEAD REST "file=\n", HEAD REST "file=- 5\n", HEAD REST "file=- 5 \n", HEAD REST "file=- -5 x\n",
		HEAD REST "file=0011 5 x\n", HEAD REST "file=- 5 ../x\n", HEAD REST "file=- 5 ..\n", HEAD REST "file=- 5 a\\9\n",
		HEAD REST "file=- 5 a\\000\n", HEAD REST "file=- 5 a\\057b\n", HEAD REST "file=- 9223372036854775807 x\n",
		HEAD REST "pin=\n", HEAD REST "pin=exe\n", HEAD REST "pin=exe st\n", HEAD REST "pin=thing st" PIN_REST,
		HEAD REST "pin=open xy" PIN_REST, HEAD REST "pin=open s 1 2 999 3 4 0 0 /x\n", HEAD REST "pin=open s 1 2 7 3 4 0 "
		"0 x\n",
		HEAD REST "pin=open s 1 2 7 3 0 0 /x\n", HEAD REST "pin=open s 1 2 7 3 4 0 0\n",
		HEAD REST "pin=open s 1 2 7 3 4 0 /x\n", HEAD REST "pin=open s 1 2 7 3 4 4294967296 0 /x\n",
		HEAD REST "pin=open s 1 2 7 3 4 0 0 pipe:[5]\n", HEAD REST "pin=pipe s 1 2 7 3 4 0 0 socket:[5]\n",
	};
	struct why why;

	cr_assert(load_text(HEAD "later=1\n" REST, &why) == 0, "%s", why.text);
	cr_assert(load_text(HEAD REST "file=- 5 a\\134b\\012c d\n", &why) == 0, "%s", why.text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(load_text(bad[i], &why) == -EBADMSG, "%zu was taken: %s", i, bad[i]);
	cr_assert(load_text("format=4\nservice=cached\ngeneration=1\npid=5\nversion=v\n" REST, &why) == -EBADMSG);
	cr_assert(strstr(why.text, "another release"), "%s", why.text);
}

Test(image, manifest_with_any_bit_flipped_or_its_end_missing_is_refused, .init = set_up, .fini = tear_down)
{
	char whole[1024], digits[CHECKSUM_TEXT];
	struct checksum sum = checksum_data(HEAD REST, strlen(HEAD REST));
	struct why why;
	size_t length;

	snprintf(whole, sizeof(whole), HEAD REST "sum=%s\n", checksum_text(&sum, digits));
	length = strlen(whole);
	cr_assert(load_bytes(whole, length, &why) == 0, "%s", why.text);
	for (size_t i = 0; i < length; i++) {
		whole[i] = (char)(whole[i] ^ (1 << i % 8));
		cr_assert(load_bytes(whole, length, &why) == -EBADMSG, "byte %zu", i);
		whole[i] = (char)(whole[i] ^ (1 << i % 8));
		cr_assert(load_bytes(whole, i, &why) == -EBADMSG, "cut at %zu", i);
	}
	cr_assert(load_bytes("", 0, &why) == -EBADMSG);
}

Test(image, manifest_keeps_whatever_a_path_may_hold, .init = set_up, .fini = tear_down)
{
	static const char path[] = "/a b\\c\nd\x7f\xff=e";
	struct image_file file = { .name = (char *)(uintptr_t)"core 1\\.img", .size_bytes = 7 };
	struct image_pin pin = { .kind = PIN_EXE, .path = (char *)(uintptr_t)path, .mtime_ns = -5, .mode = 0100755 };
	struct image image = { .service = (char *)(uintptr_t)"s", .version = (char *)(uintptr_t)"v", .generation = 8, .pid = 3,
			       .files = &file, .n_files = 1, .pins = { .pins = &pin, .n = 1 } };
	struct image *back = calloc(1, sizeof(*back));
	size_t length;
	char *text = image_manifest_text(&image, &length);
	struct why why;

	cr_assert(text && back && image_manifest_parse(text, back, &why) == 0, "%s", why.text);
	cr_assert_str_eq(back->pins.pins[0].path, path);
	cr_assert_str_eq(back->files[0].name, file.name);
	cr_assert(back->pins.pins[0].mtime_ns == -5 && !back->pins.pins[0].size_matters && !back->files[0].is_summed);
	free(text);
	image_free(back);
}

/* ---- damage ---- */

static void file_flip(const struct image *image, const char *name)
{
	char path[512];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", image->path, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0 && pread(fd, &byte, 1, 4096) == 1);
	byte ^= 0x10;
	cr_assert(pwrite(fd, &byte, 1, 4096) == 1);
	fd_close(fd);
}

static const char *file_large(const struct image *image)
{
	const struct image_file *large = &image->files[0];

	for (size_t i = 1; i < image->n_files; i++)
		if (image->files[i].size_bytes > large->size_bytes)
			large = &image->files[i];
	return large->name;
}

Test(image, with_a_damaged_small_file_is_not_given_to_criu, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct image *image;
	char path[512], name[64];

	imaged_start_cat(loop, &imaged);
	image = take(&imaged, 11, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	child_done(&imaged.child);
	snprintf(name, sizeof(name), "core-%d.img", (int)imaged.pid);
	snprintf(path, sizeof(path), "%s/%s", image->path, name);
	file_flip(image, "pages-1.img"); /* cat has less than what counts as large */
	refuse_restore(image, -EBADMSG, "pages-1.img is damaged: its checksum");
	file_flip(image, "pages-1.img");
	cr_assert(truncate(path, 10) == 0);
	refuse_restore(image, -EBADMSG, "bytes and was written with");
	cr_assert(unlink(path) == 0);
	refuse_restore(image, -EBADMSG, "cannot be read: No such file");
	imaged_done(&imaged);
	image_drop(image);
}

/* A process of python's has megabytes. */
static void start_large(struct imaged *imaged)
{
	char path[] = "/usr/bin/python3", option[] = "-c";
	char text[] = "import os\nkeep = bytearray(os.urandom(4 << 20))\n"
		      "for byte in iter(lambda: os.read(0, 1), b''): os.write(1, byte)\n";
	char *argv[] = { path, option, text, NULL };

	imaged_start(loop, imaged, argv, -1);
}

Test(image, with_a_damaged_page_file_is_taken_back_after_criu_has_restored_it, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct image *image;
	const char *pages;

	start_large(&imaged);
	image = take(&imaged, 12, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	child_done(&imaged.child);
	pages = file_large(image);
	cr_assert(strncmp(pages, "pages-", 6) == 0, "%s", pages);
	file_flip(image, pages);
	restore(&imaged, image);
	cr_assert(done_rc == -EBADMSG && strstr(done_why.text, pages), "%s", done_why.text);
	cr_assert(job.restored_pid == 0 && kill(imaged.pid, 0) < 0 && errno == ESRCH, "it is still there");
	file_flip(image, pages);
	restore(&imaged, image);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(&imaged, 'p');
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, that_is_needed_at_once_is_published_without_checksums, .init = set_up, .fini = tear_down)
{
	struct image_take_spec spec;
	struct imaged imaged;
	struct image *image;

	imaged_start_cat(loop, &imaged);
	spec = take_spec(&imaged, 13, false);
	cr_assert(image_take_start(loop, &job, &spec, on_done, NULL) == 0);
	image_take_hurry(&job);
	UNTIL(loop, done);
	image = job.image;
	job.image = NULL;
	cr_assert(done_rc == 0 && image && image->n_files && !image->files[0].is_summed, "%s", done_why.text);
	UNTIL(loop, imaged.child.exited);
	restore(&imaged, image);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(&imaged, 'q');
	imaged_done(&imaged);
	image_drop(image);
}

/* ---- pins ---- */

static const struct image_pin *pin_of(const struct image *image, const char *path)
{
	for (size_t i = 0; i < image->pins.n; i++)
		if (strcmp(image->pins.pins[i].path, path) == 0)
			return &image->pins.pins[i];
	return NULL;
}

static int file_open(const char *name, int flags, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", root, name);
	return open(path, flags | O_CLOEXEC);
}

Test(image, pins_an_open_log_by_nothing_but_its_being_there, .init = set_up, .fini = tear_down)
{
	struct utimbuf times = { .actime = 1, .modtime = 1 };
	char cat[] = "/bin/cat", path[256];
	char *argv[] = { cat, NULL };
	const struct image_pin *pin;
	struct imaged imaged;
	struct image *image;
	int log;

	touch("log");
	log = file_open("log", O_WRONLY | O_APPEND, path, sizeof(path));
	imaged_start(loop, &imaged, argv, log);
	image = take(&imaged, 14, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	pin = pin_of(image, path);
	cr_assert(pin && pin->kind == PIN_OPEN && !pin->size_matters && !pin->time_matters);
	child_done(&imaged.child);
	cr_assert(write(log, "more", 4) == 4 && utime(path, &times) == 0);
	restore(&imaged, image);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_done(&imaged);
	cr_assert(chmod(path, 0640) == 0);
	refuse_restore(image, -ESTALE, "give it that mode back");
	cr_assert(unlink(path) == 0);
	refuse_restore(image, -ENOENT, path);
	fd_close(log);
	image_drop(image);
}

Test(image, pins_the_size_of_what_the_process_may_write_anywhere, .init = set_up, .fini = tear_down)
{
	char cat[] = "/bin/cat", path[256];
	char *argv[] = { cat, NULL };
	struct imaged imaged;
	struct image *image;
	int data;

	touch("data");
	data = file_open("data", O_RDWR, path, sizeof(path));
	imaged_start(loop, &imaged, argv, data);
	image = take(&imaged, 15, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	child_done(&imaged.child);
	cr_assert(pwrite(data, "y", 1, 0) == 1);
	cr_assert(image_check(image, &done_why) == 0, "%s", done_why.text);
	cr_assert(pwrite(data, "y", 1, 1) == 1);
	refuse_restore(image, -ESTALE, "it has 2 bytes and had 1; put the file of that version back");
	fd_close(data);
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, tells_a_file_that_was_replaced_from_one_that_was_put_back, .init = set_up, .fini = tear_down)
{
	char cat[] = "/bin/cat", path[256], command[1400];
	char *argv[] = { cat, NULL };
	struct imaged imaged;
	struct image *image;
	int data;

	touch("config");
	data = file_open("config", O_RDONLY, path, sizeof(path));
	imaged_start(loop, &imaged, argv, data);
	image = take(&imaged, 16, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	child_done(&imaged.child);
	snprintf(command, sizeof(command), "cp -p %s %s.saved && echo -n z >%s.new && mv %s.new %s", path, path, path, path, path);
	cr_assert(system(command) == 0);
	refuse_restore(image, -ESTALE, "with its time (cp -p)");
	snprintf(command, sizeof(command), "mv %s.saved %s", path, path);
	cr_assert(system(command) == 0);
	cr_assert(image_check(image, &done_why) == 0, "%s", done_why.text);
	fd_close(data);
	imaged_done(&imaged);
	image_drop(image);
}

/* The loader itself is run, with one more library, so that a test may change that. */
static void start_with_library(struct imaged *imaged, char *library, size_t size)
{
	char loader[] = "/lib64/ld-linux-x86-64.so.2", option[] = "--preload", cat[] = "/bin/cat", command[256];
	char *argv[] = { loader, option, library, cat, NULL };

	snprintf(library, size, "%s/libm.so", root);
	snprintf(command, sizeof(command), "cp /lib/x86_64-linux-gnu/libm.so.6 %s", library);
	cr_assert(system(command) == 0);
	imaged_start(loop, imaged, argv, -1);
}

Test(image, pins_libraries, .init = set_up, .fini = tear_down)
{
	struct utimbuf times = { .actime = 1, .modtime = 1 };
	const struct image_pin *pin;
	struct imaged imaged;
	struct image *image;
	char library[128];

	start_with_library(&imaged, library, sizeof(library));
	image = take(&imaged, 17, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	pin = pin_of(image, library);
	cr_assert(pin && pin->kind == PIN_MAPPED && pin->size_matters && pin->time_matters);
	imaged_done(&imaged);
	cr_assert(utime(library, &times) == 0);
	refuse_restore(image, -ESTALE, "libm.so was changed since the image was taken");
	image_drop(image);
}

Test(image, holds_a_library_that_was_removed, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct image *image;
	char library[128];

	start_with_library(&imaged, library, sizeof(library));
	cr_assert(unlink(library) == 0);
	touch("libm.so"); /* as an upgrade does: another file under its name */
	image = take(&imaged, 18, true);
	cr_assert(done_rc == 0 && image, "%s", done_why.text);
	cr_assert(!pin_of(image, library));
	child_done(&imaged.child);
	restore(&imaged, image);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(&imaged, 'r');
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, is_refused_of_a_process_whose_library_was_renamed, .init = set_up, .fini = tear_down)
{
	struct image_take_spec spec;
	struct imaged imaged;
	char library[128], moved[160];
	struct why why;

	start_with_library(&imaged, library, sizeof(library));
	snprintf(moved, sizeof(moved), "%s.hidden", library);
	cr_assert(link(library, moved) == 0 && unlink(library) == 0);
	spec = take_spec(&imaged, 19, true);
	cr_assert(image_take_start(loop, &job, &spec, on_done, &why) == -ESTALE);
	cr_assert(strstr(why.text, "libm.so") && strstr(why.text, "is not what is found under this name"), "%s", why.text);
	cr_assert(!exists("cached/19.tmp"));
	imaged_done(&imaged);
}

/* ---- space ---- */

/* ---- what others hold of the process's open files ---- */

static void restore_with(struct imaged *imaged, struct image *image, const int *files, size_t n_files)
{
	struct image_restore_spec spec = { .criu_path = criu_path(), .stderr_fd = -1, .files = files, .n_files = n_files,
					   .timeout_us = WAIT_US };
	struct why why;

	fd_close(imaged->control);
	fd_close(imaged->output);
	imaged_ends(imaged, &spec.control, &spec.stdout_fd);
	done = false;
	cr_assert(image_restore_start(loop, &job, image, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	cr_assert(done_rc == 0, "%s", done_why.text);
	fd_close(spec.control);
	fd_close(spec.stdout_fd);
	cr_assert(job.restored_pidfd >= 0);
	cr_assert(child_adopt(loop, &imaged->child, job.restored_pid, NULL, &why) == 0, "%s", why.text);
}

static bool is_locked(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool locked = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;

	fd_close(fd);
	return locked;
}

Test(image, comes_back_with_the_lock_that_somebody_else_held_for_it_meanwhile, .init = set_up, .fini = tear_down)
{
	char path[128], name[] = "/bin/cat", *argv[] = { name, NULL };
	struct imaged imaged;
	struct image *image;
	int fd, ours;

	snprintf(path, sizeof(path), "%s/lock", root);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
	imaged_start(loop, &imaged, argv, fd);
	ours = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	fd_close(fd);
	image = take(&imaged, 40, false);
	cr_assert(done_rc == 0, "%s", done_why.text);
	UNTIL(loop, imaged.child.exited);
	cr_assert(is_locked(path), "by ours");
	restore_with(&imaged, image, &ours, 1);
	imaged_says(&imaged, 'b');
	fd_close(ours);
	cr_assert(is_locked(path), "by the process alone");
	imaged_done(&imaged);
	cr_assert(!is_locked(path));
	image_drop(image);
}

Test(image, comes_back_with_its_end_of_a_pipe_and_the_reader_sees_when_it_is_closed, .init = set_up, .fini = tear_down)
{
	char name[] = "/bin/cat", *argv[] = { name, NULL }, byte;
	struct imaged imaged;
	struct image *image;
	int ends[2], ours;

	cr_assert(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	imaged_start(loop, &imaged, argv, ends[1]);
	ours = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
	fd_close(ends[1]);
	image = take(&imaged, 41, false);
	cr_assert(done_rc == 0, "%s", done_why.text);
	UNTIL(loop, imaged.child.exited);
	restore_with(&imaged, image, &ours, 1);
	fd_close(ours);
	cr_assert(read(ends[0], &byte, 1) < 0 && errno == EAGAIN, "the process has the other end");
	imaged_done(&imaged);
	cr_assert(read(ends[0], &byte, 1) == 0, "and has closed it");
	fd_close(ends[0]);
	image_drop(image);
}

/* A folder that others may change: CRIU gets a descriptor of the file in it, and not the path. */
Test(image, comes_back_with_the_file_that_was_held_whatever_is_at_its_path, .init = set_up, .fini = tear_down)
{
	char folder[128], path[160], link[64], name[] = "/bin/cat", *argv[] = { name, NULL };
	struct stat was, is;
	struct imaged imaged;
	struct image *image;
	int fd;

	snprintf(folder, sizeof(folder), "%s/own", root);
	cr_assert(chmod(root, 0755) == 0 && mkdir(folder, 0755) == 0 && chown(folder, 65534, 65534) == 0);
	snprintf(path, sizeof(path), "%s/bait", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	cr_assert(fd >= 0 && write(fd, "mine", 4) == 4 && fstat(fd, &was) == 0);
	imaged_start(loop, &imaged, argv, fd);
	fd_close(fd);
	image = take(&imaged, 42, false);
	cr_assert(done_rc == 0, "%s", done_why.text);
	UNTIL(loop, imaged.child.exited);
	touch("target");
	cr_assert(unlink(path) == 0 && symlink("../target", path) == 0);
	restore_with(&imaged, image, NULL, 0);
	imaged_says(&imaged, 'b');
	snprintf(link, sizeof(link), "/proc/%d/fd/3", (int)imaged.pid);
	cr_assert(stat(link, &is) == 0 && is.st_dev == was.st_dev && is.st_ino == was.st_ino);
	imaged_done(&imaged);
	image_drop(image);
}

Test(image, is_not_begun_where_it_has_no_room, .init = set_up, .fini = tear_down)
{
	struct image_take_spec spec;
	struct imaged imaged;
	char small[128];
	struct why why;

	make_folder("small");
	snprintf(small, sizeof(small), "%s/small", root);
	cr_assert(mount("none", small, "tmpfs", 0, "size=2m") == 0);
	start_large(&imaged);
	spec = take_spec(&imaged, 20, true);
	spec.images_root = small;
	cr_assert(image_take_start(loop, &job, &spec, on_done, &why) == -ENOSPC);
	cr_assert(strstr(why.text, "MiB") && strstr(why.text, "has 2 MiB free"), "%s", why.text);
	cr_assert(!exists("small/cached"));
	imaged_done(&imaged);
	cr_assert(umount(small) == 0);
}
