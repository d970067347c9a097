/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/sockets_of.h"

#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	const struct socket_of *one = a, *two = b;

	return one->inode < two->inode ? -1 : one->inode > two->inode;
}

static int add(void *arg, int number, unsigned long long inode)
{
	struct sockets_of *sockets = arg;

	if (sockets->n == sockets->room) {
		size_t more = sockets->room ? 2 * sockets->room : 256;
		struct socket_of *larger = reallocarray(sockets->sockets, more, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		sockets->sockets = larger;
		sockets->room = more;
	}
	sockets->sockets[sockets->n++] = (struct socket_of){ .inode = inode, .number = number };
	return 0;
}

int sockets_of_read(pid_t pid, int below, struct sockets_of *ret)
{
	int r;

	*ret = (struct sockets_of){ .sockets = NULL };
	r = procfs_each_socket(pid, below, add, ret);
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
