/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/pressure.h"

#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

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

	cr_assert_not(pressure_is_high(&(struct pressure_limits){ 0 }, &why));
	cr_assert_not(pressure_is_high(&(struct pressure_limits){ .available_bytes = 1 }, &why));
	cr_assert(pressure_is_high(&(struct pressure_limits){ .available_bytes = UINT64_MAX }, &why));
	cr_assert_not_null(strstr(why.text, "MemoryLow="));
	cr_assert_not(pressure_is_high(&(struct pressure_limits){ .stalled_percent = 100 }, &why));
}
