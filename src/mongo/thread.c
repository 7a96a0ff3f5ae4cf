/*
 * mongo/thread.c
 *	  The hand-over between the backend, which is PostgreSQL's one thread of a
 *	  process, and a driver's thread.
 *
 * The backend puts one request at a time: a command, a change stream or a find.
 * The driver's thread answers with replies in a queue; for a cursor it runs
 * ahead, getMore after getMore, while the queue is empty or holds less than the
 * request's queue_bytes.  Everything that both touch is in DriverThread and is
 * read and written under its mutex; the mutex is never held over anything that
 * blocks or that can fail, on either side.  Whenever something is put into the
 * queue, or fails, the driver's thread rings backend_bell, an eventfd on which
 * the backend waits together with its latch.  The backend wakes the driver's
 * thread by the condition work, and by ringing guard.bell when that waits for
 * the network.
 *
 * Breaking off.  end_cursor lets a getMore under way take CURSOR_GRACE_MS more,
 * as one that is about to return leaves the connection usable; stop breaks off
 * at once.  Both set the guard's time under the mutex, and the thread resets it
 * only under the mutex after having seen the wish, so no wish is lost.  To kill
 * the server's cursor the thread then gets a little time of its own.
 *
 * The end.  stop never waits; join waits until a time given.  A thread that
 * can't be woken (in getaddrinfo, say) is left alone: it holds a reference to
 * DriverThread, and whoever drops the last one frees it.  The process must not
 * run exit()'s destructors beside such a thread, as those of OpenSSL and
 * libmongoc pull away what it uses; see mongo/session.c.
 *
 * Hanging.  Every wait of ours ends, but not every one of the driver: the
 * resolver may take minutes, and a driver with a bug for ever.  The guard says
 * since when the thread has been out of our reach (left_at); a backend that
 * waits looks at that, gives the thread up after guard.hang_ms and says so.
 *
 * Out of memory.  libbson has no way to report it, so a thread whose allocation
 * fails marks itself as failed, rings backend_bell, and sleeps for ever inside
 * malloc's caller.  So does one that an assertion of the driver would abort()
 * (mongo/library.c).  It holds no lock that the backend takes, for the backend
 * calls nothing of the driver that could: what needs the driver's allocator is
 * done here, even the reading of a connection string.
 *
 * The backend's functions stand here, too, beside what they share with the
 * thread; they also do without PostgreSQL, and raise no errors.
 */
#include "mongo/mongo.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define STACK_SIZE			(1024 * 1024)
#define CURSOR_GRACE_MS		50	/* what a getMore under way may still take when its cursor ends */
#define CURSOR_KILL_MS		1000	/* to close a cursor in a session that goes on */
#define CLOSE_MS			350 /* to close cursor and session at the end */

struct DriverThread
{
	pthread_mutex_t mutex;
	pthread_cond_t work;		/* something to do for the driver's thread */
	pthread_cond_t end;			/* the driver's thread has ended */
	pthread_t	id;
	int			references;		/* one for each side */
	int			backend_bell;
	SocketGuard guard;
	DriverConfig *config;		/* the driver's thread's */

	/* wishes of the backend */
	DriverRequest *request;		/* not yet taken up */
	bool		end_cursor;
	bool		stop;
	int64		close_until; /* for cursor and session to be closed after that */

	/* what the driver's thread has to say */
	bool		killing;		/* closing a cursor of the server */
	bool		busy;			/* with a request, or a cursor is open */
	bool		failed;			/* error is filled and not yet told */
	bool		parked;			/* for ever; error says why */
	bool		ended;
	bool		splits;
	MongoError	error;
	DriverReply *first;
	DriverReply *last;
	Size		queued;			/* bytes in the queue */
	Size		queue_bytes;	/* of the open cursor */
	bool		open_only;		/* the same */
	CursorTimes times;			/* the same */
	int64		since;			/* monotonic: when its latest reply was there, or room for another */
};

/* the thread that runs, NULL in the backend */
static __thread DriverThread *this_thread;

/* threads that have not ended */
static int	thread_count;

/* ---- both sides; the mutex is held ---- */

/* Frees the queue. */
static void
drop_queue(DriverThread *thread)
{
	while (thread->first != NULL)
	{
		DriverReply *reply = thread->first;

		thread->first = reply->next;
		mcs_client_discard_reply(reply);
	}
	thread->last = NULL;
	thread->queued = 0;
}

/* Frees a malloc'ed configuration. */
void
mcs_thread_free_config(DriverConfig *config)
{
	free(config->uri);
	free(config->app_name);
	free(config->username);
	free(config->password);
	free(config->auth_source);
	free(config->auth_mechanism);
	free(config);
}

