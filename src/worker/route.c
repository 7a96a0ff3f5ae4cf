/*
 * worker/route.c
 *	  Which streams of a group an event is for.
 *
 * The group's cursor lets through what any of its streams would: events of their
 * collections, renames onto one of those, and what concerns the whole database.
 * Operations and filters that MongoDB can evaluate it does, as far as all streams of
 * a collection have some (group_cursor.c); each stream looks at its own again.
 * Of the replies that are gathered each stream gets its own events, as one reply
 * that ends where the last of those replies does.  What a stream makes of them is
 * decided as if it had a cursor of its own (mcs_stream_verdict), so more than it
 * wants does no harm.
 *
 * The position at a round's end is that of the last reply.  It may be another
 * stream's event, which this one's own cursor would not find if it were opened
 * there; for all but that event's streams it is the begin of the event's time
 * instead, which is before none of their events, since a round ends where a time
 * does.
 */
#include "mongo_change_stream.h"

#include "shared/shared.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* No collection has a longer name. */
#define NAME_MAX_BYTES	255

typedef struct Route
{
	char		collection[NAME_MAX_BYTES + 1];
	List	   *members;
} Route;

/* What of an event says whom it is for. */
typedef struct Destination
{
	EventText	operation;
	EventText	collection;
	EventText	to;
} Destination;

void
mcs_route_prepare(StreamGroup *group)
{
	HASHCTL		info = {.keysize = sizeof(((Route *) 0)->collection),.entrysize = sizeof(Route),.hcxt = group->route_context};
	MemoryContext old;
	ListCell   *cell;

	MemoryContextReset(group->route_context);
	group->whole = NIL;
	group->routes = hash_create("mongo_change_stream routes", 64, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	old = MemoryContextSwitchTo(group->route_context);
	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);
		const char *collection = member->worker->stream->collection;
		Route	   *route;
		bool		found;

		if (!collection)
		{
			group->whole = lappend(group->whole, member);
			continue;
		}
		route = hash_search(group->routes, collection, HASH_ENTER, &found);
		if (!found)
			route->members = NIL;
		route->members = lappend(route->members, member);
	}
	MemoryContextSwitchTo(old);
}

/* ---- one event ---- */

static void
take_collection(const DocumentValue *value, EventText *text)
{
	DocumentValue found;

	if (value->type == DOCUMENT_OBJECT && mcs_document_find(value->data, value->size, "coll", &found))
		mcs_event_borrow_text(&found, text);
}

/* What an event, or a fragment of one, says of its destination. */
static void
look(const DocumentValue *event, Destination *destination)
{
	DocumentIterator it;

	mcs_document_iterate(&it, event->data, event->size);
	while (mcs_document_next(&it))
	{
		if (strcmp(it.key, "operationType") == 0)
			mcs_event_borrow_text(&it.value, &destination->operation);
		else if (strcmp(it.key, "ns") == 0)
			take_collection(&it.value, &destination->collection);
		else if (strcmp(it.key, "to") == 0)
			take_collection(&it.value, &destination->to);
	}
}

/* Hands one event, which may be in parts, to one member, unless it has it. */
static void
hand_to(GroupMember *member, List *parts, int64 number)
{
	ListCell   *cell;

	if (!member->reading || member->newest == number)
		return;
	if (member->count == 0)
	{
		mcs_document_build(&member->builder);
		mcs_document_begin_array(&member->builder, NULL);
	}
	foreach(cell, parts)
		mcs_document_append_value(&member->builder, NULL, lfirst(cell));
	member->count += list_length(parts);
	member->newest = number;
}

static void
hand_to_all(List *members, List *parts, int64 number)
{
	ListCell   *cell;

	foreach(cell, members)
		hand_to(lfirst(cell), parts, number);
}

/* Hands it to those who watch a collection. */
static void
hand_to_collection(StreamGroup *group, const EventText *collection, List *parts, int64 number)
{
	char		name[NAME_MAX_BYTES + 1];
	Route	   *route;

	if (!collection->data || collection->length > NAME_MAX_BYTES)
		return;
	/* the whole key is compared, up to its end */
	memcpy(name, collection->data, collection->length);
	name[collection->length] = '\0';
	route = hash_search(group->routes, name, HASH_FIND, NULL);
	if (route)
		hand_to_all(route->members, parts, number);
}

static void
hand_out(StreamGroup *group, List *parts, int64 number)
{
	Destination destination;
	ListCell   *cell;

	memset(&destination, 0, sizeof(destination));
	foreach(cell, parts)
		look(lfirst(cell), &destination);
	/* these concern all, as in the scope of a collection's stream (stream/pipeline.c) */
	if (mcs_event_text_is(&destination.operation, "dropDatabase") || mcs_event_text_is(&destination.operation, "invalidate"))
	{
		hand_to_all(group->members, parts, number);
		return;
	}
	hand_to_all(group->whole, parts, number);
	hand_to_collection(group, &destination.collection, parts, number);
	hand_to_collection(group, &destination.to, parts, number);
}

