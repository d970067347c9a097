/* SPDX-License-Identifier: MIT */
/* libupgrade: what an application links so that `upgradectl roll` can replace it while it serves.
 *
 * The life of an application:
 *
 *     upg_open()     at start, with the types of its state and its migrations
 *     upg_receive()  when it is otherwise ready to serve: UPG_FRESH (start empty) or UPG_RECEIVED (state has been
 *                    loaded; claim your descriptors). In both cases upg_listen() at what is configured
 *     upg_ready()    UPG_SERVE: you are the one version that may serve
 *                    (upg_become() is both, with a callback between them)
 *     upg_dispatch() whenever upg_fd() is readable; a roll happens inside this call
 *
 * Threads that touch the application's state register with upg_thread_enter() and call upg_point() once in each turn of
 * their loop, where they hold no lock and no half-changed state: an update point.
 *
 * Without a supervisor (a plain start from a shell) every call works: upg_receive() says UPG_FRESH, upg_fd() is -1, and
 * nothing else ever happens. Idle cost: one relaxed load for each upg_point(); no thread, no timer, no wake-up.
 *
 * Errors: negative errno, with upg_why() in words. What is to be handled is an outcome, of an enum of its own. The library never
 * logs, never exits, and installs one signal handler only if the application names the signal.
 * Thread-safety: upg_point(), upg_progress(), upg_fd_register(), upg_fd_register_new(), upg_fd_unregister(), upg_fd_next(),
 * upg_close(), upg_thread_*(), upg_journal_on() and upg_changed() may be called from any thread; so may upg_conn_*(), but one
 * thread at a time for one connection. The rest belongs to the one thread that calls upg_open().
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header. What has no other mark is there since 1.0; "Since 1.1" stands with what came later. */
#define UPG_VERSION_MAJOR 1
#define UPG_VERSION_MINOR 0
#define UPG_VERSION "1.0"

#define UPG_API __attribute__((visibility("default")))

struct upg;
struct upg_saver;
struct upg_loader;
struct upg_step;
struct upg_thread;
struct upg_conn;

/* Outcomes, of each call its own. No value is used twice. */

/* Of upg_receive(). */
enum upg_received {
	UPG_FRESH = 1,        /* no predecessor; start empty */
	UPG_RECEIVED = 2,     /* state is loaded, descriptors wait to be claimed */
	UPG_NOT_RECEIVED = 3, /* return from main; upg_why() says why, "" when the roll was called off */
};

/* Of upg_ready() and upg_become(). */
enum upg_readied {
	UPG_SERVE = 4,     /* this is the one version that may serve */
	UPG_NOT_READY = 5, /* return from main and touch nothing that is shared; upg_why() as after UPG_NOT_RECEIVED */
};

/* Of upg_dispatch() and upg_point(). */
enum upg_dispatched {
	UPG_GO_ON = 0,
	/* Another process serves: return from main, or from the thread's function, and touch nothing that is shared. */
	UPG_LEAVE = 6,
};

/* What on_prepare() says. */
enum upg_rest {
	UPG_AT_REST = 0, /* and stays so until on_go_on() */
	UPG_NOT_YET = 7, /* this process serves on, and is asked again shortly */
	UPG_REFUSE = 8,  /* not now; the roll is called off */
	/* As UPG_NOT_YET, but until a child process of this one has ended, such as one that writes a dump: upg_await_child(). */
	UPG_AWAIT_CHILD = 9,
};

/* How quiet on_prepare() is asked to be. */
enum upg_level {
	UPG_WORK_FREE = 1,     /* every thread at an update point; half-received requests travel as state */
	UPG_REQUEST_FREE = 2,  /* and no request half-received or half-answered */
	UPG_PROTOCOL_FREE = 3, /* and no conversation open (for protocols whose state cannot travel) */
};

