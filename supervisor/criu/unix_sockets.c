/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/unix_sockets.h"

#include "base/why.h"
#include "supervisor/custody/sockdiag.h"

#include <errno.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void on_unix(const void *entry, size_t size, void *userdata)
{
	struct unix_sockets *list = userdata;
	const struct unix_diag_msg *message = entry;
	struct unix_socket found = { 0 };
	const void *peer;
	const char *name;
	size_t length = 0;

	if (size < sizeof(*message) || list->out_of_memory)
		return;
	if (list->n == list->room) {
		struct unix_socket *more = reallocarray(list->sockets, list->room + 1024, sizeof(*more));

		list->out_of_memory = !more;
		if (!more)
			return;
		list->sockets = more;
		list->room += 1024;
	}
	found.inode = message->udiag_ino;
	peer = sockdiag_attribute(entry, size, sizeof(*message), UNIX_DIAG_PEER, &length);
	if (peer && length >= sizeof(found.peer))
		memcpy(&found.peer, peer, sizeof(found.peer));
	name = sockdiag_attribute(entry, size, sizeof(*message), UNIX_DIAG_NAME, &length);
	if (name) {
		found.name = length ? strndup(name, length) : strdup(""); /* an abstract name begins with a NUL */
		list->out_of_memory = !found.name;
	}
	list->sockets[list->n++] = found;
}

static int compare(const void *a, const void *b)
{
	const struct unix_socket *one = a, *two = b;

	return (one->inode > two->inode) - (one->inode < two->inode);
}

int unix_sockets_read(struct unix_sockets *ret, struct why *why)
{
	struct unix_diag_req request = { .sdiag_family = AF_UNIX, .udiag_states = ~0u,
					 .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_NAME };
	struct sockdiag *diag;
	int r;

	r = sockdiag_new(&diag, why);
	if (r < 0)
		return r;
	r = sockdiag_dump(diag, &request, sizeof(request), on_unix, ret, why);
	sockdiag_free(diag);
	if (r == -EINTR)
		r = 0; /* the list changed while it was read, but the sockets of this process did not */
	if (ret->n)
		qsort(ret->sockets, ret->n, sizeof(*ret->sockets), compare);
	return ret->out_of_memory ? why_errno(why, -ENOMEM, "list of unix sockets") : r;
}

void unix_sockets_done(struct unix_sockets *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->sockets[i].name);
	free(list->sockets);
	*list = (struct unix_sockets){ 0 };
}

const struct unix_socket *unix_sockets_find(const struct unix_sockets *list, unsigned long long inode)
{
	struct unix_socket key = { .inode = (unsigned)inode };

	if (inode != key.inode || !list->n)
		return NULL;
	return bsearch(&key, list->sockets, list->n, sizeof(key), compare);
}
