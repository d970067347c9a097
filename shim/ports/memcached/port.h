/* SPDX-License-Identifier: MIT */
/* What the hooks call, and what is common to our sources. Included before everything else in each source of memcached's. */
#pragma once

#include <stdbool.h>
#include <upgrade.h>

struct conn;
struct _stritem;

extern struct upg *port_upg;
extern bool port_loads;     /* no item may make room for another */
extern int port_standing;   /* workers that stand in a pause, or are on their way out of it */

/* The start, in main(): before the tables are made, when they are, and when it listens. */
void port_open(void);
void port_receive(void);
void port_serve(void);
void port_leave_if_told(void);

/* Listeners. The second ones are for places where the first has done all. */
int port_listen(const struct sockaddr *address, socklen_t bytes, int type);
#define port_socket(info) port_listen((info)->ai_addr, (info)->ai_addrlen, (info)->ai_socktype)
#define port_done(...) 0
#define port_bind(fd, address, bytes) (close(fd), ((fd) = port_listen((address), (bytes), SOCK_STREAM)) < 0 ? -1 : 0)
#define port_keep(path) ((void)(path))

/* Connections. */
#define PORT_LINE_BYTES 512
bool port_accept(int fd);
void port_close(int fd);
void port_remember(struct conn *c, const char *request, size_t bytes);

/* Records. */
int port_save_items(struct upg_saver *saver, void *userdata);
int port_load_item(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
int port_save_counters(struct upg_saver *saver, void *userdata);
int port_load_counter(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
size_t port_chunks(const struct _stritem *it, char *to); /* NULL: the size only */
bool port_fill(struct _stritem *it, ProtobufCBinaryData value);
