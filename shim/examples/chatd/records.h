/* SPDX-License-Identifier: MIT */
/* Users, rooms and what was said, as records of the version that this program is built as. */
#pragma once

#include "shim/upgrade.h"

struct server;

#if CHATD_VERSION == 1
#include "shim/examples/chatd/chatd_v1.pb-c.h"
#define RECORD(name) Chatd__V1__##name
#define RECORD_OF(name, what) chatd__v1__##name##__##what
#else
#include "shim/examples/chatd/chatd_v2.pb-c.h"
#define RECORD(name) Chatd__V2__##name
#define RECORD_OF(name, what) chatd__v2__##name##__##what
#endif

int save_users(struct upg_saver *saver, void *userdata);
int load_user(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata);
uint64_t count_users(void *userdata);

int save_rooms(struct upg_saver *saver, void *userdata);
int load_room(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata);
uint64_t count_rooms(void *userdata);

int save_remarks(struct upg_saver *saver, void *userdata);
int load_remark(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata);
uint64_t count_remarks(void *userdata);

/** records_settle() - Everything is loaded and every pointer is filled in: set what follows from them, and look whether they make
 * sense. Return: NULL, or what is wrong. */
const char *records_settle(struct server *server);
