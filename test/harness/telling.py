"""Tells that something takes its time, and how far it is: on a terminal in one line that changes, else in a line now and then."""
import os
import select
import sys
import time

EVERY = 2.0


class Telling:
    """with Telling() as telling: telling.tell("3 of 7 done"), telling.tick() whenever nothing has come for a while."""

    def __init__(self, silent=False):
        self.silent = silent
        self.begin = self.last = time.monotonic()
        self.text = None
        self.shown = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.shown and sys.stdout.isatty():
            print("\r\033[K", end="", flush=True)

    def tell(self, text):
        """How far it is; None: as before."""
        self.text = text or self.text
        self.tick()

    def tick(self):
        """Shows it, if there was nothing for some seconds."""
        now = time.monotonic()
        if self.silent or now - self.last < (0.2 if self.shown and sys.stdout.isatty() else EVERY):
            return
        self.last, self.shown = now, True
        text = f"   {now - self.begin:3.0f} s{f'  {self.text}' if self.text else ''}"
        print(f"\r\033[K{text}" if sys.stdout.isatty() else f"{text}\n", end="", flush=True)


def lines_of(pipe, tick):
    """The lines of a pipe as they come; tick() is called while none does."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], 0.5)[0]:
            tick()
            continue
        piece = os.read(pipe.fileno(), 1 << 16)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace") + "\n"
        if not piece:
            break
    pipe.close()
    if rest:
        yield rest.decode(errors="replace")
