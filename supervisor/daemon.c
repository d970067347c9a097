/* SPDX-License-Identifier: MIT */
#include "supervisor/daemon.h"

#include "supervisor/carry/carry.h"
#include "supervisor/control/images.h"
#include "supervisor/control/run_folder.h"
#include "supervisor/control/unit_status.h"
#include "supervisor/criu/probe.h"
#include "supervisor/image/removal.h"
#include "supervisor/image/store.h"
#include "supervisor/logbook/logbook.h"
#include "supervisor/machine/folder.h"
#include "supervisor/process/groups.h"
#include "supervisor/process/strays.h"
#include "supervisor/recover/guard.h"
#include "supervisor/recover/leave.h"
#include "supervisor/recover/recover.h"
#include "supervisor/recover/successor.h"
#include "supervisor/service/registry.h"
#include "supervisor/systemd/notify.h"
#include "supervisor/systemd/activation.h"
#include "supervisor/systemd/store.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define IMAGES_GC_US (3600 * USEC_PER_SEC)
#define DRAIN_AT_END_US (10 * USEC_PER_SEC) /* as the default of StopTimeout= */
#define LOOK_AGAIN_US (10 * USEC_PER_MSEC)
#define FLUSH_AGAIN_S 10u
#define CLOSE_US USEC_PER_SEC /* what services left to be closed, at the end */
#define LOG_SETTLE_US USEC_PER_SEC

struct supervisor {
	struct registry registry;
	struct graveyard graveyard;
	struct spawner spawner;
	struct strays strays;
	struct run_folder *run;
	struct probe probe;
	struct store *store; /* what systemd holds of each process */
	struct logbook *logbook;
	struct worker *disk;     /* waits for it, in the place of the loop */
	struct timer flush_again;
	struct recover recover;
	struct successor successor;
	struct leave leave;
	struct activation *activation; /* what systemd has opened for services */
	struct carry *carry; /* what the program before has left; NULL: nothing, or all of it was taken */
	bool probed, recovered; /* before that nothing can be asked */
	int signals, state_lock;
	struct source signal_source;
	char *images_root, *bakes;
	char *notify_folder; /* where NOTIFY_SOCKET of each process of Kind=plain is */
	struct timer look_again; /* at the end: have all services ended? */
	struct timer images_gc;
	struct unit_status status;
	struct timer ready; /* until whoever started us was told */
	bool ending;
};

/* Images grow too old while nothing happens to their services. */
static void on_images_gc(struct timer *timer)
{
	struct supervisor *supervisor = container_of(timer, struct supervisor, images_gc);

	images_gc_all(&supervisor->registry);
	timer_arm(supervisor->registry.host.site.loop, timer, clock_now_us() + IMAGES_GC_US, on_images_gc);
}

/* A roll under way goes to its end first, whichever that is: a roll is bounded in time, and leaves one version that is whole. */
static void end_services(struct timer *timer)
{
	struct supervisor *supervisor = container_of(timer, struct supervisor, look_again);
	struct registry *registry = &supervisor->registry;
	bool idle = true;

	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s)) {
		service_end(s);
		idle &= service_is_idle(s);
	}
	/* Of services that were stopped before this, somebody may drain yet. */
	if (idle)
		graveyard_hurry(&supervisor->graveyard, NULL, clock_now_us() + DRAIN_AT_END_US);
	if (idle && !supervisor->graveyard.first)
		loop_stop(registry->host.site.loop, 0);
	else
		timer_arm(registry->host.site.loop, timer, clock_now_us() + LOOK_AGAIN_US, end_services);
}

/* Everything rests, or has had its time. Nothing is released, as nothing is after SIGKILL: that is what the next one can do with,
 * and what every process of a service can live with. */
static void leave_services(struct leave *leave)
{
	struct supervisor *supervisor = container_of(leave, struct supervisor, leave);
	struct registry *registry = &supervisor->registry;
	unsigned n = 0;

	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		n += !service_is_idle(s);
	run_folder_send_off(supervisor->run);
	log_info("upgraded ends; %u services are left running for the next one", n);
	log_settle(LOG_SETTLE_US);
	_exit(EXIT_SUCCESS);
}

