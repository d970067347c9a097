/* SPDX-License-Identifier: MIT */
/* State files that are written whole or not at all. */
#pragma once

struct why;

struct file {
	int fd;
	const char *path; /* borrowed */
	char *building;   /* its name until it is whole; NULL for standard output */
};

/** file_create() - Begin @path ("-": standard output) under another name beside it, mode 0600. Return: 0 or -errno. */
int file_create(const char *path, struct file *ret_file, struct why *why);

/** file_publish() - It is whole: to disk, and to its name, replacing what was there. Return: 0 or -errno, then it is gone. */
int file_publish(struct file *file, struct why *why);

/** file_discard() - Leave nothing of it. Safe after file_publish(). */
void file_discard(struct file *file);
