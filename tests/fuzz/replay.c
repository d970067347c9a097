/* SPDX-License-Identifier: MIT */
/* Instead of libFuzzer: feeds every file of the folders (or files) named to one fuzz target, and says how many. Works with
 * any compiler and any sanitizer. It goes on to the end or dies where the target does, naming the file first. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* A target may have it; libFuzzer calls it once. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static size_t n_tested;
static size_t n_failed;

static void complain(const char *path)
{
	fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
	n_failed++;
}

/* The input has a block of exactly its size, so that a sanitizer sees a read beyond it. */
static void file_feed(const char *path, FILE *file, size_t size)
{
	uint8_t *data = malloc(size);

	if (size && (!data || fread(data, 1, size, file) != size)) {
		complain(path);
	} else {
		fprintf(stderr, "replay: %s, %zu bytes\n", path, size);
		LLVMFuzzerTestOneInput(data, size);
	}
	free(data);
}

static void file_replay(const char *path, const struct stat *status)
{
	FILE *file = fopen(path, "rb");

	n_tested++;
	if (!file) {
		complain(path);
		return;
	}
	file_feed(path, file, (size_t)status->st_size);
	fclose(file);
}

static void path_replay(const char *path, int depth);

static void folder_replay(const char *path, int depth)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);

	if (n < 0) {
		complain(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		char below[PATH_MAX];
		int length = snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name);

		if (length < 0 || (size_t)length >= sizeof(below)) {
			errno = ENAMETOOLONG;
			complain(path);
		} else if (entries[i]->d_name[0] != '.') {
			path_replay(below, depth + 1);
		}
		free(entries[i]);
	}
	free(entries);
}

static void path_replay(const char *path, int depth)
{
	struct stat status;

	if (stat(path, &status) < 0)
		complain(path);
	else if (S_ISDIR(status.st_mode) && depth < 8)
		folder_replay(path, depth);
	else if (S_ISREG(status.st_mode))
		file_replay(path, &status);
}

int main(int argc, char *argv[])
{
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		path_replay(argv[i], 0);
	if (n_tested == 0) {
		fprintf(stderr, "replay: no input; give it folders of files\n");
		return 2;
	}
	/* In the words of the other tests, for whoever adds them up. */
	printf("replay: Tested: %zu | Passing: %zu | Failing: %zu | Crashing: 0\n", n_tested,
	       n_failed < n_tested ? n_tested - n_failed : 0, n_failed);
	return n_failed ? 1 : 0;
}
