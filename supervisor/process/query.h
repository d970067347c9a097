/* SPDX-License-Identifier: MIT */
/* How many descriptors has a process registered? Its library counts them and answers at once, wherever it waits for the channel. */
#pragma once

#include <stdbool.h>

struct instance;

/* Somebody who wants to know. Embedded in the object that does. */
struct query {
	struct instance *of; /* NULL: nothing is waited for */
	struct query *next;  /* of the same process */
	void (*on_told)(struct query *query); /* it has answered, or will not any more: instance_registered() */
};

/** query_ask() - Ask @instance, unless it has a question already whose answer is waited for. It serves, and no Prepare was sent
 * that it has not answered: while state is under way, any message calls that off. */
void query_ask(struct query *query, struct instance *instance);

/** query_forget() - Nobody wants to know any more. Also fine when nothing is waited for. */
void query_forget(struct query *query);

/** query_told() - @instance has answered, or cannot any more: whoever waits is told. */
void query_told(struct instance *instance);
