/* SPDX-License-Identifier: MIT */
/*
 * The manifest: one `key=value` a line, text, because the person who looks into an image folder has nothing else to read.
 *
 *     format=3
 *     service=cached
 *     ...
 *     file=CHECKSUM SIZE NAME                                     CHECKSUM is - where there is none
 *     pin=KIND MATTERS SIZE MTIME_NS MODE DEVICE INODE UID GID PATH
 *                                    MATTERS: s the size, t the time, i the very inode; h: held by a descriptor; - none of these
 *     sum=CHECKSUM                                                of all bytes before this line
 *
 * In names and paths a backslash and every control character is written \ooo. Unknown keys are passed over.
 */
#include "supervisor/image/manifest.h"

#include "base/fd.h"
#include "base/text_out.h"
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

#define MANIFEST_MAX (16u << 20)
#define SUM_LINE (sizeof("sum=\n") - 1 + CHECKSUM_TEXT - 1)

/* ---- writing ---- */

static void escaped(struct text_out *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f || c == '\\')
			text_out_print(out, "\\%03o", c);
		else
			text_out_char(out, (char)c);
	}
}

static void file_print(struct text_out *out, const struct image_file *file)
{
	char sum[CHECKSUM_TEXT];

	text_out_print(out, "file=%s %" PRIu64 " ", file->is_summed ? checksum_text(&file->sum, sum) : "-", file->size_bytes);
	escaped(out, file->name);
	text_out_char(out, '\n');
}

static void pin_print(struct text_out *out, const struct image_pin *pin)
{
	bool any = pin->size_matters || pin->time_matters || pin->same_file || pin->is_held;

	text_out_print(out, "pin=%s %s%s%s%s%s %" PRIu64 " %" PRId64 " %o %" PRIu64 " %" PRIu64 " %u %u ",
		       pin_kind_name(pin->kind), pin->size_matters ? "s" : "", pin->time_matters ? "t" : "",
		       pin->same_file ? "i" : "", pin->is_held ? "h" : "", any ? "" : "-", pin->size_bytes, pin->mtime_ns,
		       pin->mode, pin->device, pin->inode, pin->uid, pin->gid);
	escaped(out, pin->path);
	text_out_char(out, '\n');
}

char *image_manifest_text(const struct image *image, size_t *ret_length)
{
	struct text_out out = { 0 };
	char *text;

	text_out_print(&out, "format=%d\nservice=%s\ngeneration=%" PRIu64 "\npid=%d\nversion=%s\n", MANIFEST_FORMAT, image->service,
		       image->generation, (int)image->pid, image->version);
	text_out_print(&out, "control_inode=%llu\nstdout_inode=%llu\nstderr_inode=%llu\n", image->control_inode,
		       image->stdout_inode, image->stderr_inode);
	text_out_print(&out, "taken_at=%" PRId64 "\ntaken_in_us=%" PRIu64 "\nbytes=%" PRIu64 "\n", image->taken_at_s,
		       image->taken_in_us, image->size_bytes);
	for (size_t i = 0; i < image->n_files; i++)
		file_print(&out, &image->files[i]);
	for (size_t i = 0; i < image->pins.n; i++)
		pin_print(&out, &image->pins.pins[i]);
	return text_out_take(&out, &text, ret_length) < 0 ? NULL : text;
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
	free(text);
	return r < 0 ? why_errno(why, r, "cannot write %s", path) : 0;
}

/* ---- reading ---- */

/* The checksum is compared before a line is parsed. It ends the text, and is cut off here. */
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

/* Return: the text, the caller's to free; NULL with *@ret_error. */
static char *text_read(int fd, size_t *ret_length, int *ret_error)
{
	struct stat st;
	size_t have = 0;
	char *text = NULL;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		*ret_error = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size > (off_t)MANIFEST_MAX)
		*ret_error = -EBADMSG;
	else if (!(text = malloc((size_t)st.st_size + 1)))
		*ret_error = -ENOMEM;
	if (!text)
		return NULL;
	while (have < (size_t)st.st_size && (n = read(fd, text + have, (size_t)st.st_size - have)) > 0)
		have += (size_t)n;
	text[have] = '\0';
	*ret_length = have;
	return text;
}

int image_manifest_read(const char *dir, struct image *image, struct why *why)
{
	FD_CLEANUP int fd = -1;
	char path[PATH_MAX], *text;
	size_t length = 0;
	int r = 0;

	snprintf(path, sizeof(path), "%s/" MANIFEST_NAME, dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return why_errno(why, -errno, "no image: %s", path);
	text = text_read(fd, &length, &r);
	if (!text)
		return why_errno(why, r, "cannot read %s", path);
	r = memchr(text, '\0', length) ? why_set(why, -EBADMSG, "it is no text") : sum_check(text, length, why);
	if (r == 0)
		r = image_manifest_parse(text, image, why);
	free(text);
	return r < 0 ? why_prefix(why, r, "%s cannot be used", path) : 0;
}
