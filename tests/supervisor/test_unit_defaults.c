/* SPDX-License-Identifier: MIT */
/* The lines below DEFAULTS in upgraded.conf(5) mean what a file without them means, and each key with a default is there. */
#include "base/why.h"
#include "supervisor/unit/unit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(unit_defaults, .timeout = 20);

#define MANUAL "supervisor/upgraded.conf.5"
#define FIRST "[Service]\nExec=/opt/web/web-%v\n"

static char shown[8192];

static void read_manual(void)
{
	FILE *file = fopen(MANUAL, "re");
	char line[512];
	bool there = false, inside = false;

	cr_assert(file, "the manual is read from the folder of the sources");
	*shown = '\0';
	while (fgets(line, sizeof(line), file)) {
		there |= strcmp(line, ".Sh DEFAULTS\n") == 0;
		if (there && strcmp(line, ".Ed\n") == 0)
			break;
		if (inside)
			strncat(shown, line, sizeof(shown) - strlen(shown) - 1);
		inside |= there && strcmp(line, ".Bd -literal\n") == 0;
	}
	fclose(file);
	cr_assert(strncmp(shown, FIRST, strlen(FIRST)) == 0 && strstr(shown, "\nBake="), "%s", shown);
}

static struct unit *parse(const char *text)
{
	struct unit *unit = NULL;
	struct why why;

	cr_assert_eq(unit_parse("web", "/etc/upgraded/web.conf", text, &unit, &why), 0, "%s", why.text);
	return unit;
}

/* What remains is values: all else is a pointer, or says what was written. */
static void reduce(struct unit *ret_values, const struct unit *unit)
{
	memcpy(ret_values, unit, sizeof(*unit));
	ret_values->settings = NULL;
	ret_values->n_settings = 0;
	ret_values->path = ret_values->exec = ret_values->version = ret_values->user = ret_values->group = NULL;
	ret_values->working_directory = NULL;
	ret_values->environment = NULL;
	/* 0 is for the library, which has these. */
	if (!ret_values->state_record_max)
		ret_values->state_record_max = 16u << 20;
	if (!ret_values->state_types_max)
		ret_values->state_types_max = 256;
}

Test(unit_defaults, are_those_of_the_manual)
{
	static struct unit without, with;
	struct unit *first, *second;

	read_manual();
	first = parse(FIRST);
	second = parse(shown);
	reduce(&without, first);
	reduce(&with, second);
	cr_assert_str_eq(first->working_directory, second->working_directory);
	/* Where, so that the member can be found. */
	for (size_t i = 0; i < sizeof(with); i++)
		cr_assert_eq(((const unsigned char *)&with)[i], ((const unsigned char *)&without)[i], "byte %zu of struct unit", i);
	unit_free(first);
	unit_free(second);
}

Test(unit_defaults, are_shown_for_each_key_that_has_one)
{
	static const char none[] = " Exec Version User Group NoNewPrivileges CapabilityBoundingSet AmbientCapabilities Environment "
				   "LimitNOFILE OOMScoreAdjust Listen Ready DrainTimeout Watchdog OnRollback ";
	FILE *file = fopen("supervisor/unit/keys.c", "re");
	char line[512], key[64], wanted[80];
	unsigned n = 0;

	cr_assert(file);
	read_manual();
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "\t{ \"%63[A-Za-z]\", \"%*[^\n]", key) != 1)
			continue;
		snprintf(wanted, sizeof(wanted), " %s ", key);
		if (strstr(none, wanted))
			continue;
		snprintf(wanted, sizeof(wanted), "\n%s=", key);
		cr_expect(strstr(shown, wanted), "%s has no default in %s", key, MANUAL);
		n++;
	}
	fclose(file);
	cr_assert_gt(n, 30);
}
