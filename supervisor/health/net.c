/* SPDX-License-Identifier: MIT */
/* HealthHTTP= and HealthTCP=: libcurl asks, on our loop. libcurl names the sockets and the time that it waits for, and is called
 * when they are due; it never waits itself. A run is bounded by our timer and not by libcurl's: when the loop comes late, libcurl
 * would find its own timeout due before it reads an answer that came in time. */
#include "supervisor/health/private.h"

#include "base/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define BODY_MAX_BYTES (64u << 10)

/* A socket that libcurl wants watched. */
struct health_socket {
	struct source source;
	struct health *health;
};

static void finish(struct health_check *check, CURLcode code);

/* Hear the checks that libcurl has finished. Nothing in here calls libcurl for another check, so the list does not change
 * meanwhile. */
static void reap(struct health *health)
{
	const CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(health->multi, &left))) {
		struct health_check *check;
		CURLcode code = message->data.result;
		char *private = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		check = (void *)private;
		finish(check, code);
	}
}

static void on_net_timer(struct timer *timer)
{
	struct health *health = container_of(timer, struct health, net_timer);
	int running;

	curl_multi_socket_action(health->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(health);
}

static void on_socket(struct source *source, uint32_t events)
{
	struct health_socket *sock = container_of(source, struct health_socket, source);
	struct health *health = sock->health;
	int action = 0, running;

	if (events & (EPOLLIN | EPOLLHUP))
		action |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		action |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		action |= CURL_CSELECT_ERR;
	curl_multi_socket_action(health->multi, source->fd, action, &running); /* may free @sock */
	reap(health);
}

static int forget_socket(struct health *health, curl_socket_t fd, struct health_socket *sock)
{
	if (sock)
		source_del(&sock->source);
	free(sock);
	curl_multi_assign(health->multi, fd, NULL);
	return 0;
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *assigned)
{
	struct health *health = user;
	struct health_socket *sock = assigned;
	uint32_t events = 0;
	int r;

	(void)easy;
	if (what == CURL_POLL_REMOVE)
		return forget_socket(health, fd, sock);
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	if (sock) {
		r = source_set(&sock->source, events);
	} else {
		sock = calloc(1, sizeof(*sock));
		if (!sock)
			return -1;
		sock->health = health;
		r = source_add(health->loop, &sock->source, fd, events, on_socket);
		if (r < 0)
			free(sock);
		else
			curl_multi_assign(health->multi, fd, sock);
	}
	return r < 0 ? -1 : 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *user)
{
	struct health *health = user;

	(void)multi;
	if (timeout_ms < 0)
		timer_disarm(&health->net_timer);
	else
		timer_arm(health->loop, &health->net_timer, clock_now_us() + (uint64_t)timeout_ms * USEC_PER_MSEC, on_net_timer);
	return 0;
}

/* ---- one run ---- */

/* The body's first line may say what is wrong; the rest only counts against the cap. */
static size_t take_body(char *data, size_t size, size_t n, void *user)
{
	struct health_check *check = user;
	const char *end;

	size *= n;
	end = memchr(data, '\n', size);
	if (!check->body_bytes)
		last_line_put(&check->output.line, data, end ? (size_t)(end - data) : size);
	check->body_bytes += size;
	/* Beyond the cap the rest is not read: only the status counts, and it came before the body. */
	return check->body_bytes > BODY_MAX_BYTES ? CURL_WRITEFUNC_ERROR : size;
}

static void close_easy(struct health_check *check)
{
	curl_multi_remove_handle(check->health->multi, check->easy);
	curl_easy_cleanup(check->easy);
	check->easy = NULL;
	free(check->error);
	check->error = NULL;
}

static void tell_failure(struct health_check *check, CURLcode code, long error, const char *text)
{
	if (error)
		health_check_done(check, false, "%s", strerror((int)error));
	else
		health_check_done(check, false, "%s", *text ? text : curl_easy_strerror(code));
}

static void finish(struct health_check *check, CURLcode code)
{
	bool enough = check->body_bytes > BODY_MAX_BYTES;
	long status = 0, error = 0;
	char text[CURL_ERROR_SIZE];
	const char *line;

	curl_easy_getinfo(check->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(check->easy, CURLINFO_OS_ERRNO, &error);
	memcpy(text, check->error, sizeof(text));
	close_easy(check);
	timer_disarm(&check->timer);
	if (code != CURLE_OK && !enough) {
		tell_failure(check, code, code == CURLE_COULDNT_CONNECT ? error : 0, text);
		return;
	}
	if (check->unit->kind == CHECK_TCP) {
		health_check_done(check, true, "connected");
		return;
	}
	line = last_line_get(&check->output.line);
	if (status >= 200 && status < 400)
		health_check_done(check, true, "HTTP status %ld", status);
	else
		health_check_done(check, false, "HTTP status %ld%s%s", status, *line ? ": " : "", line);
}

static int set_options(struct health_check *check)
{
	CURL *easy = check->easy;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, check->url);

#define SET(option, value) \
	if (code == CURLE_OK) \
	code = curl_easy_setopt(easy, option, value)
	SET(CURLOPT_PRIVATE, check);
	SET(CURLOPT_ERRORBUFFER, check->error);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, check);
	SET(CURLOPT_USERAGENT, "upgraded");
	SET(CURLOPT_PROTOCOLS_STR, "http");
	/* The environment of this daemon may name a proxy, but the service itself is to be asked. */
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	/* Each run asks as a new client would, and leaves nothing open. */
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	/* Do not wait for libcurl's thread that looks a name up. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	if (check->unit->kind == CHECK_TCP) {
		SET(CURLOPT_CONNECT_ONLY, 1L);
	}
#undef SET
	return code == CURLE_OK ? 0 : -ENOMEM;
}

static int open_multi(struct health *health)
{
	if (health->multi)
		return 0;
	health->multi = curl_multi_init();
	if (!health->multi)
		return -ENOMEM;
	curl_multi_setopt(health->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(health->multi, CURLMOPT_SOCKETDATA, health);
	curl_multi_setopt(health->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(health->multi, CURLMOPT_TIMERDATA, health);
	return 0;
}

int health_net_start(struct health_check *check, struct why *why)
{
	struct health *health = check->health;

	if (open_multi(health) < 0)
		return why_errno(why, -ENOMEM, "libcurl");
	check->body_bytes = 0;
	check->error = calloc(1, CURL_ERROR_SIZE);
	check->easy = check->error ? curl_easy_init() : NULL;
	/* libcurl begins by its timer, so nothing else is to be called. */
	if (check->easy && set_options(check) == 0 && curl_multi_add_handle(health->multi, check->easy) == CURLM_OK)
		return 0;
	curl_easy_cleanup(check->easy);
	check->easy = NULL;
	free(check->error);
	check->error = NULL;
	return why_errno(why, -ENOMEM, "libcurl");
}

void health_net_cancel(struct health_check *check)
{
	if (check->easy)
		close_easy(check);
}

void health_net_done(struct health *health)
{
	if (health->multi)
		curl_multi_cleanup(health->multi);
	health->multi = NULL;
	timer_disarm(&health->net_timer);
}
