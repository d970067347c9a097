/* SPDX-License-Identifier: MIT */
/* libupgrade: what an application links so that `upgradectl roll` can replace it while it serves.
 *
 * The life of an application:
 *
 *     upg_open()     at start, with the types of its state and its migrations
 *     upg_receive()  when it is otherwise ready to serve: UPG_FRESH (open your listeners) or UPG_RECEIVED (state has been
 *                    loaded; claim your descriptors, and open yourself what upg_fd_claim() does not find: state
 *                    from a file comes without any)
 *     upg_ready()    UPG_SERVE: you are the one version that may serve
 *     upg_dispatch() whenever upg_fd() is readable; a roll happens inside this call
 *
 * Threads that touch the application's state register with upg_thread_enter() and call upg_point() once in each turn of
 * their loop, where they hold no lock and no half-changed state: an update point.
 *
 * Without a supervisor (a plain start from a shell) every call works: upg_receive() says UPG_FRESH, upg_fd() is -1, and
 * nothing else ever happens. Idle cost: one relaxed load for each upg_point(); no thread, no timer, no wake-up.
 *
 * Errors: negative errno, with upg_why() in words; positive values are outcomes to handle. The library never logs, never exits,
 * and installs one signal handler only if the application names the signal.
 * Thread-safety: upg_point(), upg_fd_register(), upg_close() and upg_thread_*() may be called from any thread; the rest
 * belongs to the one thread that calls upg_open().
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UPG_API __attribute__((visibility("default")))

struct upg;
struct upg_saver;
struct upg_loader;
struct upg_step;
struct upg_thread;

enum upg_outcome {
	UPG_OK = 0,
	UPG_FRESH = 1,    /* upg_receive(): no predecessor; start empty */
	UPG_RECEIVED = 2, /* upg_receive(): state is loaded, descriptors wait to be claimed */
	UPG_SERVE = 3,    /* upg_ready(): serve */
	UPG_LEAVE = 4,    /* another process serves; return from main at once and touch nothing that is shared */
	UPG_NOT_YET = 5,  /* on_prepare: ask again shortly */
	UPG_REFUSE = 6,   /* on_prepare: not now; the roll is called off */
};

/* How quiet on_prepare() is asked to be. */
enum upg_level {
	UPG_WORK_FREE = 1,     /* every thread at an update point; half-received requests travel as state */
	UPG_REQUEST_FREE = 2,  /* and no request half-received or half-answered */
	UPG_PROTOCOL_FREE = 3, /* and no conversation open (for protocols whose state cannot travel) */
};

