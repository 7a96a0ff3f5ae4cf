/*
 * base/base.h
 *	  What all of the backend's side uses: texts of a fixed size, SQL values as C
 *	  has them, the extension's own objects, acting as a stream's owner, and rows
 *	  into a table below SQL.
 *	  Uses no other folder; every folder may use it.
 */
#ifndef MCS_BASE_H
#define MCS_BASE_H

#include "mongo_change_stream.h"

#include "commands/trigger.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"

struct ArrayType;
struct BulkInsertStateData;

/* ---- text.c: texts of a fixed size ---- */

/*
 * Texts into buffers of a fixed size, cut before a character that would not fit
 * whole: what is cut inside one is invalid, and a dump that holds it cannot be
 * restored.  They work in every process, also in one without a database.
 */
extern void mcs_text_copy(char *to, Size size, const char *from);
extern void mcs_text_format(char *to, Size size, const char *format,...) pg_attribute_printf(3, 4);

/* ---- words.c: the words of an SQL text, and names that are nearly the same ---- */

typedef enum SqlWordKind
{
	SQL_WORD_NAME,				/* in small letters, unless it was quoted; keywords are names, too */
	SQL_WORD_STRING,
	SQL_WORD_OTHER				/* an operator, or one character */
} SqlWordKind;

typedef struct SqlWord
{
	SqlWordKind kind;
	char	   *text;
} SqlWord;

/* Takes the next word of a text; false at its end.  And whether it is this one, and no string. */
extern bool mcs_words_next(const char **place, SqlWord *word);
extern bool mcs_words_are(const SqlWord *word, const char *text);

/* Whether a name may have been meant by another; and adds it to a list in words if it may, up to three. */
extern bool mcs_words_are_near(const char *wanted, const char *name);
extern void mcs_words_add_near(StringInfo list, int *count, const char *wanted, const char *name);

/* ---- convert.c: SQL values as C has them ---- */

/* Microseconds, a day being 24 hours and a month 30 days; clamped to int64. */
extern int64 mcs_convert_interval(const Interval *interval);

/* An argument of type text; NULL for null. */
extern char *mcs_convert_text_argument(FunctionCallInfo fcinfo, int number);

/* A text[] as a List of char *, without its nulls. */
extern List *mcs_convert_text_array(struct ArrayType *array);

/* ---- extension.c: the extension's objects in the current database ---- */

typedef struct ExtensionObjects
{
	Oid			schema;			/* InvalidOid where the extension is not installed, and so are the others */
	char		schema_name[NAMEDATALEN];
	Oid			streams;		/* the tables change_streams and change_stream_events */
	Oid			events;
	Oid			document;		/* the type */
	Oid			owner;			/* of the tables; InvalidOid where they are not all of one */
	Oid			stray;			/* one of them that is another role's than change_streams */
	bool		old;			/* the schema is version 1.0's still: ALTER EXTENSION UPDATE has not been run */
	uint64		version;		/* another one after each change */
} ExtensionObjects;

/* Never NULL; the same memory at each call. */
extern const ExtensionObjects *mcs_extension_objects(void);

/* One of them; the events raise where they are missing. */
extern Oid	mcs_extension_schema(void);
extern Oid	mcs_extension_events(void);
extern Oid	mcs_extension_document(void);
extern bool mcs_extension_is_old(void);

/*
 * The C function that an SQL function is, where that may be one of this library;
 * else NULL.  Compare the address: a name proves nothing, since anybody can make
 * functions and operators of any name in a schema of his own, but only a
 * superuser one that runs this code.
 */
extern PGFunction mcs_extension_function(Oid function);

/* A relation's name with its schema as tables of ours keep it: quoted where it must be, whatever quote_all_identifiers says. */
extern char *mcs_base_kept_name(const char *schema, const char *name);

/* The owner of a relation; InvalidOid where there is none of that OID. */
extern Oid	mcs_base_relation_owner(Oid relation);

/* ---- attempt.c ---- */

/*
 * Does something in a subtransaction.  Returns what it raised, copied into the
 * memory context of the caller, in which the action begins; or NULL.  Of what
 * fails nothing stays, of what is undone neither.  Whether the error is the
 * caller's to keep is his to decide: a cancel is caught, too.
 */
extern ErrorData *mcs_attempt(void (*action) (void *), void *arg);
extern ErrorData *mcs_attempt_undone(void (*action) (void *), void *arg);

/*
 * For a loop whose steps may fail, all in one subtransaction, since one for each
 * would cost more than the step: in PG_CATCH, takes the error, copied into a memory
 * context that becomes current, and begins the subtransaction again.
 */
extern ErrorData *mcs_attempt_renew(MemoryContext context);

/* ---- end.c: being told to end ---- */

/* In a process that runs users' code: to be told so by that code is an error of the code, and ends nothing. */
extern void mcs_end_watch(void);
extern void mcs_end_forget(void);	/* when a transaction begins */

/* CopyErrorData(), to be used where errors of users' code are taken. */
extern ErrorData *mcs_end_copy_error(void);

/* ---- owner.c: acting as an owner, under the settings of who created what he runs ---- */

/* The caller's settings under which expressions are parsed: a List of char *, "name=value" each. */
extern List *mcs_owner_capture_settings(void);

/* Puts a stream's settings in force until mcs_owner_end_settings, which takes what this returned, or an error. */
extern int	mcs_owner_begin_settings(List *settings);
extern void mcs_owner_end_settings(int level);

/* What mcs_owner_begin changes and mcs_owner_end restores. */
typedef struct OwnerScope
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} OwnerScope;

/* As an owner, under the settings given; free: with all that he may do where the session is his own. */
extern void mcs_owner_begin(OwnerScope *scope, Oid owner, List *settings, bool free);
extern void mcs_owner_end(const OwnerScope *scope);

/* ---- insert.c: rows into a table below SQL ---- */

/* What the executor wants to know of a table; updated: the columns that a command sets, by attribute number. */
extern EState *mcs_insert_state(Relation relation, Bitmapset *updated, bool indexes, ResultRelInfo **result);
extern void mcs_insert_free_state(EState *estate, ResultRelInfo *result);

/* The defaults of columns that are not given, by attribute, as an INSERT evaluates them; NULL for none. */
extern ExprState **mcs_insert_defaults(Relation relation, EState *estate, const bool *given);

/* A slot for rows; desc: a copy of the table's, not counted, as pinning it for each slot would cost more than the slot. */
extern TupleTableSlot *mcs_insert_slot(TupleDesc desc);

/* What must be right before a row goes into the table; and what follows when it is there. */
extern void mcs_insert_check(EState *estate, ResultRelInfo *result, TupleTableSlot *slot);
extern void mcs_insert_complete(EState *estate, ResultRelInfo *result, TupleTableSlot *slot,
								TransitionCaptureState *transition);

/* All of it, of rows that no BEFORE ROW trigger is to see one after the other; leaves their tuples in a memory context. */
extern void mcs_insert_together(EState *estate, ResultRelInfo *result, TupleTableSlot **slots, int count,
								TransitionCaptureState *transition, struct BulkInsertStateData *bulk, MemoryContext tuples);

#endif							/* MCS_BASE_H */
