/* SPDX-License-Identifier: MIT */
/*
 * An answer is made of what lies on disk at that moment. Only verify takes time: it goes through the images one by one, a child
 * process reads each of them, and the client may leave at any moment.
 */
#include "supervisor/control/images.h"

#include "supervisor/control/image_info.h"
#include "supervisor/image/sums.h"
#include "supervisor/control/request.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERIFY_TIMEOUT_US (600 * USEC_PER_SEC)

struct images_call {
	struct errand errand;
	struct registry *registry;
	struct asker *asker;
	char service[UNIT_NAME_MAX + 1]; /* "": all */
	uint64_t generation;             /* 0: all, or the newest */
	struct image_list list;
	struct image_info *told;         /* has room for all of the list */
	size_t n_told;
	size_t at;                       /* verify: the one that is being read */
	struct checksum_job sums;
};

static bool is_busy(const struct images_call *call, const struct image_entry *entry)
{
	struct image_set busy = service_images_busy(registry_known(call->registry, entry->service));

	return image_set_has(&busy, entry->generation);
}

static void tell_image(struct images_call *call, const struct image_entry *entry)
{
	image_info_init(&call->told[call->n_told++], entry, is_busy(call, entry));
}

/* Send @half with the images told so far, as many as one message has room for. */
static void answer(struct images_call *call, const struct answer *half)
{
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct answer whole = *half;
	size_t used = 0, size = 1;
	char more[256];

	with.images = calloc(call->n_told + 1, sizeof(*with.images));
	for (size_t i = 0; with.images && size && i < call->n_told; i++) {
		size = image_info_fit(&call->told[i], used);
		if (size)
			with.images[with.n_images++] = &call->told[i].message;
		used += size;
	}
	if (with.n_images < call->n_told) {
		snprintf(more, sizeof(more), "%.150s (%zu more have no room in this answer: name a service)", wire_text(half->text),
			 call->n_told - with.n_images);
		whole.text = more;
	}
	whole.with = &with;
	asker_answer(call->asker, &whole);
	free(with.images);
}

/* ---- list, show ---- */

static void list(struct images_call *call)
{
	uint64_t bytes = 0;
	char text[128];

	for (size_t i = 0; i < call->list.n; i++) {
		tell_image(call, &call->list.entries[i]);
		bytes += call->list.entries[i].size_bytes;
	}
	snprintf(text, sizeof(text), "%zu images, %" PRIu64 " KiB", call->list.n, bytes >> 10);
	answer(call, &(struct answer){ .code = WIRE_EXIT_DONE, .text = text });
}

static void show(struct images_call *call)
{
	const struct image_entry *entry = &call->list.entries[0];

	tell_image(call, entry);
	if (entry->image) {
		image_info_add_files(&call->told[0], entry->image);
		image_info_add_pins(&call->told[0], &entry->image->pins);
	}
	answer(call, &(struct answer){ .code = WIRE_EXIT_DONE });
}

/* ---- verify ---- */

static void verify_next(struct images_call *call);

static void check_files(const struct images_call *call, const struct image *image, int rc, struct why *why)
{
	struct image_info *info = &call->told[call->at];
	bool summed = image->n_files > 0;

	for (size_t i = 0; rc == 0 && i < image->n_files; i++) {
		rc = image_file_compare(image, i, &call->sums.entries[i], why);
		summed &= image->files[i].is_summed;
	}
	image_info_add_check(info, "files", rc, why,
			     summed ? "every checksum is right" : "every size is right; there was no time for checksums");
}

static void on_summed(struct checksum_job *sums, int rc, const struct why *sums_why)
{
	struct images_call *call = sums->owner;
	const struct image_entry *entry = &call->list.entries[call->at];
	const struct image *image = entry->image;
	struct image_info *info = &call->told[call->at];
	const struct service *service = registry_known(call->registry, entry->service);
	const struct image *live = service_images_live(service, entry->generation);
	pid_t parked = service_images_parked(service, entry->generation);
	struct why why = *sums_why;

	check_files(call, image, rc, &why);
	image_info_add_check(info, "needed files", pins_check(live ? &live->pins : &image->pins, &why), &why,
			     "executable, libraries, folders and open files are unchanged, and at paths that only root can change");
	image_info_add_check(info, "pid", image_check_pids(image, parked, &why), &why,
			     parked ? "it is the parked process's, which is ended first" : "it is free");
	call->at++;
	verify_next(call);
}

