"""A program of the host, run without a shell to its end, within a deadline and a bound."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence

from tng_runtime.errors import HostError

MAX_BYTES = 64 << 20
DEADLINE_SECONDS = 20.0


def run(argv: Sequence[str], deadline: float = DEADLINE_SECONDS, limit: int = MAX_BYTES) -> tuple[int, str, str]:
    """Run ``argv`` with nothing of our environment: its exit code, its output, what it said on standard error.

    Blocks for at most ``deadline`` seconds. Raises ``HostError`` if the program cannot be started, is still running
    then, or says more than ``limit`` bytes.
    """
    with _started(argv) as child:
        try:
            output, problem = _said(child, time.monotonic() + deadline, limit)
        except subprocess.TimeoutExpired:
            message = f"`{' '.join(argv)}` did not end in {deadline:g} s"
            raise HostError(message, hint="look at what it waits for") from None
        except OverflowError:
            message = f"`{' '.join(argv)}` said more than {limit} bytes"
            raise HostError(message, hint="make what it says less") from None
        return child.returncode, output.decode("utf-8", "replace"), problem.decode("utf-8", "replace")


def _said(child: subprocess.Popen[bytes], end: float, limit: int) -> tuple[bytearray, bytearray]:
    assert child.stdout
    assert child.stderr
    output, problem = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, output)
        selector.register(child.stderr, selectors.EVENT_READ, problem)
        while selector.get_map():
            if time.monotonic() >= end:
                raise subprocess.TimeoutExpired(child.args, end)
            for key, _ in selector.select(max(0.0, end - time.monotonic())):
                data = os.read(key.fd, 1 << 18)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
                if len(key.data) > limit:
                    raise OverflowError
    child.wait(max(0.0, end - time.monotonic()))
    return output, problem


@contextlib.contextmanager
def _started(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        child = subprocess.Popen(argv, stdin=nothing, stdout=pipe, stderr=pipe, env={"LC_ALL": "C"})
    except OSError as error:
        raise HostError(f"{argv[0]} cannot be started: {error.strerror}", hint="install it, or repair it") from None
    with child:
        try:
            yield child
        finally:
            # What has ended already is not signalled any more.
            child.kill()
