/* SPDX-License-Identifier: MIT */
/*
 * The look at /proc finds words for what stands in the way. But whoever wants to climb may open another file between that look and
 * CRIU's, as only CRIU holds the process still. So the list that CRIU wrote has the last word: nothing may stand there that was
 * neither pinned nor is safe.
 */
#include "supervisor/image/pins_private.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/criu/files_image.h"
#include "supervisor/machine/safe_path.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct comparing {
	struct image_pins *pins;
	struct safe_paths paths;
	struct why *why;
};

static int late(const struct comparing *comparing, int rc, const char *path, const struct why *reason)
{
	return why_set(comparing->why, rc, "it came to use %.200s while its image was being taken, and CRIU could not be kept "
		       "from going by that path as root: %.160s", path, reason->text);
}

static int file_compare(struct comparing *comparing, const char *path)
{
	struct image_pin pin;
	struct why reason = { 0 };
	FD_CLEANUP int fd = -1;
	struct stat st;
	int r;

	if (pins_find(comparing->pins, path))
		return 0;
	r = safe_path_open(&comparing->paths, path, &fd, NULL, &reason);
	if (r == 0 && fstat(fd, &st) < 0)
		r = why_errno(&reason, -errno, "%s", path);
	if (r < 0)
		return late(comparing, r, path, &reason);
	pin = pin_of_stat(PIN_OPEN, path, &st);
	pin.same_file = true;
	r = pins_add(comparing->pins, &pin);
	return r < 0 ? why_errno(comparing->why, r, "%s", path) : 0;
}

static int removed_compare(struct comparing *comparing, const char *path)
{
	char name[PATH_MAX + sizeof(PIN_REMOVED_SUFFIX)];
	struct image_pin pin = { .kind = PIN_REMOVED, .path = name, .uid = (unsigned)-1, .fd = -1 };
	struct why reason = { 0 };
	int r;

	snprintf(name, sizeof(name), "%s" PIN_REMOVED_SUFFIX, path);
	if (pins_find(comparing->pins, name))
		return 0;
	r = removed_path_check(&comparing->paths, name, pin.uid, &reason);
	if (r < 0)
		return late(comparing, r, name, &reason);
	r = pins_add(comparing->pins, &pin);
	return r < 0 ? why_errno(comparing->why, r, "%s", path) : 0;
}

static int on_path(const struct criu_path *path, void *userdata)
{
	struct comparing *comparing = userdata;
	struct image_pins *pins = comparing->pins;
	const struct image_pin *pin;

	switch (path->kind) {
	case CRIU_PATH_FILE: return file_compare(comparing, path->path);
	case CRIU_PATH_REMOVED: return removed_compare(comparing, path->path);
	case CRIU_PATH_SOCKET:
		pin = pins_find(pins, path->path);
		if (pin && (pin->kind == PIN_SOCKET || pin->kind == PIN_PEER))
			return 0;
		return pins_add_socket(pins, &comparing->paths, PIN_SOCKET, path->path, pins->of_user, comparing->why);
	case CRIU_PATH_OTHER:
		break;
	}
	if (!pins->of_user)
		return 0;
	return why_set(comparing->why, -EPERM, "it has %s, which CRIU makes anew as root, and it runs as another user", path->path);
}

/* Only a namespace of its own could give its user such a thing. */
static int namespaces_check(const struct image_pins *pins, const char *dir, struct why *why)
{
	DIR *stream = pins->of_user ? opendir(dir) : NULL;
	struct dirent *entry;
	int r = 0;

	if (!stream)
		return pins->of_user ? why_errno(why, -errno, "%s", dir) : 0;
	while (r == 0 && (entry = readdir(stream)))
		if (strncmp(entry->d_name, "userns-", 7) == 0 || strncmp(entry->d_name, "mountpoints-", 12) == 0)
			r = why_set(why, -EPERM, "it has a namespace of its own, and it runs as another user than root: CRIU "
				    "would make its mounts again as root");
	closedir(stream);
	return r;
}

int pins_compare_paths(struct image_pins *pins, const char *dir, struct why *why)
{
	struct comparing comparing = { .pins = pins, .why = why };
	int r = namespaces_check(pins, dir, why);

	if (r < 0)
		return r;
	safe_paths_init(&comparing.paths);
	r = criu_paths_read(dir, on_path, &comparing, why);
	safe_paths_done(&comparing.paths);
	/* Without that list CRIU finds no files either. Where somebody might climb that is not to be relied on. */
	return r == -ENOENT && !pins->of_user ? 0 : r;
}
