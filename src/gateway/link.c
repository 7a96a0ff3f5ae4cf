/*
 * gateway/link.c
 *	  A client and its connection to the server: reading, writing, ending.
 *
 * The server is connected to at once, so that a client who says nothing is the
 * server's to wait for (authentication_timeout), and counts as any does.
 *
 * What is read is dealt with in steps, until neither side has anything that can
 * go on.  No more is read from a side while the other one has GATEWAY_OUT_MAX
 * bytes that it does not take.
 *
 * The end of one side's sending is passed on when all before it has been.  A
 * client that is told of an error of ours, or by the server of its end, gets time
 * to read it: a socket that is closed with bytes unread would tell it nothing.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_MAX	(64 * 1024)
#define CLOSE_MS	2000		/* for a client to close, too, when it has been told all */
#define UNREAD_MS	60000		/* for it to take some of what it has not been told yet */
#define REFUSED_S	60			/* the log says so often that the server can't be connected to */

static const char refused_hint[] = "It connects to 127.0.0.1 and ::1: listen_addresses must have one of them.";

static void
close_side(Side *side)
{
	if (side->file >= 0)
		close(side->file);
	side->file = -1;
	side->connecting = false;
}

/* What sockets of both sides have alike. */
static void
set_options(int file)
{
	int			on = 1;

	(void) setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void) setsockopt(file, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* A client that was accepted; NULL where there is no memory. */
Link *
mcs_gateway_open_link(int file, bool on_ipv6)
{
	Link	   *link = calloc(1, sizeof(Link));

	if (!link)
		return NULL;
	link->client.link = link->server.link = link;
	link->client.file = file;
	link->server.file = -1;
	link->on_ipv6 = on_ipv6;
	link->status = 'I';
	set_options(file);
	return link;
}

/* Begins to connect to the server by the loopback address of one family; false where that fails at once. */
static bool
connect_by(Link *link, bool ipv6, int port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,.sin_port = htons(port),.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,.sin6_port = htons(port),.sin6_addr = in6addr_loopback};
	Side	   *server = &link->server;
	int			result;

	server->registered = false;
	server->file = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->file < 0)
		return false;
	set_options(server->file);
	result = connect(server->file, ipv6 ? (struct sockaddr *) &v6 : (struct sockaddr *) &v4, ipv6 ? sizeof(v6) : sizeof(v4));
	server->connecting = result != 0;
	if (result != 0 && errno != EINPROGRESS)
	{
		close_side(server);
		return false;
	}
	return true;
}

/* Connects to the server, at first by the address that the client has chosen. */
void
mcs_gateway_connect(Link *link, int port)
{
	static time_t told_at = 0;

	errno = 0;
	while (link->tried < 2)
		if (connect_by(link, link->on_ipv6 ^ (link->tried++ == 1), port))
			return;
	if (errno == EMFILE || errno == ENFILE)
	{
		mcs_gateway_refuse(link, "53300", "the gateway has too many clients", "Try again later; its limit is that of open files (ulimit -n).");
		mcs_gateway_report_no_files();
	}
	else
	{
		mcs_gateway_refuse(link, "08001", "the gateway could not connect to the server's own port", refused_hint);
		if (time(NULL) - told_at > REFUSED_S)
			mcs_gateway_report(refused_hint, "the gateway could not connect to the server's own port, %d", port);
		told_at = time(NULL);
	}
}

/* Reads once; an error is the end of its sending, too. */
static void
read_side(Side *side)
{
	static char room[READ_MAX];
	ssize_t		size = recv(side->file, room, sizeof(room), 0);

	if (size > 0)
		mcs_gateway_add(&side->in, room, size);
	else if (size == 0)
		side->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
	{
		side->ended = true;
		/* who can't be read from any more is not there */
		if (side == &side->link->client)
			side->link->dead = true;
	}
}

/* Writes what it takes; true where that was something. */
static bool
write_side(Side *side)
{
	size_t		size = mcs_gateway_size(&side->out);
	ssize_t		written;

	if (size == 0 || side->connecting)
		return false;
	/* nobody is there: it is no more than thrown away */
	written = side->file < 0 || side->shut ? (ssize_t) size : send(side->file, mcs_gateway_at(&side->out), size, MSG_NOSIGNAL);
	if (written < 0 && errno != EAGAIN && errno != EINTR)
	{
		if (side == &side->link->client)
			side->link->dead = true;
		/* the server may have said why, which is still to be read */
		side->shut = true;
		written = size;
	}
	if (written <= 0)
		return false;
	mcs_gateway_drop(&side->out, written);
	return true;
}

