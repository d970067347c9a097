/* SPDX-License-Identifier: MIT */
#include "tests/shim/pair.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <sys/socket.h>

void pair_open(struct upg **ret_upg, struct upg_conn **ret_conn, int *ret_peer)
{
	static const struct upg_config config = { .service = "test", .version = "v1" };
	int pair[2];

	cr_assert_eq(upg_open(&config, ret_upg), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	*ret_peer = pair[1];
	cr_assert_eq(upg_conn_open(*ret_upg, pair[0], "client", 1, ret_conn), 0);
	cr_assert_eq(upg_conn_fd(*ret_conn), pair[0]);
}

struct upg *pair_close(struct upg *upg, struct upg_conn *conn, int peer)
{
	upg_conn_close(conn, -1);
	fd_close(peer);
	return upg_free(upg);
}
