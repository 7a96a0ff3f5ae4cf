/*
 * handler/definition.c
 *	  The arguments of create_change_handler and alter_change_handler: what each
 *	  may be, and what they may be together.
 */
#include "mongo_change_stream.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "handler/handler.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MAX_ATTEMPTS			1000
#define MAX_TIMEOUT_MICROSECONDS	(USECS_PER_DAY * 7)

static const char *const field_names[HANDLER_FIELDS] = {
	"body", "procedure", "condition", "retry_attempts", "retry_delay", "max_retry_delay", "timeout", "on_failure", "workers"
};

void
mcs_handler_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MCS_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler_name must have 1 to %d bytes", MCS_NAME_MAX),
				 errdetail("It has %zu.", strlen(name))));
}

const char *
mcs_handler_field_name(HandlerField field)
{
	return field_names[field];
}

HandlerField
mcs_handler_field_named(const char *name)
{
	StringInfoData list;

	for (int field = HANDLER_CONDITION; field < HANDLER_FIELDS; field++)
		if (strcmp(name, field_names[field]) == 0)
			return (HandlerField) field;
	initStringInfo(&list);
	for (int field = HANDLER_CONDITION; field < HANDLER_FIELDS; field++)
		appendStringInfo(&list, "%s%s", field == HANDLER_CONDITION ? "" : ", ", field_names[field]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for reset", name),
			 errhint("Valid values: %s.", list.data)));
	return HANDLER_FIELDS;		/* not reached */
}

