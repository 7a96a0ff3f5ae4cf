/*
 * dialect/edit.c
 *	  Edits of a text, and the text they make.
 *
 * Edits are kept by place and made all at the end, so that what is not edited
 * stays as it was, byte for byte: PostgreSQL's deparser would drop comments and
 * the layout, and write a catalog's spelling.  What an edit puts in can hold
 * ranges of the same text, with their own edits made.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"

/* So many bytes may a text of a size become. */
#define MAX_TRANSLATION(size) (1024 * 1024 + (int64) 16 * (size))

/* A piece of an edit that is text. */
DialectPiece *
mcs_dialect_text_piece(const char *text)
{
	DialectPiece *piece = palloc0(sizeof(DialectPiece));

	piece->text = pstrdup(text);
	return piece;
}

/* A piece of an edit that is what a range becomes. */
DialectPiece *
mcs_dialect_range_piece(int from, int to)
{
	DialectPiece *piece = palloc0(sizeof(DialectPiece));

	piece->from = from;
	piece->to = to;
	return piece;
}

/* Whether two edits put in the same. */
static bool
same_pieces(const List *a, const List *b)
{
	ListCell   *cell;
	ListCell   *other;

	if (list_length(a) != list_length(b))
		return false;
	forboth(cell, a, other, b)
	{
		DialectPiece *x = lfirst(cell);
		DialectPiece *y = lfirst(other);

		if (x->from != y->from || x->to != y->to || (x->text == NULL) != (y->text == NULL) ||
			(x->text && strcmp(x->text, y->text) != 0))
			return false;
	}
	return true;
}

/* What is kept for a byte of the fragment, or the end of it; room for that is made when it is first needed. */
DialectOffset *
mcs_dialect_offset(Fragment *fragment, int at)
{
	if (fragment->offsets == NULL)
		fragment->offsets = MemoryContextAllocExtended(GetMemoryChunkContext(fragment), (fragment->size + 1) * sizeof(DialectOffset),
													 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return &fragment->offsets[at];
}

/* Adds an edit; the same one again counts once, as a node may be analysed twice. */
static void
add_edit(Fragment *fragment, DialectEditKind kind, int from, int to, List *pieces, const char *key)
{
	DialectOffset *offset = mcs_dialect_offset(fragment, from);
	DialectEdit *edit;

	for (edit = offset->edits; edit; edit = edit->next)
	{
		CHECK_FOR_INTERRUPTS();
		/* of two replacements of one range the first counts: the node was analysed again, with less to see */
		if (edit->kind == kind && edit->to == to &&
			(kind == EDIT_REPLACE || (same_pieces(edit->pieces, pieces) && strcmp(edit->key, key ? key : "") == 0)))
			return;
	}
	edit = palloc(sizeof(DialectEdit));
	edit->kind = kind;
	edit->from = from;
	edit->to = to;
	edit->order = list_length(fragment->edits);
	edit->pieces = pieces;
	edit->key = key ? key : "";
	edit->next = offset->edits;
	offset->edits = edit;
	fragment->edits = lappend(fragment->edits, edit);
}

/* Begins an attempt: of the edits only those of the words stay, and no SELECT is known. */
void
mcs_dialect_forget_edits(Fragment *fragment)
{
	ListCell   *cell;

	fragment->edits = list_copy(fragment->word_edits);
	if (fragment->offsets == NULL)
		return;
	memset(fragment->offsets, 0, (fragment->size + 1) * sizeof(DialectOffset));
	foreach(cell, fragment->edits)
	{
		DialectEdit *edit = lfirst(cell);

		/* the lists hang in memory that the last attempt has lost */
		edit->next = fragment->offsets[edit->from].edits;
		fragment->offsets[edit->from].edits = edit;
	}
}

/* Adds an edit of pieces. */
void
mcs_dialect_edit_pieces(Fragment *fragment, DialectEditKind kind, int from, int to, List *pieces)
{
	add_edit(fragment, kind, from, to, pieces, NULL);
}

/* Puts text in front of a range and behind it. */
void
mcs_dialect_wrap(Fragment *fragment, int from, int to, const char *before, const char *behind)
{
	/* two closing brackets of one place belong to what opened them */
	const char *key = psprintf("%d %s", from, before);

	if (*before)
		add_edit(fragment, EDIT_OPEN, from, from, list_make1(mcs_dialect_text_piece(before)), key);
	add_edit(fragment, EDIT_CLOSE, to, to, list_make1(mcs_dialect_text_piece(behind)), key);
}

/* Adds an edit that puts in a text. */
void
mcs_dialect_edit(Fragment *fragment, DialectEditKind kind, int from, int to, const char *text)
{
	mcs_dialect_edit_pieces(fragment, kind, from, to, list_make1(mcs_dialect_text_piece(text)));
}

/* Takes tokens out, with the blanks behind them where no comment stands there. */
void
mcs_dialect_remove_tokens(Fragment *fragment, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		int			end = mcs_dialect_token_end(&fragment->tokens[i]);
		int			next = end;

		while (next < fragment->size && isspace((unsigned char) fragment->text[next]))
			next++;
		mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[i].at,
						 next == fragment->tokens[i + 1].at ? next : end, "");
	}
}

