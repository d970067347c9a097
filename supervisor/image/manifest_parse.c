/* SPDX-License-Identifier: MIT */
/* The lines of a manifest, read with suspicion: whatever stands there, what comes out is either refused or whole. */
#include "supervisor/image/manifest.h"

#include "base/why.h"
#include "supervisor/image/image.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int number_take(const char *value, long long low, long long *ret)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(value, &end, 10);
	if (errno || end == value || *end || number < low)
		return -EBADMSG;
	*ret = number;
	return 0;
}

static int string_take(const char *value, char **ret)
{
	char *copy;

	if (*ret || !*value)
		return -EBADMSG;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

/* In place. */
static int unescape(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		int value = 0;

		if (*at != '\\') {
			*to++ = *at;
			continue;
		}
		for (int i = 0; i < 3; i++) {
			at++;
			if (*at < '0' || *at > '7')
				return -EBADMSG;
			value = value * 8 + (*at - '0');
		}
		if (value == 0 || value > 0xff)
			return -EBADMSG;
		*to++ = (char)value;
	}
	*to = '\0';
	return 0;
}

/* The next word of a line, or with @rest all that is left of it. */
static char *word_take(char **line, bool rest)
{
	char *word = *line, *end = rest ? NULL : strchr(word, ' ');

	if (end)
		*end++ = '\0';
	*line = end;
	return *word && (end || rest) ? word : NULL;
}

static int unsigned_take(char **line, int base, uint64_t *ret)
{
	char *word = *line ? word_take(line, false) : NULL, *end;

	/* strtoull() would take a sign. */
	if (!word || *word < '0' || *word > '9')
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(word, &end, base);
	return errno || *end ? -EBADMSG : 0;
}

static int signed_take(char **line, int64_t *ret)
{
	char *word = *line ? word_take(line, false) : NULL;
	long long number;

	if (!word || number_take(word, LLONG_MIN, &number) < 0)
		return -EBADMSG;
	*ret = number;
	return 0;
}

static bool is_file_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strlen(name) <= NAME_MAX;
}

static int file_take(char *line, struct image *image)
{
	struct image_file file = { 0 }, *more;
	char *sum = word_take(&line, false), *name;

	if (!sum || (strcmp(sum, "-") != 0 && checksum_parse(sum, &file.sum) < 0))
		return -EBADMSG;
	file.is_summed = *sum != '-';
	if (unsigned_take(&line, 10, &file.size_bytes) < 0 || !line || !(name = word_take(&line, true)) || unescape(name) < 0 ||
	    !is_file_name(name) || image->n_files == IMAGE_FILES_MAX)
		return -EBADMSG;
	/* So that the sizes of all files can be added up, whatever is written there. */
	if (file.size_bytes > INT64_MAX / IMAGE_FILES_MAX)
		return -EBADMSG;
	if ((image->n_files & (image->n_files - 1)) == 0) { /* it is full at each power of two */
		more = reallocarray(image->files, image->n_files ? 2 * image->n_files : 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		image->files = more;
	}
	file.name = strdup(name);
	if (!file.name)
		return -ENOMEM;
	image->files[image->n_files++] = file;
	return 0;
}

static int pin_take(char *line, struct image *image)
{
	struct image_pin pin = { .fd = -1 };
	char *kind = word_take(&line, false), *matters = line ? word_take(&line, false) : NULL;
	uint64_t mode, uid, gid;
	bool known = false;
	int r;

	for (int i = PIN_EXE; kind && i < (int)PIN_KINDS; i++) {
		if (strcmp(kind, pin_kind_name((enum pin_kind)i)) == 0) {
			pin.kind = (enum pin_kind)i;
			known = true;
		}
	}
	if (!known || !matters || matters[strspn(matters, "stih-")])
		return -EBADMSG;
	pin.size_matters = strchr(matters, 's') != NULL;
	pin.time_matters = strchr(matters, 't') != NULL;
	pin.same_file = strchr(matters, 'i') != NULL;
	pin.is_held = strchr(matters, 'h') != NULL;
	if (unsigned_take(&line, 10, &pin.size_bytes) < 0 || signed_take(&line, &pin.mtime_ns) < 0 ||
	    unsigned_take(&line, 8, &mode) < 0 || mode > UINT_MAX || unsigned_take(&line, 10, &pin.device) < 0 ||
	    unsigned_take(&line, 10, &pin.inode) < 0 || unsigned_take(&line, 10, &uid) < 0 || uid > UINT_MAX ||
	    unsigned_take(&line, 10, &gid) < 0 || gid > UINT_MAX || !line || !(pin.path = word_take(&line, true)) ||
	    unescape(pin.path) < 0 || (pin.path[0] != '/' && (pin.kind != PIN_PIPE || strncmp(pin.path, "pipe:[", 6) != 0)))
		return -EBADMSG;
	pin.mode = (unsigned)mode;
	pin.uid = (unsigned)uid;
	pin.gid = (unsigned)gid;
	r = pins_add(&image->pins, &pin);
	return r == -E2BIG ? -EBADMSG : r;
}

enum field { FORMAT, GENERATION, PID, CONTROL, STDOUT, STDERR, TAKEN_AT, TAKEN_IN, BYTES, N_FIELDS };

static const char *const field_name[N_FIELDS] = {
	[FORMAT] = "format", [GENERATION] = "generation", [PID] = "pid", [CONTROL] = "control_inode", [STDOUT] = "stdout_inode",
	[STDERR] = "stderr_inode", [TAKEN_AT] = "taken_at", [TAKEN_IN] = "taken_in_us", [BYTES] = "bytes",
};

/* What was read so far. */
struct reading {
	struct image *image;
	char *service;
	long long number[N_FIELDS];
	bool seen[N_FIELDS];
};

static int line_take(struct reading *reading, char *line)
{
	char *value = strchr(line, '=');

	if (!value)
		return -EBADMSG;
	*value++ = '\0';
	if (strcmp(line, "version") == 0)
		return string_take(value, &reading->image->version);
	if (strcmp(line, "service") == 0)
		return string_take(value, &reading->service);
	if (strcmp(line, "file") == 0)
		return file_take(value, reading->image);
	if (strcmp(line, "pin") == 0)
		return pin_take(value, reading->image);
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (strcmp(line, field_name[i]) != 0)
			continue;
		if (reading->seen[i])
			return -EBADMSG;
		reading->seen[i] = true;
		return number_take(value, i == TAKEN_AT ? LLONG_MIN : 0, &reading->number[i]);
	}
	return 0;
}

