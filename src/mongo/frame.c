/*
 * mongo/frame.c
 *	  A stream between the transport and libmongoc that hands over whole replies
 *	  only, and of those only the ones that are what they claim to be.  Runs in
 *	  the driver's thread only.
 *
 * The driver takes a good deal of a reply for granted: that it answers the
 * request in the request's own opcode, that the section of an OP_MSG is of kind
 * 0, that lengths within lengths agree, that an error has a code, that a hello's
 * hosts are strings.  Where it isn't so it reads outside of its buffer, or calls
 * abort(), which in a backend restarts the whole cluster.  So, with TLS already
 * taken off, a reply is collected here to its last byte, unpacked where it came
 * compressed, and looked through (mongo/reply.c) before the driver sees the
 * first byte of it.  One that is not right ends the connection: whoever called
 * the driver finds the reason in the guard's complaint and takes it for a
 * violation of the protocol, which is tried again as a lost connection is.
 *
 * What was asked is learnt from the requests on their way out, since what a
 * reply must be depends on it.  One is under way at a time.
 *
 * A message is a header of four little-endian numbers (length of the whole, its
 * id, the id of what it answers, opcode) and, by opcode,
 *
 *		OP_MSG			flags, then sections, each with its kind in front; one
 *						of kind 0, which is a document, is all that we accept
 *		OP_QUERY		flags, a name, two numbers, a document: a first hello
 *		OP_REPLY		the answer to that: 20 bytes, then the document
 *		OP_COMPRESSED	opcode and size of what is in it, the compressor, data
 *
 * https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 */
#include "mongo/mongo.h"

#include <errno.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define STREAM_TYPE			101 /* must differ from the driver's own */

#define OP_REPLY			1
#define OP_QUERY			2004
#define OP_COMPRESSED		2012
#define OP_MSG				2013

/* A message's header, and what each kind has before its document. */
#define HEADER_SIZE			16
#define REPLY_DOCUMENT		36
#define COMPRESSED_DATA		25
#define MSG_DOCUMENT		21

#define MAX_MESSAGE			48000000	/* maxMessageSizeBytes of every server */

/* An OP_MSG without a checksum and without more to come: the driver asks for neither. */
#define MSG_REQUIRED_FLAGS	0xFFFF

/* Of a request, so much is looked at: a hello with all that a client says of itself is smaller. */
#define REQUEST_HEAD		4096

/*
 * A buffer grows with what has come, whatever length a reply claims; one that is
 * larger than a thousand events of some kilobytes does not stay.
 */
#define FIRST_CAPACITY		16384
#define KEPT_CAPACITY		(4 * 1024 * 1024)

typedef struct FramedStream
{
	mongoc_stream_t base;		/* must be first */
	mongoc_stream_t *below;
	SocketContext *context;
	bool		broken;

	/* the reply that comes, or (ready) is being handed over */
	uint8	   *data;
	uint32		capacity;
	uint32		size;			/* bytes in data */
	uint32		length;			/* the whole of it; 0: not known yet */
	uint32		given;			/* bytes that the driver has */
	bool		ready;

	/* the request that was written last */
	uint8		request[REQUEST_HEAD];
	uint32		request_seen;	/* bytes of the one on its way out */
	uint32		request_id;
	uint32		request_opcode;
	bool		asked;			/* a reply is due */
	ReplyQuestion question;
} FramedStream;

/* The reverse of mcs_bson_uint32. */
static void
write_uint32(uint8 *place, uint32 value)
{
	value = BSON_UINT32_TO_LE(value);
	memcpy(place, &value, sizeof(value));
}

/* Ends the connection because of what came; false, for the caller to return. */
static bool
refuse(FramedStream *stream, const char *complaint)
{
	SocketGuard *guard = stream->context->guard;

	/* the first complaint is the cause, others follow from it */
	stream->broken = true;
	if (guard->complaint[0] == '\0')
		bson_strncpy(guard->complaint, complaint, sizeof(guard->complaint));
	return false;
}

