/* SPDX-License-Identifier: MIT */
/* upg-wild: a service that does anything. Some processes of it answer as they should and slip now and then, so that rolls get far;
 * others hardly listen. What each does follows from UPG_FUZZ_SEED, the name it was started by, and how many were started before it
 * (the length of the file UPG_FUZZ_TURNS, to which each adds a byte). */
#include "base/fd.h"
#include "tests/wild/answer.h"
#include "tests/wild/things.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TURN_MS 20u
#define EARLY 4u         /* percent of processes that play a trick before they say hello */
#define HIDDEN_SECONDS 3u /* that a process lives which upgraded does not end: it is in no session that upgraded made */

static struct actor actor = { .channel = -1, .state = -1, .journal = -1 };
static struct dice *const dice = &actor.inventor.dice;
static bool hidden; /* this process is such a one */

/* How wild this process is. */
struct temper {
	unsigned share;       /* percent of processes */
	unsigned deaf;        /* percent of messages that are not answered */
	unsigned slips;       /* percent of answers that are not as they should be */
	unsigned mischief;    /* tricks in a thousand turns */
};

static const struct temper tempers[] = {
	{ .share = 40, .deaf = 0, .slips = 0, .mischief = 1 },
	{ .share = 25, .deaf = 1, .slips = 2, .mischief = 10 },
	{ .share = 20, .deaf = 3, .slips = 10, .mischief = 50 },
	{ .share = 10, .deaf = 30, .slips = 30, .mischief = 200 },
	{ .share = 5, .deaf = 90, .slips = 50, .mischief = 700 },
};

static void nap(size_t ms)
{
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L }, NULL);
}

/* ---- what it says ---- */

static void say_anything(void)
{
	ProtobufCMessage *message = invent_body(&actor.inventor, &upgraded__wire__app_message__descriptor);
	int fds[WIRE_FDS_MAX];
	size_t n = dice_percent(dice, 40) ? things_some(dice, actor.channel, fds, WIRE_FDS_MAX) : 0;

	wire_send(actor.channel, message, fds, n, NULL);
	things_close(fds, n);
	protobuf_c_message_free_unpacked(message, NULL);
}

static void say_much(void)
{
	for (size_t i = dice_below(dice, 300); i > 0; i--)
		say_anything();
}

static void say_garbage(void)
{
	for (size_t i = 1 + dice_below(dice, 5); i > 0; i--)
		things_send_garbage(dice, actor.channel);
}

static void print_anything(void)
{
	bool much = dice_percent(dice, 10);
	FILE *out = dice_percent(dice, 50) ? stdout : stderr;

	for (size_t i = much ? 2000 : dice_below(dice, 5); i > 0; i--) {
		char *text = invent_text(&actor.inventor);

		fprintf(out, dice_percent(dice, 90) ? "%s\n" : "%s", text);
		free(text);
	}
	fflush(out);
}

static void print_no_more(void)
{
	close(dice_percent(dice, 50) ? STDOUT_FILENO : STDERR_FILENO);
}

/* ---- what it does to the channel ---- */

static void be_silent(void)
{
	nap(dice_below(dice, 3000));
}

static void half_close(void)
{
	shutdown(actor.channel, dice_percent(dice, 50) ? SHUT_WR : SHUT_RD);
}

static void hang_up(void)
{
	shutdown(actor.channel, SHUT_RDWR);
	close(actor.channel);
	nap(dice_below(dice, 1000));
	if (dice_percent(dice, 50))
		_exit((int)dice_below(dice, 256));
	actor.channel = open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* ---- what it does to shared memory and to the state ---- */

static void take_the_word(void)
{
	if (!actor.word.word)
		return;
	if (dice_percent(dice, 70))
		commit_take(&actor.word, dice_percent(dice, 50) ? COMMIT_NEW : COMMIT_ABORTED);
	else
		atomic_store(actor.word.word, dice_any(dice));
}

static void scribble_in_journal(void)
{
	enum { PAGES = 16 * 4096 };
	char *memory;

	if (actor.journal < 0)
		return;
	if (ftruncate(actor.journal, (off_t)dice_below(dice, PAGES)) == 0)
		return; /* it would be the end of this process, too */
	memory = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, actor.journal, 0);
	if (memory == MAP_FAILED)
		return;
	for (size_t i = dice_below(dice, 200); i > 0; i--)
		memory[dice_below(dice, PAGES)] = (char)dice_any(dice);
	munmap(memory, PAGES);
}

static void scribble_in_state(void)
{
	char bytes[4096];

	dice_fill(dice, bytes, sizeof(bytes));
	(void)!write(actor.state, bytes, dice_below(dice, sizeof(bytes)));
	if (dice_percent(dice, 30))
		actor.state = fd_close(actor.state);
}

/* ---- what becomes of the process ---- */

