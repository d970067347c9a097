/* SPDX-License-Identifier: MIT */
/*
 * upg-faults.so is preloaded into upgraded, upgradectl and services. Its calls stand before those of libc, ask here, and then fail
 * or go through. What to do stands in a file that each of these processes maps (tests/faults/faults.h).
 *
 * A process learns its role from its program's name. Of services only the pid tells old and new apart; the test writes old's down.
 *
 * All that is done in here goes to the kernel directly: what libc does by itself might come back to this place.
 */
#include "tests/faults/preload/decide.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct faults *shared;
static enum fault_role program_role;
static char program_name[64];
static uintptr_t program_base, program_end;
static pid_t born;
/* Not allocated at its first use, which may be within malloc. */
static _Thread_local bool inside __attribute__((tls_model("initial-exec")));

/* ---- at the start ---- */

static enum fault_role role_of(const char *name)
{
	if (strcmp(name, "upgraded") == 0)
		return FAULT_ROLE_UPGRADED;
	if (strcmp(name, "upgradectl") == 0)
		return FAULT_ROLE_CTL;
	/* Old or new: by its pid. */
	return strncmp(name, "cached-", 7) == 0 ? FAULT_ROLE_NEW : FAULT_ROLE_NONE;
}

/* The first that is listed is the program. */
static int note_program(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	(void)data;
	program_base = info->dlpi_addr;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];

		if (header->p_type == PT_LOAD && program_base + header->p_vaddr + header->p_memsz > program_end)
			program_end = program_base + header->p_vaddr + header->p_memsz;
	}
	return 1;
}

static void map_shared(const char *path)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	void *at;

	if (fd < 0)
		return;
	at = (void *)syscall(SYS_mmap, NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
	syscall(SYS_close, fd);
	if (at != MAP_FAILED)
		shared = at;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv(FAULTS_FILE), *slash;
	char program[PATH_MAX];
	void *frames[2];
	ssize_t n;

	inside = true;
	n = syscall(SYS_readlink, "/proc/self/exe", program, sizeof(program) - 1);
	program[n > 0 ? n : 0] = '\0';
	slash = strrchr(program, '/');
	snprintf(program_name, sizeof(program_name), "%.63s", slash ? slash + 1 : program);
	program_role = role_of(program_name);
	born = getpid();
	if (path && program_role != FAULT_ROLE_NONE) {
		dl_iterate_phdr(note_program, NULL);
		(void)backtrace(frames, 2); /* the first one loads what the others use */
		map_shared(path);
	}
	inside = false;
}

void *fault_real(const char *name)
{
	bool was = inside;
	void *real;

	inside = true;
	real = dlsym(RTLD_NEXT, name);
	inside = was;
	if (!real)
		abort();
	return real;
}

/* ---- of a call ---- */

static enum fault_role role_now(void)
{
	pid_t pid = getpid();

	if (program_role == FAULT_ROLE_UPGRADED)
		return pid == born ? FAULT_ROLE_UPGRADED : FAULT_ROLE_FORK;
	if (program_role == FAULT_ROLE_NEW)
		return pid == atomic_load(&shared->old) ? FAULT_ROLE_OLD : FAULT_ROLE_NEW;
	return program_role;
}

static size_t link_of(int fd, char *path, size_t size)
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlink, link, path, size - 1);
	path[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static const char *path_of(const struct fault_call *call, char *path, size_t size)
{
	size_t n = 0;

	path[0] = '\0';
	if (call->fd >= 0 && (!call->path || call->path[0] != '/'))
		n = link_of(call->fd, path, size);
	if (call->path)
		snprintf(path + n, size - n, "%s%s", n ? "/" : "", call->path);
	return path;
}

static bool has_path(const char *path)
{
	return *path == '/' && strncmp(path, "/memfd:", 7) != 0;
}

static bool is_meant(const struct fault_rule *rule, const struct fault_call *call)
{
	char path[PATH_MAX];

	if (rule->where == FAULT_ANYWHERE && !*rule->path)
		return true;
	path_of(call, path, sizeof(path));
	/* What is relative to the working directory has a path, too. */
	if (rule->where == FAULT_FILES && !has_path(path) && !call->path)
		return false;
	if (rule->where == FAULT_STREAMS && (has_path(path) || call->path))
		return false;
	return !*rule->path || strstr(path, rule->path);
}

static void note_place(const char *name)
{
	void *frames[FAULT_FRAMES];
	int n = backtrace(frames, FAULT_FRAMES);

	shared->pid = getpid();
	snprintf(shared->call, sizeof(shared->call), "%s", name);
	memcpy(shared->program, program_name, sizeof(shared->program));
	for (int i = 0; i < n; i++) {
		uintptr_t at = (uintptr_t)frames[i];

		shared->frames[i] = at >= program_base && at < program_end ? at - program_base : 0;
	}
	shared->n_frames = (uint32_t)(n > 0 ? n : 0);
}

/* Return: whether @rule strikes. */
static bool rule_strikes(struct fault_rule *rule, enum fault_role role, const struct fault_call *call)
{
	uint64_t every = rule->every ? rule->every : 1, n;

	if (rule->role != role || !(rule->classes & 1u << call->class) || (rule->action == FAULT_FULL && call->may_wait) ||
	    !is_meant(rule, call))
		return false;
	n = atomic_fetch_add(&rule->seen, 1) + 1;
	return n >= rule->at && (n - rule->at) % every == 0 && (n - rule->at) / every < rule->times;
}

static void delay(int64_t us)
{
	struct timespec left = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	while (syscall(SYS_nanosleep, &left, &left) < 0 && errno == EINTR)
		;
}

static struct fault_verdict decide(const struct fault_call *call, int *error)
{
	enum fault_role role = role_now();

	for (uint32_t i = 0; i < shared->n_rules; i++) {
		struct fault_rule *rule = &shared->rules[i];

		if (!rule_strikes(rule, role, call))
			continue;
		if (atomic_fetch_add(&shared->struck, 1) == 0)
			note_place(call->name);
		if (rule->action == FAULT_FAIL)
			*error = rule->error;
		if (rule->action == FAULT_FULL)
			*error = EAGAIN;
		if (rule->action == FAULT_DELAY)
			delay(rule->amount);
		return (struct fault_verdict){
			.action = rule->action == FAULT_FULL ? FAULT_FAIL : rule->action, .amount = rule->amount
		};
	}
	return (struct fault_verdict){ .action = FAULT_NOTHING };
}

struct fault_verdict fault_ask(struct fault_call call)
{
	struct fault_verdict verdict = { .action = FAULT_NOTHING };
	int error = errno;

	if (!shared || inside || !atomic_load_explicit(&shared->armed, memory_order_acquire))
		return verdict;
	inside = true;
	verdict = decide(&call, &error);
	inside = false;
	errno = error;
	return verdict;
}

bool fault_strikes(enum fault_class class, const char *name, int fd, const char *path)
{
	struct fault_call call = { .class = class, .name = name, .fd = fd, .path = path, .may_wait = true };

	return fault_ask(call).action == FAULT_FAIL;
}
