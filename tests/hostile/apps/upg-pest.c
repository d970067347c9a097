/* SPDX-License-Identifier: MIT */
/* upg-pest CONTROL SEED WHO FOLDER SERVICE...: a client of the supervisor that asks these services for anything, and does not
 * always wait for the answer. Files that it saves to and starts from lie in FOLDER. It goes on until it is ended. */
#include "base/fd.h"
#include "tests/wild/invent.h"
#include "tests/wild/things.h"
#include "wire/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEPT_MAX 4u           /* connections at once: others must find room, too */
#define ANSWER_MS 1500u
#define FAR 60u                /* percent of requests that are of a verb which moves a service on */
#define FILES 4u

static struct inventor inventor = { .plausible = 90 };
static struct dice *const dice = &inventor.dice;
static const char *control, *folder;
static int kept[KEPT_MAX]; /* connections that were left alone; 0: none */
static size_t n_kept;

static void nap(size_t ms)
{
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L }, NULL);
}

/* ---- what it asks ---- */

static const char *const versions[] = { "v1", "v2", "v3", NULL };
static const char *const rollbacks[] = { "", "", "auto", "parked", "image", "none", NULL };
static const char *const verifications[] = { "", "", "none", "roundtrip", NULL };
static const char *const ways[] = { "", "", "live", "parked", "image", NULL };
static const char *names[17];

static const struct invent_hint hints[] = {
	{ "protocol", NULL, WIRE_PROTOCOL, WIRE_PROTOCOL },
	{ "service", names, 0, 0 },
	{ "version", versions, 0, 0 },
	{ "rollback", rollbacks, 0, 0 },
	{ "verify", verifications, 0, 0 },
	{ "way", ways, 0, 0 },
	{ "bake_us", NULL, 0, 1500000 },
	{ "generation", NULL, 0, 3 },
	{ NULL, NULL, 0, 0 },
};

/* Verbs that get a service somewhere; the others come from the .proto. */
static Upgraded__Wire__Verb verb_far(void)
{
	static const Upgraded__Wire__Verb far[] = {
		UPGRADED__WIRE__VERB__VERB_START, UPGRADED__WIRE__VERB__VERB_START, UPGRADED__WIRE__VERB__VERB_ROLL,
		UPGRADED__WIRE__VERB__VERB_ROLL,  UPGRADED__WIRE__VERB__VERB_ROLL,  UPGRADED__WIRE__VERB__VERB_UNDO,
	};

	return far[dice_below(dice, sizeof(far) / sizeof(*far))];
}

/* What is asked in the usual way is carried out; yes to everything at once is refused by most verbs. */
static void make_plain(Upgraded__Wire__Request *request)
{
	request->verb = verb_far();
	request->from_file = dice_percent(dice, 10);
	request->require_image = dice_percent(dice, 10);
	if (request->verb == UPGRADED__WIRE__VERB__VERB_START && *request->version && dice_percent(dice, 80))
		request->version[0] = '\0';
}

static ProtobufCMessage *request_invent(void)
{
	ProtobufCMessage *any;
	Upgraded__Wire__ControlMessage *message;

	do {
		any = invent_body(&inventor, &upgraded__wire__control_message__descriptor);
		message = (Upgraded__Wire__ControlMessage *)any;
		if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST || dice_percent(dice, 3))
			break;
		protobuf_c_message_free_unpacked(any, NULL);
	} while (true);
	if (message->body_case != UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST)
		return any;
	if (dice_percent(dice, FAR))
		make_plain(message->request);
	/* Whoever may ask that may have the services left running at the end; this run ends with all of them ended. */
	if (message->request->verb == UPGRADED__WIRE__VERB__VERB_LEAVE)
		message->request->stays_down = true;
	return any;
}

/* A file, in most cases one that it has saved to. Return: -1: none. */
static int file_open(void)
{
	char path[4096];

	if (dice_percent(dice, 20))
		return things_any(dice, STDIN_FILENO);
	snprintf(path, sizeof(path), "%s/saved-%zu", folder, dice_below(dice, FILES));
	return open(path, (dice_percent(dice, 50) ? O_RDONLY : O_WRONLY) | O_CREAT | O_CLOEXEC, 0600);
}

static void request_send(int fd)
{
	ProtobufCMessage *message = request_invent();
	int file = dice_percent(dice, 50) ? file_open() : -1;

	if (dice_percent(dice, 5)) {
		size_t size = protobuf_c_message_get_packed_size(message);
		uint8_t *packed = malloc(size + 1);

		if (packed)
			things_send_damaged(dice, fd, packed, protobuf_c_message_pack(message, packed));
		free(packed);
	} else {
		wire_send(fd, message, &file, file >= 0, NULL);
	}
	fd_close(file);
	protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- whether it listens ---- */

/* Until the connection ends, or patience does. */
static void answer_await(int fd)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct wire_fds fds;
	ProtobufCMessage *message;
	bool more = true;
	int patience_ms = (int)dice_below(dice, ANSWER_MS);

	while (more && poll(&ready, 1, patience_ms) > 0) {
		int r = wire_receive(fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &message, NULL);

		more = r == WIRE_OK;
		if (!more)
			break;
		invent_hear(&inventor, message);
		more = ((Upgraded__Wire__ControlMessage *)message)->body_case != UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
		wire_fds_close(&fds);
		protobuf_c_message_free_unpacked(message, NULL);
	}
	close(fd);
}

/* Nobody reads from it, until it makes room for another one. */
static void keep(int fd)
{
	int *place = &kept[n_kept++ % KEPT_MAX];

	if (*place)
		close(*place);
	*place = fd;
}

static void call_once(void)
{
	int fd = wire_connect(control, NULL);

	if (fd < 0) {
		nap(50); /* it has ended, or has no room: the others find out */
		return;
	}
	if (dice_percent(dice, 5))
		things_send_garbage(dice, fd);
	if (!dice_percent(dice, 3))
		request_send(fd);
	if (dice_percent(dice, 5))
		request_send(fd);
	if (dice_percent(dice, 5))
		shutdown(fd, dice_percent(dice, 50) ? SHUT_WR : SHUT_RD);
	if (dice_percent(dice, 70))
		answer_await(fd);
	else if (dice_percent(dice, 50))
		keep(fd);
	else
		close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fprintf(stderr, "usage: upg-pest CONTROL SEED WHO FOLDER SERVICE...\n");
		return 2;
	}
	control = argv[1];
	folder = argv[4];
	for (int i = 5; i < argc && i - 5 < 16; i++)
		names[i - 5] = argv[i];
	dice_init(dice, strtoull(argv[2], NULL, 0), dice_name(argv[3]));
	inventor.hints = hints;
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		call_once();
		nap(dice_below(dice, 60));
	}
}
