"""Mixed traffic with an answer that can be checked: what a server does with a connection, and what a client does.

A client's first line says what is to happen and how many bytes belong to it: ``KIND SIZE``. The server of a second
port speaks first. Whoever got bytes says their SHA-256, or the sender compares it: a byte that is lost, twice or in the
wrong place is found.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

CHUNK = 1 << 16
BANNER = 4096
PATIENCE = 120.0


@lru_cache(maxsize=64)
def payload(seed: int, size: int) -> bytes:
    """The same bytes on both sides, from a number."""
    return random.Random(seed).randbytes(size)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server behind the tunnel."""
    with suppress(OSError, asyncio.IncompleteReadError, ValueError):
        kind, size = (await reader.readline()).decode().split()
        if kind == "give":
            writer.write(payload(int(size), int(size)))
        elif kind == "ping":
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        else:
            digest = hashlib.sha256()
            while data := await reader.read(CHUNK):
                digest.update(data)
            writer.write(digest.hexdigest().encode())
        await writer.drain()
        writer.write_eof()
        await reader.read()
    writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server that speaks first."""
    with suppress(OSError):
        writer.write(payload(BANNER, BANNER))
        await writer.drain()
        writer.write_eof()
        await reader.read()
    writer.close()


@dataclass(slots=True)
class Tally:
    """What happened, by kind; ``wrong`` says what was not as it must be."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Clients:
    """Connections of all kinds to ``host``, until ``until`` (monotonic); ``ports`` of the server and of who greets.

    Who has ended a connection begins the next one after ``pause`` seconds.
    """

    def __init__(self, host: str, ports: tuple[int, int], until: float, pause: float = 0.0) -> None:
        self._host, self._ports, self._until, self._pause = host, ports, until, pause
        self.tally = Tally()
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "short": self._short,
            "half_closed": self._half_closed,
            "reset": self._reset,
            "slow_reader": self._slow_reader,
            "server_first": self._server_first,
            "urgent": self._urgent,
        }

    async def run(self, many: int, long: int) -> None:
        """``many`` at a time of the kinds that end soon, and ``long`` that stay until the end."""
        names = list(self._kinds)
        workers = [self._again(names[number % len(names)]) for number in range(many)]
        await asyncio.gather(*workers, *(self._counted("long", self._long) for _ in range(long)))

    async def _again(self, kind: str) -> None:
        while time.monotonic() < self._until:
            await self._counted(kind, self._kinds[kind])
            if self._pause:
                await asyncio.sleep(self._pause)

    async def _counted(self, kind: str, act: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(PATIENCE + max(0.0, self._until - time.monotonic())):
                await act()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, AssertionError) as error:
            self.tally.wrong.append(f"{kind}: {type(error).__name__}: {error}")
            await asyncio.sleep(0.1)
        else:
            self.tally.done[kind] += 1

    async def _open(self, port: int = 0, limit: int = CHUNK) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, port or self._ports[0], limit=limit)

    async def _short(self) -> None:
        reader, writer = await self._open()
        data = payload(7, random.randrange(1, 200_000))
        writer.write(b"take 0\n" + data)
        await writer.drain()
        writer.write_eof()
        _same(await reader.read(), hashlib.sha256(data).hexdigest().encode())
        writer.close()

    async def _half_closed(self) -> None:
        reader, writer = await self._open()
        size = random.randrange(1, 1_000_000)
        writer.write(f"give {size}\n".encode())
        writer.write_eof()
        _same(await _all(reader), payload(size, size))
        writer.close()

    async def _reset(self) -> None:
        _, writer = await self._open()
        writer.write(b"take 0\n" + payload(1, 1000))
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _slow_reader(self) -> None:
        size = 4_000_000
        reader, writer = await self._open(limit=4096)
        writer.write(f"give {size}\n".encode())
        got = bytearray()
        while data := await reader.read(CHUNK):
            got += data
            await asyncio.sleep(0.01)
        _same(bytes(got), payload(size, size))
        writer.close()

    async def _server_first(self) -> None:
        reader, writer = await self._open(self._ports[1])
        _same(await reader.read(), payload(BANNER, BANNER))
        writer.close()

    async def _urgent(self) -> None:
        """An urgent byte is the kernel's to place; what is sent beside it must arrive."""
        reader, writer = await self._open()
        writer.write(b"ping 0\nbefore")
        await writer.drain()
        _same(await reader.readexactly(6), b"before")
        duplicate = writer.get_extra_info("socket").dup()
        with socket.socket(fileno=duplicate.detach()) as sock:
            sock.send(b"!", socket.MSG_OOB)
        writer.write(b"after")
        writer.write_eof()
        rest = await _all(reader)
        assert rest.replace(b"!", b"") == b"after", rest
        writer.close()

    async def _long(self) -> None:
        reader, writer = await self._open()
        writer.write(b"ping 0\n")
        number = 0
        while time.monotonic() < self._until:
            number += 1
            data = f"{number:>32}".encode()
            writer.write(data)
            _same(await reader.readexactly(len(data)), data)
            await asyncio.sleep(0.5)
        writer.write_eof()
        _same(await reader.read(), b"")
        writer.close()


async def _all(reader: asyncio.StreamReader) -> bytes:
    got = bytearray()
    while data := await reader.read(CHUNK):
        got += data
    return bytes(got)


def _same(got: bytes, wanted: bytes) -> None:
    assert got == wanted, f"{len(got)} bytes came that are not the {len(wanted)} that were sent"
