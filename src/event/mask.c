/*
 * event/mask.c
 *	  Fields that an event is to be stored without, or with a fixed value in
 *	  place of theirs.
 *
 * A field is named by its dotted path.  In a path through an array the rest is
 * looked for in each element, and a position may stand in it as well.  What is
 * below a named field goes with it.  The images and what a stream's own pipeline
 * added are walked field by field.  In an update's description fields are named
 * by keys that are paths themselves ("card.no", "items.0.price"): a key that
 * leads to a named field or into it is dealt with as the field, one that leads
 * to a part above it has its value walked.
 *
 * It errs on the side of hiding: a field whose name holds dots counts as a path,
 * and a number in a key of an update may always be a position.
 *
 * An excluded field leaves no trace.  Of a masked one it can be seen that it is
 * there and that it was written: a change inside of it shows as one of the
 * whole.  The document key is never touched, since without it nobody could tell
 * which document an event is about.
 */
#include "mongo_change_stream.h"

#include "event/event.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* What stands in place of a masked value. */
#define MASK	"***"

/* How many names a path may have. */
#define MAX_STEPS	100

typedef enum MaskAction
{
	MASK_KEEP,					/* each hides more than the one before; of several the last counts */
	MASK_WALK,					/* something below it is named */
	MASK_REPLACE,
	MASK_REMOVE
} MaskAction;

/* A named field; step i is the i-th name of its path. */
typedef struct MaskPath
{
	MaskAction	action;			/* of MASK_REPLACE and MASK_REMOVE */
	int			count;
	DocumentStep *steps;
} MaskPath;

struct EventMask
{
	int			count;
	MaskPath   *paths;
};

/* How far a path has been followed: what is below is looked for from this step on. */
typedef struct MaskState
{
	const MaskPath *path;
	int			at;
} MaskState;

/* The paths that lead on from a place in a document. */
typedef struct MaskStates
{
	int			count;
	int			room;
	MaskState  *states;
} MaskStates;

static void mask_value(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *value,
					   const MaskStates *states);

/* ---- paths ---- */

/* The names in a dotted path. */
static DocumentStep *
split(const char *path, uint32 size, int *count)
{
	DocumentStep *steps;
	uint32		begin = 0;
	int			room = 1;

	/* one name more than there are dots */
	for (uint32 i = 0; i < size; i++)
		room += path[i] == '.';
	steps = palloc(sizeof(DocumentStep) * room);
	*count = 0;
	for (uint32 i = 0; i <= size; i++)
		if (i == size || path[i] == '.')
		{
			steps[*count].key = path + begin;
			steps[(*count)++].size = i - begin;
			begin = i + 1;
		}
	return steps;
}

static void
add_path(EventMask *mask, MaskAction action, const char *text)
{
	MaskPath   *path = &mask->paths[mask->count++];
	const char *problem = mcs_event_mask_problem(text);

	/* the functions have refused it, but the table can be written by hand: what follows a path has room for MAX_STEPS names */
	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no path of a field to leave out or to mask", text),
				 errdetail("%s", problem)));
	path->action = action;
	path->steps = split(pstrdup(text), strlen(text), &path->count);
}

/* A mask for two lists of dotted paths, in the current memory context; NULL where there are none. */
EventMask *
mcs_event_mask_make(List *exclude, List *replace)
{
	EventMask  *mask;
	ListCell   *cell;

	if (exclude == NIL && replace == NIL)
		return NULL;
	mask = palloc(sizeof(EventMask));
	mask->count = 0;
	mask->paths = palloc(sizeof(MaskPath) * (list_length(exclude) + list_length(replace)));
	foreach(cell, exclude)
		add_path(mask, MASK_REMOVE, lfirst(cell));
	foreach(cell, replace)
		add_path(mask, MASK_REPLACE, lfirst(cell));
	return mask;
}

/* Whether a path is one: names between dots, none of them empty, and not the document's key. */
const char *
mcs_event_mask_problem(const char *path)
{
	int			count;
	DocumentStep *steps = split(path, strlen(path), &count);

	if (count > MAX_STEPS)
		return "It has too many names.";
	for (int i = 0; i < count; i++)
		if (steps[i].size == 0)
			return "A name in it is empty.";
	/* anything below _id is the key, too */
	if (steps[0].size == 3 && memcmp(steps[0].key, "_id", 3) == 0)
		return "The document's key tells which document an event is about, and stays.";
	return NULL;
}

/* Whether a name may be the position of an element. */
static bool
is_number(const DocumentStep *step)
{
	for (uint32 i = 0; i < step->size; i++)
		if (step->key[i] < '0' || step->key[i] > '9')
			return false;
	return step->size > 0;
}

