/* SPDX-License-Identifier: MIT */
/* What checks and migrations cost: the state stream against raw protobuf-c on the same records, as ratios in one run; and how
 * much memory a stream of any length takes. Each figure is the best of several alternating rounds, as the machine is shared. */
#include "base/clock.h"
#include "base/why.h"
#include "statefmt/statefmt.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 400000u
#define DISTINCT 1024u /* messages; more would measure the cache misses of the benchmark itself */
#define ROUNDS 7u
#define LONG_STREAM_BYTES (1ull << 30)

static Bench__ItemV1 items[DISTINCT];
static uint8_t keys[DISTINCT][16], values[DISTINCT][64];

static void make_items(void)
{
	for (unsigned i = 0; i < DISTINCT; i++) {
		bench__item_v1__init(&items[i]);
		snprintf((char *)keys[i], sizeof(keys[i]), "key:%011u", i);
		for (unsigned j = 0; j < sizeof(values[i]); j++)
			values[i][j] = (uint8_t)(i * 31 + j * 7);
		items[i].key = (ProtobufCBinaryData){ .data = keys[i], .len = sizeof(keys[i]) };
		items[i].value = (ProtobufCBinaryData){ .data = values[i], .len = sizeof(values[i]) };
		items[i].flags = i;
		items[i].expires_s = 1800000000 + i;
		items[i].cas = 1000000 + i;
	}
}

static void die(const struct why *why)
{
	fprintf(stderr, "bench_state: %s\n", why->text);
	exit(EXIT_FAILURE);
}

static int drop(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	(void)data;
	(void)why;
	*(uint64_t *)arg += size_bytes;
	return 0;
}

/* ---- the four things measured; each returns microseconds ---- */

/* As raw as a stream of records can be: length, then the message. */
static uint64_t raw_pack(void)
{
	static uint8_t buffer[1 << 18];
	uint64_t begun = clock_now_us();
	size_t used = 0;

	for (unsigned i = 0; i < RECORDS; i++) {
		if (used > sizeof(buffer) - 256)
			used = 0;
		const ProtobufCMessage *item = &items[i % DISTINCT].base;
		uint32_t size = (uint32_t)protobuf_c_message_get_packed_size(item);

		memcpy(buffer + used, &size, sizeof(size));
		used += sizeof(size) + protobuf_c_message_pack(item, buffer + used + sizeof(size));
	}
	return clock_now_us() - begun;
}

static const struct sf_schema schema_v1 = { .name = "bench.Item", .version = 1, .descriptor = &bench__item_v1__descriptor };
static const struct sf_schema schema_v2 = { .name = "bench.Item", .version = 2, .descriptor = &bench__item_v2__descriptor };

static uint64_t write_stream(sf_write_fn write, void *arg, uint64_t records)
{
	struct sf_header header = { .service = "bench", .app_version = "1", .schemas = &schema_v1, .n_schemas = 1 };
	struct sf_writer *writer;
	struct sf_totals totals;
	struct why why = { 0 };
	uint64_t begun = clock_now_us();

	if (sf_writer_new(&header, &sf_limits_default, write, arg, &writer, &why) < 0)
		die(&why);
	for (uint64_t i = 0; i < records; i++)
		if (sf_writer_put(writer, 0, &items[i % DISTINCT].base, &why) < 0)
			die(&why);
	if (sf_writer_finish(writer, &totals, &why) < 0)
		die(&why);
	sf_writer_free(writer);
	return clock_now_us() - begun;
}

struct memory {
	uint8_t *data;
	size_t used, cap, at;
};

static int keep(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	struct memory *memory = arg;

	if (memory->used + size_bytes > memory->cap)
		return why_set(why, -1, "the stream is longer than planned");
	memcpy(memory->data + memory->used, data, size_bytes);
	memory->used += size_bytes;
	return 0;
}

static ssize_t from_memory(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct memory *memory = arg;
	size_t left = memory->used - memory->at, n = size_bytes < left ? size_bytes : left;

	(void)why;
	memcpy(buffer, memory->data + memory->at, n);
	memory->at += n;
	return (ssize_t)n;
}

static uint64_t raw_unpack(uint8_t packed[DISTINCT][256], const size_t *sizes)
{
	uint64_t begun = clock_now_us();

	for (unsigned i = 0; i < RECORDS; i++) {
		Bench__ItemV1 *item = bench__item_v1__unpack(NULL, sizes[i % DISTINCT], packed[i % DISTINCT]);

		bench__item_v1__free_unpacked(item, NULL);
	}
	return clock_now_us() - begun;
}

static int migrate(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const Bench__ItemV1 *old = (const Bench__ItemV1 *)(const void *)from;
	Bench__ItemV2 *new = (Bench__ItemV2 *)(void *)to;

	(void)step;
	(void)arg;
	new->key = old->key;
	new->value = old->value;
	new->flags = old->flags;
	new->cas = old->cas;
	new->expires_ns = old->expires_s * 1000000000;
	return 0;
}