/* ---- requests ---- */

/* Notes what a request asks that has gone out whole. */
static void
take_request(FramedStream *stream, uint32 length)
{
	uint32		size = Min(length, REQUEST_HEAD);
	uint32		document;

	stream->request_id = mcs_bson_uint32(stream->request + 4);
	stream->request_opcode = mcs_bson_uint32(stream->request + 12);
	stream->asked = true;
	stream->question.kind = QUESTION_OTHER; /* its mechanism stays: saslContinue does not repeat it */
	switch (stream->request_opcode)
	{
		case OP_MSG:
			mcs_reply_question(&stream->question, stream->request + MSG_DOCUMENT, size - Min(size, MSG_DOCUMENT));
			break;
		case OP_QUERY:
			/* flags, the collection's name, two numbers, the document */
			document = HEADER_SIZE + 4;
			while (document < size && stream->request[document] != '\0')
				document++;
			document += 1 + 8;
			mcs_reply_question(&stream->question, stream->request + document, size - Min(size, document));
			break;
		default:
			/* compressed: neither a hello nor authentication ever is */
			break;
	}
}

/* Looks at bytes that have gone out. */
static void
watch_request(FramedStream *stream, const uint8 *data, size_t size)
{
	while (size > 0)
	{
		uint32		want = stream->request_seen < HEADER_SIZE ? HEADER_SIZE : mcs_bson_uint32(stream->request);
		uint32		part;

		/* in two steps: the header says how long the rest is */
		if (stream->request_seen >= HEADER_SIZE && want <= HEADER_SIZE)
			return;				/* nothing that the driver writes */
		part = (uint32) Min(size, want - stream->request_seen);
		if (stream->request_seen < REQUEST_HEAD)
			memcpy(stream->request + stream->request_seen, data, Min(part, REQUEST_HEAD - stream->request_seen));
		stream->request_seen += part;
		data += part;
		size -= part;
		if (stream->request_seen > HEADER_SIZE && stream->request_seen == want)
		{
			take_request(stream, stream->request_seen);
			stream->request_seen = 0;
		}
	}
}

/* Passes a request on, and looks at as much of it as has gone out. */
static ssize_t
frame_writev(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t iovcnt, int32_t timeout_msec)
{
	FramedStream *stream = (FramedStream *) base;
	ssize_t		written = stream->below->writev(stream->below, iov, iovcnt, timeout_msec);
	size_t		left = written > 0 ? (size_t) written : 0;

	for (size_t i = 0; i < iovcnt && left > 0; i++)
	{
		size_t		part = Min(left, iov[i].iov_len);

		watch_request(stream, (const uint8 *) iov[i].iov_base, part);
		left -= part;
	}
	return written;
}

/* ---- replies ---- */

/* Makes room for so many bytes. */
static void
reserve(FramedStream *stream, uint32 capacity)
{
	if (capacity <= stream->capacity)
		return;
	stream->data = bson_realloc(stream->data, capacity);
	stream->capacity = capacity;
}

/* Makes the buffer empty for the next reply. */
static void
clear(FramedStream *stream)
{
	stream->size = 0;
	stream->length = 0;
	stream->given = 0;
	stream->ready = false;
	if (stream->capacity > KEPT_CAPACITY)
	{
		bson_free(stream->data);
		stream->data = NULL;
		stream->capacity = 0;
	}
}

/* Looks at a reply's header, all that has come of it. */
static bool
check_header(FramedStream *stream)
{
	uint32		opcode = mcs_bson_uint32(stream->data + 12);

	stream->length = mcs_bson_uint32(stream->data);
	if (stream->length < HEADER_SIZE + MIN_DOCUMENT || stream->length > MAX_MESSAGE)
		return refuse(stream, "a message's length is out of bounds");
	if (!stream->asked || mcs_bson_uint32(stream->data + 8) != stream->request_id)
		return refuse(stream, "a reply answers no request");
	if (opcode != OP_COMPRESSED && opcode != (stream->request_opcode == OP_QUERY ? OP_REPLY : OP_MSG))
		return refuse(stream, "a reply is of another kind than its request");
	return true;
}

