/*
 * mongo/reply.c
 *	  Whether a reply is one that libmongoc can be given: the document is BSON
 *	  to its last byte, and each field that the driver reads is what it takes it
 *	  for.  Runs in the driver's thread only.
 *
 * Checked is what libmongoc 1.23 to 2.x reads of replies, and a little more
 * strictly than it reads: it calls abort() where a code is 0 or no number, where
 * a document within the reply is none, where a host has no name.  Fields that
 * are the user's own, such as documents in a cursor's batch, need only be BSON;
 * what they hold is looked at by whoever reads them.
 *
 * A hello decides whom the driver talks to next, so it is bounded, too: as many
 * members as a replica set can have, named as a set names them, never the path
 * of a socket.  In authentication the server says how often a password is to be
 * hashed, which takes a thread's time without a way to break it off.
 *
 * To let one more field pass, or check it: common_fields, hello_fields.
 */
#include "mongo/mongo.h"

#include <math.h>
#include <stdarg.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define MAX_HELLO			(128 * 1024)	/* 50 members with long names and tags have room */
#define MAX_CLUSTER_TIME	512 /* it is sent back with each command */
#define MAX_SASL			(64 * 1024)
#define MAX_SCRAM			2048
#define MAX_ITERATIONS		1000000 /* half a second; MongoDB's own are 10,000 and 15,000 */

/* ---- fields: what libmongoc takes them for ---- */

/* Writes down what is wrong; false, for the caller to return. */
static bool complain(char *complaint, const char *format,...) pg_attribute_printf(2, 3);

static bool
complain(char *complaint, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	/* not vsnprintf(), which PostgreSQL's headers make its own: this is the driver's thread */
	bson_vsnprintf(complaint, COMPLAINT_SIZE, format, args);
	va_end(args);
	return false;
}

/* A number without a fraction, whatever its type. */
static bool
whole_number(const bson_iter_t *iter, int64 *value)
{
	double		number;

	if (BSON_ITER_HOLDS_INT(iter))
	{
		*value = bson_iter_as_int64(iter);
		return true;
	}
	if (!BSON_ITER_HOLDS_DOUBLE(iter))
		return false;
	/* up to 2^53 a double has every whole number; the comparison is false for a NaN */
	number = bson_iter_double(iter);
	if (!(fabs(number) <= 9007199254740992.0) || floor(number) != number)
		return false;
	*value = (int64) number;
	return true;
}

static bool
is_bool(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_BOOL(iter);
}

static bool
is_string(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_UTF8(iter);
}

static bool
is_oid(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_OID(iter);
}

static bool
is_document(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_DOCUMENT(iter);
}

static bool
is_timestamp(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_TIMESTAMP(iter);
}

static bool
is_positive(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_INT32(iter) && bson_iter_int32(iter) > 0;
}

static bool
is_wire_version(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_INT32(iter) && bson_iter_int32(iter) >= 0;
}

static bool
is_whole(const bson_iter_t *iter)
{
	int64		ignored;

	return whole_number(iter, &ignored);
}

/* logicalSessionTimeoutMinutes, which may be null. */
static bool
is_minutes(const bson_iter_t *iter)
{
	int64		minutes;

	return BSON_ITER_HOLDS_NULL(iter) || (whole_number(iter, &minutes) && minutes >= 0 && minutes <= PG_INT32_MAX);
}

/* An error's code: the driver asserts that it is not 0. */
static bool
is_code(const bson_iter_t *iter)
{
	int64		code;

	return whole_number(iter, &code) && code != 0 && code >= PG_INT32_MIN && code <= PG_INT32_MAX;
}

/* Whether every element of an array or a document is something. */
static bool
all_are(const bson_iter_t *iter, bool (*fits) (const bson_iter_t *))
{
	bson_iter_t element;

	if (!bson_iter_recurse(iter, &element))
		return false;
	while (bson_iter_next(&element))
		if (!fits(&element))
			return false;
	/* the iterator ends at what is no BSON, too, and tells it by this alone */
	return element.err_off == 0;
}

static bool
is_strings(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_ARRAY(iter) && all_are(iter, is_string);
}

