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
#include "nodes/execnodes.h"
#include "nodes/primnodes.h"
#include "utils/relcache.h"

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

/* What is locked by its name. */
typedef enum MirrorNameKind
{
	MIRROR_NAME = 1,
	MIRROR_NAME_OF_TABLE
} MirrorNameKind;

/* Keeps others from making what has a name until the transaction's end. */
extern void mcs_mirror_lock_name(const char *name, MirrorNameKind kind);

/*
 * Finds the table and puts its name into mirror->table; InvalidOid where there is
 * none, and it is to be made.  mirror->owner is known.  Raises where it is no
 * table of that owner.  It and its name are locked against other definitions
 * until the transaction's end.
 */
extern Oid	mcs_mirror_find_table(Mirror *mirror, const RangeVar *name);

/* The same of a mirror that there is. */
extern Oid	mcs_mirror_find_again(Mirror *mirror);

/*
 * Raises unless the table is no other mirror's, and has the columns of a definition
 * with the types that that says; those that are missing are added where add says
 * so.  Whether they can be filled says mcs_mirror_check_as_owner.
 */
extern void mcs_mirror_check_table(const Mirror *mirror, Oid table, List *columns, bool add);

/* Tells what becomes of rows that are there, and of columns that must not be null and that the mirror leaves out. */
extern void mcs_mirror_tell_of_table(const Mirror *mirror, Oid table, List *columns);

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
	int			fields;			/* in all of the tree */
	SampledField root;
} Sample;

extern Sample *mcs_mirror_sample(const MongoTarget *target, const char *database, const char *collection, int documents);

/* ---- propose.c ---- */

/* How many documents are looked at unless something else is said. */
#define MIRROR_SAMPLE	1000

/* Columns by what a sample of a collection's documents holds; "" where it holds nothing. */
extern char *mcs_mirror_propose(const MongoTarget *target, const char *database, const char *collection, int documents);

/* ---- table.c: a mirror's table as it is written ---- */

/* A column that the mirror fills. */
typedef struct TableColumn
{
	char	   *name;
	AttrNumber	attribute;
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
	STATEMENT_UPDATE,			/* of rows that are all there; NULL where that is not to be tried */
	STATEMENT_UPSERT,
	STATEMENT_DELETE,
	STATEMENT_MARK,
	STATEMENT_DELETE_ALL,
	STATEMENT_MARK_ALL,
	STATEMENT_STORED,			/* which documents rows are of, where _id alone does not tell */
	STATEMENT_FIRST_IDS,		/* _id as the column has it, the same as a document, and that of the row's document */
	STATEMENT_NEXT_IDS,
	STATEMENT_SOME_IDS,			/* the same of some, by _id */
	STATEMENT_ROWS,				/* by _id: the number it was given, and the columns */
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
	bool		may_insert;		/* new rows may be written below SQL */
	bool		any_order;		/* nobody can tell in which order rows of one transaction are written */
	bool		id_is_document; /* else _id is of another type, and two documents may have one value */
	StreamExpressions *expressions; /* NULL: no columns of the definition's, and no filter */
	ExprContext *econtext;		/* of conversions */

	const char *sql[STATEMENTS];
	SPIPlanPtr	plans[STATEMENTS];

	/* a guess of what all rows of a statement are, unless that has failed of late */
	bool		guess_there;	/* else that they are new */
	int			wrong_guesses;	/* in a row */
	int			tries_left_out; /* statements until the next try */
	int			tries_pause;	/* how many are left out after the next failures */

	/* while values are evaluated: where those that fail are counted */
	MirrorResult *result;
	MemoryContext result_context;
};

/* ---- table_sql.c ---- */

extern void mcs_mirror_make_statements(MirrorTable *table, Relation relation);

/* The plan of a statement, inside of SPI. */
extern SPIPlanPtr mcs_mirror_plan(MirrorTable *table, TableStatement statement);

/* ---- inserter.c: new rows, below SQL ---- */

/* Whether that does what a plain INSERT does: as far as the table tells; and as the plan and the rights of now do, inside of SPI. */
extern bool mcs_mirror_may_insert(const MirrorTable *table, Relation relation);
extern bool mcs_mirror_inserts(MirrorTable *table);

/* Rows that are inserted together at most, and bytes of values: as many as stay in the processor's nearest caches. */
#define MIRROR_INSERT_ROWS	256
#define MIRROR_INSERT_BYTES	(64 * 1024)

/* Between begin and end, which are one statement, rows are inserted by column; raises what an INSERT would. */
typedef struct MirrorInserter MirrorInserter;

extern MirrorInserter *mcs_mirror_insert_begin(MirrorTable *table);
extern void mcs_mirror_insert(MirrorInserter *inserter, Datum **values, bool **nulls, int count);
extern void mcs_mirror_insert_end(MirrorInserter *inserter);

