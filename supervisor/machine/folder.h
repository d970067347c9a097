/* SPDX-License-Identifier: MIT */
/* Folders: made, claimed, removed and measured as a whole. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct why;

/** folder_make() - Make @path and the folders above it (mkdir -p), with mode 0700 for each folder that is new. Return: 0 or
 * -errno. */
int folder_make(const char *path, struct why *why);

/** folder_claim() - Make the folder @path with @mode if it is missing; those above it must be there. Nobody who is not trusted
 * (base/trust.h) may be able to write to it. Return: 0; -EPERM with the command that mends it; -errno. */
int folder_claim(const char *path, mode_t mode, struct why *why);

/* One that was killed holds its locks a moment longer: until its last thread has ended, and a child that it was forking is its own
 * program. So whoever starts waits so long. */
#define LOCK_PATIENCE_MS 2000u

/** folder_lock() - Hold the file @name in @dir, which no two daemons can; the file is made if it is missing.
 * @patience_ms: how long to wait for one who may be ending; 0: not at all.
 * @ret_lock: owned by the caller; held until it is closed. -1 on failure.
 *
 * Return: 0; -EWOULDBLOCK: another one holds it; -errno. */
int folder_lock(const char *dir, const char *name, unsigned patience_ms, int *ret_lock, struct why *why);

/** folder_remove() - Remove @path and all that is in it (rm -r). Removes a symbolic link and not what it points to. A missing @path
 * is fine.
 * Return: 0 or -errno. */
int folder_remove(const char *path, struct why *why);

/** folder_remove_at() - The same for @name in the folder that is open as @parent (borrowed). Return: 0 or -errno. */
int folder_remove_at(int parent, const char *name);

/** folder_size() - Add up the bytes of all regular files directly in @path. Return: 0 or -errno. */
int folder_size(const char *path, uint64_t *ret_size_bytes, struct why *why);
