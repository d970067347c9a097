/* SPDX-License-Identifier: MIT */
#include "supervisor/control/control.h"

#include "supervisor/control/images.h"
#include "supervisor/criu/probe.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CLIENTS_MAX 64u

struct client {
	struct client *next;
	struct control *control;
	int fd;
	struct source source;
	struct outbox outbox;
	struct asker asker;
	struct probe probe;
	bool probing;
	struct images_call *images;
	bool asked;   /* its one request is being worked on */
	bool closing; /* the result is sent or queued: nothing more will come */
};

struct control {
	struct registry *registry;
	int fd;
	struct source source;
	struct client *clients;
	unsigned n_clients;
};

static void accept_again(struct control *control)
{
	source_set(&control->source, control->n_clients < CLIENTS_MAX ? (uint32_t)EPOLLIN : 0u);
}

static void client_free(struct client *client)
{
	struct control *control = client->control;

	for (struct client **link = &control->clients; *link; link = &(*link)->next) {
		if (*link == client) {
			*link = client->next;
			break;
		}
	}
	service_forget(&client->asker);
	if (client->probing)
		probe_done(&client->probe);
	images_call_free(client->images);
	source_del(&client->source);
	outbox_clear(&client->outbox);
	fd_close(client->fd);
	free(client);
	control->n_clients--;
	accept_again(control);
}

/* Who connects and says nothing must not keep others out: the one that has been silent longest makes room. */
static void make_room(struct control *control)
{
	struct client *silent = NULL;

	for (struct client *client = control->clients; client; client = client->next) /* the newest first */
		if (!client->asked)
			silent = client;
	if (control->n_clients < CLIENTS_MAX || !silent)
		return;
	log_warning("control socket: %u connections; a silent one is closed", control->n_clients);
	client_free(silent);
}

static void client_watch(struct client *client)
{
	source_set(&client->source, EPOLLIN | (outbox_is_empty(&client->outbox) ? 0u : (uint32_t)EPOLLOUT));
}

/* Never frees the client: whoever answers may still be using it. A peer that is gone shows as EPOLLHUP. */
static void client_send(struct client *client, const Upgraded__Wire__ControlMessage *message)
{
	if (outbox_send(&client->outbox, client->fd, &message->base, NULL, 0, NULL) < 0)
		shutdown(client->fd, SHUT_RDWR);
	client_watch(client);
}

static void send_result(struct client *client, Upgraded__Wire__Result *result)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;

	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
	message.result = result;
	client_send(client, &message);
	client->closing = true;
}

static void answer(struct client *client, enum wire_exit code, const char *text, const char *cause, const char *next)
{
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;

	result.code = (uint32_t)code;
	result.text = (char *)(uintptr_t)text;
	result.cause = (char *)(uintptr_t)(cause ? cause : "");
	result.next = (char *)(uintptr_t)(next ? next : "");
	send_result(client, &result);
}

static void on_progress(struct asker *asker, const Upgraded__Wire__Progress *progress)
{
	struct client *client = container_of(asker, struct client, asker);
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;

	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PROGRESS;
	message.progress = (Upgraded__Wire__Progress *)(uintptr_t)progress;
	client_send(client, &message);
}

static void on_result(struct asker *asker, const Upgraded__Wire__Result *result)
{
	send_result(container_of(asker, struct client, asker), (Upgraded__Wire__Result *)(uintptr_t)result);
}

/* ---- list and status ---- */

static void answer_statuses(struct client *client, const struct service *only)
{
	struct registry *registry = client->control->registry;
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	struct status_scratch *scratches;
	Upgraded__Wire__ServiceStatus *statuses, **list;
	size_t n = 0, i = 0;

	for (const struct service *s = registry->services; s; s = s->next)
		n++;
	scratches = calloc(n + 1, sizeof(*scratches));
	statuses = calloc(n + 1, sizeof(*statuses));
	list = calloc(n + 1, sizeof(*list));
	if (scratches && statuses && list) {
		for (const struct service *s = registry->services; s; s = s->next) {
			if (only && s != only)
				continue;
			service_status(s, &statuses[i], &scratches[i]);
			list[i] = &statuses[i];
			i++;
		}
		result.n_services = i;
		result.services = list;
		if (only && strcmp(statuses[0].state, "running") != 0 && service_is_idle(only))
			result.code = WIRE_EXIT_NOT_RUNNING;
		send_result(client, &result);
	} else {
		answer(client, WIRE_EXIT_ERROR, "out of memory", NULL, NULL);
	}
	free(list);
	free(statuses);
	free(scratches);
}

/* ---- check ---- */

struct checks {
	Upgraded__Wire__Check entries[8], *list[8];
	struct why details[8];
	size_t n;
};