/* Drops a reference and unlocks; the last one frees everything. */
static void
release(DriverThread *thread)
{
	/* under the mutex, so that only one of the two finds itself the last */
	bool		last = --thread->references == 0;

	if (last)
		drop_queue(thread);
	pthread_mutex_unlock(&thread->mutex);
	if (!last)
		return;

	free(thread->request);
	mcs_thread_free_config(thread->config);
	close(thread->backend_bell);
	close(thread->guard.bell);
	pthread_cond_destroy(&thread->work);
	pthread_cond_destroy(&thread->end);
	pthread_mutex_destroy(&thread->mutex);
	free(thread);
}

/* ---- the driver's thread ---- */

/* Lets waits last for ever, or for some time, from now on. */
static void
allow(DriverThread *thread, int milliseconds)
{
	int64		until = milliseconds == 0 ? 0 : bson_get_monotonic_time() + milliseconds * INT64CONST(1000);

	__atomic_store_n(&thread->guard.give_up_at, until, __ATOMIC_SEQ_CST);
}

/* Hands over a reply, or the error in its place. */
static void
hand_over(DriverThread *thread, DriverReply *reply, const MongoError *error, bool still_busy)
{
	if (reply == NULL)
	{
		thread->error = *error;
		thread->failed = true;
	}
	else
	{
		if (thread->last == NULL)
			thread->first = reply;
		else
			thread->last->next = reply;
		thread->last = reply;
		thread->queued += reply->size;
	}
	thread->busy = still_busy;
	mcs_guard_ring_bell(thread->backend_bell);
}

/* From now on MongoDB waits for the thread, unless there is no room for what it would send. */
static void
begin_idle(DriverThread *thread)
{
	thread->since = bson_get_monotonic_time();
}

/* Now it does not: adds the time to one of those that are counted. */
static void
end_idle(DriverThread *thread, int64 *total)
{
	int64		now = bson_get_monotonic_time();

	*total += now - thread->since;
	thread->since = now;
}

/* Takes up the backend's request.  The mutex is held, and let go in between. */
static void
do_request(DriverThread *thread, Driver *driver)
{
	DriverRequest *request = thread->request;
	bool		opens = request->kind == REQUEST_CHANGE_STREAM || request->kind == REQUEST_FIND;
	DriverReply *reply;
	MongoError	error;

	/* ours from here on; the backend may put another only after the reply */
	thread->request = NULL;
	thread->queue_bytes = request->spec.queue_bytes;
	thread->open_only = request->spec.open_only;

	/* the guard's time is reset under the mutex, as a wish that comes later sets it again */
	allow(thread, 0);
	mcs_guard_leave(&thread->guard);
	pthread_mutex_unlock(&thread->mutex);

	if (opens)
		reply = mcs_driver_open(driver, request, &error);
	else if (request->kind == REQUEST_COMMAND)
		reply = mcs_driver_command(driver, request, &error);
	else
		reply = mcs_driver_check_uri(driver, &error);
	free(request);

	pthread_mutex_lock(&thread->mutex);
	thread->splits = driver->splits;
	memset(&thread->times, 0, sizeof(thread->times));
	begin_idle(thread);
	/* nobody waits for it any more; thread_main closes the cursor next */
	if (opens && thread->end_cursor)
		mcs_client_discard_reply(reply);
	else
		hand_over(thread, reply, &error, reply != NULL && driver->cursor_id != 0);
}

/* Fetches the cursor's next reply.  The mutex is held, and let go in between. */
static void
do_more(DriverThread *thread, Driver *driver)
{
	DriverReply *reply;
	MongoError	error;

	end_idle(thread, &thread->times.idle_us);
	thread->times.replies++;
	allow(thread, 0);
	mcs_guard_leave(&thread->guard);
	pthread_mutex_unlock(&thread->mutex);

	reply = mcs_driver_more(driver, &error);

	pthread_mutex_lock(&thread->mutex);
	begin_idle(thread);
	if (thread->end_cursor)
		mcs_client_discard_reply(reply);
	else
		hand_over(thread, reply, &error, reply != NULL && driver->cursor_id != 0);
}

/* Closes the cursor.  The mutex is held, and let go in between. */
static void
do_end_cursor(DriverThread *thread, Driver *driver)
{
	allow(thread, CURSOR_KILL_MS);
	thread->killing = true;
	pthread_mutex_unlock(&thread->mutex);

	mcs_driver_kill_cursor(driver);

	pthread_mutex_lock(&thread->mutex);
	thread->killing = false;
	thread->end_cursor = false;
}

/* Whether the cursor may run further ahead: always by one reply, however large, or it would stand still. */
static bool
has_room(const DriverThread *thread)
{
	return thread->busy && !thread->open_only && (thread->first == NULL || thread->queued < thread->queue_bytes);
}

