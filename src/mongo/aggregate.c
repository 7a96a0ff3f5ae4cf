/*
 * mongo/aggregate.c
 *	  The aggregate command that opens a change stream: where the stage
 *	  $changeStream and its options are made.  Built in the driver's thread, since
 *	  it is libbson that gets the memory for it.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

/* A digit of valid hex; mongo/token.c has looked at it. */
static uint8
digit_value(char c)
{
	return (uint8) (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/*
 * Appends a token as MongoDB's document: {_data: …} and, of what follows a dot,
 * _typeBits.  As mcs_token_document, without PostgreSQL.
 */
static void
append_token(bson_t *to, const char *key, const char *token)
{
	const char *dot = strchr(token, '.');
	bson_t		child;

	BSON_APPEND_DOCUMENT_BEGIN(to, key, &child);
	bson_append_utf8(&child, "_data", -1, token, dot ? (int) (dot - token) : -1);
	if (dot)
	{
		size_t		size = strlen(dot + 1) / 2;
		uint8	   *bits = bson_malloc(size);

		for (size_t i = 0; i < size; i++)
			bits[i] = (uint8) (digit_value(dot[1 + i * 2]) << 4 | digit_value(dot[2 + i * 2]));
		bson_append_binary(&child, "_typeBits", -1, BSON_SUBTYPE_BINARY, bits, (uint32) size);
		bson_free(bits);
	}
	bson_append_document_end(to, &child);
}

/* Appends the $changeStream stage as element 0 of a pipeline. */
static void
append_change_stream(bson_t *pipeline, const ChangeStreamSpec *spec)
{
	bson_t		stage;
	bson_t		options;

	BSON_APPEND_DOCUMENT_BEGIN(pipeline, "0", &stage);
	BSON_APPEND_DOCUMENT_BEGIN(&stage, "$changeStream", &options);
	if (spec->full_document != NULL)
		BSON_APPEND_UTF8(&options, "fullDocument", spec->full_document);
	if (spec->full_document_before_change != NULL)
		BSON_APPEND_UTF8(&options, "fullDocumentBeforeChange", spec->full_document_before_change);
	if (spec->show_expanded_events)
		BSON_APPEND_BOOL(&options, "showExpandedEvents", true);
	if (spec->database == NULL)
		BSON_APPEND_BOOL(&options, "allChangesForCluster", true);
	switch (spec->start)
	{
		case CHANGE_STREAM_NOW:
			break;
		case CHANGE_STREAM_RESUME_AFTER:
			append_token(&options, "resumeAfter", spec->token);
			break;
		case CHANGE_STREAM_START_AFTER:
			append_token(&options, "startAfter", spec->token);
			break;
		case CHANGE_STREAM_AT_TIME:
			BSON_APPEND_TIMESTAMP(&options, "startAtOperationTime", (uint32) (spec->time >> 32), (uint32) spec->time);
			break;
	}
	bson_append_document_end(&stage, &options);
	bson_append_document_end(pipeline, &stage);
}

/* Builds the aggregate that opens a change stream; split: with SPLIT_STAGE at its end. */
void
mcs_mongo_build_aggregate(bson_t *command, const ChangeStreamSpec *spec, bool split)
{
	bson_t		pipeline = BSON_INITIALIZER;
	bson_t		child;
	bson_t		stages;
	bson_iter_t iter;
	const char *key;
	char		buffer[16];
	uint32		n = 1;

	/* 1: of no single collection */
	if (spec->database == NULL || spec->collection == NULL)
		BSON_APPEND_INT32(command, "aggregate", 1);
	else
		BSON_APPEND_UTF8(command, "aggregate", spec->collection);

	/* $changeStream must be the first stage, and the one that splits the last */
	append_change_stream(&pipeline, spec);
	if (spec->stages != NULL && bson_init_static(&stages, spec->stages, spec->stages_size) &&
		bson_iter_init(&iter, &stages))
	{
		while (bson_iter_next(&iter))
		{
			bson_uint32_to_string(n++, &key, buffer, sizeof(buffer));
			bson_append_iter(&pipeline, key, -1, &iter);
		}
	}
	if (split)
	{
		bson_uint32_to_string(n++, &key, buffer, sizeof(buffer));
		BSON_APPEND_DOCUMENT_BEGIN(&pipeline, key, &child);
		BSON_APPEND_DOCUMENT(&child, SPLIT_STAGE, &(bson_t) BSON_INITIALIZER);
		bson_append_document_end(&pipeline, &child);
	}
	BSON_APPEND_ARRAY(command, "pipeline", &pipeline);
	bson_destroy(&pipeline);

	/* no events with the reply: it comes at once, and what comes late comes from a getMore */
	BSON_APPEND_DOCUMENT_BEGIN(command, "cursor", &child);
	BSON_APPEND_INT32(&child, "batchSize", 0);
	bson_append_document_end(command, &child);
	if (spec->comment != NULL)
		BSON_APPEND_UTF8(command, "comment", spec->comment);
}
