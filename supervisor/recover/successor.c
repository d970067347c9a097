/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/successor.h"

#include "supervisor/logbook/logbook.h"
#include "supervisor/process/leftovers.h"
#include "supervisor/recover/guard.h"
#include "supervisor/recover/recover.h"
#include "supervisor/service/carried.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_US (10 * USEC_PER_SEC)
#define REST_US (60 * USEC_PER_SEC)
#define LOOK_AGAIN_US (20 * USEC_PER_MSEC)
#define TAKE_OVER_US (10 * USEC_PER_SEC)
#define LOG_SETTLE_US USEC_PER_SEC

extern char **environ;

/* ---- the end of it ---- */

static void answer(struct successor *successor, enum wire_exit code, const char *text, const char *cause, const char *next)
{
	struct asker *asker = successor->asker;

	successor->asker = NULL;
	log_warning("%s: %s", text, cause);
	if (asker)
		asker_answer(asker, &(struct answer){ .code = code, .text = text, .cause = cause, .next = next });
}

static void refuse(struct successor *successor, const char *cause)
{
	successor->busy = false;
	timer_disarm(&successor->timer);
	answer(successor, WIRE_EXIT_REFUSED, "upgraded stays the program that it is", cause,
	       "nothing was touched; the services do not notice");
}

/* ---- 3: left and executed ---- */

static void put_header(const struct successor *successor, struct carry *carry)
{
	Upgraded__Carry__Header header = UPGRADED__CARRY__HEADER__INIT;

	header.version = wire_text(successor->registry->version);
	header.generation = successor->registry->host.generation;
	header.last_serial = successor->spawner->last_serial;
	carry_put_header(carry, &header);
}

static void hold_still(struct registry *registry)
{
	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		service_hold_still(s);
}

static void go_on(struct registry *registry)
{
	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		service_go_on(s);
}

static void put_all(const struct successor *successor, struct carry *carry)
{
	struct registry *registry = successor->registry;

	put_header(successor, carry);
	successor->put(successor->daemon, carry);
	leftovers_put(successor->spawner->leftovers, carry);
	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		service_put(s, carry);
}

/* Return: -errno: it could not be executed, and everything is as it was. */
static int execute(struct successor *successor, struct why *why)
{
	struct carry *carry;
	struct why again = { 0 };
	int r = carry_new(&carry, why), left = -1;

	if (r < 0)
		return r;
	hold_still(successor->registry);
	put_all(successor, carry);
	r = carry_seal(carry, &left, why);
	if (r == 0) {
		log_info("%s takes over", successor->program);
		log_settle(LOG_SETTLE_US);
		r = guard_execute(successor->program, left, TAKE_OVER_US);
		(void)log_defer(&again);
		why_errno(why, r, "%s could not be executed", successor->program);
		carry_unseal(carry);
	}
	carry_free(carry);
	go_on(successor->registry);
	return r;
}

/* ---- 2: at rest? ---- */

bool successor_at_rest(const struct successor *successor, struct why *ret_what)
{
	struct registry *registry = successor->registry;

	if (!recover_is_over(successor->recover, ret_what) || !successor->may_leave(successor->daemon, ret_what))
		return false;
	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		if (!service_may_be_left(s, ret_what))
			return false;
	if (closer_waiting() == 0)
		return true;
	(void)why_set(ret_what, 0, "descriptors of services are being closed");
	return false;
}

/* What was asked is what is executed. */
static bool is_as_asked(const struct successor *successor, struct why *why)
{
	const struct stat *asked = &successor->asked_st;
	struct stat st;

	if (stat(successor->program, &st) == 0 && st.st_dev == asked->st_dev && st.st_ino == asked->st_ino &&
	    st.st_mtim.tv_sec == asked->st_mtim.tv_sec && st.st_mtim.tv_nsec == asked->st_mtim.tv_nsec)
		return true;
	(void)why_set(why, 0, "%s was replaced after it was asked whether it could take over", successor->program);
	return false;
}

static void tell_waiting(struct successor *successor, const struct why *what)
{
	if (strcmp(successor->waits_for.text, what->text) == 0)
		return;
	successor->waits_for = *what;
	log_info("%s is to take over; waiting for %s", successor->program, what->text);
	asker_progress(successor->asker, "standby", 0, what->text, clock_now_us());
}

static void look(struct timer *timer)
{
	struct successor *successor = container_of(timer, struct successor, timer);
	struct why why = { 0 }, cause = { 0 };

	if (successor_at_rest(successor, &why)) {
		if (is_as_asked(successor, &why))
			execute(successor, &why);
		refuse(successor, why.text);
		return;
	}
	if (clock_now_us() > successor->due_us) {
		why_set(&cause, 0, "this is still under way after a minute: %s", why.text);
		refuse(successor, cause.text);
		return;
	}
	tell_waiting(successor, &why);
	timer_arm(successor->registry->host.site.loop, timer, clock_now_us() + LOOK_AGAIN_US, look);
}

/* ---- 1: could it? ---- */

