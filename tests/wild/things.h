/* SPDX-License-Identifier: MIT */
/* Descriptors of every kind, and datagrams that are no messages. */
#pragma once

#include "tests/wild/dice.h"

/** things_any() - One descriptor, owned by the caller; -1: it could not be made. @channel is one of the kinds, as a duplicate. */
int things_any(struct dice *dice, int channel);

/** things_some() - Up to @room of them in @fds, mostly few. Return: how many. */
size_t things_some(struct dice *dice, int channel, int *fds, size_t room);
void things_close(const int *fds, size_t n);

/** things_listener(), things_lingering() - A TCP listener; a connection that takes some seconds to close. -1: there is none. */
int things_listener(void);
int things_lingering(void);

/** things_send() - A datagram of any size with descriptors, as it is. Never waits. Return: false: it was not sent. */
bool things_send(int channel, const void *bytes, size_t size, const int *fds, size_t n);

/** things_send_garbage() - Nothing, too much, or bytes that mean nothing. */
void things_send_garbage(struct dice *dice, int channel);

/** things_send_damaged() - @size bytes of a message, of which some are changed, missing or too many. */
void things_send_damaged(struct dice *dice, int channel, const void *bytes, size_t size);
