/* SPDX-License-Identifier: MIT */
/* A client whose end, or standing still, is to make no difference to others. */
#pragma once

#include <stdint.h>

/** client_run() - Store and read on a few connections to 127.0.0.1:@port, until one of them ends. Return: an exit status. */
int client_run(uint16_t port);