static void on_checked(struct child *child)
{
	struct successor *successor = container_of(child, struct successor, child);
	bool could = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
	char how[sizeof(struct why)];
	struct why cause = { 0 };
	const char *line;

	last_line_finish(&successor->output);
	child_describe(child, how, sizeof(how));
	line = last_line_get(&successor->output.line);
	child_done(child);
	timer_disarm(&successor->timer);
	/* A program that knows nothing of this may well end with status 0. */
	if (could && strncmp(line, SUCCESSOR_COULD, strlen(SUCCESSOR_COULD)) == 0) {
		log_info("%s: %s", successor->program, line);
		asker_progress(successor->asker, "check", 0, line, clock_now_us());
		successor->due_us = clock_now_us() + REST_US;
		look(&successor->timer);
		return;
	}
	why_set(&cause, 0, "%s could not take over: it %s%s%s", successor->program, how, *line ? ": " : "", line);
	refuse(successor, cause.text);
}

static void on_check_deadline(struct timer *timer)
{
	struct successor *successor = container_of(timer, struct successor, timer);

	log_warning("%s has not said in %u s whether it could take over; it is ended", successor->program,
		    (unsigned)(CHECK_US / USEC_PER_SEC));
	child_kill_group(&successor->child);
}

static int ask_program(struct successor *successor, struct why *why)
{
	char facts[64], *argv[] = { successor->program, (char *)(uintptr_t)"--could-take-over", facts,
				    (char *)(uintptr_t)"--state-dir", (char *)(uintptr_t)successor->state_dir, NULL };
	struct child_fd fds[] = { { -1, STDOUT_FILENO }, { -1, STDERR_FILENO } };
	struct child_spec spec = { .path = successor->program, .argv = argv, .envp = environ, .fds = fds, .n_fds = 2,
				   .uid = (uid_t)-1, .gid = (gid_t)-1 };
	FD_CLEANUP int theirs = -1;
	int r;

	snprintf(facts, sizeof(facts), "carry=%u,protocol=%u", CARRY_FORMAT, WIRE_PROTOCOL);
	r = last_line_open(&successor->output, successor->registry->host.site.loop, &theirs, why);
	fds[0].from = fds[1].from = theirs;
	if (r == 0)
		r = child_spawn(successor->registry->host.site.loop, &successor->child, &spec, on_checked, why);
	if (r < 0)
		last_line_finish(&successor->output);
	return r;
}

/* The file that we were started from: a package may have put another one in its place. */
static int own_path(char path[static PATH_MAX], struct why *why)
{
	static const char gone[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	if (n < 0)
		return why_errno(why, -errno, "/proc/self/exe");
	path[n] = 0;
	if ((size_t)n > sizeof(gone) - 1 && strcmp(path + n - (sizeof(gone) - 1), gone) == 0)
		path[n - (ssize_t)(sizeof(gone) - 1)] = 0;
	return 0;
}

void successor_begin(struct successor *successor, const char *program, struct asker *asker)
{
	struct why why = { 0 };
	int r = 0;

	if (successor->busy) {
		asker_answer(asker, &(struct answer){ .code = WIRE_EXIT_BUSY,
						      .text = "another program is about to take over already",
						      .cause = successor->program,
						      .next = "wait for it" });
		return;
	}
	successor->busy = true;
	successor->asker = asker;
	*successor->waits_for.text = 0;
	if (!program || !*program)
		r = own_path(successor->program, &why);
	else if (*program != '/' || strlen(program) >= sizeof(successor->program))
		r = why_set(&why, -EINVAL, "'%.100s' is not the absolute path of a program", program);
	else
		snprintf(successor->program, sizeof(successor->program), "%s", program);
	if (r == 0)
		r = trust_path(successor->program, &why);
	if (r == 0 && stat(successor->program, &successor->asked_st) < 0)
		r = why_errno(&why, -errno, "%s", successor->program);
	if (r == 0)
		r = ask_program(successor, &why);
	if (r < 0) {
		refuse(successor, why.text);
		return;
	}
	timer_arm(successor->registry->host.site.loop, &successor->timer, clock_now_us() + CHECK_US, on_check_deadline);
}

void successor_forget(struct successor *successor, const struct asker *asker)
{
	if (successor->asker == asker)
		successor->asker = NULL;
}

void successor_init(struct successor *successor)
{
	child_init(&successor->child);
	successor->output.fd = -1;
}

void successor_done(struct successor *successor)
{
	if (!successor->registry)
		return;
	timer_disarm(&successor->timer);
	child_done(&successor->child);
	last_line_finish(&successor->output);
	if (successor->busy)
		refuse(successor, "upgraded is ending");
}

/* ---- the program that is asked ---- */

int successor_check(const char *facts, const char *state_dir, const char *version)
{
	unsigned carry, protocol;
	struct why why = { 0 };
	int r = 0;

	if (sscanf(facts, "carry=%u,protocol=%u", &carry, &protocol) != 2)
		r = why_set(&why, -EPROTO, "the upgraded that runs tells of itself what upgraded %s does not understand: %.60s",
			    version, facts);
	else if (carry < CARRY_FORMAT_OLDEST || carry > CARRY_FORMAT)
		r = why_set(&why, -EPROTO, "the upgraded that runs leaves its state in format %u; upgraded %s reads %u to %u",
			    carry, version, CARRY_FORMAT_OLDEST, CARRY_FORMAT);
	else if (protocol != WIRE_PROTOCOL)
		r = why_set(&why, -EPROTO, "services here speak protocol %u; upgraded %s speaks %u", protocol, version,
			    WIRE_PROTOCOL);
	if (r == 0)
		r = logbook_look(state_dir, &why);
	if (r == 0)
		printf(SUCCESSOR_COULD "upgraded %s\n", version);
	else
		printf("%s\n", why.text);
	return r == 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
