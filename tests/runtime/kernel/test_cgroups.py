"""Looking at cgroups and writing them down, on trees of directories; with packets in test_cgroups_made_anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from packets.cgroups import with_cgroups
from tng_runtime.errors import HostError
from tng_runtime.kernel import cgroups
from tng_runtime.kernel.inotify import Directories
from tng_runtime.manifest import Cgroups, CgroupSet, KnownSet

UNIT = "system.slice/web\\x2d1@a:b.service"
ASKED = Cgroups(
    known=(KnownSet("known_cgroups_2", 2),),
    sets=(CgroupSet("ingress_0_inside_2", (UNIT,)), CgroupSet("ingress_0_outside_3", (f"{UNIT}/exempt",))),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in (f"{UNIT}/exempt", "system.slice/other.service", "user.slice"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


@pytest.fixture
def directories() -> Iterator[Directories]:
    made = Directories()
    yield made
    made.close()


def test_a_look_finds_directories_down_to_its_depth_and_no_files(tree: Path) -> None:
    assert set(cgroups.look(tree, 2).inodes) == {"system.slice", "user.slice", UNIT, "system.slice/other.service"}
    assert cgroups.look(tree, 3).inodes[f"{UNIT}/exempt"] == (tree / UNIT / "exempt").stat().st_ino


def test_known_sets_are_filled_before_those_of_the_entries(tree: Path) -> None:
    """The other order would let a cgroup that is made anew between two looks of nft be known and not captured."""
    assert cgroups.commands("tng", ASKED, cgroups.look(tree, 3)).splitlines() == [
        "flush set inet tng known_cgroups_2",
        "flush set inet tng ingress_0_inside_2",
        "flush set inet tng ingress_0_outside_3",
        f"add element inet tng known_cgroups_2 {{ {', '.join(_level_two(tree))} }}",
        f'add element inet tng ingress_0_inside_2 {{ "{UNIT}" }}',
        f'add element inet tng ingress_0_outside_3 {{ "{UNIT}/exempt" }}',
    ]


def _level_two(tree: Path) -> list[str]:
    return [f'"{path}"' for path in cgroups.look(tree, 2).inodes if path.count("/") == 1]


def test_what_is_gone_is_in_no_set(tree: Path) -> None:
    (tree / UNIT / "exempt").rmdir()
    (tree / UNIT).rmdir()
    text = cgroups.commands("tng", ASKED, cgroups.look(tree, 3))
    assert UNIT not in text
    assert text.count("flush set") == 3


@pytest.mark.parametrize("name", ['a"; flush ruleset; "', "a b", "{x}", "$(id)", "ä", "a\nb", "*", "#", "\udcff"])
def test_70_a_name_that_nft_cannot_write_stays_unknown_with_all_below(tree: Path, name: str) -> None:
    os.makedirs(os.fsencode(tree / "system.slice" / name / "below"))
    view = cgroups.look(tree, 3)
    assert view.unnameable == {f"system.slice/{name}"}
    assert view.inodes == {path: inode for path, inode in view.inodes.items() if name not in path}
    assert name not in cgroups.commands("tng", ASKED, view)


def test_every_change_down_to_the_depth_is_noticed(tree: Path, directories: Directories) -> None:
    async def noticed() -> None:
        with anyio.fail_after(60):
            await anyio.wait_readable(directories)
        directories.drain()
        cgroups.look(tree, 2, directories)

    cgroups.look(tree, 2, directories)
    changes: list[Callable[[], None]] = [
        lambda: (tree / "new.slice").mkdir(),
        lambda: (tree / "new.slice" / "a.service").mkdir(),
        lambda: (tree / "new.slice" / "a.service").rmdir(),
        lambda: (tree / "new.slice").rmdir(),
    ]
    for change in changes:
        change()
        anyio.run(noticed)


def test_a_directory_that_cannot_be_watched_is_said(tree: Path, directories: Directories) -> None:
    class Full(Directories):
        def watch(self, directory: Path) -> None:
            raise OSError(28, "No space left on device", str(directory))

    full = Full()
    assert not cgroups.look(tree, 2, full).watched
    assert cgroups.look(tree, 2, directories).watched
    full.close()


def test_without_cgroups_nothing_is_asked_of_the_host(tmp_path: Path) -> None:
    cgroups.require(Cgroups((), ()), tmp_path)
    follower = cgroups.Follower(("tng",), Cgroups((), ()), tmp_path)
    assert follower.commands("tng") == ""
    anyio.run(follower.run)


def test_a_place_without_cgroup2_is_refused_with_the_paths_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is not the root of a cgroup2 hierarchy") as caught:
        cgroups.require(ASKED, tmp_path)
    assert UNIT in caught.value.message


@pytest.mark.netns
def test_the_root_of_cgroup2_is_accepted_and_a_part_of_it_is_not() -> None:
    program = (
        "from tng_runtime.kernel import cgroups\nfrom tng_runtime.errors import HostError\n"
        "from tng_runtime.manifest import Cgroups, CgroupSet\n"
        "try:\n    cgroups.require(Cgroups((), (CgroupSet('ingress_0_inside_1', ('a',)),)))\n    print('accepted')\n"
        "except HostError as error:\n    print('refused')\n"
    )
    part = f"/sys/fs/cgroup/tng-part-{os.getpid()}"
    script = 'mkdir "$1"; mount --bind "$1" /sys/fs/cgroup; "$2" -c "$3"; umount /sys/fs/cgroup; rmdir "$1"'
    for argv, said in (
        ([sys.executable, "-c", program], "accepted\n"),
        (["sh", "-c", script, "sh", part, sys.executable, program], "refused\n"),
    ):
        done = subprocess.run(with_cgroups(argv), capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == said, done.stderr
