/*
 * mongo/option.c
 *	  Options of servers, user mappings and foreign tables: which there are,
 *	  what they may hold, and where and as whom a role connects by them.
 *
 * Credentials live in user mappings, which only their owner and superusers can
 * read; a server's options can be read by everybody, so a URI with a password is
 * refused (mongo/uri.c).  Who may use the database server's own files and identity
 * is said in mongo/identity.c.
 */
#include "mongo/mongo.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define DATABASE_NAME_MAX	63
#define COLLECTION_NAME_MAX 255
#define BATCH_SIZE_MAX		1000000
#define OPTION_MAX			8192	/* bytes of a value, looked at before anything is made of it */
#define PIPELINE_MAX		(1024 * 1024)	/* the same for stages */

PG_FUNCTION_INFO_V1(mcs_mongo_change_stream_validator);

typedef void (*OptionCheck) (const char *name, const char *value);

static void check_database(const char *name, const char *value);
static void check_collection(const char *name, const char *value);
static void check_image(const char *name, const char *value);
static void check_boolean(const char *name, const char *value);
static void check_pipeline(const char *name, const char *value);
static void check_start_at(const char *name, const char *value);
static void check_token(const char *name, const char *value);
static void check_batch_size(const char *name, const char *value);
static void check_history(const char *name, const char *value);
static void check_credential(const char *name, const char *value);
static void check_password_required(const char *name, const char *value);

#define IN_SERVER	1
#define IN_MAPPING	2
#define IN_TABLE	4

/* An option: its name, the objects that may have it, and the check of its value. */
typedef struct ValidOption
{
	const char *name;
	int			places;
	OptionCheck check;
} ValidOption;

static const ValidOption valid_options[] = {
	{"uri", IN_SERVER, mcs_mongo_uri_check},
	{"password_required", IN_SERVER, check_password_required},
	{"database", IN_SERVER | IN_TABLE, check_database},
	{"collection", IN_SERVER | IN_TABLE, check_collection},
	{"full_document", IN_SERVER | IN_TABLE, check_image},
	{"full_document_before_change", IN_SERVER | IN_TABLE, check_image},
	{"show_expanded_events", IN_SERVER | IN_TABLE, check_boolean},
	{"pipeline", IN_SERVER | IN_TABLE, check_pipeline},
	{"start_at", IN_SERVER | IN_TABLE, check_start_at},
	{"resume_after", IN_SERVER | IN_TABLE, check_token},
	{"batch_size", IN_SERVER | IN_TABLE, check_batch_size},
	{"history", IN_SERVER | IN_TABLE, check_history},
	{"share_cursor", IN_SERVER, check_boolean},
	{"username", IN_MAPPING, check_credential},
	{"password", IN_MAPPING, check_credential},
	{"auth_source", IN_MAPPING, check_database},
	{"auth_mechanism", IN_MAPPING, check_credential},
};

/* ---- checks of single values ---- */

static void
invalid_value(const char *name, const char *value, const char *hint) pg_attribute_noreturn();

/* Raises the error for a value that an option can't have. */
static void
invalid_value(const char *name, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 hint == NULL ? 0 : errhint("%s", hint)));
	pg_unreachable();
}

/* A name that MongoDB would take for a database. */
static void
check_database(const char *name, const char *value)
{
	/* MongoDB's name for what is no database: users of certificates, Kerberos and the like */
	bool		external = strcmp(name, "auth_source") == 0 && strcmp(value, "$external") == 0;

	if (!external && (value[0] == '\0' || strlen(value) > DATABASE_NAME_MAX || strpbrk(value, "/\\. \"$") != NULL))
		invalid_value(name, value, "A name of a MongoDB database has 1 to 63 bytes and none of the characters /\\. \"$.");
}

/* A name that MongoDB would take for a collection. */
static void
check_collection(const char *name, const char *value)
{
	if (value[0] == '\0' || value[0] == '$' || value[0] == '.' || strlen(value) > COLLECTION_NAME_MAX)
		invalid_value(name, value, "A name of a MongoDB collection has 1 to 255 bytes and does not begin with $ or a dot.");
}

