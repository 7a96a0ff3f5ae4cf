/*
 * mongo/cache.c
 *	  The sessions that a backend keeps between statements, for functions and
 *	  foreign tables: to connect and to authenticate takes longer than most of
 *	  what is asked.
 *
 * Keyed by user mapping, so that whose credentials made a session is whom it
 * serves, or by server and role where there is no mapping.  A session that
 * somebody uses (a command under way, a cursor open) is not handed out again.
 */
#include "mongo/mongo_internal.h"

#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define MAX_IDLE			3	/* sessions of one kind that are kept for who uses several at once */

static dlist_head cached_sessions = DLIST_STATIC_INIT(cached_sessions);

/*
 * A server or a mapping has changed: sessions made from it serve no longer.  They
 * are only marked, since invalidations come in the middle of anything, and a
 * session may be in use just then.
 */
static void
invalidate_sessions(Datum arg, int cacheid, uint32 hashvalue)
{
	dlist_iter	iter;

	dlist_foreach(iter, &cached_sessions)
	{
		MongoSession *session = dlist_container(MongoSession, cache_node, iter.cur);

		/* hashvalue 0: anything may have changed */
		if (hashvalue == 0 ||
			hashvalue == (cacheid == FOREIGNSERVEROID ? session->server_hash : session->mapping_hash))
			session->outdated = true;
	}
}

/* A session of the backend's cache that nobody uses. */
MongoSession *
mcs_cache_session(const MongoTarget *target)
{
	static bool registered = false;
	MongoSession *found = NULL;
	MemoryContext before;
	dlist_mutable_iter iter;
	int			idle = 0;

	/* before anything else: a session that was opened may be one that the role has lost the right to */
	mcs_mongo_check_identity(target);
	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_sessions, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, invalidate_sessions, (Datum) 0);
		registered = true;
	}

	dlist_foreach_modify(iter, &cached_sessions)
	{
		MongoSession *session = dlist_container(MongoSession, cache_node, iter.cur);

		if (session->in_command || session->cursor != NULL)
			continue;
		if (session->outdated)
			mcs_session_close(session);
		else if (session->serverid == target->serverid && session->umid == target->umid &&
				 (OidIsValid(target->umid) || session->userid == target->userid))
		{
			/* a query that read many tables is over */
			if (++idle > MAX_IDLE)
				mcs_session_close(session);
			else
				found = session;
		}
	}
	if (found != NULL)
		return found;

	/* it outlives the statement, and the transaction */
	before = MemoryContextSwitchTo(TopMemoryContext);
	found = mcs_session_open(target, "session");
	MemoryContextSwitchTo(before);
	found->cached = true;
	dlist_push_tail(&cached_sessions, &found->cache_node);
	found->serverid = target->serverid;
	found->userid = target->userid;
	found->umid = target->umid;
	found->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(target->serverid));
	found->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID, ObjectIdGetDatum(target->umid));
	return found;
}
