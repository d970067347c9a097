/* SPDX-License-Identifier: MIT */
/* Between the files pins*.c alone. */
#pragma once

#include "supervisor/criu/unix_sockets.h"
#include "supervisor/image/pins.h"
#include "supervisor/machine/safe_path.h"

#include <sys/stat.h>

static inline int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/** pin_of_stat() - A pin of @path with what is known of the file by stat(2), and nothing of how it is used. */
static inline struct image_pin pin_of_stat(enum pin_kind kind, const char *path, const struct stat *st)
{
	return (struct image_pin){ .kind = kind, .path = (char *)(uintptr_t)path, .size_bytes = (uint64_t)st->st_size,
				   .mtime_ns = mtime_ns(st), .device = st->st_dev, .inode = st->st_ino, .mode = st->st_mode,
				   .uid = st->st_uid, .gid = st->st_gid, .fd = -1, .position = -1 };
}

/* ---- taking: pins_take.c finds the uses of files, pins_use.c pins them ---- */

#define PROCESSES_MAX 256u

struct taking {
	const struct pins_spec *spec;
	struct image_pins *pins;
	struct why *why;
	unsigned long long *known;   /* those of @spec, sorted */
	struct safe_paths paths;
	struct unix_sockets sockets;
	bool has_sockets;            /* @sockets was read */
	pid_t pids[PROCESSES_MAX];   /* the process and its children, and theirs */
	size_t n_pids;

	/* The one that is looked at. */
	int proc; /* /proc/PID */
	pid_t pid;
	bool of_user; /* it is not root's */
};

/* One use of a file: by which link of /proc/PID, and what of it matters. */
struct use {
	enum pin_kind kind;
	char link[64];
	int number;        /* of the descriptor; -1: it is none */
	unsigned flags;
	int64_t position;
	bool size_matters, time_matters;
	bool map_writes;   /* a shared mapping of a file that is open to be written */
};

/** pins_use() - Pin what @use leads to. Return: 0; -errno as of pins_take(). */
int pins_use(struct taking *taking, const struct use *use);

/* What is to be done about a path that is not safe. */
#define PINS_WAY_OUT \
	"CRIU would go by that path as root; keep it where only root may write in every folder of the path, or roll with " \
	"Rollback=parked"

/**
 * pins_add_socket() - Pin the name of a unix socket that will be bound, or with PIN_PEER connected to. @name: as it was bound.
 * @of_user: of a process that is not root's. Return: 0; -EPERM; -errno.
 */
int pins_add_socket(struct image_pins *pins, struct safe_paths *paths, enum pin_kind kind, const char *name, bool of_user,
		    struct why *why);

/** socket_path_check() - Can nobody lead astray what CRIU does at this path? */
int socket_path_check(struct safe_paths *paths, enum pin_kind kind, const char *path, bool of_user, struct why *why);

#define PIN_REMOVED_SUFFIX " (deleted)"

/** removed_path_check() - Can nobody lead astray the making of a removed file? @path: with the suffix. @uid: the file's owner. */
int removed_path_check(struct safe_paths *paths, const char *path, unsigned uid, struct why *why);
