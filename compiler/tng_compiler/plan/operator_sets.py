"""Names of the operator's sets (``ipset``): an nft set holds one family, so each name becomes two, NAME and NAME6."""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.algebra.space import FAMILIES
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import Config
from tng_compiler.plan import names
from tng_compiler.plan.types import Plan


def operator_sets(config: Config, plan: Plan) -> Iterator[Diagnostic]:
    """Yield an error for each name that nft would not take, that is ours, or that would stand for two sets."""
    named: dict[str, str] = {}
    ours = frozenset(names.sets(plan))
    for entry in config.entries:
        for item in entry.netfilter.capture_dst or ():
            if item.ipset is not None:
                named.setdefault(item.ipset, item.pointer)
    for name, pointer in named.items():
        place = f"{pointer}/ipset"
        both = [names.operator(name, family) for family in FAMILIES]
        if meant := next((one for one in both if one in names.RESERVED), None):
            message = f"expected a name that is free in nft, found `{meant}`, which has a meaning there"
            yield _error(place, message, f"call it `{name}_addresses`, for example")
        elif meant := next((one for one in both if one in ours or one.startswith(names.PREFIX)), None):
            message = f"expected a name that is not used for the rules themselves, found `{meant}`"
            yield _error(place, message, f"call it `my_{name}`, for example")
        if len(both[1]) > names.LONGEST:
            message = f"expected a name of at most {names.LONGEST - 1} characters, found {len(name)}"
            yield _error(place, message, "the set of its IPv6 addresses has a 6 appended")
        if other := named.get(both[1]):
            message = f"expected names whose IPv6 sets differ from other sets, found `{name}` and `{name}6`"
            yield _error(place, message, "rename one of them", Note(Place(f"{other}/ipset"), "the other name"))


def _error(pointer: str, message: str, advice: str, *notes: Note) -> Diagnostic:
    return Diagnostic(Code.SET_NAME_TAKEN, Severity.ERROR, message, Place(pointer), notes, advice)
