/* SPDX-License-Identifier: MIT */
#include "supervisor/image.h"
#include "supervisor/image_dir.h"
#include "tests/supervisor/imaged.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
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
	folder_make(root);
	done = false;
}

static void tear_down(void)
{
	struct why why;

	image_job_done(&job);
	cr_assert(image_dir_remove(root, &why) == 0, "%s", why.text);
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
	cr_assert(image_dir_make(path, NULL) == 0);
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
	for (char letter = 'c'; letter < 'f'; letter++) {
		restore(&imaged, image);
		cr_assert(done_rc == 0, "%s", done_why.text);
		cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
		imaged_says(&imaged, letter);
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
	cr_assert_str_eq(loaded->exe, image->exe);
	cr_assert(loaded->pid == image->pid && loaded->size_bytes == image->size_bytes &&
		  loaded->exe_size_bytes == image->exe_size_bytes && loaded->exe_mtime_ns == image->exe_mtime_ns &&
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
	refuse_restore(image, -EBUSY, "is taken by a running process");
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
	cr_assert(image_take_start(loop, &job, &spec, on_done, &why) == -ENOENT);
	cr_assert(strstr(why.text, "(deleted)"), "%s", why.text);
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

static int load_text(const char *text, struct why *why)
{
	struct image *image;
	char path[256];
	FILE *file;
	int r;

	make_folder("cached/1");
	snprintf(path, sizeof(path), "%s/cached/1/manifest", root);
	file = fopen(path, "we");
	cr_assert(file);
	fputs(text, file);
	fclose(file);
	r = image_load(root, "cached", 1, &image, why);
	if (r == 0)
		image_free(image);
	return r;
}

#define REST \
	"exe_size=5\nexe_mtime_ns=-6\ncontrol_inode=0\nstdout_inode=0\nstderr_inode=0\n" \
	"taken_at=1\ntaken_in_us=1\nbytes=1\nend=1\n"

Test(image, manifest_is_read_with_suspicion, .init = set_up, .fini = tear_down)
{
	struct why why;

	cr_assert(load_text("format=1\npid=5\nversion=v\nexe=/x\nlater=1\n" REST, &why) == 0, "%s", why.text);
	cr_assert(load_text("", &why) == -EBADMSG);
	cr_assert(load_text("format=2\npid=5\nversion=v\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=0\nversion=v\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=-1\nversion=v\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=99999999999999999999\nversion=v\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=5\npid=6\nversion=v\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=5\nversion=v\nversion=w\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=5\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(strstr(why.text, "version") && strstr(why.text, "manifest"), "%s", why.text);
	cr_assert(load_text("format=1\npid=5\nversion=v\nexe=/x\n", &why) == -EBADMSG);
	cr_assert(load_text("format=1\npid=5x\nversion=v\nexe=/x\n" REST, &why) == -EBADMSG);
	cr_assert(load_text("nonsense\n" REST, &why) == -EBADMSG);
}