/* Whether anything in a range is edited. */
bool
mcs_dialect_edited(const Fragment *fragment, int from, int to)
{
	for (int at = Max(from, 0); fragment->offsets && at <= Min(to, fragment->size); at++)
		for (const DialectEdit *edit = fragment->offsets[at].edits; edit; edit = edit->next)
			if (edit->to <= to)
				return true;
	return false;
}

/* Edits of one place in their order: the closing before the opening ones, wider replacements first. */
static int
by_kind(const ListCell *a, const ListCell *b)
{
	const DialectEdit *x = lfirst(a);
	const DialectEdit *y = lfirst(b);

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->to != y->to)
		return x->to > y->to ? -1 : 1;
	if (x->kind == EDIT_OPEN)
		return y->order - x->order;
	return x->order - y->order;
}

/*
 * Whether an edit belongs to a range: what closes at its begin and what opens
 * at its end does not.  Where an edit puts in the range, neither do wrappings
 * of the whole range that are not older than that edit: they are around it.
 */
static bool
belongs_to(const DialectEdit *edit, int from, int to, int limit)
{
	if (edit->from < from || edit->to > to)
		return false;
	switch (edit->kind)
	{
		case EDIT_CLOSE:
			return edit->from > from && (edit->from < to || edit->order < limit);
		case EDIT_AFTER:
			return edit->from > from && edit->from < to;
		case EDIT_OPEN:
			return edit->from < to && (edit->from > from || edit->order < limit);
		case EDIT_MOVE:
			return edit->from != from || edit->to != to;
		default:
			return true;
	}
}

/* The edits of a place, in their order. */
static List *
edits_at(const Fragment *fragment, int at)
{
	List	   *edits = NIL;

	for (DialectEdit *edit = fragment->offsets[at].edits; edit; edit = edit->next)
		edits = lappend(edits, edit);
	list_sort(edits, by_kind);
	return edits;
}

/* Refuses a translation in which what is repeated repeats itself: each level of it is twice the text of the one within. */
void
mcs_dialect_too_long(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the translation of this statement would be too long"),
			 errdetail("What is compared with a date in quotes stands in it twice, and an output column in each place that uses it."),
			 errhint("Give the date a type, as timestamptz '2024-05-01', or compute the column in a sub-select.")));
}

/* Appends what a range becomes. */
static void
render(StringInfo out, const Fragment *fragment, int from, int to, int limit)
{
	int			at = Max(from, 0);
	int			end = Min(to, fragment->size);

	check_stack_depth();
	for (int offset = at; fragment->offsets && offset <= end; offset = Max(offset + 1, at))
	{
		List	   *edits;
		ListCell   *cell;

		CHECK_FOR_INTERRUPTS();
		if (fragment->offsets[offset].edits == NULL)
			continue;
		edits = edits_at(fragment, offset);
		foreach(cell, edits)
		{
			const DialectEdit *edit = lfirst(cell);
			ListCell   *part;

			/* what stands in a range that is replaced is gone with it */
			if (edit->from < at || !belongs_to(edit, from, to, limit))
				continue;
			appendBinaryStringInfo(out, fragment->text + at, edit->from - at);
			foreach(part, edit->pieces)
			{
				const DialectPiece *piece = lfirst(part);

				if (piece->text)
					appendStringInfoString(out, piece->text);
				else
					/* the range with its own edits, without those around it */
					render(out, fragment, piece->from, piece->to, edit->order);
			}
			at = edit->to;
			if (out->len > MAX_TRANSLATION(fragment->size))
				mcs_dialect_too_long();
		}
		list_free(edits);
	}
	if (end > at)
		appendBinaryStringInfo(out, fragment->text + at, end - at);
}

/* What a range becomes; the whole text has all edits in it. */
char *
mcs_dialect_render(Fragment *fragment, int from, int to)
{
	StringInfoData out;

	initStringInfo(&out);
	if (from == 0 && to == fragment->size)
		render(&out, fragment, -1, to + 1, PG_INT32_MAX);	/* so that nothing lies at its ends */
	else
		render(&out, fragment, from, to, PG_INT32_MAX);
	return out.data;
}
