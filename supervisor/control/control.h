/* SPDX-License-Identifier: MIT */
/* The control socket: upgradectl's requests, and the answers. */
#pragma once

struct control;
struct registry;
struct why;

/** control_open() - Listen at @path. @registry: borrowed until control_close(). Return: 0; -EADDRINUSE: another upgraded
 * answers there; -errno. */
int control_open(struct registry *registry, const char *path, struct control **ret_control, struct why *why);

/** control_close() - Stop listening, drop the clients. Return: NULL. */
struct control *control_close(struct control *control);
