/* SPDX-License-Identifier: MIT */
/* Monotonic time in microseconds, which a test can take over. */
#pragma once

#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)

/** clock_now_us() - CLOCK_MONOTONIC in microseconds: comparable between processes of one boot. Thread-safe. */
uint64_t clock_now_us(void);

/** clock_realtime_us() - CLOCK_REALTIME in microseconds, for people: it may be set, and no test takes it over. */
uint64_t clock_realtime_us(void);

/** clock_worked_us() - Processor time that this thread has used, in microseconds: time in which it does not run is not in it. */
uint64_t clock_worked_us(void);

/** clock_fake() - Let clock_now_us() return *@now_us from now on; NULL: the real clock again. For tests only. */
void clock_fake(const uint64_t *now_us);

/** clock_timeout_ms() - Turn @due_us into a timeout for poll(2): in milliseconds, rounded up; 0 when past; -1 for UINT64_MAX. */
int clock_timeout_ms(uint64_t due_us);
