/* SPDX-License-Identifier: MIT */
/* Customers of upg-clerk, over TCP and over its unix socket: each knows every byte that is to come to it. They have requests in
 * flight all the time, send them in pieces, and at times read nothing for a while. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct customers;

/** customers_start() - @n_tcp of one kind and @n_unix of the other; all have had an answer when this returns. */
struct customers *customers_start(uint16_t port, const char *path, unsigned n_tcp, unsigned n_unix, unsigned seed);

/** customers_wait() - Until there were @more answers. What was wrong so far fails the test, also in all that follows. */
void customers_wait(struct customers *customers, uint64_t more);

/** customers_reopen() - Whether they hang up and call again from time to time. With @on false, returns when none of them is
 * calling: each connection that there is has been answered on. */
void customers_reopen(struct customers *customers, bool on);

/** customers_rest_unix() - Those of the unix socket send nothing and read nothing, wherever they are. Returns when the server has
 * received all that they had sent. */
void customers_rest_unix(struct customers *customers);
void customers_go_on_unix(struct customers *customers);

/** customers_stop() - Nothing more is asked for; all that was must be answered. Return: how many answers there were. */
uint64_t customers_stop(struct customers *customers);
