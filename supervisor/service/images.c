/* SPDX-License-Identifier: MIT */
/* The images of one service: which ones rolls need, and how many stay. */
#include "supervisor/service/private.h"

struct image_set service_images_busy(const struct service *service)
{
	struct image_set busy = { .n = 0 };

	for (const struct member *member = service ? service->members : NULL; member; member = member->next)
		if (member->roll)
			image_set_add(&busy, roll_image_generation(member->roll));
	return busy;
}

pid_t service_images_parked(const struct service *service, uint64_t generation)
{
	for (const struct member *member = service ? service->members : NULL; member; member = member->next) {
		const struct instance *old = member->roll ? roll_old(member->roll) : NULL;

		if (old && instance_is_alive(old) && roll_image_generation(member->roll) == generation)
			return old->pid;
	}
	return 0;
}

const struct image *service_images_live(const struct service *service, uint64_t generation)
{
	for (const struct member *member = service ? service->members : NULL; member; member = member->next)
		if (member->roll && roll_image_generation(member->roll) == generation)
			return roll_image(member->roll);
	return NULL;
}

struct image_limits service_images_limits(const struct service *service)
{
	struct image_limits limits = { .keep = UNIT_IMAGES_KEEP, .max_age_us = UNIT_IMAGES_MAX_AGE_US };
	const struct unit *unit = service ? service->unit : NULL;
	struct unit *loaded = NULL;

	/* One that was not started yet has its file only on disk. */
	if (service && !unit && unit_load(service->host->config_dir, service->name, &loaded, NULL) == 0)
		unit = loaded;
	if (unit)
		limits = unit->image_limits;
	unit_free(loaded);
	return limits;
}

void service_images_gc(const struct service *service)
{
	struct image_limits limits = service_images_limits(service);
	struct image_set busy = service_images_busy(service);
	struct why why = { 0 };

	if (image_store_gc(service->host->site.images_root, service->name, &limits, &busy, NULL, &why) < 0)
		log_service(WARNING, service->name, "images: %s", why.text);
}

void service_images_settle(const struct service *service, struct image *image_consume, enum roll_outcome outcome)
{
	struct why why = { 0 };

	/* After a way back that failed it may be the last that is left of the state. */
	if (image_consume && (outcome == ROLL_IS_COLD || outcome == ROLL_IS_FAILED)) {
		if (image_keep(image_consume, "the way back failed, and this may be the last of the state", &why) < 0)
			log_service(WARNING, service->name, "%s", why.text);
	}
	image_free(image_consume);
	service_images_gc(service);
}
