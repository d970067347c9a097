/* SPDX-License-Identifier: MIT */
/* What a process and its children use, found in /proc: executable, mappings, folders, descriptors. */
#include "supervisor/image/pins_private.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int maps_take(struct taking *taking)
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
		struct use use = { .kind = PIN_MAPPED, .number = -1, .size_matters = true };
		unsigned long from, to;
		struct stat link;

		if (sscanf(line, "%lx-%lx %4s %*x %15s %llu", &from, &to, perms, device, &inode) != 5 || !inode)
			continue;
		use.time_matters = perms[3] == 'p';
		if (inode == last && strcmp(device, last_device) == 0 && use.time_matters)
			continue; /* another mapping of the same file */
		last = use.time_matters ? inode : 0;
		memcpy(last_device, device, sizeof(device));
		snprintf(use.link, sizeof(use.link), "map_files/%lx-%lx", from, to);
		/* The rights of the link are those of the open file that was mapped. */
		use.map_writes = perms[3] == 's' && fstatat(taking->proc, use.link, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
				 (link.st_mode & S_IWUSR);
		r = pins_use(taking, &use);
	}
	free(line);
	fclose(file);
	return r;
}

static void fd_info(const struct taking *taking, struct use *use)
{
	char name[32], text[512];
	const char *line;

	snprintf(name, sizeof(name), "fdinfo/%d", use->number);
	(void)procfs_read_at(taking->proc, name, text, sizeof(text));
	line = strstr(text, "flags:");
	use->flags = line ? (unsigned)strtoul(line + 6, NULL, 8) : O_RDWR;
	line = strstr(text, "pos:");
	use->position = line ? strtoll(line + 4, NULL, 10) : 0;
}

/* There may be ten thousand of them, and how they were opened does not matter. */
static bool is_socket(const struct taking *taking, const char *link)
{
	char text[16];

	return readlinkat(taking->proc, link, text, sizeof(text)) > 8 && memcmp(text, "socket:[", 8) == 0;
}

static int fds_take(struct taking *taking)
{
	int fd = openat(taking->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!stream) {
		fd_close(fd);
		return why_errno(taking->why, -errno, "cannot see the descriptors of process %d", (int)taking->pid);
	}
	while (r == 0 && (entry = readdir(stream))) {
		struct use use = { .kind = PIN_OPEN, .flags = O_RDWR };

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		use.number = atoi(entry->d_name);
		snprintf(use.link, sizeof(use.link), "fd/%d", use.number);
		if (!is_socket(taking, use.link))
			fd_info(taking, &use);
		use.size_matters = !((use.flags & O_ACCMODE) == O_WRONLY && use.flags & O_APPEND);
		use.time_matters = (use.flags & O_ACCMODE) == O_RDONLY;
		r = pins_use(taking, &use);
	}
	closedir(stream);
	return r;
}

static int process_take(struct taking *taking, bool is_first)
{
	const struct use exe = { .kind = PIN_EXE, .link = "exe", .number = -1, .size_matters = true, .time_matters = true };
	const struct use cwd = { .kind = PIN_FOLDER, .link = "cwd", .number = -1 };
	const struct use root = { .kind = PIN_FOLDER, .link = "root", .number = -1 };
	int r;

	taking->of_user = !safe_process(taking->proc);
	taking->pins->of_user |= taking->of_user;
	r = pins_use(taking, &exe);
	if (r == 0 && is_first && !taking->pins->n)
		r = why_set(taking->why, -ESRCH, "process %d has no executable", (int)taking->pid);
	if (r == 0)
		r = maps_take(taking);
	if (r == 0)
		r = pins_use(taking, &cwd);
	if (r == 0)
		r = pins_use(taking, &root);
	return r == 0 ? fds_take(taking) : r;
}

/* ---- all of them ---- */

static int children_add(struct taking *taking, const char *text)
{
	for (char *end; *text; text = end) {
		long pid = strtol(text, &end, 10);

		if (end == text)
			break;
		if (taking->n_pids == PROCESSES_MAX)
			return why_set(taking->why, -E2BIG, "process %d and its children are more than %u processes",
				       (int)taking->spec->pid, PROCESSES_MAX);
		taking->pids[taking->n_pids++] = (pid_t)pid;
	}
	return 0;
}

