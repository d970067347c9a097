/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/sockets_of.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	const struct socket_of *one = a, *two = b;

	return one->inode < two->inode ? -1 : one->inode > two->inode;
}

static int add(struct sockets_of *sockets, size_t *room, unsigned long long inode, int number)
{
	if (sockets->n == *room) {
		size_t more = *room ? 2 * *room : 256;
		struct socket_of *larger = reallocarray(sockets->sockets, more, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		sockets->sockets = larger;
		*room = more;
	}
	sockets->sockets[sockets->n++] = (struct socket_of){ .inode = inode, .number = number };
	return 0;
}

int sockets_of_read(pid_t pid, int below, struct sockets_of *ret)
{
	char path[64], link[64];
	struct dirent *entry;
	size_t room = 0;
	DIR *dir;
	int r = 0;

	*ret = (struct sockets_of){ .sockets = NULL };
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir)) && atoi(entry->d_name) < below) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		unsigned long long inode;

		link[n > 0 ? n : 0] = 0;
		if (sscanf(link, "socket:[%llu]", &inode) == 1)
			r = add(ret, &room, inode, atoi(entry->d_name));
	}
	closedir(dir);
	if (ret->n)
		qsort(ret->sockets, ret->n, sizeof(*ret->sockets), compare);
	return r;
}

int sockets_of_find(const struct sockets_of *sockets, unsigned long long inode)
{
	const struct socket_of key = { .inode = inode };
	const struct socket_of *found =
		sockets->n ? bsearch(&key, sockets->sockets, sockets->n, sizeof(key), compare) : NULL;

	return found ? found->number : -1;
}

void sockets_of_done(struct sockets_of *sockets)
{
	free(sockets->sockets);
	*sockets = (struct sockets_of){ .sockets = NULL };
}
