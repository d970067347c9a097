/* SPDX-License-Identifier: MIT */
/* Any bytes as what a supervisor has left of a bake: they are read, or refused. */
#include "base/why.h"
#include "supervisor/carry/carry.h"
#include "supervisor/custody/carried.h"
#include "supervisor/roll/carried.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int find_nothing(struct carry_finder *finder, uint64_t device, uint64_t inode)
{
	(void)finder, (void)device, (void)inode;
	return -1;
}

static void read_roll(struct carry *carry, const Upgraded__Carry__Item *item)
{
	struct custody custody = { .entries = NULL };
	struct conn_sample sample = { .conn = NULL };
	struct fd_names names = { .names = NULL };
	struct roll_report report;

	(void)custody_take_left(&custody, carry, item, NULL);
	custody_clear(&custody);
	if (item->roll->sample)
		(void)conn_sample_take(item->roll->sample, &sample);
	conn_sample_done(&sample);
	if (item->roll->handed)
		(void)fd_names_take(item->roll->handed, &names);
	fd_names_done(&names);
	if (item->roll->report)
		(void)roll_report_take(item->roll->report, &report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct carry_finder finder = { .find = find_nothing };
	const Upgraded__Carry__Item *item = NULL;
	struct why why = { 0 };
	struct carry *carry;
	int fd = memfd_create("carry", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	if (carry_open(fd, &finder, &carry, &why) == 0) {
		while ((item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_ROLL, item)))
			read_roll(carry, item);
		carry_free(carry);
	} else if (!*why.text) {
		abort(); /* whatever it is, it is said */
	}
	close(fd);
	return 0;
}
