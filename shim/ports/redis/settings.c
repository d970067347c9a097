/* SPDX-License-Identifier: MIT */
/* What commands have changed of the server itself: CONFIG SET, ACL SETUSER, scripts and functions. It is asked for and put back
 * by the commands that redis has for it, run for a client without a connection.
 */
#include <private.h>
#include <functions.h>

#include <errno.h>

static client *nobody;

/* Run a command. Return: what it answered, in the protocol; owned by the caller. */
static sds run(int argc, const ProtobufCBinaryData *argv)
{
	sds answer;
	listIter it;
	listNode *node;

	if (!nobody) {
		nobody = createClient(NULL);
		nobody->flags |= CLIENT_SCRIPT; /* which has an answer without a connection */
	}
	nobody->argv = zmalloc(sizeof(robj *) * (size_t)argc);
	nobody->argc = argc;
	for (int i = 0; i < argc; i++)
		nobody->argv[i] = object_of(argv[i]);
	nobody->cmd = nobody->realcmd = lookupCommand(nobody->argv, argc);
	nobody->cmd->proc(nobody);
	answer = sdsnewlen(nobody->buf, (size_t)nobody->bufpos);
	listRewind(nobody->reply, &it);
	while ((node = listNext(&it))) {
		clientReplyBlock *block = listNodeValue(node);

		answer = sdscatlen(answer, block->buf, block->used);
	}
	listEmpty(nobody->reply);
	nobody->reply_bytes = 0;
	nobody->bufpos = 0;
	freeClientOriginalArgv(nobody); /* ACL hides passwords in them */
	resetClient(nobody);
	return answer;
}

static ProtobufCBinaryData word(const char *text)
{
	return bytes_of(text, strlen(text));
}

/* The next bulk string of an answer, skipping the lengths of arrays. Return: 0: there is none. */
static int next_bulk(const char **at, const char *end, ProtobufCBinaryData *ret_bulk)
{
	while (*at < end && **at != '$') {
		const char *line = memchr(*at, '\n', (size_t)(end - *at));

		if (!line)
			return 0;
		*at = line + 1;
	}
	if (*at >= end)
		return 0;
	ret_bulk->len = (size_t)strtoull(*at + 1, NULL, 10);
	ret_bulk->data = (uint8_t *)memchr(*at, '\n', (size_t)(end - *at)) + 1;
	*at = (const char *)ret_bulk->data + ret_bulk->len + 2;
	return 1;
}

/* Return: 0, or what upg_load_fail() gives, with redis' own words. */
static int run_or_fail(struct upg_loader *loader, const char *what, int argc, const ProtobufCBinaryData *argv)
{
	sds answer = run(argc, argv);
	int rc = 0;

	if (sdslen(answer) > 0 && answer[0] == '-')
		rc = upg_load_fail(loader, "%s: %.*s", what, (int)strcspn(answer + 1, "\r"), answer + 1);
	sdsfree(answer);
	return rc;
}

/* ---- CONFIG SET ---- */

static sds noted; /* of CONFIG GET * when the server started */
static dict *changed; /* names of what a version before had changed: it stays changed */

void settings_note(void)
{
	noted = run(3, (ProtobufCBinaryData[]){ word("config"), word("get"), word("*") });
	changed = dictCreate(&stringSetDictType);
}

static int same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Is it in the answer to CONFIG GET, under this name and with this value? */
static int noted_so(ProtobufCBinaryData name, ProtobufCBinaryData value)
{
	const char *at = noted, *end = noted + sdslen(noted);
	ProtobufCBinaryData other, its_value;

	while (next_bulk(&at, end, &other) && next_bulk(&at, end, &its_value)) {
		if (same(name, other))
			return same(value, its_value);
	}
	return 0;
}

int setting_save(struct upg_saver *saver, void *userdata)
{
	sds now = run(3, (ProtobufCBinaryData[]){ word("config"), word("get"), word("*") });
	const char *at = now, *end = now + sdslen(now);
	Redis__V1__Setting record = REDIS__V1__SETTING__INIT;
	int rc = 0;

	(void)userdata;
	while (rc == 0 && next_bulk(&at, end, &record.name) && next_bulk(&at, end, &record.value)) {
		sds name = sdsnewlen(record.name.data, record.name.len);

		if (!noted_so(record.name, record.value) || dictFind(changed, name))
			rc = upg_save(saver, &record.base);
		sdsfree(name);
	}
	sdsfree(now);
	return rc;
}

int setting_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__Setting *record = (const Redis__V1__Setting *)message;
	sds name = sdsnewlen(record->name.data, record->name.len);
	const int protect = server.enable_protected_configs;
	char what[128];
	int rc = 0;

	(void)userdata;
	snprintf(what, sizeof(what), "CONFIG SET %s", name);
	server.enable_protected_configs = PROTECTED_ACTION_ALLOWED_YES; /* whoever changed it was allowed to */
	if (strcmp(name, "appendonly") == 0) {
		/* The command would rewrite the whole log; the version before has seen to that. */
		server.aof_enabled = same(record->value, word("yes"));
		server.aof_state = server.aof_enabled ? AOF_ON : AOF_OFF;
	} else {
		rc = run_or_fail(loader, what, 4,
				 (ProtobufCBinaryData[]){ word("config"), word("set"), record->name, record->value });
	}
	server.enable_protected_configs = protect;
	if (dictAdd(changed, name, NULL) != DICT_OK)
		sdsfree(name);
	return rc;
}

