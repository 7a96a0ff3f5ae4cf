/*
 * mongo/identity.c
 *	  As whom MongoDB sees a connection, and who may be that.
 *
 * A connection that a role causes is made by the database server, from its
 * address and with what it has: certificate files, Kerberos tickets, cloud
 * credentials of its machine.  A role gets none of that for having USAGE on a
 * server.  Its connections take a user name and a password of its mapping, by a
 * mechanism that needs nothing else; what goes beyond is
 *
 *		nothing at all: superusers only, as it is the server's address alone that
 *			opens a MongoDB without authentication, or one that trusts that host;
 *		the server's files or environment: superusers and members of
 *			pg_read_server_files, who could read the files anyway;
 *
 * unless a superuser has given the server the option password_required 'false',
 * which opens it for every role with USAGE.
 *
 * This is found out for the role whom a connection serves (a stream's owner, a
 * foreign table's user, a caller) each time a target is made, since roles lose
 * memberships and servers options, and raised when a session is opened or taken
 * from the cache.  It is also checked for the current user when a mapping or a
 * server gets such a mechanism.  What a role could send over a connection to
 * become somebody else there is refused in mongo/command.c.
 */
#include "mongo/mongo.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

typedef enum Identity
{
	IDENTITY_NONE,
	IDENTITY_MAPPING,			/* the user mapping's own */
	IDENTITY_SERVER				/* the database server's */
} Identity;

/* How a mechanism comes by an identity. */
typedef enum IdentitySource
{
	BY_PASSWORD,				/* the mapping's */
	BY_PASSWORD_OR_SERVER,		/* the mapping's if it has both name and password, else the server's environment */
	BY_SERVER
} IdentitySource;

static const struct
{
	const char *name;
	IdentitySource source;
}			mechanisms[] = {
	{"SCRAM-SHA-1", BY_PASSWORD},
	{"SCRAM-SHA-256", BY_PASSWORD},
	{"PLAIN", BY_PASSWORD},
	{"MONGODB-X509", BY_SERVER},	/* the certificate that the server's uri names */
	{"GSSAPI", BY_SERVER},		/* the ticket cache, whatever password there is */
	{"MONGODB-AWS", BY_PASSWORD_OR_SERVER},
};

/* Where the identity comes from; what is not known is taken for the server's. */
static Identity
identity_by(const char *mechanism, const char *username, const char *password)
{
	bool		complete = username != NULL && password != NULL;
	IdentitySource source = mechanism == NULL ? BY_PASSWORD : BY_SERVER;

	for (int i = 0; mechanism != NULL && i < lengthof(mechanisms); i++)
		if (pg_strcasecmp(mechanism, mechanisms[i].name) == 0)
			source = mechanisms[i].source;
	/* half a pair does not count: the driver would make up the rest from its environment, or do without */
	if (source != BY_SERVER && complete)
		return IDENTITY_MAPPING;
	return source == BY_PASSWORD ? IDENTITY_NONE : IDENTITY_SERVER;
}

/* Raises an error if the current user must not lend the database server's files and identity to connections. */
void
mcs_mongo_check_server_access(const char *what)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set %s", what),
				 errdetail("It lets connections use files or the identity of the database server."),
				 errhint("Only members of the role pg_read_server_files may set it.")));
}

/* Raises an error unless the current user may ask for a mechanism, with a mapping's name and password; what says where. */
void
mcs_mongo_check_mechanism(const char *what, const char *mechanism, const char *username, const char *password)
{
	bool		known = false;

	for (int i = 0; i < lengthof(mechanisms); i++)
		known |= strcmp(mechanism, mechanisms[i].name) == 0;
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for %s: \"%s\"", what, mechanism),
				 errhint("Valid values are SCRAM-SHA-1, SCRAM-SHA-256, PLAIN, MONGODB-X509, GSSAPI and MONGODB-AWS.")));
	if (identity_by(mechanism, username, password) == IDENTITY_SERVER)
		mcs_mongo_check_server_access(psprintf("%s to \"%s\"", what, mechanism));
}

/* Raises an error unless the current user may let connections do without a password of the mapping's. */
void
mcs_mongo_check_password_required(const char *option, bool required)
{
	if (!required && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only superusers may set or keep option \"%s\" at \"false\"", option),
				 errdetail("It lets every role with USAGE on the server connect as the database server itself may."),
				 errhint("Have a superuser alter the server, or DROP the option in the same statement.")));
}

/* Notes in target what its role would be for MongoDB, by a mechanism (or NULL), that it must not be, if it is so. */
void
mcs_mongo_note_identity(MongoTarget *target, const char *mechanism)
{
	Identity	identity = identity_by(mechanism, target->username, target->password);

	/* the role's own rights, not the current user's: a stream connects as its owner */
	if (identity == IDENTITY_MAPPING || !target->password_required || superuser_arg(target->userid))
		return;
	if (identity == IDENTITY_SERVER && has_privs_of_role(target->userid, ROLE_PG_READ_SERVER_FILES))
		return;
	target->refused_role = GetUserNameFromId(target->userid, false);
	target->refused_mechanism = identity == IDENTITY_SERVER ? mechanism : NULL;
}

/* Raises an error where the role must not connect so; needs no transaction. */
void
mcs_mongo_check_identity(const MongoTarget *target)
{
	const char *role = target->refused_role;
	const char *server = target->server_name;
	const char *how = target->password_option ? "SET" : "ADD";
	bool		mapped = OidIsValid(target->umid);

	if (role == NULL)
		return;
	if (target->refused_mechanism != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" may not connect to server \"%s\" by %s", role, server, target->refused_mechanism),
				 errdetail("MongoDB would take it for whom the database server's own files or environment name."),
				 errhint("Give its user mapping a username and a password, or have a superuser run GRANT pg_read_server_files TO %s, or ALTER SERVER %s OPTIONS (%s password_required 'false').",
						 quote_identifier(role), quote_identifier(server), how)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("role \"%s\" may not connect to server \"%s\" without a password", role, server),
			 errdetail("It has no user mapping with a username and a password, and only superusers may use what the database server itself is let in for."),
			 errhint("%s USER MAPPING FOR %s SERVER %s OPTIONS (%susername '...', %spassword '...'), or have a superuser run ALTER SERVER %s OPTIONS (%s password_required 'false').",
					 mapped ? "ALTER" : "CREATE", quote_identifier(role), quote_identifier(server),
					 mapped && target->username ? "SET " : "", mapped && target->password ? "SET " : "",
					 quote_identifier(server), how)));
}
