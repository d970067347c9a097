/* SPDX-License-Identifier: MIT */
/* redis 7.0.15, rolled between two versions whose values and clients differ in layout: nothing of its data, and nothing that a
 * client has said, is lost; what cannot travel is refused in words. */
#include "tests/integration/stage.h"
#include "tests/ports/redis_clients.h"

#include "base/clock.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SHOWN_US (20 * USEC_PER_SEC)
#define SUITE_US (600 * USEC_PER_SEC)
#define CROWD 60u

static void redis_stage(void);

TestSuite(redis, .init = redis_stage, .fini = stage_abandon, .timeout = 180);
TestSuite(redis_suite, .init = redis_stage, .fini = stage_abandon, .timeout = 900);

/* ---- the service ---- */

static char ports[PATH_MAX / 4]; /* where the two versions are */

static void redis_stage(void)
{
	char *folder = realpath(getenv("UPG_PORTS") ? getenv("UPG_PORTS") : "build/ports", NULL);

	cr_assert_not_null(folder, "the ports are not built: make test SUITE=ports");
	snprintf(ports, sizeof(ports), "%s", folder);
	free(folder);
	stage_open();
}

/* The service is called `cached`, as those functions of the stage expect that ask for it. */
static void unit(const char *options, const char *lines)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/redis-%%v --port %u --save \"\" --dir %s --unixsocket %s "
			      "--enable-debug-command yes --enable-protected-configs yes --loglevel warning%s\n"
			      "Version=v1\nLimitNOFILE=4096\n%s",
			      ports, stage.port, rig_folder(stage.rig), stage_path("socket"), options, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
}

static void serve(const char *options, const char *lines)
{
	unit(options, lines);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

static void roll(const char *version)
{
	const json_t *answer = ctl(0, "roll", "cached", version);

	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done", "%s", json_dumps(answer, 0));
}

static void up_and_down(void (*look)(void))
{
	look();
	roll("v2");
	look();
	roll("v1");
	look();
}

/* Return: a program of redis' own; lives until the next call. */
static const char *tool(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/redis-v1.tree/src/%s", ports, name);
	return path;
}

/* ---- under load ---- */

SCENE(redis, under_load_is_rolled_up_and_down_and_every_answer_is_right)
{
	serve("", "Bake=100ms\nVerify=roundtrip\n");
	crowd_begin(stage.port, CROWD);
	crowd_goes_on(2000);
	for (unsigned i = 0; i < 3; i++) {
		roll("v2");
		crowd_goes_on(1000);
		roll("v1");
		crowd_goes_on(1000);
	}
	cr_assert_gt(crowd_end(), (uint64_t)8000);
}

SCENE(redis, with_threads_for_its_connections_is_rolled_all_the_same)
{
	serve(" --io-threads 3 --io-threads-do-reads yes", "Bake=100ms\n");
	crowd_begin(stage.port, CROWD);
	for (unsigned i = 0; i < 2; i++) {
		crowd_goes_on(1000);
		roll("v2");
		crowd_goes_on(1000);
		roll("v1");
	}
	cr_assert_gt(crowd_end(), (uint64_t)4000);
}

SCENE(redis, serves_its_own_benchmark_over_rolls)
{
	char port[8];
	const char *argv[] = { tool("redis-benchmark"), "-p", port, "-c", "20", "-n", "60000", "-q", "-e", "-t",
			       "set,get,incr,lpush,rpop,sadd,hset,zadd,mset", NULL };
	struct rig_answer answer = { 0 };
	struct rig_child *child;
	unsigned rolls = 0;

	snprintf(port, sizeof(port), "%u", stage.port);
	serve("", "Bake=100ms\n");
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &child), 0);
	do
		roll(++rolls % 2 ? "v2" : "v1");
	while (!rig_run_ended(child));
	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s%s", answer.out, answer.err);
	cr_assert_not_null(strstr(answer.out, "MSET"), "%s", answer.out);
	cr_assert_null(strstr(answer.out, "rror"), "%s", answer.out);
	cr_assert_geq(rolls, 2u);
	rig_answer_done(&answer);
}

/* ---- data ---- */

static int fd; /* the one client that most scenes speak through */

static void ask_all(int of, const char *const commands[])
{
	for (size_t i = 0; commands[i]; i++) {
		char *answer = redis_say(of, commands[i]);

		cr_assert_neq(*answer, '-', "%s: %s", commands[i], answer);
		free(answer);
	}
}

