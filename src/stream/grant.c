/*
 * stream/grant.c
 *	  grant_change_stream and revoke_change_stream: who may see a stream that is
 *	  another's.  What they may see of it is said by the policies and views of the
 *	  schema, which read what is written here.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(mcs_grant_change_stream);
PG_FUNCTION_INFO_V1(mcs_revoke_change_stream);

/* The reader that is named; regrole also takes "-" and any number, of which some are no role's. */
static Oid
reader_argument(FunctionCallInfo fcinfo)
{
	Oid			reader;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reader must not be null")));
	reader = PG_GETARG_OID(1);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(reader)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", reader)));
	return reader;
}

/* Gives the stream, or takes it from, the reader, both as the arguments name them. */
static void
change_grant(FunctionCallInfo fcinfo, void (*change) (const char *stream, Oid reader), const char *function)
{
	char	   *name = mcs_stream_name_argument(fcinfo);

	PreventCommandIfReadOnly(function);
	/* locked, so that no grant outlives a drop that goes on meanwhile */
	(void) mcs_stream_load_own(name, true);
	change(name, reader_argument(fcinfo));
	/* views of the reader's show more, or less */
	mcs_wake_projections_at_commit();
}

/* grant_change_stream(text, regrole) -> void */
Datum
mcs_grant_change_stream(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, mcs_grants_add, "grant_change_stream()");
	PG_RETURN_VOID();
}

/* revoke_change_stream(text, regrole) -> void */
Datum
mcs_revoke_change_stream(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, mcs_grants_remove, "revoke_change_stream()");
	PG_RETURN_VOID();
}
