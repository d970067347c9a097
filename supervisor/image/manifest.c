/* SPDX-License-Identifier: MIT */
/*
 * The manifest: one `key=value` a line, text, because the person who looks into an image folder has nothing else to read.
 *
 *     format=2
 *     service=cached
 *     ...
 *     file=CHECKSUM SIZE NAME                                     CHECKSUM is - where there is none
 *     pin=KIND MATTERS SIZE MTIME_NS MODE DEVICE INODE PATH       MATTERS: s the size, t the time, - neither
 *     sum=CHECKSUM                                                of all bytes before this line
 *
 * In names and paths a backslash and what could end a line is written \ooo. Keys that are not known are passed over.
 */
#include "supervisor/image/dir.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_FORMAT 2
#define MANIFEST_MAX (16u << 20)
#define SUM_LINE (sizeof("sum=\n") - 1 + CHECKSUM_TEXT - 1)

/* ---- writing ---- */

static void escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f || c == '\\')
			fprintf(out, "\\%03o", c);
		else
			fputc(c, out);
	}
}

static void file_print(FILE *out, const struct image_file *file)
{
	char sum[CHECKSUM_TEXT];

	fprintf(out, "file=%s %" PRIu64 " ", file->is_summed ? checksum_text(&file->sum, sum) : "-", file->size_bytes);
	escaped(out, file->name);
	fputc('\n', out);
}

static void pin_print(FILE *out, const struct image_pin *pin)
{
	fprintf(out, "pin=%s %s%s%s %" PRIu64 " %" PRId64 " %o %" PRIu64 " %" PRIu64 " ", pin_kind_name(pin->kind),
		pin->size_matters ? "s" : "", pin->time_matters ? "t" : "", pin->size_matters || pin->time_matters ? "" : "-",
		pin->size_bytes, pin->mtime_ns, pin->mode, pin->device, pin->inode);
	escaped(out, pin->path);
	fputc('\n', out);
}

char *image_manifest_text(const struct image *image, size_t *ret_length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_length);
	bool failed;

	if (!out)
		return NULL;
	fprintf(out, "format=%d\nservice=%s\ngeneration=%" PRIu64 "\npid=%d\nversion=%s\ncontrol_inode=%llu\nstdout_inode=%llu\n"
		"stderr_inode=%llu\ntaken_at=%" PRId64 "\ntaken_in_us=%" PRIu64 "\nbytes=%" PRIu64 "\n", MANIFEST_FORMAT,
		image->service, image->generation, (int)image->pid, image->version, image->control_inode, image->stdout_inode,
		image->stderr_inode, image->taken_at_s, image->taken_in_us, image->size_bytes);
	for (size_t i = 0; i < image->n_files; i++)
		file_print(out, &image->files[i]);
	for (size_t i = 0; i < image->pins.n; i++)
		pin_print(out, &image->pins.pins[i]);
	failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

int image_manifest_write(const char *dir, const struct image *image, struct why *why)
{
	FD_CLEANUP int fd = -1;
	char path[PATH_MAX], line[SUM_LINE + 1], digits[CHECKSUM_TEXT];
	struct checksum sum;
	size_t length;
	char *text;
	int r;

	if (strchr(image->version, '\n') || strchr(image->service, '\n'))
		return why_set(why, -EINVAL, "line breaks in the name of a service or a version are not supported");
	snprintf(path, sizeof(path), "%s/" MANIFEST_NAME, dir);
	text = image_manifest_text(image, &length);
	if (!text)
		return why_errno(why, -ENOMEM, "cannot make %s", path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : length > MANIFEST_MAX - SUM_LINE ? -EFBIG : fd_write_all(fd, text, length, 0);
	sum = checksum_data(text, length);
	snprintf(line, sizeof(line), "sum=%s\n", checksum_text(&sum, digits));
	if (r == 0)
		r = fd_write_all(fd, line, SUM_LINE, 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	free(text);
	return r < 0 ? why_errno(why, r, "cannot write %s", path) : 0;
}

/* ---- reading ---- */

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
	/* Whatever is written there, all of them can be added up. */
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
	struct image_pin pin = { 0 };
	char *kind = word_take(&line, false), *matters = line ? word_take(&line, false) : NULL;
	uint64_t mode;
	bool known = false;
	int r;

	for (int i = PIN_EXE; kind && i <= PIN_OPEN; i++) {
		if (strcmp(kind, pin_kind_name((enum pin_kind)i)) == 0) {
			pin.kind = (enum pin_kind)i;
			known = true;
		}
	}
	if (!known || !matters || matters[strspn(matters, "st-")])
		return -EBADMSG;
	pin.size_matters = strchr(matters, 's') != NULL;
	pin.time_matters = strchr(matters, 't') != NULL;
	if (unsigned_take(&line, 10, &pin.size_bytes) < 0 || signed_take(&line, &pin.mtime_ns) < 0 ||
	    unsigned_take(&line, 8, &mode) < 0 || mode > UINT_MAX || unsigned_take(&line, 10, &pin.device) < 0 ||
	    unsigned_take(&line, 10, &pin.inode) < 0 || !line || !(pin.path = word_take(&line, true)) ||
	    unescape(pin.path) < 0 || pin.path[0] != '/')
		return -EBADMSG;
	pin.mode = (unsigned)mode;
	r = pins_add(&image->pins, &pin);
	return r == -E2BIG ? -EBADMSG : r;
}

enum field { FORMAT, GENERATION, PID, CONTROL, STDOUT, STDERR, TAKEN_AT, TAKEN_IN, BYTES, N_FIELDS };

static const char *const field_name[N_FIELDS] = {
	[FORMAT] = "format", [GENERATION] = "generation", [PID] = "pid", [CONTROL] = "control_inode", [STDOUT] = "stdout_inode",
	[STDERR] = "stderr_inode", [TAKEN_AT] = "taken_at", [TAKEN_IN] = "taken_in_us", [BYTES] = "bytes",
};

static int line_take(char *line, struct image *image, char **service, long long *number, bool *seen)
{
	char *value = strchr(line, '=');

	if (!value)
		return -EBADMSG;
	*value++ = '\0';
	if (strcmp(line, "version") == 0)
		return string_take(value, &image->version);
	if (strcmp(line, "service") == 0)
		return string_take(value, service);
	if (strcmp(line, "file") == 0)
		return file_take(value, image);
	if (strcmp(line, "pin") == 0)
		return pin_take(value, image);
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (strcmp(line, field_name[i]) != 0)
			continue;
		if (seen[i])
			return -EBADMSG;
		seen[i] = true;
		return number_take(value, i == TAKEN_AT ? LLONG_MIN : 0, &number[i]);
	}
	return 0;
}

