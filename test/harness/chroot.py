"""A clean Debian in a folder, with processes and mounts of its own.

What runs in it lives in a namespace of processes and one of mounts, which end with their first process: nothing is ever
mounted where the machine could see it, so a folder can be removed, and Ctrl-C or a kill -9 leaves neither a mount nor a server.
The network is the machine's, unless alone() is said.
"""
import os
import pathlib
import shutil
import subprocess

from . import packages
from .machine import CACHE, ROOT, wait_until

CHROOTS = CACHE / "chroots"

# which the machine's debootstrap may be too old to know: each is made as sid is
SCRIPT = "/usr/share/debootstrap/scripts/sid"

# The first process: it mounts, and then takes in and buries orphans, as init does; a server that has ended would look alive else.
FIRST = """
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=1777 shm "$1/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 pts "$1/dev/pts"
exec chroot "$1" /bin/bash -c 'while :; do sleep 3600 & wait $!; done'
"""

PROFILE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
           "DEBIAN_FRONTEND": "noninteractive"}


def can_be_made():
    """Why no chroot can be made here; None if it can."""
    if os.geteuid() != 0:
        return "only root can make a chroot: start this as root"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        return "this machine does not let root mount anything (a container without CAP_SYS_ADMIN?)"
    return None


def last_line(line):
    """A progress: what is done now."""
    return line.strip()[:90] or None


def bootstrapped(machine, suite):
    """The archive of a bare Debian, made by debootstrap once and kept in .cache/."""
    archive = CHROOTS / f"{suite}.tar"
    if archive.exists():
        return archive
    if not shutil.which("debootstrap"):
        packages.apt("debootstrap")
    CHROOTS.mkdir(parents=True, exist_ok=True)
    folder = machine.new_folder(f"{suite}-bootstrap")
    mirror, _ = packages.debian_mirrors()
    known = pathlib.Path(SCRIPT).with_name(suite).exists()
    packages.say(f"Fetching a bare Debian {suite} into .cache/chroots")
    # it mounts on its way: in a namespace of its own
    packages.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap", "--variant=minbase", suite, folder, mirror,
                  *([] if known else [SCRIPT])], last_line)
    part = archive.with_suffix(".part")
    packages.run(["tar", "-C", folder, "--numeric-owner", "--xattrs", "-cpf", part, "."])
    part.rename(archive)
    shutil.rmtree(folder)
    return archive


class Chroot:
    """A Debian of its own, up to date, in the machine's folder."""

    def __init__(self, machine, suite, name):
        self.machine, self.suite, self.network = machine, suite, None
        archive = bootstrapped(machine, suite)
        self.folder = machine.new_folder(f"{suite}-{name}")
        packages.run(["tar", "-C", self.folder, "--numeric-owner", "--xattrs", "-xpf", archive])
        shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")
        (self.folder / "etc/apt/apt.conf.d/99answers").write_text('APT::Get::Assume-Yes "true";\nDpkg::Use-Pty "0";\n')
        # nothing here outlives a power cut
        (self.folder / "etc/dpkg/dpkg.cfg.d/99unsafe").write_text("force-unsafe-io\n")
        mirror, security = packages.debian_mirrors()
        if "/" in (self.folder / "etc/debian_version").read_text():
            # not released yet: its updates come as itself, and a mirror that is behind is as good
            sources = [f"deb [check-valid-until=no] {mirror} {suite} main"]
        else:
            sources = [f"deb {mirror} {suite} main", f"deb {mirror} {suite}-updates main", f"deb {security} {suite}-security main"]
        (self.folder / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
        self.first = machine.start(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", FIRST, "sh", self.folder],
                                   machine.folder / f"{self.folder.name}.log")
        machine.servers.append(self)
        self.pid = wait_until(self._inside, 10, f"{self} begins")
        self.run("apt-get -q update && apt-get -q dist-upgrade", last_line)

    def __repr__(self):
        return f"Debian {self.suite} in {self.folder}"

    def _inside(self):
        """The first process's number as the machine counts, once its root is the folder."""
        children = pathlib.Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text().split()
        return next((child for child in children if os.readlink(f"/proc/{child}/root") == str(self.folder)), None)

    def alone(self):
        """Cuts it off the machine's network: it has a loopback of its own, and the ports are free; returns what another may join."""
        self.run("apt-get install --no-install-recommends iproute2", last_line)
        first = self.machine.start(list(map(str, self.command("unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity"))),
                                   self.machine.folder / f"{self.folder.name}.network.log")
        child = wait_until(lambda: pathlib.Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().strip(), 10, "a network of its own")
        wait_until(lambda: pathlib.Path(f"/proc/{child}/cmdline").read_text().startswith("sleep"), 10, "its loopback is up")
        self.network = f"/proc/{child}/ns/net"
        return self.network

    def command(self, *command, user="root", folder="/root"):
        """What runs a command in here, from outside."""
        network = [f"--net={self.network}"] if self.network else []
        return ["nsenter", "--target", self.pid, "--mount", "--pid", *network, "--root", "env", "-i", f"--chdir={folder}",
                *(f"{name}={value}" for name, value in PROFILE.items()), *(["runuser", "-u", user, "--"] if user != "root" else []), *command]

    def run(self, script, progress=None, **where):
        """Runs a shell script; returns what it printed, which is shown if it fails."""
        return packages.run(self.command("sh", "-ec", script, **where), progress)

    def fails(self, script, **where):
        """Runs a shell script that has to fail; returns what it printed."""
        done = subprocess.run(list(map(str, self.command("sh", "-ec", script, **where))), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            raise RuntimeError(f"this should have failed: {script}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def configure_clusters(self, **settings):
        """What clusters get that PostgreSQL's packages will make in here."""
        folder = self.folder / "etc/postgresql-common"
        folder.mkdir(exist_ok=True)
        (folder / "createcluster.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))

    def give_clone(self, folder):
        """Copies what is committed, or about to be, into a folder in here, as a clone has it."""
        listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                target = self.folder / folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)

    def processes(self):
        """The titles of all processes in here."""
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "root") == str(self.folder):
                    found.append((process / "cmdline").read_text(errors="replace").replace("\0", " ").strip())
            except OSError:
                pass                    # it has ended
        return found

    def discard(self):
        """Ends what runs in here, and removes it."""
        if self.first.poll() is None:
            self.first.kill()
            self.first.wait()
        self.machine.gone(self.first)
        self.machine.servers.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)
