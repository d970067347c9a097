/* SPDX-License-Identifier: MIT */
/* Clients of an ssh server: dbclient with a command whose answers are counted, clients that come and go, one that is held half-way
 * through its key exchange, and one that never logs in. What goes wrong on a thread is kept, and fails the test where it is asked
 * for. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where they find things; set before any of them begins. */
struct ssh_setup {
	char dbclient[2048], key[2048], home[2048]; /* home: its .ssh/known_hosts is what dbclient reads */
};

extern struct ssh_setup ssh_setup;

enum ssh_trust { SSH_TRUST_ANY, SSH_TRUST_KNOWN }; /* which host keys dbclient goes on with */

struct ssh {
	pid_t pid; /* of dbclient; 0: none */
	int in, out, err;
	char text[1024];
	size_t used;
};

/** ssh_begin() - Start dbclient with @command at 127.0.0.1:@port. Return: 0 or -errno. */
int ssh_begin(struct ssh *ssh, uint16_t port, enum ssh_trust trust, const char *command);
/** ssh_read() - The next line without its end. Return: NULL: there is none (the end, or 20 s); lives until the next call. */
const char *ssh_read(struct ssh *ssh);
bool ssh_write(struct ssh *ssh, const char *line);
/** ssh_end() - Close its input, wait for its end. @ret_errors: NULL, or what it said on stderr. Return: its exit status; -1: it had
 * to be killed. */
int ssh_end(struct ssh *ssh, char *ret_errors, size_t size);

/* A session that counts: each line that is sent is answered by the next number. */
struct counter {
	struct ssh ssh;
	pthread_t thread;
	atomic_bool ends;
	atomic_uint_fast64_t count;
	uint64_t longest_us; /* that an answer took */
	pid_t session;       /* the server's process */
	char wrong[256];     /* "": nothing */
};

/** counter_begin() - Return: 0, after the first answer; -errno. */
int counter_begin(struct counter *counter, uint16_t port);
/** counter_await() - Until it has counted on by @more, at most 20 s. Return: whether it has. */
bool counter_await(struct counter *counter, uint64_t more);
/** counter_end() - Return: dbclient's exit status; @counter->wrong says what else was wrong. */
int counter_end(struct counter *counter);

/* Clients that come, have one command run, and go, one after the other on each of some threads. */
#define COMERS_MAX 4u
struct comers {
	pthread_t threads[COMERS_MAX];
	unsigned n;
	uint16_t port;
	atomic_bool ends;
	atomic_uint_fast64_t came, failed;
	uint64_t longest_us[COMERS_MAX];
	char wrong[COMERS_MAX][256];
};

int comers_begin(struct comers *comers, uint16_t port, unsigned n);
void comers_end(struct comers *comers);

/* A port before the server's, which lets through only the first bytes of what a client sends, until it is opened. */
struct gate {
	uint16_t port;
	int listener, stop[2];
	pthread_t thread;
	uint16_t server;
	size_t first;
	atomic_bool open;
	atomic_size_t held; /* bytes that wait; not 0: the client is where it is to be held */
};

int gate_begin(struct gate *gate, uint16_t port, uint16_t server, size_t first);
void gate_open(struct gate *gate);
void gate_end(struct gate *gate);

/** visitor_open() - Connect, and wait for the server's first word. Return: the fd; -ECONNREFUSED: nobody listens; -EPIPE: closed
 * without a word, which is what an address gets that has used up its places; -errno. */
int visitor_open(uint16_t port);
