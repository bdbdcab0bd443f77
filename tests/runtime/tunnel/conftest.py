"""What the tunnel's tests share: the loop it runs on, and the sample agent and service on real sockets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_service import SampleService


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's: a unix address has 108 bytes (unix(7))."""
    directory = Path(tempfile.mkdtemp(prefix="tng-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def agent(socket_dir: Path) -> Iterator[SampleAgent]:
    with SampleAgent(socket_dir / "aa.sock") as running:
        yield running


@pytest.fixture
def service() -> Iterator[SampleService]:
    with SampleService() as running:
        yield running
