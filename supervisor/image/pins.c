/* SPDX-License-Identifier: MIT */
/*
 * Which changes of a file matter:
 *   mode   always: CRIU compares it
 *   size   always, except of a file that is open with O_WRONLY|O_APPEND: CRIU compares it
 *   time   of the executable and of private mappings: pages that were not touched yet will come from the file. The process itself
 *          changes the time of a file that it writes. A shared mapping and a descriptor for reading show changes of the file as
 *          they come, so there the time matters only together with another inode: then it is another file.
 *   inode  not by itself: a file that was put back with its time is as good as the one before.
 */
#include "supervisor/image/pins.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/criu/criu.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *pin_kind_name(enum pin_kind kind)
{
	static const char *const names[] = { [PIN_EXE] = "exe", [PIN_MAPPED] = "mapped", [PIN_OPEN] = "open" };

	return names[kind];
}

static const char *spoken(enum pin_kind kind)
{
	static const char *const names[] = { [PIN_EXE] = "executable", [PIN_MAPPED] = "mapped file", [PIN_OPEN] = "open file" };

	return names[kind];
}

int pins_add(struct image_pins *pins, const struct image_pin *pin)
{
	if (pins->n == IMAGE_PINS_MAX)
		return -E2BIG;
	if (pins->n == pins->room) {
		size_t room = pins->room ? 2 * pins->room : 64;
		struct image_pin *more = reallocarray(pins->pins, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		pins->pins = more;
		pins->room = room;
	}
	pins->pins[pins->n] = *pin;
	pins->pins[pins->n].path = strdup(pin->path);
	if (!pins->pins[pins->n].path)
		return -ENOMEM;
	pins->n++;
	return 0;
}

void pins_done(struct image_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++)
		free(pins->pins[i].path);
	free(pins->pins);
	*pins = (struct image_pins){ 0 };
}

const char *pins_exe(const struct image_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++)
		if (pins->pins[i].kind == PIN_EXE)
			return pins->pins[i].path;
	return NULL;
}

/* ---- taking ---- */

struct taking {
	int proc; /* /proc/PID */
	pid_t pid;
	struct image_pins *pins;
	struct why *why;
};

/* One use of a file: by which link of /proc/PID, and what of it matters. */
struct use {
	enum pin_kind kind;
	char link[64];
	bool size_matters, time_matters;
};

static int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static struct image_pin *pin_find(const struct image_pins *pins, const char *path)
{
	for (size_t i = pins->n; i > 0; i--)
		if (strcmp(pins->pins[i - 1].path, path) == 0)
			return &pins->pins[i - 1];
	return NULL;
}

/* A file may be used in two ways. The size matters if it does in one of them; the time matters only if it does in both, as a file
 * that the process writes changes its time. */
static int use_note(const struct taking *taking, const struct use *use, const char *path, const struct stat *st)
{
	struct image_pin *known = pin_find(taking->pins, path);
	struct image_pin pin = { .kind = use->kind, .path = (char *)(uintptr_t)path, .size_bytes = (uint64_t)st->st_size,
				 .mtime_ns = mtime_ns(st), .device = st->st_dev, .inode = st->st_ino, .mode = st->st_mode,
				 .size_matters = use->size_matters, .time_matters = use->time_matters };
	int r;

	if (known) {
		known->size_matters |= use->size_matters;
		known->time_matters &= use->time_matters;
		return 0;
	}
	r = pins_add(taking->pins, &pin);
	if (r == -E2BIG)
		return why_set(taking->why, r, "process %d uses more than %u files", (int)taking->pid, IMAGE_PINS_MAX);
	return r < 0 ? why_errno(taking->why, r, "files of process %d", (int)taking->pid) : 0;
}

