/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/request.h"

#include "base/clock.h"
#include "supervisor/criu/rpc.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int request_send(int socket, const CriuReq *request, struct why *why)
{
	size_t size = criu_req__get_packed_size(request);
	uint8_t *bytes;
	ssize_t n;
	int r = 0;

	if (size > CRIU_MESSAGE_MAX)
		return why_set(why, -EMSGSIZE, "the request to criu is too long: %zu bytes", size);
	bytes = malloc(size);
	if (!bytes)
		return why_errno(why, -ENOMEM, "cannot ask criu");
	criu_req__pack(request, bytes);
	n = send(socket, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		r = why_errno(why, -errno, "cannot ask criu");
	free(bytes);
	return r;
}

/*
 * Options of dump and restore alike, since CRIU wants both to agree:
 * - tcp_close: internet sockets that the application never registered come back closed, without TCP repair and firewall rules;
 * - ext_unix_sk: a datagram socket connected to a named one outside (syslog) is connected again;
 * - cgroups are left alone: a restored process belongs where its supervisor is;
 * - file_locks: locks go into the image, as CRIU otherwise refuses a process that holds one.
 */
static void opts_common(CriuOpts *opts, const struct criu_dirs *dirs, char *log_file)
{
	opts->images_dir_fd = dirs->images;
	opts->has_work_dir_fd = true;
	opts->work_dir_fd = dirs->work;
	opts->log_file = log_file;
	opts->has_log_level = true;
	opts->log_level = 3;
	opts->has_manage_cgroups_mode = true;
	opts->manage_cgroups_mode = CRIU_CG_MODE__IGNORE;
	opts->has_tcp_close = true;
	opts->tcp_close = true;
	opts->has_ext_unix_sk = true;
	opts->ext_unix_sk = true;
	opts->has_file_locks = true;
	opts->file_locks = true;
}

/* How long CRIU itself waits for the process to stand still, which takes milliseconds. But a thread of a process that is stopped
 * may miss that it is to stop for CRIU, and then it would wait for ever. Our own timer bounds the whole run. */
#define STAND_STILL_S UINT64_C(10)

int criu_send_dump(int socket, const struct criu_dirs *dirs, const struct criu_dump_spec *spec, struct why *why)
{
	char names[CRIU_EXTERNALS_MAX][32];
	char *externals[CRIU_EXTERNALS_MAX];
	char log_file[] = "dump.log";
	CriuReq request = CRIU_REQ__INIT;
	CriuOpts opts = CRIU_OPTS__INIT;
	uint64_t seconds = (spec->timeout_us + USEC_PER_SEC - 1) / USEC_PER_SEC;

	seconds = seconds < STAND_STILL_S ? seconds : STAND_STILL_S;
	if (spec->n_external_sockets > CRIU_EXTERNALS_MAX)
		return why_set(why, -E2BIG, "process %d: %zu external sockets are more than %u", (int)spec->pid,
			       spec->n_external_sockets, CRIU_EXTERNALS_MAX);
	for (size_t i = 0; i < spec->n_external_sockets; i++) {
		snprintf(names[i], sizeof(names[i]), "unix[%llu]", spec->external_sockets[i]);
		externals[i] = names[i];
	}
	opts_common(&opts, dirs, log_file);
	opts.has_pid = true;
	opts.pid = (int32_t)spec->pid;
	opts.has_leave_running = true;
	opts.leave_running = spec->leave_running;
	opts.n_external = spec->n_external_sockets;
	opts.external = externals;
	opts.has_ghost_limit = true;
	opts.ghost_limit = CRIU_GHOST_LIMIT_BYTES;
	opts.has_timeout = true;
	opts.timeout = (uint32_t)seconds;
	/* Not link_remap: it puts files of its own beside the application's, and a failed run leaves them there. Not shell_job: a
	 * process that needs a terminal cannot be brought back unattended. */
	request.type = CRIU_REQ_TYPE__DUMP;
	request.opts = &opts;
	return request_send(socket, &request, why);
}

int criu_send_restore(int socket, const struct criu_dirs *dirs, const struct criu_restore_spec *spec, const int *fds,
		      struct why *why)
{
	InheritFd inherits[CRIU_INHERITS_MAX];
	InheritFd *pointers[CRIU_INHERITS_MAX];
	char log_file[] = "restore.log";
	CriuReq request = CRIU_REQ__INIT;
	CriuOpts opts = CRIU_OPTS__INIT;

	for (size_t i = 0; i < spec->n_inherits; i++) {
		inherit_fd__init(&inherits[i]);
		inherits[i].key = (char *)(uintptr_t)spec->inherits[i].key; /* it is only read */
		inherits[i].fd = fds[i];
		pointers[i] = &inherits[i];
	}
	opts_common(&opts, dirs, log_file);
	opts.has_rst_sibling = true;
	opts.rst_sibling = true;
	opts.n_inherit_fd = spec->n_inherits;
	opts.inherit_fd = pointers;
	request.type = CRIU_REQ_TYPE__RESTORE;
	request.opts = &opts;
	return request_send(socket, &request, why);
}

int criu_send_version(int socket, struct why *why)
{
	CriuReq request = CRIU_REQ__INIT;

	request.type = CRIU_REQ_TYPE__VERSION;
	return request_send(socket, &request, why);
}

static void answer_note(struct criu_job *job, const CriuResp *answer)
{
	const CriuVersion *version = answer->version;

	job->answered = true;
	job->succeeded = answer->success;
	if (answer->cr_errmsg)
		snprintf(job->said, sizeof(job->said), "%s", answer->cr_errmsg);
	else if (!answer->success && answer->has_cr_errno)
		snprintf(job->said, sizeof(job->said), "%s", strerror(answer->cr_errno));
	if (version)
		snprintf(job->version, sizeof(job->version), version->has_sublevel ? "%d.%d.%d" : "%d.%d",
			 version->major_number, version->minor_number, version->sublevel);
	if (job->kind == CRIU_RESTORE && answer->success && answer->restore)
		job->restored_pid = answer->restore->pid;
}

int criu_take_answer(struct criu_job *job)
{
	static uint8_t bytes[CRIU_MESSAGE_MAX]; /* the loop is one thread */
	CriuResp *answer;
	ssize_t n;

	n = recv(job->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	answer = criu_resp__unpack(NULL, (size_t)n, bytes);
	if (!answer) {
		snprintf(job->said, sizeof(job->said), "it gave an answer that cannot be read (%zd bytes)", n);
		return -EBADMSG;
	}
	answer_note(job, answer);
	criu_resp__free_unpacked(answer, NULL);
	return 1;
}
