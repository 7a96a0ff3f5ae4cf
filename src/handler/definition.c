/*
 * handler/definition.c
 *	  The definition of a handler: what each of its options may be, and what they
 *	  may be together.
 */
#include "mongo_change_stream.h"

#include <ctype.h>

#include "handler/handler_internal.h"
#include "utils/builtins.h"

#define MAX_ATTEMPTS			1000
#define MAX_BATCH_SIZE			10000
#define MAX_TIMEOUT_MICROSECONDS	(USECS_PER_DAY * 7)

void
mcs_handler_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MCS_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler_name must have 1 to %d bytes", MCS_NAME_MAX),
				 errdetail("It has %zu.", strlen(name))));
}

/* ---- options: what each may be ---- */

/* A text that is not blank. */
static Datum
check_text(const Option *option, Datum value)
{
	char	   *string = TextDatumGetCString(value);

	if (string[strspn(string, " \t\n\r\f\v")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", option->name)));
	return value;
}

static Datum
bounded_int(const Option *option, Datum value, int low, int high)
{
	if (DatumGetInt32(value) < low || DatumGetInt32(value) > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d", option->name, low, high)));
	return value;
}

/* bounds says in words what low and high are. */
static Datum
bounded_interval(const Option *option, Datum value, int64 low, int64 high, const char *bounds)
{
	int64		length = mcs_convert_interval(DatumGetIntervalP(value));

	if (length < low || length > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be %s", option->name, bounds)));
	return value;
}

static Datum
check_retry_attempts(const Option *option, Datum value)
{
	return bounded_int(option, value, 0, MAX_ATTEMPTS);
}

static Datum
check_delay(const Option *option, Datum value)
{
	return bounded_interval(option, value, 0, USECS_PER_DAY, "between 0 and 1 day");
}

static Datum
check_timeout(const Option *option, Datum value)
{
	return bounded_interval(option, value, 1000, MAX_TIMEOUT_MICROSECONDS, "between 1 millisecond and 7 days");
}

static Datum
check_workers(const Option *option, Datum value)
{
	return bounded_int(option, value, 1, HANDLER_MAX_WORKERS);
}

static Datum
check_batch_size(const Option *option, Datum value)
{
	return bounded_int(option, value, 1, MAX_BATCH_SIZE);
}

void
mcs_handler_change_options(Handler *handler, const OptionChanges *changes)
{
#define CHECK_OF(name, kind, words, fallback, flags, check) check,
	static const OptionCheck checks[] = {HANDLER_OPTION_LIST(CHECK_OF)};

	mcs_argument_apply(changes, checks, handler);
}

/* ---- what depends on more than one option ---- */

/* The plain form of text in the dialect; NULL where there is no difference. */
static char *
translation(const char *text, const char *function, int nargs, bool flag)
{
	char	   *plain = mcs_stream_plain_sql(text, function, nargs, flag);

	return strcmp(plain, text) == 0 ? NULL : plain;
}

void
mcs_handler_check(Handler *handler)
{
	if ((handler->body == NULL) == (handler->procedure == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("one of body and procedure must be given, and not both")));
	/* translated once, here: a later version of the dialect does not change what a handler does */
	handler->translated_body = handler->body
		? translation(handler->body, "change_stream_translate_body", mcs_extension_is_old() ? 1 : 2, handler->each == HANDLER_EACH_BATCH) : NULL;
	handler->translated_condition = NULL;
	/* what is right as plain SQL means what it says there */
	if (handler->condition && !mcs_code_condition_is_plain(handler->condition))
		handler->translated_condition = translation(handler->condition, "change_stream_translate_expression", 2, false);
	/* a handler whose code does not compile is refused now, not at its first event */
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

			/* full_document_before_change and full_document_source are other columns */
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
		/* IS [NOT] NULL, or IS DISTINCT FROM: the author has thought of it */
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
			 handler->each == HANDLER_EACH_BATCH
			 ? errhint("Let the body ask WHERE full_document IS NOT NULL, or give the handler a condition.")
			 : errhint("Let the body begin with IF change.full_document IS NULL THEN RETURN; END IF; or give the handler a condition.")));
}

int64
mcs_handler_start(const Handler *handler, const Stream *stream)
{
	char	   *end;
	int64		event_id;

	/* the caller has locked the position, so no event comes between the look and the insertion */
	if (strcmp(handler->start_at, "now") == 0)
		return stream->last_event_id;
	if (strcmp(handler->start_at, "earliest") == 0)
	{
		/* a position is the last event that is done: the one before the first that is to be */
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
