/* SPDX-License-Identifier: MIT */
/* A control group for each service, below the one that systemd has delegated to us: what the processes of a service start stays in
 * it, whatever session it makes itself, and ends with the service. The version that serves and the parked one are in the same one.
 *
 * Where no group is ours, nothing here does anything, and everything else works without. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct groups;

/** groups_new() - Return: NULL: there is no place for any. */
struct groups *groups_new(void);

/** groups_free() - Groups without processes are removed. NULL is allowed, here and below. Return: NULL. */
struct groups *groups_free(struct groups *groups);

/** groups_place() - Of where they are, for people. Return: borrowed; NULL: nowhere. */
const char *groups_place(const struct groups *groups);

/** groups_open() - The file by which a process gets into the group of @service, which is made. Return: the caller's; -1: there is
 * no group. */
int groups_open(const struct groups *groups, const char *service);

/** groups_join() - A process of ours that CRIU has brought back gets there. */
void groups_join(const struct groups *groups, const char *service, pid_t pid);

/** groups_end() - SIGKILL to whatever is in the group of @service; it is removed when it is empty. Return: was anything there? */
bool groups_end(const struct groups *groups, const char *service);
