/* SPDX-License-Identifier: MIT */
/* A connection without a supervisor and without a journal, and its other end. */
#pragma once

#include "shim/upgrade.h"

void pair_open(struct upg **ret_upg, struct upg_conn **ret_conn, int *ret_peer);
/** pair_close() - Return: NULL. */
struct upg *pair_close(struct upg *upg, struct upg_conn *conn, int peer);
