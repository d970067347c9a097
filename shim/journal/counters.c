/* SPDX-License-Identifier: MIT */
/* The kernel counts in two halves:
 *
 *     read    = tcpi_bytes_received - SIOCINQ     all that came in order, less what still lies unread
 *     written = tcpi_bytes_acked + SIOCOUTQ       all that the peer has, plus what still lies unsent or unacknowledged
 *
 * Data from the peer moves both halves alike, so only this side's calls move the sums. The peer's FIN counts as a byte in
 * bytes_received, and SIOCINQ leaves the FIN out whether it was read or not. So `read` is one too large from the moment when the
 * FIN has come, which the state of the connection tells. Packets come between the calls, so the kernel is asked before and after,
 * until both answers agree.
 */
#include "shim/journal/counters.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* not netinet/tcp.h: its struct tcp_info ends before the byte counts */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define READINGS_MAX 1000u

/* The kernel's numbers, which <linux/tcp.h> leaves out. */
enum tcp_state { FIN_WAIT1 = 4, FIN_WAIT2 = 5, TIME_WAIT = 6, CLOSED = 7, CLOSE_WAIT = 8, LAST_ACK = 9, CLOSING = 11 };

static int read_info(int fd, struct tcp_info *ret)
{
	socklen_t size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &size) < 0)
		return -errno;
	/* An older kernel's structure ends before the counters. */
	return size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(ret->tcpi_bytes_received) ? -EOPNOTSUPP : 0;
}

/* With TLS in the kernel, other bytes go out than were written. */
static int check_plain(int fd)
{
	int protocol = 0;
	char ulp[16] = "";
	socklen_t size = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0)
		return -errno;
	if (protocol != IPPROTO_TCP)
		return -EOPNOTSUPP;
	size = sizeof(ulp);
	return getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &size) == 0 && size ? -EOPNOTSUPP : 0;
}

int counters_read(int fd, struct counters *ret)
{
	int r = check_plain(fd);

	for (unsigned i = 0; r == 0 && i < READINGS_MAX; i++) {
		struct tcp_info before, after;
		int unread, unsent;

		r = read_info(fd, &before);
		if (r == 0 && (ioctl(fd, SIOCINQ, &unread) < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0))
			r = -errno;
		if (r == 0)
			r = read_info(fd, &after);
		if (r < 0 || before.tcpi_state != after.tcpi_state || before.tcpi_bytes_received != after.tcpi_bytes_received ||
		    before.tcpi_bytes_acked != after.tcpi_bytes_acked)
			continue;
		ret->read = after.tcpi_bytes_received - (unsigned)unread;
		ret->written = after.tcpi_bytes_acked + (unsigned)unsent;
		ret->is_over = after.tcpi_state == CLOSED || after.tcpi_state == TIME_WAIT;
		ret->is_shut = after.tcpi_state == FIN_WAIT1 || after.tcpi_state == FIN_WAIT2 || after.tcpi_state == CLOSING ||
			       after.tcpi_state == LAST_ACK;
		if (after.tcpi_state == CLOSE_WAIT || after.tcpi_state == LAST_ACK || after.tcpi_state == CLOSING)
			ret->read--;
		return 0;
	}
	return r < 0 ? r : -EAGAIN;
}
