/* SPDX-License-Identifier: MIT */
#include "base/why.h"
#include "cli/args.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

TestSuite(args, .timeout = 20);

#define ARGV_MAX 24
#define VERB(name) UPGRADED__WIRE__VERB__VERB_##name

static struct why why;

/* Words separated by blanks become a fresh argv; getopt moves its entries about. */
static int parse_env(const char *line, const char *env_socket, struct args *ret_args)
{
	static char words[512];
	char *argv[ARGV_MAX] = { NULL };
	char *save = NULL;
	int argc = 0;

	snprintf(words, sizeof(words), "upgradectl %s", line);
	for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		cr_assert_lt(argc, ARGV_MAX - 1);
		argv[argc++] = word;
	}
	memset(&why, 0, sizeof(why));
	return args_parse(argc, argv, env_socket, ret_args, &why);
}

static struct args parsed(const char *line)
{
	struct args args = { 0 };
	int rc = parse_env(line, NULL, &args);

	cr_assert_eq(rc, ARGS_RUN, "%s: %s", line, why.text);
	return args;
}

static void refused(const char *line, const char *reason)
{
	struct args args = { .verb = VERB(CHECK) };
	int rc = parse_env(line, NULL, &args);

	cr_expect_lt(rc, 0, "%s was accepted", line);
	cr_expect(strstr(why.text, reason), "%s: said \"%s\", not \"%s\"", line, why.text, reason);
	cr_expect_eq(args.verb, VERB(CHECK), "%s: the result was written in spite of the error", line);
}