/* Why a process that was at rest goes on. */
enum upg_go_on_reason {
	UPG_CALLED_OFF = 1, /* the roll, before it committed: nothing has happened */
	UPG_SAVED = 2,      /* the state was written to a file, or could not be */
	UPG_CAME_BACK = 3,  /* a newer version had served, and failed; or this process takes the place of one that ended */
};

struct upg_go_on {
	enum upg_go_on_reason reason;
	/* UPG_CAME_BACK: registered descriptors whose connections are lost, ascending; borrowed for the call. They hold /dev/null,
	 * and are to be closed with upg_close() or upg_conn_close(). */
	const int *lost;
	size_t n_lost;
};

enum upg_change {
	UPG_PUT = 1,    /* the object is new, or is now as the message says */
	UPG_REMOVE = 2, /* it is gone; of the message only what identifies it counts */
};

/* One type of record in the application's state. Types are saved in the order of the array, and loaded in the order in which they
 * were saved: that of the older version's array on the way up. */
struct upg_type {
	const char *name;    /* stable over all versions, e.g. "cached.Item" */
	uint32_t version;    /* the schema version this program holds, 1..65535 */
	const ProtobufCMessageDescriptor *descriptor;
	/* Call upg_save() for each object. All registered threads stand still. Return 0 or -errno.
	 * With Journal=always also called in a forked child: there is no other thread and no descriptor but 0 to 2 then, and to
	 * read memory and call upg_save() is all that is to be done. */
	int (*save)(struct upg_saver *saver, void *userdata);
	/* Take one object; @message is borrowed for the call. Return 0 or -errno after upg_load_fail(). */
	int (*load)(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata);
	/* Optional: how many objects of this type the application now holds. Checked against the records loaded and not
	 * skipped before the new version may serve: a loader that drops or invents objects is caught here. Also called in
	 * upg_dispatch() while threads run, for upg_expected() and `upgradectl plan`: take the lock, and do not count one by
	 * one. */
	uint64_t (*count)(void *userdata);
	/* Records that mean nothing outside this machine's present, such as connections: they travel to a successor, but
	 * not into a file (upgradectl save). */
	int process_only;
	/* Optional: apply one change that a newer version made (upg_changed()) before it failed. What is held of the object is as
	 * it was at the roll, with all earlier changes applied. Called before on_go_on(); all registered threads stand.
	 * @message is borrowed. Return 0, or -errno after upg_load_fail(): then this process gives up, as its state is neither
	 * old nor new. */
	int (*change)(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata);
	/* Optional: the largest record of this type in bytes, up to 1 GiB, where one object may be larger than StateRecordMax= (16
	 * MiB): such as an item that a client may make as large as this program lets it. It is one record all the same. What this
	 * program writes and what it reads is bounded by it. For a moment the version that saves holds such a record once more, and
	 * the one that loads twice. A version with a smaller record_max refuses what is larger, and the roll is called off. */
	uint32_t record_max;
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
	const char *version;     /* of the application, e.g. "v2": informational, too; rolls go by the name in the path (%v) */
	const struct upg_type *types;
	size_t n_types;
	const struct upg_migration *migrations;
	size_t n_migrations;
	/* A signal that wakes threads out of blocking calls (EINTR). The library installs an empty handler for it without
	 * SA_RESTART; upg_open() says -EEXIST if this process handles or ignores it already. It does not wake who waits for a
	 * condition, nor an event loop that waits again after EINTR, as libevent, libuv and libev do. 0: none. */
	int nudge_signal;
	/* Optional: make @thread, which has to come to its update point, do so: write to an eventfd of its loop, event_active(),
	 * broadcast its condition. Called from the thread that dispatches, again after some milliseconds until @thread has come,
	 * and for signs of life; @thread cannot leave meanwhile. Must not block, and not take a lock that a thread holds while it
	 * calls upg_thread_leave(). May come together with nudge_signal. */
	void (*wake)(struct upg_thread *thread, void *userdata);
	/* Optional, and a pair: for a program that has its own way to stop its threads, instead of registering them. Called where
	 * registered threads have come to stand, and before these are let go. stop_threads() returns 0 when none of the program's
	 * threads touches state or descriptors any more, or -errno after letting all of them go. Nobody waits for it longer than
	 * @deadline_us, CLOCK_MONOTONIC: it must give up by then. start_threads() undoes it; not called when another process
	 * serves. */
	int (*stop_threads)(uint64_t deadline_us, void *userdata);
	void (*start_threads)(void *userdata);
	/* Optional: come to rest. All threads stand. For UPG_NOT_YET and UPG_REFUSE, upg_refuse() may say why before it returns:
	 * "connection 17 uploads 900,000 bytes". What it has begun it undoes then itself: on_go_on() is called after UPG_AT_REST
	 * only. @deadline_us: it is not asked after that (QuiesceTimeout=), CLOCK_MONOTONIC; later each time while it waits for a
	 * child. */
	enum upg_rest (*on_prepare)(enum upg_level level, uint64_t deadline_us, void *userdata);
	/* Optional: this process was at rest, and goes on. The threads still stand. After UPG_CAME_BACK registered descriptors have
	 * their old numbers and epoll registrations back, but for those that are lost. After a journal was applied, every
	 * upg_conn may hold input that its descriptor says nothing of any more, and output: handle and send what there is, after
	 * taking it over where upg_conn_own() was in use. With Journal=always it is also called within upg_ready(), with nothing
	 * lost, in a process that takes the place of one that ended: what load() has made of connections may be older. */
	void (*on_go_on)(const struct upg_go_on *go_on, void *userdata);
	void *userdata;
	/* Optional: a connection that a newer version had accepted before it failed, or that the process had accepted whose place
	 * this one takes; that is within upg_ready(). It is registered, and its input and output are
	 * where that version had come to. Called after all changes and before on_go_on(). Owned by the application from here on.
	 * Return 0, or -errno for what this version cannot serve: it is reset then, and @conn is gone. */
	int (*on_conn)(struct upg_conn *conn, const char *name, uint64_t tag, void *userdata);
	/* Optional, with a NULL at the end: fields that change by themselves, such as clocks and counters of memory, which
	 * Verify=roundtrip leaves out, wherever in a record their message is. Full names, of the message of each version that may
	 * be compared: "shop.v2.Shop.now", "shop.v1.Shop.now". protoc-gen-upgrade(1) makes a list of (upgrade.field).volatile. */
	const char *const *volatile_fields;
};

