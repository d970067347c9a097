/* SPDX-License-Identifier: MIT */
/* upg-actor: an application of as many characters as it has names. What follows the first - in the name it was started by is its
 * version and says how it behaves. Some hold notes of their own; the others pretend to be a version of the example
 * service, up to the point where they fail. */
#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/examples/cached/cached_v2.pb-c.h"
#include "shim/upgrade.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOTES 1000u
#define LARGE_BYTES 8192u
#define SLOW_SECONDS 1u
#define SLOW_NAPS 125u /* of 20 ms: 2.5 s */
#define CHANNEL_VARIABLE "UPGRADE_FD"

static const char *character;
static int channel = -1; /* the library takes its number out of the environment */
static volatile sig_atomic_t noise_wanted;

static bool is(const char *what)
{
	return strcmp(character, what) == 0;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

static void make_noise(void)
{
	static const char noise[] = "\xff\xff\xff\xff this is no message, and not even close to one \x01\x02\x03";

	(void)!send(channel, noise, sizeof(noise), MSG_NOSIGNAL);
}

/* AppMessage.committed (9) of one field, at_us = 1. */
static void claim_commit(void)
{
	static const unsigned char committed[] = { 0x4a, 0x02, 0x08, 0x01 };

	(void)!send(channel, committed, sizeof(committed), MSG_NOSIGNAL);
}

/* As a library that is older does, which keeps nothing: only a supervisor that is told so can have it back. */
static void let_go_of_kept(void)
{
	for (int fd = STDERR_FILENO + 1; fd < 64; fd++) {
		int type = 0;
		socklen_t size = sizeof(type);

		if (fd != channel && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET)
			close(fd);
		if (is("notes-nothing") && fcntl(fd, F_GET_SEALS) >= 0)
			close(fd);
	}
}

static void say_something(void)
{
	static unsigned n;

	printf("said %u\n", ++n);
	fflush(stdout);
}

static void on_noise(int signal)
{
	(void)signal;
	noise_wanted = 1;
}

/* ---- notes ---- */

static uint64_t notes;

static int save_notes(struct upg_saver *saver, void *userdata)
{
	Cached__V1__Connection note = CACHED__V1__CONNECTION__INIT;
	static uint8_t text[LARGE_BYTES];
	int rc = 0;

	(void)userdata;
	if (is("large"))
		note.input = (ProtobufCBinaryData){ .len = sizeof(text), .data = text };
	for (uint64_t i = 0; i < notes && rc == 0; i++) {
		note.id = i;
		rc = upg_save(saver, &note.base);
	}
	return rc;
}

static int load_note(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader;
	(void)message;
	(void)userdata;
	if (is("noise-later"))
		make_noise();
	if (is("loads-slowly") && notes % (NOTES / SLOW_NAPS) == 0)
		nap();
	if (is("hangs-reading"))
		for (;;)
			pause();
	notes++;
	return 0;
}

static uint64_t count_notes(void *userdata)
{
	(void)userdata;
	return notes;
}

/* ---- pretending ---- */

#define GORGE_STEP (1u << 20)
#define GORGE_STEPS 512u

/* The pipe that the state comes through holds half of what it can: the old version waits for its reader, or soon will. */
static bool writer_is_ahead(void)
{
	struct stat st;
	int waiting;

	for (int fd = STDERR_FILENO + 1; fd < 64; fd++)
		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && ioctl(fd, FIONREAD, &waiting) == 0 &&
		    waiting >= fcntl(fd, F_GETPIPE_SZ) / 2)
			return true;
	return false;
}

/* Takes memory until the kernel ends it. Only while the old version waits: what that one allocates at the same moment, in a
 * control group that is full, may be refused by ending it, too. */
static void gorge(void)
{
	while (!writer_is_ahead())
		nap();
	for (unsigned i = 0; i < GORGE_STEPS; i++) {
		void *memory = mmap(NULL, GORGE_STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (memory == MAP_FAILED)
			_exit(1);
	}
	_exit(1);
}

static int save_nothing(struct upg_saver *saver, void *userdata)
{
	(void)saver;
	(void)userdata;
	return 0;
}

static int load_badly(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)message;
	(void)userdata;
	if (is("hangs-loading"))
		for (;;)
			pause();
	if (is("dies-loading"))
		raise(SIGKILL);
	if (is("gorges-loading") && message->descriptor == &cached__v1__item__descriptor)
		gorge();
	if (is("stops-loading"))
		raise(SIGSTOP);
	if (message->descriptor == &cached__v1__connection__descriptor)
		return upg_load_claim(loader, "client", ((const Cached__V1__Connection *)message)->id) < 0 ? -1 : 0;
	return 0;
}

#define PRETENDED(type, of) { .name = type, .version = 1, .descriptor = &of, .save = save_nothing, .load = load_badly }

static struct upg_type pretended[] = {
	PRETENDED("cached.Stats", cached__v1__stats__descriptor),
	PRETENDED("cached.Item", cached__v1__item__descriptor),
	PRETENDED("cached.Connection", cached__v1__connection__descriptor),
};

/* ---- getting on slowly ---- */

