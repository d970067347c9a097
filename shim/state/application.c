/* SPDX-License-Identifier: MIT */
#include "shim/state/application.h"

#include "base/why.h"
#include "statefmt/volatile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(const struct upg_config *config)
{
	for (size_t i = 0; i < config->n_types; i++) {
		const struct upg_type *type = &config->types[i];

		if (!type->name || !*type->name || !type->descriptor || type->version < 1 || type->version > UINT16_MAX ||
		    type->record_max > SF_RECORD_BYTES_MAX)
			return -EINVAL;
	}
	for (size_t i = 0; i < config->n_migrations; i++) {
		const struct upg_migration *m = &config->migrations[i];

		if (!m->type || !m->from_descriptor || !m->to_descriptor || !m->migrate || m->from == m->to)
			return -EINVAL;
	}
	return 0;
}

static int migrate_by_application(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const struct upg_migration *migration = arg;

	/* struct upg_step is the public name of struct sf_step: upg_step_alloc() casts it back. */
	return migration->migrate((struct upg_step *)(void *)step, from, to);
}

int application_init(struct application *application, const struct upg_config *config)
{
	int r = check(config);

	*application = (struct application){ .config = config };
	if (r < 0)
		return r;
	application->schemas = calloc(config->n_types + 1, sizeof(*application->schemas));
	application->migrations = calloc(config->n_migrations + 1, sizeof(*application->migrations));
	if (!application->schemas || !application->migrations)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_types; i++) {
		const struct upg_type *type = &config->types[i];

		application->schemas[i] = (struct sf_schema){
			.name = type->name,
			.version = type->version,
			.descriptor = type->descriptor,
			.fingerprint = sf_fingerprint(type->descriptor),
			.record_bytes = type->record_max,
		};
	}
	for (size_t i = 0; i < config->n_migrations; i++) {
		const struct upg_migration *m = &config->migrations[i];

		application->migrations[i] = (struct sf_migration){
			.type = m->type,
			.from = m->from,
			.to = m->to,
			.from_descriptor = m->from_descriptor,
			.to_descriptor = m->to_descriptor,
			.migrate = migrate_by_application,
			.arg = (void *)(uintptr_t)m,
			.context = (void *)(uintptr_t)config,
		};
	}
	return 0;
}

void application_done(struct application *application)
{
	free(application->migrations);
	free(application->schemas);
	*application = (struct application){ 0 };
}

const struct upg_type *application_type(const struct application *application, const char *name)
{
	const struct upg_config *config = application->config;

	/* Nearly always the very string of the array of types, so that a look at the pointers is enough. */
	for (size_t i = 0; i < config->n_types; i++)
		if (config->types[i].name == name)
			return &config->types[i];
	for (size_t i = 0; i < config->n_types; i++)
		if (strcmp(config->types[i].name, name) == 0)
			return &config->types[i];
	return NULL;
}

const ProtobufCMessageDescriptor *application_older(const struct application *application, const char *name, uint32_t version)
{
	const struct upg_config *config = application->config;

	for (size_t i = 0; i < config->n_migrations; i++)
		if (strcmp(config->migrations[i].type, name) == 0 && config->migrations[i].to == version)
			return config->migrations[i].to_descriptor;
	return NULL;
}

/* Does any of its messages have that field? A name that nothing has would be looked for in vain, and never found out. */
static bool has_field(const struct upg_config *config, const char *name)
{
	for (size_t i = 0; i < config->n_types; i++)
		if (sf_volatile_names(config->types[i].descriptor, name))
			return true;
	for (size_t i = 0; i < config->n_migrations; i++)
		if (sf_volatile_names(config->migrations[i].from_descriptor, name) ||
		    sf_volatile_names(config->migrations[i].to_descriptor, name))
			return true;
	return false;
}

int application_check_volatile(const struct application *application, struct why *why)
{
	const struct upg_config *config = application->config;

	for (const char *const *name = config->volatile_fields; name && *name; name++)
		if (!has_field(config, *name))
			return why_set(why, -EINVAL, "volatile_fields: no message of the types and migrations has a field \"%s\": "
				       "its full name is PACKAGE.MESSAGE.FIELD", *name);
	return 0;
}

/* ---- what migrations call ---- */

void *upg_step_alloc(struct upg_step *step, size_t size_bytes)
{
	return sf_step_alloc((struct sf_step *)(void *)step, size_bytes);
}

void *upg_step_userdata(const struct upg_step *step)
{
	const struct upg_config *config = sf_step_context((const struct sf_step *)(const void *)step);

	return config ? config->userdata : NULL;
}

int upg_step_fail(struct upg_step *step, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return sf_step_fail((struct sf_step *)(void *)step, "%s", text);
}