static bool
same_step(const DocumentStep *a, const DocumentStep *b)
{
	return a->size == b->size && memcmp(a->key, b->key, a->size) == 0;
}

/* Adds a path to those that lead on from a place, once. */
static void
add_state(MaskStates *states, const MaskPath *path, int at)
{
	for (int i = 0; i < states->count; i++)
		/* two ways through an array can lead to the same place */
		if (states->states[i].path == path && states->states[i].at == at)
			return;
	if (states->count == states->room)
	{
		states->room = Max(states->room * 2, 8);
		states->states = states->states ? repalloc(states->states, sizeof(MaskState) * states->room)
			: palloc(sizeof(MaskState) * states->room);
	}
	states->states[states->count].path = path;
	states->states[states->count++].at = at;
}

/*
 * Follows one path from its step at along a key.  Where the path ends, returns
 * what to do, and *named says with which of the key's names; what of the path
 * is left behind the key's end is added to below.
 */
static MaskAction
follow(const MaskPath *path, int at, const DocumentStep *key, int count, bool positions, MaskStates *below, int *named)
{
	bool		here[MAX_STEPS + 1] = {false};	/* which steps of the path may be next */
	MaskAction	action = MASK_KEEP;

	/* all places in the path at once, as numbers may be keys or positions */
	here[at] = true;			/* a stream's definition has no longer path: mcs_event_mask_problem() */
	for (int i = 0; i <= count; i++)
	{
		bool		next[MAX_STEPS + 1] = {false};

		if (here[path->count])
		{
			/* of several, the one that names least of the key names most of the document */
			*named = Min(*named, i);
			action = path->action;
		}
		for (int step = at; step < path->count; step++)
		{
			if (!here[step])
				continue;
			if (i == count)
			{
				add_state(below, path, step);
				action = Max(action, MASK_WALK);
				continue;
			}
			if (same_step(&path->steps[step], &key[i]))
				next[step + 1] = true;
			if (positions && i > 0 && is_number(&key[i]))
				next[step] = true;
		}
		memcpy(here, next, sizeof(here));
	}
	return action;
}

/* Follows all paths along a key; positions: numbers in it may be those of array elements. */
static MaskAction
look(const MaskStates *states, const char *key, uint32 key_size, bool positions, MaskStates *below, uint32 *named_size)
{
	MaskAction	action = MASK_KEEP;
	int			count;
	DocumentStep *steps = NULL;
	int			named = PG_INT32_MAX;

	memset(below, 0, sizeof(*below));
	for (int i = 0; i < states->count; i++)
	{
		const MaskState *state = &states->states[i];
		const DocumentStep *next = &state->path->steps[state->at];

		/* most keys are no beginning of any path; a number may be left out only behind an equal name */
		if (key_size < next->size || memcmp(key, next->key, next->size) != 0)
			continue;
		if (steps == NULL)
			steps = split(key, key_size, &count);
		action = Max(action, follow(state->path, state->at, steps, count, positions, below, &named));
	}
	if (action >= MASK_REPLACE && named_size)
		*named_size = steps[named - 1].key + steps[named - 1].size - key;
	if (steps)
		pfree(steps);
	return action;
}

/* ---- documents ---- */

static void
append_raw(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *value)
{
	uint8	   *space = mcs_document_append_raw(builder, key, key_size, value->type, value->size);

	if (value->size > 0)
		memcpy(space, value->data, value->size);
}

static void
append_mask(DocumentBuilder *builder, const char *key, uint32 key_size)
{
	static const uint8 string[] = {sizeof(MASK), 0, 0, 0, '*', '*', '*', 0};
	DocumentValue value = {DOCUMENT_STRING, string, sizeof(string)};

	StaticAssertStmt(sizeof(string) == 4 + sizeof(MASK), "the string does not fit its length");
	append_raw(builder, key, key_size, &value);
}

/* One field, of which a key says where it stands below the states' place. */
static void
mask_field(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *value,
		   const MaskStates *states, bool positions)
{
	MaskStates	below;

	switch (look(states, key, key_size, positions, &below, NULL))
	{
		case MASK_KEEP:
			append_raw(builder, key, key_size, value);
			break;
		case MASK_WALK:
			mask_value(builder, key, key_size, value, &below);
			break;
		case MASK_REPLACE:
			append_mask(builder, key, key_size);
			break;
		case MASK_REMOVE:
			break;
	}
	if (below.states)
		pfree(below.states);
}

