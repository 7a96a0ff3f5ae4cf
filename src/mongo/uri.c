/*
 * mongo/uri.c
 *	  MongoDB's connection strings, read by rules of our own before the driver
 *	  gets to see them.
 *
 *		scheme://host[:port][,host[:port] ...][/[database][?name=value[&name=value ...]]]
 *
 * The driver passes over names that it does not know, so that tsl=true would
 * connect in plain text; its reader takes time that grows with the square of the
 * text and memory that libbson aborts the process for when there is none.  So a
 * string is bounded, taken apart here, where palloc and interrupts work, and
 * each of its options has to be one that is known.  What the values have to be,
 * alone and together, is the driver's to say: it reads what has passed, in its
 * own thread.
 *
 * Names are compared as the driver compares them, whatever their case and as
 * they are written (it decodes %XX in values only), so that nothing is one thing
 * here and another there.
 */
#include "mongo/mongo_internal.h"

#include <mongoc/mongoc.h>

#include "base/base.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define URI_MAX			8192	/* bytes of a connection string */
#define HOSTS_MAX		50		/* members of a replica set, as many as MongoDB allows */
#define OPTIONS_MAX		100		/* name=value in one string */
#define NAME_MAX_SHOWN	60		/* bytes of a name that is repeated in a message */

typedef enum UriOptionKind
{
	URI_PLAIN,
	URI_OWN_RULE,				/* the driver knows it by a rule of its own, not by a type */
	URI_REPEATED,				/* the same, and it can stand more than once */
	URI_FILE,					/* names a file of the database server */
	URI_SECRET,					/* holds what nobody but its owner may read */
	URI_NEVER,					/* would weaken TLS in a way that the driver can't combine with ours; false is allowed */
	URI_MECHANISM
} UriOptionKind;

typedef struct UriOption
{
	const char *name;			/* as MongoDB's documentation writes it */
	const char *older;			/* its name before TLS was called so, or NULL */
	UriOptionKind kind;
} UriOption;

static const UriOption uri_options[] = {
	{"appName", NULL, URI_PLAIN},
	{"authMechanism", NULL, URI_MECHANISM},
	{"authMechanismProperties", NULL, URI_SECRET},
	{"authSource", NULL, URI_OWN_RULE},
	{"canonicalizeHostname", NULL, URI_PLAIN},
	{"compressors", NULL, URI_OWN_RULE},
	{"connectTimeoutMS", NULL, URI_PLAIN},
	{"directConnection", NULL, URI_PLAIN},
	{"gssapiServiceName", NULL, URI_OWN_RULE},
	{"heartbeatFrequencyMS", NULL, URI_PLAIN},
	{"journal", NULL, URI_PLAIN},
	{"loadBalanced", NULL, URI_PLAIN},
	{"localThresholdMS", NULL, URI_PLAIN},
	{"maxIdleTimeMS", NULL, URI_PLAIN},
	{"maxPoolSize", NULL, URI_PLAIN},
	{"maxStalenessSeconds", NULL, URI_PLAIN},
	{"minPoolSize", NULL, URI_PLAIN},
	{"readConcernLevel", NULL, URI_OWN_RULE},
	{"readPreference", NULL, URI_PLAIN},
	{"readPreferenceTags", NULL, URI_REPEATED},
	{"replicaSet", NULL, URI_PLAIN},
	{"retryReads", NULL, URI_PLAIN},
	{"retryWrites", NULL, URI_PLAIN},
	{"safe", NULL, URI_PLAIN},
	{"serverMonitoringMode", NULL, URI_PLAIN},
	{"serverSelectionTimeoutMS", NULL, URI_PLAIN},
	{"serverSelectionTryOnce", NULL, URI_PLAIN},
	{"socketCheckIntervalMS", NULL, URI_PLAIN},
	{"socketTimeoutMS", NULL, URI_PLAIN},
	{"srvMaxHosts", NULL, URI_PLAIN},
	{"srvServiceName", NULL, URI_PLAIN},
	{"tls", "ssl", URI_PLAIN},
	{"tlsAllowInvalidCertificates", "sslAllowInvalidCertificates", URI_PLAIN},
	{"tlsAllowInvalidHostnames", "sslAllowInvalidHostnames", URI_PLAIN},
	{"tlsCAFile", "sslCertificateAuthorityFile", URI_FILE},
	{"tlsCertificateKeyFile", "sslClientCertificateKeyFile", URI_FILE},
	{"tlsCertificateKeyFilePassword", "sslClientCertificateKeyPassword", URI_SECRET},
	{"tlsCRLFile", "sslCRLFile", URI_FILE},
	{"tlsDisableCertificateRevocationCheck", NULL, URI_NEVER},
	{"tlsDisableOCSPEndpointCheck", NULL, URI_NEVER},
	{"tlsInsecure", NULL, URI_PLAIN},
	{"w", NULL, URI_OWN_RULE},
	{"waitQueueMultiple", NULL, URI_PLAIN},
	{"waitQueueTimeoutMS", NULL, URI_PLAIN},
	{"wTimeoutMS", NULL, URI_PLAIN},
	{"zlibCompressionLevel", NULL, URI_PLAIN},
};

