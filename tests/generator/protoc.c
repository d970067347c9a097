/* SPDX-License-Identifier: MIT */
#include "tests/generator/protoc.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct protoc protoc_generate(const char *schema, const char *options)
{
	struct protoc protoc = { .folder = "/tmp/generator.XXXXXX" };
	char command[512], path[128];
	FILE *stream;

	cr_assert_not_null(mkdtemp(protoc.folder));
	snprintf(path, sizeof path, "%s/t.proto", protoc.folder);
	stream = fopen(path, "w");
	cr_assert_not_null(stream);
	fputs(schema, stream);
	fclose(stream);
	snprintf(command, sizeof command, "protoc --proto_path=%s --proto_path=shim --plugin=build/protoc-gen-upgrade "
		 "--upgrade_out=%s%s%s %s 2>&1", protoc.folder, options, *options ? ":" : "", protoc.folder, path);
	stream = popen(command, "r");
	cr_assert_not_null(stream);
	protoc.said[fread(protoc.said, 1, sizeof protoc.said - 1, stream)] = '\0';
	int status = pclose(stream);
	protoc.status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
	return protoc;
}

void protoc_done(struct protoc *protoc)
{
	static const char *const files[] = { "t.proto", "t.upgrade.h", "t.upgrade.c" };
	char path[128];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", protoc->folder, files[i]);
		unlink(path);
	}
	cr_expect_eq(rmdir(protoc->folder), 0, "%s", protoc->folder);
}
