/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/fake.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fake *fake_of(struct instance *instance)
{
	return container_of(instance, struct fake, instance);
}

/* ---- as every instance ---- */

static void map_word(struct fake *fake, uint64_t generation, const int *fds, size_t n)
{
	if (n < 2) /* a save: there is no commit word */
		return;
	commit_unmap(&fake->word);
	cr_assert_eq(commit_map(&fake->word, fds[0], generation, NULL), 0);
}

static unsigned long long inode_of(int fd)
{
	unsigned long long inode;

	cr_assert_eq(fd_inode(fd, &inode), 0, "a descriptor that is none was sent");
	return inode;
}

/* Where the state goes through: the second descriptor, as a process keeps it. */
static void keep_stream(struct fake *fake, const int *fds, size_t n)
{
	fake->stream = fd_close(fake->stream);
	if (n >= 2)
		fake->stream = fcntl(fds[1], F_DUPFD_CLOEXEC, 0);
}

static void note_given(struct fake *fake, const Upgraded__Wire__Fds *fds)
{
	size_t used = strlen(fake->given);

	for (size_t i = 0; i < fds->n_fds && used < sizeof(fake->given); i++)
		used += (size_t)snprintf(fake->given + used, sizeof(fake->given) - used, "%s%s %llu%s", used ? ", " : "",
					 fds->fds[i]->name, (unsigned long long)fds->fds[i]->tag,
					 fds->fds[i]->optional ? "?" : "");
}

void fake_close_report(struct fake *fake)
{
	if (fake->report > 0)
		fd_close(fake->report);
	fake->report = 0;
}

static void hear_prepare(struct fake *fake, const Upgraded__Wire__Prepare *prepare, const int *fds, size_t n)
{
	fake->question = prepare->question;
	fake->quiesce_deadline_us = prepare->quiesce_deadline_us;
	fake->commit_deadline_us = prepare->commit_deadline_us;
	fake->stands = false;
	fake->n_got = 0;
	if (prepare->checkpoint) {
		cr_assert(prepare->save_only);
		cr_assert_eq(n, 3);
		fake_close_report(fake);
		fake->report = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
		fake->announces = prepare->announce;
		fake->number = prepare->generation;
		return;
	}
	map_word(fake, prepare->generation, fds, n);
	keep_stream(fake, fds, n);
}

static void hear_receive(struct fake *fake, const Upgraded__Wire__Receive *receive, const int *fds, size_t n)
{
	fake->is_heir = receive->held;
	fake->journals = receive->journals;
	if (receive->held) {
		cr_assert_eq(n, (size_t)1 + receive->journals + !!receive->journal + !!receive->in_hand);
		fake->number = receive->generation;
		fake->n_got = 0;
	}
	if (receive->from_file)
		return;
	fake->receive_deadline_us = receive->deadline_us;
	fake->verifies = receive->verify_roundtrip;
	fake->n_got = 0;
	cr_assert_eq(n, (size_t)2 + !!receive->journal + !!receive->in_hand);
	fake->journal_inode = receive->journal ? inode_of(fds[2]) : 0;
	map_word(fake, receive->generation, fds, n);
	keep_stream(fake, fds, n);
}

static void hear_fds(struct fake *fake, const Upgraded__Wire__Fds *message, const int *fds, size_t n)
{
	cr_assert_eq(message->n_fds, n, "%zu descriptors are named, %zu come", message->n_fds, n);
	for (size_t i = 0; i < n; i++) {
		cr_assert_lt(fake->n_got, FAKE_GOT_MAX);
		fake->got[fake->n_got++] = (struct fake_got){ .tag = message->fds[i]->tag, .inode = inode_of(fds[i]),
							      .moved = message->fds[i]->moved };
	}
	fake->got_last = message->last;
	fake->next_tag = message->next_tag;
}

static void hear(struct fake *fake, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE:
		hear_prepare(fake, message->prepare, fds, n);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE:
		hear_receive(fake, message->receive, fds, n);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME:
		fake->n_got = 0;
		cr_assert_eq(n, message->resume->journal ? 1 : 0);
		fake->journal_inode = n ? inode_of(fds[0]) : 0;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		note_given(fake, message->fds);
		hear_fds(fake, message->fds, fds, n);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_LISTENERS:
		cr_assert_eq(message->listeners->count, n, "%u listeners are named, %zu come", message->listeners->count, n);
		cr_assert_eq(message->listeners->n_names, n);
		for (size_t i = 0; i < n; i++) {
			snprintf(fake->listener_names[fake->n_listeners], sizeof(fake->listener_names[0]), "%s",
				 message->listeners->names[i]);
			fake->listeners[fake->n_listeners++] = inode_of(fds[i]);
		}
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_POSTPONED:
		fake->receive_deadline_us = message->postponed->deadline_us;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PING:
		fake->nonce = message->ping->nonce;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
		snprintf(fake->reason, sizeof(fake->reason), "%s", message->abort->reason);
		break;
	default:
		break;
	}
}

static void fake_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds,
		      size_t n)
{
	struct fake *fake = fake_of(instance);
	int numbers[WIRE_FDS_MAX];

	if (fake->deaf)
		return;
	for (size_t i = 0; i < n; i++) {
		numbers[i] = fds[i]->fd;
		cr_assert_geq(numbers[i], 0, "a descriptor that is none was sent");
	}
	if (fake->reads_nothing && message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE)
		fake->prepares_wait++;
	if (fake->n_sent == FAKE_SENT_MAX)
		memmove(fake->sent, fake->sent + 1, --fake->n_sent * sizeof(fake->sent[0]));
	fake->sent[fake->n_sent++] = message->body_case;
	hear(fake, message, numbers, n);
	if (fake->on_heard)
		fake->on_heard(fake, wire_app_name(message));
}

