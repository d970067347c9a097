/* SPDX-License-Identifier: MIT */
#include "tests/ports/redis_clients.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 20
#define SHOWN_US (60 * USEC_PER_SEC)

/* ---- one client ---- */

static int opened(int fd, const struct sockaddr *address, socklen_t size)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	/* Commands are sent in pieces; the second would wait for the first to be acknowledged. */
	if (address->sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	cr_assert_eq(connect(fd, address, size), 0, "connect: %s", strerror(errno));
	return fd;
}

int redis_open(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address, sizeof(address));
}

int redis_open_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	cr_assert_lt(strlen(path), sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	return opened(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address, sizeof(address));
}

void redis_send(int fd, const char *text)
{
	size_t size = strlen(text);

	cr_assert_eq(send(fd, text, size, MSG_NOSIGNAL), (ssize_t)size, "send: %s", strerror(errno));
}

static void receive(int fd, char *to, size_t size)
{
	for (size_t got = 0; got < size;) {
		ssize_t n = recv(fd, to + got, size - got, 0);

		cr_assert_gt(n, 0, "after %zu bytes of %zu: %s", got, size, n ? strerror(errno) : "the connection was closed");
		got += (size_t)n;
	}
}

void redis_expect(int fd, const char *text)
{
	size_t size = strlen(text);
	char *got = calloc(1, size + 1);

	cr_assert_not_null(got);
	receive(fd, got, size);
	cr_assert_str_eq(got, text);
	free(got);
}

void redis_ask(int fd, const char *command, const char *answer)
{
	redis_send(fd, command);
	redis_send(fd, "\r\n");
	redis_expect(fd, answer);
}

/* ---- a whole answer ---- */

struct text {
	char *data;
	size_t size;
};

static void grow(struct text *text, size_t more)
{
	text->data = realloc(text->data, text->size + more + 1);
	cr_assert_not_null(text->data);
}

/* Return: the number behind its first byte. */
static long answer_line(int fd, struct text *text)
{
	size_t from = text->size;

	do {
		grow(text, 1);
		receive(fd, text->data + text->size++, 1);
	} while (text->data[text->size - 1] != '\n');
	text->data[text->size] = '\0';
	return strtol(text->data + from + 1, NULL, 10);
}

static void answer(int fd, struct text *text)
{
	long left = 1;

	while (left-- > 0) {
		size_t from = text->size;
		long n = answer_line(fd, text);
		char kind = text->data[from];

		if ((kind == '$' || kind == '=') && n >= 0) {
			grow(text, (size_t)n + 2);
			receive(fd, text->data + text->size, (size_t)n + 2);
			text->size += (size_t)n + 2;
			text->data[text->size] = '\0';
		} else if (strchr("*>~%", kind) && n > 0) {
			left += kind == '%' ? 2 * n : n;
		}
	}
}

char *redis_say(int fd, const char *command)
{
	struct text text = { 0 };

	redis_send(fd, command);
	redis_send(fd, "\r\n");
	answer(fd, &text);
	return text.data;
}

void redis_silent(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1, "something came, or the connection was closed");
	cr_assert_eq(errno, EAGAIN, "%s", strerror(errno));
}

/* ---- a crowd ---- */

#define MEMBERS 40u   /* of a hash, a sorted set */
#define BIG_BYTES 9000u
#define TALK_BYTES 30000u
#define MEMBERS_MAX 400u

struct member {
	int fd; /* -1: lost */
	unsigned id, seed;
	/* What the server must hold. */
	uint64_t counter, first, last, entries;
	long hash[MEMBERS], scores[MEMBERS];
	uint64_t expires_s;
	char big; /* what it is made of; 0: it is not there */
	/* What is under way. */
	size_t say_bytes, said, want_bytes, got_bytes;
	unsigned commands;
	char say[TALK_BYTES], want[TALK_BYTES], got[TALK_BYTES];
};

static struct {
	struct member *members;
	unsigned n;
	pthread_t thread;
	atomic_bool ends, crash;
	atomic_uint_fast64_t answers;
	char wrong[512];
} crowd;

