/* SPDX-License-Identifier: MIT */
#include "tests/integration/chatters.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_S 10
#define PAUSE_US (100 * USEC_PER_MSEC)      /* between two things that one client says */
#define HALF_PAUSE_US (15 * USEC_PER_MSEC)  /* between the halves of a line */
#define SETTLE_US (20 * USEC_PER_SEC)

/* ---- one client ---- */

void chatter_open(struct chatter *chatter, uint16_t port, int receive_bytes)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int on = 1;

	chatter->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(chatter->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(chatter->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (receive_bytes)
		setsockopt(chatter->fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
	cr_assert_eq(connect(chatter->fd, (const struct sockaddr *)&address, sizeof(address)), 0, "%s", strerror(errno));
	chatter->lines = fdopen(chatter->fd, "r");
	cr_assert_not_null(chatter->lines);
}

void chatter_close(struct chatter *chatter)
{
	fclose(chatter->lines);
	chatter->fd = -1;
}

void chatter_send(struct chatter *chatter, const char *text)
{
	size_t size = strlen(text);

	cr_assert_eq(send(chatter->fd, text, size, MSG_NOSIGNAL), (ssize_t)size, "%s", strerror(errno));
}

const char *chatter_hear(struct chatter *chatter)
{
	errno = 0;
	if (!fgets(chatter->line, sizeof(chatter->line), chatter->lines)) {
		cr_assert_neq(errno, EAGAIN, "no answer came within %d s", PATIENCE_S);
		chatter->line[0] = '\0';
	}
	chatter->line[strcspn(chatter->line, "\n")] = '\0';
	return chatter->line;
}

__attribute__((format(printf, 2, 0))) static void vsend(struct chatter *chatter, const char *fmt, va_list args)
{
	char line[2048];
	int n = vsnprintf(line, sizeof(line) - 1, fmt, args);

	cr_assert(n > 0 && n < (int)sizeof(line) - 1);
	line[n] = '\n';
	line[n + 1] = '\0';
	chatter_send(chatter, line);
}

const char *chatter_ask(struct chatter *chatter, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsend(chatter, fmt, args);
	va_end(args);
	return chatter_hear(chatter);
}

char *chatter_list(struct chatter *chatter, const char *fmt, ...)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	va_list args;

	va_start(args, fmt);
	vsend(chatter, fmt, args);
	va_end(args);
	do {
		chatter_hear(chatter);
		cr_assert(*chatter->line && strncmp(chatter->line, "ERR", 3) != 0, "%s", chatter->line);
		fprintf(out, "%s\n", chatter->line);
	} while (strcmp(chatter->line, "END") != 0);
	fclose(out);
	return text;
}

/* ---- a crowd ---- */

struct talker {
	int fd;
	unsigned room, place;       /* who it is */
	char input[4096];
	size_t n_input;
	char rest[64];              /* of a line whose first half is sent */
	uint64_t due_us;            /* for the next thing to say, or for the rest of this one */
	bool waits;                 /* for OK */
	uint64_t said, acknowledged;
	uint64_t heard[CROWD_ROOM]; /* the last of each other one in the room */
};

struct crowd {
	pthread_t thread;
	struct talker *talkers;
	struct pollfd *fds;
	unsigned n;
	atomic_bool stop;
	atomic_ulong least;      /* acknowledged, of whoever has had the fewest */
	uint64_t words;
	char wrong[256];         /* what was wrong first; the crowd is silent from then on */
};

__attribute__((format(printf, 2, 3))) static void go_wrong(struct crowd *crowd, const char *fmt, ...)
{
	va_list args;

	if (*crowd->wrong)
		return;
	va_start(args, fmt);
	vsnprintf(crowd->wrong, sizeof(crowd->wrong), fmt, args);
	va_end(args);
}

static void hear(struct crowd *crowd, struct talker *talker, const char *line)
{
	unsigned room, author;
	unsigned long word;

	if (strcmp(line, "OK") == 0 && talker->waits) {
		talker->waits = false;
		talker->acknowledged = talker->said;
		return;
	}
	if (sscanf(line, "SAID room%u t%u %lu", &room, &author, &word) != 3 || room != talker->room ||
	    author / CROWD_ROOM != room || author % CROWD_ROOM == talker->place) {
		go_wrong(crowd, "client %u of room %u heard: %s", talker->place, talker->room, line);
		return;
	}
	author %= CROWD_ROOM;
	if (word != talker->heard[author] + 1)
		go_wrong(crowd, "client %u of room %u heard %lu of client %u, after %lu", talker->place, talker->room, word,
			 author, (unsigned long)talker->heard[author]);
	talker->heard[author] = word;
	crowd->words++;
}

static void receive(struct crowd *crowd, struct talker *talker)
{
	char *at = talker->input, *newline;
	ssize_t n = recv(talker->fd, at + talker->n_input, sizeof(talker->input) - talker->n_input, MSG_DONTWAIT);

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			go_wrong(crowd, "client %u of room %u lost its connection: %s", talker->place, talker->room,
				 n ? strerror(errno) : "closed");
		return;
	}
	talker->n_input += (size_t)n;
	while ((newline = memchr(at, '\n', talker->n_input))) {
		*newline = '\0';
		hear(crowd, talker, at);
		talker->n_input -= (size_t)(newline + 1 - at);
		at = newline + 1;
	}
	memmove(talker->input, at, talker->n_input);
}

