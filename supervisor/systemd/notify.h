/* SPDX-License-Identifier: MIT */
/* What systemd is told: READY=1 and the like, by the socket that it named in NOTIFY_SOCKET. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct why;

#define NOTIFY_FDS_MAX 253u /* more in one message are refused by the kernel */

/** notify_is_wanted() - Has whoever started us named a socket? */
bool notify_is_wanted(void);

/**
 * notify_send() - Send @text, lines of NAME=value, with @n borrowed descriptors. Never waits.
 *
 * Return: 1: it was sent, and nobody says whether it was heeded; 0: nobody wants to know; -EAGAIN: systemd is busy, try again
 * later; -errno.
 */
int notify_send(const char *text, const int *fds, size_t n);
