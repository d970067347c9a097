/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/pressure.h"

#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

TestSuite(pressure, .timeout = 20);

Test(pressure, reads_what_is_available)
{
	uint64_t bytes = 0;

	cr_assert_eq(pressure_available("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\n", &bytes), 0);
	cr_assert_eq(bytes, 2u << 20);
	cr_assert_eq(pressure_available("MemTotal:  100 kB\n", &bytes), -ENODATA);
	cr_assert_eq(pressure_available("MemAvailable: much kB\n", &bytes), -ENODATA);
	cr_assert_eq(pressure_available("MemAvailable: 18446744073709551615 kB\n", &bytes), -ENODATA);
	cr_assert_eq(pressure_available("", &bytes), -ENODATA);
	cr_assert_eq(bytes, 2u << 20);
}

Test(pressure, reads_for_how_long_tasks_waited)
{
	unsigned percent = 7;

	cr_assert_eq(pressure_stalled("some avg10=12.98 avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00\n", &percent), 0);
	cr_assert_eq(percent, 12);
	cr_assert_eq(pressure_stalled("full avg10=99.00\n", &percent), -ENODATA);
	cr_assert_eq(pressure_stalled("some avg10=\n", &percent), -ENODATA);
	cr_assert_eq(percent, 12);
}

Test(pressure, is_judged_by_the_machine_as_it_is)
{
	struct why why = { "" };
	struct pressure now;

	pressure_look(getpid(), &now);
	cr_assert(now.knows_available);
	cr_assert_not(pressure_is_high(&now, &(struct pressure_limits){ 0 }, &why));
	cr_assert_not(pressure_is_high(&now, &(struct pressure_limits){ .available_bytes = 1 }, &why));
	cr_assert_not(pressure_is_high(&now, &(struct pressure_limits){ .stalled_percent = 100 }, &why));
	now.group.limit_bytes = 0;
	cr_assert(pressure_is_high(&now, &(struct pressure_limits){ .available_bytes = UINT64_MAX }, &why));
	cr_assert_not_null(strstr(why.text, "MemoryLow="));
}

#define MIB (1ull << 20)

Test(pressure, of_a_control_group_is_told_with_its_limit)
{
	struct pressure_limits limits = { .available_bytes = 256 * MIB };
	struct pressure seen = { .knows_available = true, .available_bytes = 255 * MIB,
				 .group = { .limit_bytes = 4096 * MIB, .path = "/sys/fs/cgroup/web", .file = "memory.max" } };
	struct why why = { "" };

	cr_assert(pressure_is_high(&seen, &limits, &why));
	cr_assert_str_eq(why.text, "255 MiB are available under /sys/fs/cgroup/web/memory.max, less than MemoryLow=, 256 MiB");
	seen.available_bytes = 256 * MIB;
	cr_assert_not(pressure_is_high(&seen, &limits, &why));
}

Test(pressure, of_a_small_control_group_begins_at_a_quarter_of_its_limit)
{
	struct pressure_limits limits = { .available_bytes = 256 * MIB };
	struct pressure seen = { .knows_available = true, .available_bytes = 50 * MIB,
				 .group = { .limit_bytes = 200 * MIB, .path = "/g", .file = "memory.high" } };
	struct why why = { "" };

	cr_assert_not(pressure_is_high(&seen, &limits, &why), "%s", why.text);
	seen.available_bytes = 49 * MIB;
	cr_assert(pressure_is_high(&seen, &limits, &why));
	cr_assert_str_eq(why.text, "49 MiB are available under /g/memory.high, less than a quarter of that limit, 50 MiB");
}

Test(pressure, that_stalls_a_control_group_names_it)
{
	struct pressure_limits limits = { .stalled_percent = 40 };
	struct pressure seen = { .knows_stalled = true, .stalled_percent = 41, .stalled = "/g" };
	struct why why = { "" };

	cr_assert(pressure_is_high(&seen, &limits, &why));
	cr_assert_str_eq(why.text, "in 41 % of the last 10 s some process of /g waited for memory, more than the 40 of "
				   "MemoryPressure=");
	seen.stalled_percent = 40;
	cr_assert_not(pressure_is_high(&seen, &limits, &why));
}

Test(pressure, that_is_not_known_passes_no_limit)
{
	struct pressure_limits limits = { .available_bytes = UINT64_MAX, .stalled_percent = 1 };
	struct pressure unknown = { 0 };

	cr_assert_not(pressure_is_high(&unknown, &limits, NULL));
}
