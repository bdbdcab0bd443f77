"""What a program asks a SOCKS5 proxy for (RFC 1928), and what it is told: success when the verdict stands, not before.

Never more is read than the message says that it has, so that what a program sends early stays in the socket for the
relay. Only CONNECT is spoken. This host itself is no destination: a proxy is no way into the host that runs it.
"""

from __future__ import annotations

import contextlib
import hmac
import socket

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.names import Target, elsewhere
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import ClientLeftError
from tng_runtime.manifest import Socks5

NEGOTIATION_SECONDS = 10.0
# RFC 1928, sections 3 to 6; RFC 1929, section 2.
_VERSION, _LOGIN_VERSION, _CONNECT = 5, 1, 1
_NOBODY_ASKED, _LOGIN, _NONE = 0, 2, 255
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SUCCEEDED, _FAILED, _NOT_ALLOWED, _NO_SUCH_COMMAND, _NO_SUCH_ADDRESS = 0, 1, 2, 7, 8


class Asked:
    """One connection to the proxy, which ``poller`` watches already."""

    def __init__(self, sock: socket.socket, poller: Poller, proxy: Socks5) -> None:
        self._sock, self._poller, self._proxy = sock, poller, proxy
        self._owes_answer = False
        self._failure = _FAILED

    async def target(self, deadline: float) -> Target:
        """Where the program wants to go; raises ``Refused`` (NET-DOOR) or ``ClientLeftError``."""
        try:
            await self._login(deadline)
            version, command, _, kind = await self._exactly(4, deadline)
            if version != _VERSION:
                raise Refused(LinkCode.NET_DOOR, "the program does not speak SOCKS5")
            self._owes_answer = True
            found = await self._address(kind, deadline)
            port = int.from_bytes(await self._exactly(2, deadline))
        except TimeoutError:
            raise Refused(LinkCode.NET_DOOR, f"nothing was asked for within {NEGOTIATION_SECONDS:g} s") from None
        if command != _CONNECT:
            self._failure = _NO_SUCH_COMMAND
            raise Refused(LinkCode.NET_DOOR, f"command {command} is not CONNECT")
        self._failure = _NOT_ALLOWED
        if port == 0:
            raise Refused(LinkCode.NET_DOOR, "port 0 is no destination")
        target = elsewhere(found, port)
        self._failure = _FAILED
        return target

    def succeed(self) -> None:
        """Tell the program that it is connected."""
        self._answer(_SUCCEEDED)

    def fail(self) -> None:
        """Tell the program that it is not, unless it has been told something already."""
        self._answer(self._failure)

    def _answer(self, code: int) -> None:
        if self._owes_answer:
            self._owes_answer = False
            # Of a client that is gone the relay hears as well.
            with contextlib.suppress(OSError):
                self._sock.send(bytes([_VERSION, code, 0, _IPV4]) + bytes(6))

    async def _login(self, deadline: float) -> None:
        version, count = await self._exactly(2, deadline)
        if version != _VERSION:
            raise Refused(LinkCode.NET_DOOR, "the program does not speak SOCKS5")
        wanted = _NOBODY_ASKED if self._proxy.username is None else _LOGIN
        if wanted not in await self._exactly(count, deadline):
            self._sock.send(bytes([_VERSION, _NONE]))
            asked = "without a password" if wanted == _NOBODY_ASKED else "with a name and a password"
            raise Refused(LinkCode.NET_DOOR, f"the program does not offer to connect {asked}")
        self._sock.send(bytes([_VERSION, wanted]))
        if wanted == _LOGIN:
            version, length = await self._exactly(2, deadline)
            username = await self._exactly(length, deadline)
            (length,) = await self._exactly(1, deadline)
            password = await self._exactly(length, deadline)
            right = version == _LOGIN_VERSION and self._knows(username, password)
            self._sock.send(bytes([_LOGIN_VERSION, 0 if right else 1]))
            if not right:
                raise Refused(LinkCode.NET_DOOR, "wrong name or password")

    def _knows(self, username: bytes, password: bytes) -> bool:
        known = hmac.compare_digest(username, (self._proxy.username or "").encode())
        return hmac.compare_digest(password, (self._proxy.password or "").encode()) and known

    async def _address(self, kind: int, deadline: float) -> str:
        if kind == _IPV4:
            return socket.inet_ntop(socket.AF_INET, await self._exactly(4, deadline))
        if kind == _IPV6:
            return socket.inet_ntop(socket.AF_INET6, await self._exactly(16, deadline))
        if kind != _NAME:
            self._failure = _NO_SUCH_ADDRESS
            raise Refused(LinkCode.NET_DOOR, f"address type {kind} is none of SOCKS5")
        (length,) = await self._exactly(1, deadline)
        return (await self._exactly(length, deadline)).decode("ascii", "replace")

    async def _exactly(self, count: int, deadline: float) -> bytes:
        """The next ``count`` bytes; raises ``TimeoutError`` at ``deadline``, ``ClientLeftError`` at the end."""
        data = b""
        while len(data) < count:
            try:
                more = self._sock.recv(count - len(data))
            except BlockingIOError:
                await self._poller.wait(self._sock.fileno(), deadline)
                continue
            except OSError:
                raise ClientLeftError from None
            if not more:
                raise ClientLeftError
            data += more
        return data