static int sums_begin(struct images_call *call, const struct image *image, struct why *why)
{
	const struct image_sums_spec spec = { .image = image, .dir = image->path, .background = true,
					      .timeout_us = VERIFY_TIMEOUT_US };

	return image_sums_start(call->registry->host.site.loop, &call->sums, &spec, on_summed, why);
}

static void verify_end(struct images_call *call)
{
	size_t bad = 0;
	char text[128];

	for (size_t i = 0; i < call->n_told; i++)
		bad += !call->told[i].message.restorable;
	if (bad)
		snprintf(text, sizeof(text), "%zu of %zu images could not be restored now", bad, call->n_told);
	else
		snprintf(text, sizeof(text), "%zu images, all could be restored now", call->n_told);
	answer(call, &(struct answer){ .code = bad ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE, .text = text });
}

static void verify_next(struct images_call *call)
{
	const struct registry *registry = call->registry;

	for (; call->at < call->list.n; call->at++) {
		const struct image_entry *entry = &call->list.entries[call->at];
		struct image_info *info = &call->told[call->at];
		struct why why = entry->why;

		tell_image(call, entry);
		info->message.restorable = true;
		image_info_add_check(info, "manifest", entry->image ? 0 : -EBADMSG, &why, "it can be read");
		if (!entry->image)
			continue;
		image_info_add_check(info, "criu", registry->criu_ok ? 0 : -ENOENT, &registry->criu_detail, "it works here");
		if (sums_begin(call, entry->image, &why) == 0)
			return;
		image_info_add_check(info, "files", -EIO, &why, "");
	}
	verify_end(call);
}

/* ---- gc ---- */

struct removed {
	size_t n, stay;
	uint64_t bytes;
};

static void gc_answer(struct images_call *call, const struct removed *removed, int r, const struct why *why)
{
	char text[160];

	snprintf(text, sizeof(text), "%zu images were removed, %" PRIu64 " bytes; %zu stay", removed->n, removed->bytes,
		 removed->stay);
	answer(call, &(struct answer){ .code = r < 0 ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE, .text = text, .cause = why->text });
}

/* An image that was named goes whatever the limits say, unless a roll may need it. */
static void gc_one(struct images_call *call)
{
	struct image_entry *entry = &call->list.entries[0];
	struct removed removed = { 0 };
	struct why why = { 0 };
	int r;

	if (is_busy(call, entry)) {
		answer(call, &(struct answer){ .code = WIRE_EXIT_BUSY,
					       .text = "the image is in use; nothing was removed",
					       .cause = "the roll that is under way may go back to it",
					       .next = "wait for the end of the roll" });
		return;
	}
	r = image_entry_remove(entry, &why);
	if (r == 0)
		removed = (struct removed){ .n = 1, .bytes = entry->size_bytes };
	tell_image(call, entry);
	gc_answer(call, &removed, r, &why);
}

/* Remove what is beyond the limits of one service, the oldest first. @part: its images. */
static int gc_service(struct images_call *call, struct image_list *part, struct removed *removed, struct why *why)
{
	const struct service *service = registry_known(call->registry, part->entries->service);
	struct image_limits limits = service_images_limits(service);
	struct image_set busy = service_images_busy(service);
	int r = 0;

	image_store_judge(part, &limits, &busy, (int64_t)time(NULL));
	for (size_t i = part->n; r == 0 && i > 0; i--) {
		struct image_entry *entry = &part->entries[i - 1];

		if (entry->verdict < IMAGE_TOO_MANY || (r = image_entry_remove(entry, why)) < 0) {
			removed->stay++;
			continue;
		}
		removed->n++;
		removed->bytes += entry->size_bytes;
		tell_image(call, entry);
	}
	return r;
}

static void gc(struct images_call *call)
{
	struct removed removed = { 0 };
	struct why why = { 0 };
	int r = 0;

	/* The list is in the order of the services' names. */
	for (size_t i = 0; r == 0 && i < call->list.n;) {
		struct image_list part = { .entries = &call->list.entries[i] };

		for (; i < call->list.n && strcmp(call->list.entries[i].service, part.entries->service) == 0; i++)
			part.n++;
		r = gc_service(call, &part, &removed, &why);
	}
	gc_answer(call, &removed, r, &why);
}