static void put(char *buffer, size_t *bytes, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put(char *buffer, size_t *bytes, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	*bytes += (size_t)vsnprintf(buffer + *bytes, TALK_BYTES - *bytes, fmt, args);
	va_end(args);
	cr_assert_lt(*bytes, (size_t)TALK_BYTES);
}

#define SAY(m, ...) put((m)->say, &(m)->say_bytes, __VA_ARGS__)
#define WANT(m, ...) put((m)->want, &(m)->want_bytes, __VA_ARGS__)

static void want_bulk(struct member *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void want_bulk(struct member *m, const char *fmt, ...)
{
	char text[64];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	WANT(m, "$%d\r\n%s\r\n", n, text);
}

static void say_strings(struct member *m, unsigned chance)
{
	if (chance & 1) {
		SAY(m, "incr s:%u\r\n", m->id);
		WANT(m, ":%llu\r\n", (unsigned long long)++m->counter);
	} else if (chance & 2) {
		m->expires_s = (uint64_t)time(NULL) + 1000 + chance % 1000;
		SAY(m, "set e:%u %u exat %llu\r\n", m->id, chance, (unsigned long long)m->expires_s);
		WANT(m, "+OK\r\n");
	} else if (m->expires_s) {
		SAY(m, "expiretime e:%u\r\n", m->id);
		WANT(m, ":%llu\r\n", (unsigned long long)m->expires_s);
	}
}

static void say_big(struct member *m, unsigned chance)
{
	static char text[BIG_BYTES + 1];

	if (chance & 1 || !m->big) {
		m->big = (char)('a' + chance / 2 % 26);
		memset(text, m->big, BIG_BYTES);
		SAY(m, "*3\r\n$3\r\nset\r\n$%d\r\nb:%u\r\n$%u\r\n%s\r\n", snprintf(NULL, 0, "b:%u", m->id), m->id, BIG_BYTES, text);
		WANT(m, "+OK\r\n");
	} else {
		memset(text, m->big, BIG_BYTES);
		SAY(m, "get b:%u\r\n", m->id);
		WANT(m, "$%u\r\n%s\r\n", BIG_BYTES, text);
	}
}

static void say_list(struct member *m, unsigned chance)
{
	if (chance & 1 || m->first == m->last) {
		SAY(m, "rpush l:%u %llu\r\n", m->id, (unsigned long long)m->last++);
		WANT(m, ":%llu\r\n", (unsigned long long)(m->last - m->first));
	} else {
		SAY(m, "lpop l:%u\r\n", m->id);
		want_bulk(m, "%llu", (unsigned long long)m->first++);
	}
}

static void say_members(struct member *m, unsigned chance)
{
	unsigned which = chance / 4 % MEMBERS;

	switch (chance % 4) {
	case 0:
		SAY(m, "hincrby h:%u f%u %u\r\n", m->id, which, 1 + chance % 9);
		m->hash[which] += 1 + chance % 9;
		WANT(m, ":%ld\r\n", m->hash[which]);
		break;
	case 1:
		if (!m->hash[which])
			break;
		SAY(m, "hget h:%u f%u\r\n", m->id, which);
		want_bulk(m, "%ld", m->hash[which]);
		break;
	case 2:
		SAY(m, "zincrby z:%u %u m%u\r\n", m->id, 1 + chance % 7, which);
		m->scores[which] += 1 + chance % 7;
		want_bulk(m, "%ld", m->scores[which]);
		break;
	default:
		m->entries++;
		SAY(m, "xadd x:%u %llu-1 k v\r\n", m->id, (unsigned long long)m->entries);
		want_bulk(m, "%llu-1", (unsigned long long)m->entries);
	}
}

static void say_one(struct member *m)
{
	unsigned chance = (unsigned)rand_r(&m->seed);
	size_t before = m->want_bytes;

	switch (chance % 8) {
	case 0:
		say_big(m, chance / 8);
		break;
	case 1:
	case 2:
		say_strings(m, chance / 8);
		break;
	case 3:
	case 4:
		say_list(m, chance / 8);
		break;
	default:
		say_members(m, chance / 8);
	}
	m->commands += m->want_bytes > before;
}

static void begin(struct member *m)
{
	m->say_bytes = m->said = m->want_bytes = m->got_bytes = m->commands = 0;
	while (m->commands < 1 + (unsigned)rand_r(&m->seed) % 2)
		say_one(m);
}

static bool under_way(const struct member *m)
{
	return m->fd >= 0 && m->got_bytes < m->want_bytes;
}

static void lost(struct member *m, const char *why)
{
	close(m->fd);
	m->fd = -1;
	if (!*crowd.wrong && !atomic_load(&crowd.crash))
		snprintf(crowd.wrong, sizeof(crowd.wrong), "connection %u of the crowd was lost: %s", m->id, why);
}

/* A part of what is to be said; the rest when others had their turn. */
static void say_on(struct member *m)
{
	size_t left = m->say_bytes - m->said, part = left < 8 || rand_r(&m->seed) % 2 ? left : (size_t)rand_r(&m->seed) % left;
	ssize_t n = part ? send(m->fd, m->say + m->said, part, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	if (n < 0 && errno != EAGAIN)
		lost(m, strerror(errno));
	m->said += n > 0 ? (size_t)n : 0;
}

static void hear(struct member *m)
{
	ssize_t n = recv(m->fd, m->got + m->got_bytes, sizeof(m->got) - m->got_bytes, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		lost(m, n ? strerror(errno) : "closed");
		return;
	}
	m->got_bytes += (size_t)n;
	if (m->got_bytes > m->want_bytes || memcmp(m->got, m->want, m->got_bytes) != 0) {
		snprintf(crowd.wrong, sizeof(crowd.wrong), "connection %u said \"%.100s\": wanted \"%.100s\", got \"%.100s\"",
			 m->id, m->say, m->want, m->got);
		close(m->fd);
		m->fd = -1;
		return;
	}
	if (m->got_bytes < m->want_bytes)
		return;
	atomic_fetch_add(&crowd.answers, m->commands);
	if (!atomic_load(&crowd.ends))
		begin(m);
}

/* One turn of all. Return: whether any has something under way. */
static bool turn(void)
{
	struct pollfd fds[MEMBERS_MAX];
	bool any = false;

	for (unsigned i = 0; i < crowd.n; i++) {
		struct member *m = &crowd.members[i];

		if (under_way(m) && m->said < m->say_bytes)
			say_on(m);
		any |= under_way(m);
		fds[i] = (struct pollfd){ .fd = m->fd, .events = (short)(POLLIN | (m->said < m->say_bytes ? POLLOUT : 0)) };
	}
	if (!any)
		return false;
	if (poll(fds, crowd.n, PATIENCE_S * 1000) == 0 && !*crowd.wrong) {
		snprintf(crowd.wrong, sizeof(crowd.wrong), "no answer within %d s", PATIENCE_S);
		return false;
	}
	for (unsigned i = 0; i < crowd.n; i++)
		if (crowd.members[i].fd >= 0 && fds[i].revents & (POLLIN | POLLHUP | POLLERR))
			hear(&crowd.members[i]);
	return !*crowd.wrong;
}

static void *talk(void *data)
{
	while (turn())
		;
	return data;
}

void crowd_begin(uint16_t port, unsigned connections)
{
	cr_assert_leq(connections, MEMBERS_MAX);
	memset(&crowd, 0, sizeof(crowd));
	crowd.n = connections;
	crowd.members = calloc(connections, sizeof(*crowd.members));
	cr_assert_not_null(crowd.members);
	for (unsigned i = 0; i < connections; i++) {
		crowd.members[i].id = i;
		crowd.members[i].seed = i + 1;
		crowd.members[i].fd = redis_open(port);
		begin(&crowd.members[i]);
	}
	cr_assert_eq(pthread_create(&crowd.thread, NULL, talk, NULL), 0);
}

void crowd_goes_on(uint64_t more)
{
	uint64_t until = atomic_load(&crowd.answers) + more, due_us = clock_now_us() + SHOWN_US;

	while (atomic_load(&crowd.answers) < until && clock_now_us() < due_us && !*crowd.wrong)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	cr_assert_str_eq(crowd.wrong, "");
	cr_assert_geq(atomic_load(&crowd.answers), until, "the crowd gets no answers");
}

/* Every key of one. */
static void audit(const struct member *m)
{
	char command[64], want[64];

	for (unsigned i = 0; i < MEMBERS; i++) {
		snprintf(command, sizeof(command), "hincrby h:%u f%u 0", m->id, i);
		snprintf(want, sizeof(want), ":%ld\r\n", m->hash[i]);
		redis_ask(m->fd, command, want);
		snprintf(command, sizeof(command), "zincrby z:%u 0 m%u", m->id, i);
		snprintf(want, sizeof(want), "$%d\r\n%ld\r\n", snprintf(NULL, 0, "%ld", m->scores[i]), m->scores[i]);
		redis_ask(m->fd, command, want);
	}
	snprintf(command, sizeof(command), "incrby s:%u 0", m->id);
	snprintf(want, sizeof(want), ":%llu\r\n", (unsigned long long)m->counter);
	redis_ask(m->fd, command, want);
	snprintf(command, sizeof(command), "llen l:%u", m->id);
	snprintf(want, sizeof(want), ":%llu\r\n", (unsigned long long)(m->last - m->first));
	redis_ask(m->fd, command, want);
	snprintf(command, sizeof(command), "xlen x:%u", m->id);
	snprintf(want, sizeof(want), ":%llu\r\n", (unsigned long long)m->entries);
	redis_ask(m->fd, command, want);
	snprintf(command, sizeof(command), "expiretime e:%u", m->id);
	snprintf(want, sizeof(want), ":%lld\r\n", m->expires_s ? (long long)m->expires_s : -2LL);
	redis_ask(m->fd, command, want);
	snprintf(command, sizeof(command), "strlen b:%u", m->id);
	snprintf(want, sizeof(want), ":%u\r\n", m->big ? BIG_BYTES : 0);
	redis_ask(m->fd, command, want);
}

static void join(void)
{
	atomic_store(&crowd.ends, true);
	pthread_join(crowd.thread, NULL);
	cr_assert_str_eq(crowd.wrong, "");
}

uint64_t crowd_end(void)
{
	join();
	for (unsigned i = 0; i < crowd.n; i++) {
		cr_assert_geq(crowd.members[i].fd, 0);
		audit(&crowd.members[i]);
		close(crowd.members[i].fd);
	}
	free(crowd.members);
	return atomic_load(&crowd.answers);
}

void crowd_may_be_reset(void)
{
	atomic_store(&crowd.crash, true);
}

unsigned crowd_crashed(void)
{
	unsigned n = 0;

	join();
	for (unsigned i = 0; i < crowd.n; i++) {
		n += crowd.members[i].fd < 0;
		if (crowd.members[i].fd < 0)
			continue;
		audit(&crowd.members[i]);
		close(crowd.members[i].fd);
	}
	free(crowd.members);
	return n;
}