/*
 * MongoDB's spelling of a mode of fullDocument (before: fullDocumentBeforeChange),
 * which may be written as MongoDB does or with underscores; NULL if it is none.
 */
const char *
mcs_mongo_image_mode(const char *mode, bool before)
{
	static const struct
	{
		const char *ours;
		const char *theirs;
		bool		of_full_document;
		bool		of_before_change;
	}			modes[] = {
		{"default", "default", true, false},
		{"update_lookup", "updateLookup", true, false},
		{"off", "off", false, true},
		{"when_available", "whenAvailable", true, true},
		{"required", "required", true, true},
	};

	for (int i = 0; i < lengthof(modes); i++)
		if ((before ? modes[i].of_before_change : modes[i].of_full_document) &&
			(strcmp(mode, modes[i].ours) == 0 || strcmp(mode, modes[i].theirs) == 0))
			return modes[i].theirs;
	return NULL;
}

static void
check_image(const char *name, const char *value)
{
	bool		before = strcmp(name, "full_document_before_change") == 0;

	if (mcs_mongo_image_mode(value, before) == NULL)
		invalid_value(name, value, before
					  ? "Valid values are off, whenAvailable and required."
					  : "Valid values are default, updateLookup, whenAvailable and required.");
}

static void
check_boolean(const char *name, const char *value)
{
	bool		ignored;

	if (!parse_bool(value, &ignored))
		invalid_value(name, value, "Valid values are true and false.");
}

/* Stages are MongoDB's to judge; here only what is evidently no array of them. */
static void
check_pipeline(const char *name, const char *value)
{
	if (value[strspn(value, " \t\r\n")] != '[')
		invalid_value(name, value, "An array of stages is expected, such as [{\"$match\": {\"operationType\": \"insert\"}}].");
	(void) mcs_document_in_text(value); /* raises where it is no JSON */
}

/* A position: a word, a token, or else a point in time. */
static void
check_start_at(const char *name, const char *value)
{
	/* a time last, as its input function raises the error for what is none of them */
	if (strcmp(value, "now") == 0 || strcmp(value, "earliest") == 0 || mcs_token_read(value))
		return;
	(void) DirectFunctionCall3(timestamptz_in, CStringGetDatum(value),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static void
check_token(const char *name, const char *value)
{
	if (mcs_token_read(value) == NULL)
		invalid_value(name, value, "A resume token's _data is expected, in hexadecimal.");
}

static void
check_batch_size(const char *name, const char *value)
{
	char	   *end;
	long		number;

	errno = 0;					/* strtol tells an overflow by it alone */
	number = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || number < 1 || number > BATCH_SIZE_MAX)
		invalid_value(name, value, "A number from 1 to 1000000 is expected.");
}

static void
check_history(const char *name, const char *value)
{
	if (strcmp(value, "strict") != 0 && strcmp(value, "available") != 0)
		invalid_value(name, value, "Valid values are available and strict.");
}

/* What is wrong is not repeated: it may be a password. */
static void
check_credential(const char *name, const char *value)
{
	if (value[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must not be empty", name)));
}

static void
check_password_required(const char *name, const char *value)
{
	bool		required;

	if (!parse_bool(value, &required))
		invalid_value(name, value, "Valid values are true and false.");
	mcs_mongo_check_password_required(name, required);
}

/* ---- the validator ---- */

/* What kind of object a place is, for messages. */
static const char *
place_name(int place)
{
	switch (place)
	{
		case IN_SERVER:
			return "SERVER";
		case IN_MAPPING:
			return "USER MAPPING";
		case IN_TABLE:
			return "FOREIGN TABLE";
		default:
			return "FOREIGN DATA WRAPPER";
	}
}

/* Raises the error for an option that does not belong where it was found. */
static void
unknown_option(const char *name, int place)
{
	StringInfoData valid;
	int			elsewhere = 0;

	initStringInfo(&valid);
	for (int i = 0; i < lengthof(valid_options); i++)
	{
		if (valid_options[i].places & place)
			appendStringInfo(&valid, "%s%s", valid.len > 0 ? ", " : "", valid_options[i].name);
		if (strcmp(valid_options[i].name, name) == 0)
			elsewhere = valid_options[i].places;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\" for a %s", name, place_name(place)),
			 elsewhere & IN_SERVER ? errhint("It is an option of a SERVER%s.", elsewhere & IN_TABLE ? " or a FOREIGN TABLE" : "") :
			 elsewhere & IN_MAPPING ? errhint("It is an option of a USER MAPPING.") :
			 valid.len > 0 ? errhint("Valid options are: %s.", valid.data) :
			 errhint("There are no valid options in this context.")));
}

/* Raises an error for a value that is too long to be one; it is not repeated. */
static void
check_length(const char *name, const char *value)
{
	int			most = strcmp(name, "pipeline") == 0 ? PIPELINE_MAX : OPTION_MAX;

	if (strlen(value) > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value of option \"%s\" is too long", name),
				 errdetail("It has %zu bytes, more than %d.", strlen(value), most)));
}

