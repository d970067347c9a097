/* SPDX-License-Identifier: MIT */
#include "supervisor/image/image.h"

const struct imaging imaging_criu = {
	.find_obstacles = obstacles_check,
	.pins_take = pins_take,
	.take_start = image_take_start,
	.take_hurry = image_take_hurry,
	.restore_start = image_restore_start,
	.check_beside = image_check_beside,
	.reap_children = image_reap_children,
	.is_there = image_is_there,
};
