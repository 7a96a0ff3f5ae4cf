/*
 * mirror/mirror_internal.h
 *	  What the functions on mirrors share: what is asked for, the columns of a
 *	  definition, the table that they are of, and the stream that feeds it.
 */
#ifndef MCS_MIRROR_INTERNAL_H
#define MCS_MIRROR_INTERNAL_H

#ifndef MCS_INSIDE_mirror
#error "mirror/mirror_internal.h is for the files of its folder only"
#endif

#include "executor/spi.h"
#include "mirror/mirror.h"
#include "nodes/primnodes.h"

/* Columns of a mirror's table that are filled by their names. */
#define MIRROR_ID			"_id"
#define MIRROR_DOCUMENT		"document"
#define MIRROR_CHANGED_AT	"changed_at"
#define MIRROR_DELETED_AT	"deleted_at"

/* What is asked for when a mirror is made; NULL pointers stand for the defaults. */
typedef struct MirrorRequest
{
	char	   *name;
	char	   *collection;
	char	   *stream;
	RangeVar   *table;
	char	   *columns;
	char	   *filter;
	char	   *on_delete;
	char	   *database;
	char	   *server;
	bool		known;			/* the collection is there, as MongoDB has just said */
	bool		quiet;			/* whether the stream runs is told by the caller */
} MirrorRequest;

/* ---- columns.c: the texts of a definition ---- */

/* A column that a definition names. */
typedef struct MirrorColumn
{
	char	   *name;
	Oid			type;			/* InvalidOid: not said, it is the table's */
	int32		typmod;
	char	   *expression;		/* in plain SQL over the column "document" */
} MirrorColumn;

/* Reads columns as users write them: a List of MirrorColumn.  NULL and blank text are none. */
extern List *mcs_mirror_read_columns(const char *source);

/* The same as the worker has it, "name = expression, ..."; NULL for none. */
extern char *mcs_mirror_plain_columns(List *columns);

/* A filter in plain SQL over the column "document"; NULL for none. */
extern char *mcs_mirror_plain_filter(const char *text);

/* Whether a text has nothing in it, which is how a definition says none. */
extern bool mcs_mirror_is_blank(const char *text);

/* A type as SQL has it in any session, or as a user reads it. */
extern char *mcs_mirror_type_name(Oid type, int32 typmod, bool qualified);

/* ---- target.c: the table ---- */

/*
 * Finds the table and puts its name into mirror->table; InvalidOid where there is
 * none, and it is to be made.  mirror->owner is known.  Raises where it is no
 * table of that owner.  It is locked against other definitions until the
 * transaction's end.
 */
extern Oid	mcs_mirror_find_table(Mirror *mirror, const RangeVar *name);

/* The same of a mirror that there is. */
extern Oid	mcs_mirror_find_again(Mirror *mirror);

/*
 * Raises unless the table is no other mirror's, and has the columns of a definition
 * with the types that that says; those that are missing are added where add says
 * so, by the caller.  Whether they can be filled says mcs_mirror_check_as_owner.
 */
extern void mcs_mirror_check_table(const Mirror *mirror, Oid table, List *columns, bool add);

/* Tells of columns that must not be null and that the mirror leaves out. */
extern void mcs_mirror_tell_of_required(Oid table, List *columns);

/* Makes the table, by the caller's rights, and checks what has come of it.  Drops it by them, too. */
extern void mcs_mirror_make_table(Mirror *mirror, List *columns);
extern void mcs_mirror_drop_table(const Mirror *mirror);

/* ---- source.c: the stream ---- */

/* Sees whether the stream that a request names can feed the mirror, whose stream, owner, database and collection it fills in. */
extern void mcs_mirror_find_source(Mirror *mirror, const MirrorRequest *request);

/* Asks MongoDB about the collection; makes the stream if there is none yet. */
extern void mcs_mirror_open_source(Mirror *mirror, const MirrorRequest *request);

/* The same look at the stream with its rows locked. */
extern void mcs_mirror_recheck_source(const Mirror *mirror, const Stream *stream);

/* The functions on streams, for the stream of a mirror. */
extern void mcs_mirror_pause_stream(const char *stream);
extern void mcs_mirror_resume_stream(const char *stream, const char *start_at);
extern void mcs_mirror_drop_stream(const char *stream);

/* Tells that mirrors wait for their stream, if that does not run. */
extern void mcs_mirror_tell_if_waiting(const Stream *stream);

/* ---- create.c ---- */

extern void mcs_mirror_create(const MirrorRequest *request);

/* What on_delete says; NULL: the default. */
extern MirrorOnDelete mcs_mirror_read_on_delete(const char *text);

/* Begins a copy, which the stream's process makes as soon as it sees it; sweep: rows may be there already. */
extern void mcs_mirror_begin_copy(const Mirror *mirror, bool sweep);

/* Compiles the definition as the mirror's owner, which raises what is wrong with it. */
extern void mcs_mirror_check_as_owner(const Mirror *mirror);

/* ---- sample.c ---- */

/* Of what kinds the values of a field are: bits. */
#define FIELD_INT32			0x0001
#define FIELD_INT64			0x0002
#define FIELD_LARGE			0x0004	/* one of them that a double would round */
#define FIELD_DOUBLE		0x0008
#define FIELD_DECIMAL		0x0010
#define FIELD_BOOL			0x0020
#define FIELD_DATE			0x0040
#define FIELD_TEXT			0x0080
#define FIELD_OBJECT_ID		0x0100
#define FIELD_UUID			0x0200
#define FIELD_BINARY		0x0400
#define FIELD_OBJECT		0x0800
#define FIELD_ARRAY			0x1000
#define FIELD_OTHER			0x2000	/* what no SQL type but document holds */

