/* SPDX-License-Identifier: MIT */
#include "supervisor/systemd/store.h"

#include "base/base.h"
#include "supervisor/systemd/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FD_HIGHEST 0xffffful
#define NAME_BYTES 40u
#define SERIAL_MAX (UINT64_MAX >> 1)
#define LETTERS "cop" /* of enum store_what */
#define RIGHTS_MAX 253u /* descriptors in one message */
#define AGAIN_US (10 * USEC_PER_MSEC)

/* One that came from systemd. */
struct came {
	char name[NAME_BYTES];
	uint64_t serial;
	enum store_what what;
	int fd; /* -1: it was taken */
};

/* What systemd was too busy for. */
struct waiting {
	struct waiting *next;
	int fd; /* -1: none goes with it */
	char text[128];
};

/* What systemd holds, as far as we know. */
struct held {
	uint64_t serial;
	unsigned is; /* bits of enum store_what */
};

/* What there is no room for as long as what came is there. */
struct later {
	struct later *next;
	uint64_t serial;
	enum store_what what;
	int fd;
};

struct store {
	struct loop *loop;
	uint64_t most, n; /* descriptors */
	uint64_t n_untaken; /* of what came: systemd holds them as well */
	struct later *later;
	bool told_full;
	bool blind; /* nothing came, and something may be held all the same: the program before us has executed us */
	struct came *came;
	size_t n_came;
	struct held *held;
	size_t n_held;
	struct waiting *first, **end;
	struct timer again;
};

static void name_of(uint64_t serial, enum store_what what, char name[static NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "upg-%" PRIu64 "-%c", serial, LETTERS[what]);
}

/* ---- what goes out ---- */

static void send_waiting(struct store *store);

static void on_again(struct timer *timer)
{
	send_waiting(container_of(timer, struct store, again));
}

static void forget(struct store *store)
{
	struct waiting *waiting = store->first;

	store->first = waiting->next;
	if (!store->first)
		store->end = &store->first;
	fd_close(waiting->fd);
	free(waiting);
}

static void send_waiting(struct store *store)
{
	while (store->first) {
		int r = notify_send(store->first->text, &store->first->fd, store->first->fd >= 0);

		if (r == -EAGAIN || r == -EINTR || r == -ENOBUFS || r == -ETOOMANYREFS) {
			timer_arm(store->loop, &store->again, clock_now_us() + AGAIN_US, on_again);
			return;
		}
		if (r < 0)
			log_warning("systemd cannot be told %.40s: %s", store->first->text, strerror(-r));
		forget(store);
	}
}

/* In the order in which they are given: a name is given up before it is used anew. */
static void tell(struct store *store, const char *text, int fd)
{
	struct waiting *waiting = malloc(sizeof(*waiting));

	if (!waiting) {
		log_warning("systemd is not told %.40s: no memory", text);
		return;
	}
	*waiting = (struct waiting){ .fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0) };
	snprintf(waiting->text, sizeof(waiting->text), "%s", text);
	if (fd >= 0 && waiting->fd < 0) {
		log_warning("systemd is not given a descriptor to hold: %s", strerror(errno));
		free(waiting);
		return;
	}
	*store->end = waiting;
	store->end = &waiting->next;
	if (store->first == waiting)
		send_waiting(store);
}

static void tell_removed(struct store *store, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	tell(store, text, -1);
}

static void give_up_rights(struct msghdr *message)
{
	for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one)) {
		size_t n = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[RIGHTS_MAX];

		if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS || n > RIGHTS_MAX)
			continue;
		memcpy(fds, CMSG_DATA(one), n * sizeof(int));
		fd_give_up_all(fds, n);
	}
}

/* Bounded, as a socket's queue is, and nothing can be added. */
void store_empty(int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	ssize_t n;

	if (fd < 0 || shutdown(fd, SHUT_RD) < 0)
		return;
	do {
		char byte;
		struct iovec line = { .iov_base = &byte, .iov_len = 1 };
		struct msghdr message = { .msg_iov = &line, .msg_iovlen = 1, .msg_control = control,
					  .msg_controllen = sizeof(control) };

		n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n >= 0)
			give_up_rights(&message);
	} while (n > 0);
}

static struct held *held_of(const struct store *store, uint64_t serial)
{
	for (size_t i = 0; i < store->n_held; i++)
		if (store->held[i].serial == serial)
			return &store->held[i];
	return NULL;
}

static struct held *held_add(struct store *store, uint64_t serial)
{
	struct held *held = held_of(store, serial), *more;

	if (held)
		return held;
	more = reallocarray(store->held, store->n_held + 1, sizeof(*more));
	if (!more)
		return NULL;
	store->held = more;
	more[store->n_held] = (struct held){ .serial = serial };
	return &more[store->n_held++];
}

