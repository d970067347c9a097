/* SPDX-License-Identifier: MIT */
/* State files that are written whole or not at all.
 *
 * A service never gets the file itself: whoever has a descriptor of a terminal can read what is typed there, and one of a file can
 * change the file for as long as it lives. It gets a pipe, and what comes out of that is copied here.
 */
#pragma once

#include "cli/client.h"

struct why;

struct file {
	struct client_feed feed; /* the end of the pipe that is read */
	int write_end;           /* for the service */
	int fd;                  /* the file itself */
	int error;               /* -errno: it could not be written; 0: so far it could */
	const char *path;        /* borrowed */
	char *building;          /* its name until it is whole; NULL for standard output */
};

/** file_init() - To one that is none; required before file_discard(). */
void file_init(struct file *file);

/** file_create() - Begin @path ("-": standard output) under another name beside it, mode 0600, with a pipe that leads into it.
 * Return: 0; -ENOTTY: standard output is a terminal; -errno. */
int file_create(const char *path, struct file *file, struct why *why);

/** file_publish() - Copy what is still in the pipe, flush the file, which is whole then, and give it its name, in place of what was
 * there. Return: 0; -errno, and then the file is removed. */
int file_publish(struct file *file, struct why *why);

/** file_discard() - Remove the file. Safe after file_publish(). */
void file_discard(struct file *file);
