/*
 * projection/command.c
 *	  The functions that make and change projections.
 *
 * A projection is its view's owner's: who may refresh the view may say how it is
 * refreshed.  Definitions are written, and at commit its process and the launcher
 * are told.
 */
#include "mongo_change_stream.h"

#include "access/relation.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "projection/projection_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(mcs_create_change_projection);
PG_FUNCTION_INFO_V1(mcs_alter_change_projection);
PG_FUNCTION_INFO_V1(mcs_pause_change_projection);
PG_FUNCTION_INFO_V1(mcs_resume_change_projection);
PG_FUNCTION_INFO_V1(mcs_drop_change_projection);
PG_FUNCTION_INFO_V1(mcs_change_projection_follow);

/* ---- the view ---- */

/* Raises unless the caller is an owner of a materialized view, or of what has its role. */
static void
check_view(Relation view)
{
	if (view->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", RelationGetRelationName(view)),
				 errhint("A view shows what is there at each look, and needs no refresh; a mirror (create_change_mirror) is a table.")));
	if (view->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a temporary materialized view cannot be a projection")));
	if (!has_privs_of_role(GetUserId(), view->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of materialized view %s", RelationGetRelationName(view))));
}

/* Before 17 a background worker cannot be a role that may not log in; NULL where the owner can. */
static char *
why_not_as(Oid owner)
{
#if PG_VERSION_NUM < 170000
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	bool		can_login = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!can_login)
		return psprintf("role \"%s\" may not log in", GetUserNameFromId(owner, false));
#endif
	return NULL;
}

/* The name of the view that the first argument is, which stays locked until the transaction ends, so that it is neither dropped nor renamed. */
static char *
view_argument(FunctionCallInfo fcinfo, Oid *owner)
{
	Relation	view;
	char	   *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("view_name must not be null")));
	view = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", PG_GETARG_OID(0))));
	check_view(view);
	*owner = view->rd_rel->relowner;
	name = mcs_base_kept_name(get_namespace_name(RelationGetNamespace(view)), RelationGetRelationName(view));
	relation_close(view, NoLock);
	return name;
}

/* The projection that the first argument names, its row locked. */
static ChangeProjection *
load_own(FunctionCallInfo fcinfo, const char *function)
{
	Oid			owner;
	char	   *name;

	PreventCommandIfReadOnly(function);
	name = view_argument(fcinfo, &owner);
	return mcs_projections_load(name, true, false);
}

/* ---- create ---- */

/* The names of streams, as a message lists them. */
static char *
list_of_names(List *names)
{
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, names)
		appendStringInfo(&list, "%s%s", list.len ? ", " : "", (char *) lfirst(cell));
	return list.data;
}

/* Looks for what a view shows; nothing is not enough to be refreshed after. */
static void
find_sources(const ChangeProjection *projection)
{
	if (mcs_projections_find_sources(projection->name, InvalidOid) == 0 && projection->every == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("materialized view %s shows nothing that a change stream brings", projection->name),
				 errdetail("It reads neither change_stream_events nor an event store, a mirror or another projection, as far as its definition says."),
				 errhint("Name the change streams (streams => '{orders}'), or refresh it at intervals (refresh => '5 minutes').")));
}

static void
tell_if_not_preloaded(const char *name)
{
	if (!mcs_shared_ready())
		ereport(WARNING,
				(errmsg("materialized view %s will not be refreshed", name),
				 errdetail("The process that does it needs the library to be loaded when the server starts."),
				 errhint("Add '%s' to shared_preload_libraries and restart the server.", MCS_EXTENSION)));
}

