/* SPDX-License-Identifier: MIT */
#include "shim/fds/traffic.h"

#include "shim/core/channel.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define LOOK_AT_MAX 256u     /* open connections, in the order of their numbers: more say nothing more */
#define WAITED_LONG_MS 1000u /* without an answer */

enum told {
	TOLD_NOTHING,    /* the peer has said nothing yet, or it is no connection */
	TOLD_LATELY,     /* ... and there was no time to answer */
	TOLD_UNANSWERED,
	TOLD_ANSWERED,
};

static enum told told(const struct fd_entry *entry)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (!entry->own_make || getsockopt(entry->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return TOLD_NOTHING;
	if (info.tcpi_bytes_sent)
		return TOLD_ANSWERED;
	if (!info.tcpi_bytes_received)
		return TOLD_NOTHING;
	return info.tcpi_last_data_recv < WAITED_LONG_MS ? TOLD_LATELY : TOLD_UNANSWERED;
}

void fd_traffic_note(struct fd_table *table, const struct fd_entry *entry)
{
	enum told what;

	if (table->answered)
		return;
	what = told(entry);
	if (what == TOLD_ANSWERED)
		table->answered = 1;
	else if (what != TOLD_NOTHING)
		table->unanswered++;
}

/* Lock held, or every thread stands. */
static void look(struct fd_table *table, Upgraded__Wire__Traffic *traffic)
{
	unsigned looked = 0;

	for (size_t i = 0; i < table->n_by_fd && looked < LOOK_AT_MAX && !table->answered; i++) {
		enum told what;

		if (!table->by_fd[i] || !table->by_fd[i]->own_make)
			continue;
		looked++;
		what = told(table->by_fd[i]);
		traffic->unanswered += what == TOLD_UNANSWERED;
		table->answered |= what == TOLD_ANSWERED;
	}
	traffic->unanswered += table->unanswered;
	traffic->answered = table->answered;
}

Upgraded__Wire__Traffic fd_traffic_look(struct fd_table *table)
{
	Upgraded__Wire__Traffic traffic = UPGRADED__WIRE__TRAFFIC__INIT;

	pthread_mutex_lock(&table->lock);
	look(table, &traffic);
	pthread_mutex_unlock(&table->lock);
	return traffic;
}

void fd_traffic_tell(struct fd_table *table)
{
	Upgraded__Wire__Traffic traffic = fd_traffic_look(table);
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_TRAFFIC, .traffic = &traffic);

	if (traffic.answered == table->told_answered && traffic.unanswered == table->told_unanswered)
		return;
	if (channel_post(table->channel, &message, NULL, 0) != WIRE_OK)
		return;
	table->told_answered = traffic.answered;
	table->told_unanswered = traffic.unanswered;
}