/* The thread's life. */
static void *
thread_main(void *arg)
{
	DriverThread *thread = arg;
	Driver	   *driver;

	this_thread = thread;		/* for mcs_thread_park, which may be called from anywhere below */
	driver = mcs_driver_new(thread->config, &thread->guard);

	pthread_mutex_lock(&thread->mutex);
	while (!thread->stop)
	{
		/* the end of a cursor before a request: a new stream may have been asked for already */
		if (thread->end_cursor)
			do_end_cursor(thread, driver);
		else if (thread->request != NULL)
			do_request(thread, driver);
		else if (driver->cursor_id != 0 && has_room(thread))
			do_more(thread, driver);
		else
		{
			bool		reads = driver->cursor_id != 0 && thread->busy && !thread->open_only;
			bool		full = thread->queued >= thread->queue_bytes;

			if (reads)
				end_idle(thread, &thread->times.idle_us);
			mcs_guard_return(&thread->guard);
			pthread_cond_wait(&thread->work, &thread->mutex);
			if (reads)
				end_idle(thread, full ? &thread->times.full_us : &thread->times.idle_us);
		}
	}
	/* a little time to take leave of the server, which else keeps cursor and session for half an hour */
	__atomic_store_n(&thread->guard.give_up_at, thread->close_until, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&thread->mutex);

	mcs_driver_kill_cursor(driver);
	mcs_driver_free(driver);

	pthread_mutex_lock(&thread->mutex);
	thread->ended = true;
	__atomic_fetch_sub(&thread_count, 1, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&thread->end);
	release(thread);
	return NULL;
}

/*
 * For the allocator and for assertions: does not return if the caller is a
 * driver's thread.  An assertion calls it within a signal handler; the thread
 * raised that signal itself, at a place where it does not hold the mutex.
 */
void
mcs_thread_park(int sqlstate, const char *why)
{
	DriverThread *thread = this_thread;

	if (thread == NULL)
		return;
	/* nothing here allocates: there may be no memory */
	pthread_mutex_lock(&thread->mutex);
	thread->parked = true;
	mcs_mongo_error_set(&thread->error, MONGO_ERROR_DRIVER_ENDED, sqlstate, why);
	thread->failed = true;
	thread->busy = false;
	mcs_guard_ring_bell(thread->backend_bell);
	pthread_mutex_unlock(&thread->mutex);
	for (;;)
		pause();
}

/* ---- the backend ---- */

/*
 * Starts the system's thread with all signals blocked: they are for PostgreSQL's.
 * But for SIGABRT, whose handler (mongo/library.c) abort() must reach.
 */
static int
create_thread(DriverThread *thread)
{
	pthread_attr_t attributes;
	sigset_t	all;
	sigset_t	before;
	int			status;

	status = pthread_attr_init(&attributes);
	if (status != 0)
		return status;
	/* the default is the process's own, by ulimit -s, for each session */
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	/* a new thread inherits the mask */
	sigfillset(&all);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&thread->id, &attributes, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return status;
}

/* Takes over config, unless it returns NULL with errno set. */
DriverThread *
mcs_thread_start(DriverConfig *config)
{
	DriverThread *thread = calloc(1, sizeof(DriverThread));
	pthread_condattr_t monotonic;
	int			status;

	if (thread == NULL)
		return NULL;
	thread->config = config;
	thread->references = 2;
	pthread_mutex_init(&thread->mutex, NULL);
	pthread_cond_init(&thread->work, NULL);
	/* join's time must not jump with the clock on the wall */
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&thread->end, &monotonic);
	pthread_condattr_destroy(&monotonic);
	thread->backend_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	thread->guard.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	thread->guard.hang_ms = 2 * HANG_MARGIN_MS; /* until the URI is read and says it */

	/* counted before it runs, as it may end at once */
	__atomic_fetch_add(&thread_count, 1, __ATOMIC_SEQ_CST);
	status = thread->backend_bell < 0 || thread->guard.bell < 0 ? errno : create_thread(thread);
	if (status != 0)
	{
		__atomic_fetch_sub(&thread_count, 1, __ATOMIC_SEQ_CST);
		if (thread->backend_bell >= 0)
			close(thread->backend_bell);
		if (thread->guard.bell >= 0)
			close(thread->guard.bell);
		free(thread);
		errno = status;
		return NULL;
	}
	return thread;
}

/* How many threads of this process have not ended. */
int
mcs_thread_count(void)
{
	return __atomic_load_n(&thread_count, __ATOMIC_SEQ_CST);
}

/* Readable when there may be something new for mcs_thread_take. */
int
mcs_thread_bell(const DriverThread *thread)
{
	return thread->backend_bell;
}

