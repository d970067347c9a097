/* SPDX-License-Identifier: MIT */
/*
 * Which changes of a file matter:
 *   path   always: each folder of it must be safe, and no symbolic link in it
 *   mode   always, and the owner: CRIU compares the mode
 *   size   always, except of a file that is open with O_WRONLY|O_APPEND: CRIU compares it
 *   time   of the executable and of private mappings: pages that were not touched yet will come from the file. The process itself
 *          changes the time of a file that it writes. A shared mapping and a descriptor for reading show changes of the file as
 *          they come, so there the time matters only together with another inode: then it is another file.
 *   inode  not by itself: a file that was put back with its time is as good as the one before. But a service of another user gets
 *          the very file back that it had, so that a file with other rights never takes its place.
 *
 * Of a file that is held CRIU sees nothing but the descriptor. There only its content can have changed.
 */
#include "supervisor/image/pins_private.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/safe_path.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int socket_path_check(struct safe_paths *paths, enum pin_kind kind, const char *path, bool of_user, struct why *why)
{
	int fd = -1, r;

	if (kind == PIN_SOCKET) /* removed and bound again: whatever is there by now does not matter */
		return safe_path_folder(paths, path, !of_user, why);
	r = safe_path_open(paths, path, &fd, NULL, why);
	fd_close(fd);
	return r;
}

int removed_path_check(struct safe_paths *paths, const char *path, unsigned uid, struct why *why)
{
	size_t length = strlen(path), suffix = sizeof(PIN_REMOVED_SUFFIX) - 1;
	char plain[PATH_MAX];

	if (length < suffix || length - suffix >= sizeof(plain))
		return why_errno(why, -EINVAL, "%.100s", path);
	memcpy(plain, path, length - suffix);
	plain[length - suffix] = '\0';
	return safe_path_folder(paths, plain, safe_user(uid), why);
}

static int content_check(const struct image_pin *pin, const struct stat *st, struct why *why)
{
	const char *what = pin_kind_spoken(pin->kind);
	bool other = st->st_dev != pin->device || st->st_ino != pin->inode;
	bool size_matters = pin->size_matters && !(pin->is_held && pin->kind == PIN_OPEN);

	if (size_matters && (uint64_t)st->st_size != pin->size_bytes)
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken: it has %lld bytes and had %" PRIu64
			       "; put the file of that version back", what, pin->path, (long long)st->st_size, pin->size_bytes);
	if (pin->time_matters && mtime_ns(st) != pin->mtime_ns && (pin->kind != PIN_OPEN || other))
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken, though it still has %" PRIu64
			       " bytes; put the file of that version back, with its time (cp -p)", what, pin->path,
			       pin->size_bytes);
	return 0;
}

static int identity_check(const struct image_pin *pin, const struct stat *st, struct why *why)
{
	const char *what = pin_kind_spoken(pin->kind);

	if (st->st_mode != pin->mode)
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken: it has mode %o and had %o; give it "
			       "that mode back", what, pin->path, st->st_mode, pin->mode);
	if (st->st_uid != pin->uid || st->st_gid != pin->gid)
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken: it belongs to %u:%u and belonged to "
			       "%u:%u; give it back (chown)", what, pin->path, (unsigned)st->st_uid, (unsigned)st->st_gid, pin->uid,
			       pin->gid);
	if (pin->same_file && (st->st_dev != pin->device || st->st_ino != pin->inode))
		return why_set(why, -ESTALE, "its %s %s was replaced since the image was taken: it is another file (inode %llu, "
			       "was %" PRIu64 "); a process of another user than root, and a file in a folder like /tmp, need the "
			       "very same one", what, pin->path, (unsigned long long)st->st_ino, pin->inode);
	return 0;
}

static int held_check(const struct image_pin *pin, struct why *why)
{
	struct stat st;

	if (pin->fd < 0)
		return why_set(why, -ESTALE, "its %s %s is in a folder that others than root can change, so it was held by a "
			       "descriptor, and the upgraded that held it has ended", pin_kind_spoken(pin->kind), pin->path);
	if (fstat(pin->fd, &st) < 0)
		return why_errno(why, -errno, "its %s %s", pin_kind_spoken(pin->kind), pin->path);
	return content_check(pin, &st, why);
}

static int file_check(const struct image_pin *pin, struct safe_paths *paths, struct why *why)
{
	const char *what = pin_kind_spoken(pin->kind);
	FD_CLEANUP int fd = -1;
	struct why reason = { 0 };
	struct stat st;
	int r = safe_path_open(paths, pin->path, &fd, NULL, &reason);

	if (r == -EPERM || r == -ELOOP)
		return why_set(why, r, "its %s %s could not be opened safely as root: %s; make it again as it was", what, pin->path,
			       reason.text);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return why_set(why, r, "its %s %s: %s; put the file of that version back", what, pin->path, strerror(-r));
	r = content_check(pin, &st, why);
	return r < 0 ? r : identity_check(pin, &st, why);
}

static int pin_check(const struct image_pin *pin, struct safe_paths *paths, struct why *why)
{
	struct why reason = { 0 };
	int r;

	if (pin->kind == PIN_PIPE)
		return 0;
	if (pin->is_held)
		return held_check(pin, why);
	if (pin->kind == PIN_REMOVED)
		r = removed_path_check(paths, pin->path, pin->uid, &reason);
	else if (pin->kind == PIN_SOCKET || pin->kind == PIN_PEER)
		r = socket_path_check(paths, pin->kind, pin->path, pin->same_file, &reason);
	else
		return file_check(pin, paths, why);
	return r < 0 ? why_set(why, r, "its %s %s could not be made or reached safely as root: %s", pin_kind_spoken(pin->kind),
			       pin->path, reason.text) : 0;
}

int pins_check(const struct image_pins *pins, struct why *why)
{
	struct safe_paths paths;
	int r = 0;

	safe_paths_init(&paths);
	for (size_t i = 0; r == 0 && i < pins->n; i++)
		r = pin_check(&pins->pins[i], &paths, why);
	safe_paths_done(&paths);
	return r;
}
