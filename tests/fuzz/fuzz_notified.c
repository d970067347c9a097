/* SPDX-License-Identifier: MIT */
/* Any datagram at the NOTIFY_SOCKET of a program. */
#include "supervisor/process/notified.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DATAGRAM_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct notification told;
	char text[DATAGRAM_MAX + 1];

	if (size > DATAGRAM_MAX)
		size = DATAGRAM_MAX;
	memcpy(text, data, size);
	text[size] = 0;
	notified_parse(text, &told);
	if (told.status && strlen(told.status) > NOTIFIED_TEXT_MAX)
		abort();
	/* What is shown has no byte that drives a terminal. */
	for (const char *at = told.status ? told.status : ""; *at; at++)
		if ((unsigned char)*at < ' ' && *at != '\t')
			abort();
	return 0;
}