static int children_list(struct taking *taking)
{
	int dir = openat(taking->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	char path[300], text[8192];
	struct dirent *entry;

	if (!stream) {
		fd_close(dir);
		return 0; /* it has ended */
	}
	while (r == 0 && (entry = readdir(stream))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", (int)taking->pid, entry->d_name);
		if (procfs_read(path, text, sizeof(text)) > 0)
			r = children_add(taking, text);
	}
	closedir(stream);
	return r;
}

static int processes_take(struct taking *taking)
{
	char path[32];
	int r = 0;

	taking->pids[0] = taking->spec->pid;
	taking->n_pids = 1;
	for (size_t i = 0; r == 0 && i < taking->n_pids; i++) {
		taking->pid = taking->pids[i];
		snprintf(path, sizeof(path), "/proc/%d", (int)taking->pid);
		taking->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (taking->proc < 0 && i > 0)
			continue; /* a child that has ended */
		if (taking->proc < 0)
			return why_errno(taking->why, -errno, "cannot look at process %d", (int)taking->pid);
		r = process_take(taking, i == 0);
		if (r == 0)
			r = children_list(taking);
		taking->proc = fd_close(taking->proc);
	}
	return r;
}

/* CRIU knows an inherited file by its path alone: what has one path must be one open file, and good for all its uses. */
static int held_check(const struct image_pin *pin, struct why *why)
{
	unsigned mode = pin->flags & O_ACCMODE;

	if (pin->n_opens > 1)
		return why_set(why, -EPERM, "it has %.200s open %u times, which lies where others than root could put something "
			       "else in its place: it can be handed to a restore as one open file only; open it once, or %s"
			       "", pin->path,
			       pin->n_opens, PINS_WAY_OUT);
	if (pin->n_opens && pin->is_mapped && (mode == O_WRONLY || (pin->map_writes && mode != O_RDWR)))
		return why_set(why, -EPERM, "it has %.200s mapped and open in two modes, and the file lies where others than root "
			       "could put something else in its place; %s", pin->path, PINS_WAY_OUT);
	return 0;
}

static int held_all_check(const struct taking *taking)
{
	size_t n = 0, bytes = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < taking->pins->n; i++) {
		const struct image_pin *pin = &taking->pins->pins[i];

		if (!pin->is_held)
			continue;
		r = held_check(pin, taking->why);
		n++;
		bytes += strlen(pin->path) + 16;
	}
	if (r == 0 && (n > IMAGE_PINS_HELD_MAX || bytes > IMAGE_PINS_HELD_BYTES))
		r = why_set(taking->why, -E2BIG, "it uses %zu files in folders that others than root can change, and %u can be "
			    "held; %s", n,
			    IMAGE_PINS_HELD_MAX, PINS_WAY_OUT);
	return r < 0 ? why_prefix(taking->why, r, "process %d", (int)taking->spec->pid) : 0;
}

static int compare_number(const void *a, const void *b)
{
	unsigned long long one = *(const unsigned long long *)a, two = *(const unsigned long long *)b;

	return (one > two) - (one < two);
}

int pins_take(const struct pins_spec *spec, struct image_pins *ret, struct why *why)
{
	struct taking *taking = calloc(1, sizeof(*taking));
	int r;

	if (!taking)
		return why_errno(why, -ENOMEM, "files of process %d", (int)spec->pid);
	taking->spec = spec;
	taking->pins = ret;
	taking->why = why;
	taking->proc = -1;
	safe_paths_init(&taking->paths);
	taking->known = calloc(spec->n_known + 1, sizeof(*taking->known));
	r = taking->known ? 0 : why_errno(why, -ENOMEM, "files of process %d", (int)spec->pid);
	if (r == 0 && spec->n_known) {
		memcpy(taking->known, spec->known, spec->n_known * sizeof(*taking->known));
		qsort(taking->known, spec->n_known, sizeof(*taking->known), compare_number);
	}
	if (r == 0)
		r = processes_take(taking);
	if (r == 0)
		r = held_all_check(taking);
	safe_paths_done(&taking->paths);
	unix_sockets_done(&taking->sockets);
	fd_close(taking->proc);
	free(taking->known);
	free(taking);
	return r;
}
