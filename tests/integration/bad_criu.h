/* SPDX-License-Identifier: MIT */
/* A CRIU that turns bad at a moment the test chooses: the real one, and something that happens to it. */
#pragma once

/** bad_criu() - A program for rig_daemon_start(). It is the real CRIU until bad_criu_turn(); from then on @deed happens
 * instead, lines of sh in which $real is the real one and `"$@"` what it was asked. Return: its path, valid as stage_path()'s. */
const char *bad_criu(const char *deed);

/** bad_criu_when() - As bad_criu(), for a @deed beside the real one, which goes on as the same process: it happens when @file, a
 * pattern below the images of the service, is there (and holds @text, unless NULL). In it, $criu is its pid. */
const char *bad_criu_when(const char *file, const char *text, const char *deed);

void bad_criu_turn(void);
void bad_criu_turn_back(void);
