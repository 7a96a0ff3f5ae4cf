/*
 * shared/numbers.c
 *	  What streams and handlers have done and waited for, in numbers, as the views
 *	  change_stream_stats and change_handler_stats show them.
 *
 * They have a place of their own for each worker of a stream or handler, found by
 * name, which stays when the slot goes: so a pause or another process loses
 * nothing.  PostgreSQL's end does.  A place whose worker has no slot any more is
 * taken by another when there is none left.
 *
 * A process adds up what it does in memory of its own and writes it here once a
 * transaction, under the place's spinlock, so no event costs anything.  Places
 * are given away with the lock of shared/memory.c held.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "miscadmin.h"
#include "shared/shared_internal.h"
#include "utils/timestamp.h"

/* Latencies are told apart by a quarter of an octave, a factor of 1.19, from a millisecond on. */
#define STEPS_OF_OCTAVE		4

/* Into how many parts the events between the first and the last of a transaction are divided. */
#define LATENCY_PARTS		16

/* ---- places ---- */

static bool
is_of(const NumbersPlace *place, Oid database, const char *stream, const char *handler)
{
	return place->used && place->database == database && strcmp(place->stream, stream) == 0 && strcmp(place->handler, handler) == 0;
}

/* With the lock held: whether a slot writes to a place. */
static bool
has_slot(int number)
{
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].numbers == number)
			return true;
	return false;
}

/* With the lock held: of the places that nobody writes to the one that was begun first; none is free. */
static int
oldest_left(void)
{
	const NumbersPlace *places = mcs_shared->numbers;
	int			oldest = -1;

	for (int i = 0; i < mcs_shared->max_slots; i++)
		if ((oldest < 0 || places[i].numbers.since < places[oldest].numbers.since) && !has_slot(i))
			oldest = i;
	return oldest;
}

/* With the lock held: the place for a slot that has been given to somebody; there are as many as slots. */
int
mcs_numbers_find(Oid database, Oid owner, const char *stream, const char *handler, int worker)
{
	NumbersPlace *place;
	int			found = -1;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		place = &mcs_shared->numbers[i];
		if (is_of(place, database, stream, handler) && place->worker == worker)
		{
			place->owner = owner;
			return i;
		}
		if (!place->used && found < 0)
			found = i;
	}
	if (found < 0)
		found = oldest_left();
	/* this slot is none of them yet, so one of the places has no slot */
	Assert(found >= 0);
	place = &mcs_shared->numbers[found];
	SpinLockAcquire(&place->mutex);
	place->used = true;
	place->database = database;
	place->owner = owner;
	strlcpy(place->stream, stream, NAMEDATALEN);
	strlcpy(place->handler, handler, NAMEDATALEN);
	place->worker = worker;
	memset(&place->numbers, 0, sizeof(Numbers));
	place->numbers.since = GetCurrentTimestamp();
	SpinLockRelease(&place->mutex);
	return found;
}

/* ---- this process ---- */

static NumbersPlace *
mine(void)
{
	return mcs_slot_mine ? &mcs_shared->numbers[mcs_slot_mine->numbers] : NULL;
}

/* Which step of latencies a time belongs to. */
static int
step_of(int64 milliseconds)
{
	int			step = milliseconds < 1 ? 0 : 1 + (int) (log2((double) milliseconds) * STEPS_OF_OCTAVE);

	return Min(step, NUMBERS_LATENCIES - 1);
}

/* Adds the latencies of a transaction's events, which lie between those of its first and last one, evenly as far as is known. */
static void
add_latencies(Numbers *numbers, const NumbersDone *done, int64 now_ms)
{
	int64		first = now_ms - done->first_ms;
	int64		last = now_ms - done->last_ms;
	int			parts = (int) Min(done->events, LATENCY_PARTS);

	for (int i = 0; i < parts; i++)
	{
		int64		latency = parts == 1 ? last : first + (last - first) * i / (parts - 1);

		numbers->latencies[step_of(latency)] += done->events / parts + (i < done->events % parts ? 1 : 0);
	}
}

/* Writes what was added up, and forgets it there. */
void
mcs_numbers_add(NumbersDone *done)
{
	NumbersPlace *place = mine();
	/* milliseconds since 1970, as MongoDB counts */
	int64		now_ms = GetCurrentTimestamp() / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000);

	if (place)
	{
		Numbers    *numbers = &place->numbers;

		SpinLockAcquire(&place->mutex);
		for (int i = 0; i < NUMBERS_COUNTERS; i++)
			numbers->counters[i] += done->counters[i];
		numbers->counters[NUMBER_EVENTS] += done->events;
		if (done->events > 0 && done->first_ms != 0)
			add_latencies(numbers, done, now_ms);
		SpinLockRelease(&place->mutex);
	}
	memset(done, 0, sizeof(*done));
}

