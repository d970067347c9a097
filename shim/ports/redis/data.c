/* SPDX-License-Identifier: MIT */
/* The server as a whole, its databases and keys. */
#include <private.h>

#include <errno.h>

enum form { FORM_TEXT, FORM_NUMBER, FORM_DUMPED }; /* FORM_DUMPED + the type in the dump format */

static int usage_is_known; /* the version before measured the use of keys as this one does */

/* ---- the server ---- */

static int is_lfu(void)
{
	return (server.maxmemory_policy & MAXMEMORY_FLAG_LFU) != 0;
}

int server_save(struct upg_saver *saver, void *userdata)
{
	Redis__V1__Server record = REDIS__V1__SERVER__INIT;

	(void)userdata;
	record.next_client = server.next_client_id;
	record.dirty = server.dirty;
	record.last_save_s = server.lastsave;
	record.lfu = is_lfu();
	record.started_s = server.stat_starttime;
	record.commands = server.stat_numcommands;
	record.connections = server.stat_numconnections;
	record.rejected = server.stat_rejected_conn;
	record.expired_keys = server.stat_expiredkeys;
	record.evicted_keys = server.stat_evictedkeys;
	record.hits = server.stat_keyspace_hits;
	record.misses = server.stat_keyspace_misses;
	record.error_replies = server.stat_total_error_replies;
	return upg_save(saver, &record.base);
}

int server_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__Server *record = (const Redis__V1__Server *)message;

	(void)loader;
	(void)userdata;
	server.next_client_id = record->next_client;
	server.dirty = record->dirty;
	server.lastsave = record->last_save_s;
	usage_is_known = record->lfu == is_lfu();
	server.stat_starttime = record->started_s;
	server.stat_numcommands = record->commands;
	server.stat_numconnections = record->connections;
	server.stat_rejected_conn = record->rejected;
	server.stat_expiredkeys = record->expired_keys;
	server.stat_evictedkeys = record->evicted_keys;
	server.stat_keyspace_hits = record->hits;
	server.stat_keyspace_misses = record->misses;
	server.stat_total_error_replies = record->error_replies;
	return 0;
}

/* ---- databases ---- */

int database_save(struct upg_saver *saver, void *userdata)
{
	int rc = 0;

	(void)userdata;
	for (int i = 0; i < server.dbnum && rc == 0; i++) {
		Redis__V1__Database record = REDIS__V1__DATABASE__INIT;

		record.id = (uint32_t)i;
		record.keys = dictSize(server.db[i].dict);
		record.expiring = dictSize(server.db[i].expires);
		if (record.keys > 0)
			rc = upg_save(saver, &record.base);
	}
	return rc;
}

int database_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__Database *record = (const Redis__V1__Database *)message;

	(void)userdata;
	if (record->id >= (uint32_t)server.dbnum)
		return upg_load_fail(loader, "database %u has keys, and this version has %d databases: raise `databases`",
				     record->id, server.dbnum);
	dictExpand(server.db[record->id].dict, record->keys);
	if (record->expiring > 0)
		dictExpand(server.db[record->id].expires, record->expiring);
	return 0;
}

/* ---- keys ---- */

uint64_t key_count(void *userdata)
{
	uint64_t n = 0;

	(void)userdata;
	for (int i = 0; i < server.dbnum; i++)
		n += dictSize(server.db[i].dict);
	return n;
}

/* The value in the dump format, its type in front, into *@buffer, which is used again. */
static int dump(robj *value, robj *name, int database, sds *buffer)
{
	rio out;
	int ok;

	sdsclear(*buffer);
	rioInitWithBuffer(&out, *buffer);
	ok = rdbSaveObjectType(&out, value) >= 0 && rdbSaveObject(&out, value, name, database) >= 0;
	*buffer = out.io.buffer.ptr;
	return ok ? 0 : -ENOMEM;
}

