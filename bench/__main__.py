"""``python -m bench``: the tunnel and its connections by turns with the Rust TNG, the guard, and the compiler."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import clients, compiler, connections, doors, guard, memory, quota
from bench.phases import Figures, measure
from bench.report import table
from bench.sides import Program, Trust, tunnelled

ROOT = Path(__file__).parents[1]
PROGRAMS: tuple[Program, ...] = ("ours", "rust")
SECTIONS = ("tunnel", "connections", "doors", "clients", "quota", "memory", "guard", "compiler")
TRUSTS: tuple[Trust, ...] = ("no_ra", "attested")


def main() -> int:
    """Measure, print the tables, and with ``--write`` put them into docs/benchmarks.md."""
    options = _options()
    peer = Path(
        subprocess.run([ROOT / "scripts" / "fetch-peer"], capture_output=True, text=True, check=True).stdout.strip()
    )
    sections: dict[str, str] = {}
    if "tunnel" in options.only:
        how = f"`scripts/bench --rounds {options.rounds} --seconds {options.seconds} --write`"
        rounds = {trust: _rounds(trust, options.rounds, options.seconds, peer) for trust in options.trust}
        sections["tunnel"] = "\n\n".join([how, *(f"### {trust}\n\n{lines}" for trust, lines in rounds.items())])
    if "connections" in options.only:
        how = f"`scripts/bench --only connections --rounds {options.rounds} --seconds {options.seconds} --write`"
        found = [(t, connections.table(t, options.rounds, options.seconds, peer)) for t in options.trust]
        sections["connections"] = "\n\n".join([how, *(f"### One connection, {t}\n\n{lines}" for t, lines in found)])
    for name, measured in (("doors", doors.table), ("clients", clients.table)):
        if name in options.only:
            how = f"`scripts/bench --only {name} --rounds {options.rounds} --seconds {options.seconds} --write`"
            found = [(t, measured(t, options.rounds, options.seconds, peer)) for t in options.trust]
            sections[name] = "\n\n".join([how, *(f"### {name}, {t}\n\n{lines}" for t, lines in found)])
    if "quota" in options.only:
        how = f"`scripts/bench --only quota --rounds {options.rounds} --seconds {options.seconds} --write`"
        sections["quota"] = f"{how}\n\n{quota.tables('attested', options.rounds, options.seconds, peer)}"
    if "memory" in options.only:
        sections["memory"] = f"`scripts/bench --only memory --write`\n\n{memory.table()}"
    if "guard" in options.only:
        how = "`scripts/bench --only guard --write`: three times as many rounds, each of them shorter."
        sections["guard"] = f"{how}\n\n{guard.table(3 * options.rounds, max(1, options.seconds - 2))}"
    if "compiler" in options.only:
        sections["compiler"] = compiler.tables(peer)
    for name, text in sections.items():
        print(text)
        if options.write:
            _write(name, text)
    return 0


def _rounds(trust: Trust, rounds: int, seconds: int, peer: Path) -> str:
    figures: dict[Program, list[Figures]] = {"ours": [], "rust": []}
    for number in range(rounds):
        # Who begins alternates too: a machine that grows slower must not favour one of them.
        for program in PROGRAMS if number % 2 == 0 else PROGRAMS[::-1]:
            with tempfile.TemporaryDirectory() as directory, tunnelled(program, trust, peer, Path(directory)) as side:
                figures[program].append(measure(side, seconds))
            print(f"# {trust} round {number + 1} {program}: {json.dumps(figures[program][-1])}", file=sys.stderr)
    return table(figures["ours"], figures["rust"])


def _write(section: str, text: str) -> None:
    path = ROOT / "docs" / "benchmarks.md"
    begin, end = f"<!-- {section}: begin -->\n", f"<!-- {section}: end -->\n"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each program and trust (5)")
    parser.add_argument("--seconds", type=int, default=3, help="of each phase (3)")
    parser.add_argument("--trust", nargs="+", choices=TRUSTS, default=TRUSTS)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
