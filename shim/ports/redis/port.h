/* SPDX-License-Identifier: MIT */
/* What the hooks call, for redis' own sources: included before everything else in them, so it includes nothing itself. */
#pragma once

struct client;
struct list;

/* start.c: the life of the process. */
void port_open(void);
void port_become(void);   /* also reads the data from disk, if there is no predecessor */
void port_loaded(void);   /* in the place of what port_become() has done */
void port_pid_file(void);
void port_dispatch(void); /* once in each turn of the event loop, when nothing is half-done */

/* listen.c: descriptors. */
int port_close(int fd);
int port_unlink(const char *path);
void port_client_linked(struct client *client);

/* waits.c */
unsigned long long port_next_blocked(void);