static bool is_memory(const char *path)
{
	static const char *const kinds[] = { "/memfd:", "/dev/zero", "/SYSV", "/anon_hugepage", "/[aio]" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(path, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

/* The link in /proc leads to the file itself, wherever it lies by now. The path leads to the file that CRIU will find. */
static int use_take(const struct taking *taking, const struct use *use)
{
	char path[PATH_MAX];
	struct stat own, named;
	ssize_t n = readlinkat(taking->proc, use->link, path, sizeof(path) - 1);

	if (n < 0)
		return errno == ENOENT ? 0 : why_errno(taking->why, -errno, "process %d: %s", (int)taking->pid, use->link);
	path[n] = '\0';
	if (path[0] != '/' || is_memory(path))
		return 0;
	if (fstatat(taking->proc, use->link, &own, 0) < 0)
		return errno == ENOENT ? 0 : why_errno(taking->why, -errno, "process %d: %s", (int)taking->pid, path);
	if (!S_ISREG(own.st_mode))
		return 0;
	if (stat(path, &named) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino)
		return use_note(taking, use, path, &own);
	if (use->kind == PIN_EXE)
		return why_set(taking->why, -ESTALE, "process %d: its executable %s was replaced or removed while it runs; a "
			       "version has to keep a path of its own while it may be needed", (int)taking->pid, path);
	if (own.st_nlink == 0 && (uint64_t)own.st_blocks * 512 <= CRIU_GHOST_LIMIT_BYTES)
		return 0; /* it lies in the image */
	if (own.st_nlink == 0)
		return why_set(taking->why, -ESTALE, "process %d: its %s %s takes %lld bytes on disk, and a removed file goes "
			       "into an image only up to %u", (int)taking->pid, spoken(use->kind), path,
			       (long long)own.st_blocks * 512, CRIU_GHOST_LIMIT_BYTES);
	return why_set(taking->why, -ESTALE, "process %d: its %s %s is not what is found under this name: it was renamed, "
		       "replaced or hidden by a mount", (int)taking->pid, spoken(use->kind), path);
}

static int maps_take(const struct taking *taking)
{
	int fd = openat(taking->proc, "maps", O_RDONLY | O_CLOEXEC), r = 0;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
	unsigned long long inode, last = 0;
	char *line = NULL, perms[5], device[16], last_device[16] = "";
	size_t room = 0;

	if (!file) {
		fd_close(fd);
		return why_errno(taking->why, -errno, "cannot see the mappings of process %d", (int)taking->pid);
	}
	while (r == 0 && getline(&line, &room, file) > 0) {
		struct use use = { .kind = PIN_MAPPED, .size_matters = true };
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx %4s %*x %15s %llu", &from, &to, perms, device, &inode) != 5 || !inode)
			continue;
		use.time_matters = perms[3] == 'p';
		if (inode == last && strcmp(device, last_device) == 0 && use.time_matters)
			continue; /* another mapping of the same file */
		last = use.time_matters ? inode : 0;
		memcpy(last_device, device, sizeof(device));
		snprintf(use.link, sizeof(use.link), "map_files/%lx-%lx", from, to);
		r = use_take(taking, &use);
	}
	free(line);
	fclose(file);
	return r;
}

static unsigned fd_flags(const struct taking *taking, int number)
{
	char name[32], text[512];
	FD_CLEANUP int fd = -1;
	const char *flags;
	ssize_t n;

	snprintf(name, sizeof(name), "fdinfo/%d", number);
	fd = openat(taking->proc, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	flags = strstr(text, "flags:");
	return flags ? (unsigned)strtoul(flags + 6, NULL, 8) : O_RDWR;
}

static int fds_take(const struct taking *taking)
{
	int fd = openat(taking->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!stream) {
		fd_close(fd);
		return why_errno(taking->why, -errno, "cannot see the descriptors of process %d", (int)taking->pid);
	}
	while (r == 0 && (entry = readdir(stream))) {
		struct use use = { .kind = PIN_OPEN };
		struct stat st;
		unsigned flags;

		snprintf(use.link, sizeof(use.link), "fd/%.40s", entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) || fstatat(taking->proc, use.link, &st, 0) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		flags = fd_flags(taking, atoi(entry->d_name));
		use.size_matters = !((flags & O_ACCMODE) == O_WRONLY && flags & O_APPEND);
		use.time_matters = (flags & O_ACCMODE) == O_RDONLY;
		r = use_take(taking, &use);
	}
	closedir(stream);
	return r;
}

int pins_take(pid_t pid, struct image_pins *ret, struct why *why)
{
	struct taking taking = { .pid = pid, .pins = ret, .why = why };
	struct use exe = { .kind = PIN_EXE, .link = "exe", .size_matters = true, .time_matters = true };
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	taking.proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (taking.proc < 0)
		return why_errno(why, -errno, "cannot look at process %d", (int)pid);
	r = use_take(&taking, &exe);
	if (r == 0 && !ret->n)
		r = why_set(why, -ESRCH, "process %d has no executable", (int)pid);
	if (r == 0)
		r = maps_take(&taking);
	if (r == 0)
		r = fds_take(&taking);
	fd_close(taking.proc);
	return r;
}

/* ---- checking ---- */

static int pin_check(const struct image_pin *pin, struct why *why)
{
	const char *what = spoken(pin->kind);
	struct stat st;
	bool other;

	if (stat(pin->path, &st) < 0)
		return why_set(why, -errno, "its %s %s: %s; put the file of that version back", what, pin->path, strerror(errno));
	if (pin->size_matters && (uint64_t)st.st_size != pin->size_bytes)
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken: it has %lld bytes and had %" PRIu64
			       "; put the file of that version back", what, pin->path, (long long)st.st_size, pin->size_bytes);
	other = st.st_dev != pin->device || st.st_ino != pin->inode;
	if (pin->time_matters && mtime_ns(&st) != pin->mtime_ns && (pin->kind != PIN_OPEN || other))
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken, though it still has %" PRIu64
			       " bytes; put the file of that version back, with its time (cp -p)", what, pin->path,
			       pin->size_bytes);
	if (st.st_mode != pin->mode)
		return why_set(why, -ESTALE, "its %s %s was changed since the image was taken: it has mode %o and had %o; give it "
			       "that mode back", what, pin->path, st.st_mode, pin->mode);
	return 0;
}

int pins_check(const struct image_pins *pins, struct why *why)
{
	for (size_t i = 0; i < pins->n; i++) {
		int r = pin_check(&pins->pins[i], why);

		if (r < 0)
			return r;
	}
	return 0;
}