/* A string's parts; they point into it. */
typedef struct UriParts
{
	const char *hosts;
	const char *hosts_end;
	const char *options;		/* behind the ?, or NULL */
	bool		srv;
} UriParts;

static void refuse(const char *option, const char *why) pg_attribute_noreturn();

/* Raises the error for a string that is none; why must not repeat anything of it. */
static void
refuse(const char *option, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\"", option),
			 errdetail("%s", why),
			 errhint("A MongoDB connection string is expected, such as mongodb://host:27017/?replicaSet=rs0.")));
	pg_unreachable();
}

/* ---- taking it apart ---- */

/* Finds the parts; false where it does not begin as a connection string does. */
static bool
find_parts(const char *uri, UriParts *parts)
{
	static const char plain[] = "mongodb://";
	static const char srv[] = "mongodb+srv://";
	const char *question;

	parts->srv = strncmp(uri, srv, strlen(srv)) == 0;
	if (!parts->srv && strncmp(uri, plain, strlen(plain)) != 0)
		return false;
	parts->hosts = uri + (parts->srv ? strlen(srv) : strlen(plain));
	parts->hosts_end = parts->hosts + strcspn(parts->hosts, "/");
	/* a ? in front of the first / is no part of ours; check_hosts refuses it */
	question = strchr(parts->hosts_end, '?');
	parts->options = question == NULL ? NULL : question + 1;
	return true;
}

/* Whether there is a user or a password in front of the hosts; a raw / or ? in a password makes it no host, either. */
static bool
has_credentials(const UriParts *parts)
{
	const char *at = strchr(parts->hosts, '@');

	/* an @ behind the ? is in a value, and may stand there */
	return at != NULL && (at < parts->hosts_end || at < parts->hosts + strcspn(parts->hosts, "?"));
}

/* The next name=value at *place, which moves behind it; false at the end.  equals is NULL where there is no =. */
static bool
next_option(const char **place, const char **name, const char **equals, const char **end)
{
	if (*place == NULL || **place == '\0')
		return false;
	*name = *place;
	*end = *place + strcspn(*place, "&");
	*equals = memchr(*name, '=', *end - *name);
	*place = **end == '&' ? *end + 1 : *end;
	return true;
}

/* The option of a name, or NULL. */
static const UriOption *
find_option(const char *name, int size)
{
	for (int i = 0; i < lengthof(uri_options); i++)
	{
		const UriOption *option = &uri_options[i];

		if ((strlen(option->name) == size && pg_strncasecmp(name, option->name, size) == 0) ||
			(option->older != NULL && strlen(option->older) == size && pg_strncasecmp(name, option->older, size) == 0))
			return option;
	}
	return NULL;
}

