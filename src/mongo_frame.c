/*
 * mongo_frame.c
 *	  A stream between the transport and libmongoc that lets whole replies
 *	  through only if their frame is what MongoDB's wire protocol says.  Runs in
 *	  the driver's thread only.
 *
 * The driver takes a good deal of a reply for granted: that the section of an
 * OP_MSG is of kind 0, that the document's own length is that of the section
 * and that the document ends with a zero byte.  Where it isn't so it reads
 * outside of its buffer.  So the bytes are looked at here on their way, with
 * TLS already taken off: a reply that breaks the frame ends the connection, and
 * what is inside of the document is checked by whoever reads it.
 *
 * https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 * What is inside of an OP_COMPRESSED is not seen here, only its sizes are: with
 * compressors in the URI, damage is kept out by TLS alone.
 */
#include "mongo_socket.h"

#include <errno.h>

#include "mongo_far_side.h"

#define STREAM_TYPE			101 /* must differ from the driver's own */

#define OP_REPLY			1
#define OP_COMPRESSED		2012
#define OP_MSG				2013

/* A message's header, and what each kind has before its document. */
#define HEADER_SIZE			16
#define REPLY_DOCUMENT		36
#define COMPRESSED_DATA		25
#define MSG_DOCUMENT		21
#define HEAD_SIZE			40	/* enough for each of them and the document's length */

#define MIN_DOCUMENT		5
#define MAX_MESSAGE			48000000	/* maxMessageSizeBytes of every server */

/* An OP_MSG without a checksum and without more to come: the driver asks for neither. */
#define MSG_REQUIRED_FLAGS	0xFFFF

typedef struct FramedStream
{
	mongoc_stream_t base;		/* must be first */
	mongoc_stream_t *below;
	bool		broken;
	uint32		seen;			/* bytes of the message that have come */
	uint32		length;			/* of the message, once seen >= 4 */
	uint32		document_end;	/* where the document's last byte must be; 0: nowhere */
	uint8		head[HEAD_SIZE];
} FramedStream;

static uint32
head_uint32(const FramedStream *stream, uint32 offset)
{
	uint32		value;

	memcpy(&value, stream->head + offset, sizeof(value));
	return BSON_UINT32_FROM_LE(value);
}

/* Whether the document that begins at an offset fills the rest of the message. */
static bool
document_fits(FramedStream *stream, uint32 offset)
{
	uint32		size;

	if (stream->length < offset + MIN_DOCUMENT)
		return false;
	size = head_uint32(stream, offset);
	if (size != stream->length - offset)
		return false;
	stream->document_end = stream->length - 1;
	return true;
}

/* Whether the head of a message is one that the driver can be given. */
static bool
check_head(FramedStream *stream)
{
	switch (head_uint32(stream, 12))
	{
		case OP_MSG:
			return (head_uint32(stream, HEADER_SIZE) & MSG_REQUIRED_FLAGS) == 0 &&
				stream->head[MSG_DOCUMENT - 1] == 0 &&
				document_fits(stream, MSG_DOCUMENT);
		case OP_REPLY:
			return head_uint32(stream, REPLY_DOCUMENT - 4) == 1 && document_fits(stream, REPLY_DOCUMENT);
		case OP_COMPRESSED:
			return stream->length > COMPRESSED_DATA &&
				head_uint32(stream, HEADER_SIZE) == OP_MSG &&
				head_uint32(stream, HEADER_SIZE + 4) <= MAX_MESSAGE;
		default:
			return false;
	}
}

/* Takes note of bytes on their way to the driver; false where they can't be a reply's. */
static bool
check_bytes(FramedStream *stream, const uint8 *data, size_t size)
{
	while (size > 0)
	{
		uint32		head_size = stream->seen < 4 ? 4 : Min(stream->length, HEAD_SIZE);
		uint32		take;

		if (stream->seen < head_size)
		{
			take = Min(size, head_size - stream->seen);
			memcpy(stream->head + stream->seen, data, take);
		}
		else
			take = Min(size, stream->length - stream->seen);
		if (stream->document_end >= stream->seen && stream->document_end < stream->seen + take &&
			stream->document_end != 0 && data[stream->document_end - stream->seen] != 0)
			return false;
		stream->seen += take;
		data += take;
		size -= take;

		if (stream->seen == 4)
		{
			stream->length = head_uint32(stream, 0);
			stream->document_end = 0;
			if (stream->length < HEADER_SIZE + MIN_DOCUMENT || stream->length > MAX_MESSAGE)
				return false;
		}
		else if (stream->seen == head_size && !check_head(stream))
			return false;
		/* a message that is all head had its last byte before its end was known */
		if (stream->seen == stream->length)
		{
			if (stream->length <= HEAD_SIZE && stream->document_end != 0 && stream->head[stream->document_end] != 0)
				return false;
			stream->seen = 0;
		}
	}
	return true;
}

static ssize_t
frame_readv(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t iovcnt, size_t min_bytes, int32_t timeout_msec)
{
	FramedStream *stream = (FramedStream *) base;
	ssize_t		got;
	size_t		left;

	if (stream->broken)
	{
		errno = EPROTO;
		return -1;
	}
	got = stream->below->readv(stream->below, iov, iovcnt, min_bytes, timeout_msec);
	left = got > 0 ? got : 0;
	for (size_t i = 0; i < iovcnt && left > 0; i++)
	{
		size_t		part = Min(left, iov[i].iov_len);

		if (!check_bytes(stream, (const uint8 *) iov[i].iov_base, part))
		{
			stream->broken = true;
			errno = EPROTO;
			return -1;
		}
		left -= part;
	}
	return got;
}

/* ---- what only passes through ---- */

static ssize_t
frame_writev(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t iovcnt, int32_t timeout_msec)
{
	mongoc_stream_t *below = ((FramedStream *) base)->below;

	return below->writev(below, iov, iovcnt, timeout_msec);
}

static void
frame_destroy(mongoc_stream_t *base)
{
	mongoc_stream_destroy(((FramedStream *) base)->below);
	bson_free(base);
}

static void
frame_failed(mongoc_stream_t *base)
{
	mongoc_stream_failed(((FramedStream *) base)->below);
	bson_free(base);
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
mcs_frame_check(mongoc_stream_t *below)
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
	return &stream->base;
}
