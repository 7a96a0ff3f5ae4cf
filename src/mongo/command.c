/*
 * mongo/command.c
 *	  SQL function mongo_command: any command of MongoDB, as the caller.
 *
 * Any but those that would make the connection somebody else's: with the
 * certificate that it was opened by, for example, which is the database server's
 * (mongo/identity.c).  Besides, sessions are kept for later calls.
 */
#include "mongo/mongo_internal.h"

#include "base/base.h"
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

/* Refuses what changes whom MongoDB takes the connection for. */
static void
refuse_identity(Document *command, const char *name, const MongoTarget *target)
{
	static const char *const commands[] = {"authenticate", "saslStart", "saslContinue", "logout"};
	DocumentIterator it;
	const char *refused = NULL;

	/* whatever their case, to be on the safe side */
	for (int i = 0; i < lengthof(commands); i++)
		if (pg_strcasecmp(name, commands[i]) == 0)
			refused = name;

	/* hello and its older names authenticate by the way */
	mcs_document_iterate(&it, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command));
	while (mcs_document_next(&it))
		if (pg_strcasecmp(it.key, "speculativeAuthenticate") == 0)
			refused = "speculativeAuthenticate";
	if (refused != NULL)
	{
		MongoNames	names;

		mcs_names_fill(&names, target);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" cannot be run by mongo_command", refused),
				 errdetail("It would change whom MongoDB takes the connection for."),
				 names.server[0] == '\0' ? 0 : errhint("%s", mcs_names_mapping_command(&names))));
	}
}

/* mongo_command(command document, database text, server text) returns document */
Datum
mcs_mongo_command(PG_FUNCTION_ARGS)
{
	Document   *command;
	MongoTarget *target;
	MongoReply *reply;
	Document   *result;
	char	   *name;
	char	   *action;
	char	   *database;

	/* not STRICT: database and server may be left out */
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	command = PG_GETARG_DOCUMENT_P(0);
	name = command_name(command);
	action = psprintf("run command \"%s\" in MongoDB", name);

	target = mcs_mongo_target(mcs_convert_text_argument(fcinfo, 2), GetUserId());
	refuse_identity(command, name, target);
	database = PG_ARGISNULL(1) ? target->database : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no database was given for command of MongoDB"),
				 errhint("Give it as argument \"database\", or once for all: ALTER SERVER %s OPTIONS (ADD database '...').",
						 quote_identifier(target->server_name))));

	reply = mcs_session_command(mcs_cache_session(target), database,
								DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command), action, NULL);
	result = mcs_document_make(DOCUMENT_OBJECT, reply->data, reply->size);
	mcs_session_free_reply(reply);
	PG_RETURN_POINTER(result);
}
