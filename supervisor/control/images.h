/* SPDX-License-Identifier: MIT */
/* Of control.c: the verbs about images: list, show, verify, gc. */
#pragma once

#include "supervisor/service/registry.h"

struct images_call;

/**
 * images_call_start() - Do what @request asks for.
 * @asker: borrowed; gets its one answer, perhaps before this returns, unless the call is freed before.
 *
 * Return: the call, to be released with images_call_free(); NULL: it is over.
 */
struct images_call *images_call_start(struct registry *registry, const Upgraded__Wire__Request *request, struct asker *asker);

/** images_call_free() - NULL is allowed. Return: NULL. */
struct images_call *images_call_free(struct images_call *call);

/** images_gc_all() - Apply the limits of every service that has images. */
void images_gc_all(struct registry *registry);
