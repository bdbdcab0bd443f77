"""What a directory says about how it is run, beside its documents: the record of its document, and what is tried.

``tng compile --keep`` writes it for a unit, whose command line is the same for every document. The command line is
where others look for the record of who runs here (``tng rollback``), so this program executes itself once more, with
the words that ``tng apply`` would have given it. After SIGHUP the successor begins without them, and reads anew.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tng_runtime.errors import HostError
from tng_runtime.kernel import trusted
from tng_schema import contract

_OURS = ("--record=", "--probe=")
_MAX_BYTES = 1 << 16


def obey(directory: Path) -> None:
    """Become this program with the words of ``directory``; return if it says nothing. Raises ``HostError``."""
    if not (directory / contract.ORDERS).exists():
        return
    trusted.require(directory, (contract.ORDERS,))
    words = _read(directory / contract.ORDERS)
    # A hangup on the way asks for what is about to happen.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(sys.executable, [*_python(), *sys.orig_argv[1:], *words])  # noqa: S606 - no shell is the point


def again(directory: Path) -> Sequence[str]:
    """The command line of whoever takes over after SIGHUP."""
    told = (directory / contract.ORDERS).exists()
    return [*_python(), *(word for word in sys.orig_argv[1:] if not (told and word.startswith(_OURS)))]


def _python() -> list[str]:
    return [sys.executable]


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
        record, probes = found["record"], found["probes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _malformed(path) from error
    if not (isinstance(record, str) and isinstance(probes, list) and all(isinstance(one, str) for one in probes)):
        raise _malformed(path)
    return [f"--record={record}", *(f"--probe={probe}" for probe in probes)]


def _malformed(path: Path) -> HostError:
    return HostError(
        f"{path} is not what `tng compile --keep` writes", hint="compile once more, or remove it", exit_code=1
    )
