"""What a package holds beside the programs: manuals, completions, units, the changelog's entry excepted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from package import completions, debian, manuals, programs

UNITS = Path(__file__).parents[1] / "compiler/tng_compiler/cli/units"
_READERS = {"tng": programs.compiler, "tng-runtime": programs.runtime}
_COMPLETIONS = (
    ("usr/share/bash-completion/completions/{}", completions.bash),
    ("usr/share/zsh/vendor-completions/_{}", completions.zsh),
    ("usr/share/fish/vendor_completions.d/{}.fish", completions.fish),
)


def add(root: Path, names: Iterable[str], version: str, epoch: int) -> None:
    """Add to ``root`` what belongs to the programs ``names``; ``epoch`` (seconds) dates the manuals."""
    shown = [_READERS[name]() for name in names]
    date = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d")
    for program in shown:
        text = manuals.render(program, version, date)
        section = manuals.section(program)
        debian.compress(_write(root / f"usr/share/man/man{section}/{program.name}.{section}", text))
        for path, render in _COMPLETIONS:
            _write(root / path.format(program.name), render(program))
    for unit in sorted(UNITS.iterdir()):
        text = unit.read_text("utf-8")
        with_compiler = any(program.name == "tng" for program in shown)
        _write(root / "lib/systemd/system" / unit.name, text if with_compiler else without_compiler(text))


def without_compiler(unit: str) -> str:
    """The unit for a host where somebody else puts compiled documents into /var/lib/tng/NAME/compiled."""
    kept = re.sub(r"^Exec\w+=.*/usr/bin/tng compile .*\n", "", unit, flags=re.MULTILINE)
    kept = re.sub(
        r"^# (At the first boot|If the document is wrong|.*tng rollback).*\n",
        "",
        kept,
        flags=re.MULTILINE,
    )
    kept = kept.replace("/etc/tng/%i.json is compiled and run.", "/var/lib/tng/%i/compiled is run.")
    return kept.replace("man:tng(1) ", "")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path