void images_gc_all(struct registry *registry)
{
	struct image_list list;
	struct why why = { 0 };

	if (image_store_list(registry->host.site.images_root, NULL, &list, &why) < 0)
		log_warning("images: %s", why.text);
	for (size_t i = 0; i < list.n; i++) {
		const char *name = list.entries[i].service;
		const struct service *service = registry_known(registry, name);
		struct image_limits limits = service_images_limits(service);
		struct image_set busy = service_images_busy(service);

		if (i > 0 && strcmp(list.entries[i - 1].service, name) == 0)
			continue;
		if (image_store_gc(registry->host.site.images_root, name, &limits, &busy, NULL, &why) < 0)
			log_warning("images: %s", why.text);
	}
	image_list_done(&list);
}

/* ---- calls ---- */

static bool refuse_missing(struct images_call *call)
{
	char text[160];

	if (call->generation)
		snprintf(text, sizeof(text), "there is no image %" PRIu64 " of %s", call->generation, call->service);
	else
		snprintf(text, sizeof(text), "there is no image of %s", call->service);
	answer(call, &(struct answer){ .code = WIRE_EXIT_ERROR,
				       .text = text,
				       .next = "upgradectl images list shows the images" });
	return false;
}

/* Leave only the image in the list that the call is about: the one of its generation, or the newest. Return: false if there is
 * none and the asker was told. */
static bool choose_one(struct images_call *call)
{
	size_t i = 0;

	while (i < call->list.n && call->generation && call->list.entries[i].generation != call->generation)
		i++;
	if (i == call->list.n)
		return refuse_missing(call);
	image_list_only(&call->list, i);
	return true;
}

/* Return: false if there is no such service, nor an image of one, and the asker was told. */
static bool service_is_known(struct images_call *call)
{
	struct why why = { 0 };
	char text[160];

	if (!*call->service || call->list.n || registry_find(call->registry, call->service, &why))
		return true;
	snprintf(text, sizeof(text), "there is no service %s, and no image of one", call->service);
	answer(call, &(struct answer){ .code = WIRE_EXIT_NO_SUCH_SERVICE,
				       .text = text,
				       .cause = why.text,
				       .next = "upgradectl images list shows the images" });
	return false;
}

static void free_call(struct errand *errand)
{
	struct images_call *call = container_of(errand, struct images_call, errand);

	checksum_job_done(&call->sums);
	for (size_t i = 0; i < call->n_told; i++)
		image_info_done(&call->told[i]);
	free(call->told);
	image_list_done(&call->list);
	free(call);
}

static int list_images(struct images_call *call, struct why *why)
{
	int r;

	/* So that limits are those of the service files as they are now. */
	(void)registry_scan(call->registry, NULL);
	r = image_store_list(call->registry->host.site.images_root, *call->service ? call->service : NULL, &call->list, why);
	call->told = calloc(call->list.n + 1, sizeof(*call->told));
	return r == 0 && !call->told ? -ENOMEM : r;
}

/* @about_one: the call is about the image of its generation, or about the newest. */
static struct errand *begin(const struct verb_call *verb, bool about_one, void (*run)(struct images_call *call))
{
	struct images_call *call = calloc(1, sizeof(*call));
	struct why why = { 0 };

	if (!call) {
		asker_answer(verb->asker, &(struct answer){ .code = WIRE_EXIT_ERROR, .text = "out of memory" });
		return NULL;
	}
	call->errand.free = free_call;
	call->registry = verb->registry;
	call->asker = verb->asker;
	call->generation = verb->request->generation;
	snprintf(call->service, sizeof(call->service), "%s", verb->request->service);
	checksum_job_init(&call->sums, call);
	call->sums.graveyard = verb->registry->host.site.graveyard;
	if (list_images(call, &why) < 0)
		answer(call, &(struct answer){ .code = WIRE_EXIT_ERROR,
					       .text = "the images cannot be listed",
					       .cause = why.text });
	else if (service_is_known(call) && (!about_one || choose_one(call)))
		run(call);
	return &call->errand;
}

struct errand *images_list(const struct verb_call *call)
{
	return begin(call, call->request->generation, list);
}

struct errand *images_show(const struct verb_call *call)
{
	return begin(call, true, show);
}

struct errand *images_verify(const struct verb_call *call)
{
	return begin(call, call->request->generation, verify_next);
}

struct errand *images_gc(const struct verb_call *call)
{
	return begin(call, call->request->generation, call->request->generation ? gc_one : gc);
}
