/* SPDX-License-Identifier: MIT */
/* redis becomes what the supervisor says, hands over in a turn of its event loop, and says when it cannot. */
#include <private.h>
#include <bio.h>
#if PORT_VERSION == 2
#include <redis_v2.upgrade.h>
#else
#include <redis_v1.upgrade.h>
#endif

#include <errno.h>

struct upg *upg;
static int asked; /* the supervisor has something to say */
static int serving;
static int pid_file_wanted;

static const struct upg_type types[] = {
	{ .name = "redis.Server", .version = 1, .descriptor = &redis__v1__server__descriptor, .save = server_save,
	  .load = server_load },
	{ .name = "redis.Setting", .version = 1, .descriptor = &redis__v1__setting__descriptor, .save = setting_save,
	  .load = setting_load },
	{ .name = "redis.User", .version = 1, .descriptor = &redis__v1__user__descriptor, .save = user_save, .load = user_load },
	{ .name = "redis.Script", .version = 1, .descriptor = &redis__v1__script__descriptor, .save = script_save,
	  .load = script_load, .record_max = RECORD_MAX },
	{ .name = "redis.Functions", .version = 1, .descriptor = &redis__v1__functions__descriptor, .save = functions_save,
	  .load = functions_load, .record_max = RECORD_MAX },
	{ .name = "redis.Database", .version = 1, .descriptor = &redis__v1__database__descriptor, .save = database_save,
	  .load = database_load },
	{ .name = "redis.Key", .version = PORT_VERSION, .descriptor = &key_descriptor, .save = key_save, .load = key_load,
	  .count = key_count, .record_max = RECORD_MAX },
	{ .name = "redis.Client", .version = PORT_VERSION, .descriptor = &client_descriptor, .save = client_save,
	  .load = client_load, .count = client_count, .process_only = 1, .record_max = RECORD_MAX },
	{ .name = "redis.Wait", .version = 1, .descriptor = &redis__v1__wait__descriptor, .save = wait_save, .load = wait_load,
	  .process_only = 1, .record_max = RECORD_MAX },
};

#if PORT_VERSION == 2
static const struct upg_migration migrations[] = { REDIS_V2_MIGRATIONS };
static const char *const volatile_fields[] = { REDIS_V2_VOLATILE_FIELDS, NULL };
#else
static const char *const volatile_fields[] = { REDIS_V1_VOLATILE_FIELDS, NULL };
#endif

static const char *child_work(void)
{
	switch (server.child_type) {
	case CHILD_TYPE_RDB:
		return "writes a dump";
	case CHILD_TYPE_AOF:
		return "rewrites the append-only log";
	case CHILD_TYPE_LDB:
		return "debugs a script";
	default:
		return "works for a module";
	}
}

/* What this port does not carry, for as long as it is there. */
static int refused(void)
{
	if (server.cluster_enabled)
		upg_refuse(upg, "it is a node of a cluster (cluster-enabled yes): the links of the cluster cannot travel");
	else if (moduleCount() > 0)
		upg_refuse(upg, "%zu modules are loaded: what they hold cannot travel; MODULE UNLOAD them first", moduleCount());
	else if (server.masterhost)
		upg_refuse(upg, "it is a replica of %s port %d: REPLICAOF NO ONE, or roll the master's service", server.masterhost,
			   server.masterport);
	else if (listLength(server.slaves) > 0)
		upg_refuse(upg, "%lu replicas are attached, the first is client %llu: their links cannot travel; detach them by "
			   "REPLICAOF NO ONE there", listLength(server.slaves),
			   (unsigned long long)((client *)listNodeValue(listFirst(server.slaves)))->id);
	else
		return 0;
	return 1;
}