static void drop_later(struct store *store, uint64_t serial, enum store_what what)
{
	struct later **link = &store->later;

	while (*link) {
		struct later *later = *link;

		if (later->serial != serial || later->what != what) {
			link = &later->next;
			continue;
		}
		*link = later->next;
		fd_close(later->fd);
		free(later);
	}
}

/* Return: false: it is not to be had. */
static bool put_later(struct store *store, uint64_t serial, enum store_what what, int fd)
{
	struct later *later = malloc(sizeof(*later));

	if (!later)
		return false;
	*later = (struct later){ .next = store->later, .serial = serial, .what = what, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0) };
	store->later = later;
	return true;
}

static void let_go(struct store *store, struct held *held, enum store_what what)
{
	char name[NAME_BYTES];

	if (!(held->is & 1u << what))
		return;
	name_of(held->serial, what, name);
	tell_removed(store, name);
	held->is &= ~(1u << what);
	store->n--;
}

bool store_holds(const struct store *store, uint64_t serial, enum store_what what)
{
	const struct held *held = store ? held_of(store, serial) : NULL;

	return held && held->is & 1u << what;
}

static void release_came(struct came *came)
{
	if (came->what == STORE_CHANNEL)
		store_empty(came->fd);
	came->fd = fd_give_up(came->fd);
}

/* What systemd holds under a name, and we have not taken: it would hold both. */
static void give_up_name(struct store *store, uint64_t serial, enum store_what what)
{
	char name[NAME_BYTES];
	bool is = store->blind;

	for (size_t i = 0; i < store->n_came; i++) {
		struct came *came = &store->came[i];

		if (came->fd < 0 || came->serial != serial || came->what != what)
			continue;
		release_came(came);
		store->n_untaken--;
		is = true;
	}
	name_of(serial, what, name);
	if (is)
		tell_removed(store, name);
}

void store_put(struct store *store, uint64_t serial, enum store_what what, int fd)
{
	struct held *held = store && serial && fd >= 0 ? held_add(store, serial) : NULL;
	char name[NAME_BYTES], text[128];

	if (!held)
		return;
	if (held->is & 1u << what)
		let_go(store, held, what);
	else
		give_up_name(store, serial, what);
	drop_later(store, serial, what);
	if (store->n + store->n_untaken >= store->most && store->n < store->most && store->n_came &&
	    put_later(store, serial, what, fd))
		return;
	if (store->n + store->n_untaken >= store->most) {
		if (!store->told_full)
			log_warning("systemd holds %" PRIu64 " descriptors for upgraded, which is all that FileDescriptorStoreMax= "
				    "lets it; what a service prints is lost while no upgraded runs", store->n);
		store->told_full = true;
		return;
	}
	name_of(serial, what, name);
	/* Not looked at by systemd: it would drop a pidfd at the end of its process, and a channel at the end of its peer. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	tell(store, text, fd);
	held->is |= 1u << what;
	store->n++;
}

void store_forget(struct store *store, uint64_t serial, enum store_what what)
{
	struct held *held = store && serial ? held_of(store, serial) : NULL;

	if (!held)
		return;
	drop_later(store, serial, what);
	let_go(store, held, what);
}

void store_remove(struct store *store, uint64_t serial)
{
	struct held *held = store && serial ? held_of(store, serial) : NULL;

	if (!held)
		return;
	for (enum store_what what = 0; what < STORE_WHATS; what++) {
		drop_later(store, serial, what);
		let_go(store, held, what);
	}
	*held = store->held[--store->n_held];
}

/* ---- what came ---- */

/* A pidfd has no inode of its own in older kernels. The process was reaped: the kernel has no number for it any more. */
static bool is_of_reaped(int fd)
{
	char path[64], line[128];
	bool is = false;
	FILE *info;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	while (info && !is && fgets(line, sizeof(line), info))
		is = sscanf(line, "Pid:%d", &pid) == 1 && pid == -1;
	if (info)
		fclose(info);
	return is;
}

/* The name alone proves nothing: it may be of another process, from before a logbook was lost. */
static bool is_the_one(int fd, enum store_what what, unsigned long long inode)
{
	unsigned long long is;

	if (what == STORE_PIDFD)
		return is_of_reaped(fd);
	return inode && fd_inode(fd, &is) == 0 && is == inode;
}

uint64_t store_last_serial(const struct store *store)
{
	uint64_t last = 0;

	for (size_t i = 0; store && i < store->n_came; i++)
		if (store->came[i].what < STORE_WHATS && store->came[i].serial > last)
			last = store->came[i].serial;
	return last;
}

int store_take(struct store *store, uint64_t serial, enum store_what what, unsigned long long inode)
{
	for (size_t i = 0; store && i < store->n_came; i++) {
		struct came *came = &store->came[i];
		struct held *held;
		int fd = came->fd;

		if (fd < 0 || came->serial != serial || came->what != what || !is_the_one(fd, what, inode))
			continue;
		held = held_add(store, serial);
		if (!held)
			return -1;
		store->n_untaken--;
		if (!(held->is & 1u << what))
			store->n++;
		held->is |= 1u << what;
		came->fd = -1;
		return fd;
	}
	return -1;
}

/* There is room now. */
static void put_what_waits(struct store *store)
{
	struct later *later = store->later;

	store->later = NULL;
	while (later) {
		struct later *next = later->next;

		store_put(store, later->serial, later->what, later->fd);
		fd_close(later->fd);
		free(later);
		later = next;
	}
}

bool store_is_quiet(const struct store *store)
{
	return !store || !store->first;
}

void store_settle(struct store *store)
{
	for (size_t i = 0; store && i < store->n_came; i++) {
		struct came *came = &store->came[i];
		struct held *held = came->what < STORE_WHATS ? held_of(store, came->serial) : NULL;

		if (came->fd < 0)
			continue;
		release_came(came);
		/* Another one may have that name by now. */
		if (came->what < STORE_WHATS) {
			store->n_untaken--;
			if (!(held && held->is & 1u << came->what))
				tell_removed(store, came->name);
		}
	}
	if (store) {
		free(store->came);
		store->came = NULL;
		store->n_came = 0;
		put_what_waits(store);
	}
}

/* A name that is not one of ours: STORE_WHATS. */
static void read_name(const char *name, size_t length, struct came *ret)
{
	char letter, rest;
	const char *at;

	ret->what = STORE_WHATS;
	if (length >= sizeof(ret->name))
		return;
	snprintf(ret->name, sizeof(ret->name), "%.*s", (int)length, name);
	if (sscanf(ret->name, "upg-%" SCNu64 "-%c%c", &ret->serial, &letter, &rest) == 2 && ret->serial <= SERIAL_MAX &&
	    (at = strchr(LETTERS, letter)) && *at)
		ret->what = (enum store_what)(at - LETTERS);
}

static int take_all(struct store *store, unsigned long n, const char *names)
{
	store->came = calloc(n + 1, sizeof(*store->came));
	if (!store->came)
		return -ENOMEM;
	for (unsigned long i = 0; i < n; i++) {
		struct came *came = &store->came[store->n_came];
		size_t length = strcspn(names, ":");

		came->fd = STORE_FDS_START + (int)i;
		read_name(names, length, came);
		names += length + (names[length] == ':');
		/* A listener of another name is not ours: activation.h has it. */
		if (came->what == STORE_WHATS && door_kind(came->fd) != DOOR_NONE)
			continue;
		if (fcntl(came->fd, F_SETFD, FD_CLOEXEC) == 0)
			store->n_came++;
	}
	store->n_untaken = store->n_came;
	return 0;
}

static unsigned long number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	unsigned long value = text ? strtoul(text, &end, 10) : 0;

	return text && *text && !*end ? value : 0;
}