static uint64_t read_stream(sf_read_fn read, void *arg)
{
	static const struct sf_migration up = {
		.type = "bench.Item",
		.from = 1,
		.to = 2,
		.from_descriptor = &bench__item_v1__descriptor,
		.to_descriptor = &bench__item_v2__descriptor,
		.migrate = migrate,
	};
	struct sf_reader *reader;
	struct sf_plan *plan;
	struct why why = { 0 };
	uint64_t begun = clock_now_us();
	struct sf_record record;
	int next;

	if (sf_reader_new(&sf_limits_default, read, arg, &reader, &why) < 0 ||
	    sf_plan_new(sf_reader_header(reader)->schemas, 1, &schema_v2, 1, &up, 1, &plan, &why) < 0)
		die(&why);
	while ((next = sf_reader_next(reader, &record, &why)) == SF_RECORD) {
		const ProtobufCMessage *message;
		size_t want;

		if (sf_plan_unpack(plan, record.type, record.data, record.size_bytes, &want, &message, &why) < 0)
			die(&why);
	}
	if (next < 0)
		die(&why);
	sf_plan_free(plan);
	sf_reader_free(reader);
	return clock_now_us() - begun;
}

/* ---- rows ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void bench_save(struct bench *bench)
{
	uint64_t raw = UINT64_MAX, ours = UINT64_MAX, bytes = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		raw = least(raw, raw_pack());
		ours = least(ours, write_stream(drop, &bytes, RECORDS));
	}
	bench_row(bench, "save, checks on, to raw protobuf-c packing", (double)raw / (double)ours, "of it", 0.7, true);
	bench_row(bench, "save, checks on, records of 100 bytes", (double)RECORDS / (double)ours, "M/s", 1.5, true);
}

static void bench_load(struct bench *bench)
{
	struct memory memory = { .cap = (size_t)RECORDS * 160 };
	uint8_t (*packed)[256] = malloc(DISTINCT * sizeof(*packed));
	size_t sizes[DISTINCT];
	uint64_t raw = UINT64_MAX, ours = UINT64_MAX;

	memory.data = malloc(memory.cap);
	if (!memory.data || !packed)
		exit(EXIT_FAILURE);
	for (unsigned i = 0; i < DISTINCT; i++)
		sizes[i] = protobuf_c_message_pack(&items[i].base, packed[i]);
	write_stream(keep, &memory, RECORDS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		memory.at = 0;
		raw = least(raw, raw_unpack(packed, sizes));
		ours = least(ours, read_stream(from_memory, &memory));
	}
	bench_row(bench, "load, one migration, to raw protobuf-c unpacking", (double)raw / (double)ours, "of it", 0.5, true);
	free(packed);
	free(memory.data);
}

static int to_pipe(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	const uint8_t *at = data;

	while (size_bytes) {
		ssize_t n = write(*(int *)arg, at, size_bytes);

		if (n < 0)
			return why_set(why, -1, "pipe");
		at += n;
		size_bytes -= (size_t)n;
	}
	return 0;
}

static ssize_t from_pipe(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	(void)why;
	return read(*(int *)arg, buffer, size_bytes);
}

/* What a stream of a gigabyte adds to the most memory a process ever had: MiB, of a child whose only work it is. */
static double peak_of(bool writes, int pipe_fd)
{
	struct rusage before, after, usage;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		getrusage(RUSAGE_SELF, &before);
		if (writes)
			write_stream(to_pipe, &pipe_fd, LONG_STREAM_BYTES / 100);
		else
			read_stream(from_pipe, &pipe_fd);
		getrusage(RUSAGE_SELF, &after);
		/* In quarters of a MiB, to fit an exit status. */
		_exit((int)((after.ru_maxrss - before.ru_maxrss) / 256) & 0xff);
	}
	close(pipe_fd);
	if (wait4(pid, &status, 0, &usage) < 0 || !WIFEXITED(status))
		exit(EXIT_FAILURE);
	return WEXITSTATUS(status) / 4.0;
}

static void bench_memory(struct bench *bench)
{
	int pair[2];
	double writer, reader;
	pid_t pid;

	if (pipe(pair) < 0)
		exit(EXIT_FAILURE);
	pid = fork();
	if (pid == 0) {
		close(pair[1]);
		_exit((int)(peak_of(false, pair[0]) * 4));
	}
	close(pair[0]);
	writer = peak_of(true, pair[1]);
	int status;

	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		exit(EXIT_FAILURE);
	reader = WEXITSTATUS(status) / 4.0;
	bench_row(bench, "memory of a writer of 1 GiB", writer, "MiB", 8, false);
	bench_row(bench, "memory of a reader of 1 GiB, one migration", reader, "MiB", 8, false);
}

int main(void)
{
	struct bench bench = { 0 };

	make_items();
	bench_memory(&bench);
	bench_save(&bench);
	bench_load(&bench);
	return bench_end(&bench);
}
