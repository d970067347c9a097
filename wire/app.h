/* SPDX-License-Identifier: MIT */
/* Composing a message of app.proto. */
#pragma once

#include "wire/app.pb-c.h"

/* An AppMessage whose body is @kind: APP_BODY(..._BODY_PING, .ping = &ping). What the body points to is borrowed. */
#define APP_BODY(kind, value)                                                                           \
	{                                                                                                   \
		.base = PROTOBUF_C_MESSAGE_INIT(&upgraded__wire__app_message__descriptor), .body_case = (kind), \
		value                                                                                           \
	}
