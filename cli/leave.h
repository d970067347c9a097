/* SPDX-License-Identifier: MIT */
/* `upgradectl leave [UNIT]`: upgraded is about to be ended and started again, and is not to stop its services. With UNIT, systemd
 * is asked whether that is so; a unit says this in ExecStop=. */
#pragma once

#include <stdbool.h>

struct why;

/** leave_main() - Return: the exit status. */
int leave_main(int argc, char **argv);

/** leave_is_meant() - Is this that verb? */
bool leave_is_meant(int argc, char **argv);

/** leave_is_restart() - By a list of jobs as `systemctl list-jobs --no-legend` prints it: is @unit being started again after its
 * end? Pure. */
bool leave_is_restart(const char *jobs, const char *unit);