/* Of the structs that an application fills, as its compiler knows them. So they can grow at their ends. */
struct upg_sizes {
	size_t config_bytes, type_bytes, migration_bytes;
};

/** upg_open_sized() - upg_open() for callers that cannot include this header, such as other languages. */
UPG_API int upg_open_sized(const struct upg_config *config, const struct upg_sizes *bytes, struct upg **ret_upg);

/** upg_open() - Announce this process to its supervisor, if there is one. What @config points to must outlive the handle. With a
 * supervisor, four descriptors are kept from here on, closed on exec, so that a process that has used up all others can be rolled,
 * and two more, so that the next supervisor finds this process should the present one be killed.
 * Return: 0; -E2BIG: this header is newer than the library, and the program uses what is new; -errno. */
static inline int upg_open(const struct upg_config *config, struct upg **ret_upg)
{
	const struct upg_sizes bytes = { sizeof(struct upg_config), sizeof(struct upg_type), sizeof(struct upg_migration) };

	return upg_open_sized(config, &bytes, ret_upg);
}

/** upg_version() - Of the library: "1.0", which may be newer than UPG_VERSION. Static. */
UPG_API const char *upg_version(void);
/** upg_free() - Also what a child process does first that was forked and goes on without exec: the channel is its parent's, and
 * what is registered travels without it. Its copies of registered descriptors are its own to close. Return: NULL. */
UPG_API struct upg *upg_free(struct upg *upg);

/** upg_why() - The last failure in words; "" if upg_receive(), upg_ready(), upg_become() or upg_dispatch() went well since. Lives
 * until the next call on @upg. NULL: that of this thread's last upg_open(). */
