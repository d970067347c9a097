/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/carried.h"

#include "supervisor/custody/carried.h"
#include "supervisor/process/carried.h"
#include "supervisor/roll/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reports ---- */

int roll_report_put(const struct roll_report *report, struct roll_report_packed *ret)
{
	struct roll_report_texts texts;
	Upgraded__Wire__RollReport told;

	*ret = (struct roll_report_packed){ .told = NULL };
	upgraded__carry__report__init(&ret->report);
	roll_report_tell(report, &texts, &told);
	ret->told = malloc(upgraded__wire__roll_report__get_packed_size(&told) + 1);
	if (!ret->told)
		return -ENOMEM;
	ret->report.told.len = upgraded__wire__roll_report__pack(&told, ret->told);
	ret->report.told.data = ret->told;
	ret->report.outcome = report->outcome;
	ret->report.rungs = report->rungs;
	ret->report.image_missed = wire_text(report->image_missed.text);
	ret->report.started_s = report->started_s;
	return 0;
}

void roll_report_packed_done(struct roll_report_packed *packed)
{
	free(packed->told);
	packed->told = NULL;
}

static void take_text(struct why *ret, const char *text)
{
	snprintf(ret->text, sizeof(ret->text), "%s", text);
}

static void take_names(struct roll_names *ret, char *const *texts, size_t n)
{
	ret->n = n < ROLL_NAMES_MAX ? (unsigned)n : ROLL_NAMES_MAX;
	for (unsigned i = 0; i < ret->n; i++)
		snprintf(ret->text[i], sizeof(ret->text[i]), "%s", texts[i]);
}

static void take_skipped(struct roll_skipped *ret, char *const *texts, size_t n)
{
	const size_t most = sizeof(ret->text) / sizeof(ret->text[0]);

	ret->n = (unsigned)(n < most ? n : most);
	for (unsigned i = 0; i < ret->n; i++)
		snprintf(ret->text[i], sizeof(ret->text[i]), "%s", texts[i]);
}

/* Numbers and flags; texts stand elsewhere in a report, and are not to be borrowed. */
static void take_numbers(Upgraded__Wire__RollReport *ret, const Upgraded__Wire__RollReport *told)
{
	Upgraded__Wire__RollReport none = UPGRADED__WIRE__ROLL_REPORT__INIT;

	*ret = *told;
	ret->base = none.base;
	ret->from = none.from;
	ret->to = none.to;
	ret->outcome = none.outcome;
	ret->way_back = none.way_back;
	ret->cause = none.cause;
	ret->waited_for = none.waited_for;
	ret->way_note = none.way_note;
	ret->journal_note = none.journal_note;
	ret->started = none.started;
	ret->asked_by = NULL;
	ret->n_log_lines = ret->n_missed = ret->n_left = ret->n_skipped = 0;
	ret->log_lines = ret->missed = ret->left = ret->skipped = NULL;
}

int roll_report_take(const Upgraded__Carry__Report *left, struct roll_report *ret)
{
	Upgraded__Wire__RollReport *told = upgraded__wire__roll_report__unpack(NULL, left->told.len, left->told.data);

	if (!told)
		return -EBADMSG;
	roll_report_init(ret, told->from, told->to);
	take_numbers(&ret->wire, told);
	ret->outcome = (enum roll_outcome)left->outcome;
	ret->rungs = left->rungs;
	ret->started_s = left->started_s;
	ret->id = told->id;
	who_take(told->asked_by, &ret->asked_by);
	take_text(&ret->cause, told->cause);
	take_text(&ret->waited_for, told->waited_for);
	take_text(&ret->image_missed, left->image_missed);
	take_text(&ret->journal_note, told->journal_note);
	take_text(&ret->way_note, told->way_note);
	take_names(&ret->missed, told->missed, told->n_missed);
	take_names(&ret->left, told->left, told->n_left);
	take_skipped(&ret->skipped, told->skipped, told->n_skipped);
	for (size_t i = 0; i < told->n_log_lines; i++)
		lines_put(&ret->lines, told->log_lines[i], strlen(told->log_lines[i]));
	upgraded__wire__roll_report__free_unpacked(told, NULL);
	return 0;
}

