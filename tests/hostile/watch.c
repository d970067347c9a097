/* SPDX-License-Identifier: MIT */
#include "tests/hostile/watch.h"

#include "base/clock.h"
#include "base/fd.h"
#include "wire/wire.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_US (10 * USEC_PER_SEC)

/* ---- an answer ---- */

/* How long @pid has stood in a queue for a processor, all in all. Its main thread has the loop. */
static uint64_t queued_us(pid_t pid)
{
	unsigned long long ran_ns, queued_ns = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%llu %llu", &ran_ns, &queued_ns) != 2)
		queued_ns = 0;
	fclose(file);
	return queued_ns / 1000;
}

static bool ask_for_list(int fd)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	Upgraded__Wire__Request request = UPGRADED__WIRE__REQUEST__INIT;

	request.protocol = WIRE_PROTOCOL;
	request.verb = UPGRADED__WIRE__VERB__VERB_LIST;
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST;
	message.request = &request;
	return wire_send(fd, &message.base, NULL, 0, NULL) == WIRE_OK;
}

static bool hear_list(int fd)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct wire_fds fds;
	ProtobufCMessage *unpacked;
	Upgraded__Wire__ControlMessage *message;
	bool well;

	if (poll(&ready, 1, (int)(PATIENCE_US / USEC_PER_MSEC)) <= 0 ||
	    wire_receive(fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &unpacked, NULL) != WIRE_OK)
		return false;
	message = (Upgraded__Wire__ControlMessage *)unpacked;
	well = message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT &&
	       message->result->code == WIRE_EXIT_DONE && message->result->n_services > 0;
	protobuf_c_message_free_unpacked(unpacked, NULL);
	wire_fds_close(&fds);
	return well;
}

uint64_t watch_answer_us(const char *control, pid_t daemon)
{
	uint64_t began_us = clock_now_us(), queued_before_us = queued_us(daemon), took_us, queue_us;
	FD_CLEANUP int fd = wire_connect(control, NULL);

	if (fd < 0 || !ask_for_list(fd) || !hear_list(fd))
		return UINT64_MAX;
	took_us = clock_now_us() - began_us;
	queue_us = queued_us(daemon) - queued_before_us;
	return took_us > queue_us ? took_us - queue_us : 0;
}

/* ---- what it says ---- */

static const char *const outcomes[WATCH_OUTCOMES] = {
	"done", "rolled-back-live", "rolled-back-parked", "rolled-back-image", "cold-start",
	"aborted", "unanswered", "refused", "failed",
};

#define OUTCOMES_COMMITTED 5u /* the first ones */

static void read_line(const char *line, struct watch_log *log)
{
	/* "web: roll v1 -> v2: done; ...; asked for by ..." is said at the end of each roll. */
	const char *roll = strstr(line, ": roll v"), *to = roll ? strstr(roll, " -> ") : NULL, *said = to ? strchr(to, ':') : NULL;

	log->reports += strstr(line, "ERROR: AddressSanitizer") || strstr(line, "ERROR: LeakSanitizer") ||
			strstr(line, "runtime error: ");
	for (size_t i = 0; said && strstr(said, "; asked for by ") && i < WATCH_OUTCOMES; i++) {
		size_t n = strlen(outcomes[i]);

		if (strncmp(said + 2, outcomes[i], n) == 0 && (said[2 + n] == ';' || said[2 + n] == ':')) {
			log->rolls[i]++;
			log->committed += i < OUTCOMES_COMMITTED;
		}
	}
}

void watch_log_read(const char *path, struct watch_log *ret_log)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;

	*ret_log = (struct watch_log){ 0 };
	while (file && getline(&line, &room, file) > 0)
		read_line(line, ret_log);
	free(line);
	if (file)
		fclose(file);
}

void watch_log_print(const struct watch_log *log, FILE *out)
{
	for (size_t i = 0; i < WATCH_OUTCOMES; i++)
		if (log->rolls[i])
			fprintf(out, " %s %u", outcomes[i], log->rolls[i]);
}
