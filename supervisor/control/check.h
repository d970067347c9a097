/* SPDX-License-Identifier: MIT */
/* `upgradectl check`: is everything there that rolls and their ways back need? */
#pragma once

struct client;

/** check_start() - Look, try CRIU, and tell @client. */
void check_start(struct client *client);