static const char *const every_type[] = {
	"set text hello", "set empty \"\"", "set number -7", "set small 5", "append grown abc", "setbit bits 1000 1",
	"pfadd hll a b c d e f g", "setrange large 40000 end", "set \"with space\\r\\n\\x00\" \"\\x00\\r\\n\"",
	"rpush list a b c 1 2 3", "eval \"for i=1,3000 do redis.call('rpush','longlist',i..string.rep('x',i%50)) end\" 0",
	"sadd ints 1 2 3", "sadd words a b c", "eval \"for i=1,2000 do redis.call('sadd','manywords','w'..i) end\" 0",
	"hset hash a 1 b 2", "eval \"for i=1,2000 do redis.call('hset','bighash','f'..i,i) end\" 0", "zadd zset 1 a 2.5 b -inf c",
	"eval \"for i=1,2000 do redis.call('zadd','bigzset',i/3,'m'..i) end\" 0", "xadd stream 1-1 a 1 b 2", "xadd stream 2-1 a 1",
	"xadd stream 3-1 c 3", "xdel stream 2-1", "xgroup create stream group 0",
	"xreadgroup group group anna count 1 streams stream >",
	"xgroup createconsumer stream group bert", "geoadd places 13.36 38.11 palermo", "set dies x exat 9999999999",
	"hset hdies a b", "pexpireat hdies 9999999999123", "select 5", "set infive 5", "lpush infive:list 1", "select 0", NULL,
};

static char *digest, *stream, *expiry, *five;

static void take(char **value, const char *command)
{
	char *answer = redis_say(fd, command);

	cr_assert_neq(*answer, '-', "%s: %s", command, answer);
	if (!*value) {
		*value = answer;
		return;
	}
	cr_assert_str_eq(answer, *value, "%s differs after a roll", command);
	free(answer);
}

static void look_at_data(void)
{
	take(&digest, "debug digest");
	take(&stream, "xinfo stream stream full");
	take(&expiry, "eval \"local f=redis.call return {f('pexpiretime','dies'),f('pexpiretime','hdies'),f('ttl','text')}\" 0");
	take(&five, "eval \"redis.call('select',5) return redis.call('dbsize')\" 0");
}

SCENE(redis, holds_values_of_every_type_and_they_are_the_same_in_both_versions)
{
	serve("", "Bake=100ms\nVerify=roundtrip\n");
	fd = redis_open(stage.port);
	ask_all(fd, every_type);
	up_and_down(look_at_data);
	cr_assert_str_eq(five, ":2\r\n");
	redis_ask(fd, "object encoding bighash", "$9\r\nhashtable\r\n");
	redis_ask(fd, "object encoding ints", "$6\r\nintset\r\n");
	redis_ask(fd, "object encoding bigzset", "$8\r\nskiplist\r\n");
	close(fd);
}

/* Return: what a file of the state says of the service as it is; the caller frees it. */
static char *shown(const char *name)
{
	struct rig_answer answer = { 0 };
	char *text;

	ctl(0, "save", "cached", stage_path("%s", name));
	cr_assert_eq(rig_ctl_text(stage.rig, &answer, NULL, NULL, "state", "show", stage_path("%s", name), NULL), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.err);
	text = strdup(answer.out);
	rig_answer_done(&answer);
	return text;
}

SCENE(redis, version_2_knows_when_a_value_was_made_and_version_1_forgets_it)
{
	const char *const never = "made_ms";
	char *text;

	serve("", "Bake=100ms\n");
	fd = redis_open(stage.port);
	redis_ask(fd, "set old value", "+OK\r\n");
	roll("v2");
	text = shown("old");
	cr_assert_null(strstr(text, never), "%s", text);
	free(text);
	redis_ask(fd, "set new value", "+OK\r\n");
	text = shown("new");
	cr_assert_not_null(strstr(text, never), "%s", text);
	free(text);
	roll("v1");
	text = shown("again");
	cr_assert_null(strstr(text, never), "%s", text);
	cr_assert_not_null(strstr(text, "\"new\""), "%s", text);
	free(text);
}

