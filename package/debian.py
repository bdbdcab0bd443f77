"""A tree and what dpkg must know about it, to one .deb; see deb-control(5) and Debian Policy."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent / "debian"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def build(root: Path, name: str, version: str, target: Path, epoch: int) -> Path:
    """Write ``target``/``name``_``version``_ARCH.deb from ``root``; all times become ``epoch`` (seconds)."""
    architecture = _output("dpkg", "--print-architecture")
    _document(root, name, version, epoch)
    control = root / "DEBIAN"
    control.mkdir()
    size = sum(-(-path.lstat().st_size // 1024) + 1 for path in root.rglob("*"))
    fields = (_HERE / f"{name}.control").read_text("utf-8")
    for key, value in (("VERSION", version), ("ARCHITECTURE", architecture), ("SIZE", str(size))):
        fields = fields.replace(f"@{key}@", value)
    (control / "control").write_text(fields)
    (control / "md5sums").write_text(_digests(root))
    for script in _SCRIPTS:
        if (source := _HERE / script).is_file():
            copy = control / script
            copy.write_text(source.read_text("utf-8").replace("@PACKAGE@", name))
            copy.chmod(0o755)
    _settle(root, epoch)
    made = target / f"{name}_{version}_{architecture}.deb"
    made.unlink(missing_ok=True)
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--threads-max=1", "--build", str(root), str(made)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return made


def compress(path: Path) -> Path:
    """``path`` as ``path``.gz, as Policy wants manuals and changelogs: without a name or a time of this build."""
    packed = path.with_name(f"{path.name}.gz")
    with packed.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as stream:
        stream.write(path.read_bytes())
    path.unlink()
    return packed


def _document(root: Path, name: str, version: str, epoch: int) -> None:
    directory = root / "usr/share/doc" / name
    directory.mkdir(parents=True)
    (directory / "copyright").write_bytes((_HERE / "copyright").read_bytes())
    date = _output("date", "-u", "-R", "-d", f"@{epoch}")
    entry = f"{name} ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md of the source.\n\n"
    (directory / "changelog").write_text(f"{entry} -- tng <tng@localhost.localdomain>  {date}\n")
    compress(directory / "changelog")
    overrides = root / "usr/share/lintian/overrides"
    overrides.mkdir(parents=True)
    (overrides / name).write_text((_HERE / "lintian-overrides").read_text("utf-8").replace("@PACKAGE@", name))


def _digests(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    inside = [(path, path.relative_to(root)) for path in files if path.relative_to(root).parts[0] != "DEBIAN"]
    return "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n" for path, name in inside
    )


def _settle(root: Path, epoch: int) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