static bool
is_documents(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_ARRAY(iter) && all_are(iter, is_document);
}

static bool
is_tags(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_DOCUMENT(iter) && all_are(iter, is_string);
}

/* host:port as members of a set have it, IPv6 in brackets. */
static bool
is_host(const bson_iter_t *iter)
{
	uint32		length;
	uint32		name;
	uint32		port = 0;
	const char *host;

	if (!BSON_ITER_HOLDS_UTF8(iter))
		return false;
	host = bson_iter_utf8(iter, &length);
	/* name: where the port begins, behind the last colon */
	name = length;
	while (name > 0 && host[name - 1] != ':')
		name--;
	if (name < 2 || name - 1 > BSON_HOST_NAME_MAX || name == length || length - name > 5)
		return false;
	for (uint32 i = name; i < length; i++)
	{
		if (host[i] < '0' || host[i] > '9')
			return false;
		port = port * 10 + (host[i] - '0');
	}
	if (port < 1 || port > 65535)
		return false;
	name--;						/* now the name's own length */
	if (host[0] == '[')
		return name > 2 && host[name - 1] == ']' && strcspn(host + 1, "[]/,@ ") == name - 2;
	for (uint32 i = 0; i < name; i++)
		if ((uint8) host[i] <= ' ' || host[i] == 0x7F || strchr(":/,@[]%", host[i]) != NULL)
			return false;
	return true;
}

static bool
is_hosts(const bson_iter_t *iter)
{
	return BSON_ITER_HOLDS_ARRAY(iter) && all_are(iter, is_host);
}

/* Goes to a field of the document that iter is at; false where it has none. */
static bool
find_in(const bson_iter_t *iter, const char *name, bson_iter_t *field)
{
	return bson_iter_recurse(iter, field) && bson_iter_find(field, name);
}

static bool
is_last_write(const bson_iter_t *iter)
{
	bson_iter_t field;

	return BSON_ITER_HOLDS_DOCUMENT(iter) && find_in(iter, "lastWriteDate", &field) && BSON_ITER_HOLDS_DATE_TIME(&field);
}

static bool
is_topology_version(const bson_iter_t *iter)
{
	bson_iter_t field;

	return BSON_ITER_HOLDS_DOCUMENT(iter) && find_in(iter, "processId", &field) && BSON_ITER_HOLDS_OID(&field) &&
		find_in(iter, "counter", &field) && BSON_ITER_HOLDS_INT(&field);
}

/* Kept by the driver, and sent back with each command. */
static bool
is_cluster_time(const bson_iter_t *iter)
{
	bson_iter_t field;
	const uint8 *data;
	uint32		size;

	if (!BSON_ITER_HOLDS_DOCUMENT(iter))
		return false;
	bson_iter_document(iter, &size, &data);
	return size <= MAX_CLUSTER_TIME && find_in(iter, "clusterTime", &field) && BSON_ITER_HOLDS_TIMESTAMP(&field) &&
		(!find_in(iter, "signature", &field) || BSON_ITER_HOLDS_DOCUMENT(&field));
}

static bool
is_write_concern_error(const bson_iter_t *iter)
{
	bson_iter_t field;

	return BSON_ITER_HOLDS_DOCUMENT(iter) && (!find_in(iter, "code", &field) || is_code(&field)) &&
		(!find_in(iter, "errmsg", &field) || BSON_ITER_HOLDS_UTF8(&field)) &&
		(!find_in(iter, "errorLabels", &field) || is_strings(&field));
}

typedef struct ReplyField
{
	const char *name;
	bool		(*fits) (const bson_iter_t *);
	const char *wanted;
} ReplyField;

/* of every reply */
static const ReplyField common_fields[] = {
	{"$clusterTime", is_cluster_time, "a small document with a clusterTime"},
	{"errorLabels", is_strings, "an array of strings"},
	{"operationTime", is_timestamp, "a timestamp"},
	{"recoveryToken", is_document, "a document"},
	{"topologyVersion", is_topology_version, "a document with processId and counter"},
	{"writeConcernError", is_write_concern_error, "a document with a code other than 0"},
	{"writeErrors", is_documents, "an array of documents"},
};

