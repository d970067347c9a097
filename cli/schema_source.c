/* SPDX-License-Identifier: MIT */
#include "cli/schema_source.h"

#include "base/fd.h"
#include "base/why.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <libelf.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTION ".upgrade_schema"
#define MARK "UPGSCHEM"
#define MARK_BYTES 8u
#define PROTOC_FD 3 /* where protoc finds what it writes to */

/* ---- bytes ---- */

static int fd_read_whole(int fd, uint8_t **ret_data, size_t *ret_size, struct why *why)
{
	struct stat status;
	uint8_t *data;
	size_t size = 0;
	ssize_t n;

	if (fstat(fd, &status) < 0)
		return why_errno(why, -errno, "fstat");
	if (!S_ISREG(status.st_mode))
		return why_set(why, -EINVAL, "not a file");
	if ((size_t)status.st_size > SCHEMA_INPUT_BYTES)
		return why_set(why, -EMSGSIZE, "%lld bytes are more than a schema may have (%zu)", (long long)status.st_size,
			       SCHEMA_INPUT_BYTES);
	data = malloc((size_t)status.st_size + 1);
	if (!data)
		return why_errno(why, -ENOMEM, "%lld bytes", (long long)status.st_size);
	while (size < (size_t)status.st_size) {
		n = pread(fd, data + size, (size_t)status.st_size - size, (off_t)size);
		if (n <= 0) {
			n = n < 0 ? -errno : -EIO;
			free(data);
			return why_errno(why, (int)n, "read");
		}
		size += (size_t)n;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

/* ---- programs ---- */

/* The descriptors of several object files, one after the other, with each .proto file once. */
struct gathered {
	Google__Protobuf__FileDescriptorSet **sets;
	size_t n_sets;
	Google__Protobuf__FileDescriptorProto **files;
	size_t n_files;
};

static void gathered_done(struct gathered *gathered)
{
	for (size_t i = 0; i < gathered->n_sets; i++)
		google__protobuf__file_descriptor_set__free_unpacked(gathered->sets[i], NULL);
	free(gathered->sets);
	free(gathered->files);
}

static bool file_known(const struct gathered *gathered, const char *name)
{
	for (size_t i = 0; i < gathered->n_files; i++)
		if (strcmp(gathered->files[i]->name, name) == 0)
			return true;
	return false;
}

static int set_gather(struct gathered *gathered, const uint8_t *data, size_t size)
{
	Google__Protobuf__FileDescriptorSet *set = google__protobuf__file_descriptor_set__unpack(NULL, size, data);
	void *grown;

	if (!set)
		return -EBADMSG;
	grown = reallocarray(gathered->sets, gathered->n_sets + 1, sizeof(Google__Protobuf__FileDescriptorSet *));
	if (!grown) {
		google__protobuf__file_descriptor_set__free_unpacked(set, NULL);
		return -ENOMEM;
	}
	gathered->sets = grown;
	gathered->sets[gathered->n_sets++] = set;
	grown = reallocarray(gathered->files, gathered->n_files + set->n_file + 1,
			     sizeof(Google__Protobuf__FileDescriptorProto *));
	if (!grown)
		return -ENOMEM;
	gathered->files = grown;
	for (size_t i = 0; i < set->n_file; i++)
		if (set->file[i]->name && !file_known(gathered, set->file[i]->name))
			gathered->files[gathered->n_files++] = set->file[i];
	return 0;
}

/* Take the descriptors that protoc-gen-upgrade wrote, one piece for each object file. The linker may have put zeros between
 * them. */
static int section_gather(struct gathered *gathered, const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (at < size) {
		size_t length;
		int r;

		if (data[at] == 0) {
			at++;
			continue;
		}
		if (size - at < MARK_BYTES + 4 || memcmp(data + at, MARK, MARK_BYTES) != 0)
			return -EBADMSG;
		at += MARK_BYTES;
		length = (size_t)data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16 | (size_t)data[at + 3] << 24;
		at += 4;
		if (length > size - at)
			return -EBADMSG;
		r = set_gather(gathered, data + at, length);
		if (r < 0)
			return r;
		at += length;
	}
	return 0;
}

static int gathered_make(const struct gathered *gathered, struct schema_set **ret_set, struct why *why)
{
	Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
	uint8_t *data;
	size_t size;
	int r;

	set.n_file = gathered->n_files;
	set.file = gathered->files;
	size = google__protobuf__file_descriptor_set__get_packed_size(&set);
	data = malloc(size + 1);
	if (!data)
		return why_errno(why, -ENOMEM, "%zu bytes", size);
	google__protobuf__file_descriptor_set__pack(&set, data);
	r = schema_set_new(data, size, ret_set, why);
	free(data);
	return r;
}

/* Return: NULL if there is none of that name. */
static Elf_Data *section_find(Elf *elf)
{
	size_t names;
	Elf_Scn *section = NULL;

	if (elf_getshdrstrndx(elf, &names) != 0)
		return NULL;
	while ((section = elf_nextscn(elf, section)) != NULL) {
		Elf64_Shdr *head64 = elf64_getshdr(section);
		Elf32_Shdr *head32 = head64 ? NULL : elf32_getshdr(section);
		const char *name = NULL;

		if (head64 && head64->sh_type == SHT_PROGBITS)
			name = elf_strptr(elf, names, head64->sh_name);
		else if (head32 && head32->sh_type == SHT_PROGBITS)
			name = elf_strptr(elf, names, head32->sh_name);
		if (name && strcmp(name, SECTION) == 0)
			return elf_rawdata(section, NULL);
	}
	return NULL;
}

static int program_open(int fd, struct schema_set **ret_set, struct why *why)
{
	struct gathered gathered = { 0 };
	Elf_Data *data;
	Elf *elf;
	int r;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf)
		return why_set(why, -EBADMSG, "damaged program: %s", elf_errmsg(-1));
	data = section_find(elf);
	if (!data || !data->d_buf)
		r = why_set(why, -ENOENT,
			    "the program carries no schema (section %s): link what protoc-gen-upgrade made of its .proto "
			    "files, or compare the .proto files themselves", SECTION);
	else if (data->d_size > SCHEMA_INPUT_BYTES)
		r = why_set(why, -EMSGSIZE, "its section %s has %zu bytes, more than a schema may have (%zu)",
			    SECTION, data->d_size,
			    SCHEMA_INPUT_BYTES);
	else if ((r = section_gather(&gathered, data->d_buf, data->d_size)) < 0)
		why_errno(why, r, "its section %s", SECTION);
	else
		r = gathered_make(&gathered, ret_set, why);
	gathered_done(&gathered);
	elf_end(elf);
	return r;
}

/* ---- .proto files ---- */

/* Headers of libupgrade lie beside its programs: PREFIX/include for PREFIX/bin. */
static void installed_include(char *buffer, size_t size)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	buffer[0] = '\0';
	if (n <= 0)
		return;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return;
	*slash = '\0';
	snprintf(buffer, size, "--proto_path=%s/../include", self);
	if (access(buffer + strlen("--proto_path="), X_OK) != 0)
		buffer[0] = '\0';
}

