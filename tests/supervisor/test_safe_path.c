/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/folder.h"
#include "supervisor/machine/safe_path.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534u

TestSuite(safe_path, .timeout = 30);

static struct safe_paths paths;
static char root[64];

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned n;
	char *buf = path[n++ % 4];

	snprintf(buf, sizeof(path[0]), "%s/%s", root, name);
	return buf;
}

static void make_file(const char *name, unsigned uid)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	cr_assert(fd >= 0 && fchown(fd, uid, uid) == 0);
	fd_close(fd);
}

static void make_folder(const char *name, unsigned uid, unsigned mode)
{
	cr_assert(mkdir(at(name), 0700) == 0);
	cr_assert(chown(at(name), uid, uid) == 0 && chmod(at(name), mode) == 0);
}

static void set_up(void)
{
	strcpy(root, "/tmp/upg-test.XXXXXX");
	cr_assert(mkdtemp(root));
	safe_paths_init(&paths);
}

static void tear_down(void)
{
	safe_paths_done(&paths);
	cr_assert(folder_remove(root, NULL) == 0);
}

static int look(const char *path, struct why *why)
{
	int fd = -1, r;

	*why = (struct why){ 0 };
	r = safe_path_open(&paths, path, &fd, NULL, why);
	cr_assert((r == 0) == (fd >= 0));
	fd_close(fd);
	return r;
}

Test(safe_path, leads_to_the_file_where_every_folder_is_roots, .init = set_up, .fini = tear_down)
{
	struct stat found, wanted;
	struct why why;
	int fd;

	make_folder("a", 0, 0755);
	make_file("a/f", NOBODY);
	make_file("a/g", 0);
	cr_assert(safe_path_open(&paths, at("a/f"), &fd, NULL, &why) == 0, "%s", why.text);
	cr_assert(fstat(fd, &found) == 0 && stat(at("a/f"), &wanted) == 0 && found.st_ino == wanted.st_ino);
	fd_close(fd);
	/* Its neighbour is found from the same folder. */
	cr_assert(safe_path_open(&paths, at("a/g"), &fd, NULL, &why) == 0, "%s", why.text);
	cr_assert(fstat(fd, &found) == 0 && stat(at("a/g"), &wanted) == 0 && found.st_ino == wanted.st_ino);
	fd_close(fd);
	cr_assert(look("/", &why) == 0 && look("/usr", &why) == 0 && look(at("a"), &why) == 0);
	cr_assert(look(at("a/none"), &why) == -ENOENT);
}

Test(safe_path, is_refused_where_another_user_may_change_a_step, .init = set_up, .fini = tear_down)
{
	struct why why;

	make_folder("own", NOBODY, 0755);
	make_folder("own/deep", 0, 0755);
	make_file("own/deep/f", 0);
	cr_assert(look(at("own/deep/f"), &why) == -EPERM);
	cr_assert(strstr(why.text, "/own belongs to user 65534"), "%s", why.text);
	make_folder("group", 0, 0775);
	make_file("group/f", 0);
	cr_assert(look(at("group/f"), &why) == -EPERM && strstr(why.text, "mode 775"), "%s", why.text);
	make_folder("all", 0, 0777);
	make_file("all/f", 0);
	cr_assert(look(at("all/f"), &why) == -EPERM);
}

Test(safe_path, through_a_folder_like_tmp_is_as_good_as_the_owner_of_what_lies_there, .init = set_up, .fini = tear_down)
{
	struct why why;
	bool shared;
	int fd;

	make_folder("tmp", 0, 01777);
	make_file("tmp/mine", 0);
	make_file("tmp/theirs", NOBODY);
	cr_assert(safe_path_open(&paths, at("tmp/mine"), &fd, &shared, &why) == 0 && shared, "%s", why.text);
	fd_close(fd);
	cr_assert(look(at("tmp/theirs"), &why) == -EPERM);
	make_folder("tmp/dir", NOBODY, 0755);
	make_file("tmp/dir/f", 0);
	cr_assert(look(at("tmp/dir/f"), &why) == -EPERM);
}

Test(safe_path, has_no_link_and_no_detour_in_it, .init = set_up, .fini = tear_down)
{
	char path[256];
	struct why why;

	make_folder("a", 0, 0755);
	make_file("a/f", 0);
	cr_assert(symlink("a", at("b")) == 0 && symlink("f", at("a/l")) == 0);
	cr_assert(look(at("b/f"), &why) == -ELOOP, "%s", why.text);
	cr_assert(look(at("a/l"), &why) == -ELOOP);
	cr_assert(look("/proc/self/root/tmp", &why) == -ELOOP || look("/proc/self/root/tmp", &why) == -EPERM);
	cr_assert(look(at("a/../a/f"), &why) == -EINVAL);
	cr_assert(look(at("a/./f"), &why) == -EINVAL);
	cr_assert(look(at("a//f"), &why) == -EINVAL);
	cr_assert(look(at("a/"), &why) == -EINVAL);
	cr_assert(look("tmp", &why) == -EINVAL && look("", &why) == -EINVAL);
	snprintf(path, sizeof(path), "%s/f/x", at("a"));
	cr_assert(look(path, &why) == -ENOTDIR);
}

Test(safe_path, folder_is_judged_for_a_file_that_is_still_to_be_made, .init = set_up, .fini = tear_down)
{
	struct why why;

	make_folder("a", 0, 0755);
	make_folder("tmp", 0, 01777);
	make_folder("own", NOBODY, 0755);
	cr_assert(safe_path_folder(&paths, at("a/new"), false, &why) == 0, "%s", why.text);
	cr_assert(safe_path_folder(&paths, at("tmp/new"), true, &why) == 0, "%s", why.text);
	cr_assert(safe_path_folder(&paths, at("tmp/new"), false, &why) == -EPERM);
	cr_assert(safe_path_folder(&paths, at("own/new"), true, &why) == -EPERM);
	cr_assert(safe_path_folder(&paths, at("none/new"), true, &why) == -ENOENT);
	cr_assert(safe_path_folder(&paths, "/new", true, &why) == 0, "%s", why.text);
}

Test(safe_path, mounts_that_programs_serve_are_told_by_their_ids)
{
	struct safe_served served = { .mount = { 7, 9 }, .n = 2 };
	int fd = open("/", O_PATH | O_CLOEXEC);

	cr_assert(safe_served_has(&served, 9) && !safe_served_has(&served, 8));
	served.n = SAFE_SERVED_MAX; /* perhaps there were more */
	cr_assert(safe_served_has(&served, 8));
	cr_assert(safe_mount_of(fd) > 0);
	fd_close(fd);
}

Test(safe_path, users_are_safe_who_could_do_anything_anyway)
{
	int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC), none = open("/", O_PATH | O_CLOEXEC);

	cr_assert(safe_user(0) && safe_user(geteuid()) && !safe_user(NOBODY));
	cr_assert(safe_process(proc) && !safe_process(none));
	fd_close(proc);
	fd_close(none);
}
