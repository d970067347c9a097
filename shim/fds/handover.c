/* SPDX-License-Identifier: MIT */
#include "shim/fds/handover.h"

#include "base/why.h"
#include "shim/core/channel.h"

#include <errno.h>
#include <stdio.h>

#define NUMBERS_AT_ONCE 4096u
#define DOORS_BELOW 1024u
#define DOORS_MAX 64u

/* ---- inventory ---- */

/* List registered numbers from *@at on, as many as fit. Return: whether these were the last. */
static bool list_numbers(struct fd_table *table, size_t *at, uint32_t *numbers, size_t *ret_n)
{
	bool last;

	*ret_n = 0;
	pthread_mutex_lock(&table->lock);
	for (; *at < table->n_by_fd && *ret_n < NUMBERS_AT_ONCE; ++*at)
		if (table->by_fd[*at])
			numbers[(*ret_n)++] = (uint32_t)*at;
	last = *at >= table->n_by_fd;
	pthread_mutex_unlock(&table->lock);
	return last;
}

/* Copied, since other threads may close them meanwhile. */
struct doors {
	Upgraded__Wire__FdInfo infos[DOORS_MAX], *list[DOORS_MAX];
	char names[DOORS_MAX][FD_NAME_MAX + 1];
	size_t n;
};

/* What is one of a kind: connections are many, and their names say nothing to anybody. Doors are opened early, so that their
 * numbers are low. */
static void list_doors(struct fd_table *table, struct doors *doors)
{
	doors->n = 0;
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd && i < DOORS_BELOW && doors->n < DOORS_MAX; i++) {
		Upgraded__Wire__FdInfo *info = &doors->infos[doors->n];

		if (!table->by_fd[i] || door_kind((int)i) == DOOR_NONE)
			continue;
		upgraded__wire__fd_info__init(info);
		snprintf(doors->names[doors->n], sizeof(doors->names[0]), "%s", table->by_fd[i]->name);
		info->name = doors->names[doors->n];
		info->tag = table->by_fd[i]->tag;
		doors->list[doors->n++] = info;
	}
	pthread_mutex_unlock(&table->lock);
}

int fds_tell_inventory(struct fd_table *table, uint64_t question, uint32_t *threads, size_t n_threads,
		       Upgraded__Wire__Count **counts, size_t n_counts)
{
	Upgraded__Wire__Inventory inventory = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY, .inventory = &inventory);
	uint32_t numbers[NUMBERS_AT_ONCE];
	struct doors doors;
	size_t at = 0;
	int r;

	list_doors(table, &doors);
	inventory.doors = doors.list;

	inventory.fds = numbers;
	inventory.question = question;
	do {
		inventory.last = list_numbers(table, &at, numbers, &inventory.n_fds);
		if (inventory.last) {
			inventory.threads = threads;
			inventory.n_threads = n_threads;
			inventory.n_doors = doors.n;
			inventory.counts = counts;
			inventory.n_counts = n_counts;
		}
		r = channel_say(table->channel, &message, NULL);
	} while (r == 0 && !inventory.last);
	return r;
}

void fds_tell_registered(struct fd_table *table)
{
	Upgraded__Wire__Registered registered = UPGRADED__WIRE__REGISTERED__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_REGISTERED, .registered = &registered);

	pthread_mutex_lock(&table->lock);
	registered.count = table->n_entries;
	pthread_mutex_unlock(&table->lock);
	channel_say(table->channel, &message, NULL);
}

/* ---- out ---- */

void fd_batch_add(struct fd_batch *batch, const struct fd_entry *entry)
{
	Upgraded__Wire__FdInfo *info = &batch->infos[batch->n];

	upgraded__wire__fd_info__init(info);
	info->name = entry->name;
	info->tag = entry->tag;
	info->since = entry->since;
	batch->pointers[batch->n] = info;
	batch->numbers[batch->n++] = entry->fd;
}

/* The last one: @next_tag is not 0. */
static int send_batch(struct channel *channel, struct fd_batch *batch, uint64_t next_tag, uint64_t deadline_us, struct why *why)
{
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	fds.fds = batch->pointers;
	fds.n_fds = batch->n;
	fds.last = next_tag != 0;
	fds.next_tag = next_tag;
	return channel_send(channel, &message, batch->numbers, batch->n, deadline_us, why);
}

/* Without the table's lock: every registered thread stands, so the table does not change under us, and this may wait. */
int fds_send(struct fd_table *table, uint64_t deadline_us, uint32_t *ret_n, struct why *why)
{
	struct fd_batch batch;
	uint32_t total = 0;
	int r;

	batch.n = 0;
	for (size_t i = 0; i < table->n_by_fd; i++) {
		if (!table->by_fd[i])
			continue;
		if (batch.n == WIRE_FDS_MAX) {
			r = send_batch(table->channel, &batch, 0, deadline_us, why);
			if (r < 0)
				return r;
			batch.n = 0;
		}
		fd_batch_add(&batch, table->by_fd[i]);
		total++;
	}
	r = send_batch(table->channel, &batch, table->last_tag + 1, deadline_us, why);
	if (r < 0)
		return r;
	*ret_n = total;
	return 0;
}

/* ---- in ---- */

static int take_batch(struct channel *channel, const Upgraded__Wire__AppMessage *message, fds_take_fn take, void *arg,
		      const Upgraded__Wire__Fds **ret_fds, struct why *why)
{
	const Upgraded__Wire__Fds *fds;

	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT)
		return why_set(why, -ECANCELED, "the roll was called off: %s", message->abort->reason);
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_FDS)
		return why_set(why, -EPROTO, "expected descriptors, got %s", wire_app_name(message));
	fds = message->fds;
	if (fds->n_fds != channel->fds.n)
		return why_set(why, -EPROTO, "%zu descriptors are named but %zu came", fds->n_fds, channel->fds.n);
	for (size_t i = 0; i < fds->n_fds; i++) {
		int r = take(arg, fds->fds[i], channel->fds.fd[i], why);

		if (r < 0)
			return r;
		/* The others are closed with the message, all at once. */
		if (r != FDS_NOT_KEPT)
			channel_claim(channel, i);
	}
	*ret_fds = fds;
	return 0;
}

int fds_receive(struct channel *channel, uint64_t *deadline_us, fds_take_fn take, void *arg, uint64_t *ret_next_tag,
		struct why *why)
{
	bool last = false;

	while (!last) {
		const Upgraded__Wire__Fds *fds = NULL;
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(channel, *deadline_us, &message, why);

		if (r == CHANNEL_TIMEOUT)
			return why_set(why, -ETIMEDOUT, "not all descriptors came in time");
		if (r == CHANNEL_CLOSED)
			return why_set(why, -ECONNRESET, "the supervisor vanished while it handed over descriptors");
		if (r < 0)
			return r;
		if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_POSTPONED) {
			*deadline_us = message->postponed->deadline_us;
			channel_free(channel, message);
			continue;
		}
		r = take_batch(channel, message, take, arg, &fds, why);
		if (r == 0)
			last = fds->last;
		if (r == 0 && last && ret_next_tag)
			*ret_next_tag = fds->next_tag;
		channel_free(channel, message);
		if (r < 0)
			return r;
	}
	return 0;
}