SCENE(redis, goes_on_counting_how_often_keys_are_used)
{
	char *before, *after;

	serve(" --maxmemory-policy allkeys-lfu", "Bake=100ms\n");
	fd = redis_open(stage.port);
	redis_ask(fd, "set k v", "+OK\r\n");
	ask_all(fd, (const char *const[]){ "eval \"for i=1,5000 do redis.call('get','k') end\" 0", NULL });
	before = redis_say(fd, "object freq k");
	roll("v2");
	after = redis_say(fd, "object freq k");
	cr_assert_gt(strtol(before + 1, NULL, 10), 5);
	cr_assert_str_eq(before, after);
	free(before);
	free(after);
	close(fd);
}

SCENE(redis, travels_as_a_file_and_starts_from_it)
{
	serve("", "Bake=100ms\n");
	fd = redis_open(stage.port);
	ask_all(fd, every_type);
	take(&digest, "debug digest");
	close(fd);
	ctl(0, "save", "cached", stage_path("saved"));
	ctl(0, "stop", "cached");
	{
		char from[PATH_MAX + 16];

		snprintf(from, sizeof(from), "--from=%s", stage_path("saved"));
		ctl(0, "start", "cached", from);
	}
	fd = redis_open(stage.port);
	take(&digest, "debug digest");
	close(fd);
}

/* ---- what commands have set ---- */

static void look_at_settings(void)
{
	redis_ask(fd, "config get maxmemory-policy", "*2\r\n$16\r\nmaxmemory-policy\r\n$11\r\nallkeys-lru\r\n");
	redis_ask(fd, "config get save", "*2\r\n$4\r\nsave\r\n$10\r\n3600 1 2 3\r\n");
	redis_ask(fd, "evalsha 4ca238f611c9d0ae4e9a75a5dbac22aedc379801 0", ":5\r\n");
	redis_ask(fd, "fcall f 0", ":7\r\n");
	redis_ask(fd, "acl dryrun bob get x1", "+OK\r\n");
	redis_ask(fd, "acl deluser alice", ":0\r\n");
}

SCENE(redis, keeps_what_commands_have_set)
{
	int bob;

	serve(" --user alice on nopass +@all", "Bake=100ms\nVerify=roundtrip\n");
	fd = redis_open(stage.port);
	redis_ask(fd, "config set maxmemory-policy allkeys-lru save \"3600 1 2 3\"", "+OK\r\n");
	redis_ask(fd, "script load \"return 5\"", "$40\r\n4ca238f611c9d0ae4e9a75a5dbac22aedc379801\r\n");
	redis_ask(fd, "function load \"#!lua name=lib\\nredis.register_function('f', function() return 7 end)\"", "$3\r\nlib\r\n");
	redis_ask(fd, "acl setuser bob on >secret ~b* +@all \"(~x* +get)\"", "+OK\r\n");
	redis_ask(fd, "acl deluser alice", ":1\r\n");
	bob = redis_open(stage.port);
	redis_ask(bob, "auth bob secret", "+OK\r\n");
	up_and_down(look_at_settings);
	redis_ask(bob, "acl whoami", "$3\r\nbob\r\n");
	redis_ask(bob, "auth bob secret", "+OK\r\n");
	redis_ask(bob, "get y", "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n");
	close(bob);
	close(fd);
}

/* ---- clients ---- */

