/*
 * mongo/session.c
 *	  PostgreSQL's side of a session with MongoDB: its life, the waits, commands,
 *	  and the end of the process.
 *
 * Waits.  The backend waits for its latch and the thread's bell at once, so it
 * can be canceled whatever MongoDB does.  An error leaves a session in the
 * middle of something: mcs_session_command gives it up, and a cursor's callback
 * ends what the thread does for it.
 *
 * Exit.  When the process ends, all threads are told to stop and get half a
 * second together.  If one is left then (it may sit in name resolution), exit()
 * must not go on to the destructors of OpenSSL and libmongoc, which would crash
 * beside it, and a crash restarts the cluster: an atexit handler, which runs
 * after PostgreSQL's own clean-up and before those destructors, as it was
 * registered after they were, leaves by _exit with the process's status.
 */
#include "mongo/mongo_internal.h"

#include <unistd.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#endif

#define JOIN_MS				100 /* for a thread whose session is closed: those that can be woken take a few */
#define EXIT_MS				500 /* for all threads when the process ends */
#define APP_NAME_MAX		128 /* MongoDB's limit, in bytes */
#define FDS_PER_SESSION		3	/* two bells and a socket */
#define MAX_LEFT			8	/* threads that did not end when they were told; each may use up a processor */
#define LOOK_MS				1000	/* between looks whether a thread hangs */

static dlist_head sessions = DLIST_STATIC_INIT(sessions);
static int	exit_status;

/* ---- the driver's log ---- */

/* Passes on what the driver logged since. */
static void
emit_log(void)
{
	bool		serious;
	char		message[256];

	while (mcs_library_log_take(&serious, message, sizeof(message)))
		ereport(serious ? LOG : DEBUG1,
				(errmsg_internal("MongoDB's driver: %s", message)));
}

/* ---- the end of the process ---- */

/*
 * Ends all sessions.  Runs by on_proc_exit, after the shared memory was left, so
 * that nobody waits for this process meanwhile.
 */
static void
end_sessions(int code, Datum arg)
{
	int64		until;
	dlist_mutable_iter iter;

	exit_status = code;
	/* first all are told, so that their half second is one */
	dlist_foreach_modify(iter, &sessions)
		mcs_thread_stop(dlist_container(MongoSession, node, iter.cur)->thread);
	until = mcs_session_clock() + EXIT_MS * INT64CONST(1000);
	dlist_foreach_modify(iter, &sessions)
	{
		MongoSession *session = dlist_container(MongoSession, node, iter.cur);

		dlist_delete(&session->node);
		(void) mcs_thread_join(session->thread, until);
		session->thread = NULL;
	}

	/* threads of sessions that were closed before may still be at it */
	while (mcs_thread_count() > 0 && mcs_session_clock() < until)
		pg_usleep(1000);
}

/* Leaves at once if a thread is still there. */
static void
leave_at_exit(void)
{
	if (mcs_thread_count() > 0)
		_exit(exit_status);
}

/* What has to be done once in a process before its first thread. */
static void
prepare_process(void)
{
	static bool prepared = false;

	if (prepared)
		return;
	/* the library first: atexit handlers run in reverse order, and ours must run before its destructors */
	mcs_library_prepare("PostgreSQL " PG_VERSION);
	if (atexit(leave_at_exit) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	on_proc_exit(end_sessions, (Datum) 0);
	prepared = true;
}

/* ---- opening and closing ---- */

/* A malloc'ed copy of a string that may be NULL. */
static char *
copy_string(const char *string, bool *failed)
{
	char	   *copy = string == NULL ? NULL : strdup(string);

	*failed |= string != NULL && copy == NULL;
	return copy;
}

/* What the thread needs to know of target, in memory of its own. */
static DriverConfig *
make_config(const MongoTarget *target, const char *purpose)
{
	DriverConfig *config = calloc(1, sizeof(DriverConfig));
	char	   *app_name = psprintf("mongo_change_stream: %s", purpose);
	bool		failed = config == NULL;

	/* MongoDB refuses a longer one, and what is cut inside a character */
	app_name[pg_mbcliplen(app_name, strlen(app_name), APP_NAME_MAX)] = '\0';
	if (!failed)
	{
		config->uri = copy_string(target->uri, &failed);
		config->app_name = copy_string(app_name, &failed);
		config->username = copy_string(target->username, &failed);
		config->password = copy_string(target->password, &failed);
		config->auth_source = copy_string(target->auth_source, &failed);
		config->auth_mechanism = copy_string(target->auth_mechanism, &failed);
	}
	pfree(app_name);
	if (failed)
	{
		if (config != NULL)
			mcs_thread_free_config(config);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	return config;
}

/* Ends what is not palloc'ed. */
static void
session_callback(void *arg)
{
	MongoSession *session = arg;

	if (session->thread == NULL)
		return;					/* the process exits, and end_sessions was here */
	/* a cursor that is closed later must find no session, and no use of it be tried */
	if (session->cursor != NULL)
	{
		session->cursor->session = NULL;
		session->cursor->finished = true;
	}
	dlist_delete(&session->node);
	if (session->cached)
		dlist_delete(&session->cache_node);
	mcs_thread_stop(session->thread);
	/* a thread that does not end soon is left: what it holds it frees itself */
	(void) mcs_thread_join(session->thread, mcs_session_clock() + JOIN_MS * INT64CONST(1000));
	session->thread = NULL;
	for (int i = 0; i < FDS_PER_SESSION; i++)
		ReleaseExternalFD();
}

/*
 * Refuses a further session where too many threads are left: they hang in name
 * resolution, or compute what a server made them.
 */
static void
check_threads_left(void)
{
	int			left = mcs_thread_count();
	dlist_iter	iter;

	dlist_foreach(iter, &sessions)
		left--;
	if (left >= MAX_LEFT)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("too many threads of MongoDB's driver have not ended"),
				 errdetail("%d sessions were left in the middle of something that can't be broken off, such as name resolution.", left),
				 errhint("Reconnect, or wait until they have ended.")));
}

