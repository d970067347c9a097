/* SPDX-License-Identifier: MIT */
/* Which services there are, going by a folder of service files. */
#include "supervisor/service/registry.h"

#include "tests/supervisor/asked.h"

#include <errno.h>

static struct place place;

static void set_up(void)
{
	place_open(&place);
}

static void tear_down(void)
{
	place_close(&place);
}

TestSuite(registry, .timeout = 20, .init = set_up, .fini = tear_down);

static const char *names(void)
{
	static char list[256];
	size_t used = 0;

	*list = 0;
	for (struct service *s = registry_next(&place.registry, NULL); s; s = registry_next(&place.registry, s))
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? " " : "", service_name(s));
	return list;
}

static void scan(void)
{
	struct why why = { 0 };

	cr_assert_eq(registry_scan(&place.registry, &why), 0, "%s", why.text);
}

Test(registry, is_empty_without_service_files)
{
	scan();
	cr_assert_str_eq(names(), "");
}

Test(registry, lists_services_in_the_order_of_their_names)
{
	place_write(&place, "web.conf", "");
	place_write(&place, "cache.conf", "");
	place_write(&place, "web-2.conf", "");
	place_write(&place, "db.conf", "");
	scan();
	cr_assert_str_eq(names(), "cache db web web-2");
	scan();
	cr_assert_str_eq(names(), "cache db web web-2", "known twice");
}

Test(registry, takes_no_other_files_for_services)
{
	char name[UNIT_NAME_MAX + 16];

	place_write(&place, "web.conf", "");
	place_write(&place, ".conf", "");
	place_write(&place, ".web.conf", "");
	place_write(&place, "web.conf~", "");
	place_write(&place, "web", "");
	place_write(&place, "a b.conf", "");
	memset(name, 'x', sizeof(name));
	snprintf(name + UNIT_NAME_MAX + 1, sizeof(name) - UNIT_NAME_MAX - 1, "%s", UNIT_SUFFIX);
	place_write(&place, name, "");
	snprintf(name + UNIT_NAME_MAX, sizeof(name) - UNIT_NAME_MAX, "%s", UNIT_SUFFIX);
	place_write(&place, name, "");
	scan();
	name[UNIT_NAME_MAX] = 0;
	cr_assert_str_eq(service_name(registry_next(&place.registry, registry_known(&place.registry, "web"))), name);
	cr_assert_str_eq(service_name(registry_next(&place.registry, NULL)), "web");
	cr_assert_null(registry_next(&place.registry, registry_known(&place.registry, name)));
}

Test(registry, forgets_a_service_whose_file_was_removed)
{
	place_write(&place, "web.conf", "");
	place_write(&place, "cache.conf", "");
	place_write(&place, "db.conf", "");
	scan();
	place_remove(&place, "web.conf");
	place_remove(&place, "cache.conf");
	scan();
	cr_assert_str_eq(names(), "db");
}

Test(registry, finds_a_service_that_was_added_since_the_last_scan)
{
	struct service *web;

	place_write(&place, "web.conf", "not looked at until it is started");
	cr_assert_null(registry_known(&place.registry, "web"));
	web = registry_find(&place.registry, "web", NULL);
	cr_assert(web && service_is_idle(web));
	cr_assert_str_eq(service_name(web), "web");
	cr_assert_eq(registry_find(&place.registry, "web", NULL), web);
	cr_assert_eq(registry_known(&place.registry, "web"), web);
}

Test(registry, says_why_there_is_no_such_service)
{
	static const char *const bad[] = { "", ".", "..", ".web", "a/b", "../web", "web\n", "w\xc3\xa4" };
	struct why why = { 0 };

	cr_assert_null(registry_find(&place.registry, "web", &why));
	cr_assert(strstr(why.text, "/conf/web.conf: No such file"), "%s", why.text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		*why.text = 0;
		cr_assert_null(registry_find(&place.registry, bad[i], &why));
		cr_assert(*why.text && !strstr(why.text, "No such file"), "'%s': %s", bad[i], why.text);
	}
	cr_assert_str_eq(names(), "");
}

Test(registry, says_why_the_folder_cannot_be_read)
{
	struct why why = { 0 };

	cr_assert_eq(rmdir(place.config_dir), 0);
	cr_assert_eq(registry_scan(&place.registry, &why), -ENOENT);
	cr_assert(strstr(why.text, place.config_dir), "%s", why.text);
}

Test(registry, gives_rolls_a_criu_only_if_it_works)
{
	struct why works = { .text = "criu 4.0" }, not = { .text = "no such program" };

	place.registry.criu_path = "/usr/sbin/criu";
	registry_set_criu(&place.registry, true, &works);
	cr_assert_str_eq(place.registry.host.site.criu_path, "/usr/sbin/criu");
	cr_assert_str_eq(place.registry.host.criu_detail->text, "criu 4.0");
	registry_set_criu(&place.registry, false, &not);
	cr_assert_null(place.registry.host.site.criu_path);
	cr_assert_str_eq(place.registry.host.criu_detail->text, "no such program");
}