/* Longer than it has to start. */
static void start_slowly(struct upg *upg, bool silently)
{
	for (unsigned i = 0; i < SLOW_NAPS; i++) {
		nap();
		if (!silently)
			upg_progress(upg, "reading the catalogue");
	}
}

/* After it has taken over: well only when it has made the file that the check looks for. */
static void warm_up(struct upg *upg)
{
	const char *path = getenv("ACTOR_WARM");

	for (unsigned i = 0; i < SLOW_NAPS; i++) {
		struct pollfd fd = { .fd = upg_fd(upg), .events = POLLIN };

		if (poll(&fd, 1, 20) > 0 && upg_dispatch(upg) == UPG_LEAVE)
			_exit(0);
		if (is("warms"))
			upg_progress(upg, "warming the caches");
	}
	if (path)
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

/* ---- the application ---- */

static struct upg_type note_type = {
	.name = "app.Note",
	.version = 1,
	.descriptor = &cached__v1__connection__descriptor,
	.save = save_notes,
	.load = load_note,
	.count = count_notes,
};

static bool pretends(void)
{
	return is("hangs-loading") || is("stops-loading") || is("dies-loading") || is("gorges-loading") ||
	       is("dies-before-commit") || is("claims-commit") || is("leaves-before-commit");
}

static int open_as(struct upg **ret_upg)
{
	static struct upg_config config;

	config = (struct upg_config){ .service = "actor", .version = character, .types = &note_type, .n_types = 1 };
	if (is("stranger"))
		note_type.name = "app.Stranger";
	if (is("gap"))
		note_type.version = 3;
	if (is("changed"))
		note_type.descriptor = &cached__v2__item__descriptor;
	if (pretends()) {
		config.types = pretended;
		config.n_types = sizeof(pretended) / sizeof(*pretended);
	}
	return upg_open(&config, ret_upg);
}

static void before_commit(struct upg *upg)
{
	if (is("slow") || is("noise-later"))
		sleep(SLOW_SECONDS);
	if (!pretends())
		return;
	upg_fd_claim(upg, "listener", 0);
	if (is("dies-before-commit"))
		raise(SIGKILL);
	if (is("leaves-before-commit"))
		_exit(0);
	if (is("claims-commit")) {
		claim_commit();
		for (;;)
			pause();
	}
}

/* Two orphans, as careless daemons make them: one that is dead already, one that would stay. */
static void litter(void)
{
	for (int stays = 0; stays < 2; stays++) {
		pid_t child = fork();

		if (child == 0) {
			if (fork() == 0 && stays)
				for (;;)
					pause();
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
}

/* A child process that prints without end. */
static void babble(bool alone)
{
	char noise[4096];

	if (fork() != 0)
		return;
	if (alone)
		setsid();
	close(channel);
	memset(noise, '\n', sizeof(noise));
	while (write(STDOUT_FILENO, noise, sizeof(noise)) > 0)
		;
	_exit(0);
}

/* A child process that does nothing, and is there. */
static void hire(void)
{
	pid_t child = fork();

	if (child == 0) {
		close(channel);
		for (;;)
			pause();
	}
	printf("helper %d\n", (int)child);
	fflush(stdout);
}

static int serve(struct upg *upg)
{
	struct pollfd fd = { .fd = upg_fd(upg), .events = POLLIN };

	for (;;) {
		poll(&fd, 1, -1);
		if (noise_wanted && is("talks"))
			say_something();
		else if (noise_wanted)
			make_noise();
		noise_wanted = 0;
		if (fd.revents && upg_dispatch(upg) == UPG_LEAVE)
			return 0;
		fd.revents = 0;
		if (is("keeps-nothing") || is("notes-nothing"))
			let_go_of_kept();
	}
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL, *dash = strchr(name ? name : "", '-');
	struct upg *upg;
	enum upg_received rc;

	character = dash ? dash + 1 : "";
	if (getenv(CHANNEL_VARIABLE))
		channel = atoi(getenv(CHANNEL_VARIABLE));
	if (is("mute"))
		for (;;)
			pause();
	if (is("noise"))
		make_noise();
	signal(SIGUSR2, on_noise);
	if (is("lingers"))
		signal(SIGTERM, SIG_IGN);
	if (open_as(&upg) < 0)
		return 1;
	if (is("daemonizes") && daemon(0, 1) < 0)
		return 1;
	if (is("starts-slowly") || is("starts-silently"))
		start_slowly(upg, is("starts-silently"));
	rc = upg_receive(upg);
	if (rc == UPG_FRESH)
		notes = NOTES;
	if (is("litters"))
		litter();
	if (rc == UPG_RECEIVED)
		before_commit(upg);
	if (rc != UPG_FRESH && rc != UPG_RECEIVED)
		return 0;
	if (upg_ready(upg) != UPG_SERVE)
		return 0;
	if (is("babbles") || is("leaves-chatter"))
		babble(is("leaves-chatter"));
	if (is("leaves-chatter")) {
		for (unsigned i = 0; i < 10; i++)
			nap();
		_exit(1);
	}
	if (strncmp(character, "hires", 5) == 0 && rc == UPG_FRESH)
		hire();
	if (is("warms") || is("warms-silently"))
		warm_up(upg);
	return serve(upg);
}