UPG_API const char *upg_why(const struct upg *upg);

/**
 * upg_expected() - Between upg_open() and upg_receive(): how much will come, as the version that serves counts it at this moment,
 * to make tables large enough before clients wait. Asked once, which takes up to 2 s where that version is busy.
 * @type:      the name of a type of this application's; NULL: all together.
 * @ret_bytes: about, from the last time that they were saved or loaded; 0: nobody knows. NULL: not wanted.
 *
 * Return: 0; -ENOENT: it is not known, or nothing will come: a fresh start, a state from a file, no supervisor; -EINVAL: there is
 * no such type; -errno.
 */
UPG_API int upg_expected(struct upg *upg, const char *type, uint64_t *ret_records, uint64_t *ret_bytes);

/** upg_receive() - Stand by until told what to be. Load callbacks run in here. Return: enum upg_received. */
UPG_API enum upg_received upg_receive(struct upg *upg);

/** upg_refuse() - Instead of upg_ready(): say why this process will not take over. Within on_prepare(): why it is not at rest. */
UPG_API void upg_refuse(struct upg *upg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * upg_await_child() - Within on_prepare(), which returns what this returns: a child process of this one, which was made by fork()
 * and has this one's state, has to end first. This process serves on meanwhile, and is asked again when the child has ended, and
 * now and then before. It is waited for up to ChildTimeout= in all, and QuiesceTimeout= begins anew after that.
 * @child: its pid, which the operator is shown; 0: not known, such as that of a child's child.
 * @fmt:   what it does: "writes dump.rdb".
 *
 * Return: UPG_AWAIT_CHILD.
 */
UPG_API enum upg_rest upg_await_child(struct upg *upg, pid_t child, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** upg_ready() - Everything is loaded, claimed and checked. Return: enum upg_readied. */
UPG_API enum upg_readied upg_ready(struct upg *upg);

/**
 * upg_become() - Become what this process is to be: upg_receive(), @start, upg_ready().
 * @start: claims what came and opens what did not: all of it when @how is UPG_FRESH. Never called with UPG_NOT_RECEIVED.
 *         Returns 0, or -errno for "this process will not serve", which is passed on as by upg_refuse(), unless @start has called
 *         that itself.
 *
 * Return: enum upg_readied.
 */
UPG_API enum upg_readied upg_become(struct upg *upg, int (*start)(enum upg_received how, void *userdata), void *userdata);

/**
 * upg_progress() - Tell that a slow start gets on, with @text: "40 of 100 segments". While this process starts, each such message
 * gives it another StartTimeout=; loading a state file tells its progress by itself. Within a roll's pause, from
 * upg_receive() to upg_ready(), a message changes nothing, because clients wait. While this version serves on probation,
 * it excuses checks of health that have not succeeded yet. Thread-safe; at most one message in 100 ms is passed on, the
 * others are dropped.
 */
UPG_API void upg_progress(struct upg *upg, const char *text);

/** upg_fd() - Watch this for input and call upg_dispatch(). -1 without a supervisor. The number is the same from upg_open() to
 * upg_free(), so an event loop may keep it: while the supervisor is gone, it is not readable. */
UPG_API int upg_fd(const struct upg *upg);

/** upg_dispatch() - Handle what the supervisor says. During a roll this call lasts until its outcome is known.
 * Return: UPG_GO_ON, also where upg_why() says that something failed; UPG_LEAVE: break the loop and return from main. */
UPG_API enum upg_dispatched upg_dispatch(struct upg *upg);

/* ---- threads ---- */

/** upg_thread_enter() - The calling thread touches state. @name appears in messages; @data is for the application, such as for
 * wake(). Return: NULL only when memory is out. */
UPG_API struct upg_thread *upg_thread_enter(struct upg *upg, const char *name, void *data);
/** upg_thread_data() - What it entered with. Thread-safe. */
UPG_API void *upg_thread_data(const struct upg_thread *thread);
/** upg_thread_leave() - Ends @thread. Waits for a wake() of this thread to return, so its data may be released afterwards. */
UPG_API void upg_thread_leave(struct upg_thread *thread);

/**
 * upg_point() - An update point: during a roll the thread waits in here.
 *
 * Return: UPG_GO_ON; UPG_LEAVE, another process serves. The state and the descriptors are not this process's any more: call
 * upg_thread_leave() and return from the thread's function, without a word to clients and without another look at the state. So
 * whoever was told UPG_LEAVE by upg_dispatch() can join the threads. A thread that comes again all the same is held up for a moment
 * each time.
 */
UPG_API enum upg_dispatched upg_point(struct upg_thread *thread) __attribute__((warn_unused_result));

/* ---- descriptors that move ---- */

/**
 * upg_fd_register() - This descriptor goes along. (@name, @tag) identifies it for both versions: name says what it is
 * ("listener", "client"), tag which one. Unregistered descriptors stay behind.
 * Return: 0; -EEXIST: (@name, @tag) is taken; -ENOMEM.
 */
UPG_API int upg_fd_register(struct upg *upg, int fd, const char *name, uint64_t tag);

/** upg_fd_register_new() - The same under a tag that the library makes: the next one of a count that goes on over all versions, so
 * that it is not used again. Tags of your own are best not mixed with these under one name; a descriptor's number is none, as the
 * next version may get the same number for another connection. *@ret_tag: what the next version claims it by, so it is to be
 * saved, or found by upg_fd_next(). Return: as upg_fd_register(). */
UPG_API int upg_fd_register_new(struct upg *upg, int fd, const char *name, uint64_t *ret_tag);

/** upg_fd_claim() - Take over a descriptor handed to this process; it is registered under the same name and tag. A listener that
 * Listen= of the service file gives a name (name=web) is there under that name, with tag 0; several of one name have 0, 1, ... in
 * their order in the file. upg_listen() finds it as well.
 * Return: the fd, owned by the caller; -ENOENT if none such came.
 *
 * Every descriptor that was handed over must be claimed or dropped before upg_ready(), or the roll is refused. Listeners and
 * sockets of unconnected datagrams that nobody claims are dropped by themselves, for an address that is not configured any more is
 * no mistake; but a version that has none at all is refused. */
UPG_API int upg_fd_claim(struct upg *upg, const char *name, uint64_t tag);

/**
 * upg_listen() - Listen at @address, of @address_bytes: with the socket that was handed over, where one is bound there, or that
 * upgraded holds for the service (Listen= of its service file), else with a new one. Call it for each address that
 * is configured, between upg_receive() and upg_ready(), or later for another one.
 * @type:    SOCK_STREAM, SOCK_SEQPACKET, or SOCK_DGRAM, which is bound only; with SOCK_NONBLOCK, if one that nobody hands over is
 *           not to block.
 * @backlog: for a new one, as of listen(2).
 *
 * A new one is registered as "listener", with a tag that the library makes of the address. It is closed on exec, does not keep
 * others from its port after a restart (SO_REUSEADDR, but not for datagrams), and with IPv6 it takes no IPv4 (IPV6_V6ONLY), so
 * that all that getaddrinfo() tells of can be listened at. The path of a unix socket at which nobody answers is replaced. What was
 * handed over is as it was, flags and backlog included; of what upgraded holds, the backlog is as the service file says. What of
 * that nobody has asked for before upg_ready() is closed. Where the kernel chooses the port (0), the next version gets it by asking
 * for port 0 at the same address; of several, in the order of the calls.
 *
 * Return: the fd, owned by the caller; -EBUSY: with a supervisor, before upg_receive(), as what is handed over has not come yet;
 * -EADDRINUSE: another process answers there, or what is at the path is no socket; -EINVAL;
 * another -errno of socket(2), bind(2), listen(2); -ENOMEM. upg_why() names the address.
 */
UPG_API int upg_listen(struct upg *upg, const struct sockaddr *address, socklen_t address_bytes, int type, int backlog);

/** upg_fd_drop() - This version has no use for what was handed over under this name and tag: it is closed when this version serves,
 * and the report of the roll says so. If the roll is called off, nothing has happened. Return: 0; -ENOENT: no such waits. */
UPG_API int upg_fd_drop(struct upg *upg, const char *name, uint64_t tag);

/** upg_fd_unregister() - This descriptor does not go along any more. It stays open here; but on the way back, the version before
 * finds it lost. Return: 0; -ENOENT: it is not registered, or not claimed; -EBUSY: it is that of a struct upg_conn. */
UPG_API int upg_fd_unregister(struct upg *upg, int fd);

/* One descriptor that is registered, or was handed over and waits to be claimed. */
struct upg_fd_info {
	int fd;            /* do not close it while it is not claimed */
	int claimed;       /* 0: it waits */
	uint64_t tag;
	char name[65];
	char address[112]; /* of a socket, its own: "127.0.0.1:80", "[::1]:80", "/run/web.sock", "@abstract"; "" of others */
	uint64_t reserved[4]; /* 0 */
};

/** upg_fd_next() - Go on to the next one, in the order of numbers. Begin with @it->fd = -1:
 *
 *     for (struct upg_fd_info it = { .fd = -1 }; upg_fd_next(upg, &it);)
 *
 * What is found may be claimed, dropped, unregistered or closed meanwhile. Return: 1; 0: there are no more, and *@it stays. */
UPG_API int upg_fd_next(struct upg *upg, struct upg_fd_info *it);

/** upg_close() - Unregister and close, so that the peer notices although the supervisor may hold a duplicate: removes it from
 * @epoll_fd (-1: none), shuts the connection down, closes, and tells the supervisor. Also fine for unregistered fds. */
UPG_API void upg_close(struct upg *upg, int fd, int epoll_fd);

/* ---- nothing is lost even when the new version dies (Journal=yes) ----
 *
 * From the commit of a roll until its bake is over, the new version writes down each change of its state, and what it has
 * received and not answered, in memory that outlives it. If it dies, the version before applies the changes to the state it still
 * holds, goes on with the connections at the very byte, and nobody notices. Types with a change() take part.
 *
 * The rule on which all rests: a change is published before anybody else can see its effect. So call upg_conn_done() (or
 * upg_changed() without a connection) while you still hold the lock under which you changed the state. Otherwise another request
 * could build on an effect whose own request is handled once more after a crash.
 */

/** upg_journal_on() - Is anything written down now? One relaxed load; saves making messages for nobody. */
UPG_API int upg_journal_on(const struct upg *upg);

/**
 * upg_changed() - Something of the state has changed.
 * @conn:    goes with its next upg_conn_done(), together or not at all. NULL: published at once.
 * @type:    the name of a type of this application's. One that the version before does not have is left out.
 * @message: of the type's current version; borrowed. It is migrated down here and now. Ids of upg_ref() mean nothing in it.
 *
 * Does nothing while the journal is off. When the journal is full, memory is out, the change cannot be migrated down, or the
 * version before has no change() for @type, the supervisor is told, and from then on the way back is as without a journal: the
 * application goes on undisturbed.
 * Return: 0; -EINVAL: there is no such type, or @message is of another one.
 */
UPG_API int upg_changed(struct upg *upg, struct upg_conn *conn, const char *type, enum upg_change change,
			const ProtobufCMessage *message);

/* A connection whose input and output the library buffers, or the program (see upg_conn_own()): in ordinary memory, and in the
 * journal's while there is one. For stream sockets, blocking or not. Of TCP sockets the kernel counts what was read and written, so
 * they are exact down to the byte. Of others (AF_UNIX) the library's own notes are used: what was received or sent in the very
 * moment of a crash is lost or repeated. Out-of-band data and kernel TLS are not for these.
 *
 * A request's way: upg_conn_receive(), look at upg_conn_input(), handle what is whole, upg_conn_put() the answer,
 * upg_conn_done() with the bytes that the request took, upg_conn_send(). What a connection is beyond its bytes ("in the middle of a
 * transfer") is state like other state: a type of its own, saved, and changed with the request.
 */

/**
 * upg_conn_open() - Buffer what comes and goes by @fd, and let it move: as upg_fd_register(), unless it was claimed under @name and
 * @tag. Owns @fd on success. A tag is not to be used again for another connection.
 * Return: 0; -EEXIST: (@name, @tag) is taken, or there is a connection on @fd; -ENOMEM; -EINVAL: the name is too long; -EBADF.
 */
UPG_API int upg_conn_open(struct upg *upg, int fd, const char *name, uint64_t tag, struct upg_conn **ret_conn);

/** upg_conn_new() - The same for a connection that is new, under a tag that the library makes: see upg_fd_register_new(). */
UPG_API int upg_conn_new(struct upg *upg, int fd, const char *name, uint64_t *ret_tag, struct upg_conn **ret_conn);

/** upg_conn_restore() - What a predecessor had saved of upg_conn_input() and upg_conn_output(); right after upg_conn_open().
 * Return: 0; -ENOMEM; -EINVAL: it is upg_conn_own(). */
UPG_API int upg_conn_restore(struct upg_conn *conn, const void *input, size_t input_bytes, const void *output,
			     size_t output_bytes);
UPG_API int upg_conn_fd(const struct upg_conn *conn);

/** upg_conn_receive() - One recv() of up to @room_bytes, behind the input there is. Return: bytes; 0: end of stream; -EAGAIN;
 * -EINTR; -ENOMEM; -errno. */
UPG_API ssize_t upg_conn_receive(struct upg_conn *conn, size_t room_bytes);

/** upg_conn_input() - What was received and is not done with, in one piece. Lives until the next upg_conn_receive(),
 * upg_dispatch() or upg_point(): a checkpoint (Journal=always) moves it. */
UPG_API const void *upg_conn_input(const struct upg_conn *conn, size_t *ret_bytes);

/** upg_conn_put() - Output of the request in hand: not sent, and nowhere to be seen, before upg_conn_done(). It is copied; after
 * upg_conn_own() for a journal only, and the program must send just these bytes. Return: 0; -ENOMEM: what was put for this request
 * is kept. */
UPG_API int upg_conn_put(struct upg_conn *conn, const void *data, size_t size_bytes);

/**
 * upg_conn_done() - A request is handled. In effect from this moment, all of it or nothing: its changes, its output, and that the
 * first @input_bytes of the input are done with.
 * @input_bytes: 0 for a part of an answer.
 *
 * Return: 0; -EINVAL: there is not so much input.
 */
UPG_API int upg_conn_done(struct upg_conn *conn, size_t input_bytes);

/** upg_conn_send() - Send as much of the output as the socket takes. Never raises SIGPIPE. Return: 0 all is sent; 1 some is left
 * (no room, or a signal came); -errno. */
UPG_API int upg_conn_send(struct upg_conn *conn);

/** upg_conn_output() - Done and not sent: what save() writes. Lives until the next call on @conn, and no longer than what
 * upg_conn_input() gives. */
UPG_API const void *upg_conn_output(const struct upg_conn *conn, size_t *ret_bytes);

/** upg_conn_close() - upg_close() of its descriptor, and free. NULL is allowed. Also for one that on_go_on() names as lost. */
UPG_API void upg_conn_close(struct upg_conn *conn, int epoll_fd);

/* A program with buffers of its own, such as a queue of iovecs that point to its objects, keeps them: after upg_conn_own() the
 * library only counts, and copies what it is told of only while a journal covers the connection. What crosses a crash, and how
 * exactly, is the same.
 *
 * A request's way: upg_conn_read() into the program's buffer, handle what is whole, upg_conn_put() for each piece of the answer
 * that is queued, upg_conn_done(); and only then may anything of the answer be sent, by whatever call, and upg_conn_sent() says how
 * much of it was. What save() writes the program has itself; what comes back to it, from its predecessor or by a journal:
 *
 *     if (!upg_conn_is_own(conn)) {
 *             replace all that is held of the input by upg_conn_input(), and of the output by upg_conn_output();
 *             upg_conn_own(conn);
 *     }
 *
 * right after upg_conn_restore(), in on_conn(), and for each connection in on_go_on() after UPG_CAME_BACK.
 */

/** upg_conn_own() - From here on the program holds the input and the output of @conn, all of what upg_conn_input() and
 * upg_conn_output() have shown; they show nothing any more. upg_conn_receive(), upg_conn_send() and upg_conn_restore() are not for
 * this connection any more. */
UPG_API void upg_conn_own(struct upg_conn *conn);

/** upg_conn_is_own() - Return: 1; 0: the library holds the bytes, also of one that was the program's own before a journal brought
 * it back. They replace those that the program holds. */
UPG_API int upg_conn_is_own(const struct upg_conn *conn);

/** upg_conn_read() - One recv() of up to @room_bytes, to @to. Return: bytes; 0: end of stream; -EAGAIN; -EINTR; -EINVAL: it is not
 * upg_conn_own(), or there is no room; -errno. */
UPG_API ssize_t upg_conn_read(struct upg_conn *conn, void *to, size_t room_bytes);

/**
 * upg_conn_received() - Instead of upg_conn_read(), where another library receives (libuv, an io_uring): this has come, behind the
 * input there is. To be told before anything else is done with it: if the program dies between the two, this connection is closed
 * on the way back, as nobody has its bytes.
 *
 * Return: 0; -EINVAL: it is not upg_conn_own(), or upg_conn_read() was called for it.
 */
UPG_API int upg_conn_received(struct upg_conn *conn, const void *data, size_t size_bytes);

/** upg_conn_sent() - So many bytes of the output were sent, from its front. Call it after each send(), as what is sent is held in
 * the journal until then. Return: 0; -EINVAL: there is not so much that is done, or it is not upg_conn_own(). */
UPG_API int upg_conn_sent(struct upg_conn *conn, size_t size_bytes);

/* ---- inside the callbacks ---- */

/** upg_save() - Write one object of the type being saved. Return: 0 or -errno, which save() returns. */
UPG_API int upg_save(struct upg_saver *saver, const ProtobufCMessage *message);

/** upg_load_claim() - upg_fd_claim() from within load(). */
UPG_API int upg_load_claim(struct upg_loader *loader, const char *name, uint64_t tag);
UPG_API int upg_load_fail(struct upg_loader *loader, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * upg_load_skip() - The record in hand is not taken, as @fmt says: an item that has expired, or that has no room any more. It is
 * counted, upg_type.count is expected to be so much less, and the supervisor shows how many were skipped and the first reason of
 * each type. A descriptor that goes with the record is to be claimed all the same, and closed. In change() it does nothing.
 * Return: 0, which load() returns.
 */
UPG_API int upg_load_skip(struct upg_loader *loader, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

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

/**
 * upg_step_userdata() - Look at the application's state from a migration: for a field that only makes sense together with another
 * type, such as a time that counts from the start that another record holds.
 *
 * Going up, records migrate as they arrive, each just before its own load(), in the order of the array of types of the version that
 * saved them: what load() of earlier types has stored is there. So declare a type that others need before them; where it has not
 * come, say so with upg_step_fail(). load() of such a type keeps the value that came, beside what this process makes of it. Going
 * down (an older version takes over, the round trip, the journal) it is the state that is being saved.
 * Called by whichever thread calls upg_receive(), upg_become(), upg_ready(), upg_dispatch() or upg_changed(): what upg_changed()
 * needs must not change while the application serves, or be under the lock that its caller holds.
 * Return: upg_config.userdata; lives as that does. `upgradectl` runs no migrations, so there is no other context.
 */
UPG_API void *upg_step_userdata(const struct upg_step *step);

#ifdef __cplusplus
}
#endif
