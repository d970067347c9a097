/* SPDX-License-Identifier: MIT */
#include "base/trust.h"

#include "base/why.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY ((uid_t)-1)
#define OTHERS_WRITE (S_IWGRP | S_IWOTH)

static uid_t trusted_user = NOBODY;

void trust_user(uid_t uid)
{
	trusted_user = uid;
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid() || (trusted_user != NOBODY && uid == trusted_user);
}

/* The members of root's group are as good as root. */
static mode_t writers(const struct stat *st)
{
	return st->st_mode & (mode_t)(st->st_gid == 0 ? S_IWOTH : OTHERS_WRITE);
}

static int refuse_owner(const struct stat *st, const char *path, struct why *why)
{
	return why_set(why, -EPERM, "%s belongs to uid %u, who could change it: chown %u %s", path, (unsigned)st->st_uid,
		       (unsigned)geteuid(), path);
}

static int refuse_mode(const struct stat *st, const char *path, struct why *why)
{
	return why_set(why, -EPERM, "%s can be written to by others (mode %04o): chmod go-w %s", path,
		       (unsigned)(st->st_mode & 07777), path);
}

int trust_stat(const struct stat *st, const char *path, struct why *why)
{
	if (!is_trusted(st->st_uid))
		return refuse_owner(st, path, why);
	return writers(st) ? refuse_mode(st, path, why) : 0;
}

/* In a container, folders above ours may belong to users who are outside of it, and who rule it anyway: the kernel shows them as
 * the overflow user. Where all users are known, that number is a user as any other. */
static bool is_outside(uid_t uid)
{
	static int outside = -1; /* the overflow user; -2: there is none here */
	unsigned first, host, n;
	FILE *file;

	if (outside == -1) {
		outside = -2;
		file = fopen("/proc/self/uid_map", "re");
		if (file && fscanf(file, "%u %u %u", &first, &host, &n) == 3 && n != 4294967295u)
			outside = 65534;
		if (file)
			fclose(file);
	}
	return outside >= 0 && uid == (uid_t)outside;
}

static int trust_above(const struct stat *st, const char *path, struct why *why)
{
	if (!is_trusted(st->st_uid) && !is_outside(st->st_uid))
		return refuse_owner(st, path, why);
	return writers(st) && !(st->st_mode & S_ISVTX) ? refuse_mode(st, path, why) : 0;
}

int trust_path(const char *path, struct why *why)
{
	char *real = realpath(path, NULL), *end;
	struct stat st;
	int r;

	if (!real)
		return why_errno(why, -errno, "%s", path);
	/* From the top down: below a folder that is in good hands nobody else changes names while we look. */
	r = stat("/", &st) < 0 ? why_errno(why, -errno, "/") : trust_above(&st, "/", why);
	for (char *slash = real; r == 0 && slash && slash[1]; slash = end) {
		end = strchr(slash + 1, '/');
		if (end)
			*end = 0;
		if (lstat(real, &st) < 0)
			r = why_errno(why, -errno, "%s", real);
		else
			r = end ? trust_above(&st, real, why) : trust_stat(&st, real, why);
		if (end)
			*end = '/';
	}
	free(real);
	return r;
}