/* Checks the options of one object.  CREATE and ALTER call it as whoever runs them, with all options as they will be. */
Datum
mcs_mongo_change_stream_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	int			place = catalog == ForeignServerRelationId ? IN_SERVER :
		catalog == UserMappingRelationId ? IN_MAPPING :
		catalog == ForeignTableRelationId ? IN_TABLE : 0;
	bool		has_uri = false;
	char	   *mechanism;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const ValidOption *valid = NULL;

		for (int i = 0; i < lengthof(valid_options); i++)
			if (strcmp(valid_options[i].name, option->defname) == 0 && (valid_options[i].places & place))
				valid = &valid_options[i];
		if (valid == NULL)
			unknown_option(option->defname, place);
		has_uri |= strcmp(option->defname, "uri") == 0;
		/* the length first: checks may take time that grows faster than it */
		check_length(option->defname, defGetString(option));
		valid->check(option->defname, defGetString(option));
	}
	if (place == IN_SERVER && !has_uri)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"uri\" is required for a SERVER of this wrapper"),
				 errhint("OPTIONS (uri 'mongodb://host:27017/?replicaSet=rs0').")));
	/* with name and password at hand, which decide whose identity it takes */
	mechanism = mcs_mongo_option(options, "auth_mechanism");
	if (place == IN_MAPPING && mechanism != NULL)
		mcs_mongo_check_mechanism("option \"auth_mechanism\"", mechanism,
								  mcs_mongo_option(options, "username"), mcs_mongo_option(options, "password"));
	PG_RETURN_VOID();
}

/* ---- from server and mapping to a target ---- */

/* The value of an option in a list of DefElem, or NULL. */
char *
mcs_mongo_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

void
mcs_mongo_table_place(List *table, List *server, char **database, char **collection)
{
	char	   *own = mcs_mongo_option(table, "database");

	*database = own ? own : mcs_mongo_option(server, "database");
	*collection = mcs_mongo_option(table, "collection");
	/* a server's collection is one of the server's database */
	if (*collection == NULL && own == NULL)
		*collection = mcs_mongo_option(server, "collection");
}

/* How many servers this wrapper has, and one of them. */
static int
find_servers(Oid wrapper, Oid *found)
{
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			count = 0;

	/* no index by wrapper; there are few servers */
	catalog = table_open(ForeignServerRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server server = (Form_pg_foreign_server) GETSTRUCT(tuple);

		if (server->srvfdw == wrapper)
		{
			*found = server->oid;
			count++;
		}
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return count;
}

/* The only server of this wrapper. */
static ForeignServer *
only_server(Oid wrapper)
{
	Oid			found = InvalidOid;
	int			count = find_servers(wrapper, &found);

	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no server for MongoDB"),
				 errhint("CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://host:27017/?replicaSet=rs0').")));
	if (count > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are %d servers for MongoDB, so which one is meant must be said", count),
				 errhint("Give the name of one as argument \"server\".")));
	return GetForeignServer(found);
}

