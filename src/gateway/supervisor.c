/*
 * gateway/supervisor.c
 *	  PostgreSQL's side of the gateway: the background worker that starts the
 *	  gateway's process and says in the log what that tells it.
 *
 * The process is forked from the background worker, and no child of the
 * postmaster: when it dies nobody is restarted but itself, after a while that grows
 * with each death.  It is not to touch anything of PostgreSQL, so before anything
 * else it leaves shared memory, all files but its two pipes, and the handlers of
 * signals; and it ends by _exit, without what PostgreSQL does at exit.
 *
 * One pipe brings its lines; its end says that the process is gone.  The other one
 * carries nothing: its end tells the process that the background worker is gone,
 * however that went.
 */
#include "mongo_change_stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/gateway.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "postmaster/postmaster.h"
#include "shared/shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pg_shmem.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/ps_status.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "gateway/gateway_internal.h"

/* Between a death and the next start. */
#define FIRST_PAUSE_MS		1000
#define LONGEST_PAUSE_MS	60000

/* A process that has lived so long was all right. */
#define LIVED_MS			60000

#define REPORTED_MAX		1000

PGDLLEXPORT void mcs_gateway_main(Datum arg);

/* What a session came through; set by the gateway in the startup packet. */
static bool through_gateway = false;

/* The gateway's process, as the background worker has it. */
typedef struct Child
{
	pid_t		pid;
	int			report;			/* its lines come here */
	int			life;			/* is closed when this process is gone */
	TimestampTz since;
	char		line[REPORTED_MAX];
	int			size;			/* of what has come of a line */
} Child;

/* ---- in the gateway's process, before it is one ---- */

/* Gives all memory back that other processes can see. */
static void
leave_shared_memory(void)
{
	FILE	   *maps;
	char		line[1024];
	unsigned long from,
				to;
	char		flags[8];

	PGSharedMemoryDetach();
	/* what is left are segments of dynamic shared memory; it is not detached from, since they count who is */
	maps = fopen("/proc/self/maps", "r");
	if (!maps)
		return;
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, flags) == 3 && flags[1] == 'w' && flags[3] == 's')
			(void) munmap((void *) from, to - from);
	fclose(maps);
}

/* Closes all files from 3 on but two. */
static void
close_files(int keep, int keep_too)
{
	DIR		   *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	int			last = 1024;

	if (folder)
	{
		/* not while it is read */
		while ((entry = readdir(folder)) != NULL)
			last = Max(last, atoi(entry->d_name));
		closedir(folder);
	}
	for (int file = 3; file <= last; file++)
		if (file != keep && file != keep_too)
			close(file);
}

/* What runs in the new process. */
static void
run_child(const GatewayConfig *config)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2};
	int			nothing = open("/dev/null", O_RDONLY);
	sigset_t	none;

	/* what the postmaster tells the background worker's group is not for this process */
	(void) setsid();
	for (int i = 1; i < NSIG; i++)
		(void) signal(i, SIG_DFL);
	for (int i = 0; i < lengthof(ignored); i++)
		(void) signal(ignored[i], SIG_IGN);
	(void) fcntl(config->report, F_SETFL, O_NONBLOCK);
	(void) dup2(nothing, 0);
	(void) dup2(config->report, 1);
	(void) dup2(config->report, 2);
	close_files(config->report, config->life);
	set_ps_display("serves clients");
	leave_shared_memory();
	/* mcs_gateway_run takes the signals that it wants from here on */
	sigemptyset(&none);
	sigaddset(&none, SIGTERM);
	sigaddset(&none, SIGQUIT);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
	mcs_gateway_run(config);
	_exit(0);
}

/* ---- in the background worker ---- */

/* Starts the process; false where that can't be now. */
static bool
start_child(Child *child)
{
	int			report[2],
				life[2];
	sigset_t	all,
				before;

	memset(child, 0, sizeof(*child));
	if (pipe(report) != 0)
		return false;
	if (pipe(life) != 0)
	{
		close(report[0]);
		close(report[1]);
		return false;
	}
	/* handlers of this process's signals must not run in the other one */
	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &before);
	child->pid = fork();
	if (child->pid == 0)
	{
		GatewayConfig config = {mcs_shared_gateway_port, PostPortNumber, life[0], report[1]};

		run_child(&config);
	}
	(void) sigprocmask(SIG_SETMASK, &before, NULL);
	close(report[1]);
	close(life[0]);
	child->report = report[0];
	child->life = life[1];
	child->since = GetCurrentTimestamp();
	if (child->pid < 0 || fcntl(child->report, F_SETFL, O_NONBLOCK) != 0)
	{
		int			error = errno;

		if (child->pid > 0)
		{
			(void) kill(child->pid, SIGKILL);
			(void) waitpid(child->pid, NULL, 0);
		}
		close(child->report);
		close(child->life);
		errno = error;
		return false;
	}
	return true;
}

