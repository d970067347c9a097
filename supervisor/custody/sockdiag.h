/* SPDX-License-Identifier: MIT */
/* The kernel's list of sockets in this network namespace (sock_diag), asked through libnl.
 *
 * libnl stays behind this header: its headers include <netinet/tcp.h>, which clashes with <linux/tcp.h>. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sockdiag;
struct why;

/** sockdiag_new() - Return: 0 or -errno. */
int sockdiag_new(struct sockdiag **ret_diag, struct why *why);

/** sockdiag_free() - Return: NULL. */
struct sockdiag *sockdiag_free(struct sockdiag *diag);

/**
 * sockdiag_dump() - Ask for a list and hand each of its entries to @each.
 * @request: the kernel's request structure, whose first byte is the address family.
 * @each:    @entry is the kernel's answer structure, with its attributes behind it; borrowed for the call.
 *
 * The kernel makes the list while it is being read, so this never waits for anybody, and the list shows no single instant.
 *
 * Return: 0; -EINTR: the list changed while it was made, and the whole of it was still handed out; -errno: free @diag, as the
 * rest of an answer may still be in it.
 */
int sockdiag_dump(struct sockdiag *diag, const void *request, size_t size,
		  void (*each)(const void *entry, size_t size, void *userdata), void *userdata, struct why *why);

struct sockdiag_questions {
	const void *requests; /* the kernel's request structures, one behind the other */
	size_t size_bytes;    /* of one */
	size_t n;
	/* Hears the answer to question @i; @entry as for sockdiag_dump(). */
	void (*each)(size_t i, const void *entry, size_t size, void *userdata);
	void *userdata;
};

/**
 * sockdiag_ask() - Ask for single sockets. The cost grows with @n, and not with the number of sockets there are.
 *
 * Answers come in any order, and only for questions that found a socket. It may be another socket than the one that is meant: a
 * listener answers for a connection that has ended.
 *
 * Return: 0; -errno: free @diag, as answers may still be in it. Never waits.
 */
int sockdiag_ask(struct sockdiag *diag, const struct sockdiag_questions *questions, struct why *why);

/**
 * sockdiag_attribute() - Find one of the attributes behind an entry's structure of @header_size bytes.
 * @ret_size: its real length, which is the kernel's and not that of our headers.
 *
 * Return: borrowed from @entry; NULL if there is none.
 */
const void *sockdiag_attribute(const void *entry, size_t size, size_t header_size, int type, size_t *ret_size);
