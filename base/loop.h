/* SPDX-License-Identifier: MIT */
/* One thread's epoll loop. Sources and timers are embedded in the object they serve; the loop owns none of them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct why;
struct loop;

struct source {
	struct loop *loop; /* NULL while not added */
	int fd;            /* borrowed from the object that embeds this */
	uint32_t events;
	void (*on_ready)(struct source *source, uint32_t events);
};

struct timer {
	struct loop *loop; /* NULL while disarmed */
	uint64_t due_us;
	struct timer *next;
	void (*on_due)(struct timer *timer);
};

/** container_of() - The object that embeds @member. */
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - __builtin_offsetof(type, member)))

/** loop_new() - Return: 0 or -errno. */
int loop_new(struct loop **ret_loop, struct why *why);

/** loop_free() - Release the loop; its sources and timers must be gone. Return: NULL. */
struct loop *loop_free(struct loop *loop);

/** loop_run() - Dispatch until loop_stop(). Return: the value given to loop_stop(), or -errno. */
int loop_run(struct loop *loop);

/** loop_turn() - One wait of at most @timeout_ms (-1: until something happens) and its dispatch. Return: 0 or -errno. */
int loop_turn(struct loop *loop, int timeout_ms);

void loop_stop(struct loop *loop, int status);

/** source_add() - Watch @fd, level-triggered. Return: 0 or -errno. Context: loop thread. */
int source_add(struct loop *loop, struct source *source, int fd, uint32_t events,
	       void (*on_ready)(struct source *source, uint32_t events));

/** source_set() - Change what is waited for. Return: 0 or -errno. */
int source_set(struct source *source, uint32_t events);

/** source_del() - Stop watching; must come before the fd is closed. Safe on one never added (zeroed), and inside any
 * callback: an event of this source that epoll had already reported is dropped. */
void source_del(struct source *source);

/** timer_arm() - Call @on_due once at @due_us (monotonic). Arming an armed timer moves it. */
void timer_arm(struct loop *loop, struct timer *timer, uint64_t due_us, void (*on_due)(struct timer *timer));

/** timer_disarm() - Do not call @on_due any more. Safe on one never armed (zeroed). */
void timer_disarm(struct timer *timer);