static unsigned allow_leave(void *daemon, bool leaves)
{
	struct supervisor *supervisor = daemon;

	if (supervisor->ending || supervisor->registry.leaving)
		return 0;
	leave_allow(&supervisor->leave, leaves);
	return LEAVE_WITHIN_S;
}

/* Who started us gives us up if this is lost. */
static void tell_ready(struct timer *timer)
{
	struct supervisor *supervisor = container_of(timer, struct supervisor, ready);

	if (notify_send("READY=1", NULL, 0) < 0 && !supervisor->ending)
		timer_arm(supervisor->registry.host.site.loop, timer, clock_now_us() + LOOK_AGAIN_US, tell_ready);
}

/* Service files are read when a service is started or rolled; here new ones become known, and removed ones are forgotten. The
 * control socket is looked for, too: a signal comes through without it. */
static void read_anew(struct supervisor *supervisor)
{
	struct why why = { 0 };
	char text[64];

	/* With Type=notify-reload systemd has sent this, and waits for both. */
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_us());
	(void)notify_send(text, NULL, 0);
	if (registry_scan(&supervisor->registry, &why) < 0)
		log_warning("SIGHUP: %s", why.text);
	else
		log_info("SIGHUP: the service files were looked for anew");
	run_folder_look(supervisor->run);
	if (supervisor->probed && supervisor->recovered)
		tell_ready(&supervisor->ready);
}

