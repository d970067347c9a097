/* SPDX-License-Identifier: MIT */
/* Answers about images, for people. */
#pragma once

#include "cli/args.h"
#include "cli/term.h"
#include "wire/control.pb-c.h"

/** render_images() - Print what list, show, verify or gc found. */
void render_images(const struct term *term, const struct args *args, const Upgraded__Wire__Result *result);