/* A value with its %XX decoded; NULL where one is malformed. */
static char *
decode(const char *value, const char *end)
{
	char	   *decoded = palloc(end - value + 1);
	int			length = 0;

	while (value < end)
	{
		char		high;
		char		low;

		if (*value != '%')
		{
			decoded[length++] = *value++;
			continue;
		}
		if (end - value < 3 || !isxdigit((unsigned char) value[1]) || !isxdigit((unsigned char) value[2]))
			return NULL;
		high = pg_ascii_tolower(value[1]);
		low = pg_ascii_tolower(value[2]);
		decoded[length++] = (char) ((high <= '9' ? high - '0' : high - 'a' + 10) << 4 | (low <= '9' ? low - '0' : low - 'a' + 10));
		value += 3;
	}
	decoded[length] = '\0';

	/* %00 would hide what follows it */
	return strlen(decoded) == length ? decoded : NULL;
}

/* The mechanism that a connection string asks for, or NULL; of several the last, as the driver takes them. */
char *
mcs_mongo_uri_mechanism(const char *uri)
{
	UriParts	parts;
	char	   *mechanism = NULL;
	const char *name;
	const char *equals;
	const char *end;

	if (!find_parts(uri, &parts))
		return NULL;
	while (next_option(&parts.options, &name, &equals, &end))
	{
		const UriOption *option = equals == NULL ? NULL : find_option(name, equals - name);

		if (option != NULL && option->kind == URI_MECHANISM)
			mechanism = decode(equals + 1, end);
	}
	return mechanism;
}

/* ---- checks ---- */

/* Hosts and ports, as far as a mistake in them could be taken for something else. */
static void
check_hosts(const char *option, const UriParts *parts)
{
	const char *host = parts->hosts;
	int			count = 0;

	if (parts->hosts == parts->hosts_end)
		refuse(option, "It names no host.");
	if (memchr(parts->hosts, '?', parts->hosts_end - parts->hosts) != NULL)
		refuse(option, "There must be a / between the hosts and the ?.");
	for (;;)
	{
		const char *end = host + strcspn(host, ",/");
		const char *colon = end;

		if (++count > HOSTS_MAX)
			refuse(option, psprintf("It names more than %d hosts.", HOSTS_MAX));
		if (end == host)
			refuse(option, "A host in it is empty.");
		/* the colons of an IPv6 address stand in brackets */
		while (colon > host && colon[-1] != ':' && colon[-1] != ']')
			colon--;
		if (colon > host && colon[-1] == ':' &&
			(end - colon < 1 || end - colon > 5 || strspn(colon, "0123456789") < end - colon ||
			 atoi(colon) < 1 || atoi(colon) > PG_UINT16_MAX))
			refuse(option, "A port in it is no number from 1 to 65535.");
		if (end >= parts->hosts_end)
			break;
		host = end + 1;
	}
}

/* Whether the driver that we run with does something by this option. */
static bool
driver_knows(const UriOption *option)
{
	const char *name = option->name;

	return option->kind == URI_OWN_RULE || option->kind == URI_REPEATED || option->kind == URI_MECHANISM ||
		option->kind == URI_SECRET ||
		mongoc_uri_option_is_int32(name) || mongoc_uri_option_is_int64(name) ||
		mongoc_uri_option_is_bool(name) || mongoc_uri_option_is_utf8(name);
}

/* Raises the error for a name that means nothing to the driver, with those that may have been meant where it is none of MongoDB's. */
static void
unknown_option(const char *option, const char *name, int size, bool mongodbs)
{
	char	   *shown = pnstrdup(name, pg_mbcliplen(name, size, NAME_MAX_SHOWN));
	StringInfoData near;
	int			count = 0;

	initStringInfo(&near);
	for (int i = 0; i < lengthof(uri_options) && size <= NAME_MAX_SHOWN && !mongodbs; i++)
	{
		if (!driver_knows(&uri_options[i]))
			continue;
		mcs_words_add_near(&near, &count, shown, uri_options[i].name);
		if (uri_options[i].older != NULL && near.len == 0)
			mcs_words_add_near(&near, &count, shown, uri_options[i].older);
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("unknown option \"%s\" in option \"%s\"", shown, option),
			 errdetail("MongoDB's driver would pass over it without a word."),
			 mongodbs ? errhint("This version of the driver does not have it.") :
			 near.len > 0 ? errhint("Perhaps %s is meant.", near.data) :
			 errhint("The options of connection strings are described in MongoDB's documentation.")));
}

