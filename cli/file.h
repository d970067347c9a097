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

/** file_publish() - Flush the file, which is whole, and give it its name, in place of what was there. Return: 0; -errno, and then
 * the file is removed. */
int file_publish(struct file *file, struct why *why);

/** file_discard() - Remove the file. Safe after file_publish(). */
void file_discard(struct file *file);
