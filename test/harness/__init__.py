"""Throwaway servers for tests, the demo and the benchmarks.

machine    folders, users, ports and processes, and what cleans up after us
packages   what must be installed, and what is fetched into .cache/
build      compiles the extension for one PostgreSQL
postgres   a PostgreSQL installation of our own, and clusters on it
mongo      a MongoDB replica set
proxy      a bad network between two programs
liar       a MongoDB that lies
telling    says that something takes its time, and how far it is
names      a resolver of host names that the test commands
"""
from .build import build, install
from .liar import Liar
from .machine import Machine
from .mongo import ReplicaSet
from .names import Names
from .postgres import Cluster, Installation
from .proxy import Proxy

__all__ = ["Cluster", "Installation", "Liar", "Machine", "Names", "Proxy", "ReplicaSet", "build", "install"]
