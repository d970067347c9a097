/* SPDX-License-Identifier: MIT */
/* What the hooks call. Included before everything else into each source of memcached. */
#pragma once

#include <upgrade/libevent.h>

#include <stdbool.h>

struct conn;

extern struct upg *port_upg;
extern struct upg_libevent port_glue;
extern bool port_loads;   /* no item may make room for another */
extern bool port_serves;
extern int port_standing; /* workers in a pause, or on their way out of it */
extern uint64_t port_clock; /* of old, in its seconds; 0: there is no old */

/* main(): before tables are made, before there are listeners, and when all is there. */
void port_open(void);
void port_receive(void);
void port_serve(void);

/* A socket of port_listen() is bound and has its options. */
int port_listen(const struct sockaddr *address, socklen_t bytes, int type);
#define port_socket(info) port_listen((info)->ai_addr, (info)->ai_addrlen, (info)->ai_socktype)
#define port_bind(fd, address, bytes) (close(fd), (fd) = port_listen((address), (bytes), SOCK_STREAM))
#define port_done(...) 0
#define port_keep(path) ((void)(path))

#define PORT_LINE_BYTES 512
#define port_close(fd) upg_close(port_upg, (fd), -1)
void port_remember(struct conn *c, const char *request, size_t bytes);

int port_save_counters(struct upg_saver *saver, void *userdata);
int port_load_counter(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
