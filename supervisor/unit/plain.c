/* SPDX-License-Identifier: MIT */
/* Kind=plain: services whose programs know nothing of upgraded. */
#include "supervisor/unit/private.h"

#include "base/why.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

bool unit_kind_parse(const char *text, enum unit_kind *ret)
{
	bool plain = strcmp(text, "plain") == 0;

	if (!plain && strcmp(text, "library") != 0)
		return false;
	*ret = plain ? UNIT_PLAIN : UNIT_LIBRARY;
	return true;
}

static const char *const ready_words[] = {
	[READY_NOTIFY] = "notify", [READY_ACCEPTS] = "accepts", [READY_HEALTH] = "health", [READY_STARTED] = "started"
};

const char *unit_ready_name(enum unit_ready ready)
{
	return ready_words[ready];
}

bool unit_ready_parse(const char *text, enum unit_ready *ret)
{
	for (int i = READY_NOTIFY; i <= READY_STARTED; i++) {
		if (strcmp(text, ready_words[i]) == 0) {
			*ret = (enum unit_ready)i;
			return true;
		}
	}
	return false;
}

/* Those that a program can take as a word to end; the others kill it, or are the kernel's. */
static const struct {
	const char *name;
	int signal;
} signals[] = {
	{ "SIGTERM", SIGTERM }, { "SIGQUIT", SIGQUIT }, { "SIGINT", SIGINT },	    { "SIGHUP", SIGHUP },
	{ "SIGUSR1", SIGUSR1 }, { "SIGUSR2", SIGUSR2 }, { "SIGWINCH", SIGWINCH },
};

const char *unit_signal_name(int signal)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (signals[i].signal == signal)
			return signals[i].name;
	return signal == SIGKILL ? "SIGKILL" : "a signal";
}

bool unit_signal_parse(const char *text, int *ret)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		if (strcmp(text, signals[i].name) == 0 || strcmp(text, signals[i].name + 3) == 0) {
			*ret = signals[i].signal;
			return true;
		}
	}
	return false;
}

/* What is about state, connections or an image: no such thing moves. */
static const char *const of_library[] = { "QuiesceTimeout", "ChildTimeout", "TransferTimeout", "ImageTimeout", "ImagesKeep",
					  "ImagesMaxAge", "ImagesMaxSize", "OnDirtyConnection", "OtherReaders", "Journal",
					  "JournalSize", "StateRecordMax", "StateTypesMax", "StateMax", "Verify", "RequireImage",
					  "QuiesceLevel", "HealthAnswers", "MemoryLow", "MemoryPressure" };
static const char *const of_plain[] = { "Ready", "DrainTimeout", "Watchdog" };

static int refuse(const struct unit *unit, const char *const keys[], size_t n, const char *because, struct why *why)
{
	for (size_t i = 0; i < n; i++)
		if (unit_names(unit, keys[i]))
			return why_set(why, -EINVAL, "%s: %s= %s", unit->path, keys[i], because);
	return 0;
}

int unit_plain_settle(struct unit *unit, struct why *why)
{
	if (unit->kind != UNIT_PLAIN)
		return refuse(unit, of_plain, sizeof(of_plain) / sizeof(of_plain[0]), "is of Kind=plain alone", why);
	if (refuse(unit, of_library, sizeof(of_library) / sizeof(of_library[0]),
		   "has no sense with Kind=plain: no state and no connections move", why) < 0)
		return -EINVAL;
	if (unit->rollback == ROLLBACK_IMAGE)
		return why_set(why, -EINVAL, "%s: Rollback=image has no sense with Kind=plain: the version before keeps running, "
			       "and is the way back", unit->path);
	if (unit->ready == READY_HEALTH && !unit->n_checks)
		return why_set(why, -EINVAL, "%s: Ready=health needs a HealthCommand=, HealthHTTP= or HealthTCP=", unit->path);
	if (unit->ready == READY_ACCEPTS && !unit->n_listens)
		return why_set(why, -EINVAL, "%s: Ready=accepts needs a Listen=", unit->path);
	/* There is no image, and the old version is no parked one that could leave memory. */
	if (unit->rollback == ROLLBACK_AUTO)
		unit->rollback = ROLLBACK_PARKED;
	unit->memory_low_bytes = 0;
	unit->memory_pressure_percent = 0;
	unit->health_answers = false;
	/* Workers of a program that was killed would go on accepting. */
	if (!unit_names(unit, "Children"))
		unit->children = CHILDREN_END;
	if (unit->watchdog_us && !unit->heartbeat_us)
		unit->heartbeat_us = unit->watchdog_us / 2 ? unit->watchdog_us / 2 : 1;
	return 0;
}
