/* SPDX-License-Identifier: MIT */
/* Memory is bounded by the limits, whatever the length of the stream and whatever it claims. */
#include "tests/statefmt/stream.h"

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_ASAN 1
#endif
#endif
#ifdef HEAP_ASAN
/* gcc ships no header for it. */
size_t __sanitizer_get_current_allocated_bytes(void);
#endif

TestSuite(statefmt_memory, .timeout = 120);

static size_t heap_bytes(void)
{
#ifdef HEAP_ASAN
	return __sanitizer_get_current_allocated_bytes();
#else
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
#endif
}

/* ---- a long stream through a pipe ---- */

#define LONG_RECORDS 200000u

struct pipe_end {
	int fd;
	size_t peak; /* of the heap, seen whenever bytes go by */
};

static void peak_note(struct pipe_end *end)
{
	size_t now = heap_bytes();

	if (now > end->peak)
		end->peak = now;
}

static int pipe_write(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	struct pipe_end *end = arg;
	const uint8_t *at = data;

	peak_note(end);
	while (size_bytes) {
		ssize_t n = write(end->fd, at, size_bytes);

		if (n < 0)
			return why_errno(why, -errno, "write");
		at += n;
		size_bytes -= (size_t)n;
	}
	return 0;
}

static ssize_t pipe_read(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct pipe_end *end = arg;
	ssize_t n = read(end->fd, buffer, size_bytes);

	peak_note(end);
	return n < 0 ? why_errno(why, -errno, "read") : n;
}

static void *long_write(void *arg)
{
	struct pipe_end *end = arg;
	struct sf_writer *writer;
	char value[256] = { 0 };

	if (sf_writer_new(&test_header, NULL, pipe_write, end, &writer, NULL) == 0) {
		for (uint32_t i = 0; i < LONG_RECORDS; i++) {
			Test__State__ItemV1 item = item_make((char[]){ "key" }, value, sizeof(value), i);

			if (sf_writer_put(writer, TYPE_ITEM, &item.base, NULL) < 0)
				break;
		}
		sf_writer_finish(writer, NULL, NULL);
		sf_writer_free(writer);
	}
	close(end->fd);
	return NULL;
}

Test(statefmt_memory, a_long_stream_takes_no_more_than_a_short_one)
{
	size_t before = heap_bytes();
	struct pipe_end in, out;
	struct sf_reader *reader;
	struct sf_record record;
	struct why why = { "" };
	pthread_t thread;
	int fds[2], r;

	cr_assert_eq(pipe(fds), 0);
	in = (struct pipe_end){ .fd = fds[1] };
	out = (struct pipe_end){ .fd = fds[0] };
	cr_assert_eq(pthread_create(&thread, NULL, long_write, &in), 0);
	cr_assert_eq(sf_reader_new(NULL, pipe_read, &out, &reader, &why), 0, "%s", why.text);
	while ((r = sf_reader_next(reader, &record, &why)) == SF_RECORD)
		;
	cr_assert_eq(r, SF_END, "%s", why.text);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(sf_reader_totals(reader)->records, LONG_RECORDS);
	cr_assert_gt(sf_reader_totals(reader)->payload_bytes, 50u << 20);
	cr_assert_lt(in.peak - before, 2u << 20, "%zu", in.peak - before);
	cr_assert_lt(out.peak - before, 2u << 20, "%zu", out.peak - before);
	sf_reader_free(reader);
	close(fds[0]);
}

/* ---- lengths that promise what never comes ---- */

struct hostile {
	struct memory memory;
	size_t before, peak;
	size_t largest_read;
};

static ssize_t hostile_read(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct hostile *hostile = arg;
	size_t now = heap_bytes();

	if (now > hostile->before && now - hostile->before > hostile->peak)
		hostile->peak = now - hostile->before;
	if (size_bytes > hostile->largest_read)
		hostile->largest_read = size_bytes;
	return memory_read(&hostile->memory, buffer, size_bytes, why);
}

/* A batch whose head claims @length, with @come zero bytes behind it. */
static int drain_raised_claim(uint32_t raised, uint32_t length, size_t come, struct hostile *hostile, struct why *why)
{
	uint8_t head[SF_FRAME_HEAD_BYTES] = { SF_FRAME_BATCH };
	uint8_t *zeros = calloc(1, come + 1);
	struct sf_reader *reader;
	struct sf_record record;
	int r;

	cr_assert_not_null(zeros);
	*hostile = (struct hostile){ .memory = small_stream() };
	hostile->memory.size = frame_offset(&hostile->memory, 1);
	sf_put_le32(head + 4, length);
	cr_assert_eq(memory_write(&hostile->memory, head, sizeof(head), NULL), 0);
	cr_assert_eq(memory_write(&hostile->memory, zeros, come, NULL), 0);
	hostile->before = heap_bytes();
	r = sf_reader_new(NULL, hostile_read, hostile, &reader, why);
	cr_assert_eq(r, 0);
	sf_reader_raise(reader, 0, raised);
	r = sf_reader_next(reader, &record, why);
	sf_reader_free(reader);
	memory_free(&hostile->memory);
	free(zeros);
	return r;
}

