/* SPDX-License-Identifier: MIT */
#include "tests/integration/customers.h"

#include "tests/integration/apps/upg-clerk.h"
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IN_FLIGHT 6u
#define GAP_US (30 * USEC_PER_MSEC)   /* between two pieces that one sends, at most */
#define PAUSE_US (80 * USEC_PER_MSEC) /* of one that does not read, at most */
#define LIFE 60u                      /* answers between two calls, at most */
#define SETTLE_US (30 * USEC_PER_SEC)

struct customer {
	int fd;
	bool is_unix;
	uint32_t key;
	uint64_t asked, answered; /* also what its account holds */
	uint32_t sizes[IN_FLIGHT];
	char out[IN_FLIGHT * 32];
	size_t out_at, out_end;
	uint64_t send_us, read_us; /* not before */
	unsigned life;             /* answers until it calls again */
	bool heard;                /* on this connection */
	/* The answer in hand. */
	char head[64];
	size_t head_bytes, got;
};

struct customers {
	pthread_t thread;
	struct customer *all;
	struct pollfd *fds;
	unsigned n, seed;
	uint16_t port;
	char path[108];
	uint8_t pattern[CLERK_PATTERN_BYTES];
	atomic_bool stop, stopped, reopen, all_heard, rest, rested;
	atomic_ulong answers;
	atomic_bool is_wrong; /* set after @wrong, which stays as it is from then on */
	char wrong[256];
};

__attribute__((format(printf, 3, 4))) static void go_wrong(struct customers *customers, const struct customer *customer,
							   const char *fmt, ...)
{
	char text[200];
	va_list args;

	if (atomic_load(&customers->is_wrong))
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	snprintf(customers->wrong, sizeof(customers->wrong), "customer %u by %s, %lu answered of %lu: %s", customer->key,
		 customer->is_unix ? "unix socket" : "TCP", (unsigned long)customer->answered, (unsigned long)customer->asked,
		 text);
	atomic_store(&customers->is_wrong, true);
}

static unsigned below(struct customers *customers, unsigned n)
{
	return (unsigned)rand_r(&customers->seed) % n;
}

