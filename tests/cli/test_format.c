/* SPDX-License-Identifier: MIT */
#include "base/why.h"
#include "cli/format.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

TestSuite(format, .timeout = 20);

Test(format, reads_durations)
{
	static const struct {
		const char *text;
		uint64_t us;
	} table[] = {
		{ "0", 0 }, { "5", 5000000 }, { "5s", 5000000 }, { "300ms", 300000 }, { "250us", 250 },
		{ "2min", 120000000 }, { "1h", UINT64_C(3600000000) }, { "2d", UINT64_C(172800000000) },
		{ "007s", 7000000 }, { "18446744073709551615us", UINT64_MAX },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct why why = { "" };
		uint64_t us = 1;

		cr_expect_eq(duration_parse("--bake", table[i].text, &us, &why), 0, "%s: %s", table[i].text, why.text);
		cr_expect_eq(us, table[i].us, "%s: %" PRIu64, table[i].text, us);
	}
}

Test(format, refuses_what_is_no_duration)
{
	static const char *const table[] = {
		"", "s", "ms", "-5s", "+5", " 5", "5 s", "5s ", "1.5s", "5m", "5S", "5sec", "5h30min", "0x10", "five", "5\n",
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct why why = { "" };
		uint64_t us = 42;

		cr_expect_eq(duration_parse("--bake", table[i], &us, &why), -EINVAL, "\"%s\"", table[i]);
		cr_expect_eq(us, 42u, "\"%s\" wrote a result", table[i]);
		cr_expect(strstr(why.text, "--bake") && strstr(why.text, "300ms"), "%s", why.text);
	}
}

Test(format, refuses_durations_beyond_counting)
{
	static const char *const table[] = {
		"18446744073709551616us", "18446744073709552s", "99999999999999999999999999", "213503983d", "5124095577h",
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct why why = { "" };
		uint64_t us = 42;

		cr_expect_eq(duration_parse("--timeout", table[i], &us, &why), -ERANGE, "\"%s\"", table[i]);
		cr_expect_eq(us, 42u);
	}
}

struct sample {
	uint64_t value;
	const char *text;
};

static void expect_all(const char *(*format)(char *, size_t, uint64_t), const struct sample *samples, size_t n)
{
	char buf[FORMAT_MAX];

	for (size_t i = 0; i < n; i++)
		cr_expect_str_eq(format(buf, sizeof(buf), samples[i].value), samples[i].text);
}

#define EXPECT_ALL(format, ...)                                                       \
	do {                                                                          \
		static const struct sample samples[] = { __VA_ARGS__ };               \
		expect_all(format, samples, sizeof(samples) / sizeof(samples[0]));    \
	} while (0)

Test(format, pauses_are_told_in_milliseconds)
{
	EXPECT_ALL(format_time, { 0, "0 us" }, { 870, "870 us" }, { 1000, "1.00 ms" }, { 9999, "9.99 ms" }, { 12400, "12.4 ms" },
		   { 99999, "99.9 ms" }, { 100000, "100 ms" }, { 1204999, "1.20 s" },
		   { 59999999, "59.9 s" }, { 123000000, "2min 3s" },
		   { UINT64_MAX, "213503982d 8h" });
}

Test(format, elapsed_time_has_three_decimals)
{
	EXPECT_ALL(format_elapsed, { 0, "0.000s" }, { 999, "0.000s" }, { 12345, "0.012s" }, { 61000000, "61.000s" },
		   { UINT64_MAX, "18446744073709.551s" });
}

Test(format, ages_have_at_most_two_units)
{
	EXPECT_ALL(format_age, { 0, "0us" }, { 999, "999us" }, { 300000, "300ms" }, { 4500000, "4.5s" }, { 5000000, "5s" },
		   { 59999999, "59s" }, { 60000000, "1min" }, { 123000000, "2min 3s" }, { UINT64_C(3600000000), "1h" },
		   { UINT64_C(3660000000), "1h 1min" }, { UINT64_C(273600000000), "3d 4h" },
		   { UINT64_MAX, "213503982d 8h" });
}

Test(format, bytes_have_binary_units)
{
	EXPECT_ALL(format_bytes, { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1536, "1.5 KiB" },
		   { 10240, "10 KiB" }, { 1048575, "1023 KiB" }, { 1048576, "1.0 MiB" }, { 246415360, "235 MiB" },
		   { UINT64_C(1) << 30, "1.0 GiB" }, { UINT64_C(1) << 40, "1.0 TiB" }, { UINT64_MAX, "15 EiB" });
}

Test(format, counts_have_their_thousands_apart)
{
	EXPECT_ALL(format_count, { 0, "0" }, { 999, "999" }, { 1000, "1,000" }, { 1000000, "1,000,000" },
		   { UINT64_MAX, "18,446,744,073,709,551,615" });
}

Test(format, never_writes_past_a_small_buffer)
{
	const char *(*const formats[])(char *, size_t, uint64_t) = {
		format_time, format_elapsed, format_age, format_bytes, format_count,
	};

	for (size_t f = 0; f < sizeof(formats) / sizeof(formats[0]); f++)
		for (size_t size = 1; size < 8; size++) {
			char buf[8];

			memset(buf, '#', sizeof(buf));
			formats[f](buf, size, UINT64_MAX);
			cr_expect_lt(strnlen(buf, size), size);
			cr_expect_eq(buf[size], '#');
		}
}
