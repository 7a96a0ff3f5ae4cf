"""Folders, users, ports and processes, and the promise that nothing of them stays."""
import atexit
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import janitor

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"


class Machine:
    """One folder for everything a run makes; it and all its servers go when the run ends.

    With keep=True they stay until end_kept(folder).
    """

    def __init__(self, keep=False):
        self.keep = keep
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mcs-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.servers = []
        self.janitor = None
        if not keep:
            self.janitor = subprocess.Popen([sys.executable, janitor.__file__], stdin=subprocess.PIPE, text=True,
                                            start_new_session=True)
            self._tell(f"folder {self.folder}")
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _tell(self, line):
        if self.janitor:
            self.janitor.stdin.write(line + "\n")
            self.janitor.stdin.flush()

    def new_folder(self, name):
        """A folder of that name, or with a number behind it where that exists."""
        for number in itertools.count(1):
            folder = self.folder / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue

    def start(self, command, log, env=None, cwd=None):
        """Starts a server in a session of its own, output appended to a log file."""
        with open(log, "ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       start_new_session=True, env=env, cwd=cwd or self.folder)
        self._tell(f"process {process.pid}")
        if self.keep:
            with open(self.folder / "processes", "a") as kept:
                kept.write(f"{process.pid} {janitor.started(process.pid)}\n")
        return process

    def gone(self, process):
        """Says that a server has ended."""
        self._tell(f"release {process.pid}")

    def close(self):
        """Stops the servers and leaves the rest to the janitor."""
        atexit.unregister(self.close)
        if self.keep:
            return
        for server in reversed(self.servers):
            try:
                server.discard()
            except Exception as problem:  # the janitor gets it
                print(f"while stopping {server}: {problem}", file=sys.stderr)
        self.servers = []
        if self.janitor:
            self.janitor.stdin.close()
            self.janitor.wait()
            self.janitor = None


def end_kept(folder):
    """Ends what a Machine(keep=True) left in its folder."""
    folder = pathlib.Path(folder)
    for line in (folder / "processes").read_text().splitlines():
        pid, since = line.split()
        if janitor.started(pid) == since:
            janitor.kill_family(int(pid))
    shutil.rmtree(folder)


def exit_on_signals():
    """Makes SIGTERM and SIGHUP leave through `finally` and atexit, as Ctrl-C does, which prints no traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    usual = sys.excepthook

    def hook(kind, *what):
        if issubclass(kind, KeyboardInterrupt):
            print("\nInterrupted.", file=sys.stderr)
        else:
            usual(kind, *what)

    sys.excepthook = hook


def server_user():
    """Who shall run PostgreSQL, which refuses root: None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def as_server_user(command):
    """The command, to be run as server_user."""
    user = server_user()
    if user is None:
        return list(map(str, command))
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--", *map(str, command)]


def give_to_server_user(path):
    """Makes a folder of ours the server user's."""
    user = server_user()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def free_ports(count=1):
    """That many TCP ports nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_until(condition, timeout=30, what=None, pause=0.02):
    """Polls until condition() is true and returns its value; TimeoutError else."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what or condition}")
        time.sleep(pause)


def freeze(pid):
    """Stops a process by SIGSTOP and returns when each of its threads stands still: one may go on for a moment, and answer."""
    os.kill(pid, signal.SIGSTOP)

    def stands_still():
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] not in "Tt":
                    return False
            except FileNotFoundError:
                pass                    # a thread that has ended
        return True

    wait_until(stands_still, what=f"process {pid} stands still", pause=0.001)


def tail(path, lines=30):
    """The last lines of a file, for error messages."""
    try:
        return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError as problem:
        return str(problem)
