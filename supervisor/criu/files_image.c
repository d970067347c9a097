/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/files_image.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_IMAGE_MAX (64u << 20)

/* CRIU's numbers. */
enum { MAGIC_COMMON = 0x54564319, MAGIC_FILES = 0x56303138, MAGIC_REMAPS = 0x59133954 };
enum { FILE_TYPE = 1, FILE_ID = 2, FILE_REG = 3, FILE_UNIX = 16 };
enum { REG_NAME = 6 };
enum { UNIX_NAME = 11 };
enum { REMAP_OF = 1, REMAP_TYPE = 3 };
enum { REMAP_GHOST = 1 };
/* Types of files: */
enum { TYPE_REG = 1, TYPE_UNIX = 5, TYPE_INOTIFY = 8, TYPE_FANOTIFY = 12, TYPE_NS = 14, TYPE_TUN = 15, TYPE_EXTERNAL = 16,
       TYPE_KNOWN_MAX = 20 };

/* ---- packed messages ---- */

struct bytes {
	const uint8_t *at;
	size_t n;
};

static bool varint_take(struct bytes *bytes, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && bytes->n; shift += 7) {
		uint8_t byte = *bytes->at;

		bytes->at++;
		bytes->n--;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

struct field {
	uint64_t number;
	uint64_t value;     /* of a number */
	struct bytes bytes; /* of a string or a message */
};

static bool field_take(struct bytes *bytes, struct field *ret)
{
	uint64_t key, length = 0;

	*ret = (struct field){ 0 };
	if (!varint_take(bytes, &key))
		return false;
	ret->number = key >> 3;
	switch (key & 7) {
	case 0: return varint_take(bytes, &ret->value);
	case 1: length = 8; break;
	case 2:
		if (!varint_take(bytes, &length))
			return false;
		break;
	case 5: length = 4; break;
	default: return false;
	}
	if (length > bytes->n)
		return false;
	ret->bytes = (struct bytes){ bytes->at, (size_t)length };
	bytes->at += length;
	bytes->n -= (size_t)length;
	return true;
}

/* The last field of that number. Return: 1; 0: there is none; -EBADMSG. */
static int field_find(struct bytes message, uint64_t number, struct field *ret)
{
	struct field field;
	int found = 0;

	while (message.n) {
		if (!field_take(&message, &field))
			return -EBADMSG;
		if (field.number != number)
			continue;
		*ret = field;
		found = 1;
	}
	return found;
}

/* ---- files of entries ---- */

struct entries {
	uint8_t *data;
	struct bytes rest;
};

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* Return: 0; -ENOENT; -EBADMSG; -errno. */
static int entries_open(const char *dir, const char *name, uint32_t magic, struct entries *ret)
{
	FD_CLEANUP int fd = -1;
	char path[PATH_MAX];
	size_t have = 0;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 8 || st.st_size > (off_t)FILES_IMAGE_MAX)
		return -EBADMSG;
	ret->data = malloc((size_t)st.st_size);
	if (!ret->data)
		return -ENOMEM;
	while (have < (size_t)st.st_size && (n = read(fd, ret->data + have, (size_t)st.st_size - have)) > 0)
		have += (size_t)n;
	if (have < 8 || word(ret->data) != MAGIC_COMMON || word(ret->data + 4) != magic)
		return -EBADMSG;
	ret->rest = (struct bytes){ ret->data + 8, have - 8 };
	return 0;
}

/* Return: 1; 0: that was the last; -EBADMSG. */
static int entry_next(struct entries *entries, struct bytes *ret)
{
	uint32_t size;

	if (entries->rest.n == 0)
		return 0;
	if (entries->rest.n < 4 || (size = word(entries->rest.at)) > entries->rest.n - 4)
		return -EBADMSG;
	*ret = (struct bytes){ entries->rest.at + 4, size };
	entries->rest.at += 4 + size;
	entries->rest.n -= 4 + size;
	return 1;
}

/* ---- what they say ---- */

struct reading {
	int (*on_path)(const struct criu_path *path, void *userdata);
	void *userdata;
	uint32_t *ghosts; /* ids of files that were removed, sorted */
	size_t n_ghosts;
};

static int compare_id(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, two = *(const uint32_t *)b;

	return (one > two) - (one < two);
}

