/* SPDX-License-Identifier: MIT */
#include "wire/parts.h"

#include "base/why.h"
#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PART_BYTES (WIRE_MESSAGE_MAX - 64u) /* what is around it in a message takes less than the rest */

static int send_pieces(uint8_t *data, size_t size, int (*send)(void *arg, const Upgraded__Wire__ControlMessage *message), void *arg)
{
	int r = 0;

	for (size_t at = 0; at < size && r == 0; at += PART_BYTES) {
		Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
		Upgraded__Wire__ResultPart part = UPGRADED__WIRE__RESULT_PART__INIT;

		part.data.data = data + at;
		part.data.len = size - at < PART_BYTES ? size - at : PART_BYTES;
		part.last = at + part.data.len == size;
		message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PART;
		message.part = &part;
		r = send(arg, &message);
	}
	return r;
}

int parts_send(const Upgraded__Wire__Result *result,
	       int (*send)(void *arg, const Upgraded__Wire__ControlMessage *message), void *arg, struct why *why)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	size_t size = upgraded__wire__result__get_packed_size(result);
	uint8_t *data;
	int r;

	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
	message.result = (Upgraded__Wire__Result *)(uintptr_t)result;
	if (upgraded__wire__control_message__get_packed_size(&message) <= WIRE_MESSAGE_MAX)
		return send(arg, &message);
	if (size > PARTS_BYTES_MAX)
		return why_set(why, -EMSGSIZE, "an answer of %zu bytes; at most %u are sent", size, PARTS_BYTES_MAX);
	data = malloc(size);
	if (!data)
		return why_errno(why, -ENOMEM, "an answer of %zu bytes", size);
	upgraded__wire__result__pack(result, data);
	r = send_pieces(data, size, send, arg);
	free(data);
	return r;
}

int parts_take(struct parts *parts, const Upgraded__Wire__ResultPart *part, Upgraded__Wire__Result **ret_result, struct why *why)
{
	ProtobufCMessage *result;
	uint8_t *grown;
	int r;

	if (part->data.len > PARTS_BYTES_MAX - parts->n)
		return why_set(why, -EMSGSIZE, "an answer of more than %u bytes", PARTS_BYTES_MAX);
	grown = realloc(parts->data, parts->n + part->data.len + 1);
	if (!grown)
		return why_errno(why, -ENOMEM, "room for an answer");
	parts->data = grown;
	if (part->data.len)
		memcpy(grown + parts->n, part->data.data, part->data.len);
	parts->n += part->data.len;
	if (!part->last)
		return PARTS_MORE;
	r = wire_unpack(&upgraded__wire__result__descriptor, parts->n, parts->data, &result);
	if (r == -EBADMSG)
		return why_set(why, r, "an answer that came in parts cannot be read");
	if (r < 0)
		return why_errno(why, r, "an answer that came in parts");
	*ret_result = (Upgraded__Wire__Result *)result;
	return PARTS_WHOLE;
}

void parts_done(struct parts *parts)
{
	free(parts->data);
	*parts = (struct parts){ 0 };
}