/* Tells a side that nothing more comes. */
static void
shut_side(Side *side)
{
	if (side->file >= 0 && !side->shut)
		(void) shutdown(side->file, SHUT_WR);
	side->shut = true;
}

/* Whether all that the client sent is dealt with, but for a message that was not sent whole: what is left of it goes nowhere. */
static bool
is_dealt_with(const Link *link)
{
	const Bytes *in = &link->client.in;
	size_t		size = mcs_gateway_size(in);

	if (size == 0 || link->phase == LINK_PACKET)
		return true;
	if (link->phase == LINK_LOGIN)
		return link->asked && size < 5;
	return size < 5 || size <= mcs_gateway_number(mcs_gateway_at(in) + 1);
}

/* Passes ends on. */
static void
pass_ends(Link *link, int64_t now)
{
	if (link->refused && link->close_at == 0)
		link->close_at = now + UNREAD_MS;
	if (link->server.ended && link->phase != LINK_CLOSING && mcs_gateway_size(&link->client.out) <= GATEWAY_OUT_MAX)
		link->phase = LINK_CLOSING;
	if (link->phase == LINK_CLOSING)
	{
		close_side(&link->server);
		mcs_gateway_clear(&link->server.out);
		if (mcs_gateway_size(&link->client.out) > 0)
			link->close_at = now + UNREAD_MS;
		else if (link->client.ended)
			link->dead = true;
		else if (!link->client.shut)
		{
			shut_side(&link->client);
			link->close_at = now + CLOSE_MS;
		}
	}
	else if (link->client.ended && link->refused)
		link->dead = true;
	else if (link->client.ended && is_dealt_with(link) && mcs_gateway_size(&link->server.out) == 0 && !link->server.connecting)
		shut_side(&link->server);
}

/* Deals with all that can be. */
static void
go_on(Link *link, int64_t now)
{
	link->busy = false;
	do
	{
		while (mcs_gateway_step_server(link) | mcs_gateway_step_client(link, now))
			;
		if (mcs_gateway_take_missing())
		{
			mcs_gateway_report(NULL, "there is no memory for a client of the gateway: it is disconnected");
			link->dead = true;
			return;
		}
	} while (write_side(&link->server) | write_side(&link->client));
	pass_ends(link, now);
}

/* Looks whether the server has taken the connection. */
static void
finish_connecting(Link *link, int port)
{
	int			error = 0;
	socklen_t	size = sizeof(error);

	if (getsockopt(link->server.file, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	link->server.connecting = false;
	if (error != 0)
	{
		close_side(&link->server);
		mcs_gateway_connect(link, port);
	}
}

/* Something is the matter with a side (events of epoll, or 0 to begin). */
void
mcs_gateway_serve(Link *link, Side *side, uint32_t events, int port, int64_t now)
{
	if (side->file >= 0)
	{
		if (side->connecting)
		{
			if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
				finish_connecting(link, port);
		}
		else if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			read_side(side);
	}
	go_on(link, now);
}

/* What epoll shall tell of a side; 0: nothing. */
uint32_t
mcs_gateway_wishes(Side *side)
{
	size_t		most = side->wanted > READ_MAX ? side->wanted : READ_MAX;
	uint32_t	wishes = 0;

	if (side->file < 0)
		return 0;
	if (side->connecting)
		return EPOLLOUT;
	if (!side->ended && mcs_gateway_size(&side->in) < most)
		wishes |= EPOLLIN;
	if (mcs_gateway_size(&side->out) > 0)
		wishes |= EPOLLOUT;
	return wishes;
}

/* Closes and frees. */
void
mcs_gateway_free_link(Link *link)
{
	close_side(&link->client);
	close_side(&link->server);
	mcs_gateway_clear(&link->client.in);
	mcs_gateway_clear(&link->client.out);
	mcs_gateway_clear(&link->server.in);
	mcs_gateway_clear(&link->server.out);
	mcs_gateway_clear(&link->translation);
	mcs_gateway_clear(&link->login);
	mcs_gateway_clear(&link->block);
	mcs_gateway_clear(&link->whole);
	mcs_gateway_end_exchange(link);
	mcs_gateway_forget_names(&link->names);
	mcs_gateway_forget_translated(&link->translated);
	free(link->awaited.kinds);
	free(link);
}
