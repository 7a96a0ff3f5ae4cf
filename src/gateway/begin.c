/*
 * gateway/begin.c
 *	  The packets before the first message: they have no type, and end with the
 *	  startup packet.
 *
 * TLS and GSSAPI encryption are refused as by a server that has none.  A cancel
 * request goes to the server as it is.  To a startup packet a setting is added,
 * by which the session knows how it came (ident.c).
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <string.h>

#define CODE_CANCEL		80877102
#define CODE_TLS		80877103
#define CODE_GSS		80877104

/* Whether a value of the parameter "replication" asks for a session that replicates. */
static bool
asks_for_replication(const char *value)
{
	static const char *const none[] = {"", "false", "off", "no", "0", "f", "n", NULL};

	for (int i = 0; none[i]; i++)
		if (strcmp(value, none[i]) == 0)
			return false;
	return true;
}

/* Reads the parameters of a startup packet; false where they aren't as they should be.  Of one that comes twice the last counts. */
static bool
read_parameters(Link *link, const char *at, const char *end)
{
	const char *user = "";
	const char *database = "";

	while (at < end && *at)
	{
		const char *value = memchr(at, 0, end - at);
		const char *stop = value ? memchr(value + 1, 0, end - value - 1) : NULL;

		if (!stop)
			return false;
		value++;
		if (strcmp(at, "replication") == 0)
			link->replication = asks_for_replication(value);
		else if (strcmp(at, "application_name") == 0)
			link->psql = strcmp(value, "psql") == 0;
		else if (strcmp(at, "user") == 0)
			user = value;
		else if (strcmp(at, "database") == 0)
			database = value;
		at = stop + 1;
	}
	mcs_gateway_add_string(&link->login, *database ? database : user);
	mcs_gateway_add_string(&link->login, user);
	return at == end - 1;
}

/* The startup packet itself. */
static void
take_startup(Link *link, const char *packet, size_t size)
{
	Bytes	   *out = &link->server.out;

	if (link->refused)
	{
		link->phase = LINK_LOGIN;
		mcs_gateway_refuse(link, link->refused_state, link->refused, link->refused_hint);
		return;
	}
	link->phase = LINK_LOGIN;
	/* the server says that it knows no such version; whatever it says, no packet goes behind this one without our setting */
	if (mcs_gateway_number(packet + 4) >> 16 != 3)
	{
		mcs_gateway_add(out, packet, size);
		return;
	}
	/* it might take one that is not as it should be, and then without our setting */
	if (!read_parameters(link, packet + 8, packet + size))
	{
		mcs_gateway_refuse(link, "08P01", "invalid startup packet layout", NULL);
		return;
	}
	if (size + sizeof(GATEWAY_SESSION_SETTING) + sizeof("on") > GATEWAY_PACKET_MAX)
	{
		mcs_gateway_refuse(link, "08P01", "the startup packet is too long for the gateway", NULL);
		return;
	}
	mcs_gateway_add_number(out, size + sizeof(GATEWAY_SESSION_SETTING) + sizeof("on"), 4);
	mcs_gateway_add(out, packet + 4, size - 5);
	mcs_gateway_add_string(out, GATEWAY_SESSION_SETTING);
	mcs_gateway_add_string(out, "on");
	mcs_gateway_add(out, "", 1);
}

/* Takes one packet of the client's, if it has come; true where there may be another. */
bool
mcs_gateway_take_packet(Link *link)
{
	Bytes	   *in = &link->client.in;
	const char *packet = mcs_gateway_at(in);
	size_t		came = mcs_gateway_size(in);
	uint32_t	size,
				code;

	if (came < 4)
		return false;
	size = mcs_gateway_number(packet);
	/* as the server does it: who says this does not speak the protocol */
	if (size < 8 || size > GATEWAY_PACKET_MAX)
	{
		link->dead = true;
		return false;
	}
	if (came < size)
	{
		link->client.wanted = size;
		return false;
	}
	link->client.wanted = 0;
	code = mcs_gateway_number(packet + 4);
	/* whatever is behind the code: the server does not look at that, either, and goes on */
	if (code == CODE_TLS || code == CODE_GSS)
		mcs_gateway_add(&link->client.out, "N", 1);
	else if (code == CODE_CANCEL)
	{
		mcs_gateway_add(&link->server.out, packet, size);
		link->phase = LINK_RAW;
	}
	else
		take_startup(link, packet, size);
	mcs_gateway_drop(in, size);
	return true;
}
