/* SPDX-License-Identifier: MIT */
/* A libupgrade from before there was Keep: it keeps nothing for another supervisor, and does not say that it could. */
#include "wire/app.h"
#include "wire/wire.h"

int __real_wire_send(int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why);
int __wrap_wire_send(int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why);

int __wrap_wire_send(int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why)
{
	const Upgraded__Wire__AppMessage *said = (const Upgraded__Wire__AppMessage *)message;

	if (message->descriptor == &upgraded__wire__app_message__descriptor &&
	    said->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO)
		said->hello->keeps = false;
	return __real_wire_send(fd, message, fds, n, why);
}
