/* SPDX-License-Identifier: MIT */
/* Listen=: the addresses at which upgraded listens for a service. */
#include "supervisor/unit/private.h"

#include "base/door.h"
#include "base/why.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PATH_AT offsetof(struct sockaddr_un, sun_path)

static const struct sockaddr *at(const struct unit_listen *listen)
{
	return (const struct sockaddr *)(const void *)listen->at;
}

int unit_listen_family(const struct unit_listen *listen)
{
	return at(listen)->sa_family;
}

const char *unit_listen_path(const struct unit_listen *listen)
{
	const struct sockaddr_un *local = (const void *)listen->at;

	return local->sun_family == AF_UNIX && *local->sun_path ? local->sun_path : NULL;
}

/* ---- one address ---- */

static bool read_port(const char *text, uint16_t *ret)
{
	unsigned long port;
	char *end;

	if (!isdigit((unsigned char)*text) || strlen(text) > 5)
		return false;
	port = strtoul(text, &end, 10);
	if (*end || port < 1 || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

static void put(struct unit_listen *listen, const void *address, size_t bytes)
{
	_Static_assert(sizeof(struct sockaddr_un) <= sizeof(listen->at), "every address has room");
	memcpy(listen->at, address, bytes);
	listen->at_bytes = (unsigned)bytes;
}

static int read_v4(const char *text, struct unit_listen *listen)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	char host[INET_ADDRSTRLEN] = "";
	const char *colon = strrchr(text, ':');
	uint16_t port;

	if (!colon || (size_t)(colon - text) >= sizeof(host) || !read_port(colon + 1, &port))
		return -EINVAL;
	memcpy(host, text, (size_t)(colon - text));
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return -EINVAL;
	address.sin_port = htons(port);
	put(listen, &address, sizeof(address));
	return 0;
}

static int read_v6(const char *text, struct unit_listen *listen)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6 };
	const char *end = strchr(text, ']');
	char host[INET6_ADDRSTRLEN] = "";
	uint16_t port;

	if (!end || end[1] != ':' || (size_t)(end - text - 1) >= sizeof(host) || !read_port(end + 2, &port))
		return -EINVAL;
	memcpy(host, text + 1, (size_t)(end - text - 1));
	if (inet_pton(AF_INET6, host, &address.sin6_addr) != 1)
		return -EINVAL;
	address.sin6_port = htons(port);
	put(listen, &address, sizeof(address));
	return 0;
}

/* A path, or after '@' a name that is no path: the kernel tells the two apart by a zero byte in its place. */
static int read_local(const char *text, struct unit_listen *listen)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t n = strlen(text);

	if (n < 2 || n >= sizeof(address.sun_path) || listen->type != SOCK_STREAM || (*text != '/' && *text != '@'))
		return -EINVAL;
	if (*text == '/' && text[n - 1] == '/')
		return -EINVAL;
	memcpy(address.sun_path, text, n);
	if (*text == '@')
		address.sun_path[0] = 0;
	put(listen, &address, PATH_AT + n + (*text == '/'));
	return 0;
}

/* What systemd has opened is known by its name alone: which addresses that are is its unit's to say. */
static bool read_systemd(const char *value, struct unit_listen *listen)
{
	if (unit_name_check("listener", value, NULL) < 0)
		return false;
	snprintf(listen->systemd, sizeof(listen->systemd), "%.*s", (int)UNIT_NAME_MAX, value);
	snprintf(listen->text, sizeof(listen->text), "systemd:%s", listen->systemd);
	return true;
}

/* ---- one line ---- */

/* A bare port stands for all addresses of the machine, of both families, as getaddrinfo() tells them to a program. */
static size_t read_any(uint16_t port, struct unit_listen listens[2])
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	listens[0].is_any = listens[1].is_any = true;
	put(&listens[0], &v4, sizeof(v4));
	put(&listens[1], &v6, sizeof(v6));
	return 2;
}

/* Return: how many addresses @value names; 0: it names none. */
static size_t read_value(const char *value, struct unit_listen listens[2])
{
	bool udp = strncmp(value, "udp:", 4) == 0;
	const char *text = udp || strncmp(value, "tcp:", 4) == 0 ? value + 4 : value;
	uint16_t port;
	int r;

	listens[0].type = listens[1].type = udp ? SOCK_DGRAM : SOCK_STREAM;
	if (strncmp(value, "systemd:", 8) == 0)
		return read_systemd(value + 8, &listens[0]) ? 1 : 0;
	if (read_port(text, &port))
		return read_any(port, listens);
	if (*text == '[')
		r = read_v6(text, listens);
	else if (*value == '/' || strncmp(value, "unix:", 5) == 0)
		r = read_local(*value == '/' ? value : value + 5, listens);
	else
		r = read_v4(text, listens);
	return r < 0 ? 0 : 1;
}

void unit_listen_tell(struct unit_listen *place)
{
	char text[sizeof(place->text) - 8];

	door_text(at(place), place->at_bytes, text, sizeof(text));
	snprintf(place->text, sizeof(place->text), "%s%s", place->type == SOCK_DGRAM ? "udp:" : "", text);
}

/* ---- two that cannot be open beside each other ---- */

static bool is_wildcard(const struct unit_listen *listen)
{
	static const struct in6_addr any = IN6ADDR_ANY_INIT;
	const struct sockaddr_in6 *v6 = (const void *)listen->at;
	const struct sockaddr_in *v4 = (const void *)listen->at;

	return at(listen)->sa_family == AF_INET ? v4->sin_addr.s_addr == INADDR_ANY :
						  memcmp(&v6->sin6_addr, &any, sizeof(any)) == 0;
}

