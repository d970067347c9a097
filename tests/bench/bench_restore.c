/* SPDX-License-Identifier: MIT */
/* What a restore by upgraded costs above what CRIU itself takes: cached with a heap of three sizes, imaged by a roll; the image is
 * restored by hand (`criu restore`, the same image, the same stand-ins), then by the daemon, in turns. By hand it is the
 * command from its start to its end. The daemon's figure is all from hearing of the new version's end to the moment the old one
 * serves: what it verifies, criu, taking the process over, and giving it its sockets. */
#include "base/clock.h"
#include "base/fd.h"
#include "tests/bench/bench.h"
#include "tests/bench/served.h"
#include "tests/rig/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TARGET 1.3
#define ROUNDS_MAX 9u
#define VALUE_BYTES 100000u
#define WAIT_US (180 * USEC_PER_SEC)
#define CHANNEL_FD 10 /* in criu */
#define LOG_FD 11

struct size {
	const char *name;
	unsigned megabytes, rounds;
};

static const struct size sizes[] = { { "10 MB", 10, 9 }, { "100 MB", 100, 7 }, { "1 GB", 1000, 3 } };

/* What the image calls the process's channel and outputs. */
struct image {
	char path[PATH_MAX];
	char channel[64], log[64];
	pid_t pid;
};

static void die(const char *what)
{
	fprintf(stderr, "bench_restore: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static void fill(uint16_t port, unsigned megabytes)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char value[VALUE_BYTES + 2];
	char text[128];

	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	for (unsigned i = 0; i < VALUE_BYTES; i++)
		value[i] = (char)('a' + i % 23);
	memcpy(value + VALUE_BYTES, "\r\n", 2);
	for (unsigned i = 0; i < megabytes * (1000000 / VALUE_BYTES); i++) {
		int n = snprintf(text, sizeof(text), "set key:%u 0 0 %u noreply\r\n", i, VALUE_BYTES);

		if (fd_write_all(fd, text, (size_t)n, 0) < 0 || fd_write_all(fd, value, sizeof(value), 0) < 0)
			die("set");
	}
	/* Answered when all before it is done. */
	if (fd_write_all(fd, "version\r\n", 9, 0) < 0 || recv(fd, text, sizeof(text), 0) <= 0)
		die("version");
}

/* ---- the image ---- */

static void image_find(struct rig *rig, struct image *image)
{
	char pattern[PATH_MAX + 16], line[256];
	unsigned long long number;
	FILE *file;

	snprintf(pattern, sizeof(pattern), "ls -d %s/state/images/cached/[0-9]* | tail -n 1", rig_folder(rig));
	file = popen(pattern, "re");
	if (!file || !fgets(image->path, sizeof(image->path), file))
		die("no image");
	pclose(file);
	image->path[strcspn(image->path, "\n")] = '\0';
	snprintf(pattern, sizeof(pattern), "%s/manifest", image->path);
	file = fopen(pattern, "re");
	if (!file)
		die(pattern);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "pid=%llu", &number) == 1)
			image->pid = (pid_t)number;
		else if (sscanf(line, "control_inode=%llu", &number) == 1)
			snprintf(image->channel, sizeof(image->channel), "fd[%d]:socket:[%llu]", CHANNEL_FD, number);
		else if (sscanf(line, "stdout_inode=%llu", &number) == 1)
			snprintf(image->log, sizeof(image->log), "fd[%d]:pipe:[%llu]", LOG_FD, number);
	}
	fclose(file);
}

/* ---- by hand ---- */

static const char *criu_path(void)
{
	return getenv("UPG_CRIU") ? getenv("UPG_CRIU") : access("build/criu/bin/criu", X_OK) == 0 ? "build/criu/bin/criu" : "criu";
}

__attribute__((noreturn)) static void criu_exec(const char *work, const struct image *image, int channel, int log)
{
	int null = open("/dev/null", O_RDWR);
	char path[PATH_MAX];

	if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || dup2(channel, CHANNEL_FD) < 0 || dup2(log, LOG_FD) < 0)
		_exit(126);
	/* What the daemon asks for, too. */
	snprintf(path, sizeof(path), "%s", criu_path());
	close_range(LOG_FD + 1, ~0u, 0);
	close_range(3, CHANNEL_FD - 1, 0);
	execlp(path, path, "restore", "-D", image->path, "-W", work, "-o", "by-hand.log", "-v3", "--restore-detached",
	       "--manage-cgroups=ignore", "--tcp-close", "--ext-unix-sk", "--file-locks", "--inherit-fd", image->channel,
	       "--inherit-fd", image->log, NULL);
	_exit(127);
}