static int drain_claim(uint32_t length, size_t come, struct hostile *hostile, struct why *why)
{
	return drain_raised_claim(0, length, come, hostile, why);
}

Test(statefmt_memory, a_type_of_large_records_takes_memory_only_for_what_comes)
{
	struct hostile hostile;
	struct why why = { "" };

	cr_assert_eq(drain_raised_claim(SF_RECORD_BYTES_MAX, SF_RECORD_BYTES_MAX, 100000, &hostile, &why), -EBADMSG);
	cr_assert(strstr(why.text, "cut off"), "%s", why.text);
	cr_assert_lt(hostile.peak, 1u << 20, "%zu", hostile.peak);
	/* No type may be raised beyond that. */
	cr_assert_eq(drain_raised_claim(UINT32_MAX, SF_RECORD_BYTES_MAX + SF_RECORD_HEAD_BYTES + 1, 0, &hostile, &why), -EMSGSIZE);
}

Test(statefmt_memory, a_length_over_the_cap_is_refused_before_anything_is_read)
{
	static const uint32_t lengths[] = { UINT32_MAX, UINT32_MAX - 11, 0x80000000u, (16u << 20) + 9 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct hostile hostile;
		struct why why = { "" };

		cr_assert_eq(drain_claim(lengths[i], 100, &hostile, &why), -EMSGSIZE, "%s", why.text);
		cr_assert(strstr(why.text, "limit of 16777224"), "%s", why.text);
		cr_assert_lt(hostile.peak, 256u << 10);
	}
}

Test(statefmt_memory, a_length_within_the_cap_is_trusted_in_steps)
{
	struct hostile hostile;
	struct why why = { "" };

	cr_assert_eq(drain_claim(16u << 20, 0, &hostile, &why), -EBADMSG);
	cr_assert(strstr(why.text, "after 0 of 16777216 bytes"), "%s", why.text);
	cr_assert_lt(hostile.peak, 256u << 10, "%zu", hostile.peak);
	cr_assert_eq(drain_claim(16u << 20, 1 << 20, &hostile, &why), -EBADMSG);
	cr_assert_lt(hostile.peak, 4u << 20, "%zu", hostile.peak);
	cr_assert_leq(hostile.largest_read, 1u << 20);
}

/* ---- records that grow when they are unpacked ---- */

static int unpack_as(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size, struct why *why)
{
	const struct sf_schema schema = { "t", 1, descriptor, 0, 0 };
	const ProtobufCMessage *message;
	struct sf_plan *plan;
	size_t want;
	int r;

	cr_assert_eq(sf_plan_new(&schema, 1, &schema, 1, NULL, 0, &plan, why), 0, "%s", why->text);
	r = sf_plan_unpack(plan, 0, data, size, &want, &message, why);
	sf_plan_free(plan);
	return r;
}

Test(statefmt_memory, a_record_that_blows_up_in_unpacking_is_refused)
{
	size_t size = 2u << 20;
	uint8_t *data = malloc(size);
	struct why why = { "" };

	cr_assert_not_null(data);
	for (size_t i = 0; i < size; i += 2)
		memcpy(data + i, "\x0a\0", 2); /* an empty Bulk */
	cr_assert_eq(unpack_as(&test__state__wide__descriptor, data, size, &why), -EMSGSIZE, "%s", why.text);
	cr_assert(strstr(why.text, "bytes of memory"), "%s", why.text);
	cr_assert_eq(unpack_as(&test__state__wide__descriptor, data, 10000, &why), 0, "%s", why.text);
	free(data);
}

/* @depth nodes in each other, through field @tag. */
static size_t nest(uint8_t *data, size_t cap, size_t depth, uint8_t tag)
{
	size_t at = cap;

	for (size_t i = 1; i < depth; i++) {
		size_t length = cap - at;
		uint8_t head[6] = { tag };
		size_t n = 1;

		for (; length >= 0x80; length >>= 7)
			head[n++] = (uint8_t)(length | 0x80);
		head[n++] = (uint8_t)length;
		at -= n;
		memcpy(data + at, head, n);
	}
	memmove(data, data + at, cap - at);
	return cap - at;
}

Test(statefmt_memory, a_record_nested_to_the_bottom_does_not_run_the_stack_over)
{
	static uint8_t data[8u << 20];
	static const uint8_t tags[] = { 0x12, 0x1a };
	struct why why = { "" };

	for (size_t t = 0; t < sizeof(tags); t++) {
		size_t size = nest(data, sizeof(data), 1500000, tags[t]);

		cr_assert_eq(unpack_as(&test__state__node__descriptor, data, size, &why), -EBADMSG);
		cr_assert(strstr(why.text, "deep"), "%s", why.text);
		size = nest(data, sizeof(data), SF_DEPTH_MAX, tags[t]);
		cr_assert_eq(unpack_as(&test__state__node__descriptor, data, size, &why), 0, "%s", why.text);
		size = nest(data, sizeof(data), SF_DEPTH_MAX + 1, tags[t]);
		cr_assert_eq(unpack_as(&test__state__node__descriptor, data, size, &why), -EBADMSG);
	}
}