/* The server's uri as it was when the session was opened. */
const char *
mcs_session_uri(const MongoSession *session)
{
	return session->uri;
}

/* A session of one's own; nothing is sent before the first request. */
MongoSession *
mcs_session_open(const MongoTarget *target, const char *purpose)
{
	MemoryContext context;
	MongoSession *session;
	DriverConfig *config;
	DriverThread *thread;

	mcs_mongo_check_identity(target);
	prepare_process();
	check_threads_left();
	context = AllocSetContextCreate(CurrentMemoryContext, "MongoDB session", ALLOCSET_SMALL_SIZES);
	session = MemoryContextAllocZero(context, sizeof(MongoSession));
	session->context = context;
	session->callback.func = session_callback;
	session->callback.arg = session;
	config = make_config(target, purpose);

	/* the thread's descriptors count against max_files_per_process, or PostgreSQL would open too many beside them */
	for (int i = 0; i < FDS_PER_SESSION; i++)
	{
		if (!AcquireExternalFD())
		{
			while (--i >= 0)
				ReleaseExternalFD();
			mcs_thread_free_config(config);
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("too many open files to connect to MongoDB"),
					 errhint("Raise max_files_per_process.")));
		}
	}
	thread = mcs_thread_start(config);
	if (thread == NULL)
	{
		int			reason = errno;

		for (int i = 0; i < FDS_PER_SESSION; i++)
			ReleaseExternalFD();
		mcs_thread_free_config(config);
		errno = reason;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a thread for MongoDB's driver: %m")));
	}
	session->thread = thread;
	session->uri = MemoryContextStrdup(context, target->uri ? target->uri : "");
	mcs_names_fill(&session->names, target);
	/* from here on whatever goes wrong ends the thread, too */
	dlist_push_tail(&sessions, &session->node);
	MemoryContextRegisterResetCallback(context, &session->callback);
	return session;
}

/* Tells the thread to stop and wakes its socket; waits for its end if that comes soon. */
void
mcs_session_close(MongoSession *session)
{
	MemoryContextDelete(session->context);
	emit_log();
}

/* ---- waiting ---- */

/* What pg_stat_activity shows while we wait for MongoDB. */
static uint32
wait_event(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("MongoDBReply");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* The monotonic clock in microseconds, as the threads read it. */
int64
mcs_session_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

/* From now on waits of a session fail after a time, and as soon as stop says so. */
void
mcs_session_limit(MongoSession *session, long timeout_ms, bool (*stop) (void))
{
	session->give_up_at = mcs_session_clock() + timeout_ms * INT64CONST(1000);
	session->stop = stop;
}

/* Whether a wait of a session with a limit is over; else *left is no longer than its rest. */
static bool
gives_up(const MongoSession *session, long *left, MongoError *error)
{
	int64		now;

	if (session->give_up_at == 0)
		return false;
	now = mcs_session_clock();
	if (now < session->give_up_at && !session->stop())
	{
		/* rounded up, or the last millisecond would be a busy loop */
		long		rest = (long) ((session->give_up_at - now + 999) / 1000);

		*left = *left < 0 ? rest : Min(*left, rest);
		return false;
	}
	mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_QUERY_CANCELED, "the reply is no longer waited for");
	return true;
}