/* An image in another one's place would bring back a process that nobody asked for. */
static int identity_check(const struct reading *reading, struct why *why)
{
	const struct image *image = reading->image;
	const char *service = reading->service;
	const long long *number = reading->number;

	if (number[FORMAT] != MANIFEST_FORMAT)
		return why_set(why, -EBADMSG, "it has format %lld, not %d: another release of upgraded wrote it", number[FORMAT],
			       MANIFEST_FORMAT);
	if (number[PID] < 1 || number[PID] > INT_MAX)
		return why_set(why, -EBADMSG, "pid %lld", number[PID]);
	if (!image->version || !service || !pins_exe(&image->pins) || !image->n_files)
		return why_set(why, -EBADMSG, "it has no %s", !image->version ? "version" : !service ? "service" :
			       image->n_files ? "executable" : "files");
	if ((image->service && strcmp(image->service, service) != 0) ||
	    (image->generation && image->generation != (uint64_t)number[GENERATION]))
		return why_set(why, -EBADMSG, "it is about image %lld of %s", number[GENERATION], service);
	return 0;
}

static int lines_take(struct reading *reading, char *text, struct why *why)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int r = line_take(reading, line);

		if (r < 0)
			return why_errno(why, r, "line '%.60s'", line);
	}
	for (size_t i = 0; i < N_FIELDS; i++)
		if (!reading->seen[i])
			return why_set(why, -EBADMSG, "it has no %s", field_name[i]);
	return identity_check(reading, why);
}

int image_manifest_parse(char *text, struct image *image, struct why *why)
{
	struct reading reading = { .image = image };
	const long long *number = reading.number;
	int r = lines_take(&reading, text, why);

	if (r < 0) {
		free(reading.service);
		return r;
	}
	free(image->service);
	image->service = reading.service;
	image->generation = (uint64_t)number[GENERATION];
	image->pid = (pid_t)number[PID];
	image->control_inode = (unsigned long long)number[CONTROL];
	image->stdout_inode = (unsigned long long)number[STDOUT];
	image->stderr_inode = (unsigned long long)number[STDERR];
	image->taken_at_s = number[TAKEN_AT];
	image->taken_in_us = (uint64_t)number[TAKEN_IN];
	image->size_bytes = (uint64_t)number[BYTES];
	return 0;
}
