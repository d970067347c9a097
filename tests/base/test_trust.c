/* SPDX-License-Identifier: MIT */
#include "base/trust.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];
static char inner[96], file[128];
static struct why why;

static void set_up(void)
{
	int fd;

	strcpy(root, "/tmp/upg-trust.XXXXXX"); /* below a folder that everybody may write to, and that is sticky */
	cr_assert(mkdtemp(root));
	snprintf(inner, sizeof(inner), "%s/inner", root);
	snprintf(file, sizeof(file), "%s/file", inner);
	cr_assert_eq(mkdir(inner, 0755), 0);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
	close(fd);
}

static void tear_down(void)
{
	unlink(file);
	rmdir(inner);
	rmdir(root);
}

TestSuite(trust, .init = set_up, .fini = tear_down, .timeout = 20);

Test(trust, is_given_to_what_only_we_can_write)
{
	cr_assert_eq(trust_path(file, &why), 0, "%s", why.text);
	cr_assert_eq(trust_path(inner, &why), 0, "%s", why.text);
	cr_assert_eq(trust_path("/", &why), 0, "%s", why.text);
}

static void refused(const char *path, const char *command)
{
	cr_assert_eq(trust_path(path, &why), -EPERM, "%s", why.text);
	cr_assert(strstr(why.text, command), "%s", why.text);
}

Test(trust, is_refused_to_a_file_or_folder_that_others_can_write_with_the_command_that_mends_it)
{
	char command[160];

	cr_assert_eq(chmod(file, 0666), 0);
	snprintf(command, sizeof(command), "chmod go-w %s", file);
	refused(file, command);
	cr_assert_eq(chmod(file, 0644), 0);
	cr_assert_eq(chmod(inner, 0777), 0);
	snprintf(command, sizeof(command), "chmod go-w %s", inner);
	refused(inner, command);
	refused(file, command);
	cr_assert_eq(chmod(inner, 01777), 0);
	refused(inner, command);
	cr_assert_eq(trust_path(file, &why), 0, "nobody can replace our file in a sticky folder");
	cr_assert_eq(chmod(inner, 0755), 0);
	cr_assert_eq(chmod(root, 0777), 0);
	snprintf(command, sizeof(command), "chmod go-w %s", root);
	refused(file, command);
}

Test(trust, is_refused_where_a_group_can_write_that_is_not_root_s)
{
	if (geteuid() != 0)
		cr_skip_test("changing groups needs root");
	cr_assert_eq(chmod(file, 0664), 0);
	cr_assert_eq(chown(file, 0, 1234), 0);
	refused(file, "chmod go-w");
	cr_assert_eq(chown(file, 0, 0), 0);
	cr_assert_eq(trust_path(file, &why), 0);
}

Test(trust, is_refused_to_what_belongs_to_somebody_else)
{
	if (geteuid() != 0)
		cr_skip_test("changing owners needs root");
	cr_assert_eq(chown(file, 1234, 0), 0);
	refused(file, "belongs to uid 1234");
	cr_assert(strstr(why.text, "chown 0"), "%s", why.text);
	trust_user(1234);
	cr_assert_eq(trust_path(file, &why), 0, "%s", why.text);
	cr_assert_eq(chown(inner, 1235, 0), 0);
	refused(file, inner);
}

Test(trust, follows_a_link_and_looks_at_where_it_leads)
{
	char link[96];

	snprintf(link, sizeof(link), "%s/link", root);
	cr_assert_eq(symlink(inner, link), 0);
	cr_assert_eq(trust_path(link, &why), 0, "%s", why.text);
	cr_assert_eq(chmod(inner, 0777), 0);
	refused(link, inner);
	unlink(link);
	cr_assert_eq(trust_path(link, &why), -ENOENT);
}
