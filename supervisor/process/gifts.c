/* SPDX-License-Identifier: MIT */
#include "supervisor/process/gifts.h"

#include "supervisor/process/listeners.h"
#include "supervisor/process/spawned_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

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

/* As systemd does it: from descriptor 3 on, in the order of the file, each with a name. */
static void add_listeners(struct gifts *gifts, const struct listeners *listeners, const struct unit *unit)
{
	char names[sizeof(gifts->texts[0]) - 32] = "";
	size_t used = 0;

	for (size_t i = 0; listeners && i < listeners->n && gifts->n_listeners < UNIT_LISTENS_MAX; i++) {
		const struct listener *listener = &listeners->list[i];
		const char *name = listener->place.options.name;

		if (!listener->ref || !listeners_names(unit, listener))
			continue;
		gifts->fds[gifts->n_fds++] = (struct child_fd){ listener->ref->fd, STORE_FDS_START + (int)gifts->n_listeners };
		gifts->listeners[gifts->n_listeners++] = listener->inode;
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ":" : "", *name ? name : unit->name);
	}
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