/* Puts a request; there must be no other. */
void
mcs_thread_request(DriverThread *thread, DriverRequest *request)
{
	pthread_mutex_lock(&thread->mutex);
	free(thread->request);		/* of a thread that hangs and was asked again */
	thread->request = request;
	/* one that is parked answers for ever with why it is */
	if (!thread->parked)
	{
		thread->failed = false;
		thread->busy = true;
	}
	pthread_cond_signal(&thread->work);
	pthread_mutex_unlock(&thread->mutex);
}

/* Takes the next reply, or the failure, if there is one.  Replies from before a failure come first. */
ThreadState
mcs_thread_take(DriverThread *thread, DriverReply **reply, MongoError *error)
{
	ThreadState state;

	pthread_mutex_lock(&thread->mutex);
	if (thread->first != NULL)
	{
		state = THREAD_REPLY;
		*reply = thread->first;
		thread->first = (*reply)->next;
		if (thread->first == NULL)
			thread->last = NULL;
		thread->queued -= (*reply)->size;
		(*reply)->next = NULL;
		/* there may be room again for the next getMore */
		pthread_cond_signal(&thread->work);
	}
	else if (thread->failed)
	{
		state = THREAD_FAILED;
		*error = thread->error;
		thread->failed = thread->parked;
	}
	else
		state = thread->busy ? THREAD_BUSY : THREAD_IDLE;
	pthread_mutex_unlock(&thread->mutex);
	return state;
}

/* Whether the server splits large events; known after the opening reply. */
bool
mcs_thread_splits(DriverThread *thread)
{
	bool		splits;

	pthread_mutex_lock(&thread->mutex);
	splits = thread->splits;
	pthread_mutex_unlock(&thread->mutex);
	return splits;
}

/* What the cursor that was opened last has waited for. */
CursorTimes
mcs_thread_times(DriverThread *thread)
{
	CursorTimes times;

	pthread_mutex_lock(&thread->mutex);
	times = thread->times;
	pthread_mutex_unlock(&thread->mutex);
	return times;
}

/* Since when the thread is where no wait of ours can end it. */
int64
mcs_thread_gone_since(DriverThread *thread, int *allowed_ms, char *name, Size size)
{
	SocketGuard *guard = &thread->guard;
	int64		left_at = __atomic_load_n(&guard->left_at, __ATOMIC_SEQ_CST);

	*allowed_ms = __atomic_load_n(&guard->hang_ms, __ATOMIC_SEQ_CST);
	name[0] = '\0';
	if (__atomic_load_n(&guard->resolving, __ATOMIC_SEQ_CST))
		bson_strncpy(name, guard->name, size);
	return left_at;
}

/* Drops queued replies and ends the cursor, if there is one. */
void
mcs_thread_end_cursor(DriverThread *thread)
{
	pthread_mutex_lock(&thread->mutex);
	drop_queue(thread);
	if (thread->request != NULL)
	{
		/* not even begun */
		free(thread->request);
		thread->request = NULL;
	}
	else if (!thread->stop)
	{
		thread->end_cursor = true;
		mcs_guard_set(&thread->guard, bson_get_monotonic_time() + CURSOR_GRACE_MS * INT64CONST(1000));
		pthread_cond_signal(&thread->work);
	}
	/* what failed is of no interest any more, but that the thread can't go on */
	thread->failed = thread->parked;
	thread->busy = false;
	pthread_mutex_unlock(&thread->mutex);
}

/* Tells the thread to end; it breaks off what it is doing, unless that is to close a cursor. */
void
mcs_thread_stop(DriverThread *thread)
{
	pthread_mutex_lock(&thread->mutex);
	if (!thread->stop)
	{
		int64		now = bson_get_monotonic_time();

		thread->stop = true;
		thread->close_until = now + CLOSE_MS * INT64CONST(1000);
		mcs_guard_set(&thread->guard, thread->killing ? thread->close_until : now);
		pthread_cond_signal(&thread->work);
	}
	pthread_mutex_unlock(&thread->mutex);
}

/* Waits until the thread has ended, at most until a monotonic time; then drops the backend's hold on it. */
bool
mcs_thread_join(DriverThread *thread, int64 until)
{
	struct timespec when = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
	pthread_t	id = thread->id;	/* release may free the thread */
	bool		ended;

	pthread_mutex_lock(&thread->mutex);
	while (!thread->ended && !thread->parked &&
		   pthread_cond_timedwait(&thread->end, &thread->mutex, &when) == 0)
		;
	ended = thread->ended;
	release(thread);

	/* a thread that has ended only has the libraries' own cleaning-up left, which is quick */
	if (ended)
		pthread_join(id, NULL);
	else
		pthread_detach(id);
	return ended;
}