static int save_one(struct upg_saver *saver, redisDb *db, sds name, robj *value, sds *buffer)
{
	key_record record = KEY_RECORD_INIT;
	const dictEntry *expires = dictSize(db->expires) > 0 ? dictFind(db->expires, name) : NULL;
	robj key;
	int rc;

	initStaticStringObject(key, name);
	record.database = (uint32_t)db->id;
	record.name = bytes_of_sds(name);
	if (value->refcount != OBJ_SHARED_REFCOUNT) {
		record.usage = value->lru;
#if PORT_VERSION == 2
		record.made_ms = value->made_ms;
#endif
	}
	record.expires_ms = expires ? dictGetSignedIntegerVal(expires) : 0;
	if (value->type != OBJ_STRING) {
		rc = dump(value, &key, db->id, buffer);
		if (rc < 0)
			return rc;
		record.form = FORM_DUMPED + (unsigned char)(*buffer)[0];
		if (value->encoding == OBJ_ENCODING_HT)
			record.unordered = bytes_of(*buffer + 1, sdslen(*buffer) - 1);
		else
			record.value = bytes_of(*buffer + 1, sdslen(*buffer) - 1);
	} else if (value->encoding == OBJ_ENCODING_INT) {
		record.form = FORM_NUMBER;
		record.number = (long)value->ptr;
	} else {
		record.form = FORM_TEXT;
		record.value = bytes_of_sds(value->ptr);
	}
	return upg_save(saver, &record.base);
}

int key_save(struct upg_saver *saver, void *userdata)
{
	const int compress = server.rdb_compression;
	sds buffer = sdsempty();
	dictEntry *entry;
	int rc = 0;

	(void)userdata;
	server.rdb_compression = 0; /* clients wait, and memory is there */
	for (int i = 0; i < server.dbnum && rc == 0; i++) {
		dictIterator *it = dictGetSafeIterator(server.db[i].dict);

		while (rc == 0 && (entry = dictNext(it)))
			rc = save_one(saver, &server.db[i], dictGetKey(entry), dictGetVal(entry), &buffer);
		dictReleaseIterator(it);
	}
	sdsfree(buffer);
	server.rdb_compression = compress;
	return rc;
}

/* A number that many keys share has no usage of its own. */
static robj *number(long long n, int is_shared)
{
	robj *value;

	if (is_shared)
		return createStringObjectFromLongLongForValue(n);
	value = createObject(OBJ_STRING, (void *)(long)n);
	value->encoding = OBJ_ENCODING_INT;
	return value;
}

static robj *undump(int type, ProtobufCBinaryData value, sds name, int database, int *ret_error)
{
	const int sanitize = server.sanitize_dump_payload;
	sds buffer = sdsnewlen(value.data, value.len);
	robj *object;
	rio in;

	/* It comes from another redis, not from a client. */
	server.sanitize_dump_payload = SANITIZE_DUMP_NO;
	rioInitWithBuffer(&in, buffer);
	object = rdbLoadObject(type, &in, name, database, ret_error);
	server.sanitize_dump_payload = sanitize;
	sdsfree(buffer);
	return object;
}

int key_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const key_record *record = (const key_record *)message;
	redisDb *db;
	robj *value, key;
	sds name;
	int error = 0;

	(void)userdata;
	if (record->database >= (uint32_t)server.dbnum)
		return upg_load_fail(loader, "a key is in database %u, and this version has %d: raise `databases`",
				     record->database, server.dbnum);
	db = &server.db[record->database];
	name = sdsnewlen(record->name.data, record->name.len);
	if (record->form == FORM_TEXT)
		value = object_of(record->value);
	else if (record->form == FORM_NUMBER)
		value = number(record->number, record->usage == 0);
	else
		value = undump((int)record->form - FORM_DUMPED, record->unordered.len > 0 ? record->unordered : record->value, name,
			       db->id, &error);
	if (!value) {
		upg_load_fail(loader, "key \"%.64s\" of database %d, type %u, cannot be loaded: error %d", name, db->id,
			      record->form - FORM_DUMPED, error);
		sdsfree(name);
		return -EINVAL;
	}
	if (value->refcount != OBJ_SHARED_REFCOUNT) {
		if (usage_is_known)
			value->lru = record->usage;
#if PORT_VERSION == 2
		value->made_ms = record->made_ms;
#endif
	}
	if (!dbAddRDBLoad(db, name, value)) {
		upg_load_fail(loader, "key \"%.64s\" of database %d came twice", name, db->id);
		sdsfree(name);
		decrRefCount(value);
		return -EEXIST;
	}
	initStaticStringObject(key, name);
	if (record->expires_ms)
		setExpire(NULL, db, &key, record->expires_ms);
	return 0;
}
