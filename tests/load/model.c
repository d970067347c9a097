/* SPDX-License-Identifier: MIT */
#include "tests/load/model.h"

#include "tests/load/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 320u

void model_init(struct model *model, unsigned conn, uint32_t n_keys)
{
	*model = (struct model){ .conn = conn, .n_keys = n_keys, .keys = mem_new(n_keys * sizeof(*model->keys)) };
}

void model_done(struct model *model)
{
	for (uint32_t i = 0; i < model->n_keys; i++)
		value_unref(model->keys[i].value);
	free(model->keys);
	*model = (struct model){ 0 };
}

/* ---- what requests do ---- */

static void key_change(struct model *model, struct request *request, struct value *after_consume)
{
	struct key *key = &model->keys[request->key];

	request->step.key = request->key;
	request->step.before = key->value;
	request->step.after = value_ref(after_consume);
	key->value = after_consume;
	key->version++;
}

static void store_apply(struct model *model, struct request *request, bool allowed, enum reply_kind otherwise)
{
	request->expect = allowed ? REPLY_STORED : otherwise;
	if (allowed)
		key_change(model, request, value_ref(request->value));
}

static void join_apply(struct model *model, struct request *request)
{
	const struct value *old = model->keys[request->key].value;

	request->expect = old ? REPLY_STORED : REPLY_NOT_STORED;
	if (!old)
		return;
	/* The flags that come along are ignored: the value keeps its own. */
	if (request->kind == REQUEST_APPEND)
		key_change(model, request, value_join(old, request->value, old->flags));
	else
		key_change(model, request, value_join(request->value, old, old->flags));
}

/* incr wraps at 2^64, decr stops at 0. */
static void count_apply(struct model *model, struct request *request)
{
	const struct value *old = model->keys[request->key].value;
	uint64_t n = 0;

	if (!old) {
		request->expect = REPLY_NOT_FOUND;
		return;
	}
	if (!value_to_number(old, &n)) {
		request->expect = REPLY_ERROR;
		return;
	}
	if (request->kind == REQUEST_INCR)
		n += request->delta;
	else
		n = n > request->delta ? n - request->delta : 0;
	request->expect = REPLY_NUMBER;
	request->expect_number = n;
	key_change(model, request, value_number(n, old->flags));
}

static void get_apply(struct model *model, struct request *request)
{
	request->expect = REPLY_END;
	for (size_t i = 0; i < request->n_items && !request->survey; i++) {
		struct key *key = &model->keys[request->items[i].key];

		request->items[i].value = value_ref(key->value);
		request->items[i].version = key->version;
	}
}

bool model_cas_fresh(const struct model *model, uint32_t key)
{
	const struct key *k = &model->keys[key];

	return k->value && k->cas_known && k->cas_version == k->version;
}

void model_apply(struct model *model, struct request *request)
{
	const struct key *key = &model->keys[request_is_get(request) ? 0 : request->key]; /* a get has no use for it */

	switch (request->kind) {
	case REQUEST_SET:
		store_apply(model, request, true, REPLY_STORED);
		/* Whatever was wrong before, the key is known again once this has been executed. */
		model->keys[request->key].distrusted = false;
		break;
	case REQUEST_ADD:
		store_apply(model, request, !key->value, REPLY_NOT_STORED);
		break;
	case REQUEST_REPLACE:
		store_apply(model, request, key->value != NULL, REPLY_NOT_STORED);
		break;
	case REQUEST_CAS:
		store_apply(model, request, model_cas_fresh(model, request->key) && request->cas == key->cas,
			    key->value ? REPLY_EXISTS : REPLY_NOT_FOUND);
		break;
	case REQUEST_APPEND:
	case REQUEST_PREPEND:
		join_apply(model, request);
		break;
	case REQUEST_INCR:
	case REQUEST_DECR:
		count_apply(model, request);
		break;
	case REQUEST_DELETE:
		request->expect = key->value ? REPLY_DELETED : REPLY_NOT_FOUND;
		if (key->value)
			key_change(model, request, NULL);
		break;
	case REQUEST_TOUCH:
		request->expect = key->value ? REPLY_TOUCHED : REPLY_NOT_FOUND;
		break;
	case REQUEST_GET:
	case REQUEST_GETS:
		get_apply(model, request);
		break;
	case REQUEST_KINDS:
		break;
	}
}

void model_adopt(struct model *model, uint32_t key, struct value *value, uint64_t cas)
{
	struct key *k = &model->keys[key];
	struct value *old = k->value;
	uint64_t n;

	k->value = value_ref(value);
	/* A counter's padding is the server's business: expect the number. */
	if (value && value_to_number(value, &n)) {
		k->value = value_number(n, value->flags);
		value_unref(value);
	}
	value_unref(old);
	k->version++;
	k->cas_known = value != NULL;
	k->cas = cas;
	k->cas_version = k->version;
	k->distrusted = false;
}