SCENE(redis, clients_go_on_in_the_middle_of_what_they_said)
{
	char *id_before, *id_after;
	int half, cut, inline_, multi, watch, clean, named, unix_, many;

	serve("", "Bake=100ms\nVerify=roundtrip\n");
	fd = redis_open(stage.port);
	half = redis_open(stage.port);
	cut = redis_open(stage.port);
	inline_ = redis_open(stage.port);
	multi = redis_open(stage.port);
	watch = redis_open(stage.port);
	clean = redis_open(stage.port);
	named = redis_open(stage.port);
	many = redis_open(stage.port);
	unix_ = redis_open_unix(stage_path("socket"));

	redis_ask(fd, "mset w 1 c 1", "+OK\r\n");
	redis_ask(multi, "multi", "+OK\r\n");
	redis_ask(multi, "incr m", "+QUEUED\r\n");
	redis_ask(multi, "get m", "+QUEUED\r\n");
	redis_ask(watch, "watch w", "+OK\r\n");
	redis_ask(clean, "watch c", "+OK\r\n");
	redis_ask(clean, "multi", "+OK\r\n");
	redis_ask(named, "client setname peter", "+OK\r\n");
	redis_ask(named, "select 3", "+OK\r\n");
	redis_ask(named, "set three 3", "+OK\r\n");
	id_before = redis_say(named, "client id");
	redis_ask(unix_, "ping", "+PONG\r\n");
	redis_send(half, "*3\r\n$3\r\nset\r\n$1\r\nh\r\n$10\r\n01234");
	redis_send(cut, "*2\r\n$4\r");
	redis_send(inline_, "set inl");
	/* Arguments that are large are read apart from others. */
	redis_send(many, "*3\r\n$3\r\nset\r\n$3\r\nbig\r\n$60000\r\n");
	for (unsigned i = 0; i < 30000; i += 10)
		redis_send(many, "0123456789");
	redis_ask(fd, "ping", "+PONG\r\n");

	roll("v2");
	redis_ask(fd, "incr w", ":2\r\n"); /* watched by one who does not know yet that there was a roll */
	roll("v1");

	redis_send(half, "56789\r\n");
	redis_expect(half, "+OK\r\n");
	redis_ask(half, "get h", "$10\r\n0123456789\r\n");
	redis_send(cut, "\necho\r\n$2\r\nhi\r\n");
	redis_expect(cut, "$2\r\nhi\r\n");
	redis_send(inline_, "ine yes\r\n");
	redis_expect(inline_, "+OK\r\n");
	for (unsigned i = 0; i < 30000; i += 10)
		redis_send(many, "0123456789");
	redis_send(many, "\r\n");
	redis_expect(many, "+OK\r\n");
	redis_ask(many, "strlen big", ":60000\r\n");
	redis_ask(multi, "exec", "*2\r\n:1\r\n$1\r\n1\r\n");
	redis_ask(watch, "multi", "+OK\r\n");
	redis_ask(watch, "ping", "+QUEUED\r\n");
	redis_ask(watch, "exec", "*-1\r\n");
	redis_ask(clean, "incr c", "+QUEUED\r\n");
	redis_ask(clean, "exec", "*1\r\n:2\r\n");
	redis_ask(named, "client getname", "$5\r\npeter\r\n");
	redis_ask(named, "get three", "$1\r\n3\r\n");
	id_after = redis_say(named, "client id");
	cr_assert_str_eq(id_before, id_after);
	redis_ask(unix_, "get inline", "$3\r\nyes\r\n");
	free(id_before);
	free(id_after);
}

SCENE(redis, answers_that_nobody_has_read_travel)
{
	enum { ASKED = 300, VALUE = 40000 };
	char *value = malloc(VALUE + 1), *want = malloc(VALUE + 64);
	int slow;

	cr_assert(value && want);
	serve("", "Bake=100ms\n");
	fd = redis_open(stage.port);
	slow = redis_open(stage.port);
	memset(value, 'v', VALUE);
	value[VALUE] = '\0';
	redis_send(fd, "*3\r\n$3\r\nset\r\n$1\r\nv\r\n$40000\r\n");
	redis_send(fd, value);
	redis_ask(fd, "", "+OK\r\n");
	for (unsigned i = 0; i < ASKED; i++)
		redis_send(slow, "get v\r\n");
	/* More than the socket holds. */
	redis_ask(fd, "ping", "+PONG\r\n");
	{
		char *list = redis_say(fd, "client list");

		cr_assert_null(strstr(list, "omem=0 tot-mem=0"));
		free(list);
	}
	roll("v2");
	roll("v1");
	snprintf(want, VALUE + 64, "$%d\r\n%s\r\n", VALUE, value);
	for (unsigned i = 0; i < ASKED; i++)
		redis_expect(slow, want);
	redis_ask(slow, "ping", "+PONG\r\n");
	free(value);
	free(want);
}