struct arguments {
	char **list;
	size_t n, cap;
	bool failed;
};

static void argument_add(struct arguments *arguments, const char *before, const char *text)
{
	char *argument = NULL;

	if (arguments->n + 1 >= arguments->cap || asprintf(&argument, "%s%s", before, text) < 0)
		arguments->failed = true;
	else
		arguments->list[arguments->n++] = argument;
}

/* protoc names a file by the first folder that leads to it, and looks for imports in all of them. So the folders are: those that
 * the user named; the current one if the file is below it; and the file's own. */
static int arguments_make(struct arguments *arguments, const char *path, const char *const *imports, size_t n_imports)
{
	const char *slash = strrchr(path, '/');
	char include[4200];

	*arguments = (struct arguments){ .cap = n_imports + 16 };
	arguments->list = calloc(arguments->cap, sizeof(char *));
	if (!arguments->list)
		return -ENOMEM;
	argument_add(arguments, "", "protoc");
	argument_add(arguments, "", "--include_imports");
	argument_add(arguments, "", "--descriptor_set_out=/dev/fd/3");
	for (size_t i = 0; i < n_imports; i++)
		argument_add(arguments, "--proto_path=", imports[i]);
	if (path[0] != '/' && strncmp(path, "../", 3) != 0)
		argument_add(arguments, "", "--proto_path=.");
	if (slash) {
		char folder[4096];

		snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
		argument_add(arguments, "--proto_path=", folder);
	}
	installed_include(include, sizeof(include));
	if (*include)
		argument_add(arguments, "", include);
	argument_add(arguments, "", path);
	return arguments->failed ? -ENOMEM : 0;
}

