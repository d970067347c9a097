/* SPDX-License-Identifier: MIT */
/* What CRIU wrote into an image about files: which paths it will open, remove, make or connect to when it restores.
 *
 * These files are CRIU's own: two 32 bit numbers that say what they are, and then entries, each with its size before it and packed
 * by protobuf. The few fields that are read here have had these numbers since CRIU 3.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct why;

enum criu_path_kind {
	CRIU_PATH_FILE,    /* opened */
	CRIU_PATH_REMOVED, /* made again under a name beside this one */
	CRIU_PATH_SOCKET,  /* a unix socket: removed and bound, or connected to */
	CRIU_PATH_OTHER,   /* no path: something that is looked up again in another way; @path says what */
};

struct criu_path {
	enum criu_path_kind kind;
	const char *path;
};

/**
 * criu_paths_read() - Read the image in @dir.
 * @on_path: called for each; a negative return ends the reading and is returned.
 *
 * Return: 0; -EBADMSG: it is not written as expected; -errno.
 */
int criu_paths_read(const char *dir, int (*on_path)(const struct criu_path *path, void *userdata), void *userdata, struct why *why);
