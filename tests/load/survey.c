/* SPDX-License-Identifier: MIT */
/* After a crash: open a reset connection again, read what its keys hold, and see whether that is a state its server may have
 * gone back to (tests/load/journal.h). */
#include "tests/load/conn.h"

#include "tests/load/util.h"

#include <stdio.h>
#include <stdlib.h>

void conn_survey_begin(struct conn *conn)
{
	conn->journal = conn->ops;
	conn->ops = (struct op_queue){ 0 };
	conn->observed = mem_new(conn->model.n_keys * sizeof(struct value *));
	conn->observed_cas = mem_new(conn->model.n_keys * sizeof(*conn->observed_cas));
	conn->surveyed = true;
	conn->load->surveying++;
	conn_open(conn);
}

void conn_survey_take(struct conn *conn, const struct request *request)
{
	for (size_t i = 0; i < request->n_items; i++) {
		const struct item *item = &request->items[i];

		conn->observed[item->key] = value_ref(item->value);
		conn->observed_cas[item->key] = item->cas;
	}
}

void conn_survey_drop(struct conn *conn)
{
	op_queue_done(&conn->journal);
	for (uint32_t key = 0; conn->observed && key < conn->model.n_keys; key++)
		value_unref(conn->observed[key]);
	free(conn->observed);
	free(conn->observed_cas);
	conn->observed = NULL;
	conn->observed_cas = NULL;
}

static void mismatches_tell(struct conn *conn, const struct step *const *steps, size_t n, struct value *const *final,
			    const struct verdict *verdict)
{
	struct load *load = conn->load;
	char want[480], have[400], text[320];

	for (uint32_t key = 0; key < conn->model.n_keys; key++) {
		struct value *expected = journal_state(steps, n, verdict->prefix, final, key);

		if (value_matches(expected, conn->observed[key]))
			continue;
		snprintf(want, sizeof(want), "after %zu to %zu of %zu operations (best: %zu, %zu keys differ): %s", verdict->min,
			 verdict->max, n, verdict->prefix, verdict->mismatches,
			 value_describe(expected, text, sizeof(text)));
		value_describe(conn->observed[key], text, sizeof(text));
		if (verdict->elsewhere != SIZE_MAX)
			snprintf(have, sizeof(have), "%s; this is the state after %zu operations", text, verdict->elsewhere);
		else
			snprintf(have, sizeof(have), "%s", text);
		stats_wrong(&load->stats, conn->id, key, want, have);
		load->settlement.wrong++;
	}
}

void conn_survey_end(struct conn *conn)
{
	struct load *load = conn->load;
	size_t n = conn->journal.end - conn->journal.start;
	const struct step **steps = mem_new(n * sizeof(const struct step *));
	struct value **final = mem_new(conn->model.n_keys * sizeof(struct value *));
	struct verdict verdict;

	for (size_t i = 0; i < n; i++)
		steps[i] = &conn->journal.ops[conn->journal.start + i]->request.step;
	for (uint32_t key = 0; key < conn->model.n_keys; key++)
		final[key] = conn->model.keys[key].value;
	journal_judge(steps, n, load->settlement.commit_us, final, conn->observed, conn->model.n_keys, &verdict);
	if (verdict.mismatches)
		mismatches_tell(conn, steps, n, final, &verdict);
	else
		load->settlement.reverted += verdict.reverted;
	for (uint32_t key = 0; key < conn->model.n_keys; key++)
		model_adopt(&conn->model, key, conn->observed[key], conn->observed_cas[key]);
	free(final);
	free(steps);
	conn_survey_drop(conn);
	conn->surveyed = false;
	load->surveying--;
	/* What fell due while the connection was away is not made up for. */
	conn->issued = conn->allowed;
}
