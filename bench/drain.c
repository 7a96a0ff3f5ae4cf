/*
 * drain.c
 *	  Reads change events, or documents, with bare libmongoc and throws them away:
 *	  the limit of what can be reached over one cursor.
 *
 *	  drain URI DATABASE COLLECTION SECONDS ORDINAL EVENTS [FULLDOCUMENT]
 *	  drain URI DATABASE COLLECTION SECONDS ORDINAL EVENTS exhaust
 *	  drain URI DATABASE COLLECTION
 *
 * The first starts at the cluster time SECONDS, ORDINAL and ends after that many
 * events, whose option fullDocument may be given; the second the same over a
 * socket of its own, by one getMore that MongoDB answers batch after batch, which
 * drivers do not offer; the third reads all documents that there are.  All print
 * how many they read, their bytes, the seconds it took and their own CPU seconds.
 */
#include <arpa/inet.h>
#include <mongoc/mongoc.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH_SIZE 1000

/* An OP_MSG: its header, flags, and the kind of its one section. */
#define OP_MSG			2013
#define MESSAGE_HEAD	16
#define MESSAGE_BEGIN	21
#define MORE_TO_COME	(1u << 1)
#define EXHAUST_ALLOWED	(1u << 16)

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "drain: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Counts the batch of a reply with a cursor, whose id it returns. */
static int64_t
count(const bson_t *reply, long *events, double *bytes)
{
	bson_iter_t top,
				cursor,
				batch;
	int64_t		id = 0;

	if (!bson_iter_init_find(&top, reply, "cursor") || !bson_iter_recurse(&top, &cursor))
		fail("reply", "no cursor");
	while (bson_iter_next(&cursor))
	{
		const char *key = bson_iter_key(&cursor);

		if (strcmp(key, "id") == 0)
			id = bson_iter_as_int64(&cursor);
		else if (BSON_ITER_HOLDS_ARRAY(&cursor) && bson_iter_recurse(&cursor, &batch))
		{
			while (bson_iter_next(&batch))
			{
				const uint8_t *data;
				uint32_t	size;

				bson_iter_document(&batch, &size, &data);
				(*events)++;
				*bytes += size;
			}
		}
	}
	return id;
}

/* Runs a command that answers with a cursor; counts its batch and returns the cursor's id. */
static int64_t
run(mongoc_client_t *client, const char *database, const bson_t *command, long *events, double *bytes)
{
	bson_t		reply;
	bson_error_t error;
	int64_t		id;

	if (!mongoc_client_command_simple(client, database, command, NULL, &reply, &error))
		fail("command", error.message);
	id = count(&reply, events, bytes);
	bson_destroy(&reply);
	return id;
}

/* The command that opens a change stream; its batches have no events yet. */
static bson_t *
change_stream(const char *collection, const char *seconds, const char *ordinal, const char *full_document)
{
	return BCON_NEW("aggregate", BCON_UTF8(collection),
					"pipeline", "[", "{", "$changeStream", "{", "startAtOperationTime",
					BCON_TIMESTAMP(strtoul(seconds, NULL, 10), strtoul(ordinal, NULL, 10)),
					"fullDocument", BCON_UTF8(full_document), "}", "}", "]",
					"cursor", "{", "batchSize", BCON_INT32(0), "}");
}

/* ---- over a socket of our own ---- */

static int
connect_to(const char *text)
{
	mongoc_uri_t *uri = mongoc_uri_new(text);
	const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri);
	struct addrinfo *found;
	char		port[8];
	int			fd;

	snprintf(port, sizeof(port), "%d", host->port);
	if (getaddrinfo(host->host, port, &(struct addrinfo) {.ai_socktype = SOCK_STREAM}, &found) != 0)
		fail("host", host->host);
	fd = socket(found->ai_family, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
		fail("connect", host->host);
	freeaddrinfo(found);
	mongoc_uri_destroy(uri);
	return fd;
}

static void
send_command(int fd, bson_t *command, const char *database, uint32_t flags)
{
	uint8_t		begin[MESSAGE_BEGIN] = {0};
	int32_t		header[4] = {0, 1, 0, OP_MSG};

	BSON_APPEND_UTF8(command, "$db", database);
	header[0] = MESSAGE_BEGIN + command->len;
	memcpy(begin, header, MESSAGE_HEAD);
	memcpy(begin + MESSAGE_HEAD, &flags, sizeof(flags));
	if (write(fd, begin, MESSAGE_BEGIN) != MESSAGE_BEGIN || write(fd, bson_get_data(command), command->len) != command->len)
		fail("write", "the connection broke");
	bson_destroy(command);
}

