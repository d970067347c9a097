/* SPDX-License-Identifier: MIT */
/* Clients of the example service `chatd`: single ones that ask and read, and a crowd that talks without end and takes note of every
 * word it hears. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- one client; what goes wrong fails the test ---- */

struct chatter {
	int fd;
	FILE *lines; /* reads from fd */
	char line[2048];
};

/** chatter_open() - Connect to 127.0.0.1:@port. @receive_bytes: size of the receive buffer; 0: the usual one. Every answer has
 * 10 s to come. */
void chatter_open(struct chatter *chatter, uint16_t port, int receive_bytes);
void chatter_close(struct chatter *chatter);

/** chatter_send() - Exactly these bytes. */
void chatter_send(struct chatter *chatter, const char *text);
/** chatter_hear() - The next line, without its end; valid until the next one. "" after the end of the connection. */
const char *chatter_hear(struct chatter *chatter);
/** chatter_ask() - A line, and the line that answers it. */
const char *chatter_ask(struct chatter *chatter, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** chatter_list() - A line, and all that answers it up to END; release with free(). */
char *chatter_list(struct chatter *chatter, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- a crowd: in each room everyone says 1, 2, 3, ... and must hear just that of everyone else ---- */

#define CROWD_ROOM 10u /* clients in a room */

struct crowd;

/** crowd_start() - @rooms * CROWD_ROOM clients, who are in their rooms and talk when this returns. */
struct crowd *crowd_start(uint16_t port, unsigned rooms);

/** crowd_wait() - Until everyone has said @more things that were acknowledged. */
void crowd_wait(struct crowd *crowd, unsigned more);

/** crowd_stop() - No more is said; all that was said must have been heard, once and in order, and every connection must live.
 * Return: how many words were heard. */
uint64_t crowd_stop(struct crowd *crowd);
