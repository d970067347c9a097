/* SPDX-License-Identifier: MIT */
/*
 * Each use of a file is looked at by its link in /proc/PID, which leads to the file itself, wherever it lies by now. The link's
 * text is the path at which CRIU will look for it. The two must be the same file, and remain it.
 */
#include "supervisor/image/pins_private.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/criu/criu.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_memory(const char *path)
{
	static const char *const kinds[] = { "/memfd:", "/dev/zero", "/SYSV", "/anon_hugepage", "/[aio]" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(path, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* ---- one pin ---- */

static int pin_add(const struct taking *taking, const struct image_pin *pin)
{
	int r = pins_add(taking->pins, pin);

	if (r == -E2BIG)
		return why_set(taking->why, r, "process %d uses more than %u files", (int)taking->pid, IMAGE_PINS_MAX);
	return r < 0 ? why_errno(taking->why, r, "files of process %d", (int)taking->pid) : 0;
}

/* Two descriptors may be one open file: then they share its position and its locks. */
static bool is_same_open_file(const struct taking *taking, const struct image_pin *pin, const struct use *use)
{
	return syscall(SYS_kcmp, (long)pin->opener, (long)taking->pid, (long)KCMP_FILE, (long)pin->number, (long)use->number) == 0;
}

static void use_count(const struct taking *taking, struct image_pin *pin, const struct use *use)
{
	if (use->kind == PIN_MAPPED || use->kind == PIN_EXE) {
		pin->is_mapped = true;
		pin->map_writes |= use->map_writes;
	}
	if (use->number < 0)
		return;
	if (pin->n_opens == 0) {
		pin->flags = use->flags;
		pin->position = use->position;
		pin->opener = taking->pid;
		pin->number = use->number;
		pin->n_opens = 1;
	} else if (!is_same_open_file(taking, pin, use)) {
		pin->n_opens++;
	}
}

/* A file may be used in two ways. The size matters if it does in one of them; the time matters only if it does in both, as a file
 * that the process writes changes its time. */
static int use_again(const struct taking *taking, struct image_pin *known, const struct use *use, const struct stat *st)
{
	if (known->device != st->st_dev || known->inode != st->st_ino)
		return why_set(taking->why, -ESTALE, "process %d: two files that it uses have one path, %s: one of them was "
			       "replaced, or hidden by a mount", (int)taking->pid, known->path);
	known->size_matters |= use->size_matters;
	known->time_matters &= use->time_matters;
	known->same_file |= taking->of_user;
	use_count(taking, known, use);
	return 0;
}

/* Not at a safe path: the descriptor @file stands for it from now on. */
static int use_hold(const struct taking *taking, const struct use *use, struct image_pin *pin, int *file, const char *reason)
{
	bool can = S_ISREG(pin->mode) || S_ISDIR(pin->mode);

	if (!can || strncmp(pin->path, "/proc/", 6) == 0)
		return why_set(taking->why, -EPERM, "process %d: its %s %.150s: %.160s; %s", (int)taking->pid,
			       pin_kind_spoken(use->kind), pin->path, reason, PINS_WAY_OUT);
	pin->is_held = true;
	pin->fd = *file;
	*file = -1;
	return 0;
}

static int use_stale(const struct taking *taking, const struct use *use, const char *path)
{
	if (use->kind == PIN_EXE)
		return why_set(taking->why, -ESTALE, "process %d: its executable %s was replaced or removed while it runs; a "
			       "version has to keep a path of its own while it may be needed", (int)taking->pid, path);
	return why_set(taking->why, -ESTALE, "process %d: its %s %s is not what is found under this name: it was renamed, "
		       "replaced or hidden by a mount", (int)taking->pid, pin_kind_spoken(use->kind), path);
}

/* @file: O_PATH; set to -1 if it was taken. */
static int use_note(struct taking *taking, const struct use *use, const char *path, const struct stat *st, int *file)
{
	struct image_pin pin = pin_of_stat(use->kind, path, st), *known = pins_find(taking->pins, path);
	FD_CLEANUP int named = -1;
	struct why reason = { 0 };
	struct stat found;
	bool shared = false;
	int r;

	if (known)
		return use_again(taking, known, use, st);
	r = safe_path_open(&taking->paths, path, &named, &shared, &reason);
	if (r == -EPERM) {
		r = use_hold(taking, use, &pin, file, reason.text);
		if (r < 0)
			return r;
	} else if (r < 0 && r != -ENOENT && r != -ELOOP && r != -ENOTDIR) {
		return why_set(taking->why, r, "process %d: its %s %s: %s", (int)taking->pid, pin_kind_spoken(use->kind), path,
			       reason.text);
	} else if (r < 0 || fstat(named, &found) < 0 || found.st_dev != st->st_dev || found.st_ino != st->st_ino) {
		return use_stale(taking, use, path);
	}
	pin.size_matters = use->size_matters && S_ISREG(st->st_mode);
	pin.time_matters = use->time_matters && S_ISREG(st->st_mode);
	pin.same_file = taking->of_user || shared;
	use_count(taking, &pin, use);
	r = pin_add(taking, &pin);
	if (r < 0 && pin.is_held)
		fd_close(pin.fd);
	return r;
}

/* A file without a name: it lies in the image, and is made for a moment beside its old name when it is restored. */
static int removed_take(struct taking *taking, const struct use *use, const char *path, const struct stat *st)
{
	struct image_pin pin = pin_of_stat(PIN_REMOVED, path, st);
	struct why reason = { 0 };
	int r;

	if (use->kind == PIN_EXE)
		return use_stale(taking, use, path);
	if ((uint64_t)st->st_blocks * 512 > CRIU_GHOST_LIMIT_BYTES)
		return why_set(taking->why, -ESTALE, "process %d: its %s %s takes %lld bytes on disk, and a removed file goes "
			       "into an image only up to %u", (int)taking->pid, pin_kind_spoken(use->kind), path,
			       (long long)st->st_blocks * 512, CRIU_GHOST_LIMIT_BYTES);
	r = removed_path_check(&taking->paths, path, (unsigned)st->st_uid, &reason);
	if (r < 0)
		return why_set(taking->why, r, "process %d: its %s %.150s would be made again there as root: %.160s; use "
			       "memfd_create(2) for it, or roll with Rollback=parked"
			       "", (int)taking->pid, pin_kind_spoken(use->kind), path,
			       reason.text);
	return pins_find(taking->pins, path) ? 0 : pin_add(taking, &pin);
}

/* ---- sockets and pipes ---- */

int pins_add_socket(struct image_pins *pins, struct safe_paths *paths, enum pin_kind kind, const char *name, bool of_user,
		    struct why *why)
{
	struct image_pin pin = { .kind = kind, .path = (char *)(uintptr_t)name, .fd = -1, .same_file = of_user };
	struct why reason = { 0 };
	int r;

	if (!*name)
		return 0; /* abstract: it has no path */
	if (*name != '/' && !of_user)
		return 0; /* root's, relative to a folder of its own choice */
	r = *name != '/' ? why_set(&reason, -EPERM, "a relative path may lead anywhere") :
			   socket_path_check(paths, kind, name, of_user, &reason);
	if (r < 0)
		return why_set(why, r, "its %s %.108s: %.160s; %s", pin_kind_spoken(kind), name, reason.text, PINS_WAY_OUT);
	r = pins_find(pins, name) ? 0 : pins_add(pins, &pin);
	return r < 0 ? why_errno(why, r, "unix sockets") : 0;
}

static int compare_number(const void *a, const void *b)
{
	unsigned long long one = *(const unsigned long long *)a, two = *(const unsigned long long *)b;

	return (one > two) - (one < two);
}

static bool is_known(const struct taking *taking, unsigned long long inode)
{
	return taking->spec->n_known &&
	       bsearch(&inode, taking->known, taking->spec->n_known, sizeof(inode), compare_number) != NULL;
}

static int socket_take(struct taking *taking, unsigned long long inode)
{
	const struct unix_socket *own, *peer;
	int r = 0;

	if (is_known(taking, inode))
		return 0;
	if (!taking->has_sockets)
		r = unix_sockets_read(&taking->sockets, taking->why);
	if (r < 0)
		return r;
	taking->has_sockets = true;
	own = unix_sockets_find(&taking->sockets, inode);
	peer = own && own->peer ? unix_sockets_find(&taking->sockets, own->peer) : NULL;
	if (own && own->name)
		r = pins_add_socket(taking->pins, &taking->paths, PIN_SOCKET, own->name, taking->of_user, taking->why);
	if (r == 0 && peer && peer->name)
		r = pins_add_socket(taking->pins, &taking->paths, PIN_PEER, peer->name, taking->of_user, taking->why);
	return r < 0 ? why_prefix(taking->why, r, "process %d", (int)taking->pid) : 0;
}

/* A pipe is not checked, but it may be handed over: if the process has one end of it, and as one open file. */
static int pipe_take(struct taking *taking, const struct use *use, const char *link)
{
	struct image_pin pin = { .kind = PIN_PIPE, .path = (char *)(uintptr_t)link, .fd = -1 }, *known;

	if (use->number < 0)
		return 0;
	known = pins_find(taking->pins, link);
	use_count(taking, known ? known : &pin, use);
	return known ? 0 : pin_add(taking, &pin);
}

/* ---- one process ---- */

int pins_use(struct taking *taking, const struct use *use)
{
	FD_CLEANUP int file = -1;
	unsigned long long inode;
	char path[PATH_MAX];
	struct stat st;
	ssize_t n = readlinkat(taking->proc, use->link, path, sizeof(path) - 1);

	if (n < 0)
		return errno == ENOENT ? 0 : why_errno(taking->why, -errno, "process %d: %s", (int)taking->pid, use->link);
	path[n] = '\0';
	if (sscanf(path, "socket:[%llu]", &inode) == 1)
		return socket_take(taking, inode);
	if (strncmp(path, "pipe:[", 6) == 0)
		return pipe_take(taking, use, path);
	if (path[0] != '/' || is_memory(path))
		return 0;
	file = openat(taking->proc, use->link, O_PATH | O_CLOEXEC);
	if (file < 0)
		return errno == ENOENT ? 0 : why_errno(taking->why, -errno, "process %d: %s", (int)taking->pid, path);
	/* Before the first question about it: whoever serves that file system need not answer. */
	if (taking->paths.served.n && safe_served_has(&taking->paths.served, safe_mount_of(file)))
		return why_set(taking->why, -EPERM, "process %d: its %s %.150s is on a file system that a program serves (FUSE): "
			       "what is there after a restore is for that program to say", (int)taking->pid,
			       pin_kind_spoken(use->kind), path);
	if (fstat(file, &st) < 0)
		return why_errno(taking->why, -errno, "process %d: %s", (int)taking->pid, path);
	if (st.st_nlink == 0 && ends_with(path, PIN_REMOVED_SUFFIX))
		return removed_take(taking, use, path, &st);
	return use_note(taking, use, path, &st, &file);
}