/* Puts a line of the process into the log. */
static void
log_line(Child *child)
{
	char	   *text = child->line;
	char	   *hint;

	child->line[child->size] = '\0';
	child->size = 0;
	/* nothing that comes from there is trusted to be text */
	for (char *at = text; *at; at++)
		if ((*at < ' ' && *at != '\t') || *at == 0x7F || IS_HIGHBIT_SET(*at))
			*at = '?';
	if (strncmp(text, "> ", 2) != 0)
	{
		ereport(LOG, (errmsg("the gateway's process wrote: %s", text)));
		return;
	}
	hint = strchr(text, '\t');
	if (hint)
		*hint++ = '\0';
	ereport(LOG, (errmsg_internal("%s", text + 2), hint ? errhint("%s", hint) : 0));
}

/* Takes what the process has written; false when it is gone. */
static bool
read_lines(Child *child)
{
	char		data[512];
	ssize_t		size;

	while ((size = read(child->report, data, sizeof(data))) > 0)
	{
		for (int i = 0; i < size; i++)
		{
			if (data[i] != '\n')
				child->line[child->size++] = data[i];
			if (child->size > 0 && (data[i] == '\n' || child->size == REPORTED_MAX - 1))
				log_line(child);
		}
		CHECK_FOR_INTERRUPTS();
	}
	return size < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Says how the process ended. */
static void
bury_child(Child *child)
{
	int			status = 0;

	/* it has closed its files, so it is dead, or will never say anything */
	(void) kill(child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (child->size > 0)
		log_line(child);
	close(child->report);
	close(child->life);
	if (WIFSIGNALED(status))
		ereport(LOG,
				(errmsg("the gateway's process (PID %d) was terminated by signal %d: %s", (int) child->pid, WTERMSIG(status), pg_strsignal(WTERMSIG(status))),
				 errdetail("Its clients lost their connections. It is started again.")));
	else
		ereport(LOG, (errmsg("the gateway's process (PID %d) has ended, and is started again", (int) child->pid)));
}

/* Waits for a signal, for lines of the process (report, or PGINVALID_SOCKET), or for a while. */
static void
wait_for(pgsocket report, long timeout_ms)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (report != PGINVALID_SOCKET)
		events |= WL_SOCKET_READABLE;
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	(void) WaitLatchOrSocket(MyLatch, events, report, timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Whether a list of addresses has one that a connection from loopback reaches. */
static bool
has_loopback(const char *addresses)
{
	static const char *const reached[] = {"*", "0.0.0.0", "::", "localhost", "127.0.0.1", "::1"};
	List	   *list;
	ListCell   *cell;

	if (!SplitGUCList(pstrdup(addresses), ',', &list))
		return true;
	foreach(cell, list)
		for (int i = 0; i < lengthof(reached); i++)
			if (strcmp(lfirst(cell), reached[i]) == 0)
				return true;
	return false;
}

/* Ends where the settings are such that no gateway can work; they stay until the server is started again. */
static void
check_settings(void)
{
	if (mcs_shared_gateway_port == PostPortNumber)
	{
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the gateway does not run: mongo_change_stream.gateway_port is the server's own port, %d", mcs_shared_gateway_port),
				 errhint("Set it to a port that is free, and restart PostgreSQL.")));
		proc_exit(0);
	}
	if (!has_loopback(ListenAddresses))
	{
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the gateway does not run: the server does not listen on loopback"),
				 errdetail("The gateway passes its clients on by TCP from 127.0.0.1 or ::1, and listen_addresses is '%s'.", ListenAddresses),
				 errhint("Add localhost to listen_addresses and restart PostgreSQL, or set mongo_change_stream.gateway_port to 0.")));
		proc_exit(0);
	}
}

/* Entry of the background worker. */
void
mcs_gateway_main(Datum arg)
{
	long		pause_ms = FIRST_PAUSE_MS;
	Child		child;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* no database; but so it is seen in pg_stat_activity */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	check_settings();
	for (;;)
	{
		if (start_child(&child))
		{
			pgstat_report_activity(STATE_IDLE, psprintf("port %d, process %d", mcs_shared_gateway_port, (int) child.pid));
			while (read_lines(&child))
				wait_for(child.report, -1);
			bury_child(&child);
			if (TimestampDifferenceExceeds(child.since, GetCurrentTimestamp(), LIVED_MS))
				pause_ms = FIRST_PAUSE_MS;
		}
		else
			ereport(LOG, (errmsg("could not start the gateway's process: %m")));
		pgstat_report_activity(STATE_IDLE, "waits before it starts the gateway's process again");
		for (TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause_ms); GetCurrentTimestamp() < until;)
			wait_for(PGINVALID_SOCKET, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until) + 1);
		pause_ms = Min(pause_ms * 2, LONGEST_PAUSE_MS);
	}
}

/* Where there shall be a gateway: the setting of its sessions, and the background worker. */
void
mcs_gateway_init(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade || mcs_shared_gateway_port == 0)
		return;
	DefineCustomBoolVariable(GATEWAY_SESSION_SETTING,
							 "Shows whether the session came through the gateway.",
							 "The gateway sets it.",
							 &through_gateway, false,
							 PGC_BACKEND, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, NULL, NULL, NULL);
	mcs_gateway_ident_init();
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* on a standby, too: it only needs sessions that can read */
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, MCS_EXTENSION, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "mcs_gateway_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "mongo_change_stream gateway", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "mongo_change_stream gateway", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
