/* SPDX-License-Identifier: MIT */
/*
 * main() of the sanitized unit tests, in place of Criterion's own. Criterion 2.4.1's runner loses a little memory of its own
 * when it runs tests side by side, and LeakSanitizer then fails a run in which every test passed. A suppression by the
 * library's name would not do: each test is called from within it, so leaks of ours would be hidden too. What is
 * switched off here is the runner's main thread alone: tests run in processes that never come through this function.
 */
#include <criterion/criterion.h>
#include <sanitizer/lsan_interface.h>

int main(int argc, char *argv[])
{
	struct criterion_test_set *tests;
	int failed = 0;

	__lsan_disable();
	tests = criterion_initialize();
	if (criterion_handle_args(argc, argv, true))
		failed = !criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return failed;
}
