/* SPDX-License-Identifier: MIT */
/* Connections: what is known of each beside its descriptor.
 *
 * What a client has said so far is put back by redis' own commands where there is one (SUBSCRIBE, WATCH): they are run before the
 * client has its connection, so that their answers go nowhere.
 */
#include <private.h>

#include <errno.h>

/* Of the flags, those that a client carries along. The others are of the moment, or are made by what is put back. */
#define FLAGS_SET_BACK \
	(CLIENT_DIRTY_CAS | CLIENT_DIRTY_EXEC | CLIENT_MULTI | CLIENT_CLOSE_AFTER_REPLY | CLIENT_CLOSE_AFTER_COMMAND | \
	 CLIENT_ASKING | CLIENT_UNIX_SOCKET | CLIENT_READONLY | CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP_NEXT | CLIENT_REPLY_SKIP | \
	 CLIENT_TRACKING_CACHING | CLIENT_TRACKING_BROKEN_REDIR | CLIENT_PROTOCOL_ERROR | CLIENT_NO_EVICT | CLIENT_PUBSUB)
#define FLAGS_TRACKING \
	(CLIENT_TRACKING | CLIENT_TRACKING_BCAST | CLIENT_TRACKING_OPTIN | CLIENT_TRACKING_OPTOUT | CLIENT_TRACKING_NOLOOP)
#define FLAGS_MONITOR (CLIENT_MONITOR | CLIENT_SLAVE)
#define FLAGS_KEPT (FLAGS_SET_BACK | FLAGS_TRACKING | FLAGS_MONITOR)

/* ---- at rest ---- */

static int waits_for_data(const client *c)
{
	return c->btype == BLOCKED_LIST || c->btype == BLOCKED_ZSET || c->btype == BLOCKED_STREAM;
}

static const char *unrest(client *c, enum upg_level level)
{
	if (c->flags & CLIENT_CLOSE_ASAP)
		return "is being closed";
	if ((c->flags & CLIENT_BLOCKED) && !waits_for_data(c))
		return c->btype == BLOCKED_WAIT ? "waits for replicas (WAIT)"
						: "is held up (CLIENT PAUSE, or SHUTDOWN is under way)";
	if (c->flags & CLIENT_PENDING_COMMAND)
		return "has a command that is about to run";
	if (level >= UPG_REQUEST_FREE && (sdslen(c->querybuf) > 0 || c->argc > 0 || clientHasPendingReplies(c)))
		return "is in the middle of a request (QuiesceLevel=)";
	if (level >= UPG_REQUEST_FREE && (c->flags & (CLIENT_MULTI | CLIENT_BLOCKED)))
		return "is in MULTI, or blocked (QuiesceLevel=)";
	if (level >= UPG_PROTOCOL_FREE)
		return "is connected (QuiesceLevel=)";
	return NULL;
}

