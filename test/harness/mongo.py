"""A throwaway MongoDB replica set."""
import base64
import os
import pathlib
import signal
import subprocess

import bson
import pymongo

from . import machine, packages
from .machine import tail, wait_until


class Mongod:
    """One member."""

    def __init__(self, host, folder, port, options):
        self.host, self.folder, self.port = host, pathlib.Path(folder), port
        self.address = f"127.0.0.1:{port}"
        self.log = self.folder / "mongod.log"
        self.data = self.folder / "data"
        self.data.mkdir(parents=True)
        self.command = [packages.mongod(), "--dbpath", str(self.data), "--port", str(port), "--bind_ip", "127.0.0.1",
                        "--nounixsocket", "--quiet", *options]
        self.process = None

    def __repr__(self):
        return f"mongod at {self.address}"

    def start(self, timeout=60):
        """Starts it and waits until it answers."""
        self.process = self.host.start(self.command, self.log)

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"mongod did not start:\n{tail(self.log, 5)}")
            try:
                with pymongo.MongoClient(self.address, directConnection=True, serverSelectionTimeoutMS=200) as client:
                    client.admin.command("hello")
                return True
            except pymongo.errors.PyMongoError:
                return False

        wait_until(ready, timeout, f"{self} answers")

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.host.gone(self.process)

    def stop(self, timeout=30):
        """A clean shutdown."""
        self.signal(signal.SIGTERM)
        self.process.wait(timeout)
        self.host.gone(self.process)

    def freeze(self):
        """Stops all of it without a word, as a machine that hangs."""
        machine.freeze(self.process.pid)

    def thaw(self):
        self.signal(signal.SIGCONT)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None


class ReplicaSet:
    """A replica set of one or more members on this machine.

    With auth=True it has a keyFile and a user `root` with the password `root secret`; `client` uses it.
    """

    ROOT_PASSWORD = "root secret"

    def __init__(self, host, members=1, name="mongo", auth=False, oplog_mb=256, cache_gb=0.25, options=(),
                 parameters=None):
        self.host, self.auth = host, auth
        folder = host.new_folder(name)
        arguments = ["--replSet", "rs0", "--wiredTigerCacheSizeGB", str(cache_gb), "--oplogSize", str(oplog_mb), *options]
        for key, value in {"enableTestCommands": 1, "diagnosticDataCollectionEnabled": "false", **(parameters or {})}.items():
            arguments += ["--setParameter", f"{key}={value}"]
        if auth:
            key_file = folder / "key"
            key_file.write_bytes(base64.b64encode(os.urandom(96)))
            key_file.chmod(0o400)
            arguments += ["--keyFile", str(key_file)]
        self.members = [Mongod(host, folder / str(number), port, arguments)
                        for number, port in enumerate(machine.free_ports(members))]
        self._client = None
        self._failing = False
        host.servers.append(self)
        for member in self.members:
            member.start()
        self._initiate()

    def __repr__(self):
        return f"replica set of {len(self.members)}"

    def _initiate(self):
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        members = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        with pymongo.MongoClient(self.members[0].address, directConnection=True) as first:
            first.admin.command("replSetInitiate", {"_id": "rs0", "members": members, "settings": settings})
            wait_until(lambda: any(self._says_primary(member) for member in self.members), 30, "a primary is elected")
            if self.auth:
                with pymongo.MongoClient(self._primary().address, directConnection=True) as primary:
                    primary.admin.command("createUser", "root", pwd=self.ROOT_PASSWORD, roles=["root"])
        self.wait_primary()

    def _says_primary(self, member):
        if not member.running:
            return False
        try:
            with pymongo.MongoClient(member.address, directConnection=True, serverSelectionTimeoutMS=500,
                                     socketTimeoutMS=1000) as client:
                return client.admin.command("hello").get("isWritablePrimary", False)
        except pymongo.errors.PyMongoError:
            return False

    def _primary(self):
        return next(member for member in self.members if self._says_primary(member))

    def primary(self, timeout=30):
        """The member that is primary now."""
        return wait_until(lambda: next((m for m in self.members if self._says_primary(m)), None), timeout, "a primary")

    def secondaries(self):
        now = self.primary()
        return [member for member in self.members if member is not now and member.running]

    def wait_primary(self, timeout=30):
        """Waits until a majority write succeeds."""
        def writes():
            try:
                self.client.get_database("harness", write_concern=pymongo.WriteConcern("majority", wtimeout=2000)) \
                    .probe.replace_one({"_id": 1}, {"_id": 1}, upsert=True)
                return True
            except pymongo.errors.PyMongoError:
                return False
        wait_until(writes, timeout, "a majority write succeeds")

    # ------------------------------------------------------------ clients

    @property
    def uri(self):
        """The connection string, without credentials."""
        return f"mongodb://{','.join(member.address for member in self.members)}/?replicaSet=rs0"

    def direct_uri(self, port=None):
        """A connection string for one port (a proxy's, say) that does not look for the other members."""
        return f"mongodb://127.0.0.1:{port or self.members[0].port}/?directConnection=true"

    @property
    def client(self):
        """A pymongo client; writes are acknowledged by the majority."""
        if self._client is None:
            login = {"username": "root", "password": self.ROOT_PASSWORD} if self.auth else {}
            self._client = pymongo.MongoClient(self.uri, w="majority", serverSelectionTimeoutMS=10000,
                                               tz_aware=True, **login)
        return self._client

    # ------------------------------------------------------------ trouble

    def step_down(self, seconds=5):
        """The primary becomes a secondary; another is elected, or the same one after those seconds."""
        def stepped_down():
            try:
                self.client.admin.command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=2, force=True)
            except pymongo.errors.AutoReconnect:
                pass
            except pymongo.errors.OperationFailure as failure:
                # a machine that is busy may be too slow for it
                if failure.code != 262:
                    raise
                return False
            return True

        wait_until(stepped_down, 30, "the primary steps down")

    def fail_command(self, commands, times="alwaysOn", **data):
        """Makes the primary fail these commands (by errorCode, errorLabels, closeConnection, blockConnection …)."""
        mode = times if isinstance(times, str) else {"times": times}
        self._failing = True
        with self._direct() as client:
            client.admin.command(bson.SON([("configureFailPoint", "failCommand"), ("mode", mode),
                                           ("data", {"failCommands": list(commands), **data})]))

    def stop_failing(self):
        """Ends what fail_command began."""
        if not self._failing:
            return
        self._failing = False
        with self._direct() as client:
            client.admin.command(bson.SON([("configureFailPoint", "failCommand"), ("mode", "off")]))

    def _direct(self):
        login = {"username": "root", "password": self.ROOT_PASSWORD} if self.auth else {}
        return pymongo.MongoClient(self.primary().address, directConnection=True, **login)

    def kill_cursors_of(self, comment_part=""):
        """Kills every idle change stream cursor whose command mentions a text; returns how many."""
        killed = 0
        for found in self.client.admin.aggregate([
                {"$currentOp": {"idleCursors": True, "allUsers": True}},
                {"$match": {"type": "idleCursor", "cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}}}]):
            if comment_part in str(found):
                database, _, collection = found["ns"].partition(".")
                self.client[database].command("killCursors", collection, cursors=[found["cursor"]["cursorId"]])
                killed += 1
        return killed

    def discard(self):
        """Stops without waiting for anything."""
        if self._client is not None:
            self._client.close()
        for member in self.members:
            if member.running:
                member.signal(signal.SIGKILL)
        for member in self.members:
            if member.process is not None:
                try:
                    member.process.wait(10)
                except subprocess.TimeoutExpired:
                    continue
                self.host.gone(member.process)