/* ---- a round ---- */

/* Hands out the events of one reply; *parts are those of an event that is not whole yet. */
static void
hand_out_reply(StreamGroup *group, const MongoBatch *reply, int64 *number, List **parts)
{
	DocumentIterator it;

	mcs_document_iterate(&it, reply->events, reply->events_size);
	while (mcs_document_next(&it))
	{
		EventFragment fragment;
		DocumentValue *part = palloc(sizeof(DocumentValue));

		if (it.value.type != DOCUMENT_OBJECT)
			mcs_document_malformed();
		*part = it.value;
		*parts = lappend(*parts, part);
		fragment = mcs_event_fragment(it.value.data, it.value.size);
		if (fragment.number < fragment.of)
			continue;
		hand_out(group, *parts, ++*number);
		*parts = NIL;
	}
	if (it.malformed)
		mcs_document_malformed();
}

/* The token of the last event of the round. */
static char *
token_of_last(const MongoBatch *reply)
{
	const DocumentValue *last = &reply->last;
	DocumentValue id;
	TokenParts	parts;
	StringInfoData text;

	if (last->size == 0 || !mcs_document_find(last->data, last->size, "_id", &id) || !mcs_token_parts(&id, &parts))
		return NULL;
	initStringInfo(&text);
	mcs_token_append(&text, &parts);
	return text.data;
}

/* What was put together for a member goes into its inbox, with the position behind it. */
static void
fill_inbox(const StreamGroup *group, GroupMember *member, const MongoBatch *last, const char *token)
{
	const StreamReading *read = &group->reader->read;
	StreamInbox *inbox = &member->inbox;
	Document   *events;

	mcs_document_end(&member->builder);
	events = mcs_document_finish(&member->builder);
	inbox->batch = *last;
	inbox->batch.events = (uint8 *) DOCUMENT_VALUE(events);
	inbox->batch.events_size = DOCUMENT_VALUE_SIZE(events);
	inbox->batch.event_count = member->count;
	inbox->batch.token = token;
	inbox->batch.asked_at = 0;
	inbox->batch.opened = false;
	/* the group opens the next cursor */
	inbox->batch.closed = false;
	inbox->batch.reply = NULL;
	memset(&inbox->batch.last, 0, sizeof(inbox->batch.last));
	inbox->received_at = read->received_at;
	inbox->operation_time = read->operation_time;
	inbox->heard_at = group->heard_at;
	inbox->goes_on = true;
	inbox->full = true;
}

bool
mcs_route_round(StreamGroup *group)
{
	StreamReading *read = &group->reader->read;
	const MongoBatch *last = read->replies == NIL ? &read->batch : llast(read->replies);
	MemoryContext old;
	const char *token;
	const char *others;
	GroupMember *newest = NULL;
	List	   *parts = NIL;
	int64		number = 0;
	int			events = read->batch.event_count;
	Size		bytes = read->batch.events_size;
	ListCell   *cell;

	/* nothing in it is used any more */
	MemoryContextReset(group->round_context);
	old = MemoryContextSwitchTo(group->round_context);
	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		member->count = 0;
		member->newest = 0;
	}
	hand_out_reply(group, &read->batch, &number, &parts);
	foreach(cell, read->replies)
	{
		hand_out_reply(group, lfirst(cell), &number, &parts);
		events += ((MongoBatch *) lfirst(cell))->event_count;
		bytes += ((MongoBatch *) lfirst(cell))->events_size;
	}
	token = last->token ? last->token : token_of_last(last);
	/* the event of the position, if it is one's, is not theirs */
	others = token && mcs_token_of_event(token) ? mcs_token_before_time(token, mcs_token_of_split_stream(token)) : token;
	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);
		const char *position = member->newest == number ? token : others;

		if (member->count == 0)
			continue;
		fill_inbox(group, member, last, position ? pstrdup(position) : NULL);
		newest = member;
	}
	/* they write in this order: one flush of the WAL is for the whole round */
	if (newest)
		newest->inbox.goes_on = events >= BATCH_EVENTS || bytes >= BATCH_BYTES;
	/* the position of a reply that opens a change stream is no progress */
	if (others && !last->opened)
		set_token(&group->quiet_token, others, strlen(others));
	group->quiet_asked_at = events == 0 && !last->opened ? last->asked_at : 0;
	group->moved |= !last->opened;
	/* a failure from here on is not the consequence of one before; the opening reply alone is no progress */
	if (others && !last->opened && strcmp(others, group->reader->stream->resume_token) > 0)
		group->reader->process.failures = 0;
	MemoryContextSwitchTo(old);
	return parts == NIL;
}
