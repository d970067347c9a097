/* SPDX-License-Identifier: MIT */
/*
 * The order matters. A capability becomes ambient only if it is permitted and inheritable. It becomes inheritable only while it is
 * in the bounding set. And a change of the user from root clears what is permitted, unless the process asks to keep it. So:
 * inheritable first, then the bounding set, then (in spawn.c) the user, then permitted and ambient.
 */
#include "base/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPABILITIES_MAX 64

struct sets {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[2];
};

static int sets_read(struct sets *ret)
{
	*ret = (struct sets){ .header.version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &ret->header, ret->data) < 0 ? -errno : 0;
}

static int sets_write(struct sets *sets)
{
	return syscall(SYS_capset, &sets->header, sets->data) < 0 ? -errno : 0;
}

static int bound(const struct privileges *privileges)
{
	for (int i = 0; i < CAPABILITIES_MAX; i++) {
		if (privileges->bounding >> i & 1 || prctl(PR_CAPBSET_READ, i, 0, 0, 0) != 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return errno == EPERM && !privileges->must_bound ? 0 : -errno;
	}
	return 0;
}

int privileges_lower(const struct privileges *privileges)
{
	struct sets sets;
	int r = 0;

	if (privileges->ambient) {
		r = sets_read(&sets);
		sets.data[0].inheritable |= (uint32_t)privileges->ambient;
		sets.data[1].inheritable |= (uint32_t)(privileges->ambient >> 32);
		if (r == 0)
			r = sets_write(&sets);
		if (r == 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
			r = -errno;
	}
	return r == 0 && privileges->bounded ? bound(privileges) : r;
}

/* The user has changed, so nothing is effective any more, and what was permitted was kept. */
static int make_ambient(uint64_t ambient)
{
	struct sets sets;
	int r = sets_read(&sets);

	if (r < 0)
		return r;
	for (int half = 0; half < 2; half++) {
		uint32_t wanted = (uint32_t)(ambient >> 32 * half);

		sets.data[half].effective = sets.data[half].permitted = sets.data[half].inheritable = wanted;
	}
	r = sets_write(&sets);
	for (int i = 0; r == 0 && i < CAPABILITIES_MAX; i++)
		if (ambient >> i & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			r = -errno;
	return r;
}

int privileges_settle(const struct privileges *privileges)
{
	int r = 0;

	/* Root's keyring may hold keys to disks and networks. Where there are no keyrings there is nothing to take along. */
	if (privileges->own_keyring)
		(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	if (privileges->ambient && geteuid() != 0)
		r = make_ambient(privileges->ambient);
	if (r == 0 && privileges->no_new && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r;
}

int capability_number(const char *name)
{
	static const char *const names[] = {
		[CAP_CHOWN] = "CHOWN", [CAP_DAC_OVERRIDE] = "DAC_OVERRIDE", [CAP_DAC_READ_SEARCH] = "DAC_READ_SEARCH",
		[CAP_FOWNER] = "FOWNER", [CAP_FSETID] = "FSETID", [CAP_KILL] = "KILL", [CAP_SETGID] = "SETGID",
		[CAP_SETUID] = "SETUID", [CAP_SETPCAP] = "SETPCAP", [CAP_LINUX_IMMUTABLE] = "LINUX_IMMUTABLE",
		[CAP_NET_BIND_SERVICE] = "NET_BIND_SERVICE", [CAP_NET_BROADCAST] = "NET_BROADCAST",
		[CAP_NET_ADMIN] = "NET_ADMIN", [CAP_NET_RAW] = "NET_RAW", [CAP_IPC_LOCK] = "IPC_LOCK",
		[CAP_IPC_OWNER] = "IPC_OWNER", [CAP_SYS_MODULE] = "SYS_MODULE", [CAP_SYS_RAWIO] = "SYS_RAWIO",
		[CAP_SYS_CHROOT] = "SYS_CHROOT", [CAP_SYS_PTRACE] = "SYS_PTRACE", [CAP_SYS_PACCT] = "SYS_PACCT",
		[CAP_SYS_ADMIN] = "SYS_ADMIN", [CAP_SYS_BOOT] = "SYS_BOOT", [CAP_SYS_NICE] = "SYS_NICE",
		[CAP_SYS_RESOURCE] = "SYS_RESOURCE", [CAP_SYS_TIME] = "SYS_TIME", [CAP_SYS_TTY_CONFIG] = "SYS_TTY_CONFIG",
		[CAP_MKNOD] = "MKNOD", [CAP_LEASE] = "LEASE", [CAP_AUDIT_WRITE] = "AUDIT_WRITE",
		[CAP_AUDIT_CONTROL] = "AUDIT_CONTROL", [CAP_SETFCAP] = "SETFCAP", [CAP_MAC_OVERRIDE] = "MAC_OVERRIDE",
		[CAP_MAC_ADMIN] = "MAC_ADMIN", [CAP_SYSLOG] = "SYSLOG", [CAP_WAKE_ALARM] = "WAKE_ALARM",
		[CAP_BLOCK_SUSPEND] = "BLOCK_SUSPEND", [CAP_AUDIT_READ] = "AUDIT_READ", [CAP_PERFMON] = "PERFMON",
		[CAP_BPF] = "BPF", [CAP_CHECKPOINT_RESTORE] = "CHECKPOINT_RESTORE",
	};

	if (strncmp(name, "CAP_", 4) != 0)
		return -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && strcmp(name + 4, names[i]) == 0)
			return (int)i;
	return -1;
}
