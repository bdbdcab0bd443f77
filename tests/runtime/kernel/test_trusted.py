"""113: what others can write to is not executed, whichever directory, link or file on the way it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tng_runtime.errors import HostError
from tng_runtime.kernel import trusted

FILES = ("manifest.json",)
STRANGER = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "parent" / "compiled"
    made.mkdir(parents=True)
    for path in (tmp_path, made.parent, made):
        path.chmod(0o755)
    (made / "manifest.json").write_text("{}")
    (made / "manifest.json").chmod(0o644)
    trusted.require(made, FILES)
    return made


def refused(directory: Path) -> str:
    with pytest.raises(HostError, match="others can change it") as caught:
        trusted.require(directory, FILES)
    assert caught.value.exit_code == 3
    assert "chmod go-w" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o757])
@pytest.mark.parametrize("which", ["parent", "parent/compiled", "parent/compiled/manifest.json"])
def test_a_mode_that_lets_others_write_is_refused(directory: Path, which: str, mode: int) -> None:
    path = directory.parent.parent / which
    path.chmod(mode)
    if which == "parent" and mode == 0o1777 and os.geteuid() == 0:
        trusted.require(directory, FILES)
    else:
        assert f"{path} has mode {mode:04o}" in refused(directory)


@needs_root
@pytest.mark.parametrize("which", ["parent", "parent/compiled", "parent/compiled/manifest.json"])
def test_what_belongs_to_another_user_is_refused(directory: Path, which: str) -> None:
    path = directory.parent.parent / which
    os.chown(path, STRANGER, STRANGER)
    assert f"{path} belongs to user {STRANGER}" in refused(directory)


@needs_root
def test_a_directory_of_another_user_below_a_sticky_one_is_refused(directory: Path) -> None:
    directory.parent.chmod(0o1777)
    os.chown(directory, STRANGER, STRANGER)
    assert f"{directory} belongs to user {STRANGER}" in refused(directory)


@needs_root
def test_a_link_counts_with_where_it_stands_and_where_it_leads(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    link = tmp_path / "open" / "link"
    link.symlink_to(Path("..") / "parent" / "compiled")
    trusted.require(link, FILES)
    (tmp_path / "open").chmod(0o777)
    assert f"{tmp_path / 'open'} has mode 0777" in refused(link)
    (tmp_path / "open").chmod(0o1777)
    trusted.require(link, FILES)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert f"{link} belongs to user" in refused(link)
    os.chown(link, 0, 0, follow_symlinks=False)
    directory.parent.chmod(0o777)
    assert f"{directory.parent} has mode 0777" in refused(link)


def test_links_without_end_end(directory: Path) -> None:
    (directory / "manifest.json").unlink()
    (directory / "manifest.json").symlink_to(directory / "manifest.json")
    trusted.require(directory, FILES)


def test_what_is_not_there_is_left_to_its_reader(tmp_path: Path) -> None:
    trusted.require(tmp_path / "absent", FILES)
