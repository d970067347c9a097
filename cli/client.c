/* SPDX-License-Identifier: MIT */
#include "cli/client.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "cli/far.h"
#include "cli/format.h"
#include "cli/interrupt.h"
#include "wire/parts.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct channel {
	int fd;
	uint64_t due_us; /* UINT64_MAX: never */
	struct client_feed *feed; /* NULL: none */
};

enum channel_outcome { CHANNEL_READY = 0, CHANNEL_DUE = 1, CHANNEL_INTERRUPTED = 2 };

static int channel_wait(const struct channel *channel, short events, struct why *why)
{
	for (;;) {
		struct client_feed *feed = channel->feed;
		struct pollfd pollfds[] = { { .fd = channel->fd, .events = events },
					    { .fd = feed ? feed->fd : -1, .events = POLLIN } };
		int timeout_ms = clock_timeout_ms(channel->due_us);
		struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L };
		int n = ppoll(pollfds, 2, timeout_ms < 0 ? NULL : &timeout, interrupt_mask());

		if (interrupt_came())
			return CHANNEL_INTERRUPTED;
		if (n == 0)
			return CHANNEL_DUE;
		if (n < 0 && errno != EINTR)
			return why_errno(why, -errno, "poll");
		if (n > 0 && pollfds[1].revents)
			feed->on_readable(feed);
		if (n > 0 && pollfds[0].revents)
			return CHANNEL_READY; /* if the peer is gone, the next read or write says so */
		if (clock_now_us() >= channel->due_us)
			return CHANNEL_DUE; /* whatever the feed still has */
	}
}

static int lost(struct why *why)
{
	why_set(why, 0, "upgraded closed the connection before it answered");
	return CLIENT_LOST;
}

static int timed_out(const struct client_call *call, struct why *why)
{
	char time[FORMAT_MAX];

	why_set(why, 0, "gave up waiting after %s", format_age(time, sizeof(time), call->timeout_us));
	return CLIENT_TIMED_OUT;
}

static int send_request(const struct channel *channel, const struct client_call *call, struct why *why)
{
	Upgraded__Wire__ControlMessage message;
	Upgraded__Wire__Request request = *call->request;
	int rc;

	upgraded__wire__control_message__init(&message);
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST;
	message.request = &request;
	for (;;) {
		rc = wire_send(channel->fd, &message.base, call->fds, call->n_fds, why);
		if (rc == WIRE_CLOSED)
			return lost(why);
		if (rc != WIRE_AGAIN)
			return rc;
		rc = channel_wait(channel, POLLOUT, why);
		if (rc == CHANNEL_INTERRUPTED)
			return CLIENT_INTERRUPTED;
		if (rc == CHANNEL_DUE)
			return why_set(why, -ETIMEDOUT, "upgraded does not take requests on %s: no request was sent",
				       call->socket_path);
		if (rc < 0)
			return rc;
	}
}

/* Receive one message of any kind. */
static int receive(const struct channel *channel, const struct client_call *call, void *buffer,
		   Upgraded__Wire__ControlMessage **ret_message, struct why *why)
{
	ProtobufCMessage *message = NULL;
	struct wire_fds fds;
	int rc;

	for (;;) {
		rc = channel_wait(channel, POLLIN, why);
		if (rc == CHANNEL_DUE)
			return timed_out(call, why);
		if (rc == CHANNEL_INTERRUPTED)
			return CLIENT_INTERRUPTED;
		if (rc < 0)
			return rc;
		rc = wire_receive(channel->fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &message, why);
		if (rc == WIRE_CLOSED)
			return lost(why);
		if (rc < 0) {
			why_prefix(why, rc, "what answers on %s is no supervisor of protocol %u", call->socket_path,
				   WIRE_PROTOCOL);
			return rc;
		}
		if (rc == WIRE_OK)
			break;
	}
	wire_fds_close(&fds); /* no answer has descriptors */
	*ret_message = (Upgraded__Wire__ControlMessage *)(void *)message;
	return CLIENT_ANSWERED;
}