static bool awaits(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what)
{
	return what == UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE && fake_of(instance)->prepares_wait;
}

static bool retract(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what)
{
	bool waited = awaits(instance, what);

	if (waited)
		fake_of(instance)->prepares_wait = 0;
	return waited;
}

static void note_signal(struct instance *instance, int signal)
{
	struct fake *fake = fake_of(instance);

	if (signal == SIGSTOP || signal == SIGCONT)
		fake->stopped = signal == SIGSTOP;
	else if (fake->signal != SIGKILL)
		fake->signal = signal;
	if (fake->on_heard)
		fake->on_heard(fake, signal == SIGKILL ? "SIGKILL" : "a signal");
}

static bool has_ended(struct instance *instance)
{
	return fake_of(instance)->has_ended_unheard;
}

static bool has_unread(struct instance *instance)
{
	return fake_of(instance)->has_unread;
}

static int reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why)
{
	cr_assert_eq(instance->life, INSTANCE_ENDED, "what still runs cannot come back");
	if (fake_of(instance)->gets_no_channel)
		return why_set(why, -EMFILE, "no descriptor is left");
	*ret_channel = fcntl(0, F_DUPFD_CLOEXEC, 0);
	*ret_log = fcntl(0, F_DUPFD_CLOEXEC, 0);
	return 0;
}

static int adopt(struct instance *instance, pid_t pid, struct why *why)
{
	if (fake_of(instance)->is_not_adopted)
		return why_set(why, -ESRCH, "it is no child of this process");
	fake_of(instance)->signal = 0;
	instance_came_back(instance, pid);
	return 0;
}

static void release(struct instance *instance)
{
	struct fake *fake = fake_of(instance);

	if (fake->at)
		*fake->at = NULL;
	commit_unmap(&fake->word);
	fd_close(fake->stream);
	fake_close_report(fake);
	free(fake);
}

static int set_victim(struct instance *instance, bool is_first, struct why *why)
{
	(void)why;
	instance->victim.is_first = is_first;
	return 0;
}

static const struct instance_kind fake_kind = {
	.name = "fake",
	.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_REAP | INSTANCE_CAN_IMAGE | INSTANCE_CAN_MOVE,
	.send = fake_send,
	.awaits = awaits,
	.retract = retract,
	.signal = note_signal,
	.has_ended = has_ended,
	.has_unread = has_unread,
	.set_victim = set_victim,
	.reconnect = reconnect,
	.adopt = adopt,
	.free = release,
};

struct fake *fake_new(const char *service, const char *version)
{
	static pid_t last = FAKE_IMAGE_PID;
	struct fake *fake = calloc(1, sizeof(*fake));

	cr_assert_not_null(fake);
	instance_init(&fake->instance, &fake_kind, service, version);
	fake->instance.pid = ++last;
	fake->stream = -1;
	return fake;
}

void fake_watch(struct fake *fake, struct fake **at)
{
	fake->at = at;
	*at = fake;
}

/* ---- its end ---- */

void fake_begin_exit(struct fake *fake, int status)
{
	cr_assert_eq(fake->instance.life, INSTANCE_RUNS);
	instance_exited(&fake->instance, status);
}

void fake_end_exit(struct fake *fake)
{
	cr_assert_eq(fake->instance.life, INSTANCE_LAST_WORDS);
	instance_ended(&fake->instance);
}

void fake_exit(struct fake *fake, int status)
{
	fake_begin_exit(fake, status);
	fake_end_exit(fake);
}

bool fake_reap(struct fake *fake)
{
	if (fake->signal != SIGKILL || fake->instance.life != INSTANCE_RUNS)
		return false;
	fake_exit(fake, SIGKILL);
	return true;
}

/* ---- what it heard ---- */

unsigned fake_heard_times(const struct fake *fake, Upgraded__Wire__AppMessage__BodyCase what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < fake->n_sent; i++)
		n += fake->sent[i] == what;
	return n;
}

bool fake_heard(const struct fake *fake, Upgraded__Wire__AppMessage__BodyCase what)
{
	return fake_heard_times(fake, what);
}

Upgraded__Wire__AppMessage__BodyCase fake_heard_last(const struct fake *fake)
{
	return fake->n_sent ? fake->sent[fake->n_sent - 1] : UPGRADED__WIRE__APP_MESSAGE__BODY__NOT_SET;
}

/* ---- where they come from ---- */

static int start(struct origin *origin, const struct unit *unit, const char *version, bool aside, struct instance **ret_instance,
		 struct why *why)
{
	struct fake_origin *fakes = container_of(origin, struct fake_origin, origin);
	struct fake *fake;

	if (fakes->refuses)
		return why_set(why, -ENOENT, "version %s: no such file", version);
	cr_assert_lt(fakes->n_started, FAKE_STARTED_MAX);
	fake = fake_new(unit->name, version);
	fake->instance.victim.is_first = aside;
	fake_watch(fake, &fakes->started[fakes->n_started++]);
	*ret_instance = &fake->instance;
	return 0;
}

static void end_children(struct origin *origin, const char *service)
{
	(void)service;
	container_of(origin, struct fake_origin, origin)->ends++;
}

void fake_origin_init(struct fake_origin *origin)
{
	*origin = (struct fake_origin){ .origin = { .start = start, .end_children = end_children } };
}
