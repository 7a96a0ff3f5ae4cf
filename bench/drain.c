/*
 * drain.c
 *	  Reads change events, or documents, with bare libmongoc and throws them away:
 *	  the limit of what can be reached over one cursor.
 *
 *	  drain URI DATABASE COLLECTION SECONDS ORDINAL EVENTS [FULLDOCUMENT]
 *	  drain URI DATABASE COLLECTION
 *
 * The first starts at the cluster time SECONDS, ORDINAL and ends after that many
 * events, whose option fullDocument may be given; the second reads all documents
 * that there are.  Both print how many they read, their bytes, the seconds it took
 * and their own CPU seconds.
 */
#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define BATCH_SIZE 1000

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

/* Runs a command that answers with a cursor; counts its batch and returns the cursor's id. */
static int64_t
run(mongoc_client_t *client, const char *database, const bson_t *command, long *events, double *bytes)
{
	bson_t		reply;
	bson_error_t error;
	bson_iter_t top,
				cursor,
				batch;
	int64_t		id = 0;

	if (!mongoc_client_command_simple(client, database, command, NULL, &reply, &error))
		fail("command", error.message);
	if (!bson_iter_init_find(&top, &reply, "cursor") || !bson_iter_recurse(&top, &cursor))
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
	bson_destroy(&reply);
	return id;
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
		fail("usage", "drain URI DATABASE COLLECTION [SECONDS ORDINAL EVENTS [FULLDOCUMENT]]");
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
	else
	{
		wanted = atol(argv[6]);
		command = BCON_NEW("aggregate", BCON_UTF8(argv[3]),
						   "pipeline", "[", "{", "$changeStream", "{", "startAtOperationTime",
						   BCON_TIMESTAMP(strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10)),
						   "fullDocument", BCON_UTF8(argc == 8 ? argv[7] : "default"), "}", "}", "]",
						   "cursor", "{", "batchSize", BCON_INT32(0), "}");
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