/* ---- value.c ---- */

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
extern bool mcs_evaluate_id(MirrorTable *table, const DocumentValue *id, Datum *key);

/* ---- numbers by _id: 1 and 1.0 are one ---- */

typedef struct IdEntry
{
	DocumentValue id;
	int			number;
	uint32		hash;
	char		status;
} IdEntry;

static inline uint32
mcs_mirror_hash_id(DocumentValue id)
{
	uint64		hash = mcs_document_hash_value(&id, 0);

	return (uint32) (hash ^ (hash >> 32));
}

#define SH_PREFIX		ids
#define SH_ELEMENT_TYPE	IdEntry
#define SH_KEY_TYPE		DocumentValue
#define SH_KEY			id
#define SH_HASH_KEY(tb, key)	mcs_mirror_hash_id(key)
#define SH_EQUAL(tb, a, b)		(mcs_document_compare(&(a), &(b)) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)		(a)->hash
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---- typed_id.c: a column _id of another type than document ---- */

/* An _id for messages. */
extern char *mcs_typed_id_text(const DocumentValue *id);

/* Whether two values of the column are one to its index. */
extern bool mcs_typed_id_is_same(const MirrorTable *table, Datum a, Datum b);

/* Raises where two documents have one value. */
extern void mcs_typed_id_check_distinct(const MirrorTable *table, const Datum *values, const DocumentValue *const *ids, int count);

/* Which values have rows of other documents, or an error where they are refused; inside of SPI. */
extern bool *mcs_typed_id_find_others(MirrorTable *table, Datum *values, const DocumentValue *const *ids, int count, bool refuses);

/* ---- row.c: which documents rows are of ---- */

/* The rows that one of STATEMENT_..._IDS has found, in the current memory context, behind a key and until their _ids have so many bytes. */
extern List *mcs_mirror_take_rows(MirrorTable *table, const Document *after, Size most);

/* How much of _ids MongoDB is asked for at once: a command may have 48 MB, and nobody bounds what stands in a table. */
#define MIRROR_IDS_BYTES	(4 * 1024 * 1024)

/* How much of it a row takes. */
extern Size mcs_mirror_row_bytes(const MirrorRow *row);

/* {_id: {$in: [...]}} of a list of Document *. */
extern Document *mcs_mirror_ids_filter(List *ids);

/* ---- check.c, check_read.c, compare.c: whether a mirror equals its collection ---- */

typedef struct MirrorCheck
{
	Mirror	   *mirror;
	EventMask  *mask;
	MongoTarget *target;
	MirrorTable *table;
	MirrorResult evaluated;		/* values that do not fit are null in the table, too */
	ReturnSetInfo *rows;		/* the result */
	MemoryContext context;		/* of the whole call, and of the part at hand */
	MemoryContext part;

	uint64		time;			/* of MongoDB, that the part's snapshot shows */
	MemoryContext reading;		/* of the documents */
	List	   *documents;		/* of the part: DocumentValue * */
	Size		bytes;			/* of them */
	bool		ended;			/* MongoDB has no more of what was asked for */
	bool		too_many;		/* some of those asked for were left out, as all are too much to hold: fewer are to be asked for */
	Document   *last_document;	/* _id of the last document that was compared */
	int			rows_read;		/* of the part */
	bool		has_last_key;
	Datum		last_key;		/* _id of the last row, as its column has it */
	MirrorAsked *asked;			/* what MongoDB is asked for */

	/* a sample */
	int			sample;
	List	   *some_ids;		/* of Document * */
	Datum	   *chosen;			/* _id of rows, as their column has it */
	int			chosen_count;
	int			chosen_at;

	/* what passes */
	TimestampTz failing_since;	/* 0: it does not fail */
	MongoError	failure;
	uint64		gone_at;		/* a time at which the collection was not there; 0: none */

	int64		documents_done;
	int64		rows_done;
	int64		estimated;
	TimestampTz told_at;
} MirrorCheck;

/* Reads documents as of the part's time; false where the part is to be tried again. */
extern bool mcs_check_read(MirrorCheck *check, FindSpec *spec);

/* Puts differences between the part's documents and their rows into the result. */
extern void mcs_mirror_compare_documents(MirrorCheck *check);

/* Parts that look whether rows have documents. */
extern bool mcs_mirror_compare_next_rows(MirrorCheck *check);
extern bool mcs_mirror_compare_choose_rows(MirrorCheck *check);
extern bool mcs_mirror_compare_chosen_rows(MirrorCheck *check);

/* ---- write.c: changes in parts ---- */

extern int	mcs_mirror_count(const MirrorChanges *changes);

/* Some of the changes, those of documents that are gone before the others; id: of the first of them. */
extern MirrorChanges *mcs_mirror_part(const MirrorChanges *changes, int first, int count, DocumentValue *id);

#endif							/* MCS_MIRROR_INTERNAL_H */
