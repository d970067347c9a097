/* SPDX-License-Identifier: MIT */
#pragma once

struct server;

/** upgrade_open() - Announce the process. Return: 0, or -errno after a word to stderr. */
int upgrade_open(struct server *server);
