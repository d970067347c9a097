/* SPDX-License-Identifier: MIT */
/* Any text as the manifest of an image. Its checksum is not asked for: what the text says has to be harmless by itself. */
#include "base/why.h"
#include "supervisor/image/manifest.h"
#include "supervisor/image/image.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a reader relies on in a manifest that was accepted. */
static void image_visit(const struct image *image)
{
	if (!image->service || !image->version || !*image->service || !*image->version || image->pid < 1 || !image->n_files ||
	    image->n_files > IMAGE_FILES_MAX || image->pins.n > IMAGE_PINS_MAX || !pins_exe(&image->pins))
		abort();
	for (size_t i = 0; i < image->n_files; i++)
		if (!*image->files[i].name || strchr(image->files[i].name, '/') || strcmp(image->files[i].name, "..") == 0)
			abort();
	for (size_t i = 0; i < image->pins.n; i++)
		if (image->pins.pins[i].path[0] != '/')
			abort();
}

static struct image *image_of(const char *text, size_t length)
{
	struct image *image = calloc(1, sizeof(*image));
	char *copy = malloc(length + 1);
	struct why why = { 0 };

	if (!image || !copy)
		abort();
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (image_manifest_parse(copy, image, &why) < 0) {
		if (!*why.text)
			abort();
		image = image_free(image);
	}
	free(copy);
	return image;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image *image, *again;
	size_t length, length_again;
	char *text, *text_again;

	if (memchr(data, 0, size))
		return 0;
	image = image_of((const char *)data, size);
	if (!image)
		return 0;
	image_visit(image);
	/* What was understood is written, and understood the same way. */
	text = image_manifest_text(image, &length);
	if (!text)
		abort();
	again = image_of(text, length);
	if (!again)
		abort();
	text_again = image_manifest_text(again, &length_again);
	if (!text_again || length != length_again || memcmp(text, text_again, length) != 0)
		abort();
	free(text);
	free(text_again);
	image_free(image);
	image_free(again);
	return 0;
}
