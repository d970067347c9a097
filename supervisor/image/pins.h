/* SPDX-License-Identifier: MIT */
/* Pins: what an image needs besides its own files. CRIU opens it again by paths, as root, so it must not have changed, and nobody
 * but root may be able to change it between our look and CRIU's.
 *
 *   pins.c          a list of them
 *   pins_take.c, pins_use.c  noted when the image is taken
 *   pins_paths.c    compared with the paths that CRIU wrote into the image
 *   pins_check.c    looked at again, immediately before a restore
 *   pins_lend.c     opened for the restore, where CRIU must not go by the path
 *
 * A path is good enough if each folder of it is safe (machine/safe_path.h). A regular file or a folder elsewhere is *held*: from
 * the look on this process has a descriptor of it (O_PATH, so that no lock and no end of file waits for us), opens it again by that
 * when it is needed, and CRIU gets that descriptor in place of the path. Such an image is of use as long as this process lives.
 * What cannot be held in this way (a FIFO, a unix socket, a removed file that is to be made again) keeps its process from being
 * imaged.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define IMAGE_PINS_MAX 4096u
#define IMAGE_PINS_HELD_MAX 64u
#define IMAGE_PINS_HELD_BYTES (24u << 10) /* of their paths: they go into one message to CRIU */

enum pin_kind {
	PIN_EXE,
	PIN_MAPPED,
	PIN_OPEN,
	PIN_FOLDER,  /* working directory or root */
	PIN_REMOVED, /* in the image; to be made and removed again beside its old name; the path ends with " (deleted)" */
	PIN_SOCKET,  /* a unix socket that will be bound to its path again */
	PIN_PEER,    /* ... connected again to this path */
	PIN_PIPE,    /* the path is "pipe:[INODE]": nothing to check, but it can be handed over */
};

#define PIN_KINDS (PIN_PIPE + 1)

struct image_pin {
	enum pin_kind kind;
	char *path;
	uint64_t size_bytes;
	int64_t mtime_ns;
	uint64_t device, inode;
	unsigned mode;
	unsigned uid, gid;
	bool size_matters; /* CRIU compares the size, except of a file that is only appended to */
	bool time_matters; /* false of a file that the process itself writes, or whose changes it sees anyway */
	bool same_file;    /* the very inode with its owner must be there: the process is not root's, or its folder is like /tmp */
	bool is_held;      /* by @fd and not by its path */

	/* Not in a manifest: */
	int fd;            /* owned if @is_held; -1: it was held by a process that has ended */
	unsigned n_opens;  /* as how many open files (not descriptors) the processes have it */
	bool is_mapped, map_writes;
	unsigned flags;    /* of the first open file, and where it is */
	int64_t position;
	pid_t opener;
	int number;
};

struct image_pins {
	struct image_pin *pins;
	size_t n, room;
	bool of_user;          /* one of the processes is not root's */
	/* By path; made when it is needed. */
	uint16_t *index;
	size_t n_indexed;
};

struct pins_spec {
	pid_t pid;
	const unsigned long long *known; /* inodes of sockets that the process gives up before an image is taken; borrowed */
	size_t n_known;
};

/**
 * pins_take() - Note what a process and its children need, as it is now.
 * @ret: zeroed; owned by the caller, also after a failure.
 *
 * A file that was removed goes into the image itself, up to CRIU_GHOST_LIMIT_BYTES. The executable must not have been removed.
 *
 * Return: 0; -ESTALE: a file, which @why names, was replaced or removed while it is in use; -EPERM: another user could put
 * something else in the place of what CRIU opens as root, and it cannot be held; -E2BIG; -errno.
 */
int pins_take(const struct pins_spec *spec, struct image_pins *ret, struct why *why);

/**
 * pins_compare_paths() - Is all that CRIU wrote into the image in @dir pinned? The process may have gone on between our look and
 * CRIU's. What is not pinned and lies at a safe path is pinned now.
 *
 * Return: 0; -EPERM with what is not; -EBADMSG: CRIU's file cannot be read; -errno.
 */
int pins_compare_paths(struct image_pins *pins, const char *dir, struct why *why);

/** pins_check() - Is all still as it was, and are its paths safe? Return: 0; -ESTALE, -ENOENT, -EPERM, -ELOOP with what, its change
 * and what to do; -errno. */
int pins_check(const struct image_pins *pins, struct why *why);

/* What a restore gets in place of what CRIU would open. */
struct pin_loans {
	struct pin_loan {
		const char *key; /* borrowed from the pins */
		int fd;
		bool is_owned;
	} *loans;
	size_t n;
};

/**
 * pins_lend() - Open what is held, as it was open, and find what of @files the image has.
 * @files: descriptors that others hold of open files of the process (custody); borrowed while @ret is in use. An open file of the
 *         image that is among them comes back as that very open file, with its locks and its position.
 * @ret: zeroed; release with pins_loans_done(), also after a failure.
 *
 * Return: 0; -ESTALE; -errno with the file.
 */
int pins_lend(const struct image_pins *pins, const int *files, size_t n_files, struct pin_loans *ret, struct why *why);
void pins_loans_done(struct pin_loans *loans);

/** pins_want() - Would pins_lend() take this descriptor, of the regular file or pipe that it is? */
bool pins_want(const struct image_pins *pins, int fd);

/** pins_find() - Return: NULL: @path is not pinned. The pin may move when another one is added. */
struct image_pin *pins_find(struct image_pins *pins, const char *path);

/** pins_exe() - The executable's path; NULL: none is pinned. */
const char *pins_exe(const struct image_pins *pins);

/** pins_add() - Add @pin, whose path is copied; its fd is owned from then on. Return: 0; -ENOMEM; -E2BIG. */
int pins_add(struct image_pins *pins, const struct image_pin *pin);

/** pins_done() - Safe on a zeroed one. */
void pins_done(struct image_pins *pins);

const char *pin_kind_name(enum pin_kind kind); /* "exe", "mapped", "open", ... */
const char *pin_kind_spoken(enum pin_kind kind); /* "executable", "mapped file", "open file", ... */