static void check_add(struct checks *checks, const char *name, bool ok, const struct why *detail)
{
	Upgraded__Wire__Check *check = &checks->entries[checks->n];

	upgraded__wire__check__init(check);
	checks->details[checks->n] = *detail;
	check->name = (char *)(uintptr_t)name;
	check->ok = ok;
	check->detail = checks->details[checks->n].text;
	checks->list[checks->n++] = check;
}

static bool check_services(struct registry *registry, struct why *detail)
{
	unsigned n = 0;

	if (registry_scan(registry, detail) < 0)
		return false;
	for (const struct service *s = registry->services; s; s = s->next, n++) {
		struct unit *unit;

		if (unit_load(registry->host.config_dir, s->name, &unit, detail) < 0)
			return false;
		unit_free(unit);
	}
	why_set(detail, 0, "%u in %s", n, registry->host.config_dir);
	return true;
}

/* Images of root's processes are what the probe tries; of another user's they need more. */
static bool check_users(struct registry *registry, struct why *detail)
{
	const char *whose = NULL;

	for (const struct service *s = registry->services; s && !whose; s = s->next) {
		struct unit *unit;

		if (unit_load(registry->host.config_dir, s->name, &unit, NULL) < 0)
			continue;
		if (*unit->user && strcmp(unit->user, "root") != 0)
			whose = s->name;
		unit_free(unit);
	}
	if (imageable_may_restore_users()) {
		why_set(detail, 0, "processes of any user can be restored");
		return true;
	}
	why_set(detail, 0, "without CAP_SYS_RESOURCE only root's processes can be restored%s%s%s", whose ? "; " : "",
		whose ? whose : "", whose ? " sets User= and has no image as way back" : ", and no service sets User=");
	return !whose;
}

static bool check_sock_diag(const struct registry *registry, struct why *detail)
{
	if (!registry->host.site.conntable) {
		why_set(detail, 0, "no sock_diag: after a rollback every connection is reset, as nobody can tell which may go on");
		return false;
	}
	why_set(detail, 0, "sock_diag answers");
	return true;
}

static void answer_checks(struct client *client, bool criu_ok, const struct why *criu_detail)
{
	struct registry *registry = client->control->registry;
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	struct checks checks = { .n = 0 };
	struct why detail = { 0 };
	struct utsname kernel;
	bool services_ok;

	uname(&kernel);
	why_set(&detail, 0, "%s %s", kernel.sysname, kernel.release);
	check_add(&checks, "kernel", true, &detail);
	services_ok = check_services(registry, &detail);
	check_add(&checks, "service files", services_ok, &detail);
	check_add(&checks, "connection table", check_sock_diag(registry, &detail), &detail);
	check_add(&checks, "images", criu_ok, criu_detail);
	check_add(&checks, "images of users", check_users(registry, &detail), &detail);
	result.n_checks = checks.n;
	result.checks = checks.list;
	result.code = criu_ok && services_ok ? WIRE_EXIT_DONE : WIRE_EXIT_ERROR;
	result.text = (char *)(uintptr_t)(criu_ok ? "rolls can go back to the parked process and to an image" :
						    "rolls run, and can go back to the parked process only");
	send_result(client, &result);
}

static void on_probed(struct probe *probe, bool ok, const struct why *detail)
{
	struct client *client = probe->owner;

	registry_set_criu(client->control->registry, ok, detail);
	answer_checks(client, ok, detail);
}

static void start_check(struct client *client)
{
	struct registry *registry = client->control->registry;
	struct why why = { 0 };

	probe_init(&client->probe, client);
	if (probe_start(registry->host.site.loop, &client->probe, registry->criu_path, registry->work_dir, on_probed, &why) < 0) {
		registry_set_criu(registry, false, &why);
		answer_checks(client, false, &why);
		return;
	}
	client->probing = true;
}

/* ---- requests ---- */

