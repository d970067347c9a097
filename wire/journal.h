/* SPDX-License-Identifier: MIT */
/* How large a journal may be: the supervisor makes the memory, the library divides it. */
#pragma once

#include <stdint.h>

#define JOURNAL_BYTES_MIN (UINT64_C(64) << 10)
#define JOURNAL_BYTES_MAX (UINT64_C(1) << 40)
#define JOURNALS_MAX 16u /* that one checkpoint may have behind it */
#define JOURNAL_BYTES_DEFAULT (UINT64_C(256) << 20)
