/*
 * mongo/session.h
 *	  What mongo/session.c and mongo/cursor.c share: the near side of a session.
 */
#ifndef MCS_MONGO_SESSION_H
#define MCS_MONGO_SESSION_H

#include "mongo/thread.h"

#include "lib/ilist.h"

struct MongoSession
{
	dlist_node	node;			/* in the list of all sessions of the process */
	MemoryContext context;		/* the session's own */
	MemoryContextCallback callback;
	DriverThread *thread;
	bool		in_command;
	int64		give_up_at;		/* 0: never */
	bool		(*stop) (void); /* NULL: nothing ends a wait early */
	MongoCursor *cursor;		/* NULL: none open */

	/* looking whether the thread hangs */
	int64		gone_since;		/* as of the last look */
	int64		looked_at;
	int			gone_looks;		/* a second apart, in a row, that found it so */
	bool		hangs;			/* given up */

	/* of sessions in the backend's cache */
	bool		cached;
	bool		outdated;		/* to be closed when nobody uses it */
	Oid			serverid;
	Oid			userid;
	Oid			umid;
	uint32		server_hash;
	uint32		mapping_hash;
};

typedef enum SessionWait
{
	SESSION_REPLY,
	SESSION_FAILED,
	SESSION_TIMEOUT,
	SESSION_LATCH
} SessionWait;

extern SessionWait mcs_session_wait(MongoSession *session, long timeout_ms, bool latch_ends,
									DriverReply **reply, MongoError *error);
extern void mcs_session_check_idle(const MongoSession *session);
extern void mcs_cursor_orphan(MongoCursor *cursor);
extern MongoReply *mcs_session_hold_reply(DriverReply *driver, MemoryContext *context);

#endif							/* MCS_MONGO_SESSION_H */