int client_restless(enum upg_level level)
{
	listIter it;
	listNode *node;

	listRewind(server.clients, &it);
	while ((node = listNext(&it))) {
		client *c = listNodeValue(node);
		const char *what = unrest(c, level);

		if (!what)
			continue;
		upg_refuse(upg, "client %llu, %s, %s", (unsigned long long)c->id, getClientPeerId(c), what);
		return 1;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

void clients_lost(const int *fds, size_t n)
{
	listIter it;
	listNode *node;

	listRewind(server.clients, &it);
	while ((node = listNext(&it))) {
		client *c = listNodeValue(node);

		if (n > 0 && bsearch(&c->conn->fd, fds, n, sizeof(*fds), compare))
			freeClient(c);
	}
}

void clients_serve(void)
{
	/* Which keys a client was told of is not known here: they are all told to forget. */
	if (server.tracking_clients > 0)
		trackingInvalidateKeysOnFlush(0);
}

uint64_t client_count(void *userdata)
{
	(void)userdata;
	return listLength(server.clients);
}

/* ---- saving ---- */

static struct list_of_bytes bytes_new(size_t room)
{
	return (struct list_of_bytes){ 0, room ? zmalloc(sizeof(ProtobufCBinaryData) * room) : NULL };
}

static struct list_of_bytes arguments_of(robj **argv, int argc)
{
	struct list_of_bytes list = bytes_new((size_t)argc);

	for (; list.n < (size_t)argc; list.n++)
		list.items[list.n] = bytes_of_sds(argv[list.n]->ptr);
	return list;
}

static int compare_bytes(const void *a, const void *b)
{
	const ProtobufCBinaryData *x = a, *y = b;
	int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

struct list_of_bytes names_of(dict *names)
{
	struct list_of_bytes list = bytes_new(dictSize(names));
	dictIterator *it = dictGetSafeIterator(names);
	dictEntry *entry;

	while ((entry = dictNext(it)))
		list.items[list.n++] = bytes_of_sds(((robj *)dictGetKey(entry))->ptr);
	dictReleaseIterator(it);
	if (list.n > 1)
		qsort(list.items, list.n, sizeof(*list.items), compare_bytes);
	return list;
}

static struct list_of_bytes patterns_of(list *patterns)
{
	struct list_of_bytes list = bytes_new(listLength(patterns));
	listIter it;
	listNode *node;

	listRewind(patterns, &it);
	while ((node = listNext(&it)))
		list.items[list.n++] = bytes_of_sds(((robj *)listNodeValue(node))->ptr);
	return list;
}

/* A radix tree's keys are nowhere in one piece: these are copies. */
static struct list_of_bytes prefixes_of(rax *prefixes)
{
	struct list_of_bytes list = bytes_new(prefixes ? raxSize(prefixes) : 0);
	raxIterator it;

	if (!prefixes)
		return list;
	raxStart(&it, prefixes);
	raxSeek(&it, "^", NULL, 0);
	while (raxNext(&it))
		list.items[list.n++] = bytes_of_sds(sdsnewlen(it.key, it.key_len));
	raxStop(&it);
	return list;
}

static sds output_of(client *c)
{
	size_t sent = c->sentlen;
	sds output = sdsempty();
	listIter it;
	listNode *node;

	if (c->bufpos > 0) {
		output = sdscatlen(output, c->buf + sent, (size_t)c->bufpos - sent);
		sent = 0;
	}
	listRewind(c->reply, &it);
	while ((node = listNext(&it))) {
		const clientReplyBlock *block = listNodeValue(node);

		if (!block)
			continue;
		output = sdscatlen(output, block->buf + sent, block->used - sent);
		sent = 0;
	}
	return output;
}

static void queue_of(const client *c, client_record *record)
{
	record->n_queued = (size_t)c->mstate.count;
	record->queued = zcalloc(sizeof(*record->queued) * (record->n_queued + 1));
	for (int i = 0; i < c->mstate.count; i++) {
		struct list_of_bytes arguments = arguments_of(c->mstate.commands[i].argv, c->mstate.commands[i].argc);

		record->queued[i] = zmalloc(sizeof(**record->queued));
		redis__v1__command__init(record->queued[i]);
		record->queued[i]->n_arguments = arguments.n;
		record->queued[i]->arguments = arguments.items;
	}
}

/* Return: whether one of them has changed without a word to the client. */
static int watched_of(const client *c, client_record *record)
{
	struct watched_look look;
	listIter it;
	listNode *node;
	int changed = 0;

	record->watched = zcalloc(sizeof(*record->watched) * (listLength(c->watched_keys) + 1));
	listRewind(c->watched_keys, &it);
	while ((node = listNext(&it))) {
		Redis__V1__Watched *watched = zmalloc(sizeof(*watched));

		redis__v1__watched__init(watched);
		watched_look(listNodeValue(node), &look);
		watched->database = (uint32_t)look.db->id;
		watched->key = bytes_of_sds(look.key->ptr);
		watched->expired = look.expired;
		changed |= look.changed;
		record->watched[record->n_watched++] = watched;
	}
	return changed;
}

static void record_done(client_record *record)
{
	for (size_t i = 0; i < record->n_queued; i++) {
		zfree(record->queued[i]->arguments);
		zfree(record->queued[i]);
	}
	for (size_t i = 0; i < record->n_watched; i++)
		zfree(record->watched[i]);
	for (size_t i = 0; i < record->n_prefixes; i++)
		sdsfree((sds)record->prefixes[i].data);
	zfree(record->queued);
	zfree(record->watched);
	zfree(record->prefixes);
	zfree(record->arguments);
	zfree(record->channels);
	zfree(record->patterns);
	zfree(record->shard_channels);
	sdsfree((sds)record->output.data);
}

static int save_one(struct upg_saver *saver, client *c)
{
	client_record record = CLIENT_RECORD_INIT;
	int rc;

	record.id = c->id;
	record.name = bytes_of_sds(c->name ? c->name->ptr : NULL);
	record.database = (uint32_t)c->db->id;
	record.protocol = (uint32_t)c->resp;
	record.flags = c->flags & FLAGS_KEPT;
	record.user = bytes_of_sds(c->user ? c->user->name : NULL);
	record.authenticated = c->authenticated;
#if PORT_VERSION == 2
	record.created_s = (uint64_t)c->ctime;
	record.active_s = (uint64_t)c->lastinteraction;
	record.commands = c->commands;
#else
	record.created_s = (uint32_t)c->ctime;
	record.active_s = (uint32_t)c->lastinteraction;
#endif
	record.last_command = bytes_of_sds(c->lastcmd ? c->lastcmd->fullname : NULL);
	record.input = bytes_of(c->querybuf + c->qb_pos, sdslen(c->querybuf) - c->qb_pos);
	record.request = (uint32_t)c->reqtype;
	record.arguments_left = c->multibulklen;
	record.argument_bytes = c->bulklen;
	SET_LIST(record, arguments, arguments_of(c->argv, c->argc));
	record.output = bytes_of_sds(output_of(c));
	queue_of(c, &record);
	if (watched_of(c, &record))
		record.flags |= CLIENT_DIRTY_CAS;
	SET_LIST(record, channels, names_of(c->pubsub_channels));
	SET_LIST(record, patterns, patterns_of(c->pubsub_patterns));
	SET_LIST(record, shard_channels, names_of(c->pubsubshard_channels));
	record.redirect = c->client_tracking_redirection;
	SET_LIST(record, prefixes, prefixes_of(c->client_tracking_prefixes));
	rc = upg_save(saver, &record.base);
	record_done(&record);
	return rc;
}

int client_save(struct upg_saver *saver, void *userdata)
{
	listIter it;
	listNode *node;
	int rc = 0;

	(void)userdata;
	listRewind(server.clients, &it);
	while (rc == 0 && (node = listNext(&it)))
		rc = save_one(saver, listNodeValue(node));
	return rc;
}

/* ---- loading ---- */

/* @left: how many are to come; redis doubles the room for them, so it must not be 0. */
static void set_arguments(client *c, size_t n, const ProtobufCBinaryData *arguments, int left)
{
	c->argv_len = (int)n + (left < 1024 ? left : 1024);
	c->argv = zmalloc(sizeof(robj *) * ((size_t)c->argv_len + 1));
	c->argv_len_sum = 0;
	for (c->argc = 0; (size_t)c->argc < n; c->argc++) {
		c->argv[c->argc] = object_of(arguments[c->argc]);
		c->argv_len_sum += arguments[c->argc].len;
	}
}

/* A command of the form NAME ARGUMENT..., in the name of a client that has no connection yet. */
static void do_again(client *c, const char *name, size_t n, const ProtobufCBinaryData *arguments)
{
	ProtobufCBinaryData *argv;

	if (n == 0)
		return;
	argv = zmalloc(sizeof(*argv) * (n + 1));
	argv[0] = bytes_of(name, strlen(name));
	memcpy(argv + 1, arguments, sizeof(*argv) * n);
	set_arguments(c, n + 1, argv, 0);
	c->cmd = lookupCommand(c->argv, c->argc);
	c->cmd->proc(c);
	resetClient(c);
	zfree(argv);
}

static void watch_again(client *c, const client_record *record)
{
	for (size_t i = 0; i < record->n_watched; i++) {
		const Redis__V1__Watched *watched = record->watched[i];

		if (selectDb(c, (int)watched->database) != C_OK)
			continue;
		do_again(c, "watch", 1, &watched->key);
		watched_mark(listNodeValue(listLast(c->watched_keys)), watched->expired);
	}
}

static int queue_again(struct upg_loader *loader, client *c, const client_record *record)
{
	for (size_t i = 0; i < record->n_queued; i++) {
		const Redis__V1__Command *command = record->queued[i];

		set_arguments(c, command->n_arguments, command->arguments, 0);
		c->cmd = c->argc > 0 ? lookupCommand(c->argv, c->argc) : NULL;
		if (!c->cmd)
			return upg_load_fail(loader, "client %llu has queued a command that this version does not know",
					     (unsigned long long)c->id);
		queueMultiCommand(c, getCommandFlags(c));
		c->cmd = NULL;
	}
	return 0;
}

static void track_again(client *c, const client_record *record)
{
	robj **prefixes;

	if (!(record->flags & CLIENT_TRACKING))
		return;
	prefixes = zmalloc(sizeof(robj *) * (record->n_prefixes + 1));
	for (size_t i = 0; i < record->n_prefixes; i++)
		prefixes[i] = object_of(record->prefixes[i]);
	enableTracking(c, record->redirect, record->flags & FLAGS_TRACKING, prefixes, record->n_prefixes);
	for (size_t i = 0; i < record->n_prefixes; i++)
		decrRefCount(prefixes[i]);
	zfree(prefixes);
}

/* What it had said, but for what its buffers hold. */
static int state_again(struct upg_loader *loader, client *c, const client_record *record)
{
	sds last = sdsnewlen(record->last_command.data, record->last_command.len);
	int rc;

	c->resp = (int)record->protocol;
	do_again(c, "subscribe", record->n_channels, record->channels);
	do_again(c, "psubscribe", record->n_patterns, record->patterns);
	do_again(c, "ssubscribe", record->n_shard_channels, record->shard_channels);
	watch_again(c, record);
	if (selectDb(c, (int)record->database) != C_OK) {
		sdsfree(last);
		return upg_load_fail(loader, "client %llu uses database %u, and this version has %d: raise `databases`",
				     (unsigned long long)c->id, record->database, server.dbnum);
	}
	rc = queue_again(loader, c, record);
	if (rc < 0) {
		sdsfree(last);
		return rc;
	}
	track_again(c, record);
	if (record->name.len > 0)
		c->name = object_of(record->name);
	c->user = record->user.len > 0 ? ACLGetUserByName((const char *)record->user.data, record->user.len) : NULL;
	c->authenticated = record->authenticated;
	c->ctime = (time_t)record->created_s;
	c->lastinteraction = (time_t)record->active_s;
	c->lastcmd = sdslen(last) > 0 ? lookupCommandBySds(last) : NULL;
#if PORT_VERSION == 2
	c->commands = record->commands;
#endif
	sdsfree(last);
	if (record->user.len > 0 && !c->user)
		return upg_load_fail(loader, "client %llu has logged in as \"%.*s\", a user that this version does not have",
				     (unsigned long long)c->id, (int)record->user.len, (const char *)record->user.data);
	return 0;
}

static void buffers_again(client *c, const client_record *record)
{
	c->querybuf = sdscatlen(c->querybuf, record->input.data, record->input.len);
	c->reqtype = (int)record->request;
	c->multibulklen = record->arguments_left;
	c->bulklen = (long)record->argument_bytes;
	if (record->n_arguments > 0 || c->multibulklen > 0)
		set_arguments(c, record->n_arguments, record->arguments, record->arguments_left);
	if (record->output.len > 0)
		addReplyProto(c, (const char *)record->output.data, record->output.len);
	/* Nothing announces input that is here already. */
	if (record->input.len > 0)
		queueClientForReprocessing(c);
}

int client_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const client_record *record = (const client_record *)message;
	const uint64_t next = server.next_client_id;
	connection *conn;
	client *c;
	int fd, rc;

	(void)userdata;
	fd = upg_load_claim(loader, "client", record->id);
	if (fd < 0)
		return upg_load_fail(loader, "client %llu came without its connection", (unsigned long long)record->id);
	c = createClient(NULL);
	server.next_client_id = next;
	c->id = record->id;
	rc = state_again(loader, c, record);
	if (rc < 0)
		return rc;
	conn = connCreateAcceptedSocket(fd);
	connSetPrivateData(conn, c);
	if (connAccept(conn, NULL) != C_OK || connSetReadHandler(conn, readQueryFromClient) != C_OK)
		return upg_load_fail(loader, "client %llu does not fit into the event loop: maxclients is %u",
				     (unsigned long long)c->id, server.maxclients);
	c->conn = conn;
	linkClient(c);
	buffers_again(c, record);
	c->flags |= record->flags & (FLAGS_SET_BACK | FLAGS_MONITOR);
	if (record->flags & CLIENT_MONITOR)
		listAddNodeTail(server.monitors, c);
	return 0;
}
