/* SPDX-License-Identifier: MIT */
#include "supervisor/control/client.h"

#include "supervisor/control/verbs.h"
#include "supervisor/service/carried.h"
#include "supervisor/service/phases.h"
#include "supervisor/service/registry.h"
#include "wire/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* One whose result was sent is called once more, to be freed: an answer may come from anywhere. */
static void client_watch(struct client *client)
{
	bool writes = client->closing || !outbox_is_empty(&client->outbox);

	source_set(&client->source, EPOLLIN | (writes ? (uint32_t)EPOLLOUT : 0u));
}

/* Never frees the client, as the caller may still be using it. That the peer is gone comes as EPOLLHUP. Return: 0; -errno: no more
 * can be sent. */
static int client_send(void *arg, const Upgraded__Wire__ControlMessage *message)
{
	struct client *client = arg;
	int r = outbox_send(&client->outbox, client->fd, &(struct outbox_message){ .message = &message->base }, NULL);

	if (r < 0)
		shutdown(client->fd, SHUT_RDWR);
	client_watch(client);
	return r;
}

/* Who asked is told in any case, if only that there is no telling. */
static void send_result(struct client *client, const Upgraded__Wire__Result *result)
{
	Upgraded__Wire__Result instead = UPGRADED__WIRE__RESULT__INIT;
	struct why why = { 0 };

	client->closing = true;
	if (parts_send(result, client_send, client, &why) == 0 || !*why.text)
		return;
	log_warning("control socket: %s", why.text);
	instead.code = result->code == WIRE_EXIT_DONE ? WIRE_EXIT_ERROR : result->code;
	instead.text = wire_text("the answer cannot be sent");
	instead.cause = why.text;
	instead.next = wire_text("ask for one service or image, not for all");
	(void)parts_send(&instead, client_send, client, NULL);
}

static void on_progress(struct asker *asker, const Upgraded__Wire__Progress *progress)
{
	struct client *client = container_of(asker, struct client, asker);
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;

	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PROGRESS;
	message.progress = (Upgraded__Wire__Progress *)(uintptr_t)progress;
	(void)client_send(client, &message);
}

static void on_result(struct asker *asker, const Upgraded__Wire__Result *result)
{
	send_result(container_of(asker, struct client, asker), result);
}

/* Return: true while the client is to be kept. */
static bool read_request(struct client *client)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX]; /* one loop thread */
	struct wire_fds fds;
	ProtobufCMessage *unpacked;
	struct why why = { 0 };
	int r = wire_receive(client->fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &unpacked, &why);

	if (r == WIRE_AGAIN)
		return true;
	if (r == WIRE_OK) {
		Upgraded__Wire__ControlMessage *message = (Upgraded__Wire__ControlMessage *)unpacked;

		if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST && !client->asked) {
			client->asked = true;
			client->errand = verbs_run(client->registry, message->request, &fds, &client->asker);
		} else if (!client->asked) {
			r = -EBADMSG;
			why_set(&why, 0, "it holds no request");
		}
		upgraded__wire__control_message__free_unpacked(message, NULL);
	}
	if (r == -EBADMSG && !client->asked) {
		client->asked = true;
		log_warning("control socket: %s", why.text);
		asker_answer(&client->asker, &(struct answer){ .code = WIRE_EXIT_USAGE,
							       .text = "upgraded did not understand the request",
							       .cause = why.text,
							       .next = "is that upgradectl, of this release?" });
	}
	wire_fds_close(&fds);
	return r == WIRE_OK || r == -EBADMSG;
}

static void on_client(struct source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);
	bool keep = true;

	if (events & EPOLLOUT) {
		keep = outbox_flush(&client->outbox, client->fd, NULL) == 0;
		client_watch(client);
	}
	if (keep && events & EPOLLIN)
		keep = read_request(client);
	if (!keep || (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN)) ||
	    (client->closing && outbox_is_empty(&client->outbox)))
		client->on_gone(client);
}

/* ---- over an execve ---- */

bool client_may_be_left(const struct client *client)
{
	if (client->closing)
		return true;
	if (client->errand)
		return errand_is_self(client->errand);
	return !client->asked ||
	       (client->asker.service && service_waits_for(client->asker.service, &client->asker));
}

void client_send_off(struct client *client)
{
	if (!client->asked || client->closing)
		return;
	service_forget(&client->asker);
	asker_answer(&client->asker, &(struct answer){ .code = WIRE_EXIT_TIMED_OUT,
						       .text = "upgraded is being started anew; what was asked for goes on",
						       .next = "see how it gets on: upgradectl status" });
}

void client_put(const struct client *client, struct carry *carry)
{
	Upgraded__Carry__Client left = UPGRADED__CARRY__CLIENT__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

	/* Its answer is on its way, or it does not read: its connection ends here, as it would have. */
	if (client->closing || !outbox_is_empty(&client->outbox))
		return;
	left.connection = carry_hold(carry, client->fd);
	if (client->asker.service)
		left.service = wire_text(service_name(client->asker.service));
	left.wait_commit = client->asker.wait_commit;
	left.phases = client->asker.phases;
	left.asked_for_this = errand_is_self(client->errand);
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_CLIENT;
	item.client = &left;
	carry_put(carry, &item);
}

void client_take_left(struct client *client, const Upgraded__Carry__Client *left, const struct answer *answer)
{
	struct service *service = *left->service ? registry_known(client->registry, left->service) : NULL;

	client->asked = left->asked_for_this || *left->service;
	client->asker.wait_commit = left->wait_commit;
	client->asker.phases = left->phases;
	if (left->asked_for_this) {
		asker_answer(&client->asker, answer);
	} else if (service) {
		service_wait(service, &client->asker);
		service_tell_phase(service, &client->asker);
	}
}

/* ---- life ---- */

int client_new(struct registry *registry, int fd_consume, void (*on_gone)(struct client *client), struct client **ret_client)
{
	struct client *client = calloc(1, sizeof(*client));
	int r = client ? source_add(registry->host.site.loop, &client->source, fd_consume, EPOLLIN, on_client) : -ENOMEM;

	if (r < 0) {
		fd_close(fd_consume);
		free(client);
		return r;
	}
	client->registry = registry;
	client->fd = fd_consume;
	client->on_gone = on_gone;
	client->asker.on_progress = on_progress;
	client->asker.on_result = on_result;
	(void)who_of_socket(fd_consume, &client->asker.who);
	outbox_init(&client->outbox);
	*ret_client = client;
	return 0;
}

struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;
	service_forget(&client->asker);
	if (client->errand)
		client->errand->free(client->errand);
	source_del(&client->source);
	outbox_clear(&client->outbox);
	fd_give_up(client->fd); /* with what lies in there and was not heard */
	free(client);
	return NULL;
}