/* Counts an error of a kind, a word or an SQLSTATE; there is room for few, and all further ones are "other". */
void
mcs_numbers_error(const char *kind)
{
	NumbersPlace *place = mine();
	NumbersError *error;

	if (!place)
		return;
	SpinLockAcquire(&place->mutex);
	error = place->numbers.errors;
	while (error < &place->numbers.errors[NUMBERS_ERRORS - 1] && error->count > 0 && strcmp(error->kind, kind) != 0)
		error++;
	if (error->count == 0)
		strlcpy(error->kind, error == &place->numbers.errors[NUMBERS_ERRORS - 1] ? "other" : kind, sizeof(error->kind));
	error->count++;
	SpinLockRelease(&place->mutex);
}

/* ---- any backend ---- */

/* Copies of this database's, of streams or of handlers' workers. */
NumbersView *
mcs_numbers_views(bool of_handlers, int *count)
{
	NumbersView *views;

	*count = 0;
	if (!mcs_shared)
		return NULL;
	views = palloc_extended(sizeof(NumbersView) * mcs_shared->max_slots, MCXT_ALLOC_HUGE);
	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		NumbersPlace *place = &mcs_shared->numbers[i];
		NumbersView *view = &views[*count];

		/* those without a stream are of projections, whose progress is in a table */
		if (!place->used || place->database != MyDatabaseId || place->stream[0] == '\0' || (place->handler[0] != '\0') != of_handlers)
			continue;
		strlcpy(view->stream, place->stream, NAMEDATALEN);
		strlcpy(view->handler, place->handler, NAMEDATALEN);
		view->owner = place->owner;
		SpinLockAcquire(&place->mutex);
		view->numbers = place->numbers;
		SpinLockRelease(&place->mutex);
		(*count)++;
	}
	LWLockRelease(mcs_shared->lock);
	return views;
}

/* Adds numbers to others, as of several workers of a handler. */
void
mcs_numbers_merge(Numbers *to, const Numbers *from)
{
	to->since = to->since == 0 ? from->since : Min(to->since, from->since);
	for (int i = 0; i < NUMBERS_COUNTERS; i++)
		to->counters[i] += from->counters[i];
	for (int i = 0; i < NUMBERS_LATENCIES; i++)
		to->latencies[i] += from->latencies[i];
	for (int i = 0; i < NUMBERS_ERRORS && from->errors[i].count > 0; i++)
	{
		int			at = 0;

		while (at < NUMBERS_ERRORS - 1 && to->errors[at].count > 0 && strcmp(to->errors[at].kind, from->errors[i].kind) != 0)
			at++;
		if (to->errors[at].count == 0)
			strlcpy(to->errors[at].kind, from->errors[i].kind, sizeof(to->errors[at].kind));
		to->errors[at].count += from->errors[i].count;
	}
}

/* The latency, in microseconds, that a part of the events has not exceeded; -1 where there are none. */
int64
mcs_numbers_latency(const Numbers *numbers, double part)
{
	int64		all = 0;
	int64		below = 0;

	for (int i = 0; i < NUMBERS_LATENCIES; i++)
		all += numbers->latencies[i];
	if (all == 0)
		return -1;
	for (int i = 0; i < NUMBERS_LATENCIES; i++)
	{
		below += numbers->latencies[i];
		/* the upper end of the step */
		if (below >= part * all)
			return (int64) (exp2((double) i / STEPS_OF_OCTAVE) * 1000);
	}
	return -1;
}

/* With the lock held: a stream, or a worker of a handler, has another owner. */
void
mcs_numbers_give(int number, Oid owner)
{
	mcs_shared->numbers[number].owner = owner;
}

/* With the lock held: begins those of a handler, or (NULL) of a stream and all its handlers, anew; gone: there is none of that name any more. */
void
mcs_numbers_begin_anew(const char *stream, const char *handler, bool gone)
{
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		NumbersPlace *place = &mcs_shared->numbers[i];

		if (!place->used || place->database != MyDatabaseId || strcmp(place->stream, stream) != 0 ||
			(handler && strcmp(place->handler, handler) != 0))
			continue;
		SpinLockAcquire(&place->mutex);
		memset(&place->numbers, 0, sizeof(Numbers));
		place->numbers.since = GetCurrentTimestamp();
		SpinLockRelease(&place->mutex);
		if (gone && !has_slot(i))
			place->used = false;
	}
}

/* Begins those of a stream and all its handlers anew, at once: as with all counters in shared memory, a rollback does not undo it. */
void
mcs_numbers_reset(const char *stream)
{
	if (!mcs_shared)
		return;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_numbers_begin_anew(stream, NULL, false);
	LWLockRelease(mcs_shared->lock);
}
