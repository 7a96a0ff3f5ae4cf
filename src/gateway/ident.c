/*
 * gateway/ident.c
 *	  Refuses the method ident to who comes through the gateway.
 *
 * With it, PostgreSQL asks this machine whose the client's connection is.  One
 * that comes through the gateway is the gateway's, whose user is PostgreSQL's own,
 * whoever is behind it: a stranger would be let in as that one.  All other methods
 * ask the client itself.  The gateway says in the startup packet that a session is
 * its client's; a client that says so itself only refuses itself more.
 */
#include "mongo_change_stream.h"

/* its headers are not everywhere; PostgreSQL's structs have the same layout without them */
#undef ENABLE_GSS

#include "libpq/auth.h"
#include "libpq/hba.h"
#include "libpq/libpq-be.h"

#include "gateway/gateway_internal.h"

static ClientAuthentication_hook_type next_hook = NULL;

/* Whether the startup packet has the gateway's setting. */
static bool
came_through_gateway(const Port *port)
{
	ListCell   *cell;

	/* names and values in turn */
	foreach(cell, port->guc_options)
	{
		if (pg_strcasecmp(lfirst(cell), GATEWAY_SESSION_SETTING) == 0)
			return true;
		cell = lnext(port->guc_options, cell);
		if (cell == NULL)
			break;
	}
	return false;
}

/* Called when a client is known, or is not. */
static void
check_method(Port *port, int status)
{
	if (next_hook)
		next_hook(port, status);
	if (status == STATUS_OK && port->hba && port->hba->auth_method == uaIdent && came_through_gateway(port))
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the authentication method ident cannot be used through the gateway"),
				 errdetail("An ident server knows whose the gateway is, not who its client is."),
				 errhint("Connect to the server's own port, or let pg_hba.conf ask for a password (scram-sha-256) from 127.0.0.1 and ::1.")));
}

/* At load, where there is a gateway. */
void
mcs_gateway_ident_init(void)
{
	next_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = check_method;
}