/* ---- left ---- */

bool roll_may_be_left(const struct roll *roll)
{
	/* A wish waits for something; an acceptance by order waits for a sign of life only. */
	return roll->record.state == ROLL_BAKE && !image_job_busy(&roll->image_job) && !roll->n_queue && !roll->stepping &&
	       (roll->record.wish == WISH_NONE || roll->record.wish == WISH_ACCEPT);
}

void roll_hold_still(struct roll *roll)
{
	health_stop(&roll->health);
}

void roll_go_on(struct roll *roll)
{
	roll_watch_bake(roll); /* where Bake= is over, that is heard again */
	if (roll->record.wish == WISH_ACCEPT)
		health_conclude(&roll->health, true);
}

static void fill_record(const struct roll_record *record, Upgraded__Carry__Roll *left)
{
	left->generation = record->generation;
	left->from = wire_text(record->from);
	left->to = wire_text(record->to);
	left->purpose = record->purpose;
	left->old_is = record->old;
	left->wish = record->wish;
	left->trust = record->trust;
	left->image = record->image;
	left->journal = record->journal;
	left->stands_alone = record->stands_alone;
	left->misses = record->misses;
	left->prepared_us = record->prepared_us;
	left->stops_us = record->stops_us;
	left->settles_us = record->settles_us;
	left->commit_us = record->commit_us;
}

static void fill_rest(const struct roll *roll, struct carry *carry, Upgraded__Carry__Roll *left)
{
	left->service = wire_text(roll->unit->name);
	left->rollback = roll->options.rollback;
	left->verify = roll->options.verify;
	left->bake_us = roll->options.bake_us;
	left->require_image = roll->options.require_image;
	left->begun_us = roll->begun_us;
	left->journal_memory = roll->journal ? carry_hold(carry, roll->journal->fd) : 0;
	left->gaps_note = wire_text(roll->gaps_note.text);
	left->gaps_told = roll->gaps_told;
	left->withheld = roll->n_withheld;
	left->next_tag = roll->next_tag;
	left->lent = roll->n_lent;
	left->answered_before = roll->answered_before;
	left->memory_told = roll->memory_told;
	left->old_dropped = roll->old_dropped;
	left->health_nonce = roll->health.nonce;
	left->health_answered = roll->health.answered_nonce;
	left->unanswered = roll->traffic.unanswered;
	left->answered = roll->traffic.answered;
	left->image_generation = roll_image_generation(roll);
	if (roll->criu_path)
		left->criu_path = wire_text(roll->criu_path);
	left->most_descriptors = roll->custody.most;
}

/* Return: to be freed when it is packed, with what it points to. */
static Upgraded__Carry__Pin *put_pins(const struct roll *roll, struct carry *carry, Upgraded__Carry__Roll *left)
{
	const struct image_pins *pins = roll->image ? &roll->image->pins : NULL;
	size_t n = pins ? pins->n : 0;
	Upgraded__Carry__Pin *each = calloc(n + 1, sizeof(*each) + sizeof(Upgraded__Carry__Pin *));

	if (!each) {
		carry_fail(carry, -ENOMEM);
		return NULL;
	}
	left->pins = (Upgraded__Carry__Pin **)(each + n + 1);
	for (size_t i = 0; i < n; i++) {
		Upgraded__Carry__Pin *pin = &each[left->n_pins];

		if (!pins->pins[i].is_held || pins->pins[i].fd < 0)
			continue;
		upgraded__carry__pin__init(pin);
		pin->path = pins->pins[i].path;
		pin->descriptor = carry_hold(carry, pins->pins[i].fd);
		left->pins[left->n_pins++] = pin;
	}
	return each;
}

