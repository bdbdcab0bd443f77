"""The network under the HTTP client: TCP connections that carry TNG's mark from their first packet.

Capture rules spare our own packets by their mark, and redirect acts on the first packet of a connection alone. httpcore
applies ``socket_options`` only after ``connect`` has returned (httpcore 1.0, ``_backends``), so its SYN would go out
unmarked and a call to the service could be captured by ourselves. Hence a backend that marks first and connects then.

Sockets are read directly: a stream that anyio 4 makes of a connected socket reads ahead without a bound until somebody
asks for the first byte (``wrap_stream_socket`` does not pause its transport), which a hostile service can fill.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import typing

import anyio
import httpcore
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from tng_runtime.errors import HostError
from tng_runtime.kernel.liveness import notice_absence
from tng_runtime.kernel.sockets import dial_socket
from tng_runtime.tunnel.service_tls import refusal

# One unreachable address of a name must not use up the time of the others.
CONNECT_SECONDS = 5.0


class MarkedBackend(httpcore.AsyncNetworkBackend):
    """Connects with SO_MARK ``mark``; 0 leaves sockets unmarked, for documents without capture rules."""

    def __init__(self, mark: int) -> None:
        self._mark = mark

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the caller's deadline is a cancel scope
        local_address: str | None = None,  # noqa: ARG002 - never asked for
        socket_options: typing.Iterable[typing.Any] | None = None,  # noqa: ARG002 - set before connecting, by dial_socket
    ) -> httpcore.AsyncNetworkStream:
        """The first address of ``host`` that answers; raises ``httpcore.ConnectError``."""
        try:
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address: {error}") from None
        problem = f"{host} has no address"
        for family, _, _, _, address in found:
            try:
                with anyio.fail_after(CONNECT_SECONDS):
                    return _Stream(await self._connect(family, address))
            except TimeoutError:
                problem = f"{address[0]} port {port}: no answer in {CONNECT_SECONDS:g} s"
            except (OSError, HostError) as error:
                problem = f"{address[0]} port {port}: {error}"
        raise httpcore.ConnectError(problem)

    async def _connect(self, family: int, address: tuple[typing.Any, ...]) -> ByteStream:
        sock = dial_socket("ipv6" if family == socket.AF_INET6 else "ipv4", self._mark)
        try:
            notice_absence(sock)
            # connect(2): a non-blocking connect ends with the socket writable, its outcome in SO_ERROR.
            if (code := sock.connect_ex(address)) == errno.EINPROGRESS:
                await anyio.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            return _Socket(sock)
        except BaseException:
            sock.close()
            raise


class _Socket(ByteStream):
    """A connected non-blocking socket, of which never more is read than was asked for."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        while True:
            await anyio.wait_readable(self._sock)
            with contextlib.suppress(BlockingIOError):
                if data := self._sock.recv(max_bytes):
                    return data
                raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        view = memoryview(item)
        while view:
            await anyio.wait_writable(self._sock)
            with contextlib.suppress(BlockingIOError):
                view = view[self._sock.send(view) :]

    async def send_eof(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self._sock.fileno() >= 0:
            anyio.notify_closing(self._sock)
            self._sock.close()


class _Stream(httpcore.AsyncNetworkStream):
    """An anyio stream in httpcore's words; timeouts are the caller's cancel scope."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see the class
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - see the class
        try:
            await self._stream.send(buffer)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from None

    async def aclose(self) -> None:
        # TLS says goodbye; a service that went first does not hear it.
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream):
            await anyio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - see the class
    ) -> httpcore.AsyncNetworkStream:
        try:
            wrapped = await TLSStream.wrap(self._stream, hostname=server_hostname, ssl_context=ssl_context)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            await self.aclose()
            raise refusal(error, server_hostname) from None
        return _Stream(wrapped)
