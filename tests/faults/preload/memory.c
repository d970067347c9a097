/* SPDX-License-Identifier: MIT */
/* Memory that there is none of. glibc's allocator has second names, so nothing has to be looked up, which would need memory. */
#undef _FORTIFY_SOURCE
#include "tests/faults/preload/decide.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

PUBLIC void *malloc(size_t size)
{
	return fault_strikes(FAULT_MEMORY, "malloc", NO_FD, NULL) ? NULL : __libc_malloc(size);
}

PUBLIC void *calloc(size_t n, size_t size)
{
	return fault_strikes(FAULT_MEMORY, "calloc", NO_FD, NULL) ? NULL : __libc_calloc(n, size);
}

PUBLIC void *realloc(void *old, size_t size)
{
	return fault_strikes(FAULT_MEMORY, "realloc", NO_FD, NULL) ? NULL : __libc_realloc(old, size);
}

PUBLIC void *reallocarray(void *old, size_t n, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(n, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return fault_strikes(FAULT_MEMORY, "reallocarray", NO_FD, NULL) ? NULL : __libc_realloc(old, all);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size)
{
	return fault_strikes(FAULT_MEMORY, "aligned_alloc", NO_FD, NULL) ? NULL : __libc_memalign(alignment, size);
}

PUBLIC int posix_memalign(void **ret, size_t alignment, size_t size)
{
	int before = errno;
	void *at;

	at = fault_strikes(FAULT_MEMORY, "posix_memalign", NO_FD, NULL) ? NULL : __libc_memalign(alignment, size);
	errno = before; /* this one tells by what it returns */
	if (!at)
		return ENOMEM;
	*ret = at;
	return 0;
}
