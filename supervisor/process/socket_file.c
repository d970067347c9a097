/* SPDX-License-Identifier: MIT */
#include "supervisor/process/socket_file.h"

#include "base/base.h"
#include "base/trust.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the folder ---- */

/* In a sticky folder nobody takes away what is ours; who could take the folder itself away counts all the same. */
static int trust_folder(const char *path, struct why *why)
{
	char copy[PATH_MAX], real[PATH_MAX];
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	if (!realpath(dirname(copy), real))
		return why_errno(why, -errno, "%s", copy);
	if (stat(real, &st) < 0)
		return why_errno(why, -errno, "%s", real);
	if (st.st_mode & S_ISVTX && (st.st_uid == 0 || st.st_uid == geteuid()))
		return trust_path(dirname(real), why);
	return trust_path(real, why);
}

/* ---- binding ---- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	return address;
}

/* Return: 0: nothing is at the path any more; -EADDRINUSE: somebody answers there, or it is no socket. */
static int remove_stale(const char *path, const struct sockaddr_un *address)
{
	FD_CLEANUP int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return 0; /* bind() says what is wrong, if anything is */
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int look(const char *path, struct socket_file *ret_file)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	*ret_file = (struct socket_file){ .device = st.st_dev, .inode = st.st_ino };
	return 0;
}

int socket_file_find(const char *path, struct socket_file *ret_file)
{
	int r = trust_folder(path, NULL);

	return r < 0 ? r : look(path, ret_file);
}

int socket_file_bind(int fd, const char *path, mode_t mode, struct socket_file *ret_file, struct why *why)
{
	const struct sockaddr_un address = address_of(path);
	int r = trust_folder(path, why);

	if (r == 0)
		r = remove_stale(path, &address);
	if (r < 0)
		return r;
	/* The file gets the socket's own mode, less what the umask takes: never more than is wanted, and then all of it. Nobody but
	 * us can have put another file there meanwhile. */
	if (fchmod(fd, mode) < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (chmod(path, mode) < 0)
		return -errno;
	return look(path, ret_file);
}

/* ---- afterwards ---- */

/* By a descriptor, as somebody may put another file there while we look. */
static int open_same(const char *path, const struct socket_file *file)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || (fstat(fd, &st) == 0 && st.st_dev == file->device && st.st_ino == file->inode))
		return fd;
	return fd_close(fd);
}

/* As whom it runs, by the kernel's word. */
static int owner_of(pid_t pid, uid_t *ret_uid, gid_t *ret_gid)
{
	unsigned uid, gid;
	char path[32], text[4096];
	const char *uids, *gids;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (procfs_read(path, text, sizeof(text)) <= 0)
		return -ESRCH;
	uids = strstr(text, "\nUid:");
	gids = strstr(text, "\nGid:");
	/* The second number is the effective one. */
	if (!uids || !gids || sscanf(uids, "\nUid: %*u %u", &uid) != 1 || sscanf(gids, "\nGid: %*u %u", &gid) != 1)
		return -EIO;
	*ret_uid = uid;
	*ret_gid = gid;
	return 0;
}

void socket_file_own(const char *path, const struct socket_file *file, pid_t pid)
{
	FD_CLEANUP int fd = open_same(path, file);
	struct stat st;
	uid_t uid;
	gid_t gid;

	if (fd < 0 || fstat(fd, &st) < 0 || owner_of(pid, &uid, &gid) < 0 || (st.st_uid == uid && st.st_gid == gid))
		return;
	if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		log_warning("%s could not be made the service's own (uid %u, gid %u): %s", path, (unsigned)uid, (unsigned)gid,
			    strerror(errno));
}

int socket_file_give(const char *path, const struct socket_file *file, uid_t uid, gid_t gid, struct why *why)
{
	FD_CLEANUP int fd = open_same(path, file);

	if (fd >= 0 && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0)
		return 0;
	return why_errno(why, -errno, "%s could not be given to user %d and group %d", path, (int)uid, (int)gid);
}

void socket_file_remove(const char *path, const struct socket_file *file)
{
	FD_CLEANUP int fd = open_same(path, file);

	if (fd >= 0)
		(void)unlink(path);
}
