/* SPDX-License-Identifier: MIT */
#include "cli/state_record.h"

#include "statefmt/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

static bool bytes_read(int fd, void *data, size_t size_bytes, uint64_t offset)
{
	size_t got = 0;

	while (got < size_bytes) {
		ssize_t n = pread(fd, (char *)data + got, size_bytes - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

static bool room_make(struct state_record *record, size_t size_bytes)
{
	uint8_t *data;

	if (size_bytes < record->room)
		return true;
	data = realloc(record->data, size_bytes + 1);
	if (!data)
		return false;
	record->data = data;
	record->room = size_bytes + 1;
	return true;
}

/* The reader checked the record when it came past, but the file may have changed since. */
void state_record_load(struct state_record *record, const struct state_input *input, uint64_t offset)
{
	uint8_t head[SF_RECORD_HEAD_BYTES];
	uint32_t size = 0;
	size_t type = SIZE_MAX;

	if (bytes_read(input->fd, head, sizeof(head), offset)) {
		type = sf_get_le16(head);
		size = sf_get_le32(head + 4);
	}
	if (type >= input->header->n_schemas || size > sf_reader_cap(input->reader, type) || !room_make(record, size) ||
	    !bytes_read(input->fd, record->data, size, offset + sizeof(head)) ||
	    dyn_check(input->messages[type], record->data, size, NULL) < 0) {
		state_record_done(record);
		return;
	}
	record->message = input->messages[type];
	record->size_bytes = size;
}

void state_record_done(struct state_record *record)
{
	free(record->data);
	*record = (struct state_record){ .data = NULL };
}

bool state_record_field(const struct schema_message *message, const uint8_t *data, size_t size_bytes, uint64_t number,
			struct dyn_field *ret_field)
{
	struct dyn_cursor cursor = dyn_open(message, data, size_bytes);
	struct dyn_field field;
	bool found = false;

	while (dyn_next(&cursor, &field) > 0)
		if (field.number == number) {
			*ret_field = field;
			found = true;
		}
	return found;
}

/* ---- differences ---- */

/* A digest of all values that a record has in one field. */
struct sum {
	uint32_t number;
	uint64_t hash;
	const char *name;
};

struct sums {
	struct sum of[STATE_CHANGES_MAX];
	size_t n;
};

static struct sum *sum_find(struct sums *sums, uint32_t number)
{
	for (size_t i = 0; i < sums->n; i++)
		if (sums->of[i].number == number)
			return &sums->of[i];
	if (sums->n == STATE_CHANGES_MAX)
		return NULL;
	sums->of[sums->n] = (struct sum){ .number = number };
	return &sums->of[sums->n++];
}

static void sums_make(const struct state_record *record, struct sums *sums)
{
	struct dyn_cursor cursor = dyn_open(record->message, record->data, record->size_bytes);
	struct dyn_field field;

	sums->n = 0;
	while (dyn_next(&cursor, &field) > 0) {
		struct sum *sum = sum_find(sums, field.number);

		if (!sum)
			continue;
		/* Chained: the order of a repeated field's values counts. */
		sum->hash = field.wire == DYN_BYTES ? XXH3_64bits_withSeed(field.data, field.size_bytes, sum->hash + 1) :
						      XXH3_64bits_withSeed(&field.bits, sizeof(field.bits), sum->hash + 1);
		if (field.field)
			sum->name = field.field->name;
	}
}

static int sum_compare(const void *a, const void *b)
{
	uint32_t x = ((const struct sum *)a)->number, y = ((const struct sum *)b)->number;

	return (x > y) - (x < y);
}

void state_record_compare(const struct state_record *a, const struct state_record *b, struct state_changes *ret_changes)
{
	struct sums left, right;

	ret_changes->n = 0;
	if (!a->data || !b->data)
		return;
	sums_make(a, &left);
	sums_make(b, &right);
	for (size_t i = 0; i < right.n; i++)
		(void)sum_find(&left, right.of[i].number);
	qsort(left.of, left.n, sizeof(left.of[0]), sum_compare);
	for (size_t i = 0; i < left.n; i++) {
		const struct sum *other = sum_find(&right, left.of[i].number);

		if (other && other->hash == left.of[i].hash)
			continue;
		ret_changes->numbers[ret_changes->n] = left.of[i].number;
		ret_changes->names[ret_changes->n++] = left.of[i].name ? left.of[i].name : other ? other->name : NULL;
	}
}