/*
 * Whether the thread has to be given up, being out of everybody's reach for too
 * long.  That is counted in looks of ours, not by the clock: a process that was
 * stopped for a while finds its thread as it was.
 */
static bool
hangs(MongoSession *session, MongoError *error)
{
	int64		now = mcs_session_clock();
	int			allowed_ms;
	char		name[256];
	int64		gone_since;

	/* once given up it stays so: a request to such a thread would only wait as long again */
	if (!session->hangs)
	{
		if (now - session->looked_at < LOOK_MS * INT64CONST(1000))
			return false;
		session->looked_at = now;
		gone_since = mcs_thread_gone_since(session->thread, &allowed_ms, name, sizeof(name));
		if (gone_since == 0 || gone_since != session->gone_since)
		{
			session->gone_since = gone_since;
			session->gone_looks = 0;
			return false;
		}
		if (++session->gone_looks < allowed_ms / LOOK_MS)
			return false;
		session->hangs = true;
	}
	(void) mcs_thread_gone_since(session->thread, &allowed_ms, name, sizeof(name));
	mcs_mongo_error_set(error, MONGO_ERROR_HANGING, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
						"MongoDB's driver does not come back");
	if (name[0] != '\0')
	{
		snprintf(error->message, sizeof(error->message), "the system's resolver does not come back with the addresses of '%s'", name);
		strlcpy(error->unresolved, name, sizeof(error->unresolved));
	}
	return true;
}

/* As mcs_session_wait, but for the names in *error. */
static SessionWait
wait_for_reply(MongoSession *session, long timeout_ms, bool latch_ends, DriverReply **reply, MongoError *error)
{
	int			bell = mcs_thread_bell(session->thread);
	int64		until = timeout_ms < 0 ? 0 : mcs_session_clock() + timeout_ms * INT64CONST(1000);

	for (;;)
	{
		int			events = WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH;
		long		left = -1;
		long		rest;
		int			rc;

		CHECK_FOR_INTERRUPTS();

		/* looked at before each wait: the bell may have been drained for a reply that was taken since */
		switch (mcs_thread_take(session->thread, reply, error))
		{
			case THREAD_REPLY:
				return SESSION_REPLY;
			case THREAD_FAILED:
				emit_log();
				return SESSION_FAILED;
			case THREAD_BUSY:
				if (hangs(session, error))
					return SESSION_FAILED;
				left = LOOK_MS; /* a thread that hangs rings no bell */
				break;
			case THREAD_IDLE:
				break;
		}
		if (timeout_ms >= 0)
		{
			int64		now = mcs_session_clock();

			if (now >= until)
				return SESSION_TIMEOUT;
			rest = (long) ((until - now + 999) / 1000);
			left = left < 0 ? rest : Min(left, rest);
		}
		if (gives_up(session, &left, error))
			return SESSION_FAILED;
		if (left >= 0)
			events |= WL_TIMEOUT;
		rc = WaitLatchOrSocket(MyLatch, events, bell, left, wait_event());
		if (rc & WL_SOCKET_READABLE)
			mcs_guard_drain_bell(bell);
		emit_log();
		if (rc & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			if (latch_ends)
			{
				/* the caller looks for other reasons only */
				CHECK_FOR_INTERRUPTS();
				return SESSION_LATCH;
			}
		}
	}
}

/*
 * Waits for a reply.  timeout_ms -1: without end, 0: only looks.  Interrupts are
 * processed; with latch_ends, a set latch ends the wait as well.
 */
SessionWait
mcs_session_wait(MongoSession *session, long timeout_ms, bool latch_ends, DriverReply **reply, MongoError *error)
{
	SessionWait result = wait_for_reply(session, timeout_ms, latch_ends, reply, error);

	if (result == SESSION_FAILED)
		error->names = session->names;
	return result;
}

/* ---- replies ---- */

/* A reply in a memory context of its own, so that it goes when freed or with its parent. */
typedef struct ReplyHolder
{
	MongoReply	reply;			/* must be first */
	MemoryContext context;
	MemoryContextCallback callback;
	DriverReply *driver;
} ReplyHolder;

/* When a reply's context goes: its bytes are libbson's, not palloc's. */
static void
reply_callback(void *arg)
{
	mcs_client_discard_reply(((ReplyHolder *) arg)->driver);
}