void roll_put(struct roll *roll, struct carry *carry)
{
	Upgraded__Carry__Roll left = UPGRADED__CARRY__ROLL__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;
	Upgraded__Carry__Sample sample;
	struct roll_report_packed report;
	struct fd_names_packed handed;
	Upgraded__Carry__Pin *pins;
	void *numbers;
	char *text = NULL;

	left.old_id = carried_put(roll->old, carry);
	left.new_id = carried_put(roll->new, carry);
	fill_record(&roll->record, &left);
	fill_rest(roll, carry, &left);
	if (roll->unit_before && unit_text(roll->unit_before, &text) == 0) {
		left.unit_before_path = roll->unit_before->path;
		left.unit_before_text = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
	}
	pins = put_pins(roll, carry, &left);
	fd_names_put(&roll->handed, &handed);
	left.handed = &handed.names;
	numbers = conn_sample_put(&roll->before, &sample);
	left.sample = &sample;
	if (roll_report_put(&roll->report, &report) < 0 || (roll->before.n && !numbers))
		carry_fail(carry, -ENOMEM);
	left.report = &report.report;
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_ROLL;
	item.roll = &left;
	carry_put(carry, &item);
	custody_put(&roll->custody, carry);
	roll_report_packed_done(&report);
	fd_names_packed_done(&handed);
	free(numbers);
	free(pins);
	free(text);
}

/* ---- and taken ---- */

static void take_record(const Upgraded__Carry__Roll *left, struct roll_record *ret)
{
	*ret = (struct roll_record){ .generation = left->generation,
				     .purpose = (enum roll_purpose)left->purpose,
				     .state = ROLL_BAKE,
				     .old = (enum roll_old)left->old_is,
				     .wish = (enum roll_wish)left->wish,
				     .trust = (enum roll_trust)left->trust,
				     .image = (enum roll_image)left->image,
				     .journal = (enum roll_journal)left->journal,
				     .stands_alone = left->stands_alone,
				     .misses = left->misses,
				     .prepared_us = left->prepared_us,
				     .stops_us = left->stops_us,
				     .settles_us = left->settles_us,
				     .commit_us = left->commit_us };
	snprintf(ret->from, sizeof(ret->from), "%s", left->from);
	snprintf(ret->to, sizeof(ret->to), "%s", left->to);
}

static void take_rest(struct roll *roll, const Upgraded__Carry__Roll *left)
{
	roll->options = (struct roll_options){ .version = roll->record.to,
					       .rollback = (enum unit_rollback)left->rollback,
					       .verify = (enum unit_verify)left->verify,
					       .bake_us = left->bake_us,
					       .generation = left->generation,
					       .purpose = roll->record.purpose,
					       .require_image = left->require_image };
	roll->begun_us = left->begun_us;
	take_text(&roll->gaps_note, left->gaps_note);
	roll->gaps_told = left->gaps_told;
	roll->n_withheld = left->withheld;
	roll->next_tag = left->next_tag;
	roll->n_lent = left->lent;
	roll->answered_before = left->answered_before;
	roll->memory_told = left->memory_told;
	roll->old_dropped = left->old_dropped;
	roll->health.nonce = left->health_nonce;
	roll->health.answered_nonce = left->health_answered;
	roll->traffic.unanswered = left->unanswered;
	roll->traffic.answered = left->answered;
	roll->custody.most = left->most_descriptors;
}

static int take_journal(struct roll *roll, struct carry *carry, const Upgraded__Carry__Roll *left, struct why *why)
{
	int fd;

	if (!left->journal_memory)
		return 0;
	if (carry_is_found(carry)) {
		roll->record.journal = JOURNAL_LOST;
		roll->report.wire.journal = false;
		(void)why_set(&roll->report.journal_note, 0,
			      "upgraded was ended during the bake: what version %s opened since is not known", roll->record.to);
		return 0;
	}
	fd = carry_take(carry, left->journal_memory);
	if (fd < 0)
		return why_set(why, -EBADMSG, "the journal's memory is gone");
	roll->journal = fd_ref_new(fd);
	return roll->journal ? 0 : why_errno(why, -ENOMEM, "journal");
}