/* An element of an array: it is looked into as the array itself, and by its position. */
static void
mask_element(DocumentBuilder *builder, int position, const DocumentValue *value, const MaskStates *states)
{
	MaskStates	below = {0};
	MaskAction	action = MASK_KEEP;
	char		text[MAXINT8LEN + 1];
	DocumentStep step = {text, 0};

	step.size = pg_ltoa(position, text);
	for (int i = 0; i < states->count; i++)
	{
		const MaskState *state = &states->states[i];

		/* a path goes through arrays without saying so */
		add_state(&below, state->path, state->at);
		if (!same_step(&state->path->steps[state->at], &step))
			continue;
		if (state->at + 1 == state->path->count)
			action = Max(action, state->path->action);
		else
			add_state(&below, state->path, state->at + 1);
	}
	if (action == MASK_KEEP)
		mask_value(builder, NULL, 0, value, &below);
	else if (action == MASK_REPLACE)
		append_mask(builder, NULL, 0);
	pfree(below.states);
}

/* A value below which something is named. */
static void
mask_value(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *value,
		   const MaskStates *states)
{
	DocumentIterator it;
	int			position = 0;

	check_stack_depth();
	if (value->type != DOCUMENT_OBJECT && value->type != DOCUMENT_ARRAY)
	{
		append_raw(builder, key, key_size, value);
		return;
	}
	mcs_document_open(builder, key, key_size, value->type);
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (value->type == DOCUMENT_OBJECT)
			mask_field(builder, it.key, it.key_size, &it.value, states, false);
		else
			mask_element(builder, position++, &it.value, states);
	}
	if (it.malformed)
		mcs_document_malformed();
	mcs_document_end(builder);
}

/* A document that has taken another's place. */
static void
take(DocumentValue *value, DocumentBuilder *builder)
{
	Document   *document = mcs_document_finish(builder);

	value->data = DOCUMENT_VALUE(document);
	value->size = DOCUMENT_VALUE_SIZE(document);
}

static void
mask_document(DocumentValue *value, const MaskStates *states)
{
	DocumentBuilder builder;

	if (value->type != DOCUMENT_OBJECT && value->type != DOCUMENT_ARRAY)
		return;
	mcs_document_build(&builder);
	mask_value(&builder, NULL, 0, value, states);
	take(value, &builder);
}

/* ---- what an update wrote ---- */

/* Masked fields that removedFields or truncatedArrays name a part of: they show as written. */
typedef struct Written
{
	const MaskStates *states;
	List	   *keys;			/* of DocumentStep * */
} Written;

static void
add_written(Written *written, const char *key, uint32 size)
{
	DocumentStep *step = palloc(sizeof(DocumentStep));

	step->key = key;
	step->size = size;
	written->keys = lappend(written->keys, step);
}

/* In the order of bytes, which puts equal ones side by side. */
static int
compare_keys(const ListCell *a, const ListCell *b)
{
	const DocumentStep *x = lfirst(a);
	const DocumentStep *y = lfirst(b);
	int			compared = memcmp(x->key, y->key, Min(x->size, y->size));

	return compared ? compared : x->size < y->size ? -1 : x->size > y->size ? 1 : 0;
}

/*
 * Whether a path that removedFields, truncatedArrays or disambiguatedPaths name
 * may stay.  A masked field that is gone as a whole may be seen to be.
 */
static bool
path_stays(Written *written, const char *path, uint32 size, bool whole_stays)
{
	MaskStates	below;
	uint32		named;
	MaskAction	action = look(written->states, path, size, true, &below, &named);

	if (below.states)
		pfree(below.states);
	if (action < MASK_REPLACE || (action == MASK_REPLACE && whole_stays && named == size))
		return true;
	if (action == MASK_REPLACE)
		add_written(written, path, named);
	return false;
}

/* removedFields and truncatedArrays without what shall not be seen. */
static void
mask_paths(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *list, Written *written)
{
	DocumentIterator it;

	mcs_document_open(builder, key, key_size, DOCUMENT_ARRAY);
	mcs_document_iterate(&it, list->data, list->size);
	while (mcs_document_next(&it))
	{
		DocumentValue name = it.value;
		const char *string;
		uint32		size;

		CHECK_FOR_INTERRUPTS();
		if (name.type == DOCUMENT_OBJECT)
			(void) mcs_document_find(it.value.data, it.value.size, "field", &name);
		if (!mcs_document_get_string(&name, &string, &size) ||
			path_stays(written, string, size, it.value.type != DOCUMENT_OBJECT))
			append_raw(builder, NULL, 0, &it.value);
	}
	if (it.malformed)
		mcs_document_malformed();
	mcs_document_end(builder);
}

/* disambiguatedPaths without the paths that shall not be seen. */
static void
mask_keys(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *object, Written *written)
{
	DocumentIterator it;

	mcs_document_open(builder, key, key_size, DOCUMENT_OBJECT);
	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
		if (path_stays(written, it.key, it.key_size, true))
			append_raw(builder, it.key, it.key_size, &it.value);
	if (it.malformed)
		mcs_document_malformed();
	mcs_document_end(builder);
}

