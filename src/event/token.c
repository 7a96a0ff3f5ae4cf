/*
 * event/token.c
 *	  What an event's resume token says of it.
 */
#include "mongo_change_stream.h"

#include "event/event.h"
#include "mongo/mongo.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_event_cluster_timestamp);

/*
 * The exact cluster time in a resume token, as a BSON timestamp.  The column
 * cluster_time shows it as a timestamptz, whose microseconds can't hold every
 * ordinal.
 */
Datum
mcs_event_cluster_timestamp(PG_FUNCTION_ARGS)
{
	char	   *string = TextDatumGetCString(PG_GETARG_DATUM(0));
	char	   *token = mcs_token_read(string);
	DocumentBuilder builder;
	uint64		time;

	if (token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not a resume token: \"%s\"", string),
				 errdetail("A resume token is the hexadecimal text in _data of an event's _id."),
				 errhint("Take the column resume_token of an event.")));
	time = mcs_token_time(token);
	mcs_document_build(&builder);
	mcs_document_append_timestamp(&builder, NULL, (uint32) (time >> 32), (uint32) time);
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}
