/* SPDX-License-Identifier: MIT */
/* Any text as a service file, and what it makes of a command. */
#include "base/why.h"
#include "supervisor/unit/unit.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a reader relies on in a file that was accepted. */
static void unit_visit(const struct unit *unit)
{
	if (strcmp(unit->name, "fuzzed") != 0 || !*unit->exec || !unit->exec_line || unit->working_directory[0] != '/')
		abort();
	if (*unit->version && unit_name_check("version", unit->version, NULL) < 0)
		abort();
	for (size_t i = 0; i < unit->n_environment; i++)
		if (!strchr(unit->environment[i], '='))
			abort();
	if (unit->environment[unit->n_environment] || unit->level < 1 || unit->level > 3 ||
	    !unit_rollback_name(unit->rollback))
		abort();
	if (!unit->start_timeout_us || !unit->quiesce_timeout_us || !unit->child_timeout_us || !unit->health_interval_us)
		abort();
}

/* Of a program without the library, two versions may be two configurations. */
static bool names_version(const struct unit *unit, char *const *argv, const char *version)
{
	for (size_t i = 0; argv[i] && (i == 0 || unit->kind == UNIT_PLAIN); i++)
		if (strstr(argv[i], version))
			return true;
	return false;
}

/* Programs are mostly missing; a command that is not has a program, and each version another one. */
static void commands_make(const struct unit *unit)
{
	static const char *const versions[] = { "v1", "a-much-longer-version-name.that_is@allowed" };

	for (size_t i = 0; i < 2; i++) {
		char **argv = NULL;
		struct why why = { 0 };

		if (unit_command(unit, versions[i], &argv, &why) < 0) {
			if (argv || !*why.text)
				abort();
			continue;
		}
		if (argv[0][0] != '/' || !names_version(unit, argv, versions[i]))
			abort();
		unit_command_free(argv);
	}
}

/* A check that was accepted can be made, whatever the version. */
static void checks_make(const struct unit *unit)
{
	for (size_t i = 0; i < unit->n_checks; i++) {
		const struct unit_check *check = &unit->checks[i];
		char **argv = NULL, *url = NULL;
		struct why why = { 0 };
		int r = check->kind == CHECK_COMMAND ? unit_check_command(unit, check, "v1", &argv, &why) :
						       unit_check_url(unit, check, "v1", &url, &why);

		if (!check->line || (r < 0 && !*why.text))
			abort();
		if (r == 0 && (argv ? argv[0][0] != '/' : !url || strncasecmp(url, "http://", 7) != 0))
			abort();
		unit_command_free(argv);
		free(url);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct unit *unit = NULL;
	struct why why = { 0 };
	char *text;

	/* unit_load() lets no NUL through, and no more than this. */
	if (size > UNIT_FILE_MAX || memchr(data, 0, size))
		return 0;
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (unit_parse("fuzzed", "/etc/upgraded/fuzzed.conf", text, &unit, &why) == 0) {
		unit_visit(unit);
		commands_make(unit);
		checks_make(unit);
	} else if (unit || strncmp(why.text, "/etc/upgraded/fuzzed.conf:", 26) != 0) {
		abort();
	}
	unit_free(unit);
	free(text);
	return 0;
}
