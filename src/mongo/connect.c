/*
 * mongo/connect.c
 *	  From a host's name to a socket that is connected to it, or about to be,
 *	  without a wait that can't be broken off but the resolver's.  Runs in the
 *	  driver's thread.
 */
#include "mongo/mongo.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define MAX_ADDRESSES		8	/* of one host name */
#define STAGGER_MS			250 /* between attempts at the addresses of one name (RFC 8305) */

/*
 * A connection that has gone silent is noticed by TCP within this time, too, where
 * it is not MongoDB but the way to it that is gone.
 */
#define KEEPALIVE_IDLE_S	10
#define KEEPALIVE_EVERY_S	5
#define KEEPALIVE_COUNT		4
#define UNACKED_LIMIT_MS	30000

/* Starts to connect to an address without waiting; -1 where that fails at once. */
static int
start_connect(int family, const struct sockaddr *address, socklen_t size)
{
	/* CLOEXEC: programs that PostgreSQL starts must not keep the connection open */
	int			fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (family != AF_UNIX)
	{
		int			on = 1;
		int			idle = KEEPALIVE_IDLE_S;
		int			every = KEEPALIVE_EVERY_S;
		int			count = KEEPALIVE_COUNT;
		int			unacked = UNACKED_LIMIT_MS;

		/* none of these is worth failing for */
		(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		(void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		(void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
		(void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
		(void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
		(void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof(unacked));
	}
	/* interrupted, it goes on by itself, as one that does not block does */
	if (connect(fd, address, size) < 0 && errno != EINPROGRESS && errno != EINTR)
	{
		int			reason = errno;

		close(fd);
		errno = reason;
		return -1;
	}
	return fd;
}

/* Takes the first of several attempts to succeed out of fds, closing those that failed; -1: none yet. */
static int
collect_connected(struct pollfd *fds, int *nfds, int *reason)
{
	for (int i = 0; i < *nfds; i++)
	{
		int			status = 0;
		socklen_t	size = sizeof(status);
		int			fd = fds[i].fd;

		if (fds[i].revents == 0)
			continue;
		/* writable may mean that it failed */
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &size) < 0)
			status = errno;
		/* the last one takes its place, and is looked at next */
		fds[i] = fds[--*nfds];
		if (status == 0)
			return fd;
		*reason = status;
		close(fd);
		i--;
	}
	return -1;
}

/*
 * Connects to the first address of several that answers, giving each a head
 * start over the next.  A name that stands for ::1 and 127.0.0.1 needs this,
 * as servers often listen on one of them only.
 */
static int
connect_any(SocketContext *context, const struct addrinfo *addresses, int *reason)
{
	struct pollfd fds[MAX_ADDRESSES + 1];
	int			nfds = 0;
	int			connected = -1;
	int64		deadline = bson_get_monotonic_time() + context->connect_timeout_ms * INT64CONST(1000);
	const struct addrinfo *next = addresses;

	/* each turn begins one more attempt, and waits for all that were begun */
	*reason = ETIMEDOUT;
	while (connected < 0 && (next != NULL || nfds > 0))
	{
		int64		until = deadline;

		if (next != NULL && nfds < MAX_ADDRESSES)
		{
			int			fd = start_connect(next->ai_family, next->ai_addr, next->ai_addrlen);

			next = next->ai_next;
			if (fd < 0)
			{
				*reason = errno;
				continue;
			}
			fds[nfds].fd = fd;
			fds[nfds].events = POLLOUT;
			nfds++;
			if (next != NULL)
				until = Min(deadline, bson_get_monotonic_time() + STAGGER_MS * INT64CONST(1000));
		}
		if (mcs_guard_poll(context->guard, fds, nfds, until) < 0)
		{
			*reason = errno;
			break;
		}
		connected = collect_connected(fds, &nfds, reason);
		if (connected < 0 && bson_get_monotonic_time() >= deadline)
			break;
	}
	for (int i = 0; i < nfds; i++)
		close(fds[i].fd);
	return connected;
}

/* getaddrinfo, of which the backend can see that it is at work. */
static int
resolve(SocketGuard *guard, const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **addresses)
{
	int			status;

	/* the name first: who sees resolving may read it */
	bson_strncpy(guard->name, name, sizeof(guard->name));
	__atomic_store_n(&guard->resolving, true, __ATOMIC_SEQ_CST);
	mcs_guard_leave(guard);
	status = getaddrinfo(name, port, hints, addresses);
	__atomic_store_n(&guard->resolving, false, __ATOMIC_SEQ_CST);
	mcs_guard_leave(guard);
	return status;
}

/* A socket that is, or is about to be, connected to a host; -1 with error set. */
int
mcs_mongo_connect(SocketContext *context, const mongoc_host_list_t *host, bson_error_t *error)
{
	struct addrinfo hints = {0};
	struct addrinfo *addresses = NULL;
	char		port[8];
	char		words[128];
	int			reason = 0;
	int			fd;

	if (host->family == AF_UNIX)
	{
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		bson_strncpy(address.sun_path, host->host, sizeof(address.sun_path));
		fd = start_connect(AF_UNIX, (struct sockaddr *) &address, sizeof(address));
		reason = errno;
	}
	else
	{
		int			status;

		hints.ai_family = host->family;
		hints.ai_socktype = SOCK_STREAM;
		bson_snprintf(port, sizeof(port), "%hu", host->port);
		status = resolve(context->guard, host->host, port, &hints, &addresses);
		if (status != 0)
		{
			bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_NAME_RESOLUTION,
						   "Failed to resolve '%s': %s", host->host, gai_strerror(status));
			return -1;
		}

		/* with one address the driver waits for it together with the other members of the set */
		if (addresses->ai_next == NULL)
		{
			fd = start_connect(addresses->ai_family, addresses->ai_addr, addresses->ai_addrlen);
			reason = errno;
		}
		else
			fd = connect_any(context, addresses, &reason);
		freeaddrinfo(addresses);
	}
	if (fd < 0)
		bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
					   "Failed to connect to '%s': %s", host->host_and_port,
					   bson_strerror_r(reason, words, sizeof(words)));
	return fd;
}
