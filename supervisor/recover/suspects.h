/* SPDX-License-Identifier: MIT */
/* Without a logbook, and without a note in the process: what may well be the process of a service, and cannot be proved to be. */
#pragma once

struct registry;
struct spawner;
struct why;

/**
 * suspects_gather() - For each service of which no process is known to live, write into the logbook which one may be it: it runs
 * the program of the service file, as the user of that, and has a channel that an upgraded has made. It counts as one that cannot
 * be reached: it is watched, and named where a start is refused.
 *
 * Nobody but the service's own user can bring a process into this state, as the kernel says who runs it and who made the channel.
 *
 * Return: 0; -errno with words, and then nothing may be started.
 */
int suspects_gather(struct registry *registry, struct spawner *spawner, struct why *why);
