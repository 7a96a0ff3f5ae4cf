"""A server that speaks MongoDB's protocol and lies.

By itself it is a replica set of one member whose collections are empty.  What it lies about is
said by `lie`, a function (name of the command, request, reply) that changes the reply in place,
or returns what is sent instead: a document (dict, or its bytes), or a Message, which is sent as
it is.  None in place of a function: it tells the truth.
"""
import base64
import os
import socket
import struct
import threading
import time
import zlib

import bson
from bson.codec_options import CodecOptions

OP_REPLY, OP_QUERY, OP_COMPRESSED, OP_MSG = 1, 2004, 2012, 2013
SNAPPY, ZLIB, ZSTD = 1, 2, 3
OPTIONS = CodecOptions(unicode_decode_error_handler="replace")


class Message(bytes):
    """A whole message, header and all.  Its request's number is put in where the header has 0 for it."""


def header(length, opcode):
    return struct.pack("<iiii", length, 1, 0, opcode)


def message(document):
    """An OP_MSG of a document."""
    data = document if isinstance(document, bytes) else bson.encode(document)
    return Message(header(21 + len(data), OP_MSG) + struct.pack("<iB", 0, 0) + data)


def legacy(document):
    """An OP_REPLY, the answer to a first hello."""
    data = document if isinstance(document, bytes) else bson.encode(document)
    return Message(header(36 + len(data), OP_REPLY) + struct.pack("<iqii", 8, 0, 0, 1) + data)


def compressed(plain, size=None, compressor=ZLIB, packed=None, opcode=OP_MSG):
    """An OP_COMPRESSED of a message; each of its parts may be a lie."""
    packed = zlib.compress(plain[16:]) if packed is None else packed
    size = len(plain) - 16 if size is None else size
    return Message(header(25 + len(packed), OP_COMPRESSED) + struct.pack("<iiB", opcode, size, compressor) + packed)


def token(seconds, ordinal=1):
    """A resume token of a time without an event."""
    return {"_data": f"82{seconds:08X}{ordinal:08X}2B0229296E04"}


class Liar:
    def __init__(self, lie=None, authenticates=False):
        self.lie = lie
        self.authenticates = authenticates
        self.requests = []           # names of the commands that came
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def uri(self, options=""):
        return f"mongodb://{self.address}/?replicaSet=liars{options}"

    def close(self):
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def count(self, name):
        return self.requests.count(name)

    # ---- the protocol

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        self._open.add(connection)
        try:
            with connection:
                while self._answer(connection):
                    pass
        except OSError:
            pass
        finally:
            self._open.discard(connection)

    @staticmethod
    def _receive(connection, size):
        data = b""
        while len(data) < size:
            part = connection.recv(size - len(data))
            if not part:
                return None
            data += part
        return data

    @staticmethod
    def _request(body, opcode):
        """The document of a request."""
        if opcode == OP_COMPRESSED:
            original, _, compressor = struct.unpack_from("<iiB", body)
            if compressor != ZLIB:
                return {"compressed": compressor}, True
            return Liar._request(zlib.decompress(body[9:]), original)
        start = 5 if opcode == OP_MSG else body.index(b"\0", 4) + 9
        size = struct.unpack_from("<i", body, start)[0]
        flags = struct.unpack_from("<I", body)[0] if opcode == OP_MSG else 0
        return bson.decode(body[start:start + size], OPTIONS), not flags & 2

    def _answer(self, connection):
        head = self._receive(connection, 16)
        if head is None:
            return False
        length, number, _, opcode = struct.unpack("<iiii", head)
        body = self._receive(connection, length - 16)
        if body is None:
            return False
        request, wants_reply = self._request(body, opcode)
        name = next(iter(request))
        self.requests.append(name)
        if not wants_reply:
            return True
        reply = self.truth(name, request)
        if self.lie is not None:
            told = self.lie(name, request, reply)
            reply = reply if told is None else told
        if not isinstance(reply, Message):
            reply = legacy(reply) if opcode == OP_QUERY else message(reply)
        if reply[8:12] == b"\0\0\0\0":
            reply = reply[:8] + struct.pack("<i", number) + reply[12:]
        connection.sendall(reply)
        # a client that waits for the rest of a message is told that there is none
        return len(reply) >= 4 and struct.unpack_from("<i", reply)[0] == len(reply)

    # ---- the truth

    def truth(self, name, request):
        now = bson.Timestamp(int(time.time()), 1)
        reply = {}
        if name.lower() in ("hello", "ismaster"):
            reply = self._hello(request)
        elif name in ("aggregate", "find", "listCollections", "getMore"):
            batch = "nextBatch" if name == "getMore" else "firstBatch"
            stream = name == "getMore" or "$changeStream" in str(request.get("pipeline", ""))[:40]
            if name == "getMore":
                time.sleep(min(request.get("maxTimeMS", 0), 20) / 1000)
            reply["cursor"] = {batch: [], "id": 77 if stream else 0, "ns": f"{request.get('$db', 'test')}.$cmd.aggregate"}
            reply["cursor"]["id"] = bson.Int64(reply["cursor"]["id"])
            if stream:
                reply["cursor"]["postBatchResumeToken"] = token(now.time)
        elif name in ("saslStart", "saslContinue"):
            reply = self._sasl(name, request)
        elif name == "buildInfo":
            reply = {"version": "6.0.9", "versionArray": [6, 0, 9, 0]}
        return {**reply, "ok": 1.0, "operationTime": now,
                "$clusterTime": {"clusterTime": now, "signature": {"hash": bytes(20), "keyId": bson.Int64(7)}}}

    def _hello(self, request):
        reply = {
            "helloOk": True, "isWritablePrimary": True, "ismaster": True, "secondary": False, "setName": "liars", "setVersion": 1,
            "topologyVersion": {"processId": bson.ObjectId(b"processident"), "counter": bson.Int64(6)},
            "hosts": [self.address], "me": self.address, "primary": self.address, "electionId": bson.ObjectId(b"\x7f\xff\xff\xff\0\0\0\0\0\0\0\1"),
            "lastWrite": {"lastWriteDate": bson.datetime.datetime(2026, 1, 1)}, "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000,
            "maxWriteBatchSize": 100000, "logicalSessionTimeoutMinutes": 30, "connectionId": 5, "minWireVersion": 0, "maxWireVersion": 17,
            "readOnly": False, "tags": {"where": "here"}}
        if request.get("compression"):
            reply["compression"] = ["zlib"]
        if "saslSupportedMechs" in request and self.authenticates:
            reply["saslSupportedMechs"] = ["SCRAM-SHA-1", "SCRAM-SHA-256"]
        if "speculativeAuthenticate" in request and self.authenticates:
            reply["speculativeAuthenticate"] = self._sasl("saslStart", request["speculativeAuthenticate"])
        return reply

    def _sasl(self, name, request):
        """SCRAM up to the proof, which is none."""
        reply = {"conversationId": 1, "done": False}
        payload = bytes(request.get("payload", b""))
        if name == "saslStart":
            nonce = payload.partition(b"r=")[2].decode() + base64.b64encode(os.urandom(18)).decode()
            salt = os.urandom(28 if request.get("mechanism") == "SCRAM-SHA-256" else 16)
            reply["payload"] = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096".encode()
        else:
            reply["payload"] = b"v=" + base64.b64encode(bytes(32))
        return reply
