/*
 * base/end.c
 *	  Being told to end (SIGTERM), in the processes that run users' code.
 *
 * Told by anybody else (an administrator, DROP DATABASE, a shutdown), the process
 * ends, and another goes on where it was.  Code that tells so its own process
 * (pg_terminate_backend(pg_backend_pid()) in a trigger) would end that one as
 * well, at the same event, for ever.  So that is an error of the code: the signal
 * says who has sent it.  The statement is cancelled, and where the error is taken
 * it is given the words and the class of one that a trigger has raised, so that
 * whose doing it is stops, and nothing else.
 */
#include "mongo_change_stream.h"

#include <signal.h>
#include <unistd.h>

#include "base/base.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"

/* The transaction at work has run code that told its own process to end. */
static volatile sig_atomic_t told_by_itself = false;

static void
take_signal(int number, siginfo_t *info, void *context)
{
	int			saved_errno = errno;

	/* a child that was forked and runs no program yet has our handlers; what they change is not its own */
	if (MyProcPid != (int) getpid())
	{
		pqsignal(number, SIG_DFL);
		raise(number);
		return;
	}
	if (info->si_code == SI_USER && info->si_pid == MyProcPid)
	{
		told_by_itself = true;
		StatementCancelHandler(number);
	}
	else
		die(number);
	errno = saved_errno;
}

/* Takes SIGTERM from here on. */
void
mcs_end_watch(void)
{
	struct sigaction action;

	/* as pqsignal() does it, which asks for no sender */
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = take_signal;
	sigemptyset(&action.sa_mask);
	action.sa_flags = SA_RESTART | SA_SIGINFO;
	if (sigaction(SIGTERM, &action, NULL) != 0)
		elog(FATAL, "could not set the handler of SIGTERM: %m");
}

/* What was run before is not what errors come from. */
void
mcs_end_forget(void)
{
	told_by_itself = false;
}

/* CopyErrorData(), in whose place it stands. */
ErrorData *
mcs_end_copy_error(void)
{
	ErrorData  *error = CopyErrorData();

	if (!told_by_itself || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return error;
	told_by_itself = false;
	error->sqlerrcode = ERRCODE_TRIGGERED_ACTION_EXCEPTION;
	error->message = pstrdup("code that ran for it told its own process to end (pg_terminate_backend)");
	return error;
}
