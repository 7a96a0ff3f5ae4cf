/*
 * stream/reason.c
 *	  Why a stream or a handler has no process, and what its process waits for.
 *
 * Asked by who looks at the status, when he looks: so it is true then, also
 * while the process that it is about can say nothing, because it waits or
 * because there is none.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "stream/stream_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_absence);

/* Whether a role may log in, so that a process can be connected as it is. */
static bool
may_log_in(Oid role)
{
#if PG_VERSION_NUM >= 170000
	return true;				/* processes need not: BGWORKER_BYPASS_ROLELOGINCHECK */
#else
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		may = true;

	if (HeapTupleIsValid(tuple))
	{
		may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	return may;
#endif
}

/* Whether a role may connect to this database. */
static bool
may_connect(Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
#else
	return pg_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

/*
 * What keeps processes from working as a role in this database: what PostgreSQL
 * would refuse at their start, in the same order.
 */
char *
mcs_reason_of_owner(Oid owner)
{
	const char *role;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		return psprintf("its owner, the role with the OID %u, does not exist any more: a superuser can drop the change stream", owner);
	role = quote_identifier(GetUserNameFromId(owner, false));
	if (!may_log_in(owner))
		return psprintf("its owner may not log in, which its process has to: ALTER ROLE %s LOGIN", role);
	if (!may_connect(owner))
		return psprintf("its owner may not connect to this database: GRANT CONNECT ON DATABASE %s TO %s",
						quote_identifier(get_database_name(MyDatabaseId)), role);
	return NULL;
}

/* ---- without a slot ---- */

/* Why the launcher has no slot for a stream or a handler of this database that shall run; it may just not have looked yet. */
static char *
without_slot(Oid owner, bool handler)
{
	SlotCount	count;
	char	   *reason = mcs_reason_of_owner(owner);

	if (reason)
		return reason;
	mcs_shared_count(MyDatabaseId, owner, handler, &count);
	if (!count.launcher)
		return pstrdup("the launcher is not running; PostgreSQL starts it again");
	if (!count.database && count.databases_full)
		return psprintf("the launcher serves %d databases and this is not among them: raise mongo_change_stream.max_databases and restart PostgreSQL",
						count.max_databases);
	if (count.limit > 0 && count.of_owner >= count.limit)
		return psprintf("%d of the role's %s run, the most that mongo_change_stream.%s allows", count.of_owner,
						handler ? "handlers' processes" : "change streams",
						handler ? "max_handlers_per_role" : "max_streams_per_role");
	if (count.taken >= count.slots)
		return psprintf("all %d slots for running %s are taken: raise mongo_change_stream.%s and restart PostgreSQL", count.slots,
						handler ? "handlers" : "change streams", handler ? "max_handlers" : "max_streams");
	return pstrdup("waiting for the launcher");
}

/*
 * change_stream_absence(owner oid, handler boolean, OUT state text, OUT reason
 * text): what a stream or handler of that owner is that shall run, and has no
 * slot in shared memory.
 */
Datum
mcs_change_stream_absence(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {0};
	StreamState state = STREAM_PAUSED;
	const char *reason;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (RecoveryInProgress())
		reason = "this server is a standby: change streams run on its primary, and here once it is promoted";
	else if (!mcs_shared_ready())
	{
		state = STREAM_STARTING;
		reason = "the library is not loaded at server start: add mongo_change_stream to shared_preload_libraries and restart PostgreSQL";
	}
	else if (!mcs_shared_enabled)
		reason = MCS_REASON_DISABLED;
	else
	{
		Oid			owner = PG_GETARG_OID(0);

		state = STREAM_STARTING;
		/* anybody can ask of any role: what it lacks, and how much it runs, is for those who may use it or watch all */
		if (has_privs_of_role(GetUserId(), owner) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
			has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA))
			reason = without_slot(owner, PG_GETARG_BOOL(1));
		else
			reason = "no process follows it now; its owner sees why";
	}
	values[0] = CStringGetTextDatum(mcs_shared_state_name(state));
	values[1] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- processes that wait ---- */

/* The relation whose lock a process waits for; InvalidOid where it is another kind of lock. */
static Oid
awaited_relation(int pid)
{
	/* a copy of the whole lock table: only asked for when somebody waits */
	LockData   *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->pid == pid && lock->waitLockMode != NoLock && lock->locktag.locktag_type == LOCKTAG_RELATION &&
			lock->locktag.locktag_field1 == MyDatabaseId)
			return lock->locktag.locktag_field2;
	}
	return InvalidOid;
}

/* The first process that stands before another: 0 where none does, or it is a prepared transaction. */
static int
blocker_of(int pid)
{
	int32	   *blockers;
	int			count = mcs_blockers_of(pid, &blockers);

	return count > 0 ? blockers[0] : 0;
}

static char *
of_lock(int pid)
{
	Oid			relation = awaited_relation(pid);
	int			blocker = blocker_of(pid);
	char	   *name = OidIsValid(relation) ? get_rel_name(relation) : NULL;
	char	   *who = blocker > 0 ? psprintf("process %d", blocker) : pstrdup("a prepared transaction or a process that is gone by now");

	if (name)
		return psprintf("waits for a lock on %s, which %s has or waits for", quote_identifier(name), who);
	return psprintf("waits for a row or another lock that %s has", who);
}

/*
 * What a process waits for that is not its ordinary work, palloc'ed, or NULL;
 * long_ago: its last sign of life is some time past, so it may be the disk.
 */
char *
mcs_reason_of_wait(int pid, uint32 wait_event, bool long_ago)
{
	if ((wait_event & 0xFF000000) == PG_WAIT_LOCK)
		return of_lock(pid);
	if (wait_event == WAIT_EVENT_SYNC_REP)
		return pstrdup("waits for a synchronous standby to confirm a commit (synchronous_standby_names)");
	if ((wait_event & 0xFF000000) == PG_WAIT_IO && long_ago)
		return psprintf("waits for the disk (%s)", pgstat_get_wait_event(wait_event));
	return NULL;
}
