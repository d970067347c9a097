/* SPDX-License-Identifier: MIT */
#include "supervisor/control/run_folder.h"

#include "base/base.h"
#include "supervisor/control/control.h"
#include "supervisor/machine/folder.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"
#define SETTLE_US (100 * USEC_PER_MSEC) /* whoever removes a folder with all in it gets to the end first */
#define AGAIN_US (5 * USEC_PER_SEC)     /* while something is wrong, or nothing tells of changes */

struct run_folder {
	const char *dir;
	char *control_path;
	int lock;
	struct registry *registry; /* NULL while shut */
	struct control *control;
	dev_t control_dev; /* of the control socket that is ours */
	ino_t control_ino;
	int left;          /* a socket that listens there already; -1: none */
	int inotify, watch; /* -1: nothing tells of changes */
	struct source changes;
	struct timer look;
	struct why told; /* what is wrong, and was logged; "": nothing */
};

/* ---- in its place? ---- */

static bool has_lock(const struct run_folder *folder)
{
	char path[PATH_MAX];
	struct stat here, ours;

	snprintf(path, sizeof(path), "%s/" LOCK_NAME, folder->dir);
	return folder->lock >= 0 && fstat(folder->lock, &ours) == 0 && lstat(path, &here) == 0 && here.st_dev == ours.st_dev &&
	       here.st_ino == ours.st_ino;
}

/* The kernel gives the inode of a bound socket to nobody else, also after its path is gone. */
static bool has_control(const struct run_folder *folder)
{
	struct stat here;

	return folder->control && lstat(folder->control_path, &here) == 0 && here.st_dev == folder->control_dev &&
	       here.st_ino == folder->control_ino;
}

/* ---- made anew ---- */

static int take_lock(struct run_folder *folder, unsigned patience_ms, struct why *why)
{
	int lock, r;

	if (has_lock(folder))
		return 0;
	r = folder_lock(folder->dir, LOCK_NAME, patience_ms, &lock, why);
	if (r < 0)
		return r;
	fd_close(folder->lock);
	folder->lock = lock;
	return 0;
}

static int listen_here(struct run_folder *folder, struct why *why)
{
	struct stat st;
	int r;

	if (folder->control)
		r = control_listen_anew(folder->control, folder->control_path, why);
	else
		r = control_open(folder->registry, folder->control_path, &folder->control, why);
	if (r == 0 && lstat(folder->control_path, &st) < 0)
		return why_errno(why, -errno, "%s", folder->control_path);
	if (r < 0)
		return r;
	folder->control_dev = st.st_dev;
	folder->control_ino = st.st_ino;
	log_info("listening on %s", folder->control_path);
	return 0;
}

/* Before anything in the folder is looked at, so that no change goes unnoticed. Another folder of this name has another number. */
static void watch_folder(struct run_folder *folder)
{
	uint32_t changes = IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
	int watch = folder->inotify < 0 ? -1 : inotify_add_watch(folder->inotify, folder->dir, changes);

	if (folder->watch >= 0 && watch != folder->watch)
		(void)inotify_rm_watch(folder->inotify, folder->watch);
	folder->watch = watch;
}

static int put_in_place(struct run_folder *folder, struct why *why)
{
	int r = folder_claim(folder->dir, 0755, why);

	if (r < 0)
		return r;
	watch_folder(folder);
	r = take_lock(folder, 0, why);
	return r == 0 && !has_control(folder) ? listen_here(folder, why) : r;
}

/* ---- changes ---- */

static void on_look(struct timer *timer)
{
	run_folder_look(container_of(timer, struct run_folder, look));
}

static void look_in(struct run_folder *folder, uint64_t us)
{
	timer_arm(folder->registry->host.site.loop, &folder->look, clock_now_us() + us, on_look);
}

static void on_changes(struct source *source, uint32_t events)
{
	struct run_folder *folder = container_of(source, struct run_folder, changes);
	char buffer[4096];

	(void)events;
	/* Which change it was does not matter, as everything is looked at. One that comes meanwhile does not put it off. */
	if (read(folder->inotify, buffer, sizeof(buffer)) > 0 &&
	    (!folder->look.loop || folder->look.due_us > clock_now_us() + SETTLE_US))
		look_in(folder, SETTLE_US);
}

