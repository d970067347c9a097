/* SPDX-License-Identifier: MIT */
/* Sockets that systemd has opened for upgraded (its .socket units): listeners of services that name them, by Listen=systemd:NAME.
 *
 * They come beside what store.h is about, in no order. Both are known by their names, and these only if they are listeners or take
 * datagrams. They are kept for as long as upgraded runs: systemd has them as well, so they refuse nobody in between either.
 */
#pragma once

#include "supervisor/carry/carry.pb-c.h"
#include "wire/name.h"

#include <stddef.h>

struct activation;
struct carry;
struct why;

/**
 * activation_open() - Take what systemd has given. To be called once, before store_open(), which takes the rest and clears the
 * environment.
 * @ret_activation: owned by the caller.
 *
 * Return: 0 or -ENOMEM.
 */
int activation_open(struct activation **ret_activation, struct why *why);

/** activation_get() - The socket @i of those named @name. @activation: NULL is allowed. Return: borrowed; -1: there are not so
 * many. */
int activation_get(const struct activation *activation, const char *name, size_t i);

/** activation_names() - All names that there are, for messages: "web, admin"; "none". Return: @buf. */
const char *activation_names(const struct activation *activation, char *buf, size_t size);

/** activation_put(), activation_take() - From this program to the one that takes its place, and there. @folders: released with
 * activation_packed_done(). */
void activation_put(const struct activation *activation, struct carry *carry, Upgraded__Carry__Folders *folders);
void activation_packed_done(Upgraded__Carry__Folders *folders);
int activation_take(struct activation *activation, struct carry *carry, const Upgraded__Carry__Folders *folders);

/** activation_free() - NULL is allowed. Return: NULL. */
struct activation *activation_free(struct activation *activation);
