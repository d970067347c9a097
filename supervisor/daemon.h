/* SPDX-License-Identifier: MIT */
/* The daemon wires the parts together, and does nothing else. */
#pragma once

struct why;

struct daemon_config {
	const char *config_dir;
	const char *run_dir;   /* holds the control socket */
	const char *state_dir; /* holds images */
	const char *criu_path;
	const char *version;   /* of this program */
	int left;              /* of guard_begin() */
};

/** daemon_run() - Serve until SIGTERM or SIGINT. Return: 0; -errno with the reason in @why. */
int daemon_run(const struct daemon_config *config, struct why *why);
