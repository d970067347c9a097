/* SPDX-License-Identifier: MIT */
#include "supervisor/control/image_info.h"

#include "supervisor/service/asker.h"

#include <stdlib.h>
#include <time.h>

#define ANSWER_BYTES (WIRE_MESSAGE_MAX - 8192u) /* of one message that images may take; the rest of an answer needs little */

static void tell_state(struct image_info *info, const struct image_entry *entry, bool busy)
{
	const char *state = !entry->image ? "damaged" : *entry->kept.text ? "kept" : "whole";

	info->message.detail = wire_text(!entry->image ? entry->why.text : entry->kept.text);
	if (busy) {
		state = "in use";
		info->message.detail = wire_text("by the roll that is under way");
	}
	if (entry->removed) {
		state = "removed";
		info->message.detail = wire_text(entry->verdict >= IMAGE_TOO_MANY ? image_verdict_name(entry->verdict) : "");
	}
	info->message.state = wire_text(state);
}

void image_info_init(struct image_info *info, const struct image_entry *entry, bool busy)
{
	struct tm tm;
	time_t taken = (time_t)entry->taken_at_s;

	upgraded__wire__image_info__init(&info->message);
	info->message.service = entry->service;
	info->message.generation = entry->generation;
	info->message.size_bytes = entry->size_bytes;
	info->message.taken_at_s = entry->taken_at_s;
	info->message.path = entry->path;
	if (gmtime_r(&taken, &tm) && strftime(info->taken, sizeof(info->taken), "%Y-%m-%dT%H:%M:%SZ", &tm))
		info->message.taken = info->taken;
	tell_state(info, entry, busy);
	if (!entry->image)
		return;
	info->message.version = entry->image->version;
	info->message.pid = entry->image->pid;
	info->message.taken_us = entry->image->taken_in_us;
	info->message.file_count = (uint32_t)entry->image->n_files;
	info->message.pin_count = (uint32_t)entry->image->pins.n;
}

void image_info_add_files(struct image_info *info, const struct image *image)
{
	info->files = calloc(image->n_files + 1, sizeof(*info->files));
	info->file_list = calloc(image->n_files + 1, sizeof(*info->file_list));
	info->sums = calloc(image->n_files + 1, sizeof(*info->sums));
	if (!info->files || !info->file_list || !info->sums)
		return;
	for (size_t i = 0; i < image->n_files; i++) {
		upgraded__wire__image_file__init(&info->files[i]);
		info->files[i].name = image->files[i].name;
		info->files[i].size_bytes = image->files[i].size_bytes;
		if (image->files[i].is_summed)
			info->files[i].xxh3 = wire_text(checksum_text(&image->files[i].sum, info->sums[i]));
		info->file_list[i] = &info->files[i];
	}
	info->message.n_files = image->n_files;
	info->message.files = info->file_list;
}

void image_info_add_pins(struct image_info *info, const struct image_pins *pins)
{
	info->pins = calloc(pins->n + 1, sizeof(*info->pins));
	info->pin_list = calloc(pins->n + 1, sizeof(*info->pin_list));
	if (!info->pins || !info->pin_list)
		return;
	for (size_t i = 0; i < pins->n; i++) {
		upgraded__wire__image_pin__init(&info->pins[i]);
		info->pins[i].path = pins->pins[i].path;
		info->pins[i].kind = wire_text(pin_kind_name(pins->pins[i].kind));
		info->pins[i].size_bytes = pins->pins[i].size_bytes;
		info->pins[i].size_matters = pins->pins[i].size_matters;
		info->pins[i].time_matters = pins->pins[i].time_matters;
		info->pin_list[i] = &info->pins[i];
	}
	info->message.n_pins = pins->n;
	info->message.pins = info->pin_list;
}

void image_info_add_check(struct image_info *info, const char *name, int rc, const struct why *bad, const char *good)
{
	size_t n = info->message.n_checks++;
	Upgraded__Wire__Check *check = &info->checks[n];

	upgraded__wire__check__init(check);
	info->details[n] = *bad;
	check->name = wire_text(name);
	check->ok = rc == 0;
	check->detail = rc == 0 ? wire_text(good) : info->details[n].text;
	info->check_list[n] = check;
	info->message.checks = info->check_list;
	info->message.restorable &= rc == 0;
}

size_t image_info_fit(struct image_info *info, size_t used_bytes)
{
	size_t size = upgraded__wire__image_info__get_packed_size(&info->message) + 8;

	if (used_bytes + size > ANSWER_BYTES && info->message.n_files) {
		info->message.n_files = 0;
		size = upgraded__wire__image_info__get_packed_size(&info->message) + 8;
	}
	while (used_bytes + size > ANSWER_BYTES && info->message.n_pins) {
		info->message.n_pins /= 2;
		size = upgraded__wire__image_info__get_packed_size(&info->message) + 8;
	}
	return used_bytes + size > ANSWER_BYTES ? 0 : size;
}

void image_info_done(struct image_info *info)
{
	free(info->files);
	free(info->file_list);
	free(info->sums);
	free(info->pins);
	free(info->pin_list);
}
