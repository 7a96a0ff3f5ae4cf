/*
 * gateway/known_names.c
 *	  Answers to the question for names, kept for other sessions of the same role
 *	  in the same database.
 *
 * The question reads the catalogs, which may be large, and comes again and again.
 * One session asks it for all of its login then.  Whose session it is counts, by the
 * names that the client gave and the server has accepted: the answer says which
 * function is called with the client's rights.  Only clients whose encoding is UTF-8
 * share, as names come in that.  At its first statement a session asks
 * itself, so it knows what there is at that moment; and so does, from then on, one that
 * may have made what is its own, temporary tables for example.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <string.h>

#define LOGINS_MAX	64
#define ROW_MAX		(1024 * 1024)

typedef struct KnownNames
{
	Bytes		login;
	Bytes		row;
	int64_t		until;
} KnownNames;

static KnownNames known[LOGINS_MAX];

static bool
is_same(const Bytes *a, const Bytes *b)
{
	size_t		size = mcs_gateway_size(a);

	return size > 0 && size == mcs_gateway_size(b) && memcmp(mcs_gateway_at(a), mcs_gateway_at(b), size) == 0;
}

/* The answer for a login, and up to when it counts; NULL: there is none. */
const Bytes *
mcs_gateway_known_names(const Bytes *login, int64_t now, int64_t *until)
{
	for (int i = 0; i < LOGINS_MAX; i++)
		if (now < known[i].until && is_same(&known[i].login, login))
		{
			*until = known[i].until;
			return &known[i].row;
		}
	return NULL;
}

/* Keeps an answer, in the place of the login's last one, or of the oldest. */
void
mcs_gateway_keep_names(const Bytes *login, const Bytes *row, int64_t until)
{
	KnownNames *place = &known[0];

	if (mcs_gateway_size(login) == 0 || mcs_gateway_size(row) > ROW_MAX)
		return;
	for (int i = 0; i < LOGINS_MAX; i++)
	{
		if (is_same(&known[i].login, login))
		{
			place = &known[i];
			break;
		}
		if (known[i].until < place->until)
			place = &known[i];
	}
	mcs_gateway_clear(&place->login);
	mcs_gateway_clear(&place->row);
	mcs_gateway_add(&place->login, mcs_gateway_at(login), mcs_gateway_size(login));
	mcs_gateway_add(&place->row, mcs_gateway_at(row), mcs_gateway_size(row));
	place->until = place->login.broken || place->row.broken ? 0 : until;
}
