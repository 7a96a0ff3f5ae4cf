/*
 * mongo/names.c
 *	  Who asks whom, as the hints of errors name them.
 *
 * A failure may be told long after the session that it is of has gone, and in a
 * process that is in no transaction, so names are looked up when a target is
 * made, and go with each failure by value.
 */
#include "mongo/mongo_internal.h"

#include "utils/builtins.h"
#include "utils/json.h"

/* A string as JavaScript has it, which is as JSON has it. */
char *
mcs_mongo_js_string(const char *string)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	escape_json(&quoted, string);
	return quoted.data;
}

/* Copies a name, or nothing of one that there is no room for: a part of it would be another. */
static void
copy_name(char *to, Size size, const char *name)
{
	if (name != NULL && strlen(name) < size)
		strcpy(to, name);
}

/* Of whom a session connects, and to what. */
void
mcs_names_fill(MongoNames *names, const MongoTarget *target)
{
	const char *role = target->role_name == NULL ? NULL : quote_identifier(target->role_name);

	memset(names, 0, sizeof(*names));
	/* a connection string that is only looked at is nobody's */
	if (target->server_name == NULL || role == NULL)
		return;
	copy_name(names->server_name, sizeof(names->server_name), target->server_name);
	copy_name(names->server, sizeof(names->server), quote_identifier(target->server_name));
	copy_name(names->role, sizeof(names->role), role);
	if (OidIsValid(target->umid))
		copy_name(names->mapping, sizeof(names->mapping), target->public_mapping ? "PUBLIC" : role);
	names->has_username = target->username != NULL;
	names->has_password = target->password != NULL;
	copy_name(names->user, sizeof(names->user), target->username);
	copy_name(names->user_database, sizeof(names->user_database), target->auth_source ? target->auth_source : "admin");
}

/* Which database a session asks now. */
void
mcs_names_of_request(MongoNames *names, const DriverRequest *request)
{
	names->database[0] = '\0';
	copy_name(names->database, sizeof(names->database), request->database);
}

/* The command that gives MongoDB's user a password, or a first one to the role. */
char *
mcs_names_mapping_command(const MongoNames *names)
{
	if (names->mapping[0] == '\0')
		return psprintf("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (username '...', password '...', auth_source 'admin');",
						names->role, names->server);
	/* a password changes more often than a name */
	if (names->has_username && names->has_password)
		return psprintf("ALTER USER MAPPING FOR %s SERVER %s OPTIONS (SET password '...');", names->mapping, names->server);
	return psprintf("ALTER USER MAPPING FOR %s SERVER %s OPTIONS (%s username '...', %s password '...');",
					names->mapping, names->server, names->has_username ? "SET" : "ADD", names->has_password ? "SET" : "ADD");
}
