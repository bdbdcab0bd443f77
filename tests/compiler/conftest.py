"""Goldens of the compiler: files of snapshots/ with real extensions, named after their case and not after a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

SNAPSHOTS = Path(__file__).parents[2] / "snapshots"


class _Golden(SingleFileSnapshotExtension):
    """The index is the path under snapshots/; the name that syrupy knows stays the test's."""

    _write_mode = WriteMode.TEXT
    file_extension = ""

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return test_location.snapshot_name

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return str(SNAPSHOTS / str(index))

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return True

    @classmethod
    def discovery_dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(SNAPSHOTS / "none")

    def owns_snapshot_collection(self, *, filepath: str, test_location: PyTestLocation) -> bool:
        """The folder is shared by many tests, so no one of them may call a file unused."""
        return False


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Compare with a golden: ``text == golden(name="refused/text_comment.txt")``; ``--snapshot-update`` writes it."""
    return snapshot.use_extension(_Golden)