/* An image in another's place would bring back what nobody asked for. */
static int identity_check(const struct image *image, const char *service, const long long *number, struct why *why)
{
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

static int lines_take(char *text, struct image *image, char **service, long long *number, bool *seen, struct why *why)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int r = line_take(line, image, service, number, seen);

		if (r < 0)
			return why_errno(why, r, "line '%.60s'", line);
	}
	for (size_t i = 0; i < N_FIELDS; i++)
		if (!seen[i])
			return why_set(why, -EBADMSG, "it has no %s", field_name[i]);
	return identity_check(image, *service, number, why);
}

int image_manifest_parse(char *text, struct image *image, struct why *why)
{
	long long number[N_FIELDS] = { 0 };
	bool seen[N_FIELDS] = { false };
	char *service = NULL;
	int r = lines_take(text, image, &service, number, seen, why);

	if (r < 0) {
		free(service);
		return r;
	}
	free(image->service);
	image->service = service;
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

/* The checksum is looked at before anything else is believed. */
static int sum_check(char *text, size_t length, struct why *why)
{
	struct checksum noted, sum;
	char *line = length < SUM_LINE ? NULL : text + length - SUM_LINE;

	if (!line || strncmp(line, "sum=", 4) != 0 || text[length - 1] != '\n')
		return why_set(why, -EBADMSG, "its end is missing");
	text[length - 1] = '\0';
	sum = checksum_data(text, length - SUM_LINE);
	if (checksum_parse(line + 4, &noted) < 0 || memcmp(&noted, &sum, sizeof(sum)) != 0)
		return why_set(why, -EBADMSG, "its checksum is wrong");
	*line = '\0';
	return 0;
}

static int text_read(int fd, char **ret_text, size_t *ret_length)
{
	struct stat st;
	size_t have = 0;
	char *text;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)MANIFEST_MAX)
		return -EBADMSG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (have < (size_t)st.st_size && (n = read(fd, text + have, (size_t)st.st_size - have)) > 0)
		have += (size_t)n;
	text[have] = '\0';
	*ret_text = text;
	*ret_length = have;
	return 0;
}

int image_manifest_read(const char *dir, struct image *image, struct why *why)
{
	FD_CLEANUP int fd = -1;
	char path[PATH_MAX], *text = NULL;
	size_t length = 0;
	int r;

	snprintf(path, sizeof(path), "%s/" MANIFEST_NAME, dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return why_errno(why, -errno, "no image: %s", path);
	r = text_read(fd, &text, &length);
	if (r < 0)
		return why_errno(why, r, "cannot read %s", path);
	r = memchr(text, '\0', length) ? why_set(why, -EBADMSG, "it is no text") : sum_check(text, length, why);
	if (r == 0)
		r = image_manifest_parse(text, image, why);
	free(text);
	return r < 0 ? why_prefix(why, r, "%s cannot be used", path) : 0;
}