/* @message_consume: a part. With the last one *@ret_message is as if all had come at once. Return: enum parts_outcome or -errno. */
static int take_part(struct parts *parts, Upgraded__Wire__ControlMessage *message_consume,
		     Upgraded__Wire__ControlMessage **ret_message, struct why *why)
{
	Upgraded__Wire__Result *result = NULL;
	int rc = parts_take(parts, message_consume->part, &result, why);

	if (rc != PARTS_WHOLE) {
		upgraded__wire__control_message__free_unpacked(message_consume, NULL);
		return rc;
	}
	upgraded__wire__result_part__free_unpacked(message_consume->part, NULL);
	message_consume->body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
	message_consume->result = result;
	*ret_message = message_consume;
	return rc;
}

static int receive_result(const struct channel *channel, const struct client_call *call, void *buffer, struct parts *parts,
			  Upgraded__Wire__ControlMessage **ret_message, struct why *why)
{
	for (;;) {
		Upgraded__Wire__ControlMessage *message;
		int rc = receive(channel, call, buffer, &message, why);

		if (rc != CLIENT_ANSWERED)
			return rc;
		if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT) {
			*ret_message = message;
			return CLIENT_ANSWERED;
		}
		if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PART) {
			rc = take_part(parts, message, ret_message, why);
			if (rc == PARTS_MORE)
				continue;
			return rc == PARTS_WHOLE ? CLIENT_ANSWERED : rc;
		}
		/* An unknown message is not skipped as one of a newer supervisor: nearly any bytes parse as a message of unknown
		 * fields, and a peer that sends such may never send a result. */
		if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_EVENT && call->on_event)
			call->on_event(call->data, message->event);
		else if (message->body_case != UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PROGRESS)
			rc = why_set(why, -EPROTO, "what answers on %s is no supervisor of protocol %u", call->socket_path,
				     WIRE_PROTOCOL);
		else if (call->on_progress)
			call->on_progress(call->data, message->progress);
		upgraded__wire__control_message__free_unpacked(message, NULL);
		if (rc < 0)
			return rc;
	}
}

/* A descriptor is worth something. Somebody else's program may listen where upgraded should, if others can write to its folder. */
static int trust_peer(const struct channel *channel, const struct client_call *call, struct why *why)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (!call->n_fds)
		return 0;
	if (getsockopt(channel->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return why_errno(why, -errno, "%s: who listens on it", call->socket_path);
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	return why_set(why, -EPERM, "on %s a program of uid %u listens, which is neither root nor you: it gets no file",
		       call->socket_path, (unsigned)peer.uid);
}

static int converse(const struct channel *channel, const struct client_call *call,
		    Upgraded__Wire__ControlMessage **ret_message, struct why *why)
{
	struct parts parts = { 0 };
	void *buffer;
	int rc;

	rc = trust_peer(channel, call, why);
	if (rc < 0)
		return rc;
	rc = fd_nonblock(channel->fd, 1);
	if (rc < 0)
		return why_errno(why, rc, "%s: O_NONBLOCK", call->socket_path);
	rc = send_request(channel, call, why);
	if (rc != 0)
		return rc;
	buffer = malloc((size_t)WIRE_MESSAGE_MAX);
	if (!buffer)
		return why_errno(why, -ENOMEM, "room for an answer");
	rc = receive_result(channel, call, buffer, &parts, ret_message, why);
	parts_done(&parts);
	free(buffer);
	return rc;
}

int client_call(const struct client_call *call, Upgraded__Wire__ControlMessage **ret_message, struct why *why)
{
	struct channel channel = { .due_us = UINT64_MAX, .feed = call->feed };
	int rc;

	if (call->timeout_us && __builtin_add_overflow(clock_now_us(), call->timeout_us, &channel.due_us))
		channel.due_us = UINT64_MAX;
	if (call->host && call->n_fds)
		return why_set(why, -ENOTSUP, "a file cannot be handed to another machine; run this on %s itself", call->host);
	channel.fd = call->host ? far_connect(call->host, why) : wire_connect(call->socket_path, why);
	/* A branch on an errno, but it is the kernel's of connect(2), and the advice differs. */
	if (channel.fd == -EACCES || channel.fd == -EPERM)
		return CLIENT_FORBIDDEN;
	if (channel.fd < 0)
		return CLIENT_UNREACHABLE;
	rc = converse(&channel, call, ret_message, why);
	fd_close(channel.fd);
	return rc;
}
