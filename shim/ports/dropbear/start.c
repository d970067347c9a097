/* SPDX-License-Identifier: MIT */
/* dropbear's master and its supervisor: from the start, through select(), to the end. */
#include <port.h>

#include <dbutil.h>
#include <runopts.h>

struct upg *upgrade_handle;

/* ---- the start ---- */

/* It was called off, or another one serves: then nothing is said, and nothing is touched. */
static void leave(void)
{
	const char *why = upg_why(upgrade_handle);

	if (*why)
		fprintf(stderr, "dropbear: %s\n", why);
	exit(*why ? EXIT_FAILURE : EXIT_SUCCESS);
}

void upgrade_open(const struct upgrade_table *table)
{
	upgrade_children_open(table);
	if (upg_open(&upgrade_config, &upgrade_handle) < 0)
		dropbear_exit("%s", upg_why(NULL));
	if (upg_fd(upgrade_handle) >= 0 && svr_opts.forkbg)
		dropbear_exit("A supervisor needs it in the foreground: add -F to Exec=");
}

void upgrade_receive(void)
{
	if (upg_receive(upgrade_handle) == UPG_NOT_RECEIVED)
		leave();
}

/* A new one is as the program's own: sessions inherit how it lingers and what it does not wait for. */
static void dress(int sock)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 5 };

	setsockopt(sock, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	set_sock_nodelay(sock);
}

int upgrade_listen(const char *address, const char *port, int *socks, unsigned int sockcount, char **errstring, int *maxfd)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = address ? AI_PASSIVE : 0 };
	struct addrinfo *all = NULL;
	unsigned int n = 0;
	int failed = getaddrinfo(address && *address ? address : NULL, port, &hints, &all);

	if (failed)
		*errstring = m_strdup(gai_strerror(failed));
	for (const struct addrinfo *info = failed ? NULL : all; info && n < sockcount; info = info->ai_next) {
		int fd = upg_listen(upgrade_handle, info->ai_addr, info->ai_addrlen, SOCK_STREAM, DROPBEAR_LISTEN_BACKLOG);

		if (fd < 0) {
			m_free(*errstring);
			*errstring = m_strdup(upg_why(upgrade_handle));
			continue;
		}
		dress(fd);
		socks[n++] = fd;
		*maxfd = MAX(*maxfd, fd);
	}
	if (all)
		freeaddrinfo(all);
	if (n > 0)
		m_free(*errstring);
	return n > 0 ? (int)n : -1;
}

void upgrade_ready(void)
{
	if (upg_ready(upgrade_handle) != UPG_SERVE)
		leave();
}

void upgrade_write_pidfile(void)
{
	FILE *file = fopen(svr_opts.pidfile, "w");

	if (!file)
		return;
	fprintf(file, "%d\n", getpid());
	fclose(file);
}

/* ---- select() ---- */

void upgrade_watch(fd_set *fds, int *maxfd)
{
	int fd = upg_fd(upgrade_handle);

	if (fd < 0)
		return;
	FD_SET(fd, fds);
	*maxfd = MAX(*maxfd, fd);
}

void upgrade_turn(int found, fd_set *fds)
{
	int fd = upg_fd(upgrade_handle);

	if (found <= 0 || fd < 0 || !FD_ISSET(fd, fds))
		return;
	if (upg_dispatch(upgrade_handle) == UPG_LEAVE)
		exit(EXIT_SUCCESS); /* the file with the pid is the other's */
	FD_ZERO(fds);
}

/* ---- a session ---- */

void upgrade_child(void)
{
	upgrade_children_drop();
	upgrade_handle = upg_free(upgrade_handle);
}