static void on_signal(struct source *source, uint32_t events)
{
	struct supervisor *supervisor = container_of(source, struct supervisor, signal_source);
	struct signalfd_siginfo info;

	(void)events;
	if (read(supervisor->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		strays_look(&supervisor->strays);
		return;
	}
	if (supervisor->ending || supervisor->registry.leaving)
		return;
	if (info.ssi_signo == SIGHUP) {
		read_anew(supervisor);
		return;
	}
	if (info.ssi_signo == SIGTERM && leave_is_allowed(&supervisor->leave)) {
		supervisor->registry.leaving = true;
		(void)notify_send("STOPPING=1\nSTATUS=leaves the services running", NULL, 0);
		leave_begin(&supervisor->leave);
		return;
	}
	log_info("%s: stopping the services", sigabbrev_np((int)info.ssi_signo));
	(void)notify_send("STOPPING=1\nSTATUS=stops the services", NULL, 0);
	supervisor->ending = true;
	recover_give_up(&supervisor->recover);
	run_folder_shut(supervisor->run);
	end_services(&supervisor->look_again);
}

/* Without this process nobody manages the services: what somebody sends by habit or by accident does not end it. SIGKILL does, and
 * what the kernel sends after a fault of our own. Children start with none of this (base/spawn.c). */
static void ignore_the_rest(void)
{
	static const int ours[] = { SIGKILL, SIGSTOP, SIGCONT, SIGTSTP, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD,
				    SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };

	for (int number = 1; number <= SIGRTMAX; number++) {
		bool ignored = number < SIGSYS || number >= SIGRTMIN;

		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			ignored &= number != ours[i];
		if (number == SIGALRM && guard_is_on()) /* it is the guard's until we stay */
			continue;
		if (ignored)
			signal(number, SIG_IGN);
	}
}

static int watch_signals(struct supervisor *supervisor, struct why *why)
{
	static const int heard[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(heard) / sizeof(heard[0]); i++)
		sigaddset(&set, heard[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ignore_the_rest();
	supervisor->strays.loop = supervisor->registry.host.site.loop;
	supervisor->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (supervisor->signals < 0)
		return why_errno(why, -errno, "signalfd");
	return source_add(supervisor->registry.host.site.loop, &supervisor->signal_source, supervisor->signals, EPOLLIN, on_signal);
}

/* ---- starting ---- */

/* The program before had the lock, and so have we. */
static bool take_state_lock(struct supervisor *supervisor)
{
	const Upgraded__Carry__Item *item = carry_next(supervisor->carry, UPGRADED__CARRY__ITEM__WHAT_FOLDERS, NULL);

	if (item)
		supervisor->state_lock = carry_take(supervisor->carry, item->folders->state_lock);
	return supervisor->state_lock >= 0;
}

static int make_places(struct supervisor *supervisor, const struct daemon_config *config, struct why *why)
{
	int r = run_folder_new(config->run_dir, supervisor->carry, &supervisor->run, why);

	if (r == 0 && asprintf(&supervisor->notify_folder, "%s/notify", config->run_dir) < 0)
		r = why_errno(why, -ENOMEM, "paths");
	if (r == 0) /* others go to a socket in there, and need not see which there are */
		r = folder_claim(supervisor->notify_folder, 0711, why);
	if (r == 0)
		r = folder_claim(config->state_dir, 0700, why);
	/* No two daemons share a folder: the second would take the first one's half images for leftovers, and remove them. The name
	 * is not that of the lock of the run folder, as both may be one folder. */
	if (r == 0 && !take_state_lock(supervisor))
		r = folder_lock(config->state_dir, "state.lock", LOCK_PATIENCE_MS, &supervisor->state_lock, why);
	if (r == 0 && asprintf(&supervisor->images_root, "%s/images", config->state_dir) < 0)
		r = why_errno(why, -ENOMEM, "paths");
	if (r == 0)
		r = folder_claim(supervisor->images_root, 0700, why);
	if (r == 0 && asprintf(&supervisor->bakes, "%s/bakes", config->state_dir) < 0)
		r = why_errno(why, -ENOMEM, "paths");
	if (r == 0)
		r = folder_claim(supervisor->bakes, 0700, why);
	if (r == 0) {
		removal_begin(supervisor->registry.host.site.loop, supervisor->images_root);
		probe_gc(config->state_dir);
	}
	if (r == 0 && (r = image_gc_partial(supervisor->images_root, why)) > 0) {
		log_info("removed %d half images that an earlier run left behind", r);
		r = 0;
	}
	return r;
}

/* Who waits for us, or for a roll, is told; and all that was left was taken. */
static void greet(struct supervisor *supervisor)
{
	const struct registry *registry = &supervisor->registry;
	const char *before = carry_header(supervisor->carry)->version, *gave_way = guard_gave_way();
	char text[256];

	if (gave_way)
		snprintf(text, sizeof(text), "upgraded %.60s (pid %d) goes on: the program that was to take over gave way",
			 registry->version, (int)getpid());
	else
		snprintf(text, sizeof(text), "upgraded %.60s (pid %d) has taken over from upgraded %.60s", registry->version,
			 (int)getpid(), before);
	log_info("%s%s%s", text, gave_way ? ": " : "", gave_way ? gave_way : "");
	guard_done(); /* who asked is told that we stay */
	run_folder_take_clients(supervisor->run, supervisor->carry,
				&(struct answer){ .code = gave_way ? WIRE_EXIT_ROLLED_BACK : WIRE_EXIT_DONE, .text = text,
						  .cause = gave_way, .next = gave_way ? "the services did not notice" : NULL });
	carry_done(supervisor->carry);
	supervisor->carry = carry_free(supervisor->carry);
}

static void start_at_boot(struct registry *registry)
{
	for (struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		service_start_at_boot(s);
}

static void open_for_business(struct supervisor *supervisor)
{
	struct why why = { 0 };

	if (supervisor->ending || !supervisor->probed || !supervisor->recovered)
		return;
	/* Services have come back by now: they are not to end because nobody can ask for anything. */
	if (run_folder_open(supervisor->run, &supervisor->registry, &why) < 0)
		guard_give_way(why.text);
	tell_ready(&supervisor->ready);
	unit_status_begin(&supervisor->status, &supervisor->registry, supervisor->registry.host.site.loop);
	if (supervisor->carry)
		greet(supervisor);
	else
		start_at_boot(&supervisor->registry);
}

static void on_probed(struct probe *probe, bool ok, const struct why *detail)
{
	struct supervisor *supervisor = probe->owner;

	registry_set_criu(&supervisor->registry, ok, detail);
	supervisor->probed = true;
	open_for_business(supervisor);
}

static void on_recovered(struct recover *recover)
{
	struct supervisor *supervisor = recover->owner;

	supervisor->recovered = true;
	open_for_business(supervisor);
}

static void on_flush_again(struct timer *timer)
{
	logbook_flush(container_of(timer, struct supervisor, flush_again)->logbook);
}

static void on_logbook_trouble(void *daemon, const struct why *why, bool again)
{
	struct supervisor *supervisor = daemon;

	if (!again)
		log_error("the logbook: %s. What has changed since would be lost with the machine, and may be lost with upgraded; "
			  "the disk is tried again every %u s", why->text, FLUSH_AGAIN_S);
	timer_arm(supervisor->registry.host.site.loop, &supervisor->flush_again, clock_now_us() + FLUSH_AGAIN_S * USEC_PER_SEC,
		  on_flush_again);
}

static void on_logbook_well(void *daemon)
{
	(void)daemon;
	log_info("the logbook: all of it is on the disk again");
}

static const struct logbook_events logbook_events = { .on_trouble = on_logbook_trouble, .on_well = on_logbook_well };

static int open_logbook(struct supervisor *supervisor, const struct daemon_config *config, struct why *why)
{
	enum logbook_found found;
	int r = logbook_open(config->state_dir, &supervisor->logbook, &found, why);

	if (r < 0)
		return why_prefix(why, r, "the logbook");
	if (found == LOGBOOK_TORN)
		log_info("the logbook: %s", why->text);
	else if (*why->text)
		log_error("the logbook: %s", why->text);
	r = worker_new(supervisor->registry.host.site.loop, &supervisor->disk, why);
	if (r == 0)
		logbook_flush_by(supervisor->logbook, supervisor->disk, &logbook_events, supervisor);
	return r;
}

static int open_events(struct supervisor *supervisor, const struct daemon_config *config, struct why *why)
{
	struct service_host *host = &supervisor->registry.host;
	int r;

	*why->text = 0;
	r = events_open(config->state_dir, host->site.loop, &host->events, why);
	if (r == 0 && *why->text)
		log_warning("events and the history of rolls are not kept: %s", why->text);
	*why->text = 0;
	return r < 0 ? why_prefix(why, r, "events") : 0;
}

/* ---- another program in our place ---- */

static bool may_leave(void *daemon, struct why *ret_what)
{
	const struct supervisor *supervisor = daemon;

	if (supervisor->ending || supervisor->carry || !supervisor->probed)
		(void)why_set(ret_what, 0, supervisor->ending ? "the end" : "the start");
	else if (!run_folder_may_leave(supervisor->run))
		(void)why_set(ret_what, 0, "a request that is being answered");
	else if (!removal_is_over())
		(void)why_set(ret_what, 0, "images are being removed");
	else if (!logbook_is_safe(supervisor->logbook)) /* what the disk has refused is known to us alone */
		(void)why_set(ret_what, 0, "the disk, which has not taken the logbook yet");
	else if (!events_is_quiet(supervisor->registry.host.events))
		(void)why_set(ret_what, 0, "the disk, which has not taken the last events yet");
	else if (supervisor->registry.host.hooks)
		(void)why_set(ret_what, 0, "a program of OnRollback=");
	else if (!store_is_quiet(supervisor->store))
		(void)why_set(ret_what, 0, "systemd, which has not heard yet what it is to hold");
	else
		return true;
	return false;
}

static void put(void *daemon, struct carry *carry)
{
	struct supervisor *supervisor = daemon;
	Upgraded__Carry__Folders folders = UPGRADED__CARRY__FOLDERS__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

	run_folder_put(supervisor->run, carry, &folders);
	folders.state_lock = carry_hold(carry, supervisor->state_lock);
	folders.criu_works = supervisor->registry.criu_ok;
	folders.criu_detail = supervisor->registry.criu_detail.text;
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_FOLDERS;
	activation_put(supervisor->activation, carry, &folders);
	item.folders = &folders;
	carry_put(carry, &item);
	activation_packed_done(&folders);
}

static void roll_self(void *daemon, const char *program, struct asker *asker)
{
	struct supervisor *supervisor = daemon;

	successor_begin(&supervisor->successor, program, asker);
}

static void forget_self(void *daemon, const struct asker *asker)
{
	struct supervisor *supervisor = daemon;

	successor_forget(&supervisor->successor, asker);
}

static void prepare_successor(struct supervisor *supervisor, const struct daemon_config *config)
{
	supervisor->successor = (struct successor){
		.registry = &supervisor->registry,
		.recover = &supervisor->recover,
		.spawner = &supervisor->spawner,
		.state_dir = config->state_dir,
		.may_leave = may_leave,
		.put = put,
		.daemon = supervisor,
	};
	successor_init(&supervisor->successor);
	supervisor->registry.version = config->version;
	supervisor->registry.roll_self = roll_self;
	supervisor->registry.forget_self = forget_self;
	supervisor->registry.leave = allow_leave;
	supervisor->leave = (struct leave){ .successor = &supervisor->successor,
					    .loop = supervisor->registry.host.site.loop,
					    .on_rest = leave_services };
	supervisor->registry.daemon = supervisor;
}

/* Generations are unique over restarts of the daemon, which may be several in a second, and below 2^56: the commit word has no more
 * room. They rise even if the clock was set back, so that the newest image is the one with the highest. */
static uint64_t generation_after(uint64_t newest)
{
	struct timespec now;
	uint64_t generation;

	clock_gettime(CLOCK_REALTIME, &now);
	generation = (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
	return generation > newest ? generation : newest + 1;
}

/* Requests wait until it is known whether images work: a roll may need one. The program before has tried. */
static void begin_probe(struct supervisor *supervisor, const struct daemon_config *config)
{
	const Upgraded__Carry__Item *item = carry_next(supervisor->carry, UPGRADED__CARRY__ITEM__WHAT_FOLDERS, NULL);
	struct registry *registry = &supervisor->registry;
	struct why detail = { 0 };
	int r;

	probe_init(&supervisor->probe, supervisor);
	if (item) {
		(void)why_set(&detail, 0, "%s", item->folders->criu_detail);
		registry_set_criu(registry, item->folders->criu_works, &detail);
	} else {
		r = probe_start(registry->host.site.loop, &supervisor->probe, config->criu_path, config->state_dir, on_probed,
				&detail);
		if (r == 0)
			return;
		registry_set_criu(registry, false, &detail);
	}
	supervisor->probed = true;
}

/* What systemd has opened for services: it gave it to us, or to the program before. */
static int take_activation(struct supervisor *supervisor, struct why *why)
{
	const Upgraded__Carry__Item *item = carry_next(supervisor->carry, UPGRADED__CARRY__ITEM__WHAT_FOLDERS, NULL);
	int r = activation_open(&supervisor->activation, why);

	if (r == 0 && item)
		r = activation_take(supervisor->activation, supervisor->carry, item->folders);
	if (r == 0)
		supervisor->registry.host.activation = supervisor->activation;
	return r < 0 ? why_errno(why, r, "what systemd has opened for services") : 0;
}

static int begin(struct supervisor *supervisor, const struct daemon_config *config, struct why *why)
{
	struct registry *registry = &supervisor->registry;
	struct why detail = { 0 };
	int r;

	r = config->left >= 0 ? carry_open(config->left, NULL, &supervisor->carry, why) : 0;
	if (r == 0)
		r = loop_new(&registry->host.site.loop, why);
	if (r == 0)
		r = take_activation(supervisor, why);
	if (r == 0)
		r = store_open(registry->host.site.loop, &supervisor->store, why);
	prepare_successor(supervisor, config);
	if (r == 0)
		r = make_places(supervisor, config, why);
	if (r == 0)
		r = watch_signals(supervisor, why);
	if (r == 0 && (r = closer_start()) < 0)
		r = why_errno(why, r, "a thread that closes descriptors");
	if (r < 0)
		return r;
	if (conntable_new(&registry->host.site.conntable, &detail) < 0)
		log_warning("no connection table: %s", detail.text);
	registry->host.config_dir = config->config_dir;
	registry->host.site.images_root = supervisor->images_root;
	registry->host.bakes = supervisor->bakes;
	registry->host.site.graveyard = &supervisor->graveyard;
	supervisor->graveyard.loop = registry->host.site.loop;
	registry->host.site.imaging = &imaging_criu;
	r = spawner_init(&supervisor->spawner, registry->host.site.loop);
	if (r < 0)
		return why_errno(why, r, "children");
	supervisor->spawner.groups = groups_new();
	if (supervisor->spawner.groups)
		log_info("each service has a control group of its own, below %s", groups_place(supervisor->spawner.groups));
	r = open_logbook(supervisor, config, why);
	if (r == 0)
		r = open_events(supervisor, config, why);
	if (r < 0)
		return r;
	supervisor->spawner.store = supervisor->store;
	supervisor->spawner.notify_folder = supervisor->notify_folder;
	supervisor->spawner.logbook = registry->host.logbook = supervisor->logbook;
	registry->host.origin = &supervisor->spawner.origin;
	registry->host.generation = generation_after(supervisor->carry ? carry_header(supervisor->carry)->generation :
									  image_store_newest(supervisor->images_root));
	registry->work_dir = config->state_dir;
	(void)registry_scan(registry, &detail);
	registry->criu_path = config->criu_path;
	begin_probe(supervisor, config);
	strays_look(&supervisor->strays);
	r = recover_begin(&supervisor->recover, registry, &supervisor->spawner, supervisor->carry, on_recovered, supervisor, why);
	if (r == 0) /* by now it is known which images are in use */
		on_images_gc(&supervisor->images_gc);
	return r;
}

/* Who has services go on is waited for by the next one, which flushes what there is. */
static void leave_logbook(struct supervisor *supervisor)
{
	struct why why = { 0 };

	if (supervisor->logbook && !supervisor->spawner.lets_go && logbook_flush_wait(supervisor->logbook, &why) < 0)
		log_warning("the logbook: %s; after the machine's next start, services that were stopped may be started", why.text);
}

static void end(struct supervisor *supervisor)
{
	struct registry *registry = &supervisor->registry;
	size_t left;

	run_folder_shut(supervisor->run);
	probe_done(&supervisor->probe);
	timer_disarm(&supervisor->look_again);
	timer_disarm(&supervisor->images_gc);
	timer_disarm(&supervisor->ready);
	unit_status_done(&supervisor->status);
	strays_done(&supervisor->strays);
	successor_done(&supervisor->successor);
	leave_done(&supervisor->leave);
	recover_done(&supervisor->recover);
	registry_done(registry);
	graveyard_done(&supervisor->graveyard);
	spawner_done(&supervisor->spawner);
	store_free(supervisor->store);
	activation_free(supervisor->activation);
	timer_disarm(&supervisor->flush_again);
	leave_logbook(supervisor);
	logbook_free(supervisor->logbook);
	worker_free(supervisor->disk);
	events_free(registry->host.events);
	removal_end();
	if (registry->host.site.conntable)
		conntable_free(registry->host.site.conntable);
	source_del(&supervisor->signal_source);
	fd_close(supervisor->signals);
	run_folder_free(supervisor->run);
	fd_close(supervisor->state_lock);
	free(supervisor->images_root);
	free(supervisor->bakes);
	free(supervisor->notify_folder);
	if (registry->host.site.loop)
		loop_free(registry->host.site.loop);
	left = closer_stop(clock_now_us() + CLOSE_US);
	if (left)
		log_warning("%zu descriptors of services are not closed yet; the kernel closes them", left);
}

int daemon_run(const struct daemon_config *config, struct why *why)
{
	struct supervisor supervisor = { .signals = -1, .state_lock = -1 };
	int r;

	/* Orphans of our services become our children, and are reaped (strays.h). */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fd_raise_limit();
	probe_init(&supervisor.probe, &supervisor);
	r = begin(&supervisor, config, why);
	if (r < 0 && guard_is_on())
		guard_give_way(why->text);
	if (r == 0) {
		guard_done();
		signal(SIGALRM, SIG_IGN);
		r = loop_run(supervisor.registry.host.site.loop);
	}
	/* Nobody told us to end them. They go on as after a SIGKILL, and the next supervisor has them back. */
	supervisor.spawner.lets_go = supervisor.graveyard.lets_go = r < 0;
	end(&supervisor);
	return r;
}