SCENE(redis, blocked_clients_are_served_in_the_order_in_which_they_came)
{
	int first, second, zpop, move, read, group, timed;

	serve("", "Bake=100ms\nVerify=roundtrip\n");
	fd = redis_open(stage.port);
	/* Opened in another order than they block in. */
	second = redis_open(stage.port);
	first = redis_open(stage.port);
	zpop = redis_open(stage.port);
	move = redis_open(stage.port);
	read = redis_open(stage.port);
	group = redis_open(stage.port);
	timed = redis_open(stage.port);
	ask_all(fd, (const char *const[]){ "xadd s 1-1 a b", "xgroup create s g $", NULL });
	redis_send(first, "blpop q other 0\r\n");
	redis_ask(fd, "ping", "+PONG\r\n");
	redis_send(second, "blpop q 0\r\nping\r\n");
	redis_send(zpop, "bzpopmin z 0\r\n");
	redis_send(move, "blmove from to left right 0\r\n");
	redis_send(read, "xread count 5 block 0 streams s $\r\n");
	redis_send(group, "xreadgroup group g anna block 0 streams s >\r\n");
	redis_send(timed, "blpop never 3\r\n");
	redis_ask(fd, "ping", "+PONG\r\n");

	roll("v2");
	roll("v1");
	redis_silent(first);
	redis_silent(second);
	redis_ask(fd, "rpush q one", ":1\r\n");
	redis_expect(first, "*2\r\n$1\r\nq\r\n$3\r\none\r\n");
	redis_silent(second);
	redis_ask(fd, "rpush q two", ":1\r\n");
	redis_expect(second, "*2\r\n$1\r\nq\r\n$3\r\ntwo\r\n+PONG\r\n");
	redis_ask(fd, "zadd z 4 m", ":1\r\n");
	redis_expect(zpop, "*3\r\n$1\r\nz\r\n$1\r\nm\r\n$1\r\n4\r\n");
	redis_ask(fd, "rpush from x", ":1\r\n");
	redis_expect(move, "$1\r\nx\r\n");
	redis_ask(fd, "lrange to 0 -1", "*1\r\n$1\r\nx\r\n");
	redis_ask(fd, "xadd s 2-1 c d", "$3\r\n2-1\r\n");
	redis_expect(read, "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n");
	redis_expect(group, "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n");
	redis_expect(timed, "*-1\r\n");
	redis_ask(first, "ping", "+PONG\r\n");
}

