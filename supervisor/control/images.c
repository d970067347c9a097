/* SPDX-License-Identifier: MIT */
/*
 * An answer is made of what lies on disk at that moment. Only verify takes time: images are gone through one by one, each read by
 * a child process, and the client may leave at any moment.
 */
#include "supervisor/control/images.h"

#include "supervisor/control/image_info.h"
#include "supervisor/image/sums.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERIFY_TIMEOUT_US (600 * USEC_PER_SEC)

struct images_call {
	struct registry *registry;
	struct asker *asker;
	Upgraded__Wire__Verb verb;
	char service[UNIT_NAME_MAX + 1]; /* "": all */
	uint64_t generation;             /* 0: all, or the newest */
	struct image_list list;
	struct image_info *told;         /* as many as the list has */
	size_t n_told;
	size_t at;                       /* verify: the one that is read */
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

static void answer(struct images_call *call, enum wire_exit code, const char *cause, const char *next, const char *text)
{
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	Upgraded__Wire__ImageInfo **list = calloc(call->n_told + 1, sizeof(*list));
	size_t used = 0, size = 1;
	char more[256];

	result.code = (uint32_t)code;
	result.text = text_of(text);
	result.cause = text_of(cause);
	result.next = text_of(next);
	for (size_t i = 0; list && size && i < call->n_told; i++) {
		size = image_info_fit(&call->told[i], used);
		if (size)
			list[result.n_images++] = &call->told[i].message;
		used += size;
	}
	if (result.n_images < call->n_told) {
		snprintf(more, sizeof(more), "%.150s (%zu more have no room in this answer: name a service)", text_of(text),
			 call->n_told - result.n_images);
		result.text = more;
	}
	result.images = list;
	call->asker->on_result(call->asker, &result);
	free(list);
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
	answer(call, WIRE_EXIT_DONE, NULL, NULL, text);
}

static void show(struct images_call *call)
{
	const struct image_entry *entry = &call->list.entries[0];

	tell_image(call, entry);
	if (entry->image) {
		image_info_add_files(&call->told[0], entry->image);
		image_info_add_pins(&call->told[0], &entry->image->pins);
	}
	answer(call, WIRE_EXIT_DONE, NULL, NULL, "");
}

/* ---- verify ---- */

static void verify_next(struct images_call *call);

static void check_files(struct image_info *told, const struct images_call *call, const struct image *image, int rc, struct why *why)
{
	bool summed = image->n_files > 0;

	for (size_t i = 0; rc == 0 && i < image->n_files; i++) {
		rc = image_file_compare(image, i, &call->sums.entries[i], why);
		summed &= image->files[i].is_summed;
	}
	image_info_add_check(told, "files", rc, why,
		  summed ? "every checksum is right" : "every size is right; there was no time for checksums");
}

static pid_t parked_pid(const struct images_call *call, const struct image_entry *entry)
{
	return service_images_parked(registry_known(call->registry, entry->service), entry->generation);
}

static void on_summed(struct checksum_job *sums, int rc, const struct why *sums_why)
{
	struct images_call *call = sums->owner;
	const struct image_entry *entry = &call->list.entries[call->at];
	const struct image *image = entry->image;
	struct image_info *told = &call->told[call->at];
	pid_t parked = parked_pid(call, entry);
	struct why why = *sums_why;

	check_files(told, call, image, rc, &why);
	image_info_add_check(told, "needed files", pins_check(&image->pins, &why), &why,
			     "executable, libraries and open files are unchanged");
	image_info_add_check(told, "pid", image_check_pids(image, parked, &why), &why,
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
	answer(call, bad ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE, NULL, NULL, text);
}

static void verify_next(struct images_call *call)
{
	const struct registry *registry = call->registry;

	for (; call->at < call->list.n; call->at++) {
		const struct image_entry *entry = &call->list.entries[call->at];
		struct image_info *told = &call->told[call->at];
		struct why why = entry->why;

		tell_image(call, entry);
		told->message.restorable = true;
		if (!image_info_add_check(told, "manifest", entry->image ? 0 : -EBADMSG, &why, "it can be read"))
			continue;
		image_info_add_check(told, "criu", registry->criu_ok ? 0 : -ENOENT, &registry->criu_detail, "it works here");
		if (sums_begin(call, entry->image, &why) == 0)
			return;
		image_info_add_check(told, "files", -EIO, &why, "");
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
	answer(call, r < 0 ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE, why->text, NULL, text);
}

/* One that was named goes whatever the limits say, unless a roll may need it. */
static void gc_one(struct images_call *call)
{
	struct image_entry *entry = &call->list.entries[0];
	struct removed removed = { 0 };
	struct why why = { 0 };
	int r;

	if (is_busy(call, entry)) {
		answer(call, WIRE_EXIT_BUSY, "the roll that is under way may go back to it", "wait for the end of the roll",
		       "the image is in use; nothing was removed");
		return;
	}
	r = image_entry_remove(entry, &why);
	if (r == 0)
		removed = (struct removed){ .n = 1, .bytes = entry->size_bytes };
	tell_image(call, entry);
	gc_answer(call, &removed, r, &why);
}

static void gc(struct images_call *call)
{
	struct removed removed = { 0 };
	struct why why = { 0 };
	time_t now = time(NULL);
	int r = 0;

	/* Judged service by service: the list is in the order of their names. */
	for (size_t i = 0, next; i < call->list.n; i = next) {
		struct image_list part = { .entries = &call->list.entries[i] };
		const struct service *service = registry_known(call->registry, part.entries->service);
		struct image_limits limits = service_images_limits(service);
		struct image_set busy = service_images_busy(service);

		for (next = i; next < call->list.n && strcmp(call->list.entries[next].service, part.entries->service) == 0; next++)
			part.n++;
		image_store_judge(&part, &limits, &busy, (int64_t)now);
		for (size_t k = part.n; r == 0 && k > 0; k--) {
			struct image_entry *entry = &part.entries[k - 1];

			if (entry->verdict < IMAGE_TOO_MANY || (r = image_entry_remove(entry, &why)) < 0) {
				removed.stay++;
				continue;
			}
			removed.n++;
			removed.bytes += entry->size_bytes;
			tell_image(call, entry);
		}
	}
	gc_answer(call, &removed, r, &why);
}

void images_gc_all(struct registry *registry)
{
	struct images_call call = { .registry = registry };
	struct why why = { 0 };

	if (image_store_list(registry->host.site.images_root, NULL, &call.list, &why) < 0)
		log_warning("images: %s", why.text);
	for (size_t i = 0; i < call.list.n; i++) {
		const char *name = call.list.entries[i].service;
		const struct service *service = registry_known(registry, name);
		struct image_limits limits = service_images_limits(service);
		struct image_set busy = service_images_busy(service);

		if (i > 0 && strcmp(call.list.entries[i - 1].service, name) == 0)
			continue;
		if (image_store_gc(registry->host.site.images_root, name, &limits, &busy, NULL, &why) < 0)
			log_warning("images: %s", why.text);
	}
	image_list_done(&call.list);
}

/* ---- calls ---- */

/* Return: false if @asker was told that there is nothing of the kind. */
static bool choose(struct images_call *call)
{
	struct why why = { 0 };
	char text[160];
	size_t i = 0;

	if (*call->service && !call->list.n && !registry_find(call->registry, call->service, &why)) {
		snprintf(text, sizeof(text), "there is no service %s, and no image of one", call->service);
		answer(call, WIRE_EXIT_NO_SUCH_SERVICE, why.text, "upgradectl images list shows the images", text);
		return false;
	}
	while (i < call->list.n && call->generation && call->list.entries[i].generation != call->generation)
		i++;
	if ((call->generation || call->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW) && i == call->list.n) {
		if (call->generation)
			snprintf(text, sizeof(text), "there is no image %" PRIu64 " of %s", call->generation, call->service);
		else
			snprintf(text, sizeof(text), "there is no image of %s", call->service);
		answer(call, WIRE_EXIT_ERROR, NULL, "upgradectl images list shows the images", text);
		return false;
	}
	if (call->generation || call->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW)
		image_list_only(&call->list, i);
	return true;
}

static void run(struct images_call *call)
{
	switch ((int)call->verb) {
	case UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW:
		show(call);
		break;
	case UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY:
		verify_next(call);
		break;
	case UPGRADED__WIRE__VERB__VERB_IMAGES_GC:
		if (call->generation)
			gc_one(call);
		else
			gc(call);
		break;
	default:
		list(call);
	}
}

static bool is_fit(struct images_call *call, const Upgraded__Wire__Request *request)
{
	bool needs_one = request->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW ||
			 request->verb == UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY || request->generation;
	struct why why = { 0 };

	if ((*request->service || needs_one) && unit_name_check("service", request->service, &why) < 0) {
		answer(call, WIRE_EXIT_USAGE, why.text, NULL, "that is no service name");
		return false;
	}
	snprintf(call->service, sizeof(call->service), "%s", request->service);
	call->verb = request->verb;
	call->generation = request->generation;
	return true;
}

struct images_call *images_call_start(struct registry *registry, const Upgraded__Wire__Request *request, struct asker *asker)
{
	struct images_call *call = calloc(1, sizeof(*call)), out_of_memory = { .registry = registry, .asker = asker };
	struct why why = { 0 };
	int r;

	if (!call) {
		answer(&out_of_memory, WIRE_EXIT_ERROR, NULL, NULL, "out of memory");
		return NULL;
	}
	call->registry = registry;
	call->asker = asker;
	checksum_job_init(&call->sums, call);
	if (!is_fit(call, request))
		return images_call_free(call);
	/* So that limits are those of the service files as they are now. */
	(void)registry_scan(registry, NULL);
	r = image_store_list(registry->host.site.images_root, *call->service ? call->service : NULL, &call->list, &why);
	call->told = calloc(call->list.n + 1, sizeof(*call->told));
	if (r < 0 || !call->told) {
		answer(call, WIRE_EXIT_ERROR, why.text, NULL, "the images cannot be listed");
		return images_call_free(call);
	}
	if (choose(call))
		run(call);
	return call;
}

struct images_call *images_call_free(struct images_call *call)
{
	if (!call)
		return NULL;
	checksum_job_done(&call->sums);
	for (size_t i = 0; i < call->n_told; i++)
		image_info_done(&call->told[i]);
	free(call->told);
	image_list_done(&call->list);
	free(call);
	return NULL;
}