void
mcs_mongo_only_server(const char **name, const char **database)
{
	Oid			wrapper = get_foreign_data_wrapper_oid(MCS_EXTENSION, true);
	Oid			found = InvalidOid;
	ForeignServer *server;

	*name = *database = NULL;
	if (!OidIsValid(wrapper) || find_servers(wrapper, &found) != 1)
		return;
	server = GetForeignServer(found);
	*name = server->servername;
	*database = mcs_mongo_option(server->options, "database");
}

/* The OID of a role's mapping to a server, its own or the public one; InvalidOid where there is none. */
static Oid
find_mapping(Oid userid, Oid serverid, bool *is_public)
{
	Oid			umid = GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
									   ObjectIdGetDatum(userid), ObjectIdGetDatum(serverid));

	*is_public = !OidIsValid(umid);
	/* InvalidOid is PUBLIC */
	if (*is_public)
		umid = GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
							   ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(serverid));
	return umid;
}

/* Raises an error unless a role may use a server: the one that connects, which need not be the current user. */
static void
check_usage(Oid serverid, Oid userid, const char *name)
{
	AclResult	result;

#if PG_VERSION_NUM >= 160000
	result = object_aclcheck(ForeignServerRelationId, serverid, userid, ACL_USAGE);
#else
	result = pg_foreign_server_aclcheck(serverid, userid, ACL_USAGE);
#endif
	if (result != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", name),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s.",
						 quote_identifier(name), quote_identifier(GetUserNameFromId(userid, false)))));
}

/* Server and mapping merged. */
static MongoTarget *
make_target(ForeignServer *server, Oid userid)
{
	MongoTarget *target = palloc0(sizeof(MongoTarget));
	char	   *required = mcs_mongo_option(server->options, "password_required");

	target->serverid = server->serverid;
	target->userid = userid;
	target->server_name = pstrdup(server->servername);
	target->uri = mcs_mongo_option(server->options, "uri");
	target->database = mcs_mongo_option(server->options, "database");
	target->password_option = required != NULL;
	/* what can't be read is taken for the stricter */
	if (required == NULL || !parse_bool(required, &target->password_required))
		target->password_required = true;
	/* GetUserMapping raises an error where there is none, which is allowed here */
	target->umid = find_mapping(userid, server->serverid, &target->public_mapping);
	target->role_name = GetUserNameFromId(userid, true);
	if (OidIsValid(target->umid))
	{
		List	   *options = GetUserMapping(userid, server->serverid)->options;

		target->username = mcs_mongo_option(options, "username");
		target->password = mcs_mongo_option(options, "password");
		target->auth_source = mcs_mongo_option(options, "auth_source");
		target->auth_mechanism = mcs_mongo_option(options, "auth_mechanism");
	}
	mcs_mongo_note_identity(target, target->auth_mechanism != NULL ? target->auth_mechanism
							: mcs_mongo_uri_mechanism(target->uri));
	return target;
}

/* The same for a foreign table's server, for which no right is asked: PostgreSQL has asked for USAGE when the table was made. */
MongoTarget *
mcs_mongo_target_of_table(Oid serverid, Oid userid)
{
	return make_target(GetForeignServer(serverid), userid);
}

/* Where and as whom a role connects; server NULL: to the only one there is. */
MongoTarget *
mcs_mongo_target(const char *server_name, Oid userid)
{
	Oid			wrapper = get_foreign_data_wrapper_oid(MCS_EXTENSION, false);
	ForeignServer *server;

	server = server_name == NULL ? only_server(wrapper) : GetForeignServerByName(server_name, false);
	if (server->fdwid != wrapper)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not for MongoDB", server->servername),
				 errhint("A server made with FOREIGN DATA WRAPPER mongo_change_stream is expected.")));
	check_usage(server->serverid, userid, server->servername);
	return make_target(server, userid);
}