/* updatedFields, and in it the masked fields of which parts were removed. */
static void
mask_updated(DocumentBuilder *builder, const char *key, uint32 key_size, const DocumentValue *updated, Written *written)
{
	Written		shown = {written->states, NIL};
	const DocumentStep *last = NULL;
	DocumentIterator it;
	ListCell   *cell;

	mcs_document_open(builder, key, key_size, DOCUMENT_OBJECT);
	mcs_document_iterate(&it, updated->data, updated->size);
	while (mcs_document_next(&it))
	{
		MaskStates	below;
		uint32		named;

		CHECK_FOR_INTERRUPTS();
		if (look(written->states, it.key, it.key_size, true, &below, &named) == MASK_REPLACE)
			add_written(&shown, it.key, named);
		else
			mask_field(builder, it.key, it.key_size, &it.value, written->states, true);
		if (below.states)
			pfree(below.states);
	}
	if (it.malformed)
		mcs_document_malformed();
	shown.keys = list_concat(shown.keys, written->keys);
	list_sort(shown.keys, compare_keys);
	foreach(cell, shown.keys)
	{
		DocumentStep *step = lfirst(cell);

		if (last == NULL || !same_step(last, step))
			append_mask(builder, step->key, step->size);
		last = step;
	}
	mcs_document_end(builder);
}

static bool
key_is(const DocumentIterator *it, const char *key)
{
	return it->key_size == strlen(key) && memcmp(it->key, key, it->key_size) == 0;
}

/* One field of an update's description. */
static void
mask_part(DocumentBuilder *builder, const DocumentIterator *it, Written *written)
{
	if (key_is(it, "updatedFields") && it->value.type == DOCUMENT_OBJECT)
		mask_updated(builder, it->key, it->key_size, &it->value, written);
	else if ((key_is(it, "removedFields") || key_is(it, "truncatedArrays")) && it->value.type == DOCUMENT_ARRAY)
		mask_paths(builder, it->key, it->key_size, &it->value, written);
	else if (key_is(it, "disambiguatedPaths") && it->value.type == DOCUMENT_OBJECT)
		mask_keys(builder, it->key, it->key_size, &it->value, written);
	else
		mask_field(builder, it->key, it->key_size, &it->value, written->states, false);
}

static void
mask_description(DocumentValue *description, const MaskStates *states)
{
	Written		written = {states, NIL};
	DocumentBuilder builder;
	DocumentIterator it;

	if (description->type != DOCUMENT_OBJECT)
		return;
	/* the second round finds the same ones again, and mask_updated writes each once */
	/* twice: what is removed inside of masked fields is to be shown with what is updated, which comes first */
	for (int round = 0; round < 2; round++)
	{
		mcs_document_build(&builder);
		mcs_document_begin_object(&builder, NULL);
		mcs_document_iterate(&it, description->data, description->size);
		while (mcs_document_next(&it))
			mask_part(&builder, &it, &written);
		if (it.malformed)
			mcs_document_malformed();
		mcs_document_end(&builder);
		if (written.keys == NIL)
			break;
	}
	take(description, &builder);
}

/* ---- the event ---- */

/* The fields without a column are looked into as a document's: a pipeline may have copied them there. */
static void
mask_others(ChangeEvent *event, const MaskStates *states)
{
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, event->others)
	{
		EventField *field = lfirst(cell);
		DocumentBuilder builder;
		DocumentIterator it;
		Document   *document;

		mcs_document_build(&builder);
		mcs_document_begin_object(&builder, NULL);
		mask_field(&builder, field->key, strlen(field->key), &field->value, states, false);
		mcs_document_end(&builder);
		document = mcs_document_finish(&builder);
		mcs_document_iterate(&it, DOCUMENT_VALUE(document), DOCUMENT_VALUE_SIZE(document));
		/* it was removed */
		if (!mcs_document_next(&it))
			continue;
		field->value = it.value;
		others = lappend(others, field);
	}
	event->others = others;
}

/* All paths, from their begin. */
static MaskStates
begin_states(const EventMask *mask)
{
	MaskStates	states = {0};

	for (int i = 0; i < mask->count; i++)
		add_state(&states, &mask->paths[i], 0);
	return states;
}

/* Takes out of an event what shall not be stored; new bytes in the current memory context. */
void
mcs_event_mask(const EventMask *mask, ChangeEvent *event)
{
	MaskStates	states = begin_states(mask);

	mask_document(&event->full_document, &states);
	mask_document(&event->full_document_before_change, &states);
	mask_description(&event->update_description, &states);
	mask_others(event, &states);
	pfree(states.states);
}

void
mcs_event_mask_document(const EventMask *mask, DocumentValue *document)
{
	MaskStates	states = begin_states(mask);

	mask_document(document, &states);
	pfree(states.states);
}
