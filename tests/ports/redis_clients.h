/* SPDX-License-Identifier: MIT */
/* Clients of redis for test_redis.c: one that a test speaks through by itself, and a crowd whose every answer is compared with a
 * model of what the server must hold. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* ---- one client; all block, at most 20 s ---- */

int redis_open(uint16_t port);
int redis_open_unix(const char *path);

/** redis_send() - Bytes as they are. */
void redis_send(int fd, const char *text);
/** redis_expect() - Exactly these bytes come next. */
void redis_expect(int fd, const char *text);
/** redis_ask() - A command as a line, and exactly this answer. */
void redis_ask(int fd, const char *command, const char *answer);
/** redis_say() - A command as a line. Return: its whole answer in the protocol; the caller frees it. */
char *redis_say(int fd, const char *command);
/** redis_silent() - Nothing has come. */
void redis_silent(int fd);

/* ---- a crowd ---- */

/** crowd_begin() - Each of @connections has keys of its own, of every type, and one or two commands under way, cut anywhere. */
void crowd_begin(uint16_t port, unsigned connections);
/** crowd_goes_on() - Until all together have got so many answers more. */
void crowd_goes_on(uint64_t more);
/** crowd_end() - Each key is as the model says; no answer was wrong, and no connection was lost. Return: how many answers there
 * were. */
uint64_t crowd_end(void);
/** crowd_may_be_reset() - From here on a connection may end. */
void crowd_may_be_reset(void);
/** crowd_crashed() - As crowd_end(), of the connections that are left. Return: how many were reset. */
unsigned crowd_crashed(void);
