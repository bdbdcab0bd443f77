"""``python -m bench.soak_server PORT PORT``: the servers of the soak, on the server's host."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys

from bench.soak import servers

if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(servers([int(port) for port in sys.argv[1:]]))
