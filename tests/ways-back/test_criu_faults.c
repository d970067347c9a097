/* SPDX-License-Identifier: MIT */
/* CRIU fails in every way that it can, at a moment the test chooses, while clients are served. The roll goes on, or, where the
 * way back is under way already, the next rung is taken; what is told of the way back is true; and nothing stays behind: no
 * process that stands still, no rule in the firewall, no half image, no descriptor in the daemon. tests/integration/test_criu.c
 * has those that fail before they did anything. */
#include "tests/integration/bad_criu.h"
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

STAGE(criu_faults, 240);

#define SHOWN_US (30 * USEC_PER_SEC)
#define FILLER ".filler"
#define DEBIANS_CRIU "/usr/sbin/criu"

/* ---- what may be left behind ---- */

struct traces {
	unsigned fds, tables;
	char legacy[512]; /* the tables of iptables-legacy */
};

static int on_table(struct nl_msg *message, void *data)
{
	(void)message;
	++*(unsigned *)data;
	return NL_OK;
}

/* Of nftables, in this network namespace; none where the kernel has no such thing. */
static unsigned count_tables(void)
{
	struct nl_sock *socket = nl_socket_alloc();
	struct nl_msg *message = nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP);
	struct nfgenmsg all = { .nfgen_family = AF_UNSPEC };
	unsigned n = 0;

	cr_assert(socket && message);
	cr_assert_eq(nl_connect(socket, NETLINK_NETFILTER), 0);
	cr_assert_eq(nlmsg_append(message, &all, sizeof(all), NLMSG_ALIGNTO), 0);
	cr_assert_eq(nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_table, &n), 0);
	cr_assert_gt(nl_send_auto(socket, message), 0);
	(void)nl_recvmsgs_default(socket);
	nlmsg_free(message);
	nl_socket_free(socket);
	return n;
}

static void read_legacy(char *buf, size_t size)
{
	static const char *const files[] = { "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names" };
	size_t used = 0;

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		FILE *file = fopen(files[i], "re");

		if (!file)
			continue;
		used += fread(buf + used, 1, size - 1 - used, file);
		fclose(file);
	}
	buf[used] = '\0';
}

