/* SPDX-License-Identifier: MIT */
/* The test's side of the preloaded library. One thread. */
#pragma once

#include "tests/faults/faults.h"
#include "tests/rig/rig.h"

/** faults_open() - Make the file in the rig's folder. What is started from now on has the library in it; services have it by
 * faults_lines(). Return: 0 or -errno. */
int faults_open(struct rig *rig, struct faults **ret_faults);

/** faults_close() - Nothing that is started later has the library. @faults may be NULL. Return: NULL. */
struct faults *faults_close(struct faults *faults);

/** faults_lines() - What a service file needs, so that its processes have the library. Borrowed, from faults_open() on. */
const char *faults_lines(void);

/** faults_clear() - Nothing fails or is counted any more, and no rule is left. */
void faults_clear(struct faults *faults);

/** faults_add() - One more rule. Return: its number, for faults->rules. */
size_t faults_add(struct faults *faults, const struct fault_rule *rule);

/** faults_arm() - From now on; @old: the process that has FAULT_ROLE_OLD, 0: nobody. */
void faults_arm(struct faults *faults, pid_t old);

/** faults_disarm() - Nothing fails any more; what was counted stays. */
void faults_disarm(struct faults *faults);

/** faults_place() - The first call that was struck, with who called it, in words; release with free(). @rig finds programs. */
char *faults_place(const struct faults *faults, struct rig *rig);

/** faults_spread() - The @i-th of @of numbers from 1 on: far from each other first, and each once before any comes twice. */
uint64_t faults_spread(uint64_t i, uint64_t of);
