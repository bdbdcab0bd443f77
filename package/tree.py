"""The tree of /opt/tng: our code and what the lock pins, for each Python it serves, as a virtual environment.

A virtual environment is a file ``pyvenv.cfg`` beside a directory with an interpreter (PEP 405). It is written here at
its final paths instead of being made elsewhere and moved. The interpreter is the host's, so Debian's own updates of
Python reach it; it takes the packages of its own minor version.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PREFIX = Path("opt/tng")
# Debian 12 and Debian 13.
PYTHONS = ("3.11", "3.13")
_LAUNCHER = """#!/{prefix}/bin/python3 -I
import sys

from {module} import main

sys.exit(main())
"""


def plant(root: Path, wheel: Path, requirements: str, programs: dict[str, str]) -> None:
    """Fill ``root``/opt/tng with ``wheel``, the hashed ``requirements``, and ``programs`` (name to module)."""
    opt = root / PREFIX
    binaries = opt / "bin"
    binaries.mkdir(parents=True)
    (opt / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (binaries / "python3").symlink_to("/usr/bin/python3")
    for name, module in programs.items():
        launcher = binaries / name
        launcher.write_text(_LAUNCHER.format(prefix=PREFIX, module=module))
        launcher.chmod(0o755)
        (root / "usr/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/bin" / name).symlink_to(f"/{PREFIX}/bin/{name}")
    pinned = root.with_suffix(".requirements")
    pinned.write_text(requirements)
    for python in PYTHONS:
        site = opt / "lib" / f"python{python}" / "site-packages"
        _install(site, python, ["--require-hashes", "-r", str(pinned)])
        _install(site, python, [str(wheel)])
        _clean(site)
    _compile(opt / "lib" / "python3.11", f"/{PREFIX}/lib/python3.11")


def _install(site: Path, python: str, what: Sequence[str]) -> None:
    machine = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (36, 34, 31, 28, 26, 17)]
    if machine in ("x86_64", "aarch64"):
        platforms.append(f"--platform=manylinux2014_{machine}")
    abi = f"cp{python.replace('.', '')}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
    ]
    command += ["--target", str(site), "--upgrade", "--only-binary=:all:", "--implementation=cp", *platforms]
    command += [f"--python-version={python}", f"--abi={abi}", "--abi=abi3", "--abi=none", *what]
    subprocess.run(command, check=True, env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"})


def _clean(site: Path) -> None:
    """Remove what pip says about this build, and what is for other programs."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    for metadata in site.glob("*.dist-info"):
        for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            (metadata / name).unlink(missing_ok=True)
    for path in sorted(site.rglob("*")):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)


def _compile(library: Path, final: str) -> None:
    """Write bytecode whose validity is not a time stamp's (PEP 552): a start as root would write it otherwise."""
    command = ["/usr/bin/python3.11", "-I", "-m", "compileall", "-q", "-j1", "--invalidation-mode=unchecked-hash"]
    environment = {"PATH": "/usr/bin", "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "-s", str(library), "-p", final, str(library)], check=True, env=environment)
