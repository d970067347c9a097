/* SPDX-License-Identifier: MIT */
/* What systemd has opened for upgraded, and what of it a service gets by Listen=systemd:NAME. A process of the test's stands for
 * one that systemd has started; tests/systemd has a real one. */
#include "supervisor/systemd/activation.h"

#include "base/base.h"
#include "supervisor/process/listeners.h"
#include "supervisor/systemd/store.h"
#include "supervisor/unit/unit.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(activation, .timeout = 30);

#define GIVEN 5 /* descriptors 3 to 7: two of one name, another one, a stored one, and one that is no socket */
#define NAMES "web:web:admin:upg-7-c:web"

static struct why why;
static uint16_t ports[GIVEN];

static int open_listener(uint16_t *ret_port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 5) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &size) < 0)
		_exit(101);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

/* Return: the exit status of a process in which @does ran, with what systemd gives in its place. */
static int started_with(const char *pid_of, int (*does)(struct activation *activation))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct activation *activation;
		char number[32];

		for (int i = 0; i < GIVEN; i++) {
			int fd = i == GIVEN - 1 ? open("/dev/null", O_RDONLY) : open_listener(&ports[i]);

			dup2(fcntl(fd, F_DUPFD, 100), 50 + i);
			close(fd);
		}
		for (int i = 0; i < GIVEN; i++)
			dup2(50 + i, STORE_FDS_START + i);
		snprintf(number, sizeof(number), "%d", (int)getpid());
		setenv("LISTEN_PID", pid_of ? pid_of : number, 1);
		setenv("LISTEN_FDS", "5", 1);
		setenv("LISTEN_FDNAMES", NAMES, 1);
		_exit(activation_open(&activation, &why) < 0 ? 100 : does(activation));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int line(bool is_so, int number)
{
	return is_so ? 0 : number;
}

#define MUST(what) \
	do { \
		int number = line(what, __LINE__ - 50); \
		if (number) \
			return number; \
	} while (0)

static int has_what_was_opened(struct activation *activation)
{
	char names[64];

	MUST(activation_get(activation, "web", 0) == 3);
	MUST(activation_get(activation, "web", 1) == 4);
	MUST(activation_get(activation, "web", 2) == -1);
	MUST(activation_get(activation, "admin", 0) == 5);
	MUST(activation_get(activation, "upg-7-c", 0) == -1);
	MUST(strcmp(activation_names(activation, names, sizeof(names)), "web, admin") == 0);
	MUST(fcntl(3, F_GETFD) == FD_CLOEXEC);
	activation_free(activation);
	MUST(fcntl(3, F_GETFD) < 0);
	MUST(fcntl(6, F_GETFD) >= 0); /* it is the store's */
	return 0;
}

Test(activation, has_listeners_by_name_and_leaves_the_store_its_own)
{
	cr_assert_eq(started_with(NULL, has_what_was_opened), 0);
}

static int leaves_them(struct activation *activation)
{
	struct store *store;

	setenv("FDSTORE", "9", 1);
	setenv("NOTIFY_SOCKET", "@nobody-listens-here", 1);
	MUST(store_open(NULL, &store, &why) == 0);
	store_settle(store);
	MUST(fcntl(activation_get(activation, "admin", 0), F_GETFD) >= 0);
	MUST(!getenv("LISTEN_FDS"));
	return 0;
}

Test(activation, keeps_them_when_what_was_stored_is_settled)
{
	cr_assert_eq(started_with(NULL, leaves_them), 0);
}

static int has_nothing(struct activation *activation)
{
	char names[64];

	MUST(activation_get(activation, "web", 0) == -1);
	MUST(strcmp(activation_names(activation, names, sizeof(names)), "none") == 0);
	return 0;
}

Test(activation, believes_nothing_that_is_another_process_s)
{
	cr_assert_eq(started_with("1", has_nothing), 0);
}

static int gives_them(struct activation *activation)
{
	struct listeners listeners = { .activation = activation };
	const struct unit_listen *failed;
	struct unit *unit;
	char text[64];

	MUST(unit_parse("x", "x.conf", "[Service]\nExec=/srv/%v/x\nListen=systemd:web name=http\n", &unit, &why) == 0);
	MUST(listeners_open(&listeners, unit, true, NULL, &failed, &why) == 0);
	MUST(listeners.n == 2);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ports[0]);
	MUST(strcmp(listeners.list[0].place.text, text) == 0);
	MUST(strcmp(listeners.list[1].place.options.name, "http") == 0);
	MUST(listeners.list[0].ref && listeners.list[0].ref->fd != 3);
	/* Once more is the same. */
	MUST(listeners_open(&listeners, unit, true, NULL, &failed, &why) == 0);
	MUST(listeners.n == 2);
	unit_free(unit);
	/* Another version does not name it: it is closed here, and systemd's own stays. */
	MUST(unit_parse("x", "x.conf", "[Service]\nExec=/srv/%v/x\nListen=systemd:admin\n", &unit, &why) == 0);
	MUST(listeners_open(&listeners, unit, true, NULL, &failed, &why) == 0);
	MUST(listeners.n == 3);
	listeners_keep(&listeners, (const struct unit *const *)&unit, 1);
	MUST(listeners.n == 1);
	MUST(fcntl(3, F_GETFD) >= 0);
	unit_free(unit);
	MUST(unit_parse("x", "x.conf", "[Service]\nExec=/srv/%v/x\nListen=systemd:other\n", &unit, &why) == 0);
	MUST(listeners_open(&listeners, unit, true, NULL, &failed, &why) == -ENOENT);
	MUST(strstr(why.text, "x.conf:3: Listen=systemd:other: systemd has opened no socket of that name"));
	MUST(strstr(why.text, "there are: web, admin"));
	unit_free(unit);
	return 0;
}

Test(activation, becomes_the_listeners_of_a_service_that_names_it)
{
	cr_assert_eq(started_with(NULL, gives_them), 0);
}
