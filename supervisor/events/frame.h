/* SPDX-License-Identifier: MIT */
/* Records in a file that grows at its end: each is found again, whatever became of the bytes around it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_BYTES 16u
#define FRAME_PAYLOAD_MAX (256u << 10)

/** frame_seal() - Fill in the head of @frame, whose @length bytes of payload follow it already. */
void frame_seal(uint8_t *frame, size_t length);

struct frame {
	const uint8_t *payload; /* borrowed from the bytes that are walked */
	size_t length;
};

/** frame_next() - Find the next whole record from *@at on, and move *@at behind it. What is torn or damaged is passed over. Return:
 * false: there is none. */
bool frame_next(const uint8_t *data, size_t size_bytes, size_t *at, struct frame *ret);
