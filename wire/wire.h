/* SPDX-License-Identifier: MIT */
/* Protobuf messages over SEQPACKET sockets, with descriptors. One datagram is one message. */
#pragma once

#include "wire/app.pb-c.h"
#include "wire/control.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

#define WIRE_PROTOCOL 1u
#define WIRE_MESSAGE_MAX (64u * 1024u) /* bytes of one message */
#define WIRE_FDS_MAX 253u              /* SCM_MAX_FD */
#define WIRE_FD_NAME_MAX 64u           /* bytes of a descriptor's name */
#define WIRE_FD_ENV "UPGRADE_FD"       /* the application's end of its channel: a number */

/** wire_text() - Lend a text to a message that is only sent: protobuf-c's fields are not const. NULL becomes "". Such a message
 * must not be given to protobuf_c_message_free_unpacked(). */
static inline char *wire_text(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}

/* ExitCode of control.proto under shorter names: Result.code, and upgradectl's exit status. */
enum wire_exit {
	WIRE_EXIT_DONE = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_DONE,
	WIRE_EXIT_ERROR = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_ERROR,
	WIRE_EXIT_USAGE = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_USAGE,
	WIRE_EXIT_NOT_RUNNING = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_NOT_RUNNING,
	WIRE_EXIT_NO_SUCH_SERVICE = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_NO_SUCH_SERVICE,
	WIRE_EXIT_REFUSED = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_REFUSED,
	WIRE_EXIT_ROLLED_BACK = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_ROLLED_BACK,
	WIRE_EXIT_WAY_BACK_FAILED = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_WAY_BACK_FAILED,
	WIRE_EXIT_BUSY = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_BUSY,
	WIRE_EXIT_TIMED_OUT = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_TIMED_OUT,
	WIRE_EXIT_UNANSWERED = UPGRADED__WIRE__EXIT_CODE__EXIT_CODE_UNANSWERED,
};

enum wire_outcome {
	WIRE_OK = 0,
	WIRE_AGAIN = 1,  /* nothing there, or no room: wait for the socket */
	WIRE_CLOSED = 2, /* the peer has closed its end */
};

/* A received message owns its descriptors until someone claims them. */
struct wire_fds {
	int fd[WIRE_FDS_MAX];
	size_t n;
	bool cut; /* descriptors were cut off on the way, and the message was dropped for that */
};

/** wire_fds_claim() - Take one descriptor out. Return: the fd, owned by the caller, or -1 if there is none at @i. */
int wire_fds_claim(struct wire_fds *fds, size_t i);
/** wire_fds_close() - Give up what nobody claimed (base/closer.h). */
void wire_fds_close(struct wire_fds *fds);

/** wire_send() - Pack and send @message with @n borrowed descriptors. Non-blocking sockets give WIRE_AGAIN.
 * Return: WIRE_OK, WIRE_AGAIN, WIRE_CLOSED; -EMSGSIZE over a cap; -errno. Thread-safe. */
int wire_send(int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why);

/** wire_send_packed() - As wire_send(), for bytes that protobuf_c_message_pack() made earlier. */
int wire_send_packed(int fd, void *data, size_t size_bytes, const int *fds, size_t n, struct why *why);

/**
 * wire_receive() - Receive one datagram.
 * @buffer:     WIRE_MESSAGE_MAX bytes of scratch.
 * @ret_fds:    always initialised; owns what came.
 * @ret_message: owned by the caller; release with protobuf_c_message_free_unpacked().
 *
 * Return: WIRE_OK, WIRE_AGAIN, WIRE_CLOSED; -EBADMSG: truncated data or descriptors, not such a message, or no memory for
 * it (the descriptors were closed); -errno. Thread-safe for distinct buffers.
 */
int wire_receive(int fd, const ProtobufCMessageDescriptor *descriptor, void *buffer, struct wire_fds *ret_fds,
		 ProtobufCMessage **ret_message, struct why *why);

/**
 * wire_unpack() - A message out of its bytes, which may be the only copy: a lack of memory that is over in a moment is waited for.
 * @ret_message: owned by the caller, as that of wire_receive(). Written only on success.
 *
 * Return: 0; -EBADMSG: no such message; -ENOMEM. Thread-safe.
 */
int wire_unpack(const ProtobufCMessageDescriptor *descriptor, size_t size_bytes, const uint8_t *data,
		ProtobufCMessage **ret_message);

/** wire_app_name() - Name a message for logs: "Hello", "Prepare". */
const char *wire_app_name(const Upgraded__Wire__AppMessage *message);

/** wire_connect() - Connect to the SEQPACKET socket at @path, however long the path is. Return: fd or -errno. */
int wire_connect(const char *path, struct why *why);

/** wire_listen() - Create the SEQPACKET socket at @path with @mode. Replaces a socket on which nobody answers.
 * Return: fd; -EADDRINUSE: somebody answers on it; -EEXIST: something that is no socket is there; -errno. */
int wire_listen(const char *path, unsigned mode, struct why *why);
