/* SPDX-License-Identifier: MIT */
/* Which CRIU there is, and what this process lets it do. */
#include "supervisor/criu/criu.h"

#include "base/trust.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where units/get-criu puts one that works on the running kernel, and where it is installed itself. */
static const char *const places[] = { "/var/lib/upgraded/criu/bin/criu", "/usr/local/lib/upgraded/criu/bin/criu", NULL };
static const char *const getters[] = { "/usr/lib/upgraded/get-criu", "/usr/local/lib/upgraded/get-criu", NULL };

int criu_find_among(const char *const list[], char *ret_path, size_t size, struct why *why)
{
	int r;

	for (size_t i = 0; list[i]; i++) {
		if (access(list[i], X_OK) < 0)
			continue;
		r = trust_path(list[i], why);
		if (r < 0)
			return r;
		snprintf(ret_path, size, "%s", list[i]);
		return 0;
	}
	return why_set(why, -ENOENT, "no criu was brought");
}

const char *criu_getter(void)
{
	for (size_t i = 0; getters[i] && geteuid() == 0; i++)
		if (access(getters[i], X_OK) == 0)
			return getters[i];
	return NULL;
}

int criu_find(const char *criu_path, char *ret_path, size_t size, struct why *why)
{
	const char *path = getenv("PATH");
	int n;

	if (!criu_path || !*criu_path)
		return why_set(why, -ENOENT, "no criu is configured");
	if (strchr(criu_path, '/')) {
		n = snprintf(ret_path, size, "%s", criu_path);
		if (n < 0 || (size_t)n >= size)
			return why_set(why, -ENAMETOOLONG, "the path of criu is too long");
		return access(ret_path, X_OK) == 0 ? 0 : why_errno(why, -errno, "%s", criu_path);
	}
	if (!strcmp(criu_path, CRIU_DEFAULT)) {
		n = criu_find_among(places, ret_path, size, why);
		if (n != -ENOENT)
			return n;
	}
	while (path && *path) {
		size_t length = strcspn(path, ":");

		n = snprintf(ret_path, size, "%.*s/%s", (int)length, path, criu_path);
		if (length > 0 && n > 0 && (size_t)n < size && access(ret_path, X_OK) == 0)
			return 0;
		path += length + (path[length] == ':');
	}
	return why_set(why, -ENOENT, "%s is not in any folder of PATH", criu_path);
}

/* CRIU sets the user of a restored process first and its limits afterwards. Raising a hard limit takes CAP_SYS_RESOURCE then. */
bool criu_may_restore_users(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_SYS_RESOURCE);
}