static void handle_service_verb(struct client *client, const Upgraded__Wire__Request *request, struct wire_fds *fds)
{
	struct why why = { 0 };
	struct service *service = registry_find(client->control->registry, request->service, &why);

	if (!service) {
		bool bad_name = unit_name_check("service", request->service, NULL) < 0;
		char text[256];

		snprintf(text, sizeof(text), bad_name ? "that is no service name" : "there is no service %s", request->service);
		answer(client,
		       bad_name ? WIRE_EXIT_USAGE : WIRE_EXIT_NO_SUCH_SERVICE,
		       text, why.text, "upgradectl list shows the services");
		return;
	}
	client->asker.wait_commit = request->wait_commit;
	switch ((int)request->verb) {
	case UPGRADED__WIRE__VERB__VERB_START:
		if (request->from_file && !fds->n)
			answer(client, WIRE_EXIT_USAGE, "start --from came without a file", NULL, NULL);
		else
			service_start(service, request->version, request->from_file ? wire_fds_claim(fds, 0) : -1,
				      &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_STOP:
		service_stop(service, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_ROLL:
		service_roll(service, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_SAVE:
		service_save(service, wire_fds_claim(fds, 0), &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_UNDO:
		service_undo(service, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_PLAN:
		service_plan(service, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_PACK:
		service_pack(service, &client->asker);
		break;
	default:
		answer_statuses(client, service);
	}
}

static bool version_is_fit(const Upgraded__Wire__Request *request, struct why *why)
{
	if (*request->version)
		return unit_name_check("version", request->version, why) == 0;
	if (request->verb != UPGRADED__WIRE__VERB__VERB_ROLL && request->verb != UPGRADED__WIRE__VERB__VERB_PLAN)
		return true;
	why_set(why, 0, "roll and plan need a version");
	return false;
}

static void handle_request(struct client *client, const Upgraded__Wire__Request *request, struct wire_fds *fds)
{
	struct registry *registry = client->control->registry;
	struct why why = { 0 };

	if (request->protocol != WIRE_PROTOCOL) {
		why_set(&why, 0, "upgradectl speaks protocol %u, upgraded speaks %u", request->protocol, WIRE_PROTOCOL);
		answer(client, WIRE_EXIT_ERROR, "upgradectl and upgraded are of different versions", why.text,
		       "install both from one release");
		return;
	}
	if (!version_is_fit(request, &why)) {
		answer(client, WIRE_EXIT_USAGE, "that is no version name", why.text, NULL);
		return;
	}
	switch ((int)request->verb) {
	case UPGRADED__WIRE__VERB__VERB_STATUS:
		if (*request->service) {
			handle_service_verb(client, request, fds);
			break;
		}
		/* fall through */
	case UPGRADED__WIRE__VERB__VERB_LIST:
		if (registry_scan(registry, &why) < 0)
			answer(client, WIRE_EXIT_ERROR, "the services cannot be listed", why.text,
			       "is the configuration directory there?");
		else
			answer_statuses(client, NULL);
		break;
	case UPGRADED__WIRE__VERB__VERB_CHECK:
		start_check(client);
		break;
	case UPGRADED__WIRE__VERB__VERB_IMAGES_LIST:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_GC:
		client->images = images_call_start(registry, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_START:
	case UPGRADED__WIRE__VERB__VERB_STOP:
	case UPGRADED__WIRE__VERB__VERB_ROLL:
	case UPGRADED__WIRE__VERB__VERB_UNDO:
	case UPGRADED__WIRE__VERB__VERB_SAVE:
	case UPGRADED__WIRE__VERB__VERB_PLAN:
	case UPGRADED__WIRE__VERB__VERB_PACK:
		handle_service_verb(client, request, fds);
		break;
	default:
		answer(client, WIRE_EXIT_USAGE, "upgraded does not know this verb", NULL,
		       "install upgradectl and upgraded from one release");
	}
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
			handle_request(client, message->request, &fds);
		} else if (!client->asked) {
			r = -EBADMSG;
			why_set(&why, 0, "it holds no request");
		}
		upgraded__wire__control_message__free_unpacked(message, NULL);
	}
	if (r == -EBADMSG && !client->asked) {
		client->asked = true;
		log_warning("control socket: %s", why.text);
		answer(client, WIRE_EXIT_USAGE, "upgraded did not understand the request", why.text,
		       "is that upgradectl, of this release?");
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
		client_free(client);
}

/* ---- clients ---- */

/* The socket's mode keeps others out; this is for a directory somebody opened too wide. */
static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void on_connection(struct source *source, uint32_t events)
{
	struct control *control = container_of(source, struct control, source);
	int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client;

	(void)events;
	if (fd < 0)
		return;
	client = may_ask(fd) ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		log_warning("control socket: a connection was turned away");
		fd_close(fd);
		return;
	}
	client->control = control;
	client->fd = fd;
	client->asker.on_progress = on_progress;
	client->asker.on_result = on_result;
	outbox_init(&client->outbox);
	if (source_add(control->registry->host.site.loop, &client->source, fd, EPOLLIN, on_client) < 0) {
		fd_close(fd);
		free(client);
		return;
	}
	client->next = control->clients;
	control->clients = client;
	control->n_clients++;
	make_room(control);
	accept_again(control);
}

int control_open(struct registry *registry, const char *path, struct control **ret_control, struct why *why)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return why_errno(why, -ENOMEM, "control socket");
	control->registry = registry;
	control->fd = wire_listen(path, 0600, why);
	if (control->fd < 0) {
		r = control->fd;
		free(control);
		return r;
	}
	r = source_add(registry->host.site.loop, &control->source, control->fd, EPOLLIN, on_connection);
	if (r < 0) {
		fd_close(control->fd);
		free(control);
		return why_errno(why, r, "control socket");
	}
	*ret_control = control;
	return 0;
}

struct control *control_close(struct control *control)
{
	if (!control)
		return NULL;
	while (control->clients)
		client_free(control->clients);
	source_del(&control->source);
	fd_close(control->fd);
	free(control);
	return NULL;
}
