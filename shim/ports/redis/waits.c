/* SPDX-License-Identifier: MIT */
/* What blocked clients wait for. They are served in the order in which they came, so each has its number in it, and they
 * are saved by that. */
#include <private.h>

unsigned long long port_next_blocked(void)
{
	static unsigned long long last;

	return ++last;
}

static int compare_blocked(const void *a, const void *b)
{
	const client *const *x = a, *const *y = b;

	return ((*x)->port_blocked > (*y)->port_blocked) - ((*x)->port_blocked < (*y)->port_blocked);
}

/* Where a client waits in a stream, for each of the keys. */
static void after_of(const client *c, Redis__V1__Wait *record, Redis__V1__StreamId *ids)
{
	for (size_t i = 0; i < record->n_keys; i++) {
		robj *key = object_of(record->keys[i]);
		const streamID after = blocked_after(dictFetchValue(c->bpop.keys, key));

		decrRefCount(key);
		redis__v1__stream_id__init(&ids[i]);
		ids[i].ms = after.ms;
		ids[i].sequence = after.seq;
		record->after[record->n_after++] = &ids[i];
	}
}

static int save_wait(struct upg_saver *saver, client *c)
{
	Redis__V1__Wait record = REDIS__V1__WAIT__INIT;
	Redis__V1__StreamId *ids;
	int rc;

	record.client = c->id;
	record.kind = (uint32_t)c->btype;
	SET_LIST(record, keys, names_of(c->bpop.keys));
	ids = zcalloc(sizeof(*ids) * (record.n_keys + 1));
	record.after = zcalloc(sizeof(*record.after) * (record.n_keys + 1));
	record.count = c->bpop.count;
	record.until_ms = c->bpop.timeout;
	record.has_target = c->bpop.target != NULL;
	record.target = bytes_of_sds(c->bpop.target ? c->bpop.target->ptr : NULL);
	/* What is of no meaning for this kind was never set. */
	if (c->btype == BLOCKED_STREAM) {
		after_of(c, &record, ids);
		record.entries = c->bpop.xread_count;
		record.has_group = c->bpop.xread_group != NULL;
		record.group = bytes_of_sds(c->bpop.xread_group ? c->bpop.xread_group->ptr : NULL);
		record.consumer = bytes_of_sds(c->bpop.xread_consumer ? c->bpop.xread_consumer->ptr : NULL);
		record.no_acknowledgement = c->bpop.xread_group_noack;
	} else {
		record.from_end = c->bpop.blockpos.wherefrom;
		record.to_end = c->bpop.blockpos.whereto;
	}
	rc = upg_save(saver, &record.base);
	zfree(record.keys);
	zfree(record.after);
	zfree(ids);
	return rc;
}

int wait_save(struct upg_saver *saver, void *userdata)
{
	client **blocked = zmalloc(sizeof(client *) * (listLength(server.clients) + 1));
	size_t n = 0;
	listIter it;
	listNode *node;
	int rc = 0;

	(void)userdata;
	listRewind(server.clients, &it);
	while ((node = listNext(&it))) {
		client *c = listNodeValue(node);

		if (c->flags & CLIENT_BLOCKED)
			blocked[n++] = c;
	}
	qsort(blocked, n, sizeof(client *), compare_blocked);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = save_wait(saver, blocked[i]);
	zfree(blocked);
	return rc;
}

int wait_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__Wait *record = (const Redis__V1__Wait *)message;
	client *c = lookupClientByID(record->client);
	struct blockPos ends = { record->from_end, record->to_end };
	streamID *after;
	robj **keys, *target;

	(void)userdata;
	if (!c || c->argc == 0 || (record->n_after > 0 && record->n_after != record->n_keys))
		return upg_load_fail(loader, "client %llu waits, and is not there or has no command",
				     (unsigned long long)record->client);
	keys = zmalloc(sizeof(robj *) * (record->n_keys + 1));
	after = zcalloc(sizeof(streamID) * (record->n_keys + 1));
	for (size_t i = 0; i < record->n_keys; i++) {
		keys[i] = object_of(record->keys[i]);
		if (record->n_after > 0)
			after[i] = (streamID){ record->after[i]->ms, record->after[i]->sequence };
	}
	target = record->has_target ? object_of(record->target) : NULL;
	c->cmd = c->lastcmd = c->realcmd = lookupCommand(c->argv, c->argc);
	c->bpop.xread_count = record->entries;
	if (record->has_group) {
		c->bpop.xread_group = object_of(record->group);
		c->bpop.xread_consumer = object_of(record->consumer);
		c->bpop.xread_group_noack = record->no_acknowledgement;
	}
	blockForKeys(c, (int)record->kind, keys, (int)record->n_keys, (long)record->count, record->until_ms, target, &ends, after);
	for (size_t i = 0; i < record->n_keys; i++)
		decrRefCount(keys[i]);
	if (target)
		decrRefCount(target);
	zfree(keys);
	zfree(after);
	return 0;
}
