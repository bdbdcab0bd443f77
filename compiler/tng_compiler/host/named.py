"""What a document names and the host must have: cgroups, ipsets, the attestation agent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import program
from tng_compiler.host.finding import ERROR, WARNING, Finding, in_document
from tng_compiler.plan.types import Plan

CGROUPS = Path("/sys/fs/cgroup")
_SECONDS = 5.0


def cgroups(plan: Plan, root: Path = CGROUPS) -> Iterator[Finding]:
    """Each cgroup of a condition that is not there."""
    for entry in plan.entries:
        for member, levels in (("capture_cgroup", entry.inside), ("nocapture_cgroup", entry.outside)):
            absent = [path for level in levels for path in level.paths if not (root / path).is_dir()]
            if absent:
                yield in_document(
                    Code.CGROUP_ABSENT,
                    ERROR,
                    f"{entry.pointer}/netfilter/{member}",
                    f"expected these cgroups below {root}, found none: {', '.join(absent)}",
                    "start what runs in them first, or take them out of the document",
                )


def ipsets(plan: Plan) -> Iterator[Finding]:
    """Each ipset that is not there."""
    for entry in plan.entries:
        groups = (*entry.captured_sets, *entry.rejected_sets)
        wanted = sorted({group.name if group.family == "ipv4" else group.name.removesuffix("6") for group in groups})
        absent = [name for name in wanted if not _has_ipset(name)]
        if absent:
            yield in_document(
                Code.IPSET_ABSENT,
                ERROR,
                f"{entry.pointer}/netfilter/capture_dst",
                f"expected these ipsets, found none: {', '.join(absent)}",
                f"`ipset create {absent[0]} hash:net`, before the runtime starts; the program is in the package ipset",
            )


def agents(plan: Plan) -> Iterator[Finding]:
    """Each entry whose attestation agent does not answer the door. It is not asked for evidence."""
    for entry in plan.all_entries:
        if entry.attest is not None and (problem := _not_there(entry.attest.aa_path)):
            yield in_document(
                Code.AGENT_SILENT,
                WARNING,
                f"{entry.pointer}/attest",
                f"expected an attestation agent at {entry.attest.aa_path}, found: {problem}",
                "start it; without it the runtime does not start, and refuses what it captures",
            )


def _not_there(path: str) -> str | None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_SECONDS)
        try:
            sock.connect(path)
        except OSError as error:
            return error.strerror or "no answer"
    return None


def _has_ipset(name: str) -> bool:
    done = program.run("ipset", "list", "-terse", name)
    return done is not None and done.returncode == 0
