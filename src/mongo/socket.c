/*
 * mongo/socket.c
 *	  The transport below libmongoc: sockets whose every wait can be broken off
 *	  from outside.  Runs in the driver's thread only.
 *
 * The driver's own streams wait in poll() for as long as their timeout says,
 * and signals do not end the wait.  Ours wait for the socket and for the
 * thread's bell, an eventfd, at once.  Whoever wants the thread's attention
 * stores a time in guard->give_up_at and rings: each wait then lasts until
 * that time at most, and from then on every operation fails at once with
 * ECANCELED, so that the driver comes back quickly from wherever it is.  What
 * can't be broken off is name resolution; see mongo/thread.c for that.
 *
 * A second thing that the driver can't do: it gives a reply a fixed time.  A
 * getMore that has a week of oplog to pass over answers late and must not be
 * repeated from its start for ever, while a server that is dead must be
 * noticed soon.  So after guard->patience_ms without a byte the driver is
 * asked, by guard->alive, whether the server is still at it (mongo/monitor.c).  In
 * the middle of a reply there is nothing to ask: a server that has begun to send
 * goes on, so silence there is a connection that is dead.
 *
 * A third: an initiator that fails ends in a deadlock.  Up to 1.23 at least,
 * libmongoc looks at the members that a member announces while it holds the
 * lock on what it knows of the set, and a stream that can't be had makes it
 * take that lock again: one name that does not resolve, and the thread hangs for
 * ever.  So the initiator always returns a stream; where there is no connection,
 * one that is dead, on which the driver's next step fails, outside of the lock.
 * The driver's words for that are always the same, so the reason is kept in the
 * context, and mcs_socket_explain puts it in their place.
 */
#include "mongo/mongo.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define STREAM_TYPE			100 /* must differ from the driver's own */
#define MAX_SOCKETS			120 /* of a thread: a set of 50 members, and once more to look whether one is alive */

typedef struct GuardedStream
{
	mongoc_stream_t base;		/* must be first */
	SocketGuard *guard;
	int			fd;				/* -1: a dead stream */
	bool		in_reply;		/* bytes have come since something was sent */
	int			last_errno;		/* why the last operation fell short, 0 at end of file */
} GuardedStream;

/* ---- the stream ---- */

/* When a timeout given by the driver ends; negative: never, 0: do not wait. */
static int64
expiration(int32 timeout_msec)
{
	if (timeout_msec <= 0)
		return timeout_msec;
	return bson_get_monotonic_time() + timeout_msec * INT64CONST(1000);
}

/* Waits until the socket can be read (POLLIN) or written; false with last_errno set otherwise. */
static bool
stream_wait(GuardedStream *stream, short events, int64 expire_at)
{
	SocketGuard *guard = stream->guard;
	int64		begin = bson_get_monotonic_time();
	struct pollfd fds[2];

	if (expire_at == 0)
	{
		stream->last_errno = EAGAIN;
		return false;
	}
	for (;;)
	{
		/* alive is NULL while it is looked whether another connection is */
		bool		patient = guard->alive != NULL && guard->patience_ms > 0;
		int64		until = expire_at;
		int			ready;

		if (patient)
			until = mcs_guard_earlier(expire_at, bson_get_monotonic_time() + guard->patience_ms * INT64CONST(1000));
		fds[0].fd = stream->fd;
		fds[0].events = events;
		ready = mcs_guard_poll(guard, fds, 1, until);
		if (ready > 0)
			return true;
		if (ready < 0)
		{
			stream->last_errno = errno;
			return false;
		}
		if (until == expire_at || (events == POLLIN && stream->in_reply) || !guard->alive(guard->alive_arg))
		{
			stream->last_errno = mcs_guard_expired(guard) ? ECANCELED : ETIMEDOUT;
			if (until != expire_at)
				guard->silence_s = (int) ((bson_get_monotonic_time() - begin) / INT64CONST(1000000));
			return false;
		}
	}
}

/* Reads at least min_bytes, or what there is when nothing more comes; -1 at end of file and on errors. */
static ssize_t
stream_readv(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t iovcnt, size_t min_bytes, int32_t timeout_msec)
{
	GuardedStream *stream = (GuardedStream *) base;
	int64		expire_at = expiration(timeout_msec);
	size_t		total = 0;
	size_t		i = 0;
	size_t		offset = 0;

	/* read first and wait only then: mostly the bytes are there */
	while (i < iovcnt)
	{
		ssize_t		n;

		stream->last_errno = 0;
		n = recv(stream->fd, (char *) iov[i].iov_base + offset, iov[i].iov_len - offset, 0);
		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			stream->last_errno = errno;
			if ((errno == EAGAIN || errno == EWOULDBLOCK) && total < Max(min_bytes, 1) &&
				stream_wait(stream, POLLIN, expire_at))
				continue;
		}
		if (n <= 0)
			break;
		stream->in_reply = true;
		total += n;
		offset += n;
		if (offset == iov[i].iov_len)
		{
			i++;
			offset = 0;
		}
		if (total >= min_bytes)
			break;
	}

	errno = stream->last_errno;
	if (total > 0 && total >= min_bytes)
		return total;
	/* the driver's own streams report "nothing yet" and end of file as 0 where no minimum was asked for */
	return total >= min_bytes && (errno == 0 || errno == EAGAIN) ? 0 : -1;
}

