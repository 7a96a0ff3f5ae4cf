"""Cleans up when a harness is gone, however it went.

Reads lines from a pipe that the harness holds open: "process PID" and "folder PATH" are
to be removed at the end of the pipe, "release WHAT" takes one back.  A harness that
is killed with -9 closes the pipe, too.
"""
import ctypes
import os
import shutil
import signal
import sys
import time


def parents():
    """Every process and its parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    found[int(name)] = int(stat.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    return found


def started(pid):
    """When a living process was started, so that a later one with its number is not taken for it; else None."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def family(pid):
    """A process and all that descend from it, parents first."""
    everyone = parents()
    members = [pid]
    for member in members:
        members += [child for child, parent in everyone.items() if parent == member]
    return members


def shared_memory(pid):
    """What a process has mapped that outlives it: the paths of POSIX shared memory, and the ids of System V's."""
    found = set()
    try:
        with open(f"/proc/{pid}/maps") as maps:
            for line in maps:
                fields = line.split(None, 5)
                if len(fields) == 6 and fields[5].startswith("/dev/shm/") and "(deleted)" not in fields[5]:
                    found.add(fields[5].strip())
                elif len(fields) == 6 and fields[5].startswith("/SYSV"):
                    found.add(int(fields[4]))
    except OSError:
        pass
    return found


def remove_shared_memory(what):
    """Removes shared memory that nobody is there for any more."""
    for one in what:
        if isinstance(one, int):
            ctypes.CDLL(None).shmctl(one, 0, None)      # IPC_RMID
        else:
            try:
                os.unlink(one)
            except OSError:
                pass


def kill_family(pid):
    """Kills a process and its descendants, with their shared memory; they are stopped first, so that none forks meanwhile."""
    members = family(pid)
    shared = set()
    for what in (signal.SIGSTOP, signal.SIGKILL):
        for member in members:
            try:
                os.kill(member, what)
                shared |= shared_memory(member)
            except OSError:
                pass
    remove_shared_memory(shared)


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left = {}
    for line in sys.stdin:
        kind, _, what = line.strip().partition(" ")
        if kind == "release":
            left.pop(what, None)
        else:
            left[what] = (kind, started(what) if kind == "process" else None)
    processes = [pid for pid, (kind, since) in left.items() if kind == "process" and since and started(pid) == since]
    for pid in processes:
        kill_family(int(pid))
    deadline = time.monotonic() + 5
    while any(started(pid) for pid in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    for folder in [what for what, (kind, _) in left.items() if kind == "folder"]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