SCENE(redis, subscribers_and_monitors_hear_on)
{
	int channel, pattern, shard, monitor, tracker;

	serve("", "Bake=100ms\nVerify=roundtrip\n");
	fd = redis_open(stage.port);
	channel = redis_open(stage.port);
	pattern = redis_open(stage.port);
	shard = redis_open(stage.port);
	monitor = redis_open(stage.port);
	tracker = redis_open(stage.port);
	redis_ask(channel, "subscribe news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
	redis_ask(pattern, "psubscribe n*", "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:1\r\n");
	redis_ask(shard, "ssubscribe part", "*3\r\n$10\r\nssubscribe\r\n$4\r\npart\r\n:1\r\n");
	free(redis_say(tracker, "hello 3"));
	redis_ask(tracker, "client tracking on", "+OK\r\n");
	redis_ask(tracker, "get known", "_\r\n");
	redis_ask(monitor, "monitor", "+OK\r\n");

	roll("v2");
	redis_expect(tracker, ">2\r\n$10\r\ninvalidate\r\n_\r\n"); /* forget all */
	roll("v1");
	redis_expect(tracker, ">2\r\n$10\r\ninvalidate\r\n_\r\n");
	redis_ask(fd, "publish news hello", ":2\r\n");
	redis_expect(channel, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
	redis_expect(pattern, "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
	redis_ask(fd, "spublish part hello", ":1\r\n");
	redis_expect(shard, "*3\r\n$8\r\nsmessage\r\n$4\r\npart\r\n$5\r\nhello\r\n");
	{
		char *line = redis_say(monitor, "");

		cr_assert_not_null(strstr(line, "\"publish\" \"news\" \"hello\""), "%s", line);
		free(line);
	}
	redis_ask(tracker, "get known", "_\r\n");
	redis_ask(fd, "set known 1", "+OK\r\n");
	redis_expect(tracker, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nknown\r\n");
	redis_ask(channel, "unsubscribe news", "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n");
	redis_ask(channel, "ping", "+PONG\r\n");
}

/* ---- ways back ---- */

static void kill_in_bake(const char *lines)
{
	int idle, waiting;
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "Bake=60s\n%s", lines), 0);
	serve("", text);
	free(text);
	fd = redis_open(stage.port);
	idle = redis_open(stage.port);
	waiting = redis_open(stage.port);
	ask_all(fd, every_type);
	take(&digest, "debug digest");
	redis_ask(idle, "set idle 1", "+OK\r\n");
	redis_ask(idle, "del idle", ":1\r\n");
	redis_send(waiting, "blpop q 0\r\n");
	redis_ask(fd, "ping", "+PONG\r\n");
	close(fd);
	crowd_begin(stage.port, CROWD);
	crowd_goes_on(500);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	crowd_goes_on(500);
	crowd_may_be_reset();
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_gt(crowd_crashed(), 0u);
	fd = redis_open(stage.port);
	ask_all(fd, (const char *const[]){ "eval \"for i=0,99 do for _,k in ipairs({'s','b','e','l','h','z','x'}) do "
					   "redis.call('del',k..':'..i) end end\" 0", NULL });
	redis_ask(idle, "get text", "$5\r\nhello\r\n");
	take(&digest, "debug digest");
	redis_ask(fd, "rpush q x", ":1\r\n");
	redis_expect(waiting, "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
	ctl(0, "roll", "cached", "v2", "--bake=100ms");
	take(&digest, "debug digest");
}

SCENE(redis, killed_in_its_bake_comes_back_from_memory)
{
	kill_in_bake("Rollback=parked\n");
}

SCENE(redis, killed_in_its_bake_comes_back_from_an_image)
{
	if (!getenv("UPG_CRIU"))
		cr_skip_test("no CRIU works here");
	kill_in_bake("Rollback=image\n");
}

/* ---- what is waited for, and what is refused ---- */

/* 300 keys, of which a child takes its time for each. */
static void begin_slow_dump(void)
{
	fd = redis_open(stage.port);
	ask_all(fd, (const char *const[]){ "debug populate 300", "config set rdb-key-save-delay 10000", "bgsave", NULL });
}

SCENE(redis, roll_waits_for_a_background_save)
{
	const json_t *answer;
	struct stat dump;

	serve("", "Bake=100ms\nChildTimeout=60s\n");
	begin_slow_dump();
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_str_eq(rig_text(answer, "roll.outcome"), "done");
	cr_assert_eq(stat(stage_path("dump.rdb"), &dump), 0, "the dump was not waited for");
	stage_wait_log("writes a dump");
	redis_ask(fd, "dbsize", ":300\r\n");
}

SCENE(redis, roll_is_called_off_when_a_background_save_takes_too_long)
{
	serve("", "Bake=100ms\nChildTimeout=300ms\n");
	begin_slow_dump();
	must_say(ctl(6, "roll", "cached", "v2"), "writes a dump");
	redis_ask(fd, "dbsize", ":300\r\n");
}

SCENE(redis, listens_where_a_command_has_told_it_to)
{
	char command[64];
	uint16_t port = rig_port(stage.rig);

	serve("", "Bake=100ms\n");
	fd = redis_open(stage.port);
	snprintf(command, sizeof(command), "config set port %u bind 127.0.0.1", port);
	redis_ask(fd, command, "+OK\r\n");
	roll("v2");
	redis_ask(redis_open(port), "ping", "+PONG\r\n");
	roll("v1");
	redis_ask(redis_open(port), "ping", "+PONG\r\n");
	redis_ask(fd, "ping", "+PONG\r\n");
}

SCENE(redis, with_an_append_only_log_goes_on_in_it)
{
	serve(" --appendfsync always --auto-aof-rewrite-percentage 0", "Bake=100ms\n");
	fd = redis_open(stage.port);
	ask_all(fd, every_type);
	redis_ask(fd, "config set appendonly yes", "+OK\r\n"); /* a child writes the first of it: the roll waits */
	redis_ask(fd, "set in v1", "+OK\r\n");
	roll("v2");
	redis_ask(fd, "append in v2", ":4\r\n");
	roll("v1");
	redis_ask(fd, "append in v1", ":6\r\n");
	take(&digest, "debug digest");
	redis_ask(fd, "debug loadaof", "+OK\r\n"); /* all that is in the log, and nothing else */
	take(&digest, "debug digest");
	redis_ask(fd, "get in", "$6\r\nv1v2v1\r\n");
}

/* What the version that was killed has written is in the log, and not in the memory of the one that came back. */
SCENE(redis, that_came_back_writes_its_append_only_log_anew)
{
	uint64_t due_us = clock_now_us() + SHOWN_US;
	bool written;

	serve(" --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0", "Bake=60s\nRollback=parked\n");
	fd = redis_open(stage.port);
	ask_all(fd, every_type);
	take(&digest, "debug digest");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	redis_ask(fd, "set late 1", "+OK\r\n");
	close(fd);
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	fd = redis_open(stage.port);
	take(&digest, "debug digest");
	do {
		char *info = redis_say(fd, "info persistence");

		written = strstr(info, "aof_rewrite_in_progress:0") && strstr(info, "aof_rewrite_scheduled:0");
		free(info);
		stage_sleep_ms(20);
	} while (!written && clock_now_us() < due_us);
	cr_assert(written);
	redis_ask(fd, "debug loadaof", "+OK\r\n");
	take(&digest, "debug digest");
}

SCENE(redis, refuses_in_words_what_cannot_travel)
{
	char command[64], *info;
	uint64_t due_us = clock_now_us() + SHOWN_US;
	const char *argv[] = { NULL, "--port", NULL, "--save", "", "--replicaof", "127.0.0.1", NULL, "--loglevel", "warning",
			       "--dir", rig_folder(stage.rig), "--dbfilename", "replica.rdb", NULL };
	char program[PATH_MAX], port[8], master[8];
	struct rig_child *replica;
	bool attached;

	serve("", "Bake=100ms\nQuiesceTimeout=1s\n");
	fd = redis_open(stage.port);
	snprintf(program, sizeof(program), "%s/redis-v1", ports);
	snprintf(port, sizeof(port), "%u", rig_port(stage.rig));
	snprintf(master, sizeof(master), "%u", stage.port);
	argv[0] = program;
	argv[2] = port;
	argv[7] = master;
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &replica), 0);
	do {
		info = redis_say(fd, "info replication");
		attached = strstr(info, "state=online") != NULL;
		free(info);
		stage_sleep_ms(20);
	} while (!attached && clock_now_us() < due_us);
	cr_assert(attached);
	must_say(ctl(6, "roll", "cached", "v2"), "1 replicas are attached");
	rig_run_kill(replica, SIGKILL);
	rig_run_wait(replica, SHOWN_US, NULL);

	snprintf(command, sizeof(command), "replicaof 127.0.0.1 %s", port);
	redis_ask(fd, command, "+OK\r\n");
	must_say(ctl(6, "roll", "cached", "v2"), "it is a replica of 127.0.0.1");
	redis_ask(fd, "replicaof no one", "+OK\r\n");

	redis_ask(fd, "client pause 600000 all", "+OK\r\n");
	must_say(ctl(6, "roll", "cached", "v2"), "clients are paused");
}

SCENE(redis, is_not_rolled_as_a_node_of_a_cluster)
{
	serve(" --cluster-enabled yes", "Bake=100ms\n");
	/* The next version cannot even lock the file that says which node it is. */
	must_say(ctl(5, "roll", "cached", "v2"), "already used by a different Redis Cluster node");
}

/* ---- redis' own tests ---- */

static void run_suite(void)
{
	/* Some leave the configuration of a server that they did not start changed: in this order it hurts none of them. */
	static const char *const units[] = { "unit/type/list", "unit/type/hash", "unit/type/zset", "unit/type/stream",
					     "unit/type/set", "unit/multi", "unit/pubsub", "unit/expire" };
	const char *argv[64] = { "./runtest", "--host", "127.0.0.1", "--port", NULL, "--baseport", NULL, "--tags", "-slow" };
	char port[8], base[8], tree[PATH_MAX];
	struct rig_answer answer = { 0 };
	struct rig_child *child;
	size_t n = 9;

	snprintf(port, sizeof(port), "%u", stage.port);
	snprintf(base, sizeof(base), "%u", rig_port(stage.rig));
	snprintf(tree, sizeof(tree), "%s/redis-v1.tree", ports);
	argv[4] = port;
	argv[6] = base;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		argv[n++] = "--single";
		argv[n++] = units[i];
	}
	cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv, .cwd = tree }, &child), 0);
	cr_assert_eq(rig_run_wait(child, SUITE_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s", answer.out + (strlen(answer.out) > 4000 ? strlen(answer.out) - 4000 : 0));
	cr_assert_not_null(strstr(answer.out, "All tests passed without errors!"));
	rig_answer_done(&answer);
	/* Its own processes end a little after it: upgraded and redis are left. */
	stage_wait_processes(2);
}

SCENE(redis_suite, passes_in_a_version_that_took_over)
{
	serve("", "Bake=100ms\n");
	roll("v2");
	run_suite();
}

SCENE(redis_suite, passes_in_a_version_that_came_back)
{
	serve("", "Bake=60s\nRollback=parked\n");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	run_suite();
}
