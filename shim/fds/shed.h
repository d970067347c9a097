/* SPDX-License-Identifier: MIT */
/* What makes a parked process free of sockets, and gives it its sockets back. Every registered thread stands all the while. */
#pragma once

#include "shim/fds/table.h"
#include "shim/fds/timers.h"

#include <sys/epoll.h>

struct why;

struct shed {
	struct fd_table *fds;
	struct epoll_entry {
		int epoll_fd;
		int fd;
		struct epoll_event event;
	} *entries; /* registrations to put back */
	size_t n, cap;
	struct timers timers;
};

/** shed_init() - Nothing is shed yet. @fds is borrowed. */
void shed_init(struct shed *shed, struct fd_table *fds);
void shed_done(struct shed *shed);

/** shed_sockets() - Remove the registered sockets, *@ret_n of them, from every epoll set, and put /dev/null at their numbers.
 * Return: 0; -errno: some are shed, and some are not. */
int shed_sockets(struct shed *shed, uint32_t *ret_n, struct why *why);

/** shed_restore() - Put one socket back at its number. Return: FDS_NOT_KEPT, as only a duplicate of @fd is used; -errno. */
int shed_restore(struct shed *shed, const Upgraded__Wire__FdInfo *info, int fd, struct why *why);

#define SHED_MISSED_MAX 16u

/* Doors (base/door.h) of ours that nothing comes in by any more. */
struct shed_missed {
	Upgraded__Wire__FdInfo infos[SHED_MISSED_MAX], *list[SHED_MISSED_MAX];
	size_t n;
};

/** shed_list_missed() - After shed_undo(): name them, as many as fit. Release with shed_missed_done(). */
void shed_list_missed(struct shed *shed, struct shed_missed *ret);
void shed_missed_done(struct shed_missed *missed);

/** shed_undo() - After the last shed_restore(): put epoll registrations back, and list what did not come back in *@ret_lost
 * (ascending; NULL if there is none; released with free()). Return: 0 or -errno. */
int shed_undo(struct shed *shed, int **ret_lost, size_t *ret_n_lost, struct why *why);
