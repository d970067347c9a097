/* SPDX-License-Identifier: MIT */
#pragma once

struct connection;
struct server;

/** command_run() - Do what a line asks for. @line is taken apart. Context: the server's lock is held. */
void command_run(struct server *server, struct connection *connection, char *line);
