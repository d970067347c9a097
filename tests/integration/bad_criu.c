/* SPDX-License-Identifier: MIT */
#include "tests/integration/bad_criu.h"

#include "tests/integration/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *bad_criu(const char *deed)
{
	const char *real = getenv("UPG_CRIU") ? getenv("UPG_CRIU") : "criu";
	const char *path = stage_path("criu");
	FILE *file = fopen(path, "we");

	cr_assert_not_null(file);
	fprintf(file, "#!/bin/sh\nreal=%s\nif [ -e '%s' ]; then\n%s\nfi\nexec $real \"$@\"\n", real, stage_path("bad"), deed);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(path, 0755), 0);
	return path;
}

const char *bad_criu_when(const char *file, const char *text, const char *deed)
{
	char watch[2048];

	/* An orphan: CRIU would wonder about a child that is not its own. Nor may it hold CRIU's channel, or it would seem to live
	 * for ever. A look costs a fraction of a millisecond, which in a dump of some megabytes is early enough. */
	snprintf(watch, sizeof(watch),
		 "criu=$$\n"
		 "( (\n"
		 "	seen() {\n"
		 "		for f in %s/%s; do [ -e \"$f\" ] && { [ -z \"$1\" ] || grep -q \"$1\" \"$f\"; } && return; done\n"
		 "		false\n"
		 "	}\n"
		 "	until seen '%s' 2>/dev/null; do kill -0 $criu 2>/dev/null || exit; done\n"
		 "	%s\n"
		 ") </dev/null 3>&- & )",
		 stage_path("state/images/cached"), file, text ? text : "", deed);
	return bad_criu(watch);
}

void bad_criu_turn(void)
{
	FILE *file = fopen(stage_path("bad"), "we");

	cr_assert_not_null(file);
	fclose(file);
}

void bad_criu_turn_back(void)
{
	cr_assert_eq(unlink(stage_path("bad")), 0);
}