/* One type of record in the application's state. Types are saved and loaded in the order of the array. */
struct upg_type {
	const char *name;    /* stable over all versions, e.g. "cached.Item" */
	uint32_t version;    /* the schema version this program holds, 1..65535 */
	const ProtobufCMessageDescriptor *descriptor;
	/* Call upg_save() for each object. All registered threads stand still. Return 0 or -errno. */
	int (*save)(struct upg_saver *saver, void *userdata);
	/* Take one object; @message is borrowed for the call. Return 0 or -errno after upg_load_fail(). */
	int (*load)(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
	/* Optional: how many objects of this type the application now holds. Checked against the records loaded before the
	 * new version may serve: a loader that drops or invents objects is caught here. */
	uint64_t (*count)(void *userdata);
	/* Records that mean nothing outside this machine's present, such as connections: they travel to a successor, but
	 * not into a file (upgradectl save). */
	int process_only;
};

/* One step of one type, up or down. Fill @to, which is initialised and empty, from @from; sharing @from's memory is fine, and
 * what else is needed comes from upg_step_alloc(). Fields neither version knows are carried along by the library. */
struct upg_migration {
	const char *type;
	uint32_t from, to;
	const ProtobufCMessageDescriptor *from_descriptor, *to_descriptor;
	int (*migrate)(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to);
};

struct upg_config {
	const char *service;     /* informational; the supervisor's name wins */
	const char *version;     /* of the application, e.g. "v2" */
	const struct upg_type *types;
	size_t n_types;
	const struct upg_migration *migrations;
	size_t n_migrations;
	/* A signal that wakes threads out of blocking calls (EINTR). The library installs an empty handler for it without
	 * SA_RESTART. 0: none; then threads must reach their update points by themselves. */
	int nudge_signal;
	/* Optional. All registered threads are at update points. Return UPG_OK, UPG_NOT_YET or UPG_REFUSE. */
	int (*on_prepare)(enum upg_level level, void *userdata);
	/* Optional: what was prepared for is over, and this process goes on as if nothing had been: the roll was called off
	 * before it committed, or the state was saved to a file. The threads still stand. */
	void (*on_abort)(void *userdata);
	/* Optional: this process serves again after a newer version failed. Registered descriptors have their old numbers and
	 * epoll registrations back; those of @lost were reset, hold /dev/null, and are to be closed with upg_close(). */
	void (*on_resume)(const int *lost, size_t n_lost, void *userdata);
	void *userdata;
};

/** upg_open() - Announce this process to its supervisor, if there is one. @config and what it points to must outlive
 * the handle. Return: 0 or -errno. */
UPG_API int upg_open(const struct upg_config *config, struct upg **ret_upg);
UPG_API struct upg *upg_free(struct upg *upg); /* returns NULL */

/** upg_why() - The last failure in words; "" if none. Lives until the next call on @upg. */
UPG_API const char *upg_why(const struct upg *upg);

/** upg_receive() - Stand by until told what to be. Load callbacks run in here.
 * Return: UPG_FRESH, UPG_RECEIVED, UPG_LEAVE (the roll was called off), or -errno (leave, too). */
UPG_API int upg_receive(struct upg *upg);

/** upg_refuse() - Instead of upg_ready(): say why this process will not take over. */
UPG_API void upg_refuse(struct upg *upg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** upg_ready() - Everything is loaded, claimed and checked. Return: UPG_SERVE, UPG_LEAVE, or -errno (leave, too). */
UPG_API int upg_ready(struct upg *upg);

/** upg_fd() - Watch this for input and call upg_dispatch(). -1 without a supervisor. */
UPG_API int upg_fd(const struct upg *upg);

/** upg_dispatch() - Handle what the supervisor says. During a roll this call lasts until its outcome is known.
 * Return: UPG_OK (go on), UPG_LEAVE (break the loop and return from main), or -errno (go on; see upg_why()). */
UPG_API int upg_dispatch(struct upg *upg);

/* ---- threads ---- */

/** upg_thread_enter() - The calling thread touches state. @name appears in messages. Return: NULL only when memory is out. */
UPG_API struct upg_thread *upg_thread_enter(struct upg *upg, const char *name);
UPG_API void upg_thread_leave(struct upg_thread *thread);

/** upg_point() - An update point: during a roll the thread waits in here. */
UPG_API void upg_point(struct upg_thread *thread);

/* ---- descriptors that move ---- */

/**
 * upg_fd_register() - This descriptor goes along. (@name, @tag) identifies it for both versions: name says what it is
 * ("listener", "client"), tag which one. Unregistered descriptors stay behind.
 * Return: 0; -EEXIST: (@name, @tag) is taken; -ENOMEM.
 */
UPG_API int upg_fd_register(struct upg *upg, int fd, const char *name, uint64_t tag);

/** upg_fd_claim() - Take over a descriptor handed to this process; it is registered under the same name and tag.
 * Return: the fd, owned by the caller; -ENOENT if none such came. Every descriptor must be claimed before upg_ready(). */
UPG_API int upg_fd_claim(struct upg *upg, const char *name, uint64_t tag);

/** upg_close() - Unregister and close, so that the peer notices although the supervisor may hold a duplicate: removes it from
 * @epoll_fd (-1: none), shuts the connection down, closes, and tells the supervisor. Also fine for unregistered fds. */
UPG_API void upg_close(struct upg *upg, int fd, int epoll_fd);

/* ---- inside the callbacks ---- */

/** upg_save() - Write one object of the type being saved. Return: 0 or -errno, which save() returns. */
UPG_API int upg_save(struct upg_saver *saver, const ProtobufCMessage *message);

/** upg_load_claim() - upg_fd_claim() from within load(). */
UPG_API int upg_load_claim(struct upg_loader *loader, const char *name, uint64_t tag);
UPG_API int upg_load_fail(struct upg_loader *loader, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Objects that point to each other: a pointer becomes an id in a record, and a pointer again. Ids are numbers like others, so
 * migrations may move and copy them. They mean something within one save only, and are dense, from 1. Forward references,
 * cycles and shared objects need nothing special; a reference to a type that is process_only does not survive a file.
 * Memory, for the time of the call that saves or loads: saving 22 to 43 bytes for each object (65 while the table grows), loading
 * 16 to 32 for each object and 16 for each reference that waits for an object yet to come.
 */

/** upg_ref() - The id of the object at this address, for the time of this save. Also for the object's own id field. Return: the
 * id; 0 for NULL, and when memory is out: then the next upg_save() says so. */
UPG_API uint64_t upg_ref(struct upg_saver *saver, const void *object);

/** upg_define() - The object with this id is made. Everything that waits for it is filled in. It counts as one of the type that is
 * being loaded. Return: 0, or -errno, which load() returns: the id came before, is 0, or was referred to as another type. */
UPG_API int upg_define(struct upg_loader *loader, uint64_t id, void *object);

/**
 * upg_resolve() - Fill *@where with the object of this id.
 * @id:    0 gives NULL.
 * @type:  the name of the object's type of record, or NULL for any.
 * @where: NULL until the object comes, which may be after this call; must stay where it is until upg_receive() returns.
 *
 * What never came by the end of the load is refused, with its type and id. Return: 0, or -errno, which load() returns: the object
 * is of another type, or memory is out.
 */
UPG_API int upg_resolve(struct upg_loader *loader, uint64_t id, const char *type, void **where);

/** upg_step_alloc() - Zeroed memory that lives as long as the record; never NULL. */
UPG_API void *upg_step_alloc(struct upg_step *step, size_t size_bytes);
UPG_API int upg_step_fail(struct upg_step *step, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