/* Takes over a reply of the thread. */
MongoReply *
mcs_session_hold_reply(DriverReply *driver, MemoryContext *context)
{
	MemoryContext own;
	ReplyHolder *holder;

	/* until the callback is registered nobody else would free it */
	PG_TRY();
	{
		own = AllocSetContextCreate(CurrentMemoryContext, "MongoDB reply", ALLOCSET_SMALL_SIZES);
		holder = MemoryContextAlloc(own, sizeof(ReplyHolder));
	}
	PG_CATCH();
	{
		mcs_client_discard_reply(driver);
		PG_RE_THROW();
	}
	PG_END_TRY();

	holder->reply.data = driver->data;
	holder->reply.size = driver->size;
	holder->context = own;
	holder->driver = driver;
	holder->callback.func = reply_callback;
	holder->callback.arg = holder;
	MemoryContextRegisterResetCallback(own, &holder->callback);
	if (context != NULL)
		*context = own;
	return &holder->reply;
}

void
mcs_session_free_reply(MongoReply *reply)
{
	MemoryContextDelete(((ReplyHolder *) reply)->context);
}

/* The documents of a cursor in a reply. */
bool
mcs_session_reply_batch(const MongoReply *reply, DocumentValue *batch, int64 *cursor)
{
	DocumentValue described;
	DocumentValue id;

	if (cursor)
		*cursor = 0;
	if (!mcs_document_find(reply->data, reply->size, "cursor", &described) || described.type != DOCUMENT_OBJECT ||
		(!mcs_document_find(described.data, described.size, "firstBatch", batch) &&
		 !mcs_document_find(described.data, described.size, "nextBatch", batch)) || batch->type != DOCUMENT_ARRAY)
		return false;
	if (cursor && mcs_document_find(described.data, described.size, "id", &id))
		(void) mcs_document_get_int64(&id, cursor);
	return true;
}

/* operationTime of a reply as seconds << 32 | ordinal, 0 where it has none. */
uint64
mcs_session_operation_time(const MongoReply *reply)
{
	DocumentValue value;
	uint32		seconds;
	uint32		ordinal;

	if (!mcs_document_find(reply->data, reply->size, "operationTime", &value) ||
		!mcs_document_get_timestamp(&value, &seconds, &ordinal))
		return 0;
	return (uint64) seconds << 32 | ordinal;
}

/* ---- commands ---- */

/* A command for the thread, in one block. */
DriverRequest *
mcs_session_request(const char *database, const uint8 *command, uint32 size)
{
	Size		database_size = strlen(database) + 1;
	DriverRequest *request = calloc(1, sizeof(DriverRequest) + size + database_size);
	char	   *place = (char *) (request + 1);

	if (request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	request->kind = REQUEST_COMMAND;
	memcpy(place, command, size);
	request->command = (uint8 *) place;
	request->command_size = size;
	memcpy(place + size, database, database_size);
	request->database = place + size;
	return request;
}

/* Refuses a session that is in the middle of something. */
void
mcs_session_check_idle(const MongoSession *session)
{
	if (session->in_command || session->cursor != NULL)
		elog(ERROR, "MongoDB session is in use");
}

/* Runs one command and waits for its reply, answering to interrupts. */
MongoReply *
mcs_session_command(MongoSession *session, const char *database, const uint8 *command, uint32 size,
					const char *action, MongoError *error)
{
	DriverReply *reply;
	MongoError	reason;
	SessionWait result;

	DriverRequest *request;

	mcs_session_check_idle(session);
	request = mcs_session_request(database, command, size);
	mcs_names_of_request(&session->names, request);
	mcs_thread_request(session->thread, request);

	/* stays set where an error leaves by longjmp: such a session is asked nothing more */
	session->in_command = true;
	PG_TRY();
	{
		result = mcs_session_wait(session, -1, false, &reply, &reason);
	}
	PG_CATCH();
	{
		/* the reply is no longer wanted; MongoDB ends a command whose client has gone */
		if (session->cached)
			mcs_session_close(session);
		else
			mcs_thread_stop(session->thread);
		PG_RE_THROW();
	}
	PG_END_TRY();
	session->in_command = false;

	if (result == SESSION_REPLY)
		return mcs_session_hold_reply(reply, NULL);
	if (reason.class == MONGO_ERROR_DRIVER_ENDED || reason.class == MONGO_ERROR_HANGING)
		session->outdated = true;	/* the caller may still have it; nobody else gets it */
	if (error == NULL)
		mcs_mongo_raise(&reason, action);
	*error = reason;
	return NULL;
}
