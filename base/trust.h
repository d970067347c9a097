/* SPDX-License-Identifier: MIT */
/* Who could have written a file, or could put another one in its place? Root, the user that we run as, and whom trust_user() names
 * may; what anybody else can write to is not to be believed. */
#pragma once

#include <sys/types.h>

struct stat;
struct why;

/** trust_user() - From here on @uid may own what is trusted; one user at most. */
void trust_user(uid_t uid);

/** trust_stat() - Is what @st tells of a file or a folder in trusted hands? @path: for the message. Return: 0; -EPERM with who else
 * can write to it, and the command that mends it. */
int trust_stat(const struct stat *st, const char *path, struct why *why);

/** trust_path() - The same for what lies at @path, and for each folder above it: whoever can write to one of them could put
 * something else there. A sticky folder as /tmp is fine if what lies in it is. Symbolic links are followed.
 * Return: 0; -EPERM; -errno: it cannot be looked at. */
int trust_path(const char *path, struct why *why);