static int ghosts_read(struct reading *reading, const char *dir)
{
	struct entries entries = { 0 };
	struct field of, type = { 0 };
	struct bytes entry;
	int r = entries_open(dir, "remap-fpath.img", MAGIC_REMAPS, &entries);

	while (r >= 0 && (r = entry_next(&entries, &entry)) > 0) {
		uint32_t *more;

		if (field_find(entry, REMAP_OF, &of) != 1 || field_find(entry, REMAP_TYPE, &type) < 0)
			r = -EBADMSG;
		if (r < 0 || type.value != REMAP_GHOST)
			continue;
		more = reallocarray(reading->ghosts, reading->n_ghosts + 1, sizeof(*more));
		if (!more) {
			r = -ENOMEM;
			continue;
		}
		reading->ghosts = more;
		more[reading->n_ghosts++] = (uint32_t)of.value;
	}
	free(entries.data);
	if (reading->n_ghosts)
		qsort(reading->ghosts, reading->n_ghosts, sizeof(*reading->ghosts), compare_id);
	return r == -ENOENT ? 0 : r;
}

static bool is_ghost(const struct reading *reading, uint32_t id)
{
	return reading->n_ghosts && bsearch(&id, reading->ghosts, reading->n_ghosts, sizeof(id), compare_id);
}

static int path_tell(const struct reading *reading, enum criu_path_kind kind, struct bytes name)
{
	struct criu_path path = { .kind = kind };
	char text[PATH_MAX];

	if (name.n >= sizeof(text) || memchr(name.at, '\0', name.n))
		return -EBADMSG;
	memcpy(text, name.at, name.n);
	text[name.n] = '\0';
	path.path = text;
	return reading->on_path(&path, reading->userdata);
}

static int other_tell(const struct reading *reading, uint64_t type)
{
	static const char *const names[] = {
		[TYPE_INOTIFY] = "inotify", [TYPE_FANOTIFY] = "fanotify", [TYPE_NS] = "a namespace", [TYPE_TUN] = "a tun device",
		[TYPE_EXTERNAL] = "a file of a plugin of CRIU",
	};
	const char *name = type <= TYPE_EXTERNAL ? names[type] : NULL;

	if (!name && type <= TYPE_KNOWN_MAX)
		return 0;
	return reading->on_path(&(struct criu_path){ .kind = CRIU_PATH_OTHER, .path = name ? name : "something unknown" },
				reading->userdata);
}

static int file_read(const struct reading *reading, struct bytes entry)
{
	struct field type, id, file, name;
	bool is_reg;

	if (field_find(entry, FILE_TYPE, &type) != 1 || field_find(entry, FILE_ID, &id) != 1)
		return -EBADMSG;
	is_reg = type.value == TYPE_REG;
	if (!is_reg && type.value != TYPE_UNIX)
		return other_tell(reading, type.value);
	if (field_find(entry, is_reg ? FILE_REG : FILE_UNIX, &file) != 1 ||
	    field_find(file.bytes, is_reg ? REG_NAME : UNIX_NAME, &name) != 1)
		return -EBADMSG;
	if (is_reg)
		return path_tell(reading, is_ghost(reading, (uint32_t)id.value) ? CRIU_PATH_REMOVED : CRIU_PATH_FILE, name.bytes);
	if (name.bytes.n == 0 || name.bytes.at[0] == '\0')
		return 0; /* no name, or an abstract one */
	if (name.bytes.at[name.bytes.n - 1] == '\0')
		name.bytes.n--;
	return path_tell(reading, CRIU_PATH_SOCKET, name.bytes);
}

int criu_paths_read(const char *dir, int (*on_path)(const struct criu_path *path, void *userdata), void *userdata, struct why *why)
{
	struct reading reading = { .on_path = on_path, .userdata = userdata };
	struct entries entries = { 0 };
	struct bytes entry;
	bool theirs = false;
	int r = ghosts_read(&reading, dir);

	if (r == 0)
		r = entries_open(dir, "files.img", MAGIC_FILES, &entries);
	while (r >= 0 && (r = entry_next(&entries, &entry)) > 0) {
		r = file_read(&reading, entry);
		theirs = r < 0 && r != -EBADMSG;
	}
	free(entries.data);
	free(reading.ghosts);
	return r < 0 && !theirs ? why_errno(why, r, "CRIU's list of files in %s", dir) : r;
}
