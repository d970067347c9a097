/* SPDX-License-Identifier: MIT */
/* A logbook that is gone or damaged is written again by what the living processes of services hold of it (logbook/note.h). */
#pragma once

struct registry;
struct spawner;
struct why;

/**
 * notes_gather() - Look at every process of this machine, and write into the logbook of @spawner what notes of ours say of those
 * that live, over what it has of them and was not written later. A process whose serial is another one's there gets a new one.
 *
 * A note counts in a process of which it tells, if we have written it for this very logbook, and whoever wrote it has ended. What
 * calls itself one and is none is told in the log with its process, and has no other effect.
 *
 * Return: 0; -errno with words: not all of it could be read or written. Then nothing may be started, as it might run already.
 * Context: waits for no process; the processes of a service's user are looked at for a second at most, and so are those of all
 * who are none of these.
 */
int notes_gather(const struct registry *registry, struct spawner *spawner, struct why *why);
