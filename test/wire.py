"""PostgreSQL's protocol by hand, for what no driver sends."""
import socket
import struct


def message(kind, body=b""):
    """One message; kind: its type, of one byte, or nothing for a packet at the begin."""
    return kind + struct.pack("!I", len(body) + 4) + body


def string(text):
    return text.encode() + b"\0"


def startup(user="postgres", database="postgres", **parameters):
    """The startup packet."""
    given = {"user": user, "database": database, "client_encoding": "UTF8", **parameters}
    return message(b"", struct.pack("!I", 196608) + b"".join(string(name) + string(value) for name, value in given.items()) + b"\0")


def query(text):
    return message(b"Q", string(text))


def parse(text, name=""):
    return message(b"P", string(name) + string(text) + struct.pack("!H", 0))


def bind(*values, name="", portal=""):
    given = b"".join(struct.pack("!I", len(value)) + value for value in (str(value).encode() for value in values))
    return message(b"B", string(portal) + string(name) + struct.pack("!HH", 0, len(values)) + given + struct.pack("!H", 0))


def describe(portal=""):
    return message(b"D", b"P" + string(portal))


def execute(portal=""):
    return message(b"E", string(portal) + struct.pack("!I", 0))


SYNC, FLUSH, TERMINATE = message(b"S"), message(b"H"), message(b"X")
TLS = message(b"", struct.pack("!I", 80877103))
GSS = message(b"", struct.pack("!I", 80877104))


def fields(body):
    """The fields of an error."""
    return {part[:1].decode(): part[1:].decode() for part in body.rstrip(b"\0").split(b"\0")}


def columns(body):
    """The values of a row, as text."""
    count, = struct.unpack_from("!H", body)
    at, found = 2, []
    for _ in range(count):
        size, = struct.unpack_from("!i", body, at)
        at += 4
        found.append(None if size < 0 else body[at:at + size].decode())
        at += max(size, 0)
    return found


class Wire:
    """A connection of which each byte is one's own."""

    def __init__(self, port, timeout=30, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))
        return self

    def bytes(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError(data)
            data += piece
        return data

    def message(self):
        kind = self.bytes(1)
        size, = struct.unpack("!I", self.bytes(4))
        return kind, self.bytes(size - 4)

    def until_ready(self):
        """The messages up to ReadyForQuery."""
        found = []
        while not found or found[-1][0] != b"Z":
            found.append(self.message())
        return found

    def login(self, **parameters):
        self.send(startup(**parameters))
        self.until_ready()
        return self

    def answers(self, *messages):
        """Sends, and gives the answers up to ReadyForQuery."""
        return self.send(*messages).until_ready()

    def rest(self):
        """All that comes before the other side closes."""
        data = b""
        while True:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece


def kinds(messages):
    """What they are, as a string."""
    return b"".join(kind for kind, _ in messages).decode()
