"""A TCP proxy that plays a bad network."""
import asyncio
import socket
import struct
import threading


class Proxy:
    """Forwards 127.0.0.1:port to a target; how well, is set at any time by its attributes.

    blackhole   nothing is forwarded any more and nothing is closed
    delay       seconds each piece of data waits
    piece       bytes written at once, at most
    refuse      new connections are reset
    damage      offsets; of each of the next replies a byte there is inverted
    stop_in     so many bytes of the next reply come, and nothing more on its connection, which stays open
    unknown     a word (of requests) that the server shall not know, as an older one would not
    Use `reset` to cut the connections that are there, `silence` to leave them open and dead, as a machine does
    that has lost its network; new ones work.
    """

    def __init__(self, target_port):
        self.target_port = target_port
        self.blackhole = self.refuse = False
        self.delay = 0.0
        self.piece = 1 << 16
        self.damage = []
        self.stop_in = None
        self.unknown = None
        self._dead = set()
        self.accepted = 0
        self.forwarded = 0
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self._loop), return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader, writer):
        if self.refuse:
            self._abort(writer)
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            self._abort(writer)
            return
        pair = {writer, far_writer}
        self._writers |= pair
        pumps = [asyncio.ensure_future(self._pump(reader, far_writer, writer, False)),
                 asyncio.ensure_future(self._pump(far_reader, writer, writer, True))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the proxy is closed
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            for one in pair:
                one.close()
            self._writers -= pair
            self._dead.discard(writer)

    async def _pump(self, reader, writer, connection, replies):
        try:
            while True:
                data = await reader.read(1 << 16)
                if self.unknown:
                    words = [self.unknown, self.unknown[:-1] + b"?"]
                    data = data.replace(*(reversed(words) if replies else words))
                if replies and self.stop_in is not None and data:
                    writer.write(data[:self.stop_in])
                    self.stop_in = None
                    self._dead.add(connection)
                if replies and self.damage and len(data) > self.damage[0]:
                    offset = self.damage.pop(0)
                    data = data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1:]
                if self.delay:
                    await asyncio.sleep(self.delay)
                while self.blackhole or connection in self._dead:
                    await asyncio.sleep(0.02)
                if not data:
                    return
                while data:
                    now, data = data[:self.piece], data[self.piece:]
                    writer.write(now)
                    await writer.drain()
                    self.forwarded += len(now)
                    if self.piece < 1024:
                        await asyncio.sleep(0)
        except OSError:
            return

    @staticmethod
    def _abort(writer):
        """Closes with a reset instead of a proper end."""
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def _in_loop(self, function):
        done = threading.Event()

        def run():
            function()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(5)

    @property
    def connections(self):
        """How many connections are open."""
        return len(self._writers) // 2

    def reset(self):
        """Resets every connection that is there."""
        self._in_loop(lambda: [self._abort(writer) for writer in list(self._writers)])

    def silence(self):
        """Lets nothing through any more on the connections that are there, and closes none."""
        self._in_loop(lambda: self._dead.update(self._writers))

    def close(self):
        """Ends the proxy and its connections."""
        def end():
            self._server.close()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        if self._thread.is_alive():
            self.reset()
            self._loop.call_soon_threadsafe(end)
            self._thread.join(5)
