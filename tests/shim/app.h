/* SPDX-License-Identifier: MIT */
/* An application in a process of its own, forked by a test. It lies in memory that test and application share: the test says what
 * it should do before and while it runs, and reads what happened to it. */
#pragma once

#include "shim/upgrade.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define APP_NOTES_MAX 4096u
#define APP_WORKERS_MAX 8u
#define APP_FDS_MAX 1024u

/* Exit statuses. */
enum app_end {
	APP_LEFT = 10,     /* told to leave */
	APP_ORPHANED = 11, /* the supervisor vanished, and it went on serving */
	APP_FAILED = 12,   /* upg_open(), upg_receive() or upg_ready() failed: see why */
	APP_BROKEN = 13,   /* something the test relied on did not hold: see stderr */
	APP_LEAKED = 14,   /* memory */
};

struct app;

struct app_note {
	uint64_t id;
	uint32_t stars;
};

/* A thread that touches state. */
struct app_worker {
	struct app *app;
	char name[16];
	void (*body)(struct app_worker *worker); /* registers, and loops until the process ends */
	struct upg_thread *thread;
	atomic_ulong turns;   /* update points passed */
	atomic_bool left;     /* it was told to leave, and did */
	pthread_t id;
	atomic_bool go;       /* set by the test, for bodies that wait for it */
	atomic_bool entering; /* is about to call upg_thread_enter() */
	atomic_bool entered;
	int fd;               /* what it blocks on */
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool woken;           /* under lock */
	atomic_uint n_wakes;
	atomic_bool being_woken;
};

struct app {
	/* What the test says. */
	struct upg_config config; /* app_version_1(), app_version_2() */
	void (*opened)(struct app *app); /* between upg_open() and upg_receive() */
	void (*claim)(struct app *app); /* between upg_receive() and upg_ready(), where state came */
	void (*fresh)(struct app *app); /* ... where none came */
	void (*begin)(struct app *app); /* when it serves */
	void (*step)(struct app *app);  /* after each upg_dispatch() */
	void (*leave)(struct app *app); /* when it was told to leave */
	enum upg_rest prepare_says[4];  /* what on_prepare returns, one after the other; then UPG_AT_REST */
	char prepare_reason[256];       /* what it says before, if not "" */
	pid_t prepare_child;            /* for which it waits, where it says UPG_AWAIT_CHILD */
	bool stops_threads;             /* app_stops_threads() */
	int stop_says;                  /* what stop_threads returns */
	size_t text_bytes;              /* of each note's text */
	bool fail_load;                 /* at the note with id 3 */
	bool dies_loading;              /* at the note with id 3 */
	uint32_t skip_above;            /* notes with a larger id are skipped; 0: none */
	int count_off_by;
	bool joins_threads;             /* when it is told to leave */
	bool registers_main;            /* the dispatching thread is one that touches state */
	struct app_worker workers[APP_WORKERS_MAX];
	unsigned n_workers;

	/* Its state. */
	struct app_note notes[APP_NOTES_MAX];
	uint32_t n_notes;
	uint64_t epoch; /* what test_step.c counts from */
	bool ticks;     /* the epoch's text is another one each time that it is saved */

	/* What happened. */
	struct upg *upg;
	struct upg_thread *main_thread;
	atomic_uint n_prepared, n_aborted, n_resumed;
	atomic_bool forked; /* a child of its own runs */
	atomic_uint n_saved;   /* of n_aborted, those after a save to a file */
	atomic_uint n_started; /* start_threads */
	bool own_stopped;      /* between stop_threads and start_threads */
	uint64_t prepare_deadline_us, stop_deadline_us;
	atomic_ulong n_steps; /* upg_dispatch(), and the step after it */
	int level;
	int last_dispatch; /* the last that was not UPG_GO_ON; -1: it was, and upg_why() said what had failed */
	int n_lost, lost[APP_FDS_MAX];
	char why[512];
	int expected_rc;
	uint64_t expected_records, expected_bytes;
	/* For the hooks. */
	int fds[APP_FDS_MAX];
	uint32_t n_fds;
	int epolls[4];
	char snapshot[2][200000];
};

/** app_new() - Shared memory; lives until the test's process ends. */
struct app *app_new(void);
void app_version_1(struct app *app);
void app_version_2(struct app *app);
/** app_fill() - @n notes, each with @text_bytes of text. */
void app_fill(struct app *app, uint32_t n, size_t text_bytes);
/** app_stops_threads() - It has threads that it stops by itself. */
void app_stops_threads(struct app *app);
/** app_wakes() - Threads are woken by a callback and by no signal. */
void app_wakes(struct app *app);
struct app_worker *app_worker_add(struct app *app, const char *name, void (*body)(struct app_worker *worker));

/** app_main() - The application's main(): an exit status. Called in the forked process. */
int app_main(struct app *app);

/* Bodies for workers. */
void worker_turns(struct app_worker *worker);     /* passes a point all the time */
void worker_reads(struct app_worker *worker);     /* blocks in read() on a pipe */
void worker_waits(struct app_worker *worker);     /* blocks in epoll_wait() */
void worker_held_up(struct app_worker *worker);   /* no point until @go, then as worker_turns() */
void worker_leaves(struct app_worker *worker);    /* no point until @go, then leaves */
void worker_careless(struct app_worker *worker);  /* passes a point all the time, whatever that says */
void worker_deaf(struct app_worker *worker);      /* waits for an eventfd, and goes on waiting when a signal comes */
void worker_idle(struct app_worker *worker);      /* waits for a condition */
void worker_leaves_woken(struct app_worker *worker); /* the same, and leaves when it is woken */
void worker_comes_late(struct app_worker *worker); /* enters after @go, then as worker_turns() */

/* In the application: end with APP_BROKEN and say where. */
#define APP_MUST(condition) ((condition) ? (void)0 : app_broken(__FILE__, __LINE__, #condition))
void app_broken(const char *file, int line, const char *what) __attribute__((noreturn));
