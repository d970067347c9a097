/* SPDX-License-Identifier: MIT */
#include "supervisor/carry/carry.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES_MAX ((size_t)1 << 30)

struct held {
	int fd;
	dev_t device;
	ino_t inode;
	bool taken; /* reading: whoever took it owns it */
};

struct carry {
	int memory; /* -1: none */
	bool owns_memory;
	int failure; /* -errno of what was added first in vain; 0: none */
	struct held *held; /* the key is the place, counted from 1 */
	size_t n_held;
	Upgraded__Carry__Item **items; /* reading */
	size_t n_items;
	size_t last; /* whoever walks goes on here */
	uint8_t *bytes; /* writing */
	size_t n_bytes, room;
	uint64_t ids;
	uint64_t *keys; /* writing: of each descriptor, by its number; 0: none */
	size_t n_keys;
	struct carry_finder *finder; /* NULL: descriptors have stayed open */
};

/* ---- writing ---- */

int carry_new(struct carry **ret_carry, struct why *why)
{
	struct carry *carry = calloc(1, sizeof(*carry));

	if (!carry)
		return why_errno(why, -ENOMEM, "what is left to the next program");
	carry->memory = memfd_create("upgraded-carry", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	carry->owns_memory = true;
	if (carry->memory < 0) {
		free(carry);
		return why_errno(why, -errno, "memory for the next program");
	}
	*ret_carry = carry;
	return 0;
}

static bool make_room(struct carry *carry, size_t more)
{
	size_t room = carry->room ? carry->room : 4096;
	uint8_t *bytes;

	while (room - carry->n_bytes < more)
		room *= 2;
	if (room == carry->room)
		return true;
	bytes = realloc(carry->bytes, room);
	if (!bytes)
		return false;
	carry->bytes = bytes;
	carry->room = room;
	return true;
}

void carry_put(struct carry *carry, const Upgraded__Carry__Item *item)
{
	size_t size = upgraded__carry__item__get_packed_size(item);
	uint32_t length = (uint32_t)size;

	if (carry->failure)
		return;
	if (size > BYTES_MAX || carry->n_bytes > BYTES_MAX || !make_room(carry, sizeof(length) + size)) {
		carry_fail(carry, size > BYTES_MAX || carry->n_bytes > BYTES_MAX ? -EFBIG : -ENOMEM);
		return;
	}
	memcpy(carry->bytes + carry->n_bytes, &length, sizeof(length)); /* the same machine reads it */
	upgraded__carry__item__pack(item, carry->bytes + carry->n_bytes + sizeof(length));
	carry->n_bytes += sizeof(length) + size;
}

void carry_put_header(struct carry *carry, Upgraded__Carry__Header *header)
{
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

	header->format = CARRY_FORMAT;
	header->pid = getpid();
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_HEADER;
	item.header = header;
	carry_put(carry, &item);
}

void carry_fail(struct carry *carry, int rc)
{
	if (!carry->failure)
		carry->failure = rc;
}

static struct held *held_add(struct carry *carry)
{
	struct held *more = reallocarray(carry->held, carry->n_held + 1, sizeof(*more));

	if (!more)
		return NULL;
	carry->held = more;
	more[carry->n_held] = (struct held){ .fd = -1 };
	return &more[carry->n_held++];
}

/* Return: where the key of @fd is noted; NULL if memory is out. */
static uint64_t *key_of(struct carry *carry, int fd)
{
	size_t want = (size_t)fd + 1, n = carry->n_keys ? carry->n_keys : 64;
	uint64_t *more;

	while (n < want)
		n *= 2;
	if (n != carry->n_keys) {
		more = reallocarray(carry->keys, n, sizeof(*more));
		if (!more)
			return NULL;
		memset(more + carry->n_keys, 0, (n - carry->n_keys) * sizeof(*more));
		carry->keys = more;
		carry->n_keys = n;
	}
	return &carry->keys[fd];
}

uint64_t carry_hold(struct carry *carry, int fd)
{
	uint64_t *key = fd < 0 ? NULL : key_of(carry, fd);
	struct held *held;
	struct stat st;

	if (fd < 0)
		return 0;
	/* It may have several owners, as what waits to be sent has: each takes one of its own (carry_take()). */
	if (key && *key)
		return *key;
	if (!key) {
		carry_fail(carry, -ENOMEM);
		return 0;
	}
	held = held_add(carry);
	if (!held || fstat(fd, &st) < 0) {
		carry_fail(carry, held ? -errno : -ENOMEM);
		return 0;
	}
	*held = (struct held){ .fd = fd, .device = st.st_dev, .inode = st.st_ino };
	*key = carry->n_held;
	return *key;
}

uint64_t carry_id(struct carry *carry)
{
	return ++carry->ids;
}

static void put_held(struct carry *carry)
{
	for (size_t i = 0; i < carry->n_held; i++) {
		Upgraded__Carry__Held held = UPGRADED__CARRY__HELD__INIT;
		Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

		held.key = i + 1;
		held.number = (uint32_t)carry->held[i].fd;
		held.device = carry->held[i].device;
		held.inode = carry->held[i].inode;
		item.what_case = UPGRADED__CARRY__ITEM__WHAT_HELD;
		item.held = &held;
		carry_put(carry, &item);
	}
}

static int write_all(const struct carry *carry, int fd)
{
	size_t at = 0;

	while (at < carry->n_bytes) {
		ssize_t n = pwrite(fd, carry->bytes + at, carry->n_bytes - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return 0;
}

/* Return: 0 or -errno of the first that could not be changed; the others were. */
static int set_cloexec(const struct carry *carry, int flags)
{
	int r = 0;

	for (size_t i = 0; i < carry->n_held; i++)
		if (carry->held[i].fd >= 0 && fcntl(carry->held[i].fd, F_SETFD, flags) < 0 && r == 0)
			r = -errno;
	if (fcntl(carry->memory, F_SETFD, flags) < 0 && r == 0)
		r = -errno;
	return r;
}

int carry_seal(struct carry *carry, int *ret_fd, struct why *why)
{
	int r;

	put_held(carry);
	r = carry->failure ? carry->failure : write_all(carry, carry->memory);
	if (r == 0 && fcntl(carry->memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r == 0)
		r = set_cloexec(carry, 0);
	if (r < 0) {
		carry_unseal(carry);
		return why_errno(why, r, "what is left to the next program");
	}
	*ret_fd = carry->memory;
	return 0;
}

int carry_write(struct carry *carry, const char *path, struct why *why)
{
	const char *name = strrchr(path, '/');
	char fresh[PATH_MAX];
	FD_CLEANUP int fd = -1;
	int r;

	put_held(carry);
	if (carry->failure)
		return why_errno(why, carry->failure, "%s", path);
	/* No service has such a name. */
	if (!name || snprintf(fresh, sizeof(fresh), "%.*s/.%s.tmp", (int)(name - path), path, name + 1) >= (int)sizeof(fresh))
		return why_errno(why, -ENAMETOOLONG, "%s", path);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = fd < 0 ? -errno : write_all(carry, fd);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(fresh);
	return r < 0 ? why_errno(why, r, "%s", path) : 0;
}

void carry_unseal(struct carry *carry)
{
	(void)set_cloexec(carry, FD_CLOEXEC);
}

/* ---- reading ---- */

/* A descriptor that is not what it was when it was left is nobody's. */
static bool take_held(struct carry *carry, const Upgraded__Carry__Held *told)
{
	struct held *held;
	struct stat st;
	bool is_it;

	if (told->key != carry->n_held + 1) /* written in this order */
		return false;
	held = held_add(carry);
	if (!held)
		return false;
	is_it = !carry->finder && fstat((int)told->number, &st) == 0 && st.st_dev == told->device && st.st_ino == told->inode;
	*held = (struct held){ .fd = is_it ? (int)told->number : -1, .device = told->device, .inode = told->inode };
	return true;
}

static bool take_item(struct carry *carry, const uint8_t *data, size_t size)
{
	Upgraded__Carry__Item **more = reallocarray(carry->items, carry->n_items + 1, sizeof(Upgraded__Carry__Item *));

	if (!more)
		return false;
	carry->items = more;
	more[carry->n_items] = upgraded__carry__item__unpack(NULL, size, data);
	if (!more[carry->n_items])
		return false;
	carry->n_items++;
	return more[carry->n_items - 1]->what_case != UPGRADED__CARRY__ITEM__WHAT_HELD ||
	       take_held(carry, more[carry->n_items - 1]->held);
}

static int take_all(struct carry *carry, const uint8_t *data, size_t size, struct why *why)
{
	size_t at = 0;
	uint32_t length;

	while (at < size) {
		if (size - at < sizeof(length))
			break;
		memcpy(&length, data + at, sizeof(length));
		at += sizeof(length);
		if (length > size - at || !take_item(carry, data + at, length))
			break;
		at += length;
	}
	return at == size && size ? 0 : why_set(why, -EBADMSG, "what the program before left cannot be read at byte %zu", at);
}

/* @alone: nobody else may have left it. */
static int check_header(const struct carry *carry, bool alone, struct why *why)
{
	const Upgraded__Carry__Item *first = carry->n_items ? carry->items[0] : NULL;

	if (!first || first->what_case != UPGRADED__CARRY__ITEM__WHAT_HEADER)
		return why_set(why, -EBADMSG, "what the program before left has no header");
	if (first->header->format < CARRY_FORMAT_OLDEST || first->header->format > CARRY_FORMAT)
		return why_set(why, -EPROTO, "upgraded %.40s left it in format %u; this one reads %u to %u", first->header->version,
			       first->header->format, CARRY_FORMAT_OLDEST, CARRY_FORMAT);
	if (alone && first->header->pid != getpid())
		return why_set(why, -EBADMSG, "it was left by pid %d and not by us", first->header->pid);
	return 0;
}

int carry_open(int fd, struct carry_finder *finder, struct carry **ret_carry, struct why *why)
{
	struct carry *carry = calloc(1, sizeof(*carry));
	struct stat st;
	void *data;
	int r;

	if (!carry)
		return why_errno(why, -ENOMEM, "what the program before left");
	carry->memory = finder ? -1 : fd;
	carry->finder = finder;
	if (fstat(fd, &st) < 0 || st.st_size <= 0 || (size_t)st.st_size > 2 * BYTES_MAX) {
		free(carry);
		return why_set(why, -EBADMSG, "descriptor %d holds nothing that a program before has left", fd);
	}
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED) {
		free(carry);
		return why_errno(why, -errno, "what the program before left");
	}
	r = take_all(carry, data, (size_t)st.st_size, why);
	munmap(data, (size_t)st.st_size);
	if (r == 0)
		r = check_header(carry, !finder, why);
	if (r < 0) {
		carry_free(carry);
		return r;
	}
	*ret_carry = carry;
	return 0;
}

int carry_open_file(const char *path, struct carry_finder *finder, struct carry **ret_carry, struct why *why)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return why_errno(why, -errno, "%s", path);
	return carry_open(fd, finder, ret_carry, why);
}

bool carry_is_found(const struct carry *carry)
{
	return carry->finder;
}

static size_t place_of(const struct carry *carry, const Upgraded__Carry__Item *item)
{
	size_t i = carry->last < carry->n_items && carry->items[carry->last] == item ? carry->last : 0;

	while (carry->items[i] != item)
		i++;
	return i;
}

const Upgraded__Carry__Item *carry_behind(struct carry *carry, const Upgraded__Carry__Item *item)
{
	size_t i = place_of(carry, item) + 1;

	if (i >= carry->n_items)
		return NULL;
	carry->last = i;
	return carry->items[i];
}

const Upgraded__Carry__Item *carry_next(struct carry *carry, Upgraded__Carry__Item__WhatCase what,
					const Upgraded__Carry__Item *after)
{
	if (!carry)
		return NULL;
	for (size_t i = after ? place_of(carry, after) + 1 : 0; i < carry->n_items; i++) {
		if (carry->items[i]->what_case != what)
			continue;
		carry->last = i;
		return carry->items[i];
	}
	return NULL;
}

const Upgraded__Carry__Header *carry_header(const struct carry *carry)
{
	return carry->items[0]->header;
}

int carry_take(struct carry *carry, uint64_t key)
{
	struct held *held = key && key <= carry->n_held ? &carry->held[key - 1] : NULL;

	if (!held)
		return -1;
	if (held->taken && !carry->finder)
		return held->fd < 0 ? -1 : fcntl(held->fd, F_DUPFD_CLOEXEC, 0);
	held->taken = true;
	return carry->finder ? carry->finder->find(carry->finder, held->device, held->inode) : held->fd;
}

void carry_done(struct carry *carry)
{
	/* What one of them stood for may have been closed since, and its number be another's: that ends with execve(2), too. */
	(void)set_cloexec(carry, FD_CLOEXEC);
	for (size_t i = 0; i < carry->n_held; i++)
		if (!carry->held[i].taken)
			carry->held[i].fd = fd_give_up(carry->held[i].fd);
	carry->memory = fd_close(carry->memory);
}

struct carry *carry_free(struct carry *carry)
{
	if (!carry)
		return NULL;
	for (size_t i = 0; i < carry->n_items; i++)
		upgraded__carry__item__free_unpacked(carry->items[i], NULL);
	if (carry->owns_memory)
		fd_close(carry->memory);
	free(carry->items);
	free(carry->held);
	free(carry->keys);
	free(carry->bytes);
	free(carry);
	return NULL;
}
