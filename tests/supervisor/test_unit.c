/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/why.h"
#include "supervisor/unit/unit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(unit, .timeout = 20);

#define SECOND UINT64_C(1000000)
#define HEAD "[Service]\nExec=/opt/%v/app\n"

static struct unit *unit;
static struct why why;

static int parse(const char *text)
{
	unit = unit_free(unit);
	memset(&why, 0, sizeof(why));
	return unit_parse("cache", "/etc/upgraded/cache.conf", text, &unit, &why);
}

static void expect_good(const char *text)
{
	cr_assert_eq(parse(text), 0, "%s", why.text);
	cr_assert_not_null(unit);
}

/* Refused at @line (0: without one), with @words in the reason. */
static void expect_bad(const char *text, unsigned line, const char *words)
{
	char place[64] = "/etc/upgraded/cache.conf: ";

	if (line)
		snprintf(place, sizeof(place), "/etc/upgraded/cache.conf:%u: ", line);
	cr_assert_eq(parse(text), -EINVAL, "accepted:\n%s", text);
	cr_assert_null(unit);
	cr_assert(strncmp(why.text, place, strlen(place)) == 0, "%s\nshould begin with %s", why.text, place);
	cr_assert(strstr(why.text, words), "%s\nshould say: %s", why.text, words);
}

/* The third line is @line. */
static const char *with(const char *line)
{
	static char text[4096];

	snprintf(text, sizeof(text), "%s%s\n", HEAD, line);
	return text;
}

static void teardown(void)
{
	unit = unit_free(unit);
}

/* ---- keys ---- */

Test(unit, has_a_default_for_all_but_exec, .fini = teardown)
{
	expect_good("[Service]\nExec=/opt/%v/app\n");
	cr_assert_str_eq(unit->name, "cache");
	cr_assert_str_eq(unit->path, "/etc/upgraded/cache.conf");
	cr_assert_str_eq(unit->exec, "/opt/%v/app");
	cr_assert_eq(unit->exec_line, 2);
	cr_assert_str_empty(unit->version);
	cr_assert_str_empty(unit->user);
	cr_assert_str_empty(unit->group);
	cr_assert_str_eq(unit->working_directory, "/");
	cr_assert_eq(unit->n_environment, 0);
	cr_assert_null(unit->environment[0]);
	cr_assert_eq(unit->rollback, ROLLBACK_AUTO);
	cr_assert_eq(unit->on_dirty, DIRTY_RESET);
	cr_assert_eq(unit->restart, RESTART_ON_FAILURE);
	cr_assert_not(unit->journal);
	cr_assert_eq(unit->journal_bytes, 256u << 20);
	cr_assert_eq(unit->level, 1);
	cr_assert_eq(unit->limit_nofile, 0);
	cr_assert_eq(unit->children, CHILDREN_HAND_OVER);
	cr_assert_eq(unit->log_rate, 1000);
	cr_assert_eq(unit->log_rate_bytes, 1u << 20);
	cr_assert_eq(unit->child_timeout_us, 600 * SECOND);
	cr_assert(unit->start_timeout_us && unit->quiesce_timeout_us && unit->transfer_timeout_us &&
		  unit->stop_timeout_us);
	cr_assert(unit->image_timeout_us && unit->health_interval_us && unit->health_timeout_us);
	cr_assert(unit->health_check_timeout_us);
	cr_assert_eq(unit->health_failures, 3);
	cr_assert_eq(unit->n_checks, 0);
}

Test(unit, takes_every_key, .fini = teardown)
{
	expect_good("# a comment\n; another\n\n[Service]\n"
		    "Exec = /opt/%v/app --name %n \n"
		    "Version=v1.2_3@x-4\nUser=root\nGroup=root\nWorkingDirectory=/var/tmp\n"
		    "Environment=A=1\nEnvironment=B=two words=and more\nEnvironment=C=\n"
		    "StartTimeout=1s\nQuiesceTimeout=2s\nChildTimeout=7min\nTransferTimeout=3s\nStopTimeout=4s\nImageTimeout=5s\n"
		    "HealthInterval=6s\nHealthTimeout=7s\nHealthCheckTimeout=10s\nHealthFailures=4\nBake=8s\nRestartDelay=9s\n"
		    "Rollback=image\nOnDirtyConnection=keep\nRestart=no\nQuiesceLevel=protocol\nLimitNOFILE=4096\n"
		    "Children=keep\nLogRate=5000\nLogRateBytes=2M\n"
		    "OOMScoreAdjust=-900\n");
	cr_assert_eq(unit->children, CHILDREN_KEEP);
	cr_assert_eq(unit->log_rate, 5000);
	cr_assert_eq(unit->log_rate_bytes, 2u << 20);
	cr_assert(unit->sets_oom && unit->oom_score_adj == -900);
	cr_assert_str_eq(unit->exec, "/opt/%v/app --name %n");
	cr_assert_eq(unit->exec_line, 5);
	cr_assert_str_eq(unit->version, "v1.2_3@x-4");
	cr_assert_str_eq(unit->user, "root");
	cr_assert_str_eq(unit->group, "root");
	cr_assert_str_eq(unit->working_directory, "/var/tmp");
	cr_assert_eq(unit->n_environment, 3);
	cr_assert_str_eq(unit->environment[0], "A=1");
	cr_assert_str_eq(unit->environment[1], "B=two words=and more");
	cr_assert_str_eq(unit->environment[2], "C=");
	cr_assert_null(unit->environment[3]);
	cr_assert_eq(unit->start_timeout_us, 1 * SECOND);
	cr_assert_eq(unit->quiesce_timeout_us, 2 * SECOND);
	cr_assert_eq(unit->child_timeout_us, 420 * SECOND);
	cr_assert_eq(unit->transfer_timeout_us, 3 * SECOND);
	cr_assert_eq(unit->stop_timeout_us, 4 * SECOND);
	cr_assert_eq(unit->image_timeout_us, 5 * SECOND);
	cr_assert_eq(unit->health_interval_us, 6 * SECOND);
	cr_assert_eq(unit->health_timeout_us, 7 * SECOND);
	cr_assert_eq(unit->health_check_timeout_us, 10 * SECOND);
	cr_assert_eq(unit->health_failures, 4);
	cr_assert_eq(unit->bake_us, 8 * SECOND);
	cr_assert_eq(unit->restart_delay_us, 9 * SECOND);
	cr_assert_eq(unit->rollback, ROLLBACK_IMAGE);
	cr_assert_eq(unit->on_dirty, DIRTY_KEEP);
	cr_assert_eq(unit->restart, RESTART_NO);
	cr_assert_eq(unit->level, 3);
	cr_assert_eq(unit->limit_nofile, 4096);
}

