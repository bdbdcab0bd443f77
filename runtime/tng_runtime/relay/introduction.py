"""An egress tells the service who its client is, on a connection that has just been made, before any payload."""

from __future__ import annotations

import os
import socket

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.sockets import Destination
from tng_runtime.manifest import Entry
from tng_runtime.relay.proxy_header import Told, key_digest, proxy_header
from tng_runtime.tunnel.handshake import AttestedStream


def introduce(
    service: socket.socket, entry: Entry, client: str | None, meant: Destination, stream: AttestedStream
) -> None:
    """Write the header of the PROXY protocol where ``entry`` says so; ``meant`` is where ``client`` was going.

    Raises ``Refused`` (NET-DIAL, NET-LIMIT).
    """
    if entry.proxy_protocol is None or client is None:
        return
    told = Told()
    if entry.verify is not None:
        told = Told(entry.verify.policy_ids, key_digest(stream.connection))
    header = proxy_header(client, meant.host, meant.port, told)
    try:
        whole = service.send(header) == len(header)
    except OSError as error:
        raise Refused(LinkCode.NET_DIAL, f"{meant}: {os.strerror(error.errno or 0)}") from None
    if not whole:
        raise Refused(LinkCode.NET_LIMIT, "the kernel had no room for a header of a few hundred bytes")