static in_port_t port_of(const struct unit_listen *listen)
{
	const struct sockaddr_in6 *v6 = (const void *)listen->at;
	const struct sockaddr_in *v4 = (const void *)listen->at;

	return at(listen)->sa_family == AF_INET ? v4->sin_port : v6->sin6_port;
}

bool unit_listen_is(const struct unit_listen *one, const struct unit_listen *other)
{
	return one->type == other->type && one->at_bytes == other->at_bytes && memcmp(one->at, other->at, one->at_bytes) == 0;
}

bool unit_listen_names(const struct unit_listen *of, const struct unit_listen *place)
{
	return *of->systemd ? strcmp(of->systemd, place->systemd) == 0 : !*place->systemd && unit_listen_is(of, place);
}

static bool clash(const struct unit_listen *one, const struct unit_listen *other)
{
	if (*one->systemd || *other->systemd)
		return strcmp(one->systemd, other->systemd) == 0;
	if (unit_listen_is(one, other))
		return true;
	if (one->type != other->type || at(one)->sa_family != at(other)->sa_family || at(one)->sa_family == AF_UNIX)
		return false;
	return port_of(one) == port_of(other) && (is_wildcard(one) || is_wildcard(other));
}

/* ---- what stands behind the address ---- */

#define OPTIONS "name=NAME, backlog=N, reuseport, and of a path mode=, user= and group="

/* Of a path the mode, the user and the group are its file's; nothing else has a file. */
static bool has_file(const struct unit_listen *listen)
{
	return !*listen->systemd && unit_listen_path(listen);
}

static bool read_number(const char *text, int base, unsigned long most, unsigned *ret)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	n = strtoul(text, &end, base);
	if (*end || n < 1 || n > most)
		return false;
	*ret = (unsigned)n;
	return true;
}

static bool read_text(const char *text, char ret[static UNIT_NAME_MAX + 1])
{
	if (!*text || strlen(text) > UNIT_NAME_MAX || strpbrk(text, ":/,="))
		return false;
	snprintf(ret, UNIT_NAME_MAX + 1, "%s", text);
	return true;
}

static bool read_option(const char *word, const struct unit_listen *listen, struct unit_listen_options *ret)
{
	const char *value = strchr(word, '=');
	size_t n = value ? (size_t)(value - word) : strlen(word);

	if (!value) {
		ret->reuse_port = true;
		return strcmp(word, "reuseport") == 0 && !*listen->systemd && unit_listen_family(listen) != AF_UNIX;
	}
	value++;
	if (n == 4 && strncmp(word, "name", n) == 0)
		return unit_name_check("listener", value, NULL) == 0 && read_text(value, ret->name);
	if (n == 7 && strncmp(word, "backlog", n) == 0)
		return listen->type == SOCK_STREAM && !*listen->systemd && read_number(value, 10, 1000000, &ret->backlog);
	if (!has_file(listen))
		return false;
	if (n == 4 && strncmp(word, "mode", n) == 0)
		return read_number(value, 8, 0777, &ret->mode);
	if (n == 4 && strncmp(word, "user", n) == 0)
		return read_text(value, ret->user);
	return n == 5 && strncmp(word, "group", n) == 0 && read_text(value, ret->group);
}

/* Return: 0; -EINVAL: @ret_word, which is in @words, is none, or does not fit. */
static int read_options(char *words, const struct unit_listen *listen, struct unit_listen_options *ret, const char **ret_word)
{
	char *rest = NULL;

	for (char *word = strtok_r(words, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		*ret_word = word;
		if (!read_option(word, listen, ret))
			return -EINVAL;
	}
	return 0;
}

/* ---- */

static int add(struct unit *unit, const struct unit_line *line, const struct unit_listen *listen, struct why *why)
{
	for (size_t k = 0; k < unit->n_listens; k++)
		if (clash(listen, &unit->listens[k]))
			return why_set(why, -EINVAL, "%s:%u: Listen=%s: line %u has %s, and both cannot be listened at",
				       unit->path, line->number, line->value, unit->listens[k].line, unit->listens[k].text);
	if (unit->n_listens == UNIT_LISTENS_MAX)
		return why_set(why, -EINVAL, "%s:%u: Listen=%s: more than %u addresses (a bare port is two)", unit->path,
			       line->number, line->value, UNIT_LISTENS_MAX);
	unit->listens[unit->n_listens++] = *listen;
	return 0;
}

int unit_listen_add(struct unit *unit, const struct unit_line *line, struct why *why)
{
	struct unit_listen listens[2] = { { .line = line->number }, { .line = line->number } };
	size_t at_bytes = strcspn(line->value, " \t"), n;
	struct unit_listen_options options = { .mode = 0 };
	char value[256], words[512];
	const char *word;
	int r = 0;

	snprintf(value, sizeof(value), "%.*s", (int)at_bytes, line->value);
	snprintf(words, sizeof(words), "%s", line->value + at_bytes);
	n = strlen(line->value + at_bytes) < sizeof(words) && at_bytes < sizeof(value) ? read_value(value, listens) : 0;
	if (n == 0)
		return why_set(why, -EINVAL,
			       "%s:%u: Listen=%s: expected a port from 1 to 65535, ADDRESS:PORT, [ADDRESS]:PORT, each also with "
			       "udp: before it, an absolute path of at most 107 characters, unix:@NAME, or systemd:NAME",
			       unit->path, line->number, line->value);
	if (read_options(words, &listens[0], &options, &word) < 0)
		return why_set(why, -EINVAL, "%s:%u: Listen=%s: '%s' is nothing that may stand behind that address; known are "
			       OPTIONS, unit->path, line->number, line->value, word);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (!*listens[i].systemd)
			unit_listen_tell(&listens[i]);
		listens[i].options = options;
		r = add(unit, line, &listens[i], why);
	}
	return r;
}
