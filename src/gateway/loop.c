/*
 * gateway/loop.c
 *	  The gateway's process: it listens, waits, and ends.
 *
 * It listens on 127.0.0.1 and ::1 and nowhere else.  An address that is taken is
 * tried again while the other one serves; the log says so once.
 *
 * It ends when the supervisor is gone (its pipe is at its end) or by SIGTERM: it
 * listens no more at once, so that the next one can, and leaves when the last
 * client has, or after a second, in which what the server still says reaches them.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LISTENERS		2
#define BACKLOG			256
#define EVENTS			256
#define LISTEN_AGAIN_MS 5000
#define END_MS			1000
#define TICK_MS			250

typedef struct Listener
{
	int			file;			/* -1: none */
	bool		ipv6;
	bool		absent;			/* this machine has no such address */
	bool		told;			/* that it can't be had */
} Listener;

typedef struct Gateway
{
	const GatewayConfig *config;
	int			epoll;
	int			spare;			/* a file that is given up to tell a client that there are no more */
	Listener	listeners[LISTENERS];
	Link	   *links;
	bool		closing;		/* some of them are gone, or about to be */
	bool		busy;			/* some of them have more to do */
	int64_t		listen_at;		/* when addresses are tried again; 0: all are had */
	int64_t		end_at;			/* 0: it is not to end */
} Gateway;

static volatile sig_atomic_t told_to_end = 0;

static void
take_signal(int number)
{
	told_to_end = 1;
}

/* Milliseconds of a clock that goes forward. */
static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- listening ---- */

static int
bind_listener(const Listener *listener, int port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,.sin_port = htons(port),.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,.sin6_port = htons(port),.sin6_addr = in6addr_loopback};
	int			file = socket(listener->ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			on = 1;
	int			failed;

	if (file < 0)
		return -1;
	(void) setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	failed = listener->ipv6 ? bind(file, (struct sockaddr *) &v6, sizeof(v6)) : bind(file, (struct sockaddr *) &v4, sizeof(v4));
	if (failed || listen(file, BACKLOG) != 0)
	{
		int			error = errno;

		close(file);
		errno = error;
		return -1;
	}
	return file;
}

