"""One HTTP call to the attestation service, bounded in every direction.

No proxy of the environment, no redirects, no cookies, no content encodings, no connection kept: what the configuration
names is asked, and what it answers is taken or refused. The deadline covers the whole call, body included, so a byte a
second does not prolong it; the body is cut off at its bound while it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import httpcore

from tng_runtime.attest.codes import Code
from tng_runtime.errors import HostError, Refused
from tng_runtime.manifest import Service
from tng_runtime.tunnel.marked import MarkedBackend
from tng_runtime.tunnel.service_tls import TlsRefusedError, tls_context
from tng_schema import contract

# Calls beyond these wait for their turn within their deadline.
MAX_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the whole body, at most as long as was asked for."""

    status: int
    body: bytes


class Fetcher:
    """Calls below ``as_addr`` of ``service``; raises ``HostError`` if it, a header or a CA (exit 3) cannot be used."""

    def __init__(self, service: Service, so_mark: int) -> None:
        self._address = service.as_addr.rstrip("/")
        self._headers = _headers(service)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls_context(service),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=MarkedBackend(so_mark),
        )

    async def call(self, method: str, path: str, body: bytes | None, *, limit: int, deadline: float) -> Answer:
        """Ask for ``path`` (with a leading slash); ``limit`` in bytes, ``deadline`` in seconds.

        Raises ``Refused``: RA-SERVICE-UNREACHABLE, -DEADLINE, -SIZE, -TLS, -CA, -CERTIFICATE, and -ANSWER for what
        is not HTTP.
        """
        headers = [*self._headers, ("Content-Type", "application/json")] if body is not None else self._headers
        target = self._address + path
        try:
            with anyio.fail_after(deadline):
                async with self._pool.stream(method, target, headers=headers, content=body) as response:
                    return await _read(response, limit)
        except TimeoutError:
            raise Refused(Code.SERVICE_DEADLINE, f"{target} took longer than {deadline:g} s") from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise Refused(Code.SERVICE_ANSWER, f"{target} does not speak HTTP: {error}") from None
        except TlsRefusedError as error:
            raise Refused(error.code, f"{target}: {error}") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProxyError) as error:
            raise Refused(Code.SERVICE_UNREACHABLE, f"{target}: {error}") from None

    async def aclose(self) -> None:
        """End the calls under way."""
        await self._pool.aclose()


async def _read(response: httpcore.Response, limit: int) -> Answer:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > limit:
            raise Refused(Code.SERVICE_SIZE, f"the attestation service's answer is longer than {limit} bytes")
    return Answer(response.status, bytes(body))


def _headers(service: Service) -> list[tuple[str, str]]:
    parts = urlsplit(service.as_addr)
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise _unusable(f"as_addr {service.as_addr!r} is not scheme://host[:port][/path]")
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "tng"}
    for name, value in service.as_headers:
        if not contract.is_header_name(name) or not contract.is_header_value(value) or contract.is_framing(name):
            raise _unusable(f"as_headers: {name!r} cannot be sent")
        headers = {known: kept for known, kept in headers.items() if known.lower() != name.lower()} | {name: value}
    return list(headers.items())


def _unusable(problem: str) -> HostError:
    return HostError(problem, hint="correct it in the configuration and compile again", exit_code=1)