/* of a hello, beside those */
static const ReplyField hello_fields[] = {
	{"arbiterOnly", is_bool, "a boolean"},
	{"arbiters", is_hosts, "an array of host:port"},
	{"compression", is_strings, "an array of strings"},
	{"connectionId", is_whole, "a whole number"},
	{"electionId", is_oid, "an ObjectId"},
	{"helloOk", is_bool, "a boolean"},
	{"hidden", is_bool, "a boolean"},
	{"hosts", is_hosts, "an array of host:port"},
	{"ismaster", is_bool, "a boolean"},
	{"isreplicaset", is_bool, "a boolean"},
	{"isWritablePrimary", is_bool, "a boolean"},
	{"lastWrite", is_last_write, "a document with a lastWriteDate"},
	{"logicalSessionTimeoutMinutes", is_minutes, "a number of minutes"},
	{"maxBsonObjectSize", is_positive, "a positive int"},
	{"maxMessageSizeBytes", is_positive, "a positive int"},
	{"maxWireVersion", is_wire_version, "an int of at least 0"},
	{"maxWriteBatchSize", is_positive, "a positive int"},
	{"me", is_host, "host:port"},
	{"minWireVersion", is_wire_version, "an int of at least 0"},
	{"msg", is_string, "a string"},
	{"passives", is_hosts, "an array of host:port"},
	{"primary", is_host, "host:port"},
	{"saslSupportedMechs", is_strings, "an array of strings"},
	{"secondary", is_bool, "a boolean"},
	{"serviceId", is_oid, "an ObjectId"},
	{"setName", is_string, "a string"},
	{"setVersion", is_whole, "a whole number"},
	{"speculativeAuthenticate", is_document, "a document"},
	{"tags", is_tags, "a document of strings"},
};

/* Whether a field is what it must be, if it is one of these; others are of no account. */
static bool
check_field(const bson_iter_t *iter, const ReplyField *fields, int count, char *complaint)
{
	for (int i = 0; i < count; i++)
		if (strcmp(bson_iter_key(iter), fields[i].name) == 0)
			return fields[i].fits(iter) || complain(complaint, "field \"%s\" of a reply is not %s", fields[i].name, fields[i].wanted);
	return true;
}

/*
 * What a reply says of success.  A failure without a reason would be taken for
 * a success by the driver, and it looks for a code even beside a success.
 */
static bool
check_outcome(const bson_t *reply, char *complaint)
{
	bson_iter_t ok;
	bson_iter_t code;
	bson_iter_t words;
	bool		has_code;
	bool		has_words;

	if (!bson_iter_init_find(&ok, reply, "ok") || !(BSON_ITER_HOLDS_BOOL(&ok) || is_whole(&ok)))
		return complain(complaint, "field \"ok\" of a reply is missing or no whole number");
	/* beside a success only a number is a code to the driver */
	has_code = bson_iter_init_find(&code, reply, "code");
	if (has_code && !is_code(&code) && (BSON_ITER_HOLDS_NUMBER(&code) || !bson_iter_as_bool(&ok)))
		return complain(complaint, "field \"code\" of a reply is not an int other than 0");
	has_words = bson_iter_init_find(&words, reply, "errmsg") || bson_iter_init_find(&words, reply, "$err");
	if (bson_iter_as_bool(&ok))
		return true;
	if (has_words && !BSON_ITER_HOLDS_UTF8(&words))
		return complain(complaint, "field \"errmsg\" of a reply is not a string");
	return has_code || has_words || complain(complaint, "a reply says that it failed, and not why");
}

/* ---- hello ---- */

/* How many elements an array of the reply has. */
static int
count_members(const bson_t *reply, const char *name)
{
	bson_iter_t iter;
	bson_iter_t element;
	int			count = 0;

	if (bson_iter_init_find(&iter, reply, name) && bson_iter_recurse(&iter, &element))
		while (bson_iter_next(&element))
			count++;
	return count;
}

static bool check_sasl(const ReplyQuestion *question, bool first, bson_iter_t *fields, char *complaint);