static void end(void)
{
	static const int signals[] = { SIGKILL, SIGABRT, SIGSEGV, SIGTERM, SIGPIPE };

	if (dice_percent(dice, 50))
		_exit((int)dice_below(dice, 256));
	signal(SIGTERM, SIG_DFL);
	kill(getpid(), signals[dice_below(dice, 5)]);
}

/* Somebody wakes it after a while, or nobody does. */
static void stop(void)
{
	pid_t self = getpid();

	if (hidden)
		return; /* no alarm would end it */
	if (dice_percent(dice, 70) && fork() == 0) {
		nap(100 + dice_below(dice, 2000));
		kill(self, SIGCONT);
		_exit(0);
	}
	raise(SIGSTOP);
}

/* One that holds the channel and all that came over it, for ever unless it is hidden, or one that ends at once. */
static void have_child(void)
{
	bool hides = hidden || dice_percent(dice, 30);

	if (fork() != 0)
		return;
	if (hides)
		setsid();
	signal(SIGTERM, dice_percent(dice, 50) ? SIG_IGN : SIG_DFL);
	if (dice_percent(dice, 30))
		_exit(0);
	if (hides) {
		nap(dice_below(dice, 1000 * HIDDEN_SECONDS));
		_exit(0);
	}
	for (;;)
		pause();
}

/* The parent goes, its child goes on with the channel. */
static void become_daemon(void)
{
	if (fork() > 0)
		_exit(0);
	alarm(HIDDEN_SECONDS);
	hidden |= dice_percent(dice, 50);
	if (hidden)
		setsid();
}

static void spin(void)
{
	clock_t until = clock() + CLOCKS_PER_SEC / 5;

	while (clock() < until)
		;
}

static void disguise(void)
{
	static const char *const names[] = { "a) R 1 (b", "", ")))", "\n\n 0 0", "upgraded" };

	prctl(PR_SET_NAME, names[dice_below(dice, 5)]);
	prctl(PR_SET_DUMPABLE, dice_percent(dice, 50));
	signal(SIGTERM, dice_percent(dice, 50) ? SIG_IGN : SIG_DFL);
}

static void (*const tricks[])(void) = {
	say_anything, say_anything, say_anything, say_anything, say_much, say_garbage, say_garbage, print_anything, print_no_more,
	be_silent, half_close, hang_up, take_the_word, scribble_in_journal, scribble_in_state, end, stop, have_child, become_daemon,
	spin, disguise,
};

/* ---- its life ---- */

static void hear(const struct temper *temper)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	static struct wire_fds fds;
	ProtobufCMessage *message;
	int r = wire_receive(actor.channel, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, NULL);

	if (r == WIRE_CLOSED)
		_exit(0);
	if (r != WIRE_OK)
		return;
	invent_hear(&actor.inventor, message);
	if (!dice_percent(dice, temper->deaf))
		actor_answer(&actor, (Upgraded__Wire__AppMessage *)message, &fds);
	wire_fds_close(&fds);
	protobuf_c_message_free_unpacked(message, NULL);
}

static void live(const struct temper *temper)
{
	for (;;) {
		struct pollfd ready = { .fd = actor.channel, .events = POLLIN };

		if (poll(&ready, 1, (int)dice_below(dice, TURN_MS)) > 0 && ready.revents)
			hear(temper);
		if (dice_below(dice, 1000) < temper->mischief)
			tricks[dice_below(dice, sizeof(tricks) / sizeof(*tricks))]();
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

/* Return: how many processes were started before this one. */
static uint64_t turn(void)
{
	const char *path = getenv("UPG_FUZZ_TURNS");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
	off_t at = -1;

	if (fd >= 0 && write(fd, ".", 1) == 1)
		at = lseek(fd, 0, SEEK_CUR);
	if (fd >= 0)
		close(fd);
	return (uint64_t)at;
}

static const struct temper *temper_choose(void)
{
	size_t throw = dice_below(dice, 100);
	const struct temper *temper = tempers;

	while (throw >= temper->share)
		throw -= temper++->share;
	return temper;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("UPG_FUZZ_SEED"), *number = getenv(WIRE_FD_ENV);
	const struct temper *temper;
	uint64_t nth = turn();

	dice_init(dice, seed ? strtoull(seed, NULL, 0) : 1, dice_name(argc > 0 ? argv[0] : "") + nth);
	temper = temper_choose();
	actor.slips = temper->slips;
	actor.inventor.hints = actor_hints();
	actor.inventor.plausible = 80;
	actor.channel = number ? atoi(number) : -1;
	(void)!nice(10); /* what is measured is the supervisor, not the machine */
	signal(SIGPIPE, SIG_IGN);
	printf("the %lluth, wild in class %td\n", (unsigned long long)nth, temper - tempers);
	fflush(stdout);
	if (dice_percent(dice, temper->deaf))
		say_anything();
	if (dice_percent(dice, EARLY))
		tricks[dice_below(dice, sizeof(tricks) / sizeof(*tricks))]();
	actor_start(&actor);
	live(temper);
}
