/* SPDX-License-Identifier: MIT */
#include "supervisor/process/gifts.h"

#include "supervisor/process/listeners.h"
#include "supervisor/process/spawned_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define APP_CHANNEL_FD 3

static void add_variable(struct gifts *gifts, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_variable(struct gifts *gifts, const char *fmt, ...)
{
	char *text = gifts->texts[gifts->n_more];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(gifts->texts[0]), fmt, args);
	va_end(args);
	gifts->more[gifts->n_more++] = text;
}

static void add_listener(struct gifts *gifts, const struct listener *listener, const char *service, char *names, size_t size)
{
	const char *name = listener->place.options.name;
	size_t used = strlen(names);

	gifts->fds[gifts->n_fds++] = (struct child_fd){ listener->ref->fd, STORE_FDS_START + (int)gifts->n_listeners };
	gifts->listeners[gifts->n_listeners++] = listener->inode;
	snprintf(names + used, size - used, "%s%s", used ? ":" : "", *name ? name : service);
}

/* As systemd does it: from descriptor 3 on, in the order of the file, each with a name. They are held in the order in which they
 * were opened, which may be by an earlier file. */
static void add_listeners(struct gifts *gifts, const struct listeners *listeners, const struct unit *unit)
{
	char names[sizeof(gifts->texts[0]) - 32] = "";

	for (size_t k = 0; listeners && k < unit->n_listens; k++)
		for (size_t i = 0; i < listeners->n && gifts->n_listeners < UNIT_LISTENS_MAX; i++)
			if (listeners->list[i].ref && unit_listen_names(&unit->listens[k], &listeners->list[i].place))
				add_listener(gifts, &listeners->list[i], unit->name, names, sizeof(names));
	if (!gifts->n_listeners)
		return;
	gifts->named = true;
	add_variable(gifts, "LISTEN_FDS=%zu", gifts->n_listeners);
	add_variable(gifts, "LISTEN_FDNAMES=%s", names);
}

void gifts_make(const struct spawned *spawned, const struct unit *unit, int channel, struct gifts *ret)
{
	const struct spawner *spawner = spawned->spawner;

	*ret = (struct gifts){ .n_fds = 0 };
	if (!spawned->voice) {
		ret->fds[ret->n_fds++] = (struct child_fd){ channel, APP_CHANNEL_FD };
		add_variable(ret, WIRE_FD_ENV "=%d", APP_CHANNEL_FD);
		return;
	}
	add_listeners(ret, spawner->origin.listeners, unit);
	if (spawned->voice->notified.path)
		add_variable(ret, "NOTIFY_SOCKET=%s", spawned->voice->notified.path);
	if (unit->watchdog_us)
		add_variable(ret, "WATCHDOG_USEC=%" PRIu64, unit->watchdog_us);
}