unsigned long store_came(void)
{
	unsigned long n = number("LISTEN_PID") == (unsigned long)getpid() ? number("LISTEN_FDS") : 0;

	return n < FD_HIGHEST ? n : FD_HIGHEST;
}

bool store_is_name(const char *name, size_t length)
{
	struct came came;

	read_name(name, length, &came);
	return came.what != STORE_WHATS;
}

/* They are ours alone, and once: not those of child processes, nor of a program that takes our place and has our pid. */
static void clear_environment(void)
{
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

static int open_store(struct loop *loop, unsigned long most, struct store **ret_store)
{
	const char *names = getenv("LISTEN_FDNAMES");
	struct store *store = calloc(1, sizeof(*store));
	unsigned long n = store_came();
	int r;

	if (!store)
		return -ENOMEM;
	store->loop = loop;
	store->most = most;
	store->blind = n == 0;
	store->end = &store->first;
	r = take_all(store, n, names ? names : "");
	if (r < 0)
		free(store);
	else
		*ret_store = store;
	return r;
}

int store_open(struct loop *loop, struct store **ret_store, struct why *why)
{
	unsigned long most = number("FDSTORE");
	int r = 0;

	*ret_store = NULL;
	if (most && notify_is_wanted())
		r = open_store(loop, most, ret_store);
	clear_environment();
	return r < 0 ? why_errno(why, r, "what systemd holds") : 0;
}

struct store *store_free(struct store *store)
{
	if (!store)
		return NULL;
	send_waiting(store);
	timer_disarm(&store->again);
	while (store->first)
		forget(store);
	for (size_t i = 0; i < store->n_came; i++)
		fd_close(store->came[i].fd);
	while (store->later)
		drop_later(store, store->later->serial, store->later->what);
	free(store->came);
	free(store->held);
	free(store);
	return NULL;
}