/* Puts the message within an OP_COMPRESSED in its place. */
static bool
unpack(FramedStream *stream)
{
	uint32		size;
	uint8	   *plain;
	const char *complaint;

	if (stream->length <= COMPRESSED_DATA || stream->request_opcode == OP_QUERY ||
		mcs_bson_uint32(stream->data + HEADER_SIZE) != OP_MSG)
		return refuse(stream, "a compressed message has no message in it");
	size = mcs_bson_uint32(stream->data + HEADER_SIZE + 4);
	if (size < MSG_DOCUMENT - HEADER_SIZE + MIN_DOCUMENT || size > MAX_MESSAGE - HEADER_SIZE)
		return refuse(stream, "a compressed message's length is out of bounds");

	/* the size is the message's own claim, but bounded, and the unpacker must fill it exactly */
	plain = bson_malloc(HEADER_SIZE + size);
	complaint = mcs_unpack(stream->context->compressors, stream->data[COMPRESSED_DATA - 1],
						   stream->data + COMPRESSED_DATA, stream->length - COMPRESSED_DATA, plain + HEADER_SIZE, size);
	if (complaint != NULL)
	{
		bson_free(plain);
		return refuse(stream, complaint);
	}
	memcpy(plain, stream->data, HEADER_SIZE);
	write_uint32(plain, HEADER_SIZE + size);
	write_uint32(plain + 12, OP_MSG);
	bson_free(stream->data);
	stream->data = plain;
	stream->capacity = stream->size = stream->length = HEADER_SIZE + size;
	return true;
}

/* Looks through a reply that has come whole. */
static bool
check_reply(FramedStream *stream)
{
	uint32		document = MSG_DOCUMENT;
	char		complaint[COMPLAINT_SIZE];

	if (mcs_bson_uint32(stream->data + 12) == OP_COMPRESSED && !unpack(stream))
		return false;
	if (mcs_bson_uint32(stream->data + 12) == OP_MSG)
	{
		if (stream->length < MSG_DOCUMENT + MIN_DOCUMENT ||
			(mcs_bson_uint32(stream->data + HEADER_SIZE) & MSG_REQUIRED_FLAGS) != 0 ||
			stream->data[MSG_DOCUMENT - 1] != 0)
			return refuse(stream, "a message has flags or sections that were not asked for");
	}
	else
	{
		document = REPLY_DOCUMENT;
		if (stream->length < REPLY_DOCUMENT + MIN_DOCUMENT || mcs_bson_uint32(stream->data + REPLY_DOCUMENT - 4) != 1)
			return refuse(stream, "a reply holds not one document");
	}
	if (!mcs_reply_check(&stream->question, stream->data + document, stream->length - document, complaint))
		return refuse(stream, complaint);
	stream->asked = false;		/* a second reply would answer no request */
	stream->ready = true;
	return true;
}

/*
 * Reads until a reply is there.  wait: or until the timeout is over; else as far
 * as that goes at once.  Returns 1, or what the stream below said in place of
 * bytes; with stream->broken set, -1.
 */
static ssize_t
collect(FramedStream *stream, bool wait, int32_t timeout_msec)
{
	while (!stream->ready)
	{
		uint32		want = stream->size < HEADER_SIZE ? HEADER_SIZE : stream->length;
		mongoc_iovec_t iov;
		ssize_t		got;

		/* grows by doubling with what has come: a length alone gets no memory */
		reserve(stream, Min(want, Max(FIRST_CAPACITY, stream->size * 2)));
		iov.iov_base = (void *) (stream->data + stream->size);
		iov.iov_len = Min(want, stream->capacity) - stream->size;
		got = stream->below->readv(stream->below, &iov, 1, wait ? iov.iov_len : 0, wait ? timeout_msec : 0);
		if (got <= 0)
			return got;
		stream->size += (uint32) got;
		if (stream->size == HEADER_SIZE && !check_header(stream))
			return -1;
		if (stream->length != 0 && stream->size == stream->length && !check_reply(stream))
			return -1;
	}
	return 1;
}

