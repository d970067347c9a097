/* SPDX-License-Identifier: MIT */
/* The control socket: upgradectl's requests, and the answers. */
#pragma once

#include "supervisor/carry/carry.h"

#include <stdbool.h>

struct answer;
struct control;
struct registry;
struct why;

/** control_open() - Listen at @path. @registry: borrowed until control_close(). Return: 0; -EADDRINUSE: another upgraded
 * answers there; -errno. */
int control_open(struct registry *registry, const char *path, struct control **ret_control, struct why *why);

/** control_open_left() - The same with a socket that the program before has left, which listens already. Return: 0; -errno: @fd is
 * the caller's still. */
int control_open_left(struct registry *registry, int fd, struct control **ret_control, struct why *why);

/** control_may_leave() - Does no client wait for something that the next program could not tell it? */
bool control_may_leave(const struct control *control);

/** control_send_off() - We end and leave the services running: whoever waits is told. */
void control_send_off(const struct control *control);

/** control_put() - Leave all clients to the next program. Return: the socket that listens, borrowed. */
int control_put(const struct control *control, struct carry *carry);

/** control_take_left() - Clients of the program before: those that wait for a roll go on to, and who asked for us gets @answer. */
void control_take_left(struct control *control, struct carry *carry, const struct answer *answer);

/** control_listen_anew() - Listen at @path in place of where it listened before. Clients that are connected stay, and those that
 * wait to be let in are let in. Return: 0; as control_open(): then it listens where it did. */
int control_listen_anew(struct control *control, const char *path, struct why *why);

/** control_close() - Stop listening, drop the clients. Return: NULL. */
struct control *control_close(struct control *control);
