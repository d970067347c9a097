/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/answer.h"

#include "shim/upgrade.h"

#include <string.h>

void answer_put(struct answer *answer, const void *data, size_t size)
{
	if (upg_conn_put(answer->conn, data, size) < 0)
		answer->failed = true;
	answer->size += size;
}

void answer_put_text(struct answer *answer, const char *text)
{
	answer_put(answer, text, strlen(text));
}

void answer_put_number(struct answer *answer, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	answer_put(answer, digits + at, sizeof digits - at);
}