static void send_part(struct crowd *crowd, struct talker *talker, const char *text, size_t size)
{
	if (send(talker->fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
		go_wrong(crowd, "client %u of room %u cannot send: %s", talker->place, talker->room, strerror(errno));
}

/* Every other line goes out in two halves, so that there are always some that have been read by half. */
static void talk(struct crowd *crowd, struct talker *talker, uint64_t now_us)
{
	char line[64];
	size_t size, half;

	if (*talker->rest) {
		send_part(crowd, talker, talker->rest, strlen(talker->rest));
		talker->rest[0] = '\0';
		talker->waits = true;
		talker->due_us = now_us + PAUSE_US;
		return;
	}
	size = (size_t)snprintf(line, sizeof(line), "SAY room%u %lu\n", talker->room, (unsigned long)++talker->said);
	half = talker->said % 2 ? size / 2 : size;
	send_part(crowd, talker, line, half);
	memcpy(talker->rest, line + half, size - half + 1);
	talker->waits = half == size;
	talker->due_us = now_us + (half == size ? PAUSE_US : HALF_PAUSE_US);
}

static bool is_settled(const struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->n; i++) {
		const struct talker *talker = &crowd->talkers[i], *room = &crowd->talkers[talker->room * CROWD_ROOM];

		if (talker->acknowledged != talker->said)
			return false;
		for (unsigned k = 0; k < CROWD_ROOM; k++)
			if (k != talker->place && talker->heard[k] != room[k].said)
				return false;
	}
	return true;
}

static void turn(struct crowd *crowd)
{
	uint64_t now_us, least = UINT64_MAX;

	poll(crowd->fds, crowd->n, 5);
	now_us = clock_now_us();
	for (unsigned i = 0; i < crowd->n; i++) {
		struct talker *talker = &crowd->talkers[i];

		if (crowd->fds[i].revents)
			receive(crowd, talker);
		if (!talker->waits && now_us >= talker->due_us && (*talker->rest || !atomic_load(&crowd->stop)))
			talk(crowd, talker, now_us);
		if (talker->acknowledged < least)
			least = talker->acknowledged;
	}
	atomic_store(&crowd->least, least);
}

static void *run(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t due_us;

	while (!atomic_load(&crowd->stop) && !*crowd->wrong)
		turn(crowd);
	due_us = clock_now_us() + SETTLE_US;
	while (!*crowd->wrong && !is_settled(crowd)) {
		turn(crowd);
		if (clock_now_us() > due_us)
			go_wrong(crowd, "not everything was heard by everyone within %d s", (int)(SETTLE_US / USEC_PER_SEC));
	}
	/* Whatever comes now was said twice. */
	if (!*crowd->wrong)
		turn(crowd);
	return NULL;
}

static void arrive(struct crowd *crowd, struct talker *talker, uint16_t port, unsigned number)
{
	struct chatter chatter;

	chatter_open(&chatter, port, 0);
	talker->room = number / CROWD_ROOM;
	talker->place = number % CROWD_ROOM;
	cr_assert_str_eq(chatter_ask(&chatter, "NICK t%u", number), "OK");
	cr_assert_str_eq(chatter_ask(&chatter, "JOIN room%u", talker->room), "OK");
	/* Nothing was read ahead: nobody talks yet. */
	talker->fd = fcntl(chatter.fd, F_DUPFD_CLOEXEC, 0);
	chatter_close(&chatter);
	cr_assert_geq(talker->fd, 0);
	crowd->fds[number] = (struct pollfd){ .fd = talker->fd, .events = POLLIN };
	/* Not all at once. */
	talker->due_us = clock_now_us() + number * PAUSE_US / crowd->n;
}

struct crowd *crowd_start(uint16_t port, unsigned rooms)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	if (!crowd)
		abort();
	crowd->n = rooms * CROWD_ROOM;
	crowd->talkers = calloc(crowd->n, sizeof(*crowd->talkers));
	crowd->fds = calloc(crowd->n, sizeof(*crowd->fds));
	cr_assert(crowd->talkers && crowd->fds);
	for (unsigned i = 0; i < crowd->n; i++)
		arrive(crowd, &crowd->talkers[i], port, i);
	cr_assert_eq(pthread_create(&crowd->thread, NULL, run, crowd), 0);
	return crowd;
}

void crowd_wait(struct crowd *crowd, unsigned more)
{
	unsigned long from = atomic_load(&crowd->least);
	uint64_t due_us = clock_now_us() + SETTLE_US;

	while (atomic_load(&crowd->least) < from + more && clock_now_us() < due_us)
		poll(NULL, 0, 5);
	cr_assert_geq(atomic_load(&crowd->least), from + more, "the crowd fell silent: %s", crowd->wrong);
}

uint64_t crowd_stop(struct crowd *crowd)
{
	uint64_t words;

	atomic_store(&crowd->stop, true);
	pthread_join(crowd->thread, NULL);
	cr_assert_str_empty(crowd->wrong, "%s", crowd->wrong);
	words = crowd->words;
	for (unsigned i = 0; i < crowd->n; i++)
		close(crowd->talkers[i].fd);
	free(crowd->fds);
	free(crowd->talkers);
	free(crowd);
	return words;
}
