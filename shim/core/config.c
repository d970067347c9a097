/* SPDX-License-Identifier: MIT */
#include "shim/core/config.h"

#include "base/why.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))
/* Of 1.0: what every header has had. */
#define CONFIG_MIN END_OF(struct upg_config, volatile_fields)
#define TYPE_MIN END_OF(struct upg_type, record_max)
#define MIGRATION_MIN END_OF(struct upg_migration, migrate)

static bool is_zero(const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

/* @n structs of @from_bytes each become as many of @to_bytes. Return: 0; -E2BIG: what would be cut off says something. */
static int copy_all(void *to, size_t to_bytes, const void *from, size_t from_bytes, size_t n)
{
	size_t common = to_bytes < from_bytes ? to_bytes : from_bytes;

	for (size_t i = 0; i < n; i++) {
		const unsigned char *one = (const unsigned char *)from + i * from_bytes;

		memcpy((unsigned char *)to + i * to_bytes, one, common);
		if (!is_zero(one + common, from_bytes - common))
			return -E2BIG;
	}
	return 0;
}

static int copy_told(struct config *config, const struct upg_config *told, const struct upg_sizes *bytes)
{
	struct upg_config *own = &config->told;
	int r = copy_all(own, sizeof(*own), told, bytes->config_bytes, 1);

	if (r < 0)
		return r;
	config->types = calloc(own->n_types + 1, sizeof(*config->types));
	config->migrations = calloc(own->n_migrations + 1, sizeof(*config->migrations));
	if (!config->types || !config->migrations)
		return -ENOMEM;
	r = copy_all(config->types, sizeof(*config->types), own->types, bytes->type_bytes, own->n_types);
	if (r == 0)
		r = copy_all(config->migrations, sizeof(*config->migrations), own->migrations, bytes->migration_bytes,
			     own->n_migrations);
	own->types = config->types;
	own->migrations = config->migrations;
	return r;
}

int config_init(struct config *config, const struct upg_config *told, const struct upg_sizes *bytes, struct why *why)
{
	int r;

	if (bytes->config_bytes < CONFIG_MIN || bytes->type_bytes < TYPE_MIN || bytes->migration_bytes < MIGRATION_MIN)
		return why_set(why, -EINVAL, "upg_open: a struct is shorter than in any version of <upgrade.h>");
	r = copy_told(config, told, bytes);
	if (r == -E2BIG)
		return why_set(why, r,
			       "upg_open: the program uses what libupgrade %s does not know: install the one it was compiled with",
			       upg_version());
	return r;
}

void config_done(struct config *config)
{
	free(config->types);
	free(config->migrations);
}