/* Writes everything, or as much as can be written in time; -1 if that is nothing. */
static ssize_t
stream_writev(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t iovcnt, int32_t timeout_msec)
{
	GuardedStream *stream = (GuardedStream *) base;
	int64		expire_at = expiration(timeout_msec);
	ssize_t		total = 0;

	stream->in_reply = false;
	for (size_t i = 0; i < iovcnt; i++)
	{
		size_t		offset = 0;

		while (offset < iov[i].iov_len)
		{
			ssize_t		n;

			stream->last_errno = 0;
			/* MSG_NOSIGNAL: SIGPIPE would end the process */
			n = send(stream->fd, (char *) iov[i].iov_base + offset, iov[i].iov_len - offset,
					 MSG_NOSIGNAL | (i + 1 < iovcnt ? MSG_MORE : 0));
			if (n < 0)
			{
				if (errno == EINTR)
					continue;
				stream->last_errno = errno;
				if ((errno == EAGAIN || errno == EWOULDBLOCK) && stream_wait(stream, POLLOUT, expire_at))
					continue;
				errno = stream->last_errno;
				return total > 0 ? total : -1;
			}
			offset += n;
			total += n;
		}
	}
	return total;
}

/* Waits for any of several streams of this type; the driver looks at all members of a set so. */
static ssize_t
stream_poll(mongoc_stream_poll_t *streams, size_t nstreams, int32_t timeout_msec)
{
	SocketGuard *guard = ((GuardedStream *) streams[0].stream)->guard;
	struct pollfd *fds = bson_malloc((nstreams + 1) * sizeof(struct pollfd));
	int			dead = 0;
	int			ready;

	for (size_t i = 0; i < nstreams; i++)
	{
		fds[i].fd = ((GuardedStream *) streams[i].stream)->fd;
		fds[i].events = streams[i].events;
		dead += fds[i].fd < 0;
	}

	/* a dead stream is news already, so then nothing is waited for */
	ready = mcs_guard_poll(guard, fds, nstreams,
						   timeout_msec == 0 || dead > 0 ? bson_get_monotonic_time() : expiration(timeout_msec));
	for (size_t i = 0; i < nstreams; i++)
	{
		/* the driver ignores a failed poll, but not a stream that hung up */
		if (ready < 0 || fds[i].fd < 0)
			streams[i].revents = POLLHUP;
		else
			streams[i].revents = fds[i].revents;
	}
	bson_free(fds);
	return ready < 0 ? (ssize_t) nstreams : ready + dead;
}

static int
stream_close(mongoc_stream_t *base)
{
	GuardedStream *stream = (GuardedStream *) base;
	int			fd = stream->fd;

	/* the driver may close before it destroys */
	if (fd < 0)
		return 0;
	stream->fd = -1;
	stream->guard->sockets--;
	return close(fd);
}

static void
stream_destroy(mongoc_stream_t *base)
{
	stream_close(base);
	bson_free(base);
}

/* Nothing is kept back that could be flushed. */
static int
stream_flush(mongoc_stream_t *base)
{
	return 0;
}

static int
stream_setsockopt(mongoc_stream_t *base, int level, int name, void *value, mongoc_socklen_t size)
{
	return setsockopt(((GuardedStream *) base)->fd, level, name, value, size);
}

