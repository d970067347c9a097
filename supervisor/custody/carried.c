/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/carried.h"

#include "base/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CONN_IS_PRESENT = 1, CONN_IS_STABLE = 2, CONN_STATE_SHIFT = 2 };

/* ---- descriptors ---- */

static void put_one(const struct custody_entry *entry, struct carry *carry)
{
	Upgraded__Carry__Descriptor descriptor = UPGRADED__CARRY__DESCRIPTOR__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

	descriptor.descriptor = carry_hold(carry, entry->ref->fd);
	descriptor.name = entry->name;
	descriptor.tag = entry->tag;
	descriptor.optional = entry->optional;
	descriptor.since_commit = entry->since_commit;
	descriptor.closed = entry->closed;
	descriptor.lent = entry->lent;
	descriptor.given_up = entry->given_up;
	descriptor.known_moved = entry->known_moved;
	descriptor.door = entry->door;
	if (entry->place) {
		descriptor.place = (ProtobufCBinaryData){ .data = (uint8_t *)entry->place->at, .len = entry->place->at_bytes };
		descriptor.backlog = entry->place->backlog;
	}
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR;
	item.descriptor = &descriptor;
	carry_put(carry, &item);
}

void custody_put(const struct custody *custody, struct carry *carry)
{
	for (size_t i = 0; i < custody->n; i++)
		put_one(&custody->entries[i], carry);
}

/* Of a door, open or not. */
static struct door_place *place_of(const Upgraded__Carry__Descriptor *descriptor)
{
	struct door_place *place = calloc(1, sizeof(*place));

	if (!place || descriptor->place.len > sizeof(place->at)) {
		free(place);
		return NULL;
	}
	place->kind = (enum door)descriptor->door;
	place->at_bytes = (unsigned)descriptor->place.len;
	place->backlog = descriptor->backlog;
	memcpy(place->at, descriptor->place.data, descriptor->place.len);
	return place;
}

static int take_one(struct custody *custody, struct carry *carry, const Upgraded__Carry__Descriptor *descriptor, struct why *why)
{
	int fd = carry_take(carry, descriptor->descriptor);
	struct custody_entry *entry;

	/* The version that serves may have closed a connection meanwhile, as its client did. A door is another matter. */
	if (fd < 0 && carry_is_found(carry) && !descriptor->door)
		return 0;
	if (fd < 0)
		return why_set(why, -EBADMSG, "the descriptor '%.60s' that was kept is gone", descriptor->name);
	entry = custody_add(custody, descriptor->name, descriptor->tag, fd);
	if (!entry)
		return why_errno(why, -ENOMEM, "descriptors");
	entry->optional = descriptor->optional;
	entry->since_commit = descriptor->since_commit;
	entry->closed = descriptor->closed;
	entry->lent = descriptor->lent;
	entry->given_up = descriptor->given_up;
	entry->known_moved = descriptor->known_moved;
	/* As it was when it came: a listener may be shut down by now, to be opened again at its place. */
	free(entry->place);
	entry->door = (enum door)descriptor->door;
	entry->place = descriptor->place.len ? place_of(descriptor) : NULL;
	return 0;
}

int custody_take_left(struct custody *custody, struct carry *carry, const Upgraded__Carry__Item *from, struct why *why)
{
	const Upgraded__Carry__Item *item;
	int r = 0;

	for (item = carry_behind(carry, from); item && r == 0; item = carry_behind(carry, item)) {
		if (item->what_case != UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR)
			break;
		r = take_one(custody, carry, item->descriptor, why);
	}
	return r;
}

/* ---- the sample ---- */

void *conn_sample_put(const struct conn_sample *sample, Upgraded__Carry__Sample *ret)
{
	size_t n = sample->n;
	uint64_t *numbers = n ? calloc(n, 3 * sizeof(uint64_t) + sizeof(uint32_t)) : NULL;

	upgraded__carry__sample__init(ret);
	if (!numbers)
		return NULL;
	ret->taken_us = sample->taken_us;
	ret->readings = sample->readings;
	ret->n_inode = ret->n_consumed = ret->n_written = ret->n_is = n;
	ret->inode = numbers;
	ret->consumed = numbers + n;
	ret->written = numbers + 2 * n;
	ret->is = (uint32_t *)(numbers + 3 * n);
	for (size_t i = 0; i < n; i++) {
		const struct conn *conn = &sample->conn[i];

		ret->inode[i] = conn->inode;
		ret->consumed[i] = conn->consumed;
		ret->written[i] = conn->written;
		ret->is[i] = (conn->present ? CONN_IS_PRESENT : 0u) | (conn->stable ? CONN_IS_STABLE : 0u) |
			     ((uint32_t)conn->state << CONN_STATE_SHIFT);
	}
	return numbers;
}

int conn_sample_take(const Upgraded__Carry__Sample *sample, struct conn_sample *ret)
{
	size_t n = sample->n_inode;

	if (sample->n_consumed != n || sample->n_written != n || sample->n_is != n)
		return -EBADMSG;
	*ret = (struct conn_sample){ .readings = sample->readings, .taken_us = sample->taken_us };
	if (!n)
		return 0;
	ret->conn = calloc(n, sizeof(*ret->conn));
	if (!ret->conn)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		ret->conn[i] = (struct conn){ .inode = sample->inode[i],
					      .consumed = sample->consumed[i],
					      .written = sample->written[i],
					      .present = sample->is[i] & CONN_IS_PRESENT,
					      .stable = sample->is[i] & CONN_IS_STABLE,
					      .state = (uint8_t)(sample->is[i] >> CONN_STATE_SHIFT) };
	ret->n = n;
	return 0;
}

/* ---- names ---- */

void fd_names_put(const struct fd_names *names, struct fd_names_packed *ret)
{
	*ret = (struct fd_names_packed){ .each = calloc(names->n + 1, sizeof(*ret->each)),
					 .list = calloc(names->n + 1, sizeof(Upgraded__Carry__Name *)) };
	upgraded__carry__names__init(&ret->names);
	ret->names.cut = names->cut || !ret->each || !ret->list;
	if (ret->names.cut)
		return;
	for (size_t i = 0; i < names->n; i++) {
		upgraded__carry__name__init(&ret->each[i]);
		ret->each[i].name = names->names[i].name;
		ret->each[i].tag = names->names[i].tag;
		ret->each[i].door = names->names[i].door;
		ret->list[i] = &ret->each[i];
	}
	ret->names.n_name = names->n;
	ret->names.name = ret->list;
}

void fd_names_packed_done(struct fd_names_packed *packed)
{
	free(packed->each);
	free(packed->list);
	*packed = (struct fd_names_packed){ .each = NULL };
}

int fd_names_take(const Upgraded__Carry__Names *names, struct fd_names *ret)
{
	*ret = (struct fd_names){ .cut = names->cut };
	ret->names = names->n_name ? calloc(names->n_name, sizeof(*ret->names)) : NULL;
	if (names->n_name && !ret->names)
		return -ENOMEM;
	for (size_t i = 0; i < names->n_name; i++) {
		struct fd_name *name = &ret->names[i];

		*name = (struct fd_name){ .name = strdup(names->name[i]->name), .tag = names->name[i]->tag,
					  .door = names->name[i]->door };
		if (!name->name)
			return -ENOMEM;
		ret->n++;
	}
	return 0;
}
