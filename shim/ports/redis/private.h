/* SPDX-License-Identifier: MIT */
/* Between the files of the port:
 *
 *   start.c     opening, becoming, dispatching; when this process is at rest
 *   listen.c    listeners and the descriptors of clients
 *   data.c      the server as a whole, databases, keys
 *   settings.c  what commands have changed: CONFIG SET, ACL, scripts, functions
 *   clients.c   connections
 *   waits.c     what those wait for that are blocked
 *   memory.c    pages that are there before clients wait for them
 *
 * inside_multi.h and inside_blocked.h are compiled with redis' files of these names; inside.h says what is in them.
 */
#pragma once

#include <server.h>

#include <inside.h>

#include <sys/stat.h>
#include <upgrade.h>

#if PORT_VERSION == 2
#include <redis_v2.pb-c.h>
#define key_record Redis__V2__Key
#define KEY_RECORD_INIT REDIS__V2__KEY__INIT
#define key_descriptor redis__v2__key__descriptor
#define client_record Redis__V2__Client
#define CLIENT_RECORD_INIT REDIS__V2__CLIENT__INIT
#define client_descriptor redis__v2__client__descriptor
#elif PORT_VERSION == 1
#include <redis_v1.pb-c.h>
#define key_record Redis__V1__Key
#define KEY_RECORD_INIT REDIS__V1__KEY__INIT
#define key_descriptor redis__v1__key__descriptor
#define client_record Redis__V1__Client
#define CLIENT_RECORD_INIT REDIS__V1__CLIENT__INIT
#define client_descriptor redis__v1__client__descriptor
#endif

/* Of redis, and in none of its headers. */
void createPidFile(void);
void loadDataFromDisk(void);
extern rax *Users;

#define RECORD_MAX (1u << 30) /* a value may be as large as a client makes it */

extern struct upg *upg; /* NULL: this is a sentinel */

/* Bytes of a record, borrowed. */
static inline ProtobufCBinaryData bytes_of(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *)data };
}
static inline ProtobufCBinaryData bytes_of_sds(sds text)
{
	return bytes_of(text, text ? sdslen(text) : 0);
}
static inline robj *object_of(ProtobufCBinaryData bytes)
{
	return createStringObject((const char *)bytes.data, bytes.len);
}
/* The text of a string object, numbers included. Owned by the caller: decrRefCount(). */
static inline robj *text_of(robj *object)
{
	return getDecodedObject(object);
}

/* ---- listen.c ---- */

/** listeners_open() - Listen at what is configured, for good. Return: 0, or -errno after upg_refuse(). */
int listeners_open(void);

/* ---- data.c ---- */

int server_save(struct upg_saver *saver, void *userdata);
int server_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
int database_save(struct upg_saver *saver, void *userdata);
int database_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
int key_save(struct upg_saver *saver, void *userdata);
int key_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
uint64_t key_count(void *userdata);

/* ---- memory.c ---- */

/** memory_touch() - While the other version serves: make the heap as large as its keys will need. */
void memory_touch(void);
/** memory_is_taken() - What is free at the heap's end may go back. */
void memory_is_taken(void);

/* ---- settings.c ---- */

/** settings_note() - What is configured now is what the files and the command line say. */
void settings_note(void);
/** settings_finish() - Everything has come: what the version before did not have any more goes. */
void settings_finish(void);

int setting_save(struct upg_saver *saver, void *userdata);
int setting_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
int user_save(struct upg_saver *saver, void *userdata);
int user_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
int script_save(struct upg_saver *saver, void *userdata);
int script_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
int functions_save(struct upg_saver *saver, void *userdata);
int functions_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);

/* ---- clients.c ---- */

struct list_of_bytes {
	size_t n;
	ProtobufCBinaryData *items; /* zfree(); what they point to is borrowed */
};

#define SET_LIST(record, field, list_) \
	do { \
		struct list_of_bytes list__ = (list_); \
		(record).n_##field = list__.n; \
		(record).field = list__.items; \
	} while (0)

/** names_of() - The keys of a dict of objects, in an order that is the same in each process. */
struct list_of_bytes names_of(dict *names);

/** client_restless() - Is there a client that cannot travel as it is, at this level? Return: 1 after upg_refuse(), or 0. */
int client_restless(enum upg_level level);
/** clients_lost() - Let go of those whose connections are lost. */
void clients_lost(const int *fds, size_t n);
/** clients_serve() - This process serves: what lay in buffers goes on. */
void clients_serve(void);

int client_save(struct upg_saver *saver, void *userdata);
int client_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
uint64_t client_count(void *userdata);

/* ---- waits.c ---- */

int wait_save(struct upg_saver *saver, void *userdata);
int wait_load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