/* Hands over bytes of a reply, once all of it has come and is right. */
static ssize_t
frame_readv(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t iovcnt, size_t min_bytes, int32_t timeout_msec)
{
	FramedStream *stream = (FramedStream *) base;
	ssize_t		got = stream->broken ? -1 : collect(stream, min_bytes > 0, timeout_msec);
	size_t		total = 0;

	if (got <= 0)
	{
		/* anything that the driver does not try again */
		if (stream->broken)
			errno = EPROTO;
		return got;
	}
	for (size_t i = 0; i < iovcnt; i++)
	{
		uint32		part = (uint32) Min(iov[i].iov_len, stream->length - stream->given);

		memcpy(iov[i].iov_base, stream->data + stream->given, part);
		stream->given += part;
		total += part;
	}
	if (stream->given == stream->length)
		clear(stream);
	return (ssize_t) total;		/* the driver never reads beyond a reply */
}

/* ---- what only passes through ---- */

/* Destroyed: with what is below it. */
static void
frame_destroy(mongoc_stream_t *base)
{
	FramedStream *stream = (FramedStream *) base;

	mongoc_stream_destroy(stream->below);
	bson_free(stream->data);
	bson_free(stream);
}

/* The same after a failure, when what is below may have less to say. */
static void
frame_failed(mongoc_stream_t *base)
{
	FramedStream *stream = (FramedStream *) base;

	mongoc_stream_failed(stream->below);
	bson_free(stream->data);
	bson_free(stream);
}

static int
frame_close(mongoc_stream_t *base)
{
	return mongoc_stream_close(((FramedStream *) base)->below);
}

static int
frame_flush(mongoc_stream_t *base)
{
	return mongoc_stream_flush(((FramedStream *) base)->below);
}

static int
frame_setsockopt(mongoc_stream_t *base, int level, int name, void *value, mongoc_socklen_t size)
{
	return mongoc_stream_setsockopt(((FramedStream *) base)->below, level, name, value, size);
}

/* The driver looks below for TLS, which is under us. */
static mongoc_stream_t *
frame_get_base_stream(mongoc_stream_t *base)
{
	return ((FramedStream *) base)->below;
}

static bool
frame_check_closed(mongoc_stream_t *base)
{
	FramedStream *stream = (FramedStream *) base;

	return stream->broken || mongoc_stream_check_closed(stream->below);
}

static bool
frame_timed_out(mongoc_stream_t *base)
{
	FramedStream *stream = (FramedStream *) base;

	return !stream->broken && mongoc_stream_timed_out(stream->below);
}

static bool
frame_should_retry(mongoc_stream_t *base)
{
	FramedStream *stream = (FramedStream *) base;

	return !stream->broken && mongoc_stream_should_retry(stream->below);
}

/* Puts the check on top of a stream, which it then owns. */
mongoc_stream_t *
mcs_frame_check(mongoc_stream_t *below, SocketContext *context)
{
	FramedStream *stream = bson_malloc0(sizeof(FramedStream));

	stream->base.type = STREAM_TYPE;
	stream->base.destroy = frame_destroy;
	stream->base.failed = frame_failed;
	stream->base.close = frame_close;
	stream->base.flush = frame_flush;
	stream->base.writev = frame_writev;
	stream->base.readv = frame_readv;
	stream->base.setsockopt = frame_setsockopt;
	stream->base.get_base_stream = frame_get_base_stream;
	stream->base.check_closed = frame_check_closed;
	stream->base.timed_out = frame_timed_out;
	stream->base.should_retry = frame_should_retry;
	stream->below = below;
	stream->context = context;
	return &stream->base;
}
