/* SPDX-License-Identifier: MIT */
/* The control socket: upgradectl's requests, and the answers. */
#pragma once

struct control;
struct registry;
struct why;

/** control_open() - Listen at @path. @registry: borrowed until control_close(). Return: 0; -EADDRINUSE: another upgraded
 * answers there; -errno. */
int control_open(struct registry *registry, const char *path, struct control **ret_control, struct why *why);

/** control_listen_anew() - Listen at @path in place of where it listened before. Clients that are connected stay, and those that
 * wait to be let in are let in. Return: 0; as control_open(): then it listens where it did. */
int control_listen_anew(struct control *control, const char *path, struct why *why);

/** control_close() - Stop listening, drop the clients. Return: NULL. */
struct control *control_close(struct control *control);