static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	(void)deadline_us;
	(void)userdata;
	if (refused())
		return UPG_REFUSE;
	if (hasActiveChildProcess())
		return upg_await_child(upg, server.child_pid > 0 ? server.child_pid : 0, "%s", child_work());
	if (server.rdb_bgsave_scheduled || server.aof_rewrite_scheduled) {
		upg_refuse(upg, "a background save is about to begin");
		return UPG_NOT_YET;
	}
	if (checkClientPauseTimeoutAndReturnIfPaused()) {
		upg_refuse(upg, "clients are paused (CLIENT PAUSE)");
		return UPG_NOT_YET;
	}
	if (client_restless(level))
		return UPG_NOT_YET;
	if (server.aof_state != AOF_OFF) {
		/* The next version goes on in the same file: all that clients were told of is to be in it, and nobody else may
		 * write or close it any more. */
		flushAppendOnlyFile(1);
		if (sdslen(server.aof_buf) > 0) {
			upg_refuse(upg, "the append-only log cannot be written: %s", strerror(server.aof_last_write_errno));
			return UPG_NOT_YET;
		}
	}
	if (bioPendingJobsOfType(BIO_AOF_FSYNC) > 0 || bioPendingJobsOfType(BIO_CLOSE_FILE) > 0) {
		upg_refuse(upg, "files are being synced or closed in the background");
		return UPG_NOT_YET;
	}
	return UPG_AT_REST;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	(void)userdata;
	updateCachedTime(1);
	if (go_on->reason != UPG_CAME_BACK)
		return;
	serverLog(LL_WARNING, "The newer version failed: this one serves again, %zu connections are lost", go_on->n_lost);
	clients_lost(go_on->lost, go_on->n_lost);
	if (pid_file_wanted)
		createPidFile();
	/* The files hold what the newer version did, too. */
	server.dirty++;
	if (server.aof_state == AOF_ON)
		server.aof_rewrite_scheduled = 1;
}

static const struct upg_config config = {
	.service = "redis",
	.version = PORT_VERSION == 2 ? "v2" : "v1",
	.types = types,
	.n_types = sizeof(types) / sizeof(*types),
#if PORT_VERSION == 2
	.migrations = migrations,
	.n_migrations = sizeof(migrations) / sizeof(*migrations),
#endif
	.on_prepare = on_prepare,
	.on_go_on = on_go_on,
	.volatile_fields = volatile_fields,
};

void port_open(void)
{
	if (upg_open(&config, &upg) >= 0)
		return;
	serverLog(LL_WARNING, "No supervisor can be talked to: %s", upg_why(NULL));
	exit(1);
}

static int start(enum upg_received how, void *userdata)
{
	int rc;

	rc = listeners_open();
	if (rc < 0)
		return rc;
	/* From here on the files are this process's: the version before stands still. */
	aofLoadManifestFromDisk();
	*(int *)userdata = how == UPG_RECEIVED;
	if (how == UPG_FRESH)
		loadDataFromDisk();
	else
		settings_finish();
	return 0;
}

static void on_readable(aeEventLoop *loop, int fd, void *data, int mask)
{
	(void)loop;
	(void)fd;
	(void)data;
	(void)mask;
	asked = 1;
}

void port_become(void)
{
	int received = 0, from_file;

	settings_note();
	from_file = upg_expected(upg, NULL, &(uint64_t){ 0 }, NULL) < 0;
	memory_touch();
	if (upg_become(upg, start, &received) != UPG_SERVE) {
		if (*upg_why(upg))
			serverLog(LL_WARNING, "%s", upg_why(upg));
		exit(*upg_why(upg) ? 1 : 0);
	}
	serving = 1;
	memory_is_taken();
	if (pid_file_wanted)
		createPidFile();
	updateCachedTime(1);
	if (received)
		clients_serve();
	/* What came from a file of the supervisor's is not what the log says. */
	if (received && from_file && server.aof_state == AOF_ON)
		server.aof_rewrite_scheduled = 1;
	if (upg_fd(upg) >= 0 && aeCreateFileEvent(server.el, upg_fd(upg), AE_READABLE, on_readable, NULL) == AE_ERR)
		serverPanic("The supervisor's descriptor does not fit into the event loop.");
}

void port_loaded(void)
{
}

void port_pid_file(void)
{
	/* Until this process serves, the file is that of the one that does. */
	pid_file_wanted = 1;
	if (!upg || serving)
		createPidFile();
}

void port_dispatch(void)
{
	if (!asked)
		return;
	asked = 0;
	if (upg_dispatch(upg) == UPG_LEAVE)
		exit(0);
}
