/* SPDX-License-Identifier: MIT */
#include "supervisor/systemd/activation.h"

#include "base/base.h"
#include "supervisor/carry/carry.h"
#include "supervisor/systemd/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct given {
	char name[WIRE_NAME_MAX + 1];
	int fd;
};

struct activation {
	struct given *list;
	size_t n;
};

static int add(struct activation *activation, const char *name, size_t length, int fd)
{
	struct given *grown = reallocarray(activation->list, activation->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	activation->list = grown;
	grown[activation->n] = (struct given){ .fd = fd };
	snprintf(grown[activation->n++].name, sizeof(grown->name), "%.*s", (int)length, name);
	return 0;
}

int activation_open(struct activation **ret_activation, struct why *why)
{
	struct activation *activation = calloc(1, sizeof(*activation));
	const char *names = getenv("LISTEN_FDNAMES");
	unsigned long n = store_came();
	int r = activation ? 0 : -ENOMEM;

	for (unsigned long i = 0; r == 0 && names && i < n; i++) {
		size_t length = strcspn(names, ":");
		int fd = STORE_FDS_START + (int)i;

		if (length <= WIRE_NAME_MAX && !store_is_name(names, length) && door_kind(fd) != DOOR_NONE &&
		    fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			r = add(activation, names, length, fd);
		names += length + (names[length] == ':');
	}
	if (r == 0)
		*ret_activation = activation;
	else
		activation_free(activation);
	return r < 0 ? why_errno(why, r, "what systemd has opened") : 0;
}

int activation_get(const struct activation *activation, const char *name, size_t i)
{
	for (size_t k = 0; activation && k < activation->n; k++)
		if (strcmp(activation->list[k].name, name) == 0 && i-- == 0)
			return activation->list[k].fd;
	return -1;
}

const char *activation_names(const struct activation *activation, char *buf, size_t size)
{
	size_t used = 0;

	snprintf(buf, size, "none");
	for (size_t k = 0; activation && k < activation->n && used < size; k++)
		if (activation_get(activation, activation->list[k].name, 0) == activation->list[k].fd)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", activation->list[k].name);
	return buf;
}

/* ---- from one program to the next ---- */

void activation_put(const struct activation *activation, struct carry *carry, Upgraded__Carry__Folders *folders)
{
	size_t n = activation ? activation->n : 0;
	Upgraded__Carry__Activated *entries = calloc(n + 1, sizeof(*entries));

	folders->activated = calloc(n + 1, sizeof(Upgraded__Carry__Activated *));
	if (!entries || !folders->activated) {
		free(entries);
		carry_fail(carry, -ENOMEM);
		return;
	}
	folders->activated[0] = entries; /* so that it is released where there are none, too */
	for (size_t i = 0; i < n; i++) {
		upgraded__carry__activated__init(&entries[i]);
		entries[i].name = activation->list[i].name;
		entries[i].descriptor = carry_hold(carry, activation->list[i].fd);
		folders->activated[i] = &entries[i];
	}
	folders->n_activated = n;
}

void activation_packed_done(Upgraded__Carry__Folders *folders)
{
	if (folders->activated)
		free(folders->activated[0]);
	free(folders->activated);
	folders->activated = NULL;
	folders->n_activated = 0;
}

int activation_take(struct activation *activation, struct carry *carry, const Upgraded__Carry__Folders *folders)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < folders->n_activated; i++) {
		const Upgraded__Carry__Activated *entry = folders->activated[i];
		int fd = carry_take(carry, entry->descriptor);

		r = fd < 0 ? -EBADMSG : add(activation, entry->name, strnlen(entry->name, WIRE_NAME_MAX), fd);
	}
	return r;
}

struct activation *activation_free(struct activation *activation)
{
	for (size_t i = 0; activation && i < activation->n; i++)
		fd_close(activation->list[i].fd);
	if (activation)
		free(activation->list);
	free(activation);
	return NULL;
}
