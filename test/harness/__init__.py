"""Throwaway servers for tests, the demo and the benchmarks.

machine    folders, users, ports and processes, and what cleans up after us
packages   what must be installed, and what is fetched into .cache/
build      compiles the extension for one PostgreSQL
postgres   a PostgreSQL installation of our own, and clusters on it
mongo      a MongoDB replica set
proxy      a bad network between two programs
liar       a MongoDB that lies
"""
from .build import build, install
from .liar import Liar
from .machine import Machine
from .mongo import ReplicaSet
from .postgres import Cluster, Installation
from .proxy import Proxy

__all__ = ["Cluster", "Installation", "Liar", "Machine", "Proxy", "ReplicaSet", "build", "install"]
