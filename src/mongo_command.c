/*
 * mongo_command.c
 *	  SQL function mongo_command: any command of MongoDB, as the caller.
 */
#include "mongo.h"

#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_mongo_command);

/* The name of a command, which is its first key; raises an error where it has none. */
static char *
command_name(Document *command)
{
	const uint8 *body = DOCUMENT_VALUE(command);

	/* length, then the type byte of the first element, its key, and so on */
	if (DOCUMENT_TYPE(command) != DOCUMENT_OBJECT || DOCUMENT_VALUE_SIZE(command) < 8 || body[4] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a MongoDB command must be an object whose first key is the command's name"),
				 errhint("For example mongo_command('{\"ping\": 1}', 'admin').")));
	return pnstrdup((const char *) body + 5, DOCUMENT_VALUE_SIZE(command) - 6);
}

/* mongo_command(command document, database text, server text) returns document */
Datum
mcs_mongo_command(PG_FUNCTION_ARGS)
{
	Document   *command;
	MongoTarget *target;
	MongoReply *reply;
	Document   *result;
	char	   *action;
	char	   *database;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	command = PG_GETARG_DOCUMENT_P(0);
	action = psprintf("run command \"%s\" in MongoDB", command_name(command));

	target = mcs_mongo_target(PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), GetUserId());
	database = PG_ARGISNULL(1) ? target->database : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no database was given for command of MongoDB"),
				 errhint("Give it as argument \"database\", or once for all: ALTER SERVER %s OPTIONS (ADD database '...').",
						 quote_identifier(target->server_name))));

	reply = mcs_session_command(mcs_session_cached(target), database,
								DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command), action, NULL);
	result = mcs_document_make(DOCUMENT_OBJECT, reply->data, reply->size);
	mcs_reply_free(reply);
	PG_RETURN_POINTER(result);
}