/* A reply to hello. */
static bool
check_hello(const ReplyQuestion *question, const bson_t *reply, char *complaint)
{
	bson_iter_t iter;
	bson_iter_t fields;
	int			members = count_members(reply, "hosts") + count_members(reply, "passives") + count_members(reply, "arbiters");

	if (reply->len > MAX_HELLO)
		return complain(complaint, "a reply to hello has %u bytes, and %d are the most", reply->len, MAX_HELLO);
	if (members > MAX_MEMBERS)
		return complain(complaint, "a reply to hello names %d members of a replica set, and %d are the most", members, MAX_MEMBERS);
	if (!bson_iter_init(&iter, reply))
		return false;
	while (bson_iter_next(&iter))
	{
		if (!check_field(&iter, hello_fields, lengthof(hello_fields), complaint))
			return false;
		if (strcmp(bson_iter_key(&iter), "speculativeAuthenticate") != 0)
			continue;
		if (!question->speculative)
			return complain(complaint, "field \"speculativeAuthenticate\" of a reply was not asked for");
		if (!bson_iter_recurse(&iter, &fields) || !check_sasl(question, true, &fields, complaint))
			return false;
	}
	return true;
}

/* ---- authentication ---- */

/*
 * A message of SCRAM: attributes of one letter, =, a value, with commas between.
 * The driver looks for the = behind the end, and hashes as often as it is told.
 */
static bool
check_scram(const uint8 *data, uint32 size, bool first, char *complaint)
{
	const char *letters = first ? "rsi" : "ve";
	uint32		seen = 0;
	uint32		at = 0;

	if (size > MAX_SCRAM || memchr(data, 0, size) != NULL)
		return complain(complaint, "a message of SCRAM is too long, or no text");
	while (at < size)
	{
		const uint8 *comma = memchr(data + at, ',', size - at);
		uint32		end = comma == NULL ? size : (uint32) (comma - data);
		const char *letter = strchr(letters, data[at]);

		if (end - at < 2 || data[at + 1] != '=' || letter == NULL || (seen & 1 << (letter - letters)) != 0)
			return complain(complaint, "a message of SCRAM is not made as RFC 5802 has it");
		seen |= 1 << (letter - letters);
		/* the iterations; read by hand, as a number too long for any type must not pass as a small one */
		if (*letter == 'i')
		{
			uint32		iterations = 0;

			for (uint32 i = at + 2; i < end && iterations <= MAX_ITERATIONS; i++)
			{
				if (data[i] < '0' || data[i] > '9')
					return complain(complaint, "SCRAM's number of iterations is no number");
				iterations = iterations * 10 + (data[i] - '0');
			}
			if (iterations > MAX_ITERATIONS)
				return complain(complaint, "the server wants a password hashed more than %d times", MAX_ITERATIONS);
		}
		at = end + 1;
	}
	return true;
}

/* A server's part of authentication: the reply to saslStart (first) or saslContinue, or what hello has of it. */
static bool
check_sasl(const ReplyQuestion *question, bool first, bson_iter_t *fields, char *complaint)
{
	while (bson_iter_next(fields))
	{
		const uint8 *data;
		uint32		size;

		if (strcmp(bson_iter_key(fields), "done") == 0 && !BSON_ITER_HOLDS_BOOL(fields))
			return complain(complaint, "field \"done\" of a reply is not a boolean");
		if (strcmp(bson_iter_key(fields), "conversationId") == 0 && !BSON_ITER_HOLDS_INT32(fields))
			return complain(complaint, "field \"conversationId\" of a reply is not an int");
		if (strcmp(bson_iter_key(fields), "payload") != 0)
			continue;
		/* PLAIN has nothing in it, and Kerberos' library checks its own */
		if (question->mechanism == MECHANISM_OTHER)
		{
			if (!BSON_ITER_HOLDS_BINARY(fields) && !BSON_ITER_HOLDS_UTF8(fields))
				return complain(complaint, "field \"payload\" of a reply is neither binary nor a string");
			continue;
		}
		if (!BSON_ITER_HOLDS_BINARY(fields))
			return complain(complaint, "field \"payload\" of a reply is not binary");
		bson_iter_binary(fields, NULL, &size, &data);
		if (question->mechanism == MECHANISM_SCRAM && !check_scram(data, size, first, complaint))
			return false;
		if (question->mechanism == MECHANISM_BSON && size > 0 && !mcs_bson_valid(data, size))
			return complain(complaint, "field \"payload\" of a reply is not BSON");
	}
	return true;
}