Test(unit, takes_every_word_of_a_choice, .fini = teardown)
{
	static const char *const levels[] = { "work", "request", "protocol" };
	char line[64];

	for (enum unit_rollback i = ROLLBACK_AUTO; i <= ROLLBACK_NONE; i++) {
		snprintf(line, sizeof(line), "Rollback=%s", unit_rollback_name(i));
		expect_good(with(line));
		cr_assert_eq(unit->rollback, i);
	}
	for (unsigned i = 0; i < 3; i++) {
		snprintf(line, sizeof(line), "QuiesceLevel=%s", levels[i]);
		expect_good(with(line));
		cr_assert_eq(unit->level, i + 1);
	}
	expect_good(with("OnDirtyConnection=reset"));
	cr_assert_eq(unit->on_dirty, DIRTY_RESET);
	expect_good(with("Restart=on-failure"));
	expect_good(with("Start=by-order"));
	cr_assert_not(unit->starts_at_boot);
	expect_good(with("Start=boot"));
	cr_assert(unit->starts_at_boot);
	cr_assert_eq(unit->restart, RESTART_ON_FAILURE);
}

Test(unit, reads_sizes_in_units_of_1024, .fini = teardown)
{
	expect_good(with("StateRecordMax=64M\nStateTypesMax=1K\nStateMax=2T"));
	cr_assert_eq(unit->state_record_max, 64u << 20);
	cr_assert_eq(unit->state_types_max, 1024);
	cr_assert_eq(unit->state_max, UINT64_C(2) << 40);
}

Test(unit, takes_a_journal_and_its_size, .fini = teardown)
{
	expect_good(with("Journal=yes\nJournalSize=64K"));
	cr_assert(unit->journal);
	cr_assert_eq(unit->journal_bytes, 64u << 10);
	cr_assert_eq(unit->journal, UNIT_JOURNAL_YES);
	expect_good(with("Journal=yes\nJournal=no"));
	cr_assert_not(unit->journal);
	expect_good(with("Journal=always"));
	cr_assert_eq(unit->journal, UNIT_JOURNAL_ALWAYS);
}

Test(unit, lets_a_bake_and_a_restart_delay_be_nothing, .fini = teardown)
{
	expect_good(with("Bake=0\nRestartDelay=0"));
	cr_assert_eq(unit->bake_us, 0);
	cr_assert_eq(unit->restart_delay_us, 0);
}

static const char *const bad_lines[] = {
	"Journal=",
	"Journal=maybe",
	"JournalSize=",
	"JournalSize=65535",
	"JournalSize=1X",
	"Version=",
	"Version=../v1",
	"Version=v 1",
	"Version=.v1",
	"User=",
	"User=web:web",
	"Group=web, www",
	"Children=",
	"Children=adopt",
	"LogRate=-1",
	"LogRate=10000001",
	"LogRateBytes=4095",
	"WorkingDirectory=",
	"WorkingDirectory=var/tmp",
	"Environment=",
	"Environment=NAME",
	"Environment==value",
	"StartTimeout=0",
	"QuiesceTimeout=0ms",
	"ChildTimeout=0",
	"TransferTimeout=",
	"StopTimeout=-1s",
	"ImageTimeout=5 parsecs",
	"HealthInterval=0",
	"HealthTimeout=soon",
	"Bake=1.5s",
	"StateRecordMax=0",
	"StateRecordMax=4G",
	"StateTypesMax=many",
	"StateMax=1X",
	"StateMax=-1",
	"StateMax=99999999T",
	"RestartDelay=99999999999999999999",
	"Rollback=Image",
	"Rollback=",
	"OnDirtyConnection=drop",
	"Restart=always",
	"Start=yes",
	"QuiesceLevel=3",
	"OOMScoreAdjust=-1001",
	"OOMScoreAdjust=1001",
	"OOMScoreAdjust=--5",
	"OOMScoreAdjust=- 5",
	"OOMScoreAdjust=",
	"LimitNOFILE=15",
	"LimitNOFILE=-1",
	"LimitNOFILE=10000001",
	"LimitNOFILE=4096k",
	"LimitNOFILE=-18446744073709547520", /* 4096, as strtoul() has it */
	"LimitNOFILE=",
};

Test(unit, names_file_line_and_key_of_a_bad_value, .fini = teardown)
{
	for (size_t i = 0; i < sizeof(bad_lines) / sizeof(bad_lines[0]); i++) {
		expect_bad(with(bad_lines[i]), 3, bad_lines[i]);
		cr_assert(strstr(why.text, "expected "), "%s", why.text);
	}
}

