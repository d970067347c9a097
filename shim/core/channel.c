/* SPDX-License-Identifier: MIT */
/* The application's end of its channel to the supervisor: one message in, one message out, each with a deadline. */
#include "shim/core/upg.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define SEND_PATIENCE_US USEC_PER_SEC

static int await_channel(struct upg *upg, short events, uint64_t deadline_us)
{
	struct pollfd fd = { .fd = upg->fd, .events = events };
	int n;

	/* EINTR also comes when this process was imaged and restored inside the call. */
	do
		n = poll(&fd, 1, clock_timeout_ms(deadline_us));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int channel_send(struct upg *upg, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n, uint64_t deadline_us)
{
	if (!deadline_us)
		deadline_us = clock_now_us() + SEND_PATIENCE_US;
	for (;;) {
		int r = wire_send(upg->fd, &message->base, fds, n, &upg->why);

		if (r == WIRE_OK || r < 0)
			return r;
		if (r == WIRE_CLOSED)
			return why_set(&upg->why, -EPIPE, "the supervisor is gone");
		r = await_channel(upg, POLLOUT, deadline_us);
		if (r == 0)
			return why_set(&upg->why, -ETIMEDOUT, "the supervisor does not take %s", wire_app_name(message));
		if (r < 0)
			return why_errno(&upg->why, r, "poll");
	}
}

int channel_receive(struct upg *upg, uint64_t deadline_us, Upgraded__Wire__AppMessage **ret)
{
	for (;;) {
		ProtobufCMessage *message;
		int r;

		r = wire_receive(upg->fd, &upgraded__wire__app_message__descriptor, upg->buffer, &upg->message_fds, &message,
				 &upg->why);
		if (r == WIRE_OK) {
			*ret = (Upgraded__Wire__AppMessage *)message;
			if ((*ret)->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY)
				return CHANNEL_MESSAGE;
			channel_free(upg, *ret);
			/* What this wait is for is worth more than the answer. */
			fds_tell_inventory(upg);
			continue;
		}
		if (r == WIRE_CLOSED)
			return CHANNEL_CLOSED;
		if (r < 0)
			return r;
		r = await_channel(upg, POLLIN, deadline_us);
		if (r == 0)
			return CHANNEL_TIMEOUT;
		if (r < 0)
			return why_errno(&upg->why, r, "poll");
	}
}

void channel_free(struct upg *upg, Upgraded__Wire__AppMessage *message)
{
	wire_fds_close(&upg->message_fds);
	upgraded__wire__app_message__free_unpacked(message, NULL);
}