static void call(struct customers *customers, struct customer *customer)
{
	struct sockaddr_in tcp = { .sin_family = AF_INET,
				   .sin_port = htons(customers->port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	int one = 1, r;

	customer->fd = socket(customer->is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(local.sun_path, customers->path, sizeof(local.sun_path));
	if (customer->is_unix)
		r = connect(customer->fd, (const struct sockaddr *)&local, sizeof(local));
	else
		r = connect(customer->fd, (const struct sockaddr *)&tcp, sizeof(tcp));
	if (r < 0)
		go_wrong(customers, customer, "connect: %s", strerror(errno));
	setsockopt(customer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	customer->heard = false;
	customer->life = 1 + below(customers, LIFE);
}

/* ---- what is asked ---- */

static void ask(struct customers *customers, struct customer *customer)
{
	unsigned n = 1 + below(customers, IN_FLIGHT);

	customer->out_at = customer->out_end = 0;
	while (customer->asked - customer->answered < n) {
		uint32_t size = below(customers, below(customers, 40) ? 3000 : 300000);

		customer->sizes[customer->asked++ % IN_FLIGHT] = size;
		customer->out_end += (size_t)sprintf(customer->out + customer->out_end, "%u %u\n", customer->key, size);
	}
}

static void send_some(struct customers *customers, struct customer *customer, uint64_t now_us)
{
	size_t left = customer->out_end - customer->out_at;
	ssize_t n;

	if (!left || now_us < customer->send_us)
		return;
	n = send(customer->fd, customer->out + customer->out_at, 1 + below(customers, (unsigned)left), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		go_wrong(customers, customer, "send: %s", strerror(errno));
	customer->out_at += n > 0 ? (size_t)n : 0;
	customer->send_us = now_us + below(customers, GAP_US);
}

/* ---- what comes ---- */

/* The answer that is to come next. Its line is made once. */
static uint32_t expect(struct customer *customer)
{
	uint32_t size = customer->sizes[customer->answered % IN_FLIGHT];

	if (!customer->head_bytes)
		customer->head_bytes = (size_t)sprintf(customer->head, "%u %lu %u\n", customer->key,
						       (unsigned long)customer->answered + 1, size);
	return size;
}

static void answered(struct customers *customers, struct customer *customer, uint64_t now_us)
{
	customer->answered++;
	customer->head_bytes = customer->got = 0;
	customer->heard = true;
	customer->life -= customer->life > 0;
	atomic_fetch_add(&customers->answers, 1);
	if (!below(customers, 30))
		customer->read_us = now_us + below(customers, PAUSE_US);
}

static void take(struct customers *customers, struct customer *customer, const uint8_t *data, size_t bytes, uint64_t now_us)
{
	while (bytes) {
		const uint8_t *expected;
		uint32_t size = expect(customer);
		size_t n;

		if (customer->answered == customer->asked) {
			go_wrong(customers, customer, "%zu bytes that answer nothing", bytes);
			return;
		}
		if (customer->got < customer->head_bytes) {
			expected = (const uint8_t *)customer->head + customer->got;
			n = customer->head_bytes - customer->got;
		} else {
			expected = customers->pattern + clerk_offset(customer->key, customer->answered + 1) +
				   (customer->got - customer->head_bytes);
			n = customer->head_bytes + size - customer->got;
		}
		n = n < bytes ? n : bytes;
		if (memcmp(data, expected, n) != 0) {
			go_wrong(customers, customer, "byte %zu of an answer or a later one is wrong: \"%.*s\"", customer->got,
				 (int)(bytes < 40 ? bytes : 40), (const char *)data);
			return;
		}
		customer->got += n;
		data += n;
		bytes -= n;
		if (customer->got == customer->head_bytes + size)
			answered(customers, customer, now_us);
	}
}

static void read_some(struct customers *customers, struct customer *customer, uint64_t now_us)
{
	static uint8_t data[65536];
	ssize_t n = recv(customer->fd, data, 1 + below(customers, sizeof(data)), MSG_DONTWAIT);

	if (n > 0)
		take(customers, customer, data, (size_t)n, now_us);
	else if (n == 0 || errno != EAGAIN)
		go_wrong(customers, customer, "lost its connection: %s", n ? strerror(errno) : "closed");
}

/* ---- the thread ---- */

/* Of those of the unix socket, all that was sent was received. */
static bool unix_is_received(const struct customers *customers)
{
	for (unsigned i = 0; i < customers->n; i++) {
		int left = 0;

		if (customers->all[i].is_unix && (ioctl(customers->all[i].fd, SIOCOUTQ, &left) < 0 || left))
			return false;
	}
	return true;
}

/* Return: whether it still waits for something. */
static bool turn(struct customers *customers, struct customer *customer, struct pollfd *fd, uint64_t now_us)
{
	bool idle = customer->asked == customer->answered;

	if (fd->revents && now_us >= customer->read_us)
		read_some(customers, customer, now_us);
	if (idle && !customer->life && atomic_load(&customers->reopen)) {
		close(customer->fd);
		call(customers, customer);
	}
	if (idle && !atomic_load(&customers->stop))
		ask(customers, customer);
	send_some(customers, customer, now_us);
	return customer->asked != customer->answered;
}

static void *serve_customers(void *arg)
{
	struct customers *customers = arg;
	bool any = true;

	while (!atomic_load(&customers->is_wrong) && (any || !atomic_load(&customers->stop))) {
		bool rest = atomic_load(&customers->rest), heard = true;
		uint64_t now_us = clock_now_us();

		for (unsigned i = 0; i < customers->n; i++) {
			const struct customer *customer = &customers->all[i];
			bool reads = now_us >= customer->read_us && !(rest && customer->is_unix);

			customers->fds[i] = (struct pollfd){ .fd = reads ? customer->fd : -1, .events = POLLIN };
		}
		poll(customers->fds, customers->n, 1);
		any = false;
		for (unsigned i = 0; i < customers->n && !atomic_load(&customers->is_wrong); i++) {
			struct customer *customer = &customers->all[i];

			if (!(rest && customer->is_unix))
				any = turn(customers, customer, &customers->fds[i], now_us) || any;
			heard = heard && customer->heard;
		}
		atomic_store(&customers->all_heard, heard && !atomic_load(&customers->reopen));
		atomic_store(&customers->rested, rest && unix_is_received(customers));
	}
	atomic_store(&customers->stopped, true);
	return NULL;
}

/* ---- what a test says ---- */

static void must_be_right(const struct customers *customers)
{
	if (atomic_load(&customers->is_wrong))
		rig_fail(stage.rig, -EPROTO, "%s", customers->wrong);
	cr_assert(!atomic_load(&customers->is_wrong), "%s", customers->wrong);
}

static void await(struct customers *customers, const atomic_bool *what, const char *text)
{
	uint64_t give_up_us = clock_now_us() + SETTLE_US;

	while (!atomic_load(what)) {
		must_be_right(customers);
		cr_assert_lt(clock_now_us(), give_up_us, "%s", text);
		poll(NULL, 0, 1);
	}
}

struct customers *customers_start(uint16_t port, const char *path, unsigned n_tcp, unsigned n_unix, unsigned seed)
{
	struct customers *customers = calloc(1, sizeof(*customers));

	cr_assert(customers && strlen(path) < sizeof(customers->path));
	customers->n = n_tcp + n_unix;
	customers->seed = seed;
	customers->port = port;
	strcpy(customers->path, path);
	clerk_fill(customers->pattern);
	customers->all = calloc(customers->n, sizeof(*customers->all));
	customers->fds = calloc(customers->n, sizeof(*customers->fds));
	cr_assert(customers->all && customers->fds);
	for (unsigned i = 0; i < customers->n; i++) {
		customers->all[i].key = i + 1;
		customers->all[i].is_unix = i >= n_tcp;
		call(customers, &customers->all[i]);
	}
	must_be_right(customers);
	cr_assert_eq(pthread_create(&customers->thread, NULL, serve_customers, customers), 0);
	await(customers, &customers->all_heard, "nobody answers");
	return customers;
}

void customers_wait(struct customers *customers, uint64_t more)
{
	uint64_t give_up_us = clock_now_us() + SETTLE_US, until = atomic_load(&customers->answers) + more;

	while (atomic_load(&customers->answers) < until) {
		must_be_right(customers);
		cr_assert_lt(clock_now_us(), give_up_us, "nobody answers any more");
		poll(NULL, 0, 1);
	}
	must_be_right(customers);
}

void customers_reopen(struct customers *customers, bool on)
{
	atomic_store(&customers->all_heard, false);
	atomic_store(&customers->reopen, on);
	if (!on)
		await(customers, &customers->all_heard, "a new connection is not answered");
}

void customers_rest_unix(struct customers *customers)
{
	atomic_store(&customers->rest, true);
	await(customers, &customers->rested, "the server does not read");
}

void customers_go_on_unix(struct customers *customers)
{
	atomic_store(&customers->rest, false);
}

uint64_t customers_stop(struct customers *customers)
{
	uint64_t answers;

	atomic_store(&customers->stop, true);
	await(customers, &customers->stopped, "some answers never came");
	pthread_join(customers->thread, NULL);
	must_be_right(customers);
	answers = atomic_load(&customers->answers);
	for (unsigned i = 0; i < customers->n; i++)
		close(customers->all[i].fd);
	free(customers->all);
	free(customers->fds);
	free(customers);
	return answers;
}