typedef struct SampledField
{
	struct SampledField *parent;	/* NULL: the document itself */
	int			depth;			/* 0: the document */
	char	   *key;
	uint32		kinds;			/* 0: nothing but nulls */
	int64		seen;			/* documents, or objects in them, that have a value there */
	List	   *fields;			/* of SampledField: of the objects that it holds */
	bool		many;			/* they have more fields than these */
} SampledField;

typedef struct Sample
{
	int64		documents;
	SampledField root;
} Sample;

extern Sample *mcs_mirror_sample(const MongoTarget *target, const char *database, const char *collection, int documents);

/* ---- propose.c ---- */

/* How many documents are looked at unless something else is said. */
#define MIRROR_SAMPLE	1000

/* Columns by what a sample of a collection's documents holds; "" where it holds nothing. */
extern char *mcs_mirror_propose(const MongoTarget *target, const char *database, const char *collection, int documents);

/* ---- table.c, value.c: a mirror's table as it is written ---- */

/* A column that the mirror fills. */
typedef struct TableColumn
{
	char	   *name;
	Oid			type;			/* the table's, a domain maybe */
	int32		typmod;
	Oid			collation;
	Oid			base;			/* the type below domains */
	int16		length;			/* of base, as pg_type has them */
	bool		by_value;
	char		align;
	int			field;			/* of the expressions; -1: none of them */

	/* how values get into statements: as arrays of base, or of text where there are none */
	bool		as_text;
	Oid			array;
	FmgrInfo	out;			/* for as_text */

	/* from the type of the expression; conversion NULL: there is nothing to do */
	bool		from_document;
	ExprState  *conversion;
	int			most;			/* bytes of a type that would cut the rest; 0: it does not */
	ExprState  *fixed;			/* to that type, from text */
} TableColumn;

/* Statements, each prepared when it is first needed. */
typedef enum TableStatement
{
	STATEMENT_INSERT,			/* of rows that are all new */
	STATEMENT_UPSERT,
	STATEMENT_DELETE,
	STATEMENT_MARK,
	STATEMENT_DELETE_ALL,
	STATEMENT_MARK_ALL,
	STATEMENT_STORED,			/* which documents rows are of, where _id alone does not tell */
	STATEMENT_FIRST_IDS,
	STATEMENT_NEXT_IDS,
	STATEMENTS
} TableStatement;

struct MirrorTable
{
	MemoryContext context;
	MemoryContextCallback forget;
	dlist_node	node;			/* in the list of those that are open */
	Mirror		definition;
	const EventMask *mask;

	Oid			relation;
	Oid			index;			/* the unique one on _id */
	bool		suspect;		/* something about the table has changed, perhaps */

	/* columns: _id first, then those that are there of document, the definition's, changed_at */
	TableColumn *columns;
	int			column_count;
	TableColumn *document;		/* NULL: there is none */
	TableColumn *changed_at;
	bool		has_deleted_at;
	bool		id_is_document; /* else _id is of another type, and two documents may have one value */
	StreamExpressions *expressions; /* NULL: no columns of the definition's, and no filter */
	ExprContext *econtext;		/* of conversions */

	const char *sql[STATEMENTS];
	SPIPlanPtr	plans[STATEMENTS];

	/* rows are tried to be inserted as new ones, unless that has failed of late */
	int			tries_left_out; /* statements until the next try */
	int			tries_pause;	/* how many are left out after the next failure */

	/* while values are evaluated: where those that fail are counted */
	MirrorResult *result;
	MemoryContext result_context;
};

/* The parts of a table's statements. */
extern SPIPlanPtr mcs_mirror_plan(MirrorTable *table, TableStatement statement);

/* Makes ready to turn values of a type into the column's; raises where nothing leads there. */
extern void mcs_mirror_value_prepare(MirrorTable *table, TableColumn *column, Oid from);

/* A value as the column has it, in the current memory context; runs user code and raises what that raises. */
extern Datum mcs_mirror_value_convert(MirrorTable *table, const TableColumn *column, Datum value, bool *isnull);

/* The _id of a document as the column _id has it; raises where it does not fit. */
extern Datum mcs_mirror_value_of_id(MirrorTable *table, const DocumentValue *id);

/* An array of a column's values, for statements. */
extern Datum mcs_mirror_value_array(const TableColumn *column, Datum *values, bool *nulls, int count);

/* ---- evaluate.c: values of documents, which may fail ---- */

/* Does what evaluates values; all below, and what else may fail by a value, is done in it. */
extern void mcs_evaluate(void (*action) (void *), void *arg, MemoryContext context);
extern const char *mcs_evaluate_take_error(MemoryContext context);

/* Puts a document in front of the filter and the columns, without what is masked. */
extern Document *mcs_evaluate_show(MirrorTable *table, const DocumentValue *document);
extern bool mcs_evaluate_passes(MirrorTable *table);
extern Datum mcs_evaluate_field(MirrorTable *table, const TableColumn *column, bool *isnull);

/* ---- typed_id.c: a column _id of another type than document ---- */

/* An _id for messages. */
extern char *mcs_typed_id_text(const DocumentValue *id);

/* Raises where two documents have one value. */
extern void mcs_typed_id_check_distinct(const MirrorTable *table, const Datum *values, const DocumentValue *const *ids, int count);

/* Which values have rows of other documents, or an error where they are refused; inside of SPI. */
extern bool *mcs_typed_id_find_others(MirrorTable *table, Datum *values, const DocumentValue *const *ids, int count, bool refuses);

#endif							/* MCS_MIRROR_INTERNAL_H */