/* Reads a reply and counts its batch; returns the cursor's id, and whether another reply follows by itself. */
static int64_t
receive(int fd, long *events, double *bytes, int *more)
{
	static uint8_t *message = NULL;
	int32_t		header[4];
	uint32_t	flags;
	bson_t		reply;

	if (recv(fd, header, MESSAGE_HEAD, MSG_WAITALL) != MESSAGE_HEAD || header[0] < MESSAGE_BEGIN)
		fail("read", "the connection broke");
	message = realloc(message, header[0]);
	if (message == NULL || recv(fd, message + MESSAGE_HEAD, header[0] - MESSAGE_HEAD, MSG_WAITALL) != header[0] - MESSAGE_HEAD)
		fail("read", "the connection broke");
	memcpy(&flags, message + MESSAGE_HEAD, sizeof(flags));
	*more = (flags & MORE_TO_COME) != 0;
	if (!bson_init_static(&reply, message + MESSAGE_BEGIN, header[0] - MESSAGE_BEGIN))
		fail("reply", "no BSON");
	return count(&reply, events, bytes);
}

static void
drain_exhaust(const char *uri, const char *database, const char *collection, bson_t *command, long wanted, long *events, double *bytes)
{
	int			fd = connect_to(uri);
	int			more = 0;
	int64_t		cursor;

	send_command(fd, command, database, 0);
	cursor = receive(fd, events, bytes, &more);
	while (*events < wanted)
	{
		if (!more)
			send_command(fd, BCON_NEW("getMore", BCON_INT64(cursor), "collection", BCON_UTF8(collection), "batchSize", BCON_INT32(BATCH_SIZE)),
						 database, EXHAUST_ALLOWED);
		if (receive(fd, events, bytes, &more) == 0)
			fail("cursor", "closed by the server");
	}
	close(fd);
}

int
main(int argc, char **argv)
{
	mongoc_client_t *client;
	bson_t	   *command;
	int64_t		cursor;
	long		wanted,
				events = 0;
	double		bytes = 0,
				began;

	if (argc != 4 && argc != 7 && argc != 8)
		fail("usage", "drain URI DATABASE COLLECTION [SECONDS ORDINAL EVENTS [FULLDOCUMENT | exhaust]]");
	mongoc_init();
	client = mongoc_client_new(argv[1]);
	if (client == NULL)
		fail("uri", argv[1]);

	began = now();
	if (argc == 4)
	{
		/* replies as large as MongoDB makes them, and the state that a consumer could rely on */
		command = BCON_NEW("find", BCON_UTF8(argv[3]), "batchSize", BCON_INT32(INT32_MAX),
						   "readConcern", "{", "level", BCON_UTF8("majority"), "}");
		cursor = run(client, argv[2], command, &events, &bytes);
		bson_destroy(command);
		command = BCON_NEW("getMore", BCON_INT64(cursor), "collection", BCON_UTF8(argv[3]));
		while (cursor != 0)
			cursor = run(client, argv[2], command, &events, &bytes);
	}
	else if (argc == 8 && strcmp(argv[7], "exhaust") == 0)
	{
		drain_exhaust(argv[1], argv[2], argv[3], change_stream(argv[3], argv[4], argv[5], "default"), atol(argv[6]), &events, &bytes);
		command = bson_new();
	}
	else
	{
		wanted = atol(argv[6]);
		command = change_stream(argv[3], argv[4], argv[5], argc == 8 ? argv[7] : "default");
		cursor = run(client, argv[2], command, &events, &bytes);
		bson_destroy(command);
		command = BCON_NEW("getMore", BCON_INT64(cursor), "collection", BCON_UTF8(argv[3]), "batchSize", BCON_INT32(BATCH_SIZE));
		while (events < wanted)
			if (run(client, argv[2], command, &events, &bytes) == 0)
				fail("cursor", "closed by the server");
	}
	printf("{\"events\": %ld, \"bytes\": %.0f, \"seconds\": %.3f, \"cpu\": %.3f}\n", events, bytes, now() - began, cpu_seconds());
	bson_destroy(command);
	mongoc_client_destroy(client);
	mongoc_cleanup();
	return 0;
}
