/*
 * match/filter.c
 *	  Filters: combining them, and writing them as a condition of $match.
 */
#include "mongo_change_stream.h"

#include "match/match_internal.h"
#include "miscadmin.h"

/* Conditions of a $and that may be written as one object; each is held against all others of its key. */
#define MAX_MERGED 20

static MatchFilter *
make_filter(MatchKind kind, bool exact)
{
	MatchFilter *filter = palloc0(sizeof(MatchFilter));

	filter->kind = kind;
	filter->exact = exact;
	return filter;
}

/* Of what can't be sent: anything may come through. */
MatchFilter *
mcs_match_unknown(void)
{
	return make_filter(FILTER_ALL, false);
}

/* Of what holds for every event. */
MatchFilter *
mcs_match_all(void)
{
	return make_filter(FILTER_ALL, true);
}

/* Of what holds for no event. */
MatchFilter *
mcs_match_none(void)
{
	return make_filter(FILTER_NONE, true);
}

/* A condition of MongoDB's query language. */
MatchFilter *
mcs_match_test(Document *test, bool exact)
{
	MatchFilter *filter = make_filter(FILTER_TEST, exact);

	filter->test = test;
	return filter;
}

/* The same filter, as one that lets through more than it should. */
MatchFilter *
mcs_match_wider(MatchFilter *filter)
{
	MatchFilter *wider;

	if (!filter->exact)
		return filter;
	wider = palloc(sizeof(MatchFilter));
	*wider = *filter;
	wider->exact = false;
	return wider;
}

/* Joins two filters, neither of which stands for all or none, in one list. */
static MatchFilter *
join(MatchKind kind, MatchFilter *a, MatchFilter *b)
{
	MatchFilter *joined = make_filter(kind, a->exact && b->exact);

	/* one flat list; copied, since the parts may be in other filters, too */
	joined->parts = a->kind == kind ? list_copy(a->parts) : list_make1(a);
	joined->parts = b->kind == kind ? list_concat(joined->parts, b->parts) : lappend(joined->parts, b);
	return joined;
}

/* What both let through. */
MatchFilter *
mcs_match_and(MatchFilter *a, MatchFilter *b)
{
	if (a->kind == FILTER_NONE || b->kind == FILTER_NONE)
		return make_filter(FILTER_NONE, a->exact && b->exact);
	if (a->kind == FILTER_ALL)
		return a->exact ? b : mcs_match_wider(b);
	if (b->kind == FILTER_ALL)
		return b->exact ? a : mcs_match_wider(a);
	return join(FILTER_AND, a, b);
}

/* What either lets through. */
MatchFilter *
mcs_match_or(MatchFilter *a, MatchFilter *b)
{
	if (a->kind == FILTER_NONE)
		return a->exact ? b : mcs_match_wider(b);
	if (b->kind == FILTER_NONE)
		return b->exact ? a : mcs_match_wider(a);
	if (a->kind == FILTER_ALL || b->kind == FILTER_ALL)
		return a->exact && b->exact ? mcs_match_all() : mcs_match_unknown();
	return join(FILTER_OR, a, b);
}

/* What a filter does not let through; of one that is not exact, nothing is known. */
MatchFilter *
mcs_match_not(MatchFilter *filter)
{
	MatchFilter *negated;

	/* what it lets through beyond need, its contrary would leave out, though the condition may hold there */
	if (!filter->exact)
		return mcs_match_unknown();
	if (filter->kind == FILTER_NONE)
		return mcs_match_all();
	if (filter->kind == FILTER_ALL)
		return mcs_match_none();
	if (filter->kind == FILTER_NOR)
		return linitial(filter->parts);
	negated = make_filter(FILTER_NOR, true);
	negated->parts = list_make1(filter);
	return negated;
}

