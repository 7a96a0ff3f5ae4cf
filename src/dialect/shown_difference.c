/*
 * dialect/shown_difference.c
 *	  Differences of documents as text that a client of the gateway reads.
 *
 * Whether a difference is one of dates or of numbers is known only where it is
 * computed, which may be far below the column that shows it: in a CTE, under a GROUP
 * BY, before a sort.  The planner knows which subtractions a column comes from, by
 * their places in the query's text (dialect/duration.c), and puts them into the call
 * that shows the column.  Each subtraction of dates is noted with its place, from then
 * on, for the portal that runs; and the call looks whether one of its own was.  What
 * runs in DO has the same without a call, by its receiver (dialect/result.c).
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "lib/ilist.h"
#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "tcop/pquery.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_shown);
PG_FUNCTION_INFO_V1(mcs_change_stream_shown_support);

/* Where a portal's statement has subtracted dates; in the portal's memory. */
typedef struct PortalDifferences
{
	dlist_node	node;
	Portal		portal;
	int			count;
	int			locations[DOCUMENT_MAX_DIFFERENCES];
	MemoryContextCallback callback;
} PortalDifferences;

static dlist_head portals = DLIST_STATIC_INIT(portals);

static void
forget_portal(void *arg)
{
	dlist_delete(&((PortalDifferences *) arg)->node);
}

/* What is noted for the portal that runs; NULL: nothing yet. */
static PortalDifferences *
find_portal(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &portals)
	{
		PortalDifferences *differences = dlist_container(PortalDifferences, node, iter.cur);

		if (differences->portal == ActivePortal)
			return differences;
	}
	return NULL;
}

static bool
is_noted(const PortalDifferences *differences, int location)
{
	for (int i = 0; i < differences->count; i++)
		if (differences->locations[i] == location)
			return true;
	return false;
}

/* Notes a subtraction of dates. */
static void
note(int location)
{
	PortalDifferences *differences = find_portal();

	if (!differences && ActivePortal)
	{
		differences = MemoryContextAllocZero(ActivePortal->portalContext, sizeof(PortalDifferences));
		differences->portal = ActivePortal;
		differences->callback.func = forget_portal;
		differences->callback.arg = differences;
		dlist_push_head(&portals, &differences->node);
		MemoryContextRegisterResetCallback(ActivePortal->portalContext, &differences->callback);
	}
	if (differences && differences->count < DOCUMENT_MAX_DIFFERENCES && !is_noted(differences, location))
		differences->locations[differences->count++] = location;
}

/*
 * change_stream_shown(document, int[]) -> text: as document_text_lenient, but a
 * number of milliseconds as the interval that it is, if one of the subtractions at
 * these places of the statement's text was of dates.
 */
Datum
mcs_change_stream_shown(PG_FUNCTION_ARGS)
{
	ArrayType  *places = PG_GETARG_ARRAYTYPE_P(1);
	PortalDifferences *differences = find_portal();
	int			count = ARR_HASNULL(places) ? 0 : ArrayGetNItems(ARR_NDIM(places), ARR_DIMS(places));

	if (differences && count > 0 && DOCUMENT_TYPE(PG_GETARG_DOCUMENT_P(0)) == DOCUMENT_INT64)
		for (int i = 0; i < count; i++)
			if (is_noted(differences, ((int32 *) ARR_DATA_PTR(places))[i]))
				PG_RETURN_TEXT_P(cstring_to_text(mcs_duration_text(PG_GETARG_DATUM(0))));
	return mcs_document_text_lenient(fcinfo);
}

/* The planner's question for a simpler call: the same with the places that are known now. */
Datum
mcs_change_stream_shown_support(PG_FUNCTION_ARGS)
{
	SupportRequestSimplify *request = (SupportRequestSimplify *) PG_GETARG_POINTER(0);
	DocumentDifferences differences;
	Datum		places[DOCUMENT_MAX_DIFFERENCES];
	FuncExpr   *call;

	if (!IsA(request, SupportRequestSimplify) || request->root == NULL || list_length(request->fcall->args) != 2)
		PG_RETURN_POINTER(NULL);
	mcs_duration_places(request->root->parse, linitial(request->fcall->args), &differences);
	if (differences.count == 0)
		PG_RETURN_POINTER(NULL);
	for (int i = 0; i < differences.count; i++)
		places[i] = Int32GetDatum(differences.locations[i]);
	mcs_document_on_difference = note;
	call = makeNode(FuncExpr);
	*call = *request->fcall;
	call->args = list_make2(linitial(request->fcall->args),
							makeConst(INT4ARRAYOID, -1, InvalidOid, -1,
									  PointerGetDatum(construct_array(places, differences.count, INT4OID, sizeof(int32), true, TYPALIGN_INT)),
									  false, false));
	PG_RETURN_POINTER(call);
}
