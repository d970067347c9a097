/* SPDX-License-Identifier: MIT */
/* dropbear's master (main_noinetd() of svr-main.c) made replaceable. The hooks of `adopt` call these; a session, which is a process
 * of its own, calls upgrade_child() alone and has nothing to do with the library afterwards. */
#pragma once

#include <includes.h>

#include <upgrade.h>

/* The master's table: its locals, lent to us for as long as it runs. A free place has -1 for its pipe. */
struct upgrade_table {
	int *pipes;
	char **addresses;
	time_t *since; /* version 2; 0: not known */
};

/* ---- start.c: this process and its supervisor ---- */

extern struct upg *upgrade_handle;

/** upgrade_open() - Find the supervisor, if there is one. What cannot be ends the process, with a reason. */
void upgrade_open(const struct upgrade_table *table);
/** upgrade_receive() - The table is filled with what came. Ends the process if it is not wanted. */
void upgrade_receive(void);
/** upgrade_listen() - dropbear_listen() for the master's own listeners: what was handed over, or new ones. */
int upgrade_listen(const char *address, const char *port, int *socks, unsigned int sockcount, char **errstring, int *maxfd);
/** upgrade_ready() - This is the one that serves from here on. Ends the process if it is not. */
void upgrade_ready(void);
/** upgrade_watch() - Let select() wait for the supervisor, too. */
void upgrade_watch(fd_set *fds, int *maxfd);
/** upgrade_turn() - What select() found, if it is the supervisor: a roll happens in here. @fds is empty after it, as what it says
 * is old then. Ends the process if another one serves. */
void upgrade_turn(int found, fd_set *fds);
/** upgrade_write_pidfile() - Where the program writes it, without a word if that cannot be, as it does itself. */
void upgrade_write_pidfile(void);
/** upgrade_child() - In a session's process, right after fork(): let go of all that is the master's. */
void upgrade_child(void);

/* ---- children.c: the table of sessions that have not logged in ---- */

extern const struct upg_config upgrade_config;

void upgrade_children_open(const struct upgrade_table *table);
/** upgrade_remember() - A session has begun, at @place of the table. */
void upgrade_remember(size_t place);
/** upgrade_forget() - It has logged in or is over: its pipe is at its end. */
void upgrade_forget(int pipe);
/** upgrade_children_drop() - Close the pipes of all sessions: they are the master's. */
void upgrade_children_drop(void);
#if PORT_VERSION >= 2
/** upgrade_report() - Log who holds the places of an address that has used up its own. */
void upgrade_report(const char *address);
#endif
