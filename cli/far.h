/* SPDX-License-Identifier: MIT */
/* upgradectl -H HOST: the supervisor of another machine, over ssh(1). There `upgradectl stdio-bridge` stands between ssh and the
 * control socket: each message is its length in 4 bytes, the highest first, and its bytes. Descriptors do not travel. */
#pragma once

struct why;

/** far_connect() - Start ssh to @host, and what frames messages for it. Return: a socket as of wire_connect(), owned by the caller;
 * -errno with words. The processes end when it is closed. */
int far_connect(const char *host, struct why *why);

/** far_bridge() - `upgradectl stdio-bridge`: until either side is gone. Return: the exit status. */
int far_bridge(const char *socket_path);
