/*
 * mongo/guard.c
 *	  Waits of the driver's thread that others can break off, and the bells that
 *	  wake either side.  Runs in the driver's thread; mcs_guard_set,
 *	  mcs_guard_ring_bell and mcs_guard_drain_bell in the backend, too.
 *
 * A bell is an eventfd: to ring it never blocks, it is heard by poll() together
 * with a socket, and one that has rung before the wait ends it at once.  So the
 * order is the same everywhere: first what is to be said is stored, then the bell
 * rings; who hears it drains the bell first and then looks.
 */
#include "mongo/mongo.h"

#include <errno.h>
#include <unistd.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

/* Sets the time after which waits give up, and tells a wait that is under way. */
void
mcs_guard_set(SocketGuard *guard, int64 give_up_at)
{
	__atomic_store_n(&guard->give_up_at, give_up_at, __ATOMIC_SEQ_CST);
	mcs_guard_ring_bell(guard->bell);
}

/* Whether waits have to give up now. */
bool
mcs_guard_expired(const SocketGuard *guard)
{
	int64		give_up_at = __atomic_load_n(&guard->give_up_at, __ATOMIC_SEQ_CST);

	return give_up_at != 0 && bson_get_monotonic_time() >= give_up_at;
}

/* Wakes who waits for a bell, now or later. */
void
mcs_guard_ring_bell(int bell)
{
	uint64		one = 1;

	/* only fails when it has rung 2^64 times unheard */
	while (write(bell, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Silences a bell; the eventfd does not block, so one that has not rung is no matter. */
void
mcs_guard_drain_bell(int bell)
{
	uint64		rung;

	while (read(bell, &rung, sizeof(rung)) < 0 && errno == EINTR)
		;
}

/* The thread goes where waits don't end by our doing: the resolver, the driver's own code. */
void
mcs_guard_leave(SocketGuard *guard)
{
	__atomic_store_n(&guard->left_at, bson_get_monotonic_time(), __ATOMIC_SEQ_CST);
}

/* The thread is in a wait of ours, or has nothing to do. */
void
mcs_guard_return(SocketGuard *guard)
{
	__atomic_store_n(&guard->left_at, 0, __ATOMIC_SEQ_CST);
}

/* The earlier of two times, where negative means never. */
int64
mcs_guard_earlier(int64 a, int64 b)
{
	if (a < 0)
		return b;
	if (b < 0)
		return a;
	return a < b ? a : b;
}

/*
 * poll() until expire_at (monotonic microseconds, negative: no limit) or until
 * the guard gives up.  The last entry of fds is kept free for the bell.
 * Returns what poll does; -1 with ECANCELED when the guard gave up.
 */
static int
poll_until(SocketGuard *guard, struct pollfd *fds, int nfds, int64 expire_at)
{
	fds[nfds].fd = guard->bell;
	fds[nfds].events = POLLIN;

	for (;;)
	{
		int64		give_up_at = __atomic_load_n(&guard->give_up_at, __ATOMIC_SEQ_CST);
		int64		until = mcs_guard_earlier(expire_at, give_up_at == 0 ? -1 : give_up_at);
		int64		now = bson_get_monotonic_time();
		int			timeout = -1;
		int			ready;

		/* before each wait, as the bell that told of it may be heard only once */
		if (give_up_at != 0 && now >= give_up_at)
		{
			errno = ECANCELED;
			return -1;
		}
		/* rounded up, or the last millisecond would be a busy loop; an hour at most, as poll() takes an int */
		if (until >= 0)
			timeout = until <= now ? 0 : (int) Min((until - now + 999) / 1000, 3600 * 1000);

		for (int i = 0; i <= nfds; i++)
			fds[i].revents = 0;
		ready = poll(fds, nfds + 1, timeout);
		if (ready < 0 && errno != EINTR)
			return -1;
		if (ready > 0 && fds[nfds].revents != 0)
		{
			/* whoever rang may have changed give_up_at */
			mcs_guard_drain_bell(guard->bell);
			ready--;
		}
		if (ready > 0)
			return ready;
		if (expire_at >= 0 && bson_get_monotonic_time() >= expire_at)
			return 0;
	}
}

/* The same, and a sign of life. */
int
mcs_guard_poll(SocketGuard *guard, struct pollfd *fds, int nfds, int64 expire_at)
{
	int			result;
	int			reason;

	mcs_guard_return(guard);
	result = poll_until(guard, fds, nfds, expire_at);
	reason = errno;
	mcs_guard_leave(guard);
	errno = reason;
	return result;
}

/* Sleeps, unless the guard gives up; whether it slept to the end. */
bool
mcs_guard_sleep(SocketGuard *guard, int milliseconds)
{
	struct pollfd bell_only[1];

	return mcs_guard_poll(guard, bell_only, 0,
						bson_get_monotonic_time() + milliseconds * INT64CONST(1000)) == 0;
}
