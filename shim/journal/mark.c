/* SPDX-License-Identifier: MIT */
/* Changes that the application marks. */
#include "shim/core/upg.h"
#include "shim/journal/conn.h"
#include "shim/journal/log.h"
#include "shim/state/application.h"

#include "base/why.h"

#include <errno.h>

/* In effect with the request in hand. */
static int add_to_conn(struct journal *journal, struct upg_conn *conn, size_t type, enum upg_change change,
		       const ProtobufCMessage *message, struct why *why)
{
	bool locks = change_ways_migrate(&journal->ways, type);
	int r;

	if (locks)
		pthread_mutex_lock(&journal->lock);
	r = changes_add(&conn->pending, &journal->ways, type, change, message, why);
	if (locks)
		pthread_mutex_unlock(&journal->lock);
	return r;
}

/* Not inline: its frame would be set up also while the journal is off. */
static __attribute__((noinline)) int mark(struct journal *journal, struct upg_conn *conn, const char *type, enum upg_change change,
					  const ProtobufCMessage *message)
{
	const struct upg_type *known = application_type(journal->application, type);
	struct why why;
	size_t index;
	int r;

	/* Not all of it: this is done for each change. */
	why.text[0] = 0;
	if (!known || message->descriptor != known->descriptor)
		return -EINVAL;
	if (change != UPG_PUT && change != UPG_REMOVE)
		return -EINVAL;
	index = (size_t)(known - journal->application->config->types);
	/* What the predecessor does not know it cannot lose. */
	if (!change_ways_lead(&journal->ways, index))
		return 0;
	/* Found on the way back, it would void the whole journal: so it is told now. */
	if (journal->unapplied && journal->unapplied[index]) {
		journal_fail(journal, "the version before has no change() for %s", type);
		return 0;
	}
	if (conn)
		r = add_to_conn(journal, conn, index, change, message, &why);
	else
		r = journal_add_loose(journal, index, change, message, &why);
	if (r < 0)
		journal_fail(journal, "%s", why.text);
	return 0;
}

int upg_changed(struct upg *upg, struct upg_conn *conn, const char *type, enum upg_change change,
		const ProtobufCMessage *message)
{
	/* Acquire: who finds the journal on finds the ways that were made before. */
	if (!atomic_load_explicit(&upg->journal->on, memory_order_acquire))
		return 0;
	return mark(upg->journal, conn, type, change, message);
}