/* Return: ms. Afterwards the process is gone again, and its pid is free. */
static double restore_by_hand(struct rig *rig, const struct image *image)
{
	int channel[2], log[2], status;
	uint64_t begun_us, took_us;
	pid_t criu;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel) < 0 || pipe2(log, O_CLOEXEC) < 0)
		die("stand-ins");
	begun_us = clock_now_us();
	criu = fork();
	if (criu == 0)
		criu_exec(rig_folder(rig), image, channel[1], log[1]);
	if (waitpid(criu, &status, 0) < 0)
		die("criu");
	took_us = clock_now_us() - begun_us;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "bench_restore: criu restore by hand failed, status %#x: see %s/by-hand.log\n", (unsigned)status,
			rig_folder(rig));
		exit(EXIT_FAILURE);
	}
	/* Its parent ended: it is a child of this process now, as the nearest that takes orphans in. */
	if (kill(image->pid, SIGKILL) < 0 || waitpid(image->pid, &status, 0) != image->pid)
		die("the restored process");
	fd_close(channel[0]);
	fd_close(channel[1]);
	fd_close(log[0]);
	fd_close(log[1]);
	return (double)took_us / 1e3;
}

/* ---- by the daemon ---- */

static double restore_by_daemon(struct rig *rig, double *ret_image_mb, double *ret_criu_ms)
{
	json_t *status;
	double took_ms;

	if (kill(bench_pid_of(rig, "serving"), SIGKILL) < 0)
		die("kill");
	bench_must(rig_wait_status(rig, "cached", "running", "v2", WAIT_US));
	status = rig_status(rig, "cached");
	if (strcmp(rig_text(status, "last_roll.outcome"), "rolled-back-image") != 0)
		bench_must(rig_fail(rig, -EPROTO, "the roll ended as %s", rig_text(status, "last_roll.outcome")));
	took_ms = (double)(rig_number(status, "last_roll.resume_us") - rig_number(status, "last_roll.died_us")) / 1e3;
	*ret_image_mb = (double)rig_number(status, "last_roll.image_bytes") / 1e6;
	*ret_criu_ms = (double)rig_number(status, "last_roll.restore_us") / 1e3;
	json_decref(status);
	return took_ms;
}

static void wait_for_image(struct rig *rig)
{
	uint64_t until_us = clock_now_us() + WAIT_US;

	for (;;) {
		json_t *status = rig_status(rig, "cached");
		bool there = strcmp(rig_text(status, "last_roll.way_back"), "image") == 0 &&
			     strcmp(rig_text(status, "state"), "baking") == 0;

		json_decref(status);
		if (there)
			return;
		if (clock_now_us() > until_us)
			bench_must(rig_fail(rig, -ETIMEDOUT, "no image was taken"));
		usleep(20000);
	}
}

static void bench_size(struct bench *bench, struct rig *rig, const struct size *size)
{
	double hand_ms[ROUNDS_MAX], daemon_ms[ROUNDS_MAX], criu_ms[ROUNDS_MAX], image_mb = 0, hand, ours;
	char name[96];

	for (unsigned i = 0; i < size->rounds; i++) {
		struct image image = { .pid = 0 };

		bench_ctl(rig, "roll", "v3", "--wait=commit");
		wait_for_image(rig);
		sync();
		image_find(rig, &image);
		if (i == 0)
			restore_by_hand(rig, &image); /* both find its files in memory from here on */
		hand_ms[i] = restore_by_hand(rig, &image);
		daemon_ms[i] = restore_by_daemon(rig, &image_mb, &criu_ms[i]);
	}
	hand = bench_median(hand_ms, size->rounds);
	ours = bench_median(daemon_ms, size->rounds);
	snprintf(name, sizeof(name), "restore from image, %s of heap, to `criu restore`", size->name);
	bench_row(bench, name, ours / hand, "times", TARGET, false);
	bench_note("  image", image_mb, "MB");
	bench_note("  by hand: median", hand, "ms");
	bench_note("  by the daemon, until it serves: median", ours, "ms");
	bench_note("  ... of which criu", bench_median(criu_ms, size->rounds), "ms");
}

int main(int argc, char **argv)
{
	struct bench bench = { 0 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct rig *rig;
		uint16_t port;

		/* bench_restore MEGABYTES: that size only. */
		if (argc > 1 && (unsigned)atoi(argv[1]) != sizes[i].megabytes)
			continue;
		bench_must(rig_new("bench", &rig));
		port = rig_port(rig);
		bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){
			.port = port, .version = "v2", .options = "-m 2000",
			.lines = "Bake=30min\nRollback=image\nImageTimeout=2min\nTransferTimeout=2min\nStateMax=8G\n" }));
		bench_must(rig_daemon_start(rig, NULL));
		bench_ctl(rig, "start", NULL, NULL);
		fill(port, sizes[i].megabytes);
		bench_size(&bench, rig, &sizes[i]);
		bench_must(rig_daemon_stop(rig));
		rig_free(rig);
	}
	return bench_end(&bench);
}