void run_folder_look(struct run_folder *folder)
{
	struct why why = { 0 };
	int r;

	if (!folder->registry)
		return;
	timer_disarm(&folder->look);
	r = put_in_place(folder, &why);
	if (r < 0 && strcmp(why.text, folder->told.text) != 0)
		log_warning("%s; until that is mended, %s", why.text,
			    has_control(folder) ? "somebody else could take the place of the control socket" :
						  "upgradectl cannot reach upgraded");
	folder->told = why;
	if (r < 0 || folder->watch < 0)
		look_in(folder, AGAIN_US);
}

/* ---- life ---- */

static void take_left(struct run_folder *folder, struct carry *carry)
{
	const Upgraded__Carry__Item *item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_FOLDERS, NULL);

	if (!item)
		return;
	folder->lock = carry_take(carry, item->folders->run_lock);
	folder->left = carry_take(carry, item->folders->control);
	folder->control_dev = item->folders->control_device;
	folder->control_ino = item->folders->control_inode;
}

int run_folder_new(const char *dir, struct carry *carry, struct run_folder **ret_folder, struct why *why)
{
	struct run_folder *folder = calloc(1, sizeof(*folder));
	int r;

	if (!folder)
		return why_errno(why, -ENOMEM, "%s", dir);
	folder->dir = dir;
	folder->lock = folder->inotify = folder->watch = folder->left = -1;
	take_left(folder, carry);
	r = asprintf(&folder->control_path, "%s/control", dir) < 0 ? why_errno(why, -ENOMEM, "%s", dir) : 0;
	if (r == 0)
		r = folder_claim(dir, 0755, why);
	if (r == 0)
		r = take_lock(folder, LOCK_PATIENCE_MS, why);
	if (r < 0) {
		if (!carry) /* the program before needs what it has left */
			run_folder_free(folder);
		return r;
	}
	*ret_folder = folder;
	return 0;
}

int run_folder_open(struct run_folder *folder, struct registry *registry, struct why *why)
{
	int r;

	folder->registry = registry;
	if (folder->left >= 0 && control_open_left(registry, folder->left, &folder->control, why) == 0)
		folder->left = -1;
	folder->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (folder->inotify >= 0 &&
	    source_add(registry->host.site.loop, &folder->changes, folder->inotify, EPOLLIN, on_changes) < 0)
		folder->inotify = fd_close(folder->inotify);
	r = put_in_place(folder, why);
	if (r == 0 && folder->watch < 0)
		look_in(folder, AGAIN_US);
	return r;
}

bool run_folder_may_leave(const struct run_folder *folder)
{
	return folder->control && control_may_leave(folder->control);
}

void run_folder_put(const struct run_folder *folder, struct carry *carry, Upgraded__Carry__Folders *left)
{
	left->run_lock = carry_hold(carry, folder->lock);
	left->control = carry_hold(carry, control_put(folder->control, carry));
	left->control_device = folder->control_dev;
	left->control_inode = folder->control_ino;
}

void run_folder_take_clients(struct run_folder *folder, struct carry *carry, const struct answer *answer)
{
	if (folder->control)
		control_take_left(folder->control, carry, answer);
}

void run_folder_send_off(const struct run_folder *folder)
{
	control_send_off(folder->control);
}

void run_folder_shut(struct run_folder *folder)
{
	if (!folder || !folder->registry)
		return;
	timer_disarm(&folder->look);
	source_del(&folder->changes);
	folder->inotify = fd_close(folder->inotify);
	folder->watch = -1;
	if (has_control(folder))
		unlink(folder->control_path);
	folder->control = control_close(folder->control);
	folder->registry = NULL;
}

struct run_folder *run_folder_free(struct run_folder *folder)
{
	if (!folder)
		return NULL;
	run_folder_shut(folder);
	fd_close(folder->lock);
	fd_close(folder->left);
	free(folder->control_path);
	free(folder);
	return NULL;
}
