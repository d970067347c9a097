/* SPDX-License-Identifier: MIT */
/* For the tests of what is asked over the control socket: services in a folder of their own, without processes, and an asker that
 * remembers what it was told. */
#pragma once

#include "supervisor/service/asker.h"
#include "supervisor/service/registry.h"

#include "base/base.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A registry whose service files and images lie in a folder of the test's. */
struct place {
	char folder[64], config_dir[96], images_root[96];
	struct graveyard graveyard;
	struct spawner spawner;
	struct registry registry;
};

/* Who asks; what it was told is copied. */
struct asked {
	struct asker asker;
	unsigned answers, progresses;
	enum wire_exit code;
	char text[512], cause[512], next[512], serving[128];
	char services[256]; /* names and states: "a stopped, b failed" */
	size_t n_images, n_checks, n_lines;
};

static inline void place_open(struct place *place)
{
	struct roll_site *site = &place->registry.host.site;

	*place = (struct place){ .folder = "/tmp/upg-test.XXXXXX" };
	cr_assert(mkdtemp(place->folder));
	snprintf(place->config_dir, sizeof(place->config_dir), "%s/conf", place->folder);
	snprintf(place->images_root, sizeof(place->images_root), "%s/images", place->folder);
	cr_assert(mkdir(place->config_dir, 0700) == 0 && mkdir(place->images_root, 0700) == 0);
	cr_assert_eq(loop_new(&site->loop, NULL), 0);
	site->images_root = place->images_root;
	site->graveyard = &place->graveyard;
	site->imaging = &imaging_criu;
	spawner_init(&place->spawner, site->loop);
	place->registry.host.origin = &place->spawner.origin;
	place->registry.host.config_dir = place->config_dir;
	place->registry.work_dir = place->folder;
}

static inline void place_close(struct place *place)
{
	char command[128];

	registry_done(&place->registry);
	graveyard_done(&place->graveyard);
	spawner_done(&place->spawner);
	loop_free(place->registry.host.site.loop);
	snprintf(command, sizeof(command), "rm -rf %s", place->folder);
	cr_assert_eq(system(command), 0);
}

/* @name: of the file in the folder of service files. */
static inline void place_write(const struct place *place, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", place->config_dir, name);
	file = fopen(path, "w");
	cr_assert(file && fputs(text, file) >= 0);
	fclose(file);
}

static inline void place_remove(const struct place *place, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", place->config_dir, name);
	cr_assert_eq(unlink(path), 0);
}

static inline void asked_copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

static inline void asked_take(struct asked *asked, const Upgraded__Wire__Result *result)
{
	size_t used = 0;

	asked->answers++;
	asked->code = (enum wire_exit)result->code;
	asked_copy(asked->text, sizeof(asked->text), result->text);
	asked_copy(asked->cause, sizeof(asked->cause), result->cause);
	asked_copy(asked->next, sizeof(asked->next), result->next);
	asked_copy(asked->serving, sizeof(asked->serving), result->serving);
	*asked->services = 0;
	for (size_t i = 0; i < result->n_services && used < sizeof(asked->services); i++)
		used += (size_t)snprintf(asked->services + used, sizeof(asked->services) - used, "%s%s %s", i ? ", " : "",
					 result->services[i]->name, result->services[i]->state);
	asked->n_images = result->n_images;
	asked->n_checks = result->n_checks;
	asked->n_lines = result->n_log_lines;
}

static inline void asked_on_progress(struct asker *asker, const Upgraded__Wire__Progress *progress)
{
	struct asked *asked = container_of(asker, struct asked, asker);

	(void)progress;
	asked->progresses++;
}

static inline void asked_on_result(struct asker *asker, const Upgraded__Wire__Result *result)
{
	asked_take(container_of(asker, struct asked, asker), result);
}

static inline void asked_init(struct asked *asked)
{
	*asked = (struct asked){ .asker = { .on_progress = asked_on_progress, .on_result = asked_on_result } };
}
