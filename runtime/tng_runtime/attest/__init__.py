"""The deciding half of attestation: bytes and a time in, a frozen value or ``Refused`` out.

Nothing here reads a clock, a file or a socket. ``verdict`` is the file to read first: it orders the checks; ``codes``
lists every way in which they end. Whoever fetches (agent, service, TLS) lives in ``tng_runtime.tunnel``.
"""