/* One name=value, of which the name is known. */
static void
check_option(const char *option, const UriOption *known, const char *value)
{
	bool		truth;

	switch (known->kind)
	{
		case URI_SECRET:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("option \"%s\" must not contain \"%s\"", option, known->name),
					 errdetail("The options of a server can be read by every role.")));
			break;
		case URI_NEVER:
			if (!parse_bool(value, &truth) || truth)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("option \"%s\" must not contain \"%s\"", option, known->name)));
			break;
		case URI_FILE:
			mcs_mongo_check_server_access(psprintf("\"%s\" in option \"%s\"", known->name, option));
			break;
		case URI_MECHANISM:
			mcs_mongo_check_mechanism(psprintf("\"%s\" in option \"%s\"", known->name, option), value, NULL, NULL);
			break;
		case URI_PLAIN:
		case URI_OWN_RULE:
		case URI_REPEATED:
			break;
	}
}

/* The options, each once. */
static void
check_options(const char *option, const UriParts *parts)
{
	bool		seen[lengthof(uri_options)] = {false};	/* a name and its older name are one */
	const char *place = parts->options;
	const char *name;
	const char *equals;
	const char *end;
	int			count = 0;

	while (next_option(&place, &name, &equals, &end))
	{
		const UriOption *known;
		char	   *value;

		if (++count > OPTIONS_MAX)
			refuse(option, psprintf("It has more than %d options.", OPTIONS_MAX));
		/* without a = it may be anything, a piece of a password too, so it is not repeated */
		if (equals == NULL)
			refuse(option, "An option in it has no value.");
		known = find_option(name, equals - name);
		if (known == NULL)
			unknown_option(option, name, equals - name, false);
		/* what is decoded goes into messages, and so must be text in the database's encoding */
		value = decode(equals + 1, end);
		if (value == NULL || !pg_verifymbstr(value, strlen(value), true))
			refuse(option, psprintf("The value of \"%s\" is not encoded as in a URI.", known->name));
		check_option(option, known, value);
		/* MongoDB has it, but not every version of the driver */
		if (!driver_knows(known))
			unknown_option(option, name, equals - name, true);
		if (seen[known - uri_options] && known->kind != URI_REPEATED)
			refuse(option, psprintf("It has \"%s\" more than once.", known->name));
		seen[known - uri_options] = true;
	}
}

/* What the driver says of it, in its thread. */
static void
check_by_driver(const char *option, const char *uri)
{
	/* no role, no credentials: it is read only, and nobody is contacted */
	MongoTarget target = {.uri = unconstify(char *, uri)};
	MongoSession *session = mcs_session_open(&target, "uri");
	DriverReply *reply = NULL;
	MongoError	error;
	DriverRequest *request = calloc(1, sizeof(DriverRequest));

	/* of calloc, since the driver's thread frees it */
	if (request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	mcs_thread_request(session->thread, request);
	if (mcs_session_wait(session, -1, false, &reply, &error) != SESSION_REPLY)
	{
		/* no fault of the string's */
		if (error.class == MONGO_ERROR_DRIVER_ENDED)
			mcs_mongo_raise(&error, "read the connection string");
		refuse(option, psprintf("%s.", error.message));
	}
	mcs_client_discard_reply(reply);
	mcs_session_close(session);
}

/* Raises an error unless a text is a connection string that the current user may set for a server. */
void
mcs_mongo_uri_check(const char *option, const char *uri)
{
	UriParts	parts;

	/* each check may rely on those before it; the driver sees what has passed them all */
	if (strlen(uri) > URI_MAX)
		refuse(option, psprintf("It has %zu bytes, more than %d.", strlen(uri), URI_MAX));
	if (!find_parts(uri, &parts))
		refuse(option, "It begins neither with mongodb:// nor with mongodb+srv://.");
	if (has_credentials(&parts))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must not contain a user name or a password", option),
				 errdetail("The options of a server can be read by every role."),
				 errhint("Leave them out, and then CREATE USER MAPPING FOR CURRENT_USER SERVER name_of_the_server OPTIONS (username '...', password '...', auth_source 'admin');")));
	check_hosts(option, &parts);
	check_options(option, &parts);
	check_by_driver(option, uri);
}