static unsigned count_fds(pid_t pid)
{
	char path[64];
	DIR *dir;
	unsigned n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static struct traces look(void)
{
	struct traces traces = { .fds = count_fds(rig_daemon_pid(stage.rig)), .tables = count_tables() };

	read_legacy(traces.legacy, sizeof(traces.legacy));
	return traces;
}

/* The daemon closes a client that it has answered a moment after that. */
static void must_be_as(const struct traces *before)
{
	uint64_t until_us = clock_now_us() + SHOWN_US;
	struct traces now;

	while (now = look(), now.fds > before->fds && clock_now_us() < until_us)
		stage_sleep_ms(10);
	cr_assert_leq(now.fds, before->fds, "the daemon has %u descriptors, it had %u", now.fds, before->fds);
	cr_assert_eq(now.tables, before->tables, "%u tables of nftables, there were %u", now.tables, before->tables);
	cr_assert_str_eq(now.legacy, before->legacy);
}

/* Return: as in /proc/PID/stat; 0: there is no such process. */
static char state_of(pid_t pid)
{
	char path[64], text[512] = "", *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

static void must_not_stand(pid_t pid)
{
	char state = state_of(pid);

	cr_assert(state != 'T' && state != 't', "process %d is stopped (%c)", pid, state);
}

/* A parked process is stopped, and that by nobody but the supervisor: CRIU, which traced it, has let it go. */
static void must_be_let_go(pid_t parked)
{
	char state = state_of(parked);

	cr_assert(!state || state == 'T', "process %d is in state %c", parked, state);
}

/* ---- the stage ---- */

/* Enough of a heap that a dump and a restore have a middle. */
static void load_of_some_size(void)
{
	struct rig_load_options options = { .connections = 60, .keys = 8, .rate = 300, .values = "30000-60000" };

	stage.connections = options.connections;
	cr_assert_eq(rig_load_start(stage.rig, stage.port, &options, &stage.load), 0);
}

/* After the service was started empty: the clients are right to complain. */
static void load_is_over(void)
{
	rig_load_stop(stage.load, NULL, NULL);
	stage.load = NULL;
}

static const char *last_roll(const char *what)
{
	static char path[64];

	snprintf(path, sizeof(path), "services.0.last_roll.%s", what);
	return path;
}

/* ---- a dump that fails ---- */

/* As the way back: the parked process, and perhaps an image. */
#define PARKED_AT_LEAST "parked..."

static bool is_left(const char *way_back, const char *left)
{
	return strcmp(left, PARKED_AT_LEAST) == 0 ? strncmp(way_back, "parked", 6) == 0 : strcmp(way_back, left) == 0;
}

/* A roll with a bad CRIU is done, with the clients served and @left as the way back (NULL: whatever it is, it is true), and
 * leaves the next one, with a good CRIU, all it needs. @told: in the log. */
static void rolls_on(const char *lines, const char *criu, const char *left, const char *told)
{
	const json_t *answer;
	struct traces before;
	pid_t old, new;

	stage_serve(&(struct rig_cached){ .lines = lines }, criu);
	load_of_some_size();
	/* Once with a good one, so that whatever the daemon opens once is open. */
	ctl(0, "roll", "cached", "v2", "--bake=10ms");
	before = look();
	old = stage_pid("serving");
	bad_criu_turn();
	ctl(0, "roll", "cached", "v3", "--wait=commit");
	stage_wait_bake("v3");
	new = stage_pid("serving");
	stage_wait_log(told);
	answer = ctl(0, "status", "cached");
	if (left)
		cr_assert(is_left(rig_text(answer, last_roll("way_back")), left), "%s", rig_text(answer, last_roll("way_back")));
	else
		cr_assert(strcmp(rig_text(answer, last_roll("way_back")), state_of(old) ? "parked" : "none") == 0,
			  "the way back is told to be %s", rig_text(answer, last_roll("way_back")));
	must_be_let_go(old);
	must_not_stand(new);
	cr_assert_eq(stage_images(".tmp"), 0);
	bad_criu_turn_back();
	(void)unlink(stage_path("state/images/" FILLER));
	/* Accepts what bakes, and goes the other way. */
	answer = ctl(0, "undo", "cached", "--bake=10ms");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "parked+image");
	/* The daemon, the service, the load. */
	stage_wait_processes(3);
	cr_assert_eq(state_of(old), 0);
	cr_assert_eq(state_of(new), 0);
	must_be_as(&before);
	stage_load_spotless();
}

SCENE(criu_faults, without_permission_holds_no_roll_up)
{
	rolls_on("Bake=1min\n", bad_criu("exec setpriv --inh-caps=-all --bounding-set=-all $real \"$@\""), "parked",
		 "no image (criu took no image of process");
}

SCENE(criu_faults, without_permission_from_the_start_is_what_check_reports)
{
	const char *criu = bad_criu("exec setpriv --inh-caps=-all --bounding-set=-all $real \"$@\"");

	bad_criu_turn();
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = "Bake=1min\n" }, criu);
	ctl(1, "check");
	stage_load(100);
	stage_crash("v3-crash-after", "rolled-back-parked");
	stage_load_spotless();
}

static bool kernel_is_new(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 13));
}

/* Debian 12's, which since Linux 6.13 fails at the vDSO. */
static bool debians_is_too_old(void)
{
	return kernel_is_new() && access(DEBIANS_CRIU, X_OK) == 0 &&
	       system(DEBIANS_CRIU " --version | grep -q 'Version: 3\\.'") == 0;
}

SCENE(criu_faults, too_old_for_the_kernel_holds_no_roll_up)
{
	if (!debians_is_too_old())
		cr_skip_test("no CRIU here that is too old for this kernel");
	rolls_on("Bake=1min\n", bad_criu("exec " DEBIANS_CRIU " \"$@\""), "parked", "no image (criu took no image of process");
}

SCENE(criu_faults, too_old_from_the_start_is_what_check_reports)
{
	if (!debians_is_too_old())
		cr_skip_test("no CRIU here that is too old for this kernel");
	stage_serve(&(struct rig_cached){ .version = "v2", .lines = "Bake=1min\n" }, DEBIANS_CRIU);
	ctl(1, "check");
	stage_load(100);
	stage_crash("v3-crash-after", "rolled-back-parked");
	stage_load_spotless();
}

