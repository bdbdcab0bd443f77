"""The routing rule by which answers to clients come back (``client_address``): left, missing, or another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import running
from tng_compiler.host.ask_ip import asked
from tng_compiler.host.finding import ERROR, WARNING, Finding, on_host
from tng_compiler.host.tables import instances
from tng_compiler.plan.types import Plan
from tng_schema.contract import WayBack, way_back

_FAMILIES = ("-4", "-6")


def routed(plan: Plan) -> Iterator[Finding]:
    """Compare the rules of both families with what the instance has, or would have."""
    mine = way_back(plan.instance)
    rules = {family: asked(family, "rule", "show") for family in _FAMILIES}
    if plan.way_back is not None:
        for family, found in rules.items():
            for rule in found:
                if not _ours(rule, mine) and (_mark(rule) == mine.mark or _table(rule) == mine.routing_table):
                    yield on_host(
                        Code.WAY_BACK_TAKEN,
                        ERROR,
                        f"ip {family} rule show",
                        _line(rule),
                        f"expected mark {mine.mark:#x} and table {mine.routing_table} for us alone, found them here",
                        "remove the rule, or give the instance another name: its numbers follow from it",
                    )
    there = [family for family, found in rules.items() if any(_ours(rule, mine) for rule in found)]
    loaded = plan.instance in instances()
    if there and not loaded:
        yield on_host(
            Code.WAY_BACK_ASTRAY,
            WARNING,
            f"ip {there[0]} rule show",
            _words(mine),
            f"expected routing rules of {plan.instance} with its tables, found the rules alone",
            f"`tng down`{_instance(plan)} removes what is left",
        )
    elif plan.way_back is not None and loaded and "-4" not in there and running.find(plan.instance):
        yield on_host(
            Code.WAY_BACK_ASTRAY,
            WARNING,
            "ip -4 rule show",
            "",
            f"expected the routing rule by which answers to clients come back, found none: {_words(mine)}",
            "unless it is another document that runs, somebody removes it: read the log of the run",
        )


def _ours(rule: dict[str, Any], mine: WayBack) -> bool:
    return (_mark(rule), _table(rule)) == (mine.mark, mine.routing_table)


def _mark(rule: dict[str, Any]) -> int | None:
    return int(str(rule["fwmark"]), 0) if "fwmark" in rule else None


def _table(rule: dict[str, Any]) -> int | None:
    table = str(rule.get("table", ""))
    return int(table) if table.isdecimal() else None


def _line(rule: dict[str, Any]) -> str:
    mark = f" fwmark {rule['fwmark']}" if "fwmark" in rule else ""
    return f"{rule.get('priority')}: from {rule.get('src')}{mark} lookup {rule.get('table')}"


def _words(way: WayBack) -> str:
    return f"{way.priority}: from all fwmark {way.mark:#x} lookup {way.routing_table}"


def _instance(plan: Plan) -> str:
    return "" if plan.instance == "tng" else f" with --instance {plan.instance.removeprefix('tng_')}"
