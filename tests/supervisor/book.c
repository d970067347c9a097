/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/book.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t bulk_at(unsigned value, size_t i)
{
	return (uint8_t)(value * 31 + i * 7 + (i >> 8));
}

int book_put(struct logbook *book, const struct change *change, struct why *why)
{
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	Upgraded__Logbook__Process process = UPGRADED__LOGBOOK__PROCESS__INIT;
	Upgraded__Logbook__Service service = UPGRADED__LOGBOOK__SERVICE__INIT;
	char name[32];
	uint8_t *bulk = malloc(change->bulk + 1);
	int r;

	cr_assert(bulk);
	for (size_t i = 0; i < change->bulk; i++)
		bulk[i] = bulk_at(change->value, i);
	(void)snprintf(name, sizeof(name), "service-%u", change->key);
	switch (change->kind) {
	case PROCESS:
		process.serial = change->key;
		process.pid = (int32_t)change->value;
		process.unit_text.data = bulk;
		process.unit_text.len = change->bulk;
		entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS;
		entry.process = &process;
		break;
	case PROCESS_GONE:
		entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS_GONE;
		entry.process_gone = change->key;
		break;
	case SERVICE:
		service.name = name;
		service.serving = change->value;
		entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE;
		entry.service = &service;
		break;
	case SERVICE_GONE:
		entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE_GONE;
		entry.service_gone = name;
		break;
	}
	r = logbook_write(book, &entry, why);
	free(bulk);
	return r;
}

static int tell(void *arg, const Upgraded__Logbook__Entry *entry)
{
	FILE *out = arg;

	if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS) {
		const Upgraded__Logbook__Process *process = entry->process;
		bool right = true;

		for (size_t i = 0; i < process->unit_text.len; i++)
			right = right && process->unit_text.data[i] == bulk_at((unsigned)process->pid, i);
		fprintf(out, "process %llu = %d, %zu bytes%s\n", (unsigned long long)process->serial, process->pid,
			process->unit_text.len, right ? "" : ", not those that were written");
	} else if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE) {
		fprintf(out, "%s = %llu\n", entry->service->name, (unsigned long long)entry->service->serving);
	} else {
		fprintf(out, "case %d, key %s\n", (int)entry->what_case, entry->later_key);
	}
	return 0;
}

char *book_state(const struct logbook *book)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert(out);
	cr_assert_eq(logbook_each(book, tell, out), 0);
	fclose(out);
	return text;
}

void model_apply(struct model *model, const struct change *change)
{
	bool service = change->kind == SERVICE || change->kind == SERVICE_GONE;
	bool gone = change->kind == PROCESS_GONE || change->kind == SERVICE_GONE;
	size_t i = 0;

	while (i < model->n && ((model->items[i].kind == SERVICE) != service || model->items[i].key != change->key))
		i++;
	if (!gone) {
		cr_assert(i < MODEL_MAX);
		model->items[i] = *change;
		model->n += i == model->n;
	} else if (i < model->n) {
		model->n--;
		memmove(&model->items[i], &model->items[i + 1], (model->n - i) * sizeof(model->items[0]));
	}
}

char *model_state(const struct model *model)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert(out);
	for (size_t i = 0; i < model->n; i++) {
		const struct change *item = &model->items[i];

		if (item->kind == PROCESS)
			fprintf(out, "process %u = %u, %zu bytes\n", item->key, item->value, item->bulk);
		else
			fprintf(out, "service-%u = %u\n", item->key, item->value);
	}
	fclose(out);
	return text;
}

int book_is(const struct logbook *book, const struct model *model)
{
	char *is = book_state(book), *ought = model_state(model);
	bool same = strcmp(is, ought) == 0;

	free(is);
	free(ought);
	return same;
}

struct bytes bytes_of(const char *folder, const char *name)
{
	struct bytes bytes = { 0 };
	char path[PATH_MAX];
	struct stat st;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	if (!file)
		return bytes;
	cr_assert_eq(fstat(fileno(file), &st), 0);
	bytes.size = (size_t)st.st_size;
	bytes.data = malloc(bytes.size + 1);
	cr_assert(bytes.data && fread(bytes.data, 1, bytes.size, file) == bytes.size);
	fclose(file);
	return bytes;
}

void bytes_leave(const char *folder, const char *name, const void *data, size_t size)
{
	char path[PATH_MAX];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	cr_assert(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

const char *folder_new(const char *root)
{
	static char paths[16][128];
	static unsigned n;
	char *path = paths[n++ % 16];

	(void)snprintf(path, sizeof(paths[0]), "%s/%u", root, n);
	cr_assert_eq(mkdir(path, 0700), 0, "%s: %s", path, strerror(errno));
	return path;
}
