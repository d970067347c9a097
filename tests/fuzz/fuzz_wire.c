/* SPDX-License-Identifier: MIT */
/* Any bytes as a datagram, with some descriptors, on either channel. What comes through is sent on, as the supervisor does.
 *
 * The first byte says which channel it is (lowest bit) and how many descriptors come along. */
#include "base/why.h"
#include "wire/wire.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DESCRIPTORS_MAX 4u

static int pair[2] = { -1, -1 };
static int null_fd = -1;
static uint8_t buffer[WIRE_MESSAGE_MAX];

static void channel_open(void)
{
	int send_bytes = 4 * (int)WIRE_MESSAGE_MAX;

	if (pair[0] >= 0)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		abort();
}

/* The number the next descriptor would have: it tells when one was left open. */
static int lowest_free(void)
{
	int fd = dup(null_fd);

	close(fd);
	return fd;
}

static void send_raw(const uint8_t *data, size_t size, size_t n_fds)
{
	int fds[DESCRIPTORS_MAX] = { null_fd, null_fd, null_fd, null_fd };

	/* Sent as if it had been packed; larger than a message may be is for the receiver to find out. */
	if (wire_send_packed(pair[0], (void *)(uintptr_t)data, size, fds, n_fds, NULL) != WIRE_OK)
		abort();
}

/* Touches every byte a message holds, by packing it once more. What comes out need not be a message: unknown fields are
 * carried along as they came, and the library takes ones that it would not write. */
static void message_again(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = malloc(size + 1);
	ProtobufCMessage *again;

	if (!packed)
		return;
	if (protobuf_c_message_pack(message, packed) != size)
		abort();
	again = protobuf_c_message_unpack(descriptor, NULL, size, packed);
	if (again)
		protobuf_c_message_free_unpacked(again, NULL);
	free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *descriptor;
	ProtobufCMessage *message = NULL;
	struct why why = { 0 };
	struct wire_fds fds;
	size_t n_fds;
	int before, r;

	if (size < 1 || size > WIRE_MESSAGE_MAX + 64)
		return 0;
	channel_open();
	before = lowest_free();
	descriptor = data[0] & 1 ? &upgraded__wire__control_message__descriptor : &upgraded__wire__app_message__descriptor;
	n_fds = (data[0] >> 1) % (DESCRIPTORS_MAX + 1);
	send_raw(data + 1, size - 1, n_fds);
	r = wire_receive(pair[1], descriptor, buffer, &fds, &message, &why);
	if (r == WIRE_OK) {
		if (fds.n != n_fds)
			abort();
		if (descriptor == &upgraded__wire__app_message__descriptor && !wire_app_name((const void *)message))
			abort();
		message_again(descriptor, message);
		protobuf_c_message_free_unpacked(message, NULL);
		wire_fds_close(&fds);
	} else if (message || fds.n || !*why.text) {
		abort();
	}
	if (lowest_free() != before)
		abort();
	return 0;
}
