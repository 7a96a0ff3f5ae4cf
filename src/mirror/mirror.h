/*
 * mirror/mirror.h
 *	  Mirrors: tables that a stream keeps equal to collections.
 *
 * A mirror belongs to a stream and is written by its process, in the
 * transactions in which the stream's position moves; so at each commit it
 * equals its collection as of the position's time.  Here is what a mirror's
 * definition means (command.c and its helpers), how documents become rows and
 * get into the table, and how both are compared (check.c).  When MongoDB is
 * read, and at which time, is for the folder worker.
 *
 * Uses base, document, mongo, event, shared, tables and stream; worker uses it.
 */
#ifndef MCS_MIRROR_H
#define MCS_MIRROR_H

#include "stream/stream.h"

/* ---- table.c: a mirror's table, as the owner, in a transaction that may fail ---- */

typedef struct MirrorTable MirrorTable;

/*
 * Finds the table and its columns and compiles the expressions; in the current
 * memory context.  Raises what is wrong, with the command that mends it: no such
 * table, of another owner, a column that is missing, ...  mask (NULL: none): what
 * of the documents is not to be stored; borrowed.
 */
extern MirrorTable *mcs_mirror_open(const Mirror *mirror, const EventMask *mask);

/* Whether it is still as it was found; else open it again. */
extern bool mcs_mirror_is_valid(const MirrorTable *table);

extern Oid	mcs_mirror_relation(const MirrorTable *table);

/* The table that has the mirror's table's name now, without a lock or a right; InvalidOid where none has. */
extern Oid	mcs_mirror_table_now(const Mirror *mirror);

/* Raises unless a table is the one that was written before: any other has not the rows which the changes to come are of. */
extern void mcs_mirror_check_same(const Mirror *mirror, Oid table, Oid before);

/* What is held outside of memory contexts, if anything. */
extern void mcs_mirror_close(MirrorTable *table);

extern const Mirror *mcs_mirror_definition(const MirrorTable *table);

/* Opens it again, and closes what was opened; must be the same. */
extern MirrorTable *mcs_mirror_reopen(MirrorTable *table, const Mirror *mirror, const EventMask *mask);

/* ---- write.c: what a transaction changes in a mirror's table ---- */

typedef struct MirrorChanges MirrorChanges;

/* Nothing so far; in the current memory context, which the caller resets behind the transaction. */
extern MirrorChanges *mcs_mirror_begin(MirrorTable *table);

/*
 * In MongoDB's order: a document is like this now, does not exist any more, or no
 * document does (the collection was dropped).  Later calls for an _id take the
 * place of earlier ones.  A document that the mirror's filter does not let through
 * does not exist for it.  Values are borrowed until the write.  time: of MongoDB,
 * seconds << 32 | ordinal.
 */
extern void mcs_mirror_put(MirrorChanges *changes, const DocumentValue *document, uint64 time);
extern void mcs_mirror_remove(MirrorChanges *changes, const DocumentValue *id, uint64 time);
extern void mcs_mirror_empty(MirrorChanges *changes, uint64 time);

/* What a write did. */
typedef struct MirrorResult
{
	int64		rows_written;	/* inserted, changed and deleted */
	int64		column_errors;	/* values that did not fit their columns, which are null there */
	char	   *column_error;	/* of the newest: "column: why"; NULL: none */
} MirrorResult;

/* Writes it; raises what PostgreSQL raises. */
extern void mcs_mirror_write(MirrorChanges *changes, MirrorResult *result);

/* The _id of the document that the table refuses, as text, when a write has failed; NULL where none alone is to blame. */
extern char *mcs_mirror_culprit(const MirrorChanges *changes, const ErrorData *error, bool check_deferred);

/*
 * The table's rows in the order of its _id, for who looks whether MongoDB has
 * their documents.  Where _id has another type than document, the row's document
 * tells its _id; where there is none, several may be meant.
 */
typedef struct MirrorRow
{
	Document   *key;			/* its _id, behind which the next rows are asked for */
	Datum		value;			/* the same as the column has it */
	Oid			type;			/* and of which type that is */
	List	   *ids;			/* of Document *: the _ids that its document may have */
	bool		told;			/* by the row's document, so there is one */
	bool		exact;			/* to the byte: 1 is not 1.0 */
	List	   *there;			/* of Document *: those that MongoDB has, or their equals */
	bool		found;			/* MongoDB has its document */
} MirrorRow;

/* Up to limit rows behind a key (NULL: from the first): a list of MirrorRow; NIL at the end. */
extern List *mcs_mirror_next_rows(MirrorTable *table, const Document *after, int limit);

/*
 * What MongoDB is asked for to find their documents, in the current memory
 * context: {_id: {$in: [...]}} of all of them.  Each _id that it has is then noted,
 * in any memory context that lives as long as the rows.
 */
typedef struct MirrorAsked MirrorAsked;

extern MirrorAsked *mcs_mirror_ask(List *rows, Document **filter);
extern void mcs_mirror_note_found(MirrorAsked *asked, const DocumentValue *id);

/* Decides which rows MongoDB has the documents of, and leaves in there those of this row alone; in a transaction. */
extern void mcs_mirror_settle(MirrorTable *table, List *rows);

/* Such a row goes, whatever document is in it; of changes that nothing else is in. */
extern void mcs_mirror_remove_row(MirrorChanges *changes, const MirrorRow *row, uint64 time);

#endif							/* MCS_MIRROR_H */
