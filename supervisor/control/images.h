/* SPDX-License-Identifier: MIT */
/* The verbs about images: list, show, verify, gc. */
#pragma once

#include "supervisor/control/verbs.h"

/** images_list(), ... - Tell of the images of one service, or of all; show tells all of one, verify whether they could be restored
 * now, gc what it removed. */
struct errand *images_list(const struct verb_call *call);
struct errand *images_show(const struct verb_call *call);
struct errand *images_verify(const struct verb_call *call);
struct errand *images_gc(const struct verb_call *call);

/** images_gc_all() - Apply the limits of every service that has images. */
void images_gc_all(struct registry *registry);
