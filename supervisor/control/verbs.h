/* SPDX-License-Identifier: MIT */
/* What can be asked over the control socket: each verb is a row of one table, with what it needs and who does it. */
#pragma once

#include "wire/wire.h"

#include <stdbool.h>

struct asker;
struct registry;
struct request;
struct service;

/* Work that ends when its client goes. Embedded in the object that does it. */
struct errand {
	void (*free)(struct errand *errand);
};

/** errand_is_self() - Does this client wait for another program that takes our place? @errand: NULL is allowed. */
bool errand_is_self(const struct errand *errand);

/* A request that was found fit, on its way to who does it. Borrowed for the call. */
struct verb_call {
	struct registry *registry;
	struct service *service; /* NULL: none was named, or the verb does not want one that exists */
	const struct request *request;
	struct wire_fds *fds;    /* claim what is wanted */
	struct asker *asker;     /* lives until its one answer, or until it is forgotten */
};

enum verb_service {
	VERB_NO_SERVICE,       /* none is looked at */
	VERB_SERVICE,          /* one that exists */
	VERB_SERVICE_OR_ALL,   /* the same, or none */
	VERB_NAME,             /* a name; what is asked about may be left of a service that is gone */
	VERB_NAME_OR_ALL,      /* the same, or none, but not with a generation */
};

enum verb_file {
	VERB_NO_FILE,
	VERB_FILE,             /* a descriptor comes along */
	VERB_FILE_IF_SAID,     /* ... if the request says from_file */
};

struct verb {
	const char *name; /* as upgradectl's first word */
	enum verb_service service;
	enum verb_file file;
	const char *no_file; /* what is told if it is missing */
	bool orders; /* changes something: who asks for it stands in the log */
	bool needs_version;
	bool begins; /* something that takes a while: not while upgraded is about to leave its services */
	bool takes_rollback, takes_verify, takes_way, takes_again; /* looked at; otherwise they are ignored */
	/* Answers the asker once, perhaps before it returns. Return: what goes on for the client alone; NULL: nothing. */
	struct errand *(*run)(const struct verb_call *call);
};

/** verb_find() - Return: the row of @number; NULL: there is no such verb. */
const struct verb *verb_find(int number);

/** verb_next() - For whoever goes through them: the one after @verb; NULL: the first. Return: NULL: that was the last. */
const struct verb *verb_next(const struct verb *verb);

/**
 * verbs_run() - Do what a request asks for.
 * @wire:  as it came; borrowed for the call.
 * @fds:   those that came along.
 * @asker: gets its one answer, perhaps before this returns.
 *
 * Return: what goes on for the client alone, to be freed when it goes; NULL: nothing.
 */
struct errand *verbs_run(struct registry *registry, const Upgraded__Wire__Request *wire, struct wire_fds *fds,
			 struct asker *asker);