/* ---- all of it ---- */

/* Which authentication a request begins, by the name of its mechanism; saslContinue belongs to the one begun last. */
static void
note_mechanism(ReplyQuestion *question, const bson_iter_t *field)
{
	const char *name = BSON_ITER_HOLDS_UTF8(field) ? bson_iter_utf8(field, NULL) : "";

	if (strncmp(name, "SCRAM-", 6) == 0)
		question->mechanism = MECHANISM_SCRAM;
	else if (strcmp(name, "MONGODB-AWS") == 0 || strcmp(name, "MONGODB-OIDC") == 0)
		question->mechanism = MECHANISM_BSON;
	else
		question->mechanism = MECHANISM_OTHER;
}

/*
 * Notes what a request asks, which is the driver's or the user's.  Of a large one
 * only the beginning is there, and with it the name: a mapping's user name can
 * make any that authenticates so large, and is the user's to choose.
 */
void
mcs_reply_question(ReplyQuestion *question, const uint8 *data, uint32 size)
{
	bson_t		request;
	bson_iter_t field;
	const char *name = (const char *) data + MIN_DOCUMENT;
	uint32		whole;
	bool		complete;

	question->kind = QUESTION_OTHER;
	question->speculative = false;
	if (size <= MIN_DOCUMENT || memchr(name, 0, size - MIN_DOCUMENT) == NULL)
		return;
	/* the name is a document's first key, behind its length and a type */
	whole = mcs_bson_uint32(data);
	complete = whole <= size && bson_init_static(&request, data, whole);
	if (strcmp(name, "hello") == 0 || bson_strcasecmp(name, "ismaster") == 0)
	{
		question->kind = QUESTION_HELLO;
		if (complete && bson_iter_init_find(&field, &request, "speculativeAuthenticate"))
		{
			bson_iter_t mechanism;

			question->speculative = true;
			if (find_in(&field, "mechanism", &mechanism))
				note_mechanism(question, &mechanism);
		}
	}
	else if (strcmp(name, "saslStart") == 0)
	{
		question->kind = QUESTION_SASL_START;
		/* by that of which most is asked, where it can't be seen */
		question->mechanism = MECHANISM_SCRAM;
		if (complete && bson_iter_init_find(&field, &request, "mechanism"))
			note_mechanism(question, &field);
	}
	else if (strcmp(name, "saslContinue") == 0)
		question->kind = QUESTION_SASL_CONTINUE;
}

/* Whether the driver can be given a reply's document; false with complaint (of COMPLAINT_SIZE) filled. */
bool
mcs_reply_check(const ReplyQuestion *question, const uint8 *data, uint32 size, char *complaint)
{
	bson_t		reply;
	bson_iter_t iter;

	if (!mcs_bson_valid(data, size) || !bson_init_static(&reply, data, size) || !bson_iter_init(&iter, &reply))
		return complain(complaint, "a reply is not a BSON document");
	/* each field, rather than the first of each name: one that is there twice is right in both places */
	while (bson_iter_next(&iter))
		if (!check_field(&iter, common_fields, lengthof(common_fields), complaint))
			return false;
	if (iter.err_off != 0)
		return complain(complaint, "a reply is not a BSON document");
	if (!check_outcome(&reply, complaint))
		return false;
	/* what depends on the question */
	switch (question->kind)
	{
		case QUESTION_HELLO:
			return check_hello(question, &reply, complaint);
		case QUESTION_SASL_START:
		case QUESTION_SASL_CONTINUE:
			if (size > MAX_SASL)
				return complain(complaint, "a reply in authentication has %u bytes, and %d are the most", size, MAX_SASL);
			return bson_iter_init(&iter, &reply) &&
				check_sasl(question, question->kind == QUESTION_SASL_START, &iter, complaint);
		case QUESTION_OTHER:
			break;
	}
	return true;
}
