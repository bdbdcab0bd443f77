"""The command line of ``scripts/package``."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from package import check, debian, extras, locked, tree

ROOT = Path(__file__).resolve().parents[1]
_PROGRAMS = {"tng": "tng_compiler.cli", "tng-runtime": "tng_runtime.__main__"}


def main() -> int:
    """Build, say what was made, and check it if that is asked for."""
    parser = argparse.ArgumentParser(prog="scripts/package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist")
    parser.add_argument(
        "--check",
        action="store_true",
        help="build twice and compare, look with lintian, install and remove in a fresh Debian (needs root; minutes)",
    )
    options = parser.parse_args()
    made = build(options.output)
    for path in made:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    if not options.check:
        return 0
    with tempfile.TemporaryDirectory() as again:
        check.same(made, build(Path(again)))
    debs = [path for path in made if path.suffix == ".deb"]
    check.others(ROOT)
    check.lintian(debs)
    check.installs(debs)
    return 0


def build(output: Path) -> list[Path]:
    """Make the wheel and both packages in ``output``; what is built depends on the commit and the lock alone."""
    os.umask(0o022)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct"))
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tng-package.") as scratch:
        wheel = _wheel(output, epoch)
        made = [wheel]
        for name, wanted in (("tng", ["compiler"]), ("tng-runtime", [])):
            root = Path(scratch) / name
            programs = {each: module for each, module in _PROGRAMS.items() if wanted or each == "tng-runtime"}
            names = locked.needed(ROOT / "pyproject.toml", wanted)
            tree.plant(root, wheel, locked.lines(ROOT / "requirements.lock", names), programs)
            if not wanted:
                for compiler in (root / tree.PREFIX).glob("lib/*/site-packages/tng_compiler"):
                    shutil.rmtree(compiler)
            extras.add(root, programs, version, epoch)
            made.append(debian.build(root, name, version, output, epoch))
    return made


def _wheel(output: Path, epoch: int) -> Path:
    # The build backend takes what lies there, so an old wheel of the same version is removed first.
    for old in output.glob("tng-*.whl"):
        old.unlink()
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(output.resolve())]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (wheel,) = output.glob("tng-*.whl")
    return wheel


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
