/* SPDX-License-Identifier: MIT */
#include "tests/shim/teller.h"

#include "tests/shim/ledger.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64u
#define IN_FLIGHT 8u
#define OUT_BYTES (2u << 20)
#define SHARED_MAX (1u << 20)
#define PATIENCE_US (40 * USEC_PER_SEC)

struct expected {
	struct ledger_request request;
	uint64_t value;
};

enum ending { GOES_ON, QUITS, HALF_CLOSES };

struct caller {
	int fd; /* -1: to be connected */
	uint32_t key;
	uint64_t balance;   /* once all in flight is answered */
	uint64_t confirmed; /* as of the last answer */
	uint32_t seq, life;
	enum ending ending;
	bool shut, heard;
	struct expected expected[IN_FLIGHT];
	unsigned n_expected;
	uint8_t *out;
	size_t out_at, out_end;
	struct ledger_answer head;
	size_t got; /* of the answer in hand, head included */
};

static struct teller_shared *shared;
static struct caller callers[CONNECTIONS_MAX];
static unsigned seed;
static uint64_t shared_total;
static uint8_t shared_seen[SHARED_MAX / 8];

static void wrong(const struct caller *caller, const char *what, uint64_t is, uint64_t instead_of)
{
	const struct expected *expected = &caller->expected[0];

	fprintf(stderr,
		"teller: connection %u: %s: %llu instead of %llu (errno %s; kind %u seq %u key %u of %u in flight, ending %d)\n",
		caller->key, what, (unsigned long long)is, (unsigned long long)instead_of, strerror(errno),
		expected->request.kind, expected->request.seq, expected->request.key, caller->n_expected, (int)caller->ending);
	_exit(1);
}

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void connect_caller(struct caller *caller)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(shared->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1;

	caller->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (caller->fd < 0 || connect(caller->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		wrong(caller, "connect", 0, 0);
	setsockopt(caller->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	caller->life = 20 + pick(200);
	caller->ending = GOES_ON;
	caller->shut = caller->heard = false;
	caller->n_expected = 0;
	caller->out_at = caller->out_end = 0;
	caller->got = 0;
	caller->balance = caller->confirmed;
}

/* One more request into the output. */
static void ask(struct caller *caller, enum ledger_kind kind, uint32_t key, uint32_t size)
{
	struct expected *expected = &caller->expected[caller->n_expected++];
	struct ledger_request request = { .kind = kind, .seq = ++caller->seq, .key = key, .size_bytes = size };

	memcpy(caller->out + caller->out_end, &request, sizeof(request));
	caller->out_end += sizeof(request);
	for (uint32_t i = 0; kind == LEDGER_DEPOSIT && i < size; i++) {
		caller->out[caller->out_end++] = ledger_byte(request.seq, i);
		caller->balance += ledger_byte(request.seq, i);
	}
	caller->balance += kind == LEDGER_ADD && key;
	*expected = (struct expected){ request, caller->balance };
}

static void ask_something(struct caller *caller)
{
	unsigned dice = pick(100);

	if (!--caller->life) {
		caller->ending = pick(2) ? QUITS : HALF_CLOSES;
		if (caller->ending == QUITS)
			ask(caller, LEDGER_QUIT, caller->key, 0);
	} else if (dice < 40) {
		ask(caller, LEDGER_ADD, caller->key, 0);
	} else if (dice < 60) {
		ask(caller, LEDGER_ADD, 0, 0);
	} else if (dice < 75) {
		ask(caller, LEDGER_GET, caller->key, 0);
	} else if (dice < 85) {
		ask(caller, LEDGER_BIG, caller->key, pick(pick(8) ? 2000 : 200000));
	} else {
		ask(caller, LEDGER_DEPOSIT, caller->key, 1 + pick(pick(8) ? 2000 : 100000));
	}
}

static void ended(struct caller *caller)
{
	close(caller->fd);
	caller->fd = -1;
	/* Accepted and not yet told to anybody when the crash came: nothing of it was read. */
	if (!caller->heard)
		atomic_fetch_add(&shared->n_unheard, 1);
	else if (caller->ending == GOES_ON || caller->n_expected)
		wrong(caller, "ended early", 0, 0);
	else
		atomic_fetch_add(&shared->n_ended, 1);
}

static void check_answer(struct caller *caller)
{
	const struct expected *expected = &caller->expected[0];
	const struct ledger_request *request = &expected->request;
	uint64_t value = caller->head.value;

	if (!caller->n_expected)
		wrong(caller, "an answer to nothing", caller->head.seq, 0);
	if (caller->head.seq != request->seq)
		wrong(caller, "sequence", caller->head.seq, request->seq);
	if (caller->head.size_bytes != (request->kind == LEDGER_BIG ? request->size_bytes : 0))
		wrong(caller, "size", caller->head.size_bytes, request->size_bytes);
	if (request->key) {
		if (value != expected->value)
			wrong(caller, "value", value, expected->value);
	} else if (value >= SHARED_MAX || (shared_seen[value / 8] & 1 << value % 8)) {
		wrong(caller, "shared value came twice", value, 0);
	} else {
		shared_seen[value / 8] |= (uint8_t)(1 << value % 8);
		shared_total++;
	}
}

static void take_bytes(struct caller *caller, const uint8_t *data, size_t size)
{
	while (size) {
		size_t n;

		if (caller->got < sizeof(caller->head)) {
			n = sizeof(caller->head) - caller->got < size ? sizeof(caller->head) - caller->got : size;
			memcpy((uint8_t *)&caller->head + caller->got, data, n);
			if (caller->got + n == sizeof(caller->head))
				check_answer(caller);
		} else {
			n = sizeof(caller->head) + caller->head.size_bytes - caller->got;
			n = n < size ? n : size;
			for (size_t i = 0; i < n; i++)
				if (data[i] != ledger_byte(caller->head.seq,
							   (uint32_t)(caller->got - sizeof(caller->head) + i)))
					wrong(caller, "byte of an answer", data[i], caller->got);
		}
		caller->got += n;
		data += n;
		size -= n;
		if (caller->got >= sizeof(caller->head) && caller->got == sizeof(caller->head) + caller->head.size_bytes) {
			caller->confirmed = caller->expected[0].value;
			memmove(caller->expected, caller->expected + 1, --caller->n_expected * sizeof(caller->expected[0]));
			caller->got = 0;
			caller->heard = true;
			atomic_fetch_add(&shared->n_answers, 1);
		}
	}
}

static void read_some(struct caller *caller)
{
	static uint8_t data[65536];
	ssize_t n = recv(caller->fd, data, 1 + pick(sizeof(data)), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0 && caller->heard)
		wrong(caller, "recv", 0, 0);
	if (n <= 0)
		ended(caller);
	else
		take_bytes(caller, data, (size_t)n);
}

static void write_some(struct caller *caller)
{
	size_t left = caller->out_end - caller->out_at;
	ssize_t n = send(caller->fd, caller->out + caller->out_at, pick(4) ? left : 1 + pick((unsigned)left),
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		caller->out_at += (size_t)n;
	else if (errno != EAGAIN && caller->heard)
		wrong(caller, "send", 0, 0);
	if (caller->out_at == caller->out_end)
		caller->out_at = caller->out_end = 0;
}

/* Return: whether there is anything left to do for it. */
static bool prepare(struct caller *caller)
{
	bool stops = atomic_load(&shared->stop);

	if (caller->fd < 0) {
		if (stops && caller->balance == caller->confirmed)
			return false;
		connect_caller(caller);
	}
	if (caller->out_end == 0 && caller->ending == GOES_ON) {
		if (stops && !caller->n_expected)
			return false;
		for (unsigned n = pick(IN_FLIGHT); !stops && caller->n_expected < n && caller->ending == GOES_ON;)
			ask_something(caller);
		if (!stops && !caller->n_expected && caller->ending == GOES_ON)
			ask_something(caller);
	}
	if (caller->out_end == 0 && caller->ending == HALF_CLOSES && !caller->shut) {
		shutdown(caller->fd, SHUT_WR);
		caller->shut = true;
	}
	return true;
}

/* Nothing is in flight any more: the books. */
static void audit(void)
{
	for (unsigned i = 0; i <= shared->n_connections; i++) {
		struct caller *caller = &callers[i < shared->n_connections ? i : 0];
		uint32_t key = i < shared->n_connections ? caller->key : 0;
		struct ledger_request request = { .kind = LEDGER_GET, .seq = 1, .key = key };
		struct ledger_answer got;

		if (caller->fd >= 0)
			close(caller->fd);
		connect_caller(caller);
		if (send(caller->fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request) ||
		    recv(caller->fd, &got, sizeof(got), MSG_WAITALL) != (ssize_t)sizeof(got))
			wrong(caller, "audit", 0, 0);
		if (request.key && got.value != caller->confirmed)
			wrong(caller, "balance", got.value, caller->confirmed);
		if (!request.key && got.value != shared_total)
			wrong(caller, "shared balance", got.value, shared_total);
	}
}

static void be_teller(void)
{
	uint64_t until = 0;
	bool any = true;

	for (unsigned i = 0; i < shared->n_connections; i++)
		callers[i] = (struct caller){ .fd = -1, .key = i + 1, .out = malloc(OUT_BYTES) };
	while (any) {
		struct pollfd fds[CONNECTIONS_MAX];

		any = false;
		for (unsigned i = 0; i < shared->n_connections; i++) {
			bool busy = prepare(&callers[i]);

			any = any || busy;
			fds[i] = (struct pollfd){ .fd = busy ? callers[i].fd : -1, .events = POLLIN };
			if (callers[i].out_end)
				fds[i].events |= POLLOUT;
		}
		if (atomic_load(&shared->stop) && !until)
			until = clock_now_us() + PATIENCE_US;
		for (unsigned i = 0; until && any && clock_now_us() > until && i < shared->n_connections; i++)
			if (fds[i].fd >= 0)
				wrong(&callers[i], "waits in vain", callers[i].out_end, callers[i].got);
		poll(fds, shared->n_connections, 100);
		for (unsigned i = 0; i < shared->n_connections; i++) {
			if (fds[i].fd < 0)
				continue;
			if (fds[i].revents & POLLOUT)
				write_some(&callers[i]);
			if (fds[i].revents & ~POLLOUT)
				read_some(&callers[i]);
		}
	}
	audit();
	_exit(0);
}

void teller_start(struct teller *teller, uint16_t port, unsigned n_connections, unsigned its_seed)
{
	teller->shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	teller->shared->port = port;
	teller->shared->n_connections = n_connections;
	teller->pid = fork();
	if (teller->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_range(3, ~0u, 0);
	shared = teller->shared;
	seed = its_seed;
	be_teller();
}

int teller_finish(struct teller *teller)
{
	int status;

	atomic_store(&teller->shared->stop, true);
	if (waitpid(teller->pid, &status, 0) != teller->pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