/* A text that is not blank. */
static char *
full_text(Datum value, HandlerField field)
{
	char	   *string = TextDatumGetCString(value);

	if (string[strspn(string, " \t\n\r\f\v")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", field_names[field])));
	return string;
}

/* An integer between bounds. */
static int
bounded_int(Datum value, HandlerField field, int low, int high)
{
	int			number = DatumGetInt32(value);

	if (number < low || number > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d", field_names[field], low, high)));
	return number;
}

/* An interval of at least some length. */
static Interval *
bounded_interval(Datum value, HandlerField field, int64 low, int64 high, const char *what)
{
	int64		length = mcs_convert_interval(DatumGetIntervalP(value));
	Interval   *interval = palloc(sizeof(Interval));

	if (length < low || length > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be %s", field_names[field], what)));
	*interval = *DatumGetIntervalP(value);
	return interval;
}

static bool
is_stop(const char *on_failure)
{
	if (strcmp(on_failure, "stop") != 0 && strcmp(on_failure, "dead_letter") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for %s", on_failure, field_names[HANDLER_ON_FAILURE]),
				 errhint("Valid values: dead_letter, stop.")));
	return on_failure[0] == 's';
}

/* Checks a value, which is not null, and puts it into a definition. */
void
mcs_handler_field_set(Handler *handler, HandlerField field, Datum value)
{
	switch (field)
	{
		case HANDLER_BODY:
			handler->body = full_text(value, field);
			break;
		case HANDLER_PROCEDURE:
			handler->procedure = full_text(value, field);
			break;
		case HANDLER_CONDITION:
			handler->condition = full_text(value, field);
			break;
		case HANDLER_RETRY_ATTEMPTS:
			handler->retry_attempts = bounded_int(value, field, 0, MAX_ATTEMPTS);
			break;
		case HANDLER_RETRY_DELAY:
			handler->retry_delay = bounded_interval(value, field, 0, USECS_PER_DAY, "between 0 and 1 day");
			break;
		case HANDLER_MAX_RETRY_DELAY:
			handler->max_retry_delay = bounded_interval(value, field, 0, USECS_PER_DAY, "between 0 and 1 day");
			break;
		case HANDLER_TIMEOUT:
			handler->timeout = bounded_interval(value, field, 1000, MAX_TIMEOUT_MICROSECONDS, "between 1 millisecond and 7 days");
			break;
		case HANDLER_ON_FAILURE:
			handler->stop_on_failure = is_stop(TextDatumGetCString(value));
			break;
		case HANDLER_WORKERS:
			handler->workers = bounded_int(value, field, 1, HANDLER_MAX_WORKERS);
			break;
		case HANDLER_FIELDS:
			break;
	}
}

static Interval *
seconds(int count)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = count * USECS_PER_SEC;
	return interval;
}

/* Puts a field's default into a definition. */
void
mcs_handler_field_reset(Handler *handler, HandlerField field)
{
	switch (field)
	{
		case HANDLER_BODY:
			handler->body = NULL;
			break;
		case HANDLER_PROCEDURE:
			handler->procedure = NULL;
			break;
		case HANDLER_CONDITION:
			handler->condition = NULL;
			break;
		case HANDLER_RETRY_ATTEMPTS:
			handler->retry_attempts = 5;
			break;
		case HANDLER_RETRY_DELAY:
			handler->retry_delay = seconds(1);
			break;
		case HANDLER_MAX_RETRY_DELAY:
		case HANDLER_TIMEOUT:
			{
				Interval   *minute = seconds(60);

				if (field == HANDLER_TIMEOUT)
					handler->timeout = minute;
				else
					handler->max_retry_delay = minute;
				break;
			}
		case HANDLER_ON_FAILURE:
			handler->stop_on_failure = false;
			break;
		case HANDLER_WORKERS:
			handler->workers = 1;
			break;
		case HANDLER_FIELDS:
			break;
	}
}

/* ---- what depends on more than one field ---- */

/*
 * The plain form of text in the dialect; NULL where there is no difference.  A
 * condition's translator is also told that bare names are columns only.
 */
static char *
plain_sql(const char *function, int nargs, const char *source)
{
	List	   *name = list_make2(makeString(get_namespace_name(mcs_extension_schema())), makeString(pstrdup(function)));
	Oid			arguments[] = {TEXTOID, BOOLOID};
	Oid			translator = LookupFuncName(name, nargs, arguments, false);
	Datum		argument = CStringGetTextDatum(source);
	char	   *plain = TextDatumGetCString(nargs == 1 ? OidFunctionCall1(translator, argument)
											: OidFunctionCall2(translator, argument, BoolGetDatum(false)));

	return strcmp(plain, source) == 0 ? NULL : plain;
}

void
mcs_handler_check(Handler *handler)
{
	if ((handler->body == NULL) == (handler->procedure == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("one of body and procedure must be given, and not both")));
	handler->translated_body = handler->body ? plain_sql("change_stream_translate_body", 1, handler->body) : NULL;
	handler->translated_condition = NULL;
	/* what is right as plain SQL means what it says there */
	if (handler->condition && !mcs_code_condition_is_plain(handler->condition))
		handler->translated_condition = plain_sql("change_stream_translate_expression", 2, handler->condition);
	mcs_code_validate(handler);
}

/* Where the next use of full_document, as a whole word, stands in a text; NULL for none. */
static const char *
next_full_document(const char *text)
{
	static const char word[] = "full_document";

	for (; *text; text++)
		if (pg_strncasecmp(text, word, sizeof(word) - 1) == 0)
		{
			unsigned char after = (unsigned char) text[sizeof(word) - 1];

			if (after != '_' && !isalnum(after) && !IS_HIGHBIT_SET(after))
				return text + sizeof(word) - 1;
		}
	return NULL;
}

/* Whether a text uses full_document and asks nowhere whether it is null. */
static bool
relies_on_full_document(const char *text)
{
	bool		uses = false;

	while (text && (text = next_full_document(text)) != NULL)
	{
		uses = true;
		text += strspn(text, " \t\r\n");
		if (pg_strncasecmp(text, "is", 2) == 0 && isspace((unsigned char) text[2]))
			return false;
	}
	return uses;
}

/* Whether operations of a stream, or all where it names none, can come without a full document. */
static bool
may_lack_document(const Stream *stream)
{
	ListCell   *cell;

	if (stream->operations == NIL)
		return true;
	foreach(cell, stream->operations)
		if (strcmp(lfirst(cell), "insert") != 0 && strcmp(lfirst(cell), "replace") != 0)
			return true;
	return false;
}

void
mcs_handler_tell_of_absent_documents(const Handler *handler, const Stream *stream)
{
	/* a condition that speaks of inserts is taken to leave the others out: a notice for nothing teaches to ignore notices */
	if (!handler->body || !relies_on_full_document(handler->body) || !may_lack_document(stream) ||
		(handler->condition && (strstr(handler->condition, "'insert'") || next_full_document(handler->condition))))
		return;
	ereport(NOTICE,
			(errmsg("the body of change handler \"%s\" reads full_document, which can be null", handler->name),
			 strcmp(stream->full_document, "default") == 0
			 ? errdetail("Change stream \"%s\" brings no document with updates, and a delete has none.", stream->name)
			 : errdetail("A delete has none, and neither has an update whose document is gone when it is looked up."),
			 errhint("Let the body begin with IF change.full_document IS NULL THEN RETURN; END IF; or give the handler a condition.")));
}

int64
mcs_handler_start(const Handler *handler, const Stream *stream)
{
	char	   *end;
	int64		event_id;

	if (strcmp(handler->start_at, "now") == 0)
		return stream->last_event_id;
	if (strcmp(handler->start_at, "earliest") == 0)
	{
		event_id = mcs_rows_oldest(handler->stream);
		return event_id ? event_id - 1 : stream->last_event_id;
	}
	errno = 0;
	event_id = strtoi64(handler->start_at, &end, 10);
	if (end == handler->start_at || *end != '\0' || errno != 0 || event_id < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for start_at", handler->start_at),
				 errhint("Valid values: now, earliest, or the event_id of the first event.")));
	return event_id - 1;
}
