/* SPDX-License-Identifier: MIT */
/* OnRollback=: a program of the operator's that is told of a roll that went back, even if nobody waits for it any more. */
#pragma once

struct hook;
struct roll_report;
struct service_host;
struct unit;

/** hook_run() - If @report is of a roll that went back, or failed, and @unit has OnRollback=, start that; nobody waits for it. What
 * it prints is logged, and after HOOK_TIMEOUT_US it is ended. What goes wrong is logged. */
void hook_run(struct service_host *host, const struct unit *unit, const struct roll_report *report);

/** hook_end_all() - End those that run. */
void hook_end_all(struct service_host *host);
