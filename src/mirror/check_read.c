/*
 * mirror/check_read.c
 *	  What MongoDB had at the time that a mirror is compared at, for
 *	  check_change_mirror.
 *
 * That it cannot tell passes or not: a collection that is younger than the time
 * is one that the position comes to; a time that is too old gets older.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Documents that are held at once; those of one reply come on top. */
#define HELD_BYTES		(64 * 1024 * 1024)

/* MongoDB cannot tell any more, or never could. */
static void pg_attribute_noreturn()
refuse_time(const MirrorCheck *check, const MongoError *error)
{
	const Mirror *mirror = check->mirror;

	if (error->code == MONGO_CODE_SNAPSHOT_TOO_OLD)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("MongoDB does not know any more what change mirror \"%s\" is to be compared with", mirror->name),
				 errdetail("Its table is as of %s, and MongoDB keeps what was before for some minutes only (minSnapshotHistoryWindowInSeconds): %s",
						   timestamptz_to_str(mcs_event_timestamp(check->time)), error->message),
				 IsolationUsesXactSnapshot()
				 ? errhint("Compare in a transaction of isolation READ COMMITTED, which sees the table as it is now.")
				 : errhint("Let change stream \"%s\" run and catch up; change_stream_status tells how far behind it is, and why.", mirror->stream)));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("MongoDB cannot read collection \"%s.%s\" as of a time", mirror->database, mirror->collection),
			 errdetail("%s", error->message),
			 errhint("MongoDB 5.0 and later can, unless the collection is capped.")));
}

/* Keeps an error that passes. */
static bool
fails(MirrorCheck *check, const MongoError *error)
{
	bool		of_time = mcs_find_cannot_read_at(error);

	/* younger than the time: the position comes there, unless the collection is one of those that have no history */
	if (of_time && error->code != MONGO_CODE_SNAPSHOT_UNAVAILABLE)
		refuse_time(check, error);
	if (!of_time && error->class != MONGO_ERROR_TRANSIENT)
		mcs_mongo_raise(error, psprintf("read collection \"%s.%s\"", check->mirror->database, check->mirror->collection));
	check->failure = *error;
	return false;
}

/*
 * Where a reply tells no time the collection is not there now; whether it was
 * then, MongoDB doesn't say.  When the position has passed the time of such a reply,
 * there are no documents.
 */
static bool
is_gone(MirrorCheck *check, const MongoBatch *batch)
{
	if (check->gone_at != 0 && check->time >= check->gone_at)
		return true;
	check->gone_at = batch->operation_time;
	memset(&check->failure, 0, sizeof(check->failure));
	check->failure.class = MONGO_ERROR_TRANSIENT;
	check->failure.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	strlcpy(check->failure.message, "the collection is not there now, and the change stream has not come to that time yet",
			sizeof(check->failure.message));
	return false;
}

/* Adds copies of a reply's documents, but not the one behind which is read. */
static void
add_documents(MirrorCheck *check, const MongoBatch *batch, const DocumentValue *behind)
{
	DocumentIterator it;

	mcs_document_iterate(&it, batch->events, batch->events_size);
	while (mcs_document_next(&it))
	{
		DocumentValue *document;
		DocumentValue id;

		if (it.value.type != DOCUMENT_OBJECT || !mcs_document_find(it.value.data, it.value.size, MIRROR_ID, &id))
			mcs_document_malformed();
		if (behind && mcs_document_compare(behind, &id) == 0)
			continue;
		check->bytes += it.value.size;
		document = palloc(sizeof(DocumentValue));
		*document = mcs_document_value(mcs_document_make(it.value.type, it.value.data, it.value.size));
		check->documents = lappend(check->documents, document);
	}
	if (it.malformed)
		mcs_document_malformed();
}

/*
 * Reads documents of the part into check->documents; false where it is to be
 * tried again.  Of those by _id one reply that has any, which is bounded; of
 * others, as many as are to be held at once, and too_many says so.
 */
bool
mcs_check_read(MirrorCheck *check, FindSpec *spec)
{
	MongoCursor *cursor;
	MongoBatch	batch;
	MongoError	error;
	DocumentValue behind;
	bool		done = true;
	MemoryContext old;

	/* those before are not looked at any more */
	if (!check->reading)
		check->reading = AllocSetContextCreate(check->part, "check_change_mirror documents", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(check->reading);
	old = MemoryContextSwitchTo(check->reading);
	check->bytes = 0;
	check->too_many = false;
	if (spec->min)
		behind = mcs_document_value(spec->min);
	spec->database = check->mirror->database;
	spec->collection = check->mirror->collection;
	spec->at_time = check->time;
	spec->queue_bytes = 1;
	spec->comment = check->mirror->name;
	check->documents = NIL;
	check->ended = false;
	cursor = mcs_find_open(mcs_cache_session(check->target), spec);
	while (done && !check->ended && !check->too_many && !(spec->by_id && check->documents != NIL))
	{
		switch (mcs_cursor_next(cursor, -1, &batch, &error))
		{
			case MONGO_CURSOR_BATCH:
				if (batch.read_time == 0)
					done = is_gone(check, &batch);
				add_documents(check, &batch, spec->min ? &behind : NULL);
				check->ended = batch.closed;
				check->too_many = !spec->by_id && !batch.closed && check->bytes > HELD_BYTES;
				mcs_cursor_free_batch(&batch);
				break;
			case MONGO_CURSOR_TIMEOUT:
			case MONGO_CURSOR_LATCH:
				CHECK_FOR_INTERRUPTS();
				break;
			case MONGO_CURSOR_FAILED:
				done = fails(check, &error);
				break;
		}
	}
	mcs_cursor_close(cursor);
	MemoryContextSwitchTo(old);
	return done;
}