/* create_change_projection(regclass, ...) -> void */
Datum
mcs_create_change_projection(PG_FUNCTION_ARGS)
{
	ChangeProjection *projection = palloc0(sizeof(ChangeProjection));
	Arguments	arguments;
	OptionChanges *options;
	Oid			owner;
	char	   *reason;

	PreventCommandIfReadOnly("create_change_projection()");
	projection->name = view_argument(fcinfo, &owner);
	reason = why_not_as(owner);
	if (reason)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("materialized view %s cannot be refreshed by a process", projection->name),
				 errdetail("It is refreshed as its owner, and before PostgreSQL 17 that takes the right to log in: %s.", reason),
				 errhint("ALTER ROLE %s LOGIN;", quote_identifier(GetUserNameFromId(owner, false)))));
	mcs_argument_begin(&arguments, fcinfo);
	options = mcs_argument_options(&arguments, &mcs_options_projection);
	mcs_argument_reset_others(options);
	mcs_projection_change_options(projection, options);
	projection->settings = mcs_owner_capture_settings();
	if (!mcs_projections_insert(projection))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("materialized view %s is a projection already", projection->name),
				 errhint("SELECT alter_change_projection(%s, ...);", quote_literal_cstr(projection->name))));
	find_sources(projection);
	tell_if_not_preloaded(projection->name);
	mcs_wake_projections_at_commit();
	PG_RETURN_VOID();
}

/*
 * change_projection_follow(regclass) -> void: of a materialized view that was made
 * in the dialect, by whoever may make one, whether it can be a projection or not.
 */
Datum
mcs_change_projection_follow(PG_FUNCTION_ARGS)
{
	ChangeProjection *projection = palloc0(sizeof(ChangeProjection));
	Oid			owner;
	List	   *streams;

	PreventCommandIfReadOnly("change_projection_follow()");
	projection->name = view_argument(fcinfo, &owner);
	if (why_not_as(owner) || !mcs_shared_ready() || mcs_projections_load(projection->name, false, true))
		PG_RETURN_VOID();
	for (int i = 0; i < mcs_options_projection.count; i++)
		mcs_options_reset(&mcs_options_projection.options[i], projection);
	projection->settings = mcs_owner_capture_settings();
	if (!mcs_projections_insert(projection))
		PG_RETURN_VOID();
	if (mcs_projections_find_sources(projection->name, InvalidOid) == 0)
	{
		mcs_projections_delete(projection->name);
		PG_RETURN_VOID();
	}
	streams = mcs_projections_source_streams(projection->name);
	ereport(NOTICE,
			(errmsg("materialized view %s is refreshed after changes", projection->name),
			 streams != NIL ? errdetail("It shows what these change streams bring: %s.", list_of_names(streams)) : 0,
			 errhint("WITH (refresh = '5 minutes') does it at intervals, WITH (refresh = 'manual') leaves it to you; change_projection_status shows how it is.")));
	mcs_wake_projections_at_commit();
	PG_RETURN_VOID();
}

/* ---- alter, pause, resume, drop ---- */

/* alter_change_projection(regclass, ...) -> void */
Datum
mcs_alter_change_projection(PG_FUNCTION_ARGS)
{
	ChangeProjection *projection = load_own(fcinfo, "alter_change_projection()");
	Arguments	arguments;
	OptionChanges *options;

	mcs_argument_begin(&arguments, fcinfo);
	options = mcs_argument_options(&arguments, &mcs_options_projection);
	mcs_argument_reset(&arguments, options);
	mcs_projection_change_options(projection, options);
	mcs_projections_update(projection);
	find_sources(projection);
	/* what has failed was another definition */
	mcs_projections_forget_failures(projection->name);
	mcs_wake_projections_at_commit();
	PG_RETURN_VOID();
}

/* pause_change_projection(regclass) -> void: a refresh that is under way is let come to its end */
Datum
mcs_pause_change_projection(PG_FUNCTION_ARGS)
{
	ChangeProjection *projection = load_own(fcinfo, "pause_change_projection()");

	mcs_projections_pause(projection->name);
	mcs_wake_projections_at_commit();
	PG_RETURN_VOID();
}

/* resume_change_projection(regclass) -> void */
Datum
mcs_resume_change_projection(PG_FUNCTION_ARGS)
{
	ChangeProjection *projection = load_own(fcinfo, "resume_change_projection()");

	mcs_projections_resume(projection->name);
	mcs_projections_forget_failures(projection->name);
	mcs_wake_projections_at_commit();
	PG_RETURN_VOID();
}

/* drop_change_projection(regclass) -> void */
Datum
mcs_drop_change_projection(PG_FUNCTION_ARGS)
{
	ChangeProjection *projection = load_own(fcinfo, "drop_change_projection()");

	mcs_projections_delete(projection->name);
	mcs_wake_projections_at_commit();
	PG_RETURN_VOID();
}