Test(unit, takes_durations_in_every_unit)
{
	static const struct {
		const char *text;
		uint64_t us;
	} good[] = { { "0", 0 },
		     { "7", 7 * SECOND },
		     { "7s", 7 * SECOND },
		     { "7 s", 7 * SECOND },
		     { "300ms", 300000 },
		     { "15us", 15 },
		     { "2min", 120 * SECOND },
		     { "1h", 3600 * SECOND },
		     { "7d", 7 * 24 * 3600 * SECOND },
		     { "366d", 8784 * 3600 * SECOND },
		     { "007s", 7 * SECOND },
		     { "8784h", 8784 * 3600 * SECOND } };
	static const char *const bad[] = { "",
					   " ",
					   "s",
					   "-1",
					   "+1",
					   "1.5s",
					   "1s ",
					   "1m",
					   "1S",
					   "0x10",
					   "1e3",
					   "8785h",
					   "367d",
					   "1 2s",
					   "18446744073709551615us",
					   "99999999999999999999us",
					   "1min30s" };
	uint64_t us;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_assert_eq(unit_duration(good[i].text, &us), 0, "%s", good[i].text);
		cr_assert_eq(us, good[i].us, "%s", good[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		us = 42;
		cr_assert_eq(unit_duration(bad[i], &us), -EINVAL, "%s", bad[i]);
		cr_assert_eq(us, 42);
	}
}

Test(unit, limits_images, .fini = teardown)
{
	struct unit *limited = NULL;
	struct why reason = { 0 };

	cr_assert(unit_parse("web", "web.conf", "[Service]\nExec=/bin/%v\n", &limited, &reason) == 0, "%s", reason.text);
	cr_assert(limited->image_limits.keep == 1 && limited->image_limits.max_age_us == 7 * 24 * 3600 * SECOND &&
		  !limited->image_limits.max_size_bytes);
	unit_free(limited);
	cr_assert(unit_parse("web", "web.conf", "[Service]\nExec=/bin/%v\nImagesKeep=0\nImagesMaxAge=0\nImagesMaxSize=2G\n",
			     &limited, &reason) == 0, "%s", reason.text);
	cr_assert(limited->image_limits.keep == 0 && limited->image_limits.max_age_us == 0 &&
		  limited->image_limits.max_size_bytes == UINT64_C(2) << 30);
	unit_free(limited);
	expect_bad(with("ImagesKeep=-1"), 3, "ImagesKeep=-1");
	expect_bad(with("ImagesKeep=1001"), 3, "a number up to 1000");
	expect_bad(with("ImagesMaxAge=7days"), 3, "ImagesMaxAge=7days");
	expect_bad(with("ImagesMaxSize=lots"), 3, "ImagesMaxSize=lots");
}

/* ---- the file ---- */

Test(unit, names_the_line_of_an_unknown_key, .fini = teardown)
{
	expect_bad(with("Exce=/bin/%v"), 3, "unknown key Exce=");
	expect_bad(with("exec=/bin/%v"), 3, "unknown key exec=");
}

Test(unit, names_the_line_of_a_key_in_a_wrong_section, .fini = teardown)
{
	expect_bad(HEAD "[Install]\nWantedBy=x\n", 4, "[Install]");
	expect_bad("[service]\nExec=/opt/%v/app\n", 2, "[service]");
	expect_bad("\n\nExec=/opt/%v/app\n", 3, "[Service]");
}

Test(unit, lets_a_second_service_section_go_on_with_the_first, .fini = teardown)
{
	expect_good(HEAD "[Service]\nBake=3s\n");
	cr_assert_eq(unit->bake_us, 3 * SECOND);
	cr_assert_str_eq(unit->exec, "/opt/%v/app");
}

Test(unit, lets_the_last_of_several_values_win, .fini = teardown)
{
	expect_good(HEAD "Version=v1\nVersion=v2\nExec=/srv/%v\n");
	cr_assert_str_eq(unit->version, "v2");
	cr_assert_str_eq(unit->exec, "/srv/%v");
	cr_assert_eq(unit->exec_line, 5);
}

Test(unit, wants_a_program, .fini = teardown)
{
	expect_bad("", 0, "Exec= is missing");
	expect_bad("[Service]\n", 0, "Exec= is missing");
	expect_bad("[Service]\nBake=1s\n", 0, "Exec= is missing");
	expect_bad("[Service]\nBake=1s\nExec=\n", 3, "expected a command");
	expect_bad("[Service]\nExec=   \n", 2, "expected a command");
}

Test(unit, wants_the_version_in_the_programs_path, .fini = teardown)
{
	expect_bad("[Service]\n\nExec=/opt/app\n", 3, "must hold %v");
	expect_bad("[Service]\nExec=/opt/app --version %v\n", 2, "must hold %v");
	/* A literal percent sign and a v. */
	expect_bad("[Service]\nExec=/opt/%%v/app\n", 2, "must hold %v");
	expect_good("[Service]\nExec=/opt/%%%v/app\n");
	/* In the path, though not before the first blank. */
	expect_good("[Service]\nExec=\"/opt/my programs/%v/app\" -x\n");
	expect_good("[Service]\nExec=/opt/my\\ programs/%v/app -x\n");
}

Test(unit, names_the_line_of_a_command_that_cannot_be_read, .fini = teardown)
{
	expect_bad("[Service]\nExec=/opt/%v/app \"open\n", 2, "not closed");
	expect_bad("[Service]\nExec=/opt/%v/app 'open\n", 2, "not closed");
	expect_bad("[Service]\nExec=/opt/%v/app %x\n", 2, "%x");
	expect_bad("[Service]\nExec=/opt/%v/app 100%\n", 2, "known");
	expect_bad("[Service]\nExec=opt/%v/app\n", 2, "absolute");
	expect_bad("[Service]\nExec=%v\n", 2, "absolute");
	expect_bad("[Service]\nExec=\"\" %v\n", 2, "absolute");
}

Test(unit, names_the_line_of_what_is_no_key, .fini = teardown)
{
	expect_bad(with("Bake"), 3, "neither [Section] nor Key=value");
	expect_bad(HEAD "[Service\nBake=1s\n", 3, "neither");
	expect_bad("Exec\n", 1, "neither");
}

Test(unit, reads_lines_that_end_as_on_windows, .fini = teardown)
{
	expect_good("[Service]\r\nExec=/opt/%v/app -a\r\nVersion=v1\r\n");
	cr_assert_str_eq(unit->exec, "/opt/%v/app -a");
	cr_assert_str_eq(unit->version, "v1");
	expect_bad("[Service]\r\nExec=/opt/%v/app\r\nBake=x\r\n", 3, "Bake=x:");
}

Test(unit, reads_a_file_that_begins_with_a_byte_order_mark, .fini = teardown)
{
	expect_good("\xef\xbb\xbf[Service]\nExec=/opt/%v/app\n");
	cr_assert_eq(unit->exec_line, 2);
}

Test(unit, reads_a_file_whose_last_line_does_not_end, .fini = teardown)
{
	expect_good("[Service]\nExec=/opt/%v/app\nVersion=v9");
	cr_assert_str_eq(unit->version, "v9");
	expect_bad("[Service]\nExec=/opt/%v/app\nVersion=v 9", 3, "Version=");
}

Test(unit, reads_an_indented_key_as_a_key, .fini = teardown)
{
	expect_good("[Service]\n  Exec=/opt/%v/app\n\tVersion=v1\n");
	cr_assert_str_eq(unit->exec, "/opt/%v/app");
	cr_assert_str_eq(unit->version, "v1");
	expect_bad("[Service]\nExec=/opt/%v/app\n  --more arguments\n", 3, "neither");
}

Test(unit, does_not_take_the_end_of_a_value_for_a_comment, .fini = teardown)
{
	expect_good("[Service]\nExec=/opt/%v/app -c ; -d # -e\nEnvironment=A=1 ; 2\n");
	cr_assert_str_eq(unit->exec, "/opt/%v/app -c ; -d # -e");
	cr_assert_str_eq(unit->environment[0], "A=1 ; 2");
}

/* @n characters of the third line. */
static char *long_line(size_t n)
{
	char *text = malloc(sizeof(HEAD) + n + 2);
	int used;

	cr_assert_not_null(text);
	used = sprintf(text, "%sEnvironment=A=", HEAD);
	memset(text + used, 'x', sizeof(HEAD) + n - (size_t)used);
	text[sizeof(HEAD) - 1 + n] = '\n';
	text[sizeof(HEAD) + n] = 0;
	return text;
}

Test(unit, reads_a_line_as_long_as_a_file_may_be, .fini = teardown)
{
	char *text = long_line(UNIT_FILE_MAX);

	expect_good(text);
	cr_assert_eq(strlen(unit->environment[0]), UNIT_FILE_MAX - strlen("Environment="));
	free(text);
}

Test(unit, names_a_line_that_is_too_long, .fini = teardown)
{
	char *text = long_line(UNIT_FILE_MAX + 100);

	expect_bad(text, 3, "a line of 65636 characters");
	free(text);
}

/* ---- names ---- */

Test(unit, takes_names_that_are_safe_as_file_names)
{
	static const char *const good[] = { "a", "Z9", "web-1.2_x@y", "v1..2", "-x", "_", "@" };
	char name[UNIT_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (*good[i])
			cr_assert_eq(unit_name_check("service", good[i], &why), 0, "%s", why.text);
	memset(name, 'n', sizeof(name));
	name[UNIT_NAME_MAX] = 0;
	cr_assert_eq(unit_name_check("service", name, &why), 0, "%s", why.text);
}

Test(unit, refuses_names_that_lead_elsewhere)
{
	static const char *const bad[] = { "",	  ".",	 "..",	  "../x", ".hidden", "a/b", "/a",
					   "a b", "a\n", "a\x01", "ä",	  "a%v",     "*" };
	char name[UNIT_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(unit_name_check("version", bad[i], &why), -EINVAL, "%s", bad[i]);
		cr_assert(strncmp(why.text, "version name", 12) == 0, "%s", why.text);
	}
	memset(name, 'n', sizeof(name));
	name[UNIT_NAME_MAX + 1] = 0;
	cr_assert_eq(unit_name_check("service", name, &why), -EINVAL);
	cr_assert(strstr(why.text, "65"), "%s", why.text);
}

/* ---- from a folder ---- */

static char dir[64];

static void folder_setup(void)
{
	strcpy(dir, "/tmp/unit-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
}

static void folder_teardown(void)
{
	char command[128];

	teardown();
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	cr_assert_eq(system(command), 0);
}

static const char *in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void file_write(const char *name, const void *data, size_t size, mode_t mode)
{
	FD_CLEANUP int fd = open(in_folder(name), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, data, size), (ssize_t)size);
}

static int load(const char *name)
{
	unit = unit_free(unit);
	memset(&why, 0, sizeof(why));
	return unit_load(dir, name, &unit, &why);
}

Test(unit, loads_a_file_by_the_services_name, .init = folder_setup, .fini = folder_teardown)
{
	file_write("web.conf", HEAD, strlen(HEAD), 0600);
	cr_assert_eq(load("web"), 0, "%s", why.text);
	cr_assert_str_eq(unit->name, "web");
	cr_assert_str_eq(unit->path, in_folder("web.conf"));
}

Test(unit, is_refused_when_others_can_write_the_file_or_its_folder, .init = folder_setup, .fini = folder_teardown)
{
	file_write("web.conf", HEAD, strlen(HEAD), 0600);
	cr_assert_eq(chmod(in_folder("web.conf"), 0622), 0);
	cr_assert_eq(load("web"), -EPERM, "%s", why.text);
	cr_assert(strstr(why.text, "chmod go-w") && strstr(why.text, "web.conf"), "%s", why.text);
	cr_assert_eq(chmod(in_folder("web.conf"), 0644), 0);
	cr_assert_eq(chmod(dir, 0777), 0);
	cr_assert_eq(load("web"), -EPERM, "%s", why.text);
	cr_assert_eq(chmod(dir, 0700), 0);
	cr_assert_eq(load("web"), 0, "%s", why.text);
	if (geteuid() != 0)
		return;
	cr_assert_eq(chown(in_folder("web.conf"), 65534, 65534), 0);
	cr_assert_eq(load("web"), -EPERM, "%s", why.text);
	cr_assert(strstr(why.text, "chown"), "%s", why.text);
}

Test(unit, says_which_file_is_missing, .init = folder_setup, .fini = folder_teardown)
{
	cr_assert_eq(load("web"), -ENOENT);
	cr_assert(strstr(why.text, in_folder("web.conf")), "%s", why.text);
}

Test(unit, does_not_leave_the_folder, .init = folder_setup, .fini = folder_teardown)
{
	cr_assert_eq(load("../etc/passwd"), -EINVAL);
	cr_assert_eq(load(".."), -EINVAL);
	cr_assert_eq(load(""), -EINVAL);
}

Test(unit, refuses_what_is_no_regular_file, .init = folder_setup, .fini = folder_teardown)
{
	cr_assert_eq(mkdir(in_folder("web.conf"), 0700), 0);
	cr_assert_eq(load("web"), -EINVAL);
	cr_assert(strstr(why.text, "not a regular file"), "%s", why.text);
	/* Nor does it wait for a writer of a pipe. */
	cr_assert_eq(mkfifo(in_folder("pipe.conf"), 0600), 0);
	cr_assert_eq(load("pipe"), -EINVAL);
}

Test(unit, refuses_a_nul_byte, .init = folder_setup, .fini = folder_teardown)
{
	static const char text[] = HEAD "Version=v1\0\nRestart=no\n";

	file_write("web.conf", text, sizeof(text) - 1, 0600);
	cr_assert_eq(load("web"), -EINVAL);
	cr_assert(strstr(why.text, "NUL"), "%s", why.text);
}

Test(unit, refuses_a_file_over_the_limit_and_no_other, .init = folder_setup, .fini = folder_teardown)
{
	char *text = malloc(UNIT_FILE_MAX + 1);

	cr_assert_not_null(text);
	memset(text, '\n', UNIT_FILE_MAX + 1);
	memcpy(text, HEAD, strlen(HEAD));
	file_write("web.conf", text, UNIT_FILE_MAX, 0600);
	cr_assert_eq(load("web"), 0, "%s", why.text);
	file_write("web.conf", text, UNIT_FILE_MAX + 1, 0600);
	cr_assert_eq(load("web"), -EINVAL);
	cr_assert(strstr(why.text, "larger than 64 KiB"), "%s", why.text);
	free(text);
}

/* ---- the command ---- */

/* Exec= is @exec with DIR for the folder. */
static int command(const char *exec, const char *version, char ***ret_argv)
{
	char text[1024];

	snprintf(text, sizeof(text), "[Service]\n\nExec=%s/%s\n", dir, exec);
	cr_assert_eq(parse(text), 0, "%s", why.text);
	return unit_command(unit, version, ret_argv, &why);
}

static void program_make(const char *name)
{
	file_write(name, "#!/bin/true\n", 12, 0755);
}

/* The arguments after the program are @expected, NULL-terminated. */
static void expect_arguments(const char *exec, const char *const *expected)
{
	char **argv;

	program_make("app-v2");
	cr_assert_eq(command(exec, "v2", &argv), 0, "%s", why.text);
	cr_assert_str_eq(argv[0], in_folder("app-v2"));
	for (size_t i = 0; argv[i + 1] || expected[i]; i++) {
		cr_assert(argv[i + 1] && expected[i], "%s: %zu arguments", exec, i);
		cr_assert_str_eq(argv[i + 1], expected[i]);
	}
	cr_assert_null(unit_command_free(argv));
}

#define EXPECT_ARGUMENTS(exec, ...) expect_arguments(exec, (const char *const[]){ __VA_ARGS__, NULL })

Test(unit, splits_a_command_into_words, .init = folder_setup, .fini = folder_teardown)
{
	expect_arguments("app-%v", (const char *const[]){ NULL });
	EXPECT_ARGUMENTS("app-%v  a \t b", "a", "b");
	EXPECT_ARGUMENTS("app-%v a'b c'd", "ab cd");
	EXPECT_ARGUMENTS("app-%v \"two words\" 'and two'", "two words", "and two");
	EXPECT_ARGUMENTS("app-%v \"\" ''", "", "");
	EXPECT_ARGUMENTS("app-%v \"it's\" 'a \"quote\"'", "it's", "a \"quote\"");
	EXPECT_ARGUMENTS("app-%v a\\ b \\\"x \\\\ \"\\\"\"", "a b", "\"x", "\\", "\"");
	/* As in a shell: a backslash means nothing between single quotes, nor at the very end. */
	EXPECT_ARGUMENTS("app-%v 'a\\b' end\\", "a\\b", "end\\");
}

Test(unit, puts_version_and_name_where_they_are_wanted, .init = folder_setup, .fini = folder_teardown)
{
	EXPECT_ARGUMENTS("app-%v --%v=%n 100%% '%v' \"%n\" \\%v", "--v2=cache", "100%", "v2", "cache", "%v");
}

Test(unit, splits_at_every_kind_of_blank, .init = folder_setup, .fini = folder_teardown)
{
	EXPECT_ARGUMENTS("app-%v a\vb\f c\rd", "a", "b", "c", "d");
	EXPECT_ARGUMENTS("app-%v \v \f x", "x");
}

/* Its disk may hang: the start of the program finds out. */
Test(unit, does_not_look_at_the_program, .init = folder_setup, .fini = folder_teardown)
{
	char **argv = NULL;

	cr_assert_eq(command("app-%v", "v7", &argv), 0, "%s", why.text);
	cr_assert_str_eq(argv[0], in_folder("app-v7"));
	unit_command_free(argv);
}

/* ---- users ---- */

static int users_known(const char *lines)
{
	expect_good(with(lines));
	return unit_users_known(unit, 10 * SECOND, &why);
}

Test(unit, says_whether_users_and_groups_are_known, .fini = teardown)
{
	cr_assert_eq(users_known("Bake=1s"), 0);
	cr_assert_eq(users_known("User=root\nGroup=root"), 0, "%s", why.text);
	cr_assert_eq(users_known("User=no-such-user-here"), -EINVAL);
	cr_assert_str_eq(why.text, "/etc/upgraded/cache.conf: User=no-such-user-here: this machine knows no such user");
	cr_assert_eq(users_known("User=root\nGroup=no-such-group-here"), -EINVAL);
	cr_assert_str_eq(why.text, "/etc/upgraded/cache.conf: Group=no-such-group-here: this machine knows no such group");
}

Test(unit, does_not_wait_for_users_longer_than_it_was_told, .fini = teardown)
{
	int r = 0;

	expect_good(with("User=root"));
	/* The answer may be there at once. */
	for (unsigned i = 0; i < 20 && r == 0; i++)
		r = unit_users_known(unit, 0, &why);
	cr_assert(r == 0 || (r == UNIT_USERS_SILENT && strstr(why.text, "has not answered yet")), "%d: %s", r, why.text);
	while (waitpid(-1, NULL, 0) > 0) /* strays.h does this in the daemon */
		;
}

/* ---- checks ---- */

static char *url_of(size_t i, const char *version)
{
	char *url;

	cr_assert_eq(unit_check_url(unit, &unit->checks[i], version, &url, &why), 0, "%s", why.text);
	return url;
}

Test(unit, takes_checks_of_all_kinds_each_as_often_as_it_stands_there, .fini = teardown)
{
	char *url, **argv;

	expect_good(HEAD "HealthHTTP=http://127.0.0.1:8080/%v/ready?for=%n&at=100%%25\n"
			 "HealthCommand=/usr/lib/%n/check --version %v \"two words\"\n"
			 "HealthTCP=[::1]:11211\nHealthTCP=localhost:11211\nHealthHTTP=http://web.internal\n");
	cr_assert_eq(unit->n_checks, 5);
	cr_assert_eq(unit->checks[0].kind, CHECK_HTTP);
	cr_assert_eq(unit->checks[0].line, 3);
	url = url_of(0, "v9");
	cr_assert_str_eq(url, "http://127.0.0.1:8080/v9/ready?for=cache&at=100%25");
	free(url);
	cr_assert_eq(unit->checks[1].kind, CHECK_COMMAND);
	cr_assert_eq(unit_check_command(unit, &unit->checks[1], "v9", &argv, &why), 0, "%s", why.text);
	cr_assert_str_eq(argv[0], "/usr/lib/cache/check");
	cr_assert_str_eq(argv[2], "v9");
	cr_assert_str_eq(argv[3], "two words");
	cr_assert_null(argv[4]);
	unit_command_free(argv);
	cr_assert_eq(unit->checks[2].kind, CHECK_TCP);
	url = url_of(2, "v9");
	cr_assert_str_eq(url, "http://[::1]:11211");
	free(url);
	cr_assert_str_eq(unit->checks[3].value, "localhost:11211");
	cr_assert_eq(unit_checks_usable(unit, "v9", &why), 0);
}

Test(unit, refuses_checks_that_could_never_be_made, .fini = teardown)
{
	expect_bad(with("HealthHTTP=127.0.0.1:8080/ready"), 3, "HealthHTTP=127.0.0.1:8080/ready: ");
	expect_bad(with("HealthHTTP=https://127.0.0.1/ready"), 3, "not http://");
	expect_bad(with("HealthHTTP=ftp://127.0.0.1/ready"), 3, "not http://");
	expect_bad(with("HealthHTTP=file:///etc/passwd"), 3, "HealthHTTP=");
	expect_bad(with("HealthHTTP=http://"), 3, "expected http://host:port/path");
	expect_bad(with("HealthHTTP=http://127.0.0.1:99999/"), 3, "expected http://host:port/path");
	expect_bad(with("HealthHTTP=http://127.0.0.1:0/"), 3, "port 0");
	expect_bad(with("HealthHTTP=http://me:secret@127.0.0.1/"), 3, "a user name is not taken");
	expect_bad(with("HealthHTTP=http://127.0.0.1/%20"), 3, "%v, %n and %% are known, not %2");
	expect_bad(with("HealthHTTP="), 3, "HealthHTTP=");
	expect_bad(with("HealthTCP=127.0.0.1"), 3, "the port is missing");
	expect_bad(with("HealthTCP=:80"), 3, "expected host:port");
	expect_bad(with("HealthTCP=127.0.0.1:http"), 3, "expected host:port");
	expect_bad(with("HealthTCP=127.0.0.1:80/path"), 3, "expected host:port");
	expect_bad(with("HealthTCP=127.0.0.1:65536"), 3, "expected host:port");
	expect_bad(with("HealthTCP="), 3, "expected host:port");
	expect_bad(with("HealthCommand=check"), 3, "HealthCommand=: check is not an absolute path");
	expect_bad(with("HealthCommand="), 3, "nothing is not an absolute path");
	expect_bad(with("HealthCommand=/bin/sh -c 'true"), 3, "HealthCommand=: a ' is not closed");
	expect_bad(with("HealthCommand=/bin/%x"), 3, "not %x");
	expect_bad(with("HealthFailures=0"), 3, "a number from 1 to 1000");
	expect_bad(with("HealthFailures=many"), 3, "a number from 1 to 1000");
	expect_bad(with("HealthCheckTimeout=0"), 3, "a duration");
}

Test(unit, refuses_a_check_that_this_version_s_name_spoils, .fini = teardown)
{
	expect_good(HEAD "HealthHTTP=http://%v.internal/\n");
	cr_assert_eq(unit_checks_usable(unit, "v1", &why), 0);
	cr_assert_eq(unit_checks_usable(unit, "me@v1", &why), -EINVAL);
	cr_assert(strstr(why.text, "cache.conf:3: HealthHTTP="), "%s", why.text);
}

Test(unit, refuses_more_checks_than_it_runs, .fini = teardown)
{
	char text[1024] = HEAD;

	for (unsigned i = 0; i < UNIT_CHECKS_MAX; i++)
		strcat(text, "HealthTCP=localhost:1\n");
	expect_good(text);
	strcat(text, "HealthTCP=localhost:1\n");
	expect_bad(text, 11, "more than 8 checks");
}

Test(unit, tells_which_keys_differ_between_two_files)
{
	static const char first[] = "[Service]\nExec=/srv/%v/x\nBake=5s\nEnvironment=A=1\nEnvironment=B=2\n"
				    "HealthTCP=localhost:80\n";
	static const char second[] = "[Service]\n# another order\nVersion=v9\nEnvironment=A=1\nEnvironment=B=3\n"
				     "Bake=5s\nExec=/srv/%v/x -v\nMemoryLow=0\n";
	struct unit *a = NULL, *b = NULL;
	const char *keys[UNIT_KEYS_MAX];

	cr_assert_eq(unit_parse("x", "x.conf", first, &a, &why), 0, "%s", why.text);
	cr_assert_eq(unit_parse("x", "x.conf", second, &b, &why), 0, "%s", why.text);
	cr_assert_eq(unit_differs(a, a, keys), 0);
	cr_assert_eq(unit_differs(a, b, keys), 4);
	cr_assert_str_eq(keys[0], "Exec");
	cr_assert_str_eq(keys[1], "Environment");
	cr_assert_str_eq(keys[2], "MemoryLow");
	cr_assert_str_eq(keys[3], "HealthTCP");
	cr_assert_eq(unit_differs(b, a, keys), 4);
	unit_free(a);
	unit_free(b);
}

Test(unit, can_be_written_down_and_read_again)
{
	struct unit *a = NULL, *b = NULL;
	const char *keys[UNIT_KEYS_MAX];
	char *text;
	static const char first[] = "[Service]\nExec=/srv/%v/x \"a b\" %%\nHealthCommand=/bin/true\nBake = 7s\n";

	cr_assert_eq(unit_parse("x", "x.conf", first, &a, &why), 0, "%s", why.text);
	cr_assert_eq(unit_text(a, &text), 0);
	cr_assert_str_eq(text, "[Service]\nExec=/srv/%v/x \"a b\" %%\nHealthCommand=/bin/true\nBake=7s\n");
	cr_assert_eq(unit_parse("x", "x.conf", text, &b, &why), 0, "%s", why.text);
	cr_assert_eq(unit_differs(a, b, keys), 0);
	cr_assert_eq(b->bake_us, 7000000);
	free(text);
	unit_free(a);
	unit_free(b);
}

Test(unit, lives_until_its_last_owner_lets_go)
{
	struct unit *a = NULL;

	cr_assert_eq(unit_parse("x", "x.conf", "[Service]\nExec=/srv/%v/x\n", &a, &why), 0);
	cr_assert_eq(unit_ref(a), a);
	cr_assert_null(unit_free(a));
	cr_assert_str_eq(a->exec, "/srv/%v/x");
	unit_free(a);
	cr_assert_null(unit_ref(NULL));
}

/* ---- rights ---- */

static struct child_spec identity_of(const char *lines)
{
	struct child_spec spec = { 0 };
	char text[512];

	unit = unit_free(unit);
	snprintf(text, sizeof(text), "[Service]\nExec=/srv/%%v/x\n%s", lines);
	cr_assert_eq(unit_parse("x", "x.conf", text, &unit, &why), 0, "%s", why.text);
	unit_identity(unit, &spec);
	return spec;
}

Test(unit, lets_a_user_s_service_gain_no_rights_unless_it_says_so)
{
	struct child_spec spec = identity_of("User=nobody\n");

	cr_assert(spec.dropped.no_new && spec.dropped.bounded && !spec.dropped.must_bound);
	cr_assert_eq(spec.dropped.bounding, 0);
	cr_assert(spec.dropped.own_keyring);
	spec = identity_of("User=nobody\nNoNewPrivileges=no\n");
	cr_assert(!spec.dropped.no_new && !spec.dropped.bounded);
	spec = identity_of("User=nobody\nNoNewPrivileges=no\nCapabilityBoundingSet=CAP_CHOWN CAP_KILL\n");
	cr_assert(!spec.dropped.no_new && spec.dropped.bounded && spec.dropped.must_bound);
	cr_assert_eq(spec.dropped.bounding, 0x21);
	spec = identity_of("User=nobody\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n");
	cr_assert_eq(spec.dropped.ambient, 0x400);
	unit = unit_free(unit);
}

Test(unit, leaves_a_service_that_is_root_as_it_is_unless_it_says_so)
{
	struct child_spec spec = identity_of("");

	cr_assert(!spec.privileges.no_new && !spec.privileges.bounded);
	spec = identity_of("User=root\n"); /* whether a user is root, only the child learns: it takes the one or the other */
	cr_assert(!spec.privileges.no_new && !spec.privileges.bounded);
	spec = identity_of("NoNewPrivileges=yes\nCapabilityBoundingSet=~CAP_CHOWN\n");
	cr_assert(spec.privileges.no_new && spec.privileges.bounded);
	cr_assert_eq(spec.privileges.bounding, ~UINT64_C(1));
	spec = identity_of("CapabilityBoundingSet=none\n");
	cr_assert(!spec.privileges.no_new && spec.privileges.bounded && spec.privileges.bounding == 0);
	unit = unit_free(unit);
}

Test(unit, refuses_capabilities_that_do_not_exist_or_have_no_use)
{
	cr_assert_lt(unit_parse("x", "x.conf", "[Service]\nExec=/srv/%v/x\nCapabilityBoundingSet=CAP_FLY\n", &unit, &why), 0);
	cr_assert(strstr(why.text, "x.conf:3: CapabilityBoundingSet=CAP_FLY"), "%s", why.text);
	cr_assert_lt(unit_parse("x", "x.conf", "[Service]\nExec=/srv/%v/x\nAmbientCapabilities=CAP_KILL\n", &unit, &why), 0);
	cr_assert(strstr(why.text, "needs User="), "%s", why.text);
}

/* ---- Kind=plain ---- */

#define PLAIN "[Service]\nExec=/srv/%v/x\nKind=plain\n"

Test(unit, knows_programs_without_the_library, .fini = teardown)
{
	expect_good(PLAIN);
	cr_assert_eq(unit->kind, UNIT_PLAIN);
	cr_assert_eq(unit->ready, READY_NOTIFY);
	cr_assert_eq(unit->stop_signal, SIGTERM);
	cr_assert_eq(unit->drain_timeout_us, 60 * USEC_PER_SEC);
	cr_assert_eq(unit->rollback, ROLLBACK_PARKED, "there is no image");
	cr_assert_eq(unit->children, CHILDREN_END);
	cr_assert(!unit->health_answers && !unit->memory_low_bytes && !unit->heartbeat_us);
	expect_good(PLAIN "Ready=accepts\nListen=80\nStopSignal=SIGQUIT\nDrainTimeout=5s\nWatchdog=4s\nChildren=hand-over\n");
	cr_assert_eq(unit->ready, READY_ACCEPTS);
	cr_assert_eq(unit->stop_signal, SIGQUIT);
	cr_assert_eq(unit->drain_timeout_us, 5 * USEC_PER_SEC);
	cr_assert_eq(unit->watchdog_us, 4 * USEC_PER_SEC);
	cr_assert_eq(unit->heartbeat_us, 2 * USEC_PER_SEC);
	cr_assert_eq(unit->children, CHILDREN_HAND_OVER);
	expect_good(PLAIN "Ready=health\nHealthTCP=127.0.0.1:80\nStopSignal=INT\nRollback=none\nWatchdog=4s\nHeartbeat=1s\n");
	cr_assert_eq(unit->stop_signal, SIGINT);
	cr_assert_eq(unit->rollback, ROLLBACK_NONE);
	cr_assert_eq(unit->heartbeat_us, USEC_PER_SEC);
	/* Two versions may be two configurations. */
	expect_good("[Service]\nExec=/usr/sbin/x -c /etc/x-%v\nKind=plain\n");
	expect_good("[Service]\nExec=/srv/%v/x\nKind=library\nStopSignal=USR1\n");
	cr_assert_eq(unit->kind, UNIT_LIBRARY);
	cr_assert_eq(unit->stop_signal, SIGUSR1);
	cr_assert_eq(unit->children, CHILDREN_HAND_OVER);
}

static void expect_no_sense(const char *text, const char *words)
{
	cr_assert_eq(unit_parse("x", "x.conf", text, &unit, &why), -EINVAL, "%s", text);
	cr_assert(strstr(why.text, words), "%s", why.text);
	cr_assert(strstr(why.text, "x.conf"), "%s", why.text);
}

Test(unit, refuses_what_makes_no_sense_without_the_library)
{
	static const char *const lines[] = {
		"Journal=no", "Verify=none", "RequireImage=no", "QuiesceTimeout=1s", "OtherReaders=allow",
		"ImagesKeep=1", "StateMax=1G", "MemoryLow=0", "HealthAnswers=no",
	};
	char text[128];

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		snprintf(text, sizeof(text), "%s%s\n", PLAIN, lines[i]);
		expect_no_sense(text, "no state and no connections move");
	}
	expect_no_sense(PLAIN "Rollback=image\n", "the version before keeps running");
	expect_no_sense(PLAIN "Ready=health\n", "needs a HealthCommand=");
	expect_no_sense(PLAIN "Ready=accepts\n", "needs a Listen=");
	expect_no_sense(PLAIN "Ready=soon\n", "notify, accepts, health or started");
	expect_no_sense(PLAIN "StopSignal=KILL\n", "TERM, QUIT, INT");
	expect_no_sense(PLAIN "DrainTimeout=0\n", "not 0");
	expect_no_sense("[Service]\nExec=/usr/sbin/x -c x\nKind=plain\n", "must stand somewhere in the command");
	expect_no_sense("[Service]\nExec=/srv/%v/x\nReady=notify\n", "is of Kind=plain alone");
	expect_no_sense("[Service]\nExec=/srv/%v/x\nDrainTimeout=1s\n", "is of Kind=plain alone");
	expect_no_sense("[Service]\nExec=/srv/%v/x\nKind=other\n", "library or plain");
}

/* ---- Listen= ---- */

static void expect_listens(const char *lines, const char *texts)
{
	char said[512] = "";

	expect_good(with(lines));
	for (size_t i = 0; i < unit->n_listens; i++)
		snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s%s", i ? " " : "", unit->listens[i].text);
	cr_assert_str_eq(said, texts);
}

Test(unit, knows_the_addresses_that_are_listened_at, .fini = teardown)
{
	expect_listens("Listen=127.0.0.1:80", "127.0.0.1:80");
	expect_listens("Listen=[::1]:80", "[::1]:80");
	expect_listens("Listen=8080", "0.0.0.0:8080 [::]:8080");
	cr_assert(unit->listens[0].is_any && unit->listens[1].is_any);
	expect_listens("Listen=tcp:0.0.0.0:80\nListen=udp:53\nListen=/run/web.sock\nListen=unix:/run/b\nListen=unix:@web",
		       "0.0.0.0:80 udp:0.0.0.0:53 udp:[::]:53 /run/web.sock /run/b @web");
	cr_assert_eq(unit->listens[0].line, 3);
	cr_assert_eq(unit->listens[1].line, 4);
	cr_assert_str_eq(unit_listen_path(&unit->listens[3]), "/run/web.sock");
	cr_assert_null(unit_listen_path(&unit->listens[5]), "a name is no path");
	cr_assert_null(unit_listen_path(&unit->listens[0]));
	/* One port of each protocol and family is another. */
	expect_listens("Listen=127.0.0.1:53\nListen=udp:127.0.0.1:53\nListen=[::]:53", "127.0.0.1:53 udp:127.0.0.1:53 [::]:53");
}

Test(unit, refuses_addresses_at_which_nobody_can_listen, .fini = teardown)
{
	static const char *const bad[] = { "",	      "0",	      "65536",	    "8x",	   "a:80",	  "localhost:80",
					   "1.2.3:80", "1.2.3.4:",    "1.2.3.4:0",  "1.2.3.4:x",   "::1:80",	  "[::1]",
					   "[::1]80",  "[1.2.3.4]:5", "[::1]:99999", "run/web",	   "/",		  "/run/",
					   "unix:web", "unix:@",      "udp:/run/x", "udp:unix:/x", "tcp:unix:/x", "udp:",
					   "tcp:udp:5" };
	char line[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(line, sizeof(line), "Listen=%s", bad[i]);
		expect_bad(with(line), 3, "expected a port");
	}
	snprintf(line, sizeof(line), "Listen=/%0106d", 1);
	expect_good(with(line));
	snprintf(line, sizeof(line), "Listen=/%0107d", 1);
	expect_bad(with(line), 3, "expected a port");
}

Test(unit, refuses_addresses_that_are_in_each_other_s_way, .fini = teardown)
{
	char many[2048] = "Listen=1";

	expect_bad(with("Listen=127.0.0.1:80\nListen=127.0.0.1:80"), 4, "line 3 has 127.0.0.1:80");
	expect_bad(with("Listen=80\nListen=127.0.0.1:80"), 4, "line 3 has 0.0.0.0:80");
	expect_bad(with("Listen=[::1]:80\nListen=80"), 4, "line 3 has [::1]:80");
	expect_bad(with("Listen=/run/x\nListen=unix:/run/x"), 4, "line 3 has /run/x");
	for (unsigned port = 2; port <= UNIT_LISTENS_MAX / 2; port++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "\nListen=%u", port);
	expect_good(with(many));
	cr_assert_eq(unit->n_listens, UNIT_LISTENS_MAX);
	strcat(many, "\nListen=99");
	expect_bad(with(many), 3 + UNIT_LISTENS_MAX / 2, "more than 32 addresses");
}

Test(unit, knows_how_listeners_are_made, .fini = teardown)
{
	expect_good(with("Listen=1"));
	cr_assert_eq(unit->socket_mode, 0660);
	cr_assert_eq(unit->listen_backlog, 4096);
	expect_good(with("SocketMode=0600\nListenBacklog=7"));
	cr_assert_eq(unit->socket_mode, 0600);
	cr_assert_eq(unit->listen_backlog, 7);
	expect_bad(with("SocketMode=0800"), 3, "a mode in octal");
	expect_bad(with("SocketMode=1777"), 3, "a mode in octal");
	expect_bad(with("SocketMode="), 3, "a mode in octal");
	expect_bad(with("ListenBacklog=0"), 3, "a number from 1");
}

Test(unit, knows_what_stands_behind_an_address, .fini = teardown)
{
	const struct unit_listen_options *options;

	expect_good(with("Listen=8080 name=web backlog=7 reuseport\nListen=/run/x\tmode=0606  user=nobody group=0\n"
			 "Listen=systemd:admin name=adm\nListen=127.0.0.1:9"));
	cr_assert_eq(unit->n_listens, 5);
	for (size_t i = 0; i < 2; i++) {
		options = &unit->listens[i].options;
		cr_assert_str_eq(options->name, "web");
		cr_assert_eq(options->backlog, 7);
		cr_assert(options->reuse_port);
		cr_assert_eq(options->mode, 0);
	}
	options = &unit->listens[2].options;
	cr_assert_str_eq(unit->listens[2].text, "/run/x");
	cr_assert_eq(options->mode, 0606);
	cr_assert_str_eq(options->user, "nobody");
	cr_assert_str_eq(options->group, "0");
	cr_assert(!options->reuse_port && !*options->name);
	cr_assert_str_eq(unit->listens[3].text, "systemd:admin");
	cr_assert_str_eq(unit->listens[3].systemd, "admin");
	cr_assert_str_eq(unit->listens[3].options.name, "adm");
	cr_assert_str_eq(unit->listens[4].options.name, "");
	cr_assert(!*unit->listens[4].systemd);
}

Test(unit, refuses_what_does_not_fit_an_address, .fini = teardown)
{
	static const char *const bad[] = { "80 web", "80 name=", "80 name=a:b", "80 mode=0660", "80 user=root", "80 backlog=0",
					   "80 backlog=x", "udp:80 backlog=5", "/run/x mode=0800", "/run/x mode=1777",
					   "/run/x reuseport",
					   "/run/x user=", "unix:@x mode=0600", "systemd:x backlog=3", "systemd:x reuseport",
					   "80 Name=x", "80 name" };
	char line[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(line, sizeof(line), "Listen=%s", bad[i]);
		expect_bad(with(line), 3, strchr(bad[i], ' ') + 1);
		expect_bad(with(line), 3, "known are name=NAME, backlog=N, reuseport");
	}
	expect_bad(with("Listen=systemd:"), 3, "expected a port");
	expect_bad(with("Listen=systemd:a/b"), 3, "expected a port");
	expect_bad(with("Listen=systemd:x\nListen=systemd:x"), 4, "line 3 has systemd:x");
}

Test(unit, tells_that_an_address_differs)
{
	struct unit *a = NULL, *b = NULL;
	const char *keys[UNIT_KEYS_MAX];

	cr_assert_eq(unit_parse("x", "x.conf", HEAD "Listen=1\nListen=2\n", &a, &why), 0, "%s", why.text);
	cr_assert_eq(unit_parse("x", "x.conf", HEAD "Listen=1\n", &b, &why), 0, "%s", why.text);
	cr_assert_eq(unit_differs(a, a, keys), 0);
	cr_assert_eq(unit_differs(a, b, keys), 1);
	cr_assert_str_eq(keys[0], "Listen");
	unit_free(a);
	unit_free(b);
}
