"""nft and the runtime's binding to it: there, new enough, allowed, and of one mind with the rules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.emit.nft import render
from tng_compiler.host import program
from tng_compiler.host.finding import ERROR, WARNING, Finding, on_host
from tng_compiler.plan.types import Plan
from tng_schema import contract

OLDEST_NFT, OLDEST_KERNEL = (1, 0, 6), (5, 12)
_CAP_NET_ADMIN = 12  # linux/capability.h


def programs() -> Iterator[Finding]:
    """Whether nft and its binding for Python are there."""
    said = program.run("nft", "--version")
    text = said.stdout.strip() if said else ""
    version = _numbers(text)
    if not version:
        why = " ".join((said.stderr or text).split()) if said else ""
        found = f"one that does not run (exit {said.returncode})" if said else "none"
        yield on_host(
            Code.NFT_MISSING,
            ERROR,
            "nft --version",
            why,
            f"expected the program nft, found {found}",
            "apt install --reinstall nftables libnftables1" if said else "apt install nftables",
        )
    elif version < OLDEST_NFT:
        yield on_host(
            Code.NFT_OLD,
            WARNING,
            "nft --version",
            text,
            f"expected nft {_dotted(OLDEST_NFT)} or newer, found {_dotted(version)}",
            "rules were tried with newer ones only; upgrade the package nftables",
        )
    if not Path(contract.NFT_BINDING).is_file():
        yield on_host(
            Code.BINDING_MISSING,
            ERROR,
            contract.NFT_BINDING,
            "",
            "expected nft's binding for Python, found none",
            "apt install python3-nftables",
        )


def kernel() -> Iterator[Finding]:
    """Whether tables can have an owner (Linux 5.12)."""
    release = os.uname().release
    if _numbers(release)[:2] < OLDEST_KERNEL:
        yield on_host(
            Code.KERNEL_OLD,
            ERROR,
            "uname -r",
            release,
            f"expected Linux 5.12 or newer, found {release}",
            "a table of nft cannot have an owner before",
        )


def privileges() -> Iterator[Finding]:
    """Whether this process may change rules."""
    status = Path("/proc/self/status").read_text("ascii", "replace")
    number, line = next(
        (at for at in enumerate(status.splitlines(), 1) if at[1].startswith("CapEff")), (1, "CapEff: 0")
    )
    if not int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1:
        yield on_host(
            Code.NOT_PERMITTED,
            ERROR,
            "/proc/self/status",
            " ".join(line.split()),
            "expected CAP_NET_ADMIN, found a process without it",
            "run it as root, or with the capability in the container or unit",
            number,
        )


def rules(plan: Plan) -> Iterator[Finding]:
    """What the kernel says to the rules of ``plan``, whose cgroups are there: nft checks them there and loads none.

    The guard is the same expressions once more, in a table that only its owner may look at so.
    """
    done = program.run("nft", "--check", "--file", "-", stdin=render(plan))
    if done is not None and done.returncode != 0:
        problem = next((line for line in done.stderr.splitlines() if "Error" in line), "nft: no reason given")
        yield on_host(
            Code.RULES_REFUSED,
            ERROR,
            "nft --check",
            problem[:200],
            "expected a kernel that takes the rules, found one that refuses them",
            "`modprobe nf_tables nft_redir nft_ct nft_socket nft_fib_inet nft_reject_inet`, or another kernel",
        )


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