/* {name: [part, part …]} */
static Document *
print_list(const char *name, List *documents)
{
	DocumentBuilder builder;
	ListCell   *cell;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_array(&builder, name);
	foreach(cell, documents)
		mcs_document_append_document(&builder, NULL, lfirst(cell));
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* A key of a $and that is written as one object, and the values it has there. */
typedef struct MergedKey
{
	const char *key;
	List	   *values;			/* of DocumentValue */
} MergedKey;

/* Whether two tests of one key can be one: objects of operators, none of which stands in both with another value. */
static bool
can_merge(const DocumentValue *a, const DocumentValue *b)
{
	DocumentIterator it;
	DocumentValue other;

	if (a->type != DOCUMENT_OBJECT || b->type != DOCUMENT_OBJECT)
		return false;
	/* an object without operators is a value to be equal to: {a: {b: 1}} */
	mcs_document_iterate(&it, b->data, b->size);
	while (mcs_document_next(&it))
		if (it.key[0] != '$')
			return false;
	/* an $expr takes one operator: in a $and all of them have $in, so two different ones stay apart */
	mcs_document_iterate(&it, a->data, a->size);
	while (mcs_document_next(&it))
		/* $options belongs to the $regex beside it */
		if (it.key[0] != '$' || it.key[1] == 'o' ||
			(mcs_document_find(b->data, b->size, it.key, &other) && !mcs_document_is_same(&it.value, &other)))
			return false;
	return true;
}

/* Adds a test to the keys; false where it can't be merged with what is there. */
static bool
add_key(List **keys, const DocumentIterator *it)
{
	DocumentValue *value = palloc(sizeof(DocumentValue));
	MergedKey  *merged;
	ListCell   *cell;
	ListCell   *other;

	*value = it->value;
	foreach(cell, *keys)
	{
		merged = lfirst(cell);
		if (strcmp(merged->key, it->key) != 0)
			continue;
		foreach(other, merged->values)
			if (!can_merge(lfirst(other), value))
				return false;
		merged->values = lappend(merged->values, value);
		return true;
	}
	/* tests of other keys are joined by AND in any object */
	merged = palloc(sizeof(MergedKey));
	merged->key = it->key;
	merged->values = list_make1(value);
	*keys = lappend(*keys, merged);
	return true;
}

/* Writes the tests of one key as one. */
static void
print_key(DocumentBuilder *builder, const MergedKey *merged)
{
	ListCell   *cell;
	ListCell   *other;

	if (list_length(merged->values) == 1)
	{
		mcs_document_append_value(builder, merged->key, linitial(merged->values));
		return;
	}
	mcs_document_begin_object(builder, merged->key);
	foreach(cell, merged->values)
	{
		DocumentValue *value = lfirst(cell);
		DocumentIterator it;

		mcs_document_iterate(&it, value->data, value->size);
		while (mcs_document_next(&it))
		{
			bool		written = false;
			DocumentValue found;

			foreach(other, merged->values)
			{
				DocumentValue *earlier = lfirst(other);

				if (earlier == value)
					break;
				written = written || mcs_document_find(earlier->data, earlier->size, it.key, &found);
			}
			if (!written)
				mcs_document_append_value(builder, it.key, &it.value);
		}
	}
	mcs_document_end(builder);
}

/* Objects as one, which means the same as their $and; NULL where that can't be. */
static Document *
print_merged(List *documents)
{
	List	   *keys = NIL;
	DocumentBuilder builder;
	ListCell   *cell;

	foreach(cell, documents)
	{
		Document   *document = lfirst(cell);
		DocumentIterator it;

		mcs_document_iterate(&it, DOCUMENT_VALUE(document), DOCUMENT_VALUE_SIZE(document));
		while (mcs_document_next(&it))
			if (!add_key(&keys, &it))
				return NULL;
	}
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	foreach(cell, keys)
		print_key(&builder, lfirst(cell));
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* {operationType: {$in: []}}, which no event meets. */
static Document *
print_none(void)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "operationType");
	mcs_document_begin_array(&builder, "$in");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* A filter as a condition; NULL for one that lets everything through. */
Document *
mcs_match_print(const MatchFilter *filter)
{
	List	   *documents = NIL;
	Document   *merged;
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, filter->parts)
		documents = lappend(documents, mcs_match_print(lfirst(cell)));
	switch (filter->kind)
	{
		case FILTER_ALL:
			return NULL;
		case FILTER_NONE:
			return print_none();
		case FILTER_TEST:
			return filter->test;
		case FILTER_AND:
			merged = list_length(documents) <= MAX_MERGED ? print_merged(documents) : NULL;
			return merged ? merged : print_list("$and", documents);
		case FILTER_OR:
			return print_list("$or", documents);
		case FILTER_NOR:
			return print_list("$nor", documents);
	}
	return NULL;				/* not reached */
}