/* Stopped by whoever could, it is let go on at the deadline: it knows best how to get out of the process again. Whether it still
 * makes an image depends on how far it had come. */
SCENE(criu_faults, that_was_stopped_in_the_middle_of_a_dump_goes_on_at_the_deadline)
{
	rolls_on("Bake=1min\nImageTimeout=2s\n", bad_criu_when("*.tmp/pages-1.img", NULL, "kill -STOP $criu"), PARKED_AT_LEAST,
		 "image of");
}

SCENE(criu_faults, that_hangs_for_good_in_the_middle_of_a_dump_is_killed)
{
	rolls_on("Bake=1min\nImageTimeout=1s\n",
		 bad_criu_when("*.tmp/pages-1.img", NULL, "while kill -STOP $criu; do :; done"), NULL, "no image (");
}

SCENE(criu_faults, that_dies_in_the_middle_of_a_dump_holds_no_roll_up)
{
	rolls_on("Bake=1min\n", bad_criu_when("*.tmp/pages-1.img", NULL, "kill -KILL $criu"), NULL, "no image (");
}

/* The state folder's images on a file system of their own, which another writer fills when the dump has begun. */
SCENE(criu_faults, out_of_space_in_the_middle_of_a_dump_holds_no_roll_up)
{
	const char *images = stage_path("state/images");
	char deed[256];

	cr_assert_eq(mkdir(images, 0700), 0);
	cr_assert_eq(mount("tmpfs", images, "tmpfs", MS_NOSUID | MS_NODEV, "size=90m,mode=0700"), 0);
	snprintf(deed, sizeof(deed),
		 "kill -STOP $criu; dd if=/dev/zero of=%s/" FILLER " bs=1M; kill -CONT $criu", images);
	rolls_on("Bake=1min\n", bad_criu_when("*.tmp/*.img", NULL, deed), "parked", "No space left on device");
	cr_assert_eq(umount2(stage_path("state/images"), MNT_DETACH), 0);
}

/* ---- a restore that fails ---- */

/* The only way back is the image, and CRIU fails in the middle of it: what is left is a start from nothing, and that is said. */
static void starts_empty(const char *lines, const char *criu, const char *told)
{
	const json_t *answer;
	struct rig_child *roll;
	struct rig_answer end = { 0 };
	struct traces before;
	pid_t old;

	stage_serve(&(struct rig_cached){ .lines = lines }, criu);
	load_of_some_size();
	ctl(0, "roll", "cached", "v2", "--bake=10ms");
	before = look();
	old = stage_pid("serving");
	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", "v3", NULL), 0);
	stage_wait_bake("v3");
	cr_assert_gt(stage_images(""), 0);
	bad_criu_turn();
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(roll, SHOWN_US, &end), 0);
	cr_assert_eq(end.status, 7, "%s", end.out);
	cr_assert_str_eq(rig_text(end.json, "roll.outcome"), "cold-start");
	rig_answer_done(&end);
	stage_wait_log(told);
	cr_assert_eq(state_of(old), 0, "process %d was left half restored", old);
	cr_assert_eq(stage_images(".tmp"), 0);
	load_is_over();
	bad_criu_turn_back();
	answer = ctl(0, "roll", "cached", "v3", "--bake=10ms");
	cr_assert_str_eq(rig_text(answer, "roll.way_back"), "image");
	stage_wait_processes(2);
	/* The load's connections are gone, and with them nothing of the daemon's. */
	must_be_as(&before);
}

SCENE(criu_faults, that_stands_still_in_the_middle_of_a_restore_is_ended_by_the_deadline)
{
	starts_empty("Bake=1min\nRollback=image\nImageTimeout=2s\n",
		     bad_criu_when("restore.log", "Forking task", "kill -STOP $criu"), "not done after 2.0 s");
}

SCENE(criu_faults, that_dies_in_the_middle_of_a_restore_leaves_the_next_rung)
{
	starts_empty("Bake=1min\nRollback=image\n", bad_criu_when("restore.log", "Forking task", "kill -KILL $criu"),
		     "the image could not be restored");
}

SCENE(criu_faults, without_permission_for_a_restore_leaves_the_next_rung)
{
	starts_empty("Bake=1min\nRollback=image\n",
		     bad_criu("exec setpriv --inh-caps=-all --bounding-set=-all $real \"$@\""),
		     "the image could not be restored");
}
