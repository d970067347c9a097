/* SPDX-License-Identifier: MIT */
/* Who asked for something: the process at the other end of the control socket, as the kernel names it. */
#pragma once

#include "wire/control.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct who {
	bool asked;  /* false: nobody did; upgraded itself decided it */
	uid_t uid;
	pid_t pid;
	bool logged_in;
	uid_t login; /* as whom the session began in which it asked, as with sudo; if @logged_in */
};

#define WHO_BYTES 96u

/** who_of_socket() - Who has connected to us. Looks up no name: that may take as long as a network likes. Return: 0 or -errno. */
int who_of_socket(int fd, struct who *ret);

/** who_text() - "uid 0 (pid 12, logged in as uid 1000)", or "upgraded itself". @buf: WHO_BYTES. Return: @buf. */
const char *who_text(const struct who *who, char *buf);

/** who_tell() - As a message. */
void who_tell(const struct who *who, Upgraded__Wire__Who *ret);
/** who_take() - And back again. @told: NULL: nobody. */
void who_take(const Upgraded__Wire__Who *told, struct who *ret);