/* Listens where it does not yet. */
static void
listen_on_all(Gateway *gateway, int64_t now)
{
	int			port = gateway->config->port;

	gateway->listen_at = 0;
	for (int i = 0; i < LISTENERS; i++)
	{
		Listener   *listener = &gateway->listeners[i];
		const char *address = listener->ipv6 ? "::1" : "127.0.0.1";
		struct epoll_event event = {.events = EPOLLIN,.data.ptr = listener};

		if (listener->file >= 0 || listener->absent)
			continue;
		listener->file = bind_listener(listener, port);
		if (listener->file >= 0 && epoll_ctl(gateway->epoll, EPOLL_CTL_ADD, listener->file, &event) == 0)
		{
			mcs_gateway_report(NULL, "the gateway listens on %s, port %d", address, port);
			listener->told = false;
			continue;
		}
		/* not every machine has IPv6 */
		if (listener->file < 0 && listener->ipv6 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
		{
			listener->absent = true;
			continue;
		}
		if (!listener->told)
			mcs_gateway_report(errno == EADDRINUSE ? "Another process has that port, maybe another server's gateway. End that, or set mongo_change_stream.gateway_port to another port and restart PostgreSQL."
							   : "It is tried again every 5 seconds.",
							   "the gateway could not listen on %s, port %d: %s", address, port, strerror(errno));
		listener->told = true;
		if (listener->file >= 0)
			close(listener->file);
		listener->file = -1;
		gateway->listen_at = now + LISTEN_AGAIN_MS;
	}
}

static void
stop_listening(Gateway *gateway)
{
	for (int i = 0; i < LISTENERS; i++)
	{
		if (gateway->listeners[i].file >= 0)
			close(gateway->listeners[i].file);
		gateway->listeners[i].file = -1;
	}
	gateway->listen_at = 0;
}

/* ---- clients ---- */

/* Asks epoll for what a side wants to know of. */
static void
ask_for(Gateway *gateway, Side *side)
{
	uint32_t	wishes = mcs_gateway_wishes(side);
	struct epoll_event event = {.events = wishes,.data.ptr = side};

	/* a file that was closed is registered no more */
	if (side->file < 0 || (wishes == side->events && side->registered == (wishes != 0)))
		return;
	/* without a wish it is not registered at all: the end of a connection would be told again and again */
	if (wishes == 0 ? epoll_ctl(gateway->epoll, EPOLL_CTL_DEL, side->file, NULL) != 0
		: epoll_ctl(gateway->epoll, side->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, side->file, &event) != 0)
		side->link->dead = true;
	side->registered = wishes != 0;
	side->events = wishes;
}

/* Deals with an event of a client or its server. */
static void
serve(Gateway *gateway, Side *side, uint32_t events, int64_t now)
{
	Link	   *link = side->link;

	/* an event of this round may have ended it */
	if (link->dead)
		return;
	mcs_gateway_serve(link, side, events, gateway->config->server_port, now);
	if (!link->dead)
	{
		ask_for(gateway, &link->client);
		ask_for(gateway, &link->server);
	}
	gateway->closing |= link->dead || link->close_at != 0;
	gateway->busy |= link->busy;
}

/* Gives clients a turn that have more to do. */
static void
serve_busy(Gateway *gateway, int64_t now)
{
	gateway->busy = false;
	for (Link *link = gateway->links; link; link = link->next)
		if (link->busy)
			serve(gateway, &link->client, 0, now);
}

/* What is missing for a client will not be there at once, and the client would be told of again and again. */
static void
pause_accepting(void)
{
	static const struct timespec shortly = {.tv_nsec = 10 * 1000 * 1000};

	(void) nanosleep(&shortly, NULL);
}

/* There are no more files: the client is told so by means of the spare one. */
static void
turn_away(Gateway *gateway, const Listener *listener)
{
	Bytes		message = {0};
	int			file;

	mcs_gateway_report_no_files();
	close(gateway->spare);
	file = accept(listener->file, NULL, NULL);
	if (file >= 0)
	{
		mcs_gateway_tell(&message, 'E', "FATAL", "53300", "the gateway has too many clients", NULL, NULL);
		(void) send(file, mcs_gateway_at(&message), mcs_gateway_size(&message), MSG_NOSIGNAL | MSG_DONTWAIT);
		mcs_gateway_clear(&message);
		close(file);
	}
	/* the spare one may be gone to somebody else on this machine */
	else
		pause_accepting();
	gateway->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Takes a client. */
static void
take_client(Gateway *gateway, Listener *listener, int64_t now)
{
	int			file = accept4(listener->file, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	Link	   *link;

	if (file < 0)
	{
		if (errno == EMFILE || errno == ENFILE)
			turn_away(gateway, listener);
		else if (errno == ENOBUFS || errno == ENOMEM)
			pause_accepting();
		return;
	}
	link = mcs_gateway_open_link(file, listener->ipv6);
	if (!link)
	{
		close(file);
		return;
	}
	link->next = gateway->links;
	if (link->next)
		link->next->previous = link;
	gateway->links = link;
	mcs_gateway_connect(link, gateway->config->server_port);
	serve(gateway, &link->client, 0, now);
}

/* Frees clients that are gone, and closes those whose time is over. */
static void
sweep(Gateway *gateway, int64_t now)
{
	Link	   *next;

	gateway->closing = false;
	for (Link *link = gateway->links; link; link = next)
	{
		next = link->next;
		if (!link->dead && (link->close_at == 0 || now < link->close_at))
		{
			gateway->closing |= link->close_at != 0;
			continue;
		}
		if (link->previous)
			link->previous->next = next;
		else
			gateway->links = next;
		if (next)
			next->previous = link->previous;
		mcs_gateway_free_link(link);
	}
}

/* ---- the process ---- */

/* How long to wait at most, in milliseconds; -1: for ever. */
static int
wait_time(const Gateway *gateway, int64_t now)
{
	if (gateway->busy)
		return 0;
	if (gateway->closing || gateway->end_at != 0)
		return TICK_MS;
	if (gateway->listen_at == 0)
		return -1;
	return gateway->listen_at > now ? (int) (gateway->listen_at - now) : 0;
}

/* Gets as many open files as it may have. */
static void
raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		(void) setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* SIGTERM and SIGQUIT end it, but are taken only while it waits: *waiting is the mask for that. */
static void
take_signals(sigset_t *waiting)
{
	struct sigaction action = {.sa_handler = take_signal};
	sigset_t	blocked;

	sigemptyset(waiting);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGQUIT);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGQUIT, &action, NULL);
}

/* Begins; false where that can't be. */
static bool
begin(Gateway *gateway, const GatewayConfig *config)
{
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = gateway};

	memset(gateway, 0, sizeof(*gateway));
	gateway->config = config;
	for (int i = 0; i < LISTENERS; i++)
		gateway->listeners[i] = (Listener) {-1, i == 1, false, false};
	raise_limits();
	gateway->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	gateway->epoll = epoll_create1(EPOLL_CLOEXEC);
	return gateway->epoll >= 0 && epoll_ctl(gateway->epoll, EPOLL_CTL_ADD, config->life, &event) == 0;
}

/* Deals with one event. */
static void
take_event(Gateway *gateway, const struct epoll_event *event, int64_t now)
{
	void	   *source = event->data.ptr;

	if (source == gateway)
		told_to_end = 1;
	else if (source == &gateway->listeners[0] || source == &gateway->listeners[1])
	{
		if (((Listener *) source)->file >= 0)
			take_client(gateway, source, now);
	}
	else
		serve(gateway, source, event->events, now);
}

void
mcs_gateway_run(const GatewayConfig *config)
{
	struct epoll_event events[EVENTS];
	Gateway		gateway;
	sigset_t	waiting;

	mcs_gateway_report_to(config->report);
	take_signals(&waiting);
	if (!begin(&gateway, config))
	{
		mcs_gateway_report(NULL, "the gateway could not begin: %s", strerror(errno));
		return;
	}
	listen_on_all(&gateway, now_ms());
	while (gateway.end_at == 0 || (gateway.links && now_ms() < gateway.end_at))
	{
		int			count = epoll_pwait(gateway.epoll, events, EVENTS, wait_time(&gateway, now_ms()), &waiting);
		int64_t		now = now_ms();

		for (int i = 0; i < count; i++)
			take_event(&gateway, &events[i], now);
		if (gateway.busy)
			serve_busy(&gateway, now);
		if (told_to_end && gateway.end_at == 0)
		{
			gateway.end_at = now + END_MS;
			stop_listening(&gateway);
			/* its end would be told again and again */
			(void) epoll_ctl(gateway.epoll, EPOLL_CTL_DEL, config->life, NULL);
		}
		if (gateway.listen_at != 0 && now >= gateway.listen_at && gateway.end_at == 0)
			listen_on_all(&gateway, now);
		if (gateway.closing)
			sweep(&gateway, now);
	}
}