/* ---- users ---- */

static dict *came; /* names of the users that came */

int user_save(struct upg_saver *saver, void *userdata)
{
	raxIterator it;
	int rc = 0;

	(void)userdata;
	raxStart(&it, Users);
	raxSeek(&it, "^", NULL, 0);
	while (rc == 0 && raxNext(&it)) {
		Redis__V1__User record = REDIS__V1__USER__INIT;
		robj *rules = ACLDescribeUser(it.data);

		record.name = bytes_of(it.key, it.key_len);
		record.rules = bytes_of_sds(rules->ptr);
		rc = upg_save(saver, &record.base);
		decrRefCount(rules);
	}
	raxStop(&it);
	return rc;
}

int user_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__User *record = (const Redis__V1__User *)message;
	sds name = sdsnewlen(record->name.data, record->name.len);
	ProtobufCBinaryData *argv;
	char what[128];
	int n, rc, sanitize = 0;
	sds *rules;
	user *u;

	(void)userdata;
	rules = sdssplitlen((const char *)record->rules.data, (ssize_t)record->rules.len, " ", 1, &n);
	argv = zmalloc(sizeof(*argv) * (size_t)(4 + n));
	argv[0] = word("acl");
	argv[1] = word("setuser");
	argv[2] = record->name;
	argv[3] = word("reset");
	for (int i = 0; i < n; i++) {
		argv[4 + i] = bytes_of_sds(rules[i]);
		sanitize |= strcmp(rules[i], "sanitize-payload") == 0;
	}
	snprintf(what, sizeof(what), "ACL SETUSER %s", name);
	rc = run_or_fail(loader, what, 4 + n, argv);
	sdsfreesplitres(rules, n);
	zfree(argv);
	/* The command gives that to whom has neither it nor its opposite, as the user whom nobody has touched. */
	u = ACLGetUserByName(name, sdslen(name));
	if (u && !sanitize && (u->flags & USER_FLAG_SANITIZE_PAYLOAD)) {
		u->flags &= ~(uint64_t)USER_FLAG_SANITIZE_PAYLOAD;
		if (u->acl_string)
			decrRefCount(u->acl_string);
		u->acl_string = NULL;
	}
	if (!came)
		came = dictCreate(&setDictType);
	if (dictAdd(came, name, NULL) != DICT_OK)
		sdsfree(name);
	return rc;
}

void settings_finish(void)
{
	raxIterator it;

	if (!came)
		return;
	/* One that stands in this version's configuration was deleted since. */
	raxStart(&it, Users);
	raxSeek(&it, "^", NULL, 0);
	while (raxNext(&it)) {
		sds name = sdsnewlen(it.key, it.key_len);

		if (!dictFind(came, name)) {
			sdsfree(run(3, (ProtobufCBinaryData[]){ word("acl"), word("deluser"), bytes_of_sds(name) }));
			raxSeek(&it, ">", (unsigned char *)name, sdslen(name));
		}
		sdsfree(name);
	}
	raxStop(&it);
	dictRelease(came);
	came = NULL;
}

/* ---- scripts and functions ---- */

int script_save(struct upg_saver *saver, void *userdata)
{
	dictIterator *it = dictGetSafeIterator(evalScriptsDict());
	dictEntry *entry;
	int rc = 0;

	(void)userdata;
	while (rc == 0 && (entry = dictNext(it))) {
		const luaScript *script = dictGetVal(entry);
		Redis__V1__Script record = REDIS__V1__SCRIPT__INIT;

		record.body = bytes_of_sds(script->body->ptr);
		rc = upg_save(saver, &record.base);
	}
	dictReleaseIterator(it);
	return rc;
}

int script_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__Script *record = (const Redis__V1__Script *)message;

	(void)userdata;
	return run_or_fail(loader, "SCRIPT LOAD", 3, (ProtobufCBinaryData[]){ word("script"), word("load"), record->body });
}

int functions_save(struct upg_saver *saver, void *userdata)
{
	Redis__V1__Functions record = REDIS__V1__FUNCTIONS__INIT;
	const char *at;
	sds answer;
	int rc = 0;

	(void)userdata;
	if (functionsLibNum() == 0)
		return 0;
	answer = run(2, (ProtobufCBinaryData[]){ word("function"), word("dump") });
	at = answer;
	if (next_bulk(&at, answer + sdslen(answer), &record.dump))
		rc = upg_save(saver, &record.base);
	else
		rc = -EIO;
	sdsfree(answer);
	return rc;
}

int functions_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Redis__V1__Functions *record = (const Redis__V1__Functions *)message;
	const long long dirty = server.dirty;
	int rc;

	(void)userdata;
	rc = run_or_fail(loader, "FUNCTION RESTORE", 4,
			 (ProtobufCBinaryData[]){ word("function"), word("restore"), record->dump, word("flush") });
	server.dirty = dirty; /* nothing is new */
	return rc;
}