Test(args, takes_every_verb)
{
	static const struct {
		const char *line;
		Upgraded__Wire__Verb verb;
		const char *service, *version;
	} table[] = {
		{ "start web", VERB(START), "web", NULL },
		{ "start web 1.2", VERB(START), "web", "1.2" },
		{ "stop web", VERB(STOP), "web", NULL },
		{ "roll web 2.0.0-rc1", VERB(ROLL), "web", "2.0.0-rc1" },
		{ "roll web", VERB(ROLL), "web", NULL },
		{ "undo web@eu_1", VERB(UNDO), "web@eu_1", NULL },
		{ "undo web --to=1.0", VERB(UNDO), "web", "1.0" },
		{ "pack web", VERB(PACK), "web", NULL },
		{ "abort web", VERB(ABORT), "web", NULL },
		{ "accept web", VERB(ACCEPT), "web", NULL },
		{ "roll upgraded", VERB(ROLL_SELF), NULL, NULL },
		{ "roll upgraded /usr/sbin/upgraded", VERB(ROLL_SELF), NULL, NULL },
		{ "status", VERB(STATUS), NULL, NULL },
		{ "status web", VERB(STATUS), "web", NULL },
		{ "list", VERB(LIST), NULL, NULL },
		{ "check", VERB(CHECK), NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct args args = parsed(table[i].line);

		cr_expect_eq(args.verb, table[i].verb, "%s", table[i].line);
		cr_expect_eq(!args.service, !table[i].service, "%s", table[i].line);
		cr_expect_eq(!args.version, !table[i].version, "%s", table[i].line);
		if (args.service && table[i].service)
			cr_expect_str_eq(args.service, table[i].service);
		if (args.version && table[i].version)
			cr_expect_str_eq(args.version, table[i].version);
	}
}

Test(args, defaults_leave_everything_as_configured)
{
	struct args args = parsed("roll web 2");

	cr_expect_not(args.json);
	cr_expect_not(args.quiet);
	cr_expect_not(args.wait_commit);
	cr_expect_null(args.rollback);
	cr_expect_eq(args.bake_us, 0u);
	cr_expect_eq(args.timeout_us, 0u);
	cr_expect_eq(args.color, COLOR_AUTO);
	cr_expect_str_eq(args.socket_path, ARGS_SOCKET_DEFAULT);
	cr_expect_str_eq(args.verb_name, "roll");
}

Test(args, takes_every_option_before_between_and_after)
{
	struct args args = parsed("-o json --timeout 2min roll --wait=commit web --rollback parked 2 --bake=300ms -q "
				  "--color=never --socket /tmp/s");

	cr_expect(args.json);
	cr_expect(args.quiet);
	cr_expect(args.wait_commit);
	cr_expect_str_eq(args.rollback, "parked");
	cr_expect_eq(args.bake_us, 300000u);
	cr_expect_eq(args.timeout_us, 120000000u);
	cr_expect_eq(args.color, COLOR_NEVER);
	cr_expect_str_eq(args.socket_path, "/tmp/s");
	cr_expect_str_eq(args.service, "web");
	cr_expect_str_eq(args.version, "2");
}

Test(args, later_options_win)
{
	struct args args = parsed("--output=json -otext --wait=commit --wait=done undo web");

	cr_expect_not(args.json);
	cr_expect_not(args.wait_commit);
}

Test(args, socket_comes_from_the_option_then_the_environment)
{
	struct args args = { 0 };

	cr_assert_eq(parse_env("list", "/env/socket", &args), ARGS_RUN);
	cr_expect_str_eq(args.socket_path, "/env/socket");
	cr_assert_eq(parse_env("list --socket=/given", "/env/socket", &args), ARGS_RUN);
	cr_expect_str_eq(args.socket_path, "/given");
	cr_assert_eq(parse_env("list", "", &args), ARGS_RUN);
	cr_expect_str_eq(args.socket_path, ARGS_SOCKET_DEFAULT);
}

Test(args, help_and_version_need_no_verb)
{
	struct args args;

	cr_expect_eq(parse_env("--help", NULL, &args), ARGS_HELP);
	cr_expect_eq(parse_env("roll -h", NULL, &args), ARGS_HELP);
	cr_expect_eq(parse_env("--version", NULL, &args), ARGS_VERSION);
}

Test(args, refuses_what_it_does_not_understand)
{
	refused("", "which verb?");
	refused("frobnicate", "\"frobnicate\" is not a verb");
	refused("ROLL web 2", "is not a verb");
	refused("roll web 2 3", "too many arguments");
	refused("list web", "upgradectl list");
	refused("start", "too few arguments");
	refused("-x list", "no option -x");
	refused("--frob list", "--frob");
	refused("--quiet=yes list", "--quiet=yes");
	refused("list --socket", "--socket needs a value");
	refused("list --socket=", "--socket needs a path");
	refused("-o xml list", "--output is one of text, json");
	refused("roll web 2 --wait=never", "--wait is one of done, commit");
	refused("roll web 2 --rollback=maybe", "--rollback is one of auto, parked, image, none");
	refused("list --color=blue", "--color is one of auto, always, never");
	refused("list --timeout=soon", "--timeout \"soon\" is not a duration");
	refused("list --timeout=0", "--timeout must be more than zero");
	refused("roll web 2 --bake=0s", "--bake must be more than zero");
}

Test(args, refuses_options_of_a_roll_elsewhere)
{
	refused("list --bake=5s", "--bake has a meaning for roll and undo only, not for list");
	refused("start web --wait=commit", "--wait has a meaning");
	refused("stop web --rollback=none", "--rollback has a meaning");
}

Test(args, refuses_options_of_an_undo_elsewhere)
{
	cr_expect_str_eq(parsed("undo web --way=parked").way, "parked");
	cr_expect_null(parsed("undo web").way);
	refused("roll web 2 --to=1", "--to has a meaning for undo only, not for roll");
	refused("pack web --way=image", "--way has a meaning for undo only, not for pack");
	refused("undo web --way=up", "--way is one of live, parked, image");
}

Test(args, again_is_for_what_names_a_version_to_go_to)
{
	cr_expect(parsed("roll web 2 --again").again);
	cr_expect(parsed("plan --again web 2").again);
	cr_expect_not(parsed("roll web 2").again);
	refused("undo web --again", "--again has a meaning for roll and plan only, not for undo");
	refused("start web 2 --again", "--again has a meaning for roll and plan only, not for start");
	refused("roll web 2 --again=yes", "--again=yes");
}

Test(args, names_cannot_leave_their_folder)
{
	refused("undo web --to=../1", "version name \"../1\" starts with a '.'");
	refused("roll ../etc 2", "service name \"../etc\" starts with a '.'");
	refused("roll web ..", "version name \"..\" starts with a '.'");
	refused("roll web 1/2", "version name \"1/2\" contains '/'");
	refused("status /", "contains '/'");
	refused("start .hidden", "starts with a '.'");
	refused("undo we%b", "contains '%'");
	refused("undo w\xc3\xa9", "only letters, digits and . _ @ -");
}

Test(args, names_have_one_to_64_characters)
{
	char name[67];

	cr_expect_lt(name_check("service", "", &why), 0);
	cr_expect(strstr(why.text, "service name is empty"));
	memset(name, 'a', sizeof(name) - 1);
	name[64] = '\0';
	cr_expect_eq(name_check("service", name, &why), 0);
	name[64] = 'a';
	name[65] = '\0';
	cr_expect_lt(name_check("service", name, &why), 0);
	cr_expect(strstr(why.text, "65 characters, more than 64"), "%s", why.text);
}

Test(args, every_byte_is_either_in_the_alphabet_or_refused)
{
	for (int c = 1; c < 256; c++) {
		char name[] = { 'a', (char)c, '\0' };
		bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    strchr("._@-", c);

		cr_expect_eq(name_check("service", name, &why) == 0, good, "byte %d", c);
	}
}

Test(args, a_long_name_does_not_overflow_the_reason)
{
	char line[400];

	memset(line, 'a', sizeof(line));
	memcpy(line, "stop ", 5);
	line[sizeof(line) - 1] = '\0';
	refused(line, "more than 64");
}

Test(args, dashes_end_the_options)
{
	struct args args = parsed("-- roll web -2");

	cr_expect_str_eq(args.version, "-2");
}

Test(args, usage_names_every_verb_and_option)
{
	static const char *const words[] = {
		"start", "stop", "roll", "undo", "status", "list", "check", "--output", "--socket", "--timeout", "--wait",
		"--rollback", "--bake", "--again", "--quiet", "--color", "--help", "--version", "UPGRADED_SOCKET",
	};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert(out);
	args_usage(out);
	fclose(out);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		cr_expect(strstr(text, words[i]), "%s", words[i]);
	free(text);
}

Test(args, verbs_about_images_have_two_words)
{
	struct args args = parsed("images list");

	cr_assert(args.verb == VERB(IMAGES_LIST) && !args.service && !args.generation);
	cr_assert_str_eq(args.verb_name, "images list");
	args = parsed("images show web 18446744073709551615 -o json");
	cr_assert(args.verb == VERB(IMAGES_SHOW) && args.generation == UINT64_MAX && args.json && !args.version);
	cr_assert_str_eq(args.service, "web");
	cr_assert(parsed("images verify web").verb == VERB(IMAGES_VERIFY));
	cr_assert(parsed("images gc").verb == VERB(IMAGES_GC));
	refused("images", "images what? list, show, verify or gc");
	refused("images burn", "images what?");
	refused("images show", "write \"upgradectl images show SERVICE [GENERATION]\"");
	refused("images list web 5", "too many arguments");
	refused("images show web 0", "is not the generation of an image");
	refused("images show web 1x", "is not the generation of an image");
	refused("images show web 18446744073709551616", "is not the generation of an image");
	refused("images show ../web", "service name");
	refused("image web list", "is not a verb");
}