static void arguments_done(struct arguments *arguments)
{
	for (size_t i = 0; i < arguments->n; i++)
		free(arguments->list[i]);
	free(arguments->list);
}

static int protoc_run(char **arguments, int output, struct why *why)
{
	posix_spawn_file_actions_t actions;
	int status = 0, r;
	pid_t pid;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return why_errno(why, -ENOMEM, "protoc");
	r = posix_spawn_file_actions_adddup2(&actions, output, PROTOC_FD);
	if (r == 0)
		r = posix_spawnp(&pid, "protoc", &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r == ENOENT)
		return why_set(why, -ENOENT,
			       "protoc is not installed: compare descriptor sets (protoc --include_imports -o FILE) or programs");
	if (r != 0)
		return why_errno(why, -r, "cannot start protoc");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return why_errno(why, -errno, "waiting for protoc");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return why_set(why, -EBADMSG, "protoc does not take it");
	return 0;
}

static int set_open(int fd, struct schema_set **ret_set, struct why *why)
{
	uint8_t *data;
	size_t size;
	int r = fd_read_whole(fd, &data, &size, why);

	if (r < 0)
		return r;
	r = schema_set_new(data, size, ret_set, why);
	free(data);
	return r;
}

static int proto_open(const char *path, const char *const *imports, size_t n_imports, struct schema_set **ret_set,
		      struct why *why)
{
	FD_CLEANUP int output = memfd_create("descriptors", MFD_CLOEXEC);
	struct arguments arguments;
	int r;

	if (output < 0)
		return why_errno(why, -errno, "memfd_create");
	r = arguments_make(&arguments, path, imports, n_imports);
	if (r < 0)
		why_errno(why, r, "protoc");
	else
		r = protoc_run(arguments.list, output, why);
	arguments_done(&arguments);
	return r < 0 ? r : set_open(output, ret_set, why);
}

/* ---- which of them ---- */

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), wanted = strlen(end);

	return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

int schema_source_open(const char *path, const char *const *imports, size_t n_imports, struct schema_source *ret_source,
		       struct why *why)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct schema_source source = { .path = path };
	char head[SELFMAG] = "";
	int r;

	if (fd < 0)
		return why_errno(why, -errno, "%s", path);
	if (ends_with(path, ".proto"))
		r = proto_open(path, imports, n_imports, &source.set, why);
	else if (pread(fd, head, sizeof(head), 0) == SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0)
		r = program_open(fd, &source.set, why);
	else
		r = set_open(fd, &source.set, why);
	if (r < 0)
		return why_prefix(why, r, "%s", path);
	/* protoc lists a file after all that it imports, so the last one is the file itself. */
	if (ends_with(path, ".proto") && source.set->n_files)
		source.file = source.set->files[source.set->n_files - 1].name;
	*ret_source = source;
	return 0;
}

void schema_source_close(struct schema_source *source)
{
	source->set = schema_set_free(source->set);
}
