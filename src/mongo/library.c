/*
 * mongo/library.c
 *	  libmongoc and libbson as guests of a PostgreSQL process: where they get
 *	  memory, where their log goes, what an assertion of theirs costs, and what
 *	  they must not leave behind.  Called by every thread, so it obeys the rules of
 *	  the driver's.
 */
#include "mongo/mongo.h"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

/* what the driver logged, until the backend asks; several threads may log */
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
		mcs_thread_park(ERRCODE_OUT_OF_MEMORY, "out of memory");
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

	/* no such size exists: not a lack of memory */
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
		/* how large it was is not known; all that is left of the reserve may be read */
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

/* Keeps what libmongoc logs until the backend asks; what is too much is dropped. */
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
		/* of unknown encoding, and for PostgreSQL's log: one line of ASCII */
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

/* ---- assertions ---- */

/*
 * libmongoc and libbson assert by abort(), much of it about what a server sent.
 * mongo/reply.c keeps from them what they are known to trip over; should they
 * trip over something else, only the thread is lost (parked), not the cluster.
 *
 * That must not hide a damaged heap or stack, for which the C library calls
 * abort(), too: so the thread is parked only where the frame right above abort()
 * is the driver's own code.  Where that can't be told, the process dies as it
 * would have without this.
 */
static struct
{
	uintptr_t	from;
	uintptr_t	to;
}			driver_code[8];
static int	driver_code_count;
static uintptr_t abort_function;
static struct sigaction abort_before;

/* For dl_iterate_phdr: notes where the driver's libraries have their code. */
static int
note_driver_code(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *slash = strrchr(info->dlpi_name, '/');
	const char *name = slash == NULL ? info->dlpi_name : slash + 1;

	if (strncmp(name, "libmongoc", 9) != 0 && strncmp(name, "libbson", 7) != 0)
		return 0;
	for (int i = 0; i < info->dlpi_phnum && driver_code_count < lengthof(driver_code); i++)
	{
		const		ElfW(Phdr) * header = &info->dlpi_phdr[i];

		if (header->p_type != PT_LOAD || (header->p_flags & PF_X) == 0)
			continue;
		driver_code[driver_code_count].from = info->dlpi_addr + header->p_vaddr;
		driver_code[driver_code_count].to = info->dlpi_addr + header->p_vaddr + header->p_memsz;
		driver_code_count++;
	}
	return 0;
}

/* What a walk up the stack looks for: whether the frame above abort() is the driver's. */
typedef struct AbortCaller
{
	bool		in_abort;		/* the frame before was abort() */
	bool		is_driver;
} AbortCaller;

static _Unwind_Reason_Code
look_at_frame(struct _Unwind_Context *context, void *arg)
{
	AbortCaller *caller = arg;
	uintptr_t	place = _Unwind_GetIP(context) - 1;	/* the call, not what follows it */

	if (!caller->in_abort)
	{
		caller->in_abort = (uintptr_t) _Unwind_GetRegionStart(context) == abort_function;
		return _URC_NO_REASON;
	}
	for (int i = 0; i < driver_code_count; i++)
		caller->is_driver |= place >= driver_code[i].from && place < driver_code[i].to;
	return _URC_END_OF_STACK;
}

/* The handler of SIGABRT. */
static void
on_abort(int signo, siginfo_t *info, void *arg)
{
	AbortCaller caller = {false, false};

	/* raised by the thread itself, so it stands at a known place: within abort() */
	if (info->si_code == SI_TKILL && info->si_pid == getpid())
		(void) _Unwind_Backtrace(look_at_frame, &caller);
	if (caller.is_driver)
		mcs_thread_park(ERRCODE_INTERNAL_ERROR,
						"an assertion of libmongoc failed; the server's log has its words");

	/* whatever else it is: as if there were no handler */
	(void) sigaction(SIGABRT, &abort_before, NULL);
	(void) raise(signo);
}

/* Puts the handler in place. */
static void
catch_assertions(void)
{
	struct sigaction action = {.sa_sigaction = on_abort,.sa_flags = SA_SIGINFO};
	AbortCaller nobody = {false, false};
	void	   *function = dlsym(RTLD_DEFAULT, "abort");

	/* without its address the caller of abort() can't be told: then there is no handler */
	abort_function = (uintptr_t) function;
	if (function == NULL)
		return;
	(void) dl_iterate_phdr(note_driver_code, NULL);
	(void) _Unwind_Backtrace(look_at_frame, &nobody);	/* what it loads and allocates, it does now */
	/* for the process: threads have no handlers of their own; PostgreSQL has none for SIGABRT */
	sigemptyset(&action.sa_mask);
	(void) sigaction(SIGABRT, &action, &abort_before);
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
mcs_mongo_init(void)
{
	static const bson_mem_vtable_t vtable = {
		.malloc = driver_malloc,
		.calloc = driver_calloc,
		.realloc = driver_realloc,
		.free = driver_free,
		.aligned_alloc = driver_aligned_alloc,
	};

	/* before libbson allocates anything that it will free by this table */
	bson_mem_set_vtable(&vtable);
	mongoc_log_set_handler(log_message, NULL);
	unlink_counters();
}

/* Before the first thread of a process: platform tells MongoDB's log what we are. */
void
mcs_library_prepare(const char *platform)
{
	mongoc_init();				/* done already up to 1.30, up to us from 2.0 on */
	unlink_counters();			/* again, for those that mongoc_init makes */
	catch_assertions();
	(void) mongoc_handshake_data_append("mongo_change_stream", "1.1", platform);
}
