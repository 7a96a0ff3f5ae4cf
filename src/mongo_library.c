/*
 * mongo_library.c
 *	  libmongoc and libbson as guests of a PostgreSQL process: where they get
 *	  memory, where their log goes, and what they must not leave behind.
 */
#include "mongo_thread.h"

#include <malloc.h>
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mongo_far_side.h"

/* what the driver logged, until the near side asks */
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct
{
	bool		serious;
	char		message[256];
}			log_ring[16];
static int	log_first,
			log_count;

/* ---- memory ---- */

/*
 * libbson calls abort() when it gets no memory, which in a backend takes the
 * whole cluster down.  A driver's thread is parked instead.  PostgreSQL's own
 * thread can't be, and must not be left by a longjmp through the driver's
 * frames, so it has the driver allocate nothing but what mcs_library_prepare
 * takes, a few hundred bytes once in a process.  For these there is a reserve,
 * from which it never has to give anything back.  Other libraries of the process
 * that use libbson get the rest of the reserve, and then libbson's behaviour.
 */
static char reserve[16 * 1024] __attribute__((aligned(64)));
static size_t reserve_used;

static bool
in_reserve(const void *memory)
{
	return (const char *) memory >= reserve && (const char *) memory < reserve + sizeof(reserve);
}

/* Zeroed memory of the reserve; NULL when it is used up. */
static void *
from_reserve(size_t size)
{
	size_t		at;

	if (size > sizeof(reserve))
		return NULL;
	at = __atomic_fetch_add(&reserve_used, (size + 63) & ~(size_t) 63, __ATOMIC_SEQ_CST);
	return at <= sizeof(reserve) - size ? reserve + at : NULL;
}

/* What malloc and its relatives gave, or else, outside of the driver's threads, memory of the reserve. */
static void *
checked(void *memory, size_t size)
{
	if (unlikely(memory == NULL))
	{
		mcs_thread_out_of_memory();
		memory = from_reserve(size);
	}
	return memory;
}

static void *
driver_malloc(size_t size)
{
	return checked(malloc(size), size);
}

static void *
driver_calloc(size_t count, size_t size)
{
	void	   *memory = calloc(count, size);

	if (unlikely(memory == NULL) && size != 0 && count > SIZE_MAX / size)
		return NULL;
	return checked(memory, count * size);
}

static void *
driver_realloc(void *memory, size_t size)
{
	void	   *moved;

	if (unlikely(in_reserve(memory)))
	{
		moved = checked(malloc(size), size);
		if (moved != NULL)
			memcpy(moved, memory, Min(size, (size_t) (reserve + sizeof(reserve) - (char *) memory)));
		return moved;
	}
	moved = realloc(memory, size);
	if (unlikely(moved == NULL))
	{
		moved = checked(NULL, size);
		if (moved != NULL && memory != NULL)
		{
			memcpy(moved, memory, Min(size, malloc_usable_size(memory)));
			free(memory);
		}
	}
	return moved;
}

static void *
driver_aligned_alloc(size_t alignment, size_t size)
{
	return checked(aligned_alloc(alignment, size), size);
}

static void
driver_free(void *memory)
{
	if (!in_reserve(memory))
		free(memory);
}

/* ---- log ---- */

/* Keeps what libmongoc logs until the near side asks; what is too much is dropped. */
static void
log_message(mongoc_log_level_t level, const char *domain, const char *message, void *arg)
{
	if (level == MONGOC_LOG_LEVEL_TRACE)
		return;
	pthread_mutex_lock(&log_mutex);
	if (log_count < lengthof(log_ring))
	{
		int			place = (log_first + log_count++) % lengthof(log_ring);

		/* that a session could not be ended is no news after its connection was broken off */
		log_ring[place].serious = level <= MONGOC_LOG_LEVEL_WARNING && strstr(message, "endSessions") == NULL;
		bson_snprintf(log_ring[place].message, sizeof(log_ring[place].message), "%s: %s", domain, message);
		for (char *c = log_ring[place].message; *c; c++)
			if ((unsigned char) *c >= 0x80 || (unsigned char) *c < 0x20)
				*c = '?';
	}
	pthread_mutex_unlock(&log_mutex);
}

/* Takes the oldest message out of the log; false if there is none. */
bool
mcs_library_log_take(bool *serious, char *message, Size size)
{
	bool		found;

	pthread_mutex_lock(&log_mutex);
	found = log_count > 0;
	if (found)
	{
		*serious = log_ring[log_first].serious;
		bson_strncpy(message, log_ring[log_first].message, size);
		log_first = (log_first + 1) % lengthof(log_ring);
		log_count--;
	}
	pthread_mutex_unlock(&log_mutex);
	return found;
}

/* ---- set-up ---- */

/*
 * libmongoc keeps counters in a file of shared memory named after the process,
 * for a monitor that nobody here runs.  A process that is killed would leave
 * it behind, so its name goes at once; the mapping stays.
 */
static void
unlink_counters(void)
{
	char		name[32];

	bson_snprintf(name, sizeof(name), "/mongoc-%d", (int) getpid());
	(void) shm_unlink(name);
}

/* At load of the library: nothing of libmongoc has been used yet but its constructor. */
void
mcs_library_load(void)
{
	static const bson_mem_vtable_t vtable = {
		.malloc = driver_malloc,
		.calloc = driver_calloc,
		.realloc = driver_realloc,
		.free = driver_free,
		.aligned_alloc = driver_aligned_alloc,
	};

	bson_mem_set_vtable(&vtable);
	mongoc_log_set_handler(log_message, NULL);
	unlink_counters();
}

/* Before the first thread of a process: platform tells MongoDB's log what we are. */
void
mcs_library_prepare(const char *platform)
{
	mongoc_init();				/* done already up to 1.30, up to us from 2.0 on */
	unlink_counters();
	(void) mongoc_handshake_data_append("mongo_change_stream", "1.1", platform);
}
