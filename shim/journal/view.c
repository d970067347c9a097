/* SPDX-License-Identifier: MIT */
/* Each number is checked against the size of the memory before it is used, and each transaction against its checksum: damage is
 * found before a single change is applied. Records have no checksums, as they change with every request; what they say must fit the
 * kernel's counters and their own buffers.
 *
 * A child that the failed program has forked may still have the memory mapped, and write there. So everything that is checked is
 * copied first, and the copy is what is checked and used: the header, the types, the records and the log. Of the shared memory
 * only the bytes of the connections are used in place, whose bounds are in the copies, and which may be any bytes. */
#include "shim/journal/view.h"

#include "shim/state/change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the parts ---- */

/* The fence keeps the compiler from reading @from once more where the copy is used. */
static void copy_once(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Copy @bytes at @at, which were checked to lie within. Return: NULL: memory is out. */
static void *copy_piece(const struct journal_view *view, uint64_t at, size_t bytes)
{
	void *copy = malloc(bytes + 1);

	if (copy)
		copy_once(copy, view->map + at, bytes);
	return copy;
}

/* Whether @n things of @size_bytes each lie at @at, which is a multiple of 8. */
static bool lies_within(const struct journal_view *view, uint64_t at, uint64_t n, uint64_t size_bytes)
{
	return at % 8 == 0 && at >= sizeof(struct journal_header) && at <= view->size_bytes &&
	       n <= (view->size_bytes - at) / size_bytes;
}

static int check_types(struct journal_view *view, const struct journal_header *header, struct why *why)
{
	if (header->n_types > JOURNAL_TYPES_MAX ||
	    !lies_within(view, header->types_at, header->n_types, sizeof(struct journal_type)))
		return why_set(why, -EBADMSG, "its types lie outside of it");
	view->types = copy_piece(view, header->types_at, header->n_types * sizeof(struct journal_type));
	if (!view->types)
		return why_errno(why, -ENOMEM, "journal");
	view->n_types = header->n_types;
	for (size_t i = 0; i < view->n_types; i++)
		if (!memchr(view->types[i].name, 0, sizeof(view->types[i].name)))
			return why_set(why, -EBADMSG, "a type in it has no name");
	return 0;
}

/* Whether a place lies within the journal. An empty one does. */
static bool place_fits(const struct journal_view *view, const struct journal_place *place)
{
	if (!place->size_bytes)
		return true;
	return place->at >= sizeof(struct journal_header) && place->at <= view->size_bytes &&
	       place->size_bytes <= view->size_bytes - place->at;
}

static void read_record(const struct journal_record *shared, struct journal_view_record *ret)
{
	struct journal_record copy, *record = &copy;

	copy_once(&copy, shared, sizeof(copy));
	*ret = (struct journal_view_record){
		.flags = atomic_load(&record->flags),
		.serial = atomic_load(&record->serial),
		.tag = record->tag,
		.cursor = record->cursor[atomic_load(&record->cursor_at) & 1],
		.received = atomic_load(&record->received),
		.sent = atomic_load(&record->sent),
		.read_base = record->read_base,
		.written_base = record->written_base,
		.start_output = record->start_output,
		.input = record->input[atomic_load(&record->input_at) & 1],
		.output = record->output[atomic_load(&record->output_at) & 1],
	};
	memcpy(ret->name, record->name, JOURNAL_NAME_BYTES);
}

static int compare_keys(const char *name, uint64_t tag, const struct journal_view_record *record)
{
	if (tag != record->tag)
		return tag < record->tag ? -1 : 1;
	return strcmp(name, record->name);
}

static int compare_records(const void *a, const void *b)
{
	const struct journal_view_record *one = a;

	return compare_keys(one->name, one->tag, b);
}

/* ---- the log ---- */

/* The transaction at @at, checked for its size only. Return: NULL: it does not fit in there. */
static const struct journal_transaction *transaction_at(const struct journal_view *view, uint64_t at)
{
	uint64_t left = view->log_head - at;
	const struct journal_transaction *transaction;

	if (left < sizeof(*transaction))
		return NULL;
	transaction = (const struct journal_transaction *)(const void *)(view->log + at);
	if (transaction->size_bytes < sizeof(*transaction) || transaction->size_bytes % 8 || transaction->size_bytes > left)
		return NULL;
	return transaction;
}

/* The change at the front of @left bytes. Return: what it takes; 0: it is damaged. */
static size_t change_at(const struct journal_view *view, const uint8_t *at, size_t left, struct journal_view_change *ret)
{
	struct change_head change;
	size_t size;

	if (left < sizeof(change))
		return 0;
	memcpy(&change, at, sizeof(change));
	size = sizeof(change) + change_padded(change.size_bytes);
	if (size > left || change.type >= view->n_types || (change.change != UPG_PUT && change.change != UPG_REMOVE))
		return 0;
	*ret = (struct journal_view_change){
		.type = change.type,
		.change = (enum upg_change)change.change,
		.data = at + sizeof(change),
		.size_bytes = change.size_bytes,
	};
	return size;
}

static bool transaction_is_sound(const struct journal_view *view, const struct journal_transaction *transaction)
{
	const uint8_t *at = (const uint8_t *)(transaction + 1);
	size_t left = transaction->size_bytes - sizeof(*transaction);

	if (transaction->check != journal_check(transaction, transaction->size_bytes))
		return false;
	for (uint32_t i = 0; i < transaction->n_changes; i++) {
		struct journal_view_change change;
		size_t size = change_at(view, at, left, &change);

		if (!size)
			return false;
		at += size;
		left -= size;
	}
	return left == 0;
}

/* A request that has changed something took its connection further by its transaction, and not by the record's cursor. Later
 * requests may have moved the cursor beyond it. */
static void move_on(struct journal_view *view, const uint32_t *places, size_t n_places,
		    const struct journal_transaction *transaction)
{
	struct journal_view_record *record;

	if (!transaction->record || transaction->record > n_places || places[transaction->record - 1] == UINT32_MAX)
		return;
	record = &view->records[places[transaction->record - 1]];
	if (record->serial != transaction->serial)
		return;
	if (transaction->cursor.input > record->cursor.input)
		record->cursor.input = transaction->cursor.input;
	if (transaction->cursor.output > record->cursor.output)
		record->cursor.output = transaction->cursor.output;
}

static int check_log(struct journal_view *view, const struct journal_header *header, const uint32_t *places, size_t n_places,
		     struct why *why)
{
	view->log_head = atomic_load(&header->log_head);
	if (!lies_within(view, header->log_at, view->log_head, 1))
		return why_set(why, -EBADMSG, "its log lies outside of it");
	view->log = copy_piece(view, header->log_at, view->log_head);
	if (!view->log)
		return why_errno(why, -ENOMEM, "a copy of the journal's log");
	for (uint64_t at = 0; at < view->log_head;) {
		const struct journal_transaction *transaction = transaction_at(view, at);

		if (!transaction || !transaction_is_sound(view, transaction))
			return why_set(why, -EBADMSG, "its log is damaged at byte %llu of %llu", (unsigned long long)at,
				       (unsigned long long)view->log_head);
		move_on(view, places, n_places, transaction);
		view->n_changes += transaction->n_changes;
		at += transaction->size_bytes;
	}
	return 0;
}

/* ---- records ---- */

/* Read the records that stand for a connection. @places: where in the view each went; UINT32_MAX: it stands for none. */
static int read_records(struct journal_view *view, const struct journal_header *header, uint32_t n_used, uint32_t *places,
			struct why *why)
{
	const struct journal_record *records = (const struct journal_record *)(const void *)(view->map + header->records_at);

	view->records = calloc(n_used + 1, sizeof(*view->records));
	if (!view->records)
		return why_errno(why, -ENOMEM, "journal");
	for (uint32_t i = 0; i < n_used; i++) {
		struct journal_view_record *record = &view->records[view->n_records];

		places[i] = UINT32_MAX;
		read_record(&records[i], record);
		if (!record->serial)
			continue;
		if (!place_fits(view, &record->input) || !place_fits(view, &record->output))
			return why_set(why, -EBADMSG, "the buffers of %s %llu lie outside of it", record->name,
				       (unsigned long long)record->tag);
		places[i] = (uint32_t)view->n_records++;
	}
	return 0;
}

static int read_all(struct journal_view *view, const struct journal_header *header, struct why *why)
{
	uint32_t n_used = atomic_load(&header->n_used), *places;
	int r;

	if (n_used > JOURNAL_RECORDS_MAX || header->records_at % _Alignof(struct journal_record) ||
	    !lies_within(view, header->records_at, n_used, sizeof(struct journal_record)))
		return why_set(why, -EBADMSG, "its connections lie outside of it");
	places = calloc(n_used + 1, sizeof(*places));
	if (!places)
		return why_errno(why, -ENOMEM, "journal");
	r = read_records(view, header, n_used, places, why);
	if (r == 0)
		r = check_log(view, header, places, n_used, why);
	free(places);
	if (r == 0)
		qsort(view->records, view->n_records, sizeof(*view->records), compare_records);
	return r;
}

static int check_header(const struct journal_view *view, const struct journal_header *header, struct why *why)
{
	if (!atomic_load(&header->magic))
		return why_set(why, JOURNAL_VIEW_VOID, "the new version has not begun it");
	if (atomic_load(&header->magic) != JOURNAL_MAGIC)
		return why_set(why, -EBADMSG, "this is no journal");
	if (atomic_load(&header->is_void))
		return why_set(why, JOURNAL_VIEW_VOID, "%.*s", (int)sizeof(header->reason), header->reason);
	if (header->format != JOURNAL_FORMAT)
		return why_set(why, -EBADMSG, "its format is %u", header->format);
	if (header->size_bytes != view->size_bytes)
		return why_set(why, -EBADMSG, "it has %zu bytes instead of %llu", view->size_bytes,
			       (unsigned long long)header->size_bytes);
	return 0;
}

int journal_view_open(struct journal_view *ret_view, const void *map, size_t size_bytes, struct why *why)
{
	struct journal_header header;
	int r;

	*ret_view = (struct journal_view){ .map = map, .size_bytes = size_bytes };
	if (size_bytes < sizeof(header))
		return why_set(why, -EBADMSG, "%zu bytes are no journal", size_bytes);
	copy_once(&header, map, sizeof(header));
	r = check_header(ret_view, &header, why);
	if (r == 0)
		r = check_types(ret_view, &header, why);
	return r == 0 ? read_all(ret_view, &header, why) : r;
}

void journal_view_done(struct journal_view *view)
{
	free(view->records);
	free(view->types);
	free(view->log);
	*view = (struct journal_view){ 0 };
}

bool journal_view_next(const struct journal_view *view, struct journal_view_place *place,
		       struct journal_view_change *ret_change)
{
	size_t size;

	while (!place->left) {
		const struct journal_transaction *transaction = transaction_at(view, place->at);

		if (!transaction)
			return false;
		place->at += sizeof(*transaction);
		place->left = transaction->size_bytes - sizeof(*transaction);
	}
	size = change_at(view, view->log + place->at, place->left, ret_change);
	if (!size)
		return false;
	place->at += size;
	place->left -= size;
	return true;
}

const struct journal_view_record *journal_view_find(const struct journal_view *view, const char *name, uint64_t tag)
{
	size_t low = 0, high = view->n_records;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_keys(name, tag, &view->records[middle]);

		if (order == 0)
			return &view->records[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* The stream's bytes from @from to @end, if they are there. */
static bool piece(const struct journal_view *view, const struct journal_place *place, uint64_t from, uint64_t end,
		  const uint8_t **ret, size_t *ret_bytes)
{
	*ret = NULL;
	*ret_bytes = 0;
	if (from == end)
		return true;
	if (from > end || from < place->base || end - place->base > place->size_bytes)
		return false;
	*ret = view->map + place->at + (from - place->base);
	*ret_bytes = end - from;
	return true;
}

int journal_view_pieces(const struct journal_view *view, const struct journal_view_record *record, uint64_t received,
			uint64_t sent, const uint8_t **ret_input, size_t *ret_input_bytes, const uint8_t **ret_output,
			size_t *ret_output_bytes)
{
	if (!piece(view, &record->input, record->cursor.input, received, ret_input, ret_input_bytes) ||
	    !piece(view, &record->output, sent, record->cursor.output, ret_output, ret_output_bytes))
		return -EBADMSG;
	return 0;
}