/* Whether the peer has closed a connection that was idle. */
static bool
stream_check_closed(mongoc_stream_t *base)
{
	GuardedStream *stream = (GuardedStream *) base;
	char		byte;
	ssize_t		n = recv(stream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static bool
stream_timed_out(mongoc_stream_t *base)
{
	return ((GuardedStream *) base)->last_errno == ETIMEDOUT;
}

static bool
stream_should_retry(mongoc_stream_t *base)
{
	int			reason = ((GuardedStream *) base)->last_errno;

	return reason == EAGAIN || reason == EWOULDBLOCK || reason == EINPROGRESS || reason == EINTR;
}

static mongoc_stream_t *
stream_new(SocketGuard *guard, int fd)
{
	GuardedStream *stream = bson_malloc0(sizeof(GuardedStream));

	stream->base.type = STREAM_TYPE;
	stream->base.destroy = stream_destroy;
	stream->base.failed = stream_destroy;
	stream->base.close = stream_close;
	stream->base.flush = stream_flush;
	stream->base.writev = stream_writev;
	stream->base.readv = stream_readv;
	stream->base.setsockopt = stream_setsockopt;
	stream->base.check_closed = stream_check_closed;
	stream->base.poll = stream_poll;
	stream->base.timed_out = stream_timed_out;
	stream->base.should_retry = stream_should_retry;
	stream->guard = guard;
	stream->fd = fd;
	if (fd >= 0)
		guard->sockets++;
	return &stream->base;
}

/* ---- hosts that could not be tried ---- */

/* Forgets why a host could not be tried; the last one takes its place. */
static void
forget_refused(SocketContext *context, const char *host)
{
	for (int i = 0; i < context->refused_count; i++)
		if (strcmp(context->refused[i].host, host) == 0)
		{
			context->refused[i] = context->refused[--context->refused_count];
			return;
		}
}

/* A dead stream for a host, keeping the reason; see the top of this file. */
static mongoc_stream_t *
refuse_host(SocketContext *context, const mongoc_host_list_t *host, const bson_error_t *error)
{
	forget_refused(context, host->host_and_port);
	if (context->refused_count < MAX_MEMBERS)
	{
		RefusedHost *refused;

		if (context->refused == NULL)
			context->refused = bson_malloc(MAX_MEMBERS * sizeof(RefusedHost));
		refused = &context->refused[context->refused_count++];
		bson_strncpy(refused->host, host->host_and_port, sizeof(refused->host));
		bson_strncpy(refused->message, error->message, sizeof(refused->message));
		refused->unresolved = error->code == MONGOC_ERROR_STREAM_NAME_RESOLUTION;
	}
	return mcs_frame_check(stream_new(context->guard, -1), context);
}

/* Puts text in the place of a part of a message, which is cut where it gets too long. */
static void
replace_words(char *message, size_t size, char *place, size_t length, const char *text)
{
	char	   *rest = bson_strdup(place + length);

	bson_snprintf(place, size - (place - message), "%s%s", text, rest);
	bson_free(rest);
}

void
mcs_socket_explain(const SocketContext *context, char *message, size_t size, char *unresolved, size_t unresolved_size)
{
	unresolved[0] = '\0';
	for (int i = 0; i < context->refused_count; i++)
	{
		const RefusedHost *refused = &context->refused[i];
		/* the driver's words for a dead stream */
		char	   *words = bson_strdup_printf("connection refused calling hello on '%s'", refused->host);
		char	   *place = strstr(message, words);

		if (place != NULL)
			replace_words(message, size, place, strlen(words), refused->message);
		bson_free(words);
		if (refused->unresolved)
		{
			size_t		length = strlen(unresolved);

			bson_snprintf(unresolved + length, unresolved_size - length, "%s%s", length > 0 ? ", " : "", refused->host);
		}
	}
}

void
mcs_socket_context_free(SocketContext *context)
{
	bson_free(context->refused);
}

/* ---- for the driver ---- */

/* Opens a stream to a host for the driver: a guarded socket, TLS on it if the URI says so. */
mongoc_stream_t *
mcs_socket_initiate(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *user_data, bson_error_t *error)
{
	SocketContext *context = user_data;
	mongoc_stream_t *stream;
	mongoc_stream_t *tls;
	bson_error_t reason;
	int			fd;

	if (mcs_guard_expired(context->guard))
	{
		bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT, "Connecting was canceled");
		return refuse_host(context, host, error);
	}
	/* members may name further members for ever */
	if (context->guard->sockets >= MAX_SOCKETS)
	{
		bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
					   "The servers name more members of the set than a set can have");
		return refuse_host(context, host, error);
	}
	fd = mcs_mongo_connect(context, host, error);
	if (fd < 0)
		return refuse_host(context, host, error);
	stream = stream_new(context->guard, fd);
	if (!context->use_tls)
	{
		forget_refused(context, host->host_and_port);
		return mcs_frame_check(stream, context);
	}

	tls = mongoc_stream_tls_new_with_hostname(stream, host->host, &context->tls, 1);
	if (tls == NULL)
	{
		bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET,
					   "Failed to initialize TLS: the files that the URI names could not be used");
		mongoc_stream_destroy(stream);
		return refuse_host(context, host, error);
	}

	/* with an initiator of ours, the driver leaves the handshake, and the look at the host's name, to us */
	if (!mongoc_stream_tls_handshake_block(tls, host->host, context->connect_timeout_ms, &reason))
	{
		bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET,
					   "%s, by '%s'", reason.message, host->host_and_port);
		mongoc_stream_destroy(tls);
		return refuse_host(context, host, error);
	}
	forget_refused(context, host->host_and_port);
	return mcs_frame_check(tls, context);
}

/* Reads from the URI what the initiator needs, and takes out of it what can't be had. */
void
mcs_socket_context_init(SocketContext *context, mongoc_uri_t *uri, SocketGuard *guard)
{
	bool		insecure = mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSINSECURE, false);

	memset(context, 0, sizeof(*context));
	context->guard = guard;
	context->connect_timeout_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, 10000);
	context->compressors = mcs_unpack_offer(uri);
	context->use_tls = mongoc_uri_get_tls(uri);
	context->tls.pem_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCERTIFICATEKEYFILE, NULL);
	context->tls.ca_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCAFILE, NULL);
	context->tls.weak_cert_validation =
		mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDCERTIFICATES, insecure);
	context->tls.allow_invalid_hostname =
		mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDHOSTNAMES, insecure);
}
