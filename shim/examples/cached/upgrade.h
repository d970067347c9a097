/* SPDX-License-Identifier: MIT */
/* All of cached's part in being replaced, but for the few calls in main.c, worker.c and listener.c. */
#pragma once

struct server;

/** upgrade_open() - upg_open() with cached's types and migrations. Return: 0 or -errno, after a word to stderr. */
int upgrade_open(struct server *server);
