"""The compiler in one screen: bytes in, plan and diagnostics out. Read this first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.diagnostics.located import Located
from tng_compiler.model.build import Model
from tng_compiler.model.build import build as build_model
from tng_compiler.model.types import Config
from tng_compiler.plan.allocate import INSTANCE
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import Plan
from tng_compiler.plan.verify import verify
from tng_compiler.shape.check import check
from tng_compiler.source.document import Document, read
from tng_compiler.source.locate import locate


@dataclass(frozen=True, slots=True)
class Outcome:
    """``plan`` is None when ``found`` has an error; ``found`` is sorted by place.

    ``config`` is what the plan was made of, item by item; None with it.
    """

    name: str
    plan: Plan | None
    found: tuple[Located, ...]
    config: Config | None = None


MOST_FINDINGS = 1000
"""Findings of one document that are printed."""

Backend = Literal["nft", "iptables"]


def compile_bytes(
    name: str, data: bytes, *, strict: bool = False, backend: Backend = "nft", instance: str = INSTANCE
) -> Outcome:
    """Compile one document; any bytes have an outcome. ``strict`` turns warnings into errors.

    ``backend`` is what the plan will be written for: conditions that it cannot express are errors,
    and what it can hold to in part only is a warning. ``instance`` is the table: ``tng``, or ``tng_NAME``.

    A stage that found faults still hands on what it could make, so that one run reports those of every stage. A plan
    is made of a document without any.
    """
    document = read(name, data)  # bytes to JSON values
    if not document.readable:
        return Outcome(name, None, locate(document, document.faults))
    model, noticed = _understood(document)
    document = replace(document, value=None)  # nobody asks for it any more, and it is most of the memory
    plan, surprises = build_plan(model.config or model.partial, document.digest, instance)  # what will be done
    limits = _limits(plan) if backend == "iptables" else ()  # what the backend cannot express
    found = _judged((*document.faults, *noticed, *surprises, *limits), strict=strict)
    located = locate(document, _first(found))
    if any(fault.severity is Severity.ERROR for fault in found):
        return Outcome(name, None, located)
    verify(plan)  # raises PlanBug: a fault of ours, never of the document
    return Outcome(name, plan, located, model.config)


def _understood(document: Document) -> tuple[Model, tuple[Diagnostic, ...]]:
    shape = check(document.value)  # which fields, of which types
    model = build_model(shape)  # what the user said
    return model, (*shape.faults, *model.faults)


def _limits(plan: Plan) -> tuple[Diagnostic, ...]:
    # Imported here: the other backend does without.
    from tng_compiler.emit.iptables_limits import doubtful, unsupported

    return (*unsupported(plan), *doubtful(plan))


def _first(found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """Return what is printed: errors before anything else, the rest counted."""
    if len(found) <= MOST_FINDINGS:
        return found
    by_severity = sorted(found, key=lambda fault: list(Severity).index(fault.severity))
    rest = by_severity[MOST_FINDINGS - 1 :]
    message = f"expected at most {MOST_FINDINGS - 1:,} findings, found {len(rest):,} more"
    more = Diagnostic(Code.TOO_MANY_FAULTS, rest[0].severity, message, Place(""), help="mend these first")
    return (*by_severity[: MOST_FINDINGS - 1], more)


def _judged(found: Iterable[Diagnostic], *, strict: bool) -> tuple[Diagnostic, ...]:
    if not strict:
        return tuple(found)
    return tuple(
        replace(fault, severity=Severity.ERROR) if fault.severity is Severity.WARNING else fault for fault in found
    )
