"""What all tests share: the privileged ones that must not pass by being skipped, hosts to run on, and golden files."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from tng_demo import scene as scenes
from tng_demo.lab import Lab, lab
from tng_demo.scene import Scene

ROOT = Path(__file__).parent.parent

_PRIVILEGED = ("netns", "interop")

# By default an example that takes more than 200 ms fails, as any does on a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Programs are to buffer their output as installed ones do, whose interpreter is isolated from the environment.
os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-netns",
        action="store_true",
        help="fail the tests that need root and network namespaces, instead of skipping them, where they cannot run",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that take long come first: what is left for the end then is short, and no process waits for another's.
    items.sort(key=_shortness)
    if _why_no_namespaces() is None:
        return
    for item in items:
        if _privileged(item):
            item.add_marker(pytest.mark.skip(reason=f"needs network namespaces: {_why_no_namespaces()}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a privileged test into a failure under ``--require-netns``."""
    report = yield
    if report.skipped and _privileged(item) and item.config.getoption("--require-netns"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but --require-netns was given: {report.longrepr}"
    return report


@pytest.fixture
def hosts() -> Iterator[Lab]:
    """Two hosts, ``client`` and ``server``, joined by a cable."""
    with lab("client", "server") as built:
        yield built


@pytest.fixture
def scene(hosts: Lab) -> Iterator[Scene]:
    """The netfilter scenario on both hosts, everything but the tunnel."""
    with scenes.inside_of_us(hosts) as built:
        yield built


class _Golden(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT
    file_extension = ""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(ROOT / "snapshots")

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return str(index)

    def owns_snapshot_collection(self, *, filepath: str, test_location: PyTestLocation) -> bool:
        """Whether a file counts as unused without a test: the folder is shared, so no extension may say so."""
        return False


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Compare text with a file of snapshots/ that is named after its case: ``text == golden(name="demo/tour.txt")``.

    ``--snapshot-update`` writes it.
    """
    return snapshot.use_extension(_Golden)


def _shortness(item: pytest.Item) -> float:
    """Higher for what is over sooner, by how long a test may take; the order is kept otherwise."""
    limit = item.get_closest_marker("timeout")
    if limit is not None and limit.args[0] > 120:
        return -float(limit.args[0])
    return 0 if _privileged(item) else 1


def _privileged(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in _PRIVILEGED)


@functools.cache
def _why_no_namespaces() -> str | None:
    if os.geteuid() != 0:
        return "not root"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else tried.stderr.strip()
