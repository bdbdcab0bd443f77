"""Coverage-guided fuzzing (atheris, libFuzzer) of one entry of ``entries.py``; see README.md beside this file.

Anything but ``Refused`` is a finding: the fuzzer stops and writes the input to ``crash-...`` in the working
directory, to become a case of ``tests/runtime/attest/``.

    python tests/fuzz/fuzz_attest.py ENTRY CORPUS_DIRECTORY [libFuzzer options]
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # lives in an environment of its own

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("runtime", "demo", "tests")]

with atheris.instrument_imports(include=["tng_runtime.attest", "tng_runtime.tunnel.ttrpc"]):
    from fuzz.entries import ENTRIES, SEEDS
    from tng_runtime.errors import Refused


def main() -> None:
    """Write the seeds into the corpus directory and fuzz the entry named first."""
    name, corpus = sys.argv.pop(1), Path(sys.argv[1])
    entry = ENTRIES[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one_input(data: bytes) -> None:
        try:
            entry(data)
        except Refused:
            return

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