/* The very files that it needs, wherever they lie by now. */
static void take_pins(struct roll *roll, struct carry *carry, const Upgraded__Carry__Roll *left)
{
	for (size_t i = 0; i < left->n_pins; i++) {
		struct image_pin *pin = pins_find(&roll->image->pins, left->pins[i]->path);

		if (pin && pin->is_held && pin->fd < 0)
			pin->fd = carry_take(carry, left->pins[i]->descriptor);
	}
}

static void take_image(struct roll *roll, struct carry *carry, const Upgraded__Carry__Roll *left)
{
	struct why why = { 0 };

	roll->criu_path = *left->criu_path ? roll->site->criu_path : NULL;
	if (!left->image_generation)
		return;
	if (carry_is_found(carry)) {
		roll->record.image = IMAGE_SPENT;
		roll_rungs_changed(roll);
		return;
	}
	if (image_load(roll->site->images_root, roll->unit->name, left->image_generation, &roll->image, &why) == 0) {
		take_pins(roll, carry, left);
		return;
	}
	roll->record.image = IMAGE_SPENT;
	roll_rungs_changed(roll);
	roll_lost_rung(roll, NULL, "the image %llu cannot be read any more: %s", (unsigned long long)left->image_generation,
		       why.text);
}

static int take_parts(struct roll *roll, struct carry *carry, const Upgraded__Carry__Item *item, struct why *why)
{
	const Upgraded__Carry__Roll *left = item->roll;
	int r = roll_report_take(left->report, &roll->report);

	if (r == 0)
		r = fd_names_take(left->handed, &roll->handed);
	if (r == 0)
		r = conn_sample_take(left->sample, &roll->before);
	if (r < 0)
		return why_errno(why, r, "the report of its roll");
	r = take_journal(roll, carry, left, why);
	return r < 0 ? r : custody_take_left(&roll->custody, carry, item, why);
}

/* What old was started with, if it is not there any more itself. */
static struct unit *unit_before(const Upgraded__Carry__Roll *left)
{
	const ProtobufCBinaryData *text = &left->unit_before_text;
	struct unit *unit = NULL;
	struct why why = { 0 };

	if (text->len && unit_parse_bytes(left->service, left->unit_before_path, text->data, text->len, &unit, &why) < 0)
		log_service(WARNING, left->service, "what version %s was started with: %s", left->from, why.text);
	return unit;
}

int roll_take_left(struct roll_site *site, struct carry *carry, const Upgraded__Carry__Item *item, struct instance *old,
		   struct instance *new, const struct roll_events *events, void *owner, struct roll **ret_roll, struct why *why)
{
	const Upgraded__Carry__Roll *left = item->roll;
	struct roll *roll;
	int r;

	if (!left->report || !left->handed || !left->sample || !new)
		return why_set(why, -EBADMSG, "%s: of its roll not all is there", left->service);
	roll = calloc(1, sizeof(*roll));
	if (!roll)
		return why_errno(why, -ENOMEM, "roll");
	roll->site = site;
	roll->unit = unit_ref(new->unit);
	roll->unit_before = old ? unit_ref(old->unit) : unit_before(left);
	roll->events = events;
	roll->owner = owner;
	roll->lent_channel = roll->lent_log = -1;
	image_job_init(&roll->image_job, roll);
	roll->image_job.sums.graveyard = site->graveyard;
	take_record(left, &roll->record);
	take_rest(roll, left);
	r = take_parts(roll, carry, item, why);
	if (r < 0) {
		if (carry_is_found(carry))
			roll_free(roll);
		return why_prefix(why, r, "%s", left->service);
	}
	roll->old = old;
	roll->new = new;
	roll->record.moves_nothing = !instance_can(new, INSTANCE_CAN_MOVE);
	if (old)
		instance_own(old, &roll_old_events, roll);
	instance_own(new, &roll_new_events, roll);
	*ret_roll = roll;
	take_image(roll, carry, left);
	roll_watch_bake(roll);
	roll_watch_connections(roll);
	if (roll->record.wish == WISH_ACCEPT)
		health_conclude(&roll->health, true);
	roll_tell_bake(roll, true);
	return 0;
}