/* ---- what answers say ---- */

static void wrong(struct model *model, uint32_t key, const char *expected, const char *got)
{
	if (key < model->n_keys)
		model->keys[key].distrusted = true;
	if (model->on_wrong)
		model->on_wrong(model->arg, key, expected, got);
}

static void value_wrong(struct model *model, const struct request *request, uint32_t key, const struct value *expected,
			const struct value *got)
{
	char want_text[TEXT_MAX], got_text[TEXT_MAX], want[TEXT_MAX + 40], have[TEXT_MAX + 80];

	snprintf(want, sizeof(want), "%s: %s", request_name(request->kind),
		 value_describe(expected, want_text, sizeof(want_text)));
	value_describe(got, got_text, sizeof(got_text));
	if (expected && got)
		snprintf(have, sizeof(have), "%s; bytes differ from offset %zu on", got_text,
			 value_difference(expected, got));
	else
		snprintf(have, sizeof(have), "%s", got_text);
	wrong(model, key, want, have);
}

/* The same number for the same version, another one for another. */
static void cas_check(struct model *model, const struct item *item, uint64_t cas)
{
	struct key *key = &model->keys[item->key];
	char want[TEXT_MAX], have[TEXT_MAX];

	if (key->cas_known && (key->cas_version == item->version) != (key->cas == cas)) {
		snprintf(want, sizeof(want), "gets: cas %s %" PRIu64, key->cas_version == item->version ?
			 "still" : "changed from", key->cas);
		snprintf(have, sizeof(have), "cas %" PRIu64, cas);
		wrong(model, item->key, want, have);
	}
	key->cas_known = true;
	key->cas = cas;
	key->cas_version = item->version;
}

static void items_skip(struct model *model, struct request *request, size_t until)
{
	for (; request->seen < until; request->seen++) {
		const struct item *item = &request->items[request->seen];

		if (item->value && !request->survey)
			value_wrong(model, request, item->key, item->value, NULL);
	}
}

/* The item that a VALUE is for: keys come in the order they were asked for, without the absent ones. */
static struct item *item_find(struct model *model, struct request *request, const struct reply *reply)
{
	size_t at = request->seen;
	uint32_t key;

	if (!key_read(reply->key, model->conn, &key))
		return NULL;
	while (at < request->n_items && request->items[at].key != key)
		at++;
	if (at == request->n_items)
		return NULL;
	items_skip(model, request, at);
	request->seen = at + 1;
	return &request->items[at];
}

static void value_check(struct model *model, struct request *request, const struct reply *reply)
{
	struct item *item = item_find(model, request, reply);
	struct value *got;
	char have[TEXT_MAX];

	if (!item) {
		snprintf(have, sizeof(have), "a value for %.250s", reply->key);
		wrong(model, STEP_NO_KEY, "only keys that were asked for, once each and in that order", have);
		return;
	}
	got = value_new(reply->data, reply->size, reply->flags);
	if (reply->has_cas != (request->kind == REQUEST_GETS)) {
		wrong(model, item->key, reply->has_cas ? "get: no cas number" : "gets: a cas number",
		      reply->has_cas ? "one" : "none");
	} else if (request->survey) {
		item->value = value_ref(got);
		item->cas = reply->cas;
	} else if (!value_matches(item->value, got)) {
		value_wrong(model, request, item->key, item->value, got);
	} else if (reply->has_cas) {
		cas_check(model, item, reply->cas);
	}
	value_unref(got);
}

bool model_check(struct model *model, struct request *request, const struct reply *reply)
{
	char want[TEXT_MAX], have[TEXT_MAX];

	if (request_is_get(request) && reply->kind == REPLY_VALUE) {
		value_check(model, request, reply);
		return false;
	}
	if (reply->kind == REPLY_END && request->expect == REPLY_END) {
		items_skip(model, request, request->n_items);
		return true;
	}
	if (reply->kind == request->expect && (reply->kind != REPLY_NUMBER || reply->number == request->expect_number))
		return true;
	if (request->expect == REPLY_NUMBER)
		snprintf(want, sizeof(want), "%s: %" PRIu64, request_name(request->kind), request->expect_number);
	else
		snprintf(want, sizeof(want), "%s: %s", request_name(request->kind), reply_name(request->expect));
	snprintf(have, sizeof(have), "%.250s", reply->line);
	wrong(model, request_is_get(request) ? request->items[0].key : request->key, want, have);
	/* A value where none can be is not the end of anything; what follows it will not fit either. */
	return reply->kind != REPLY_VALUE;
}
