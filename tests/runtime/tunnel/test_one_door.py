"""Rule 1 of the runtime: one module makes an ``AttestedStream``, and the relay takes nothing else."""

from __future__ import annotations

import ast
import inspect
import typing
from pathlib import Path

from tng_runtime.relay.link import Relay
from tng_runtime.tunnel import handshake
from tng_runtime.tunnel.handshake import AttestedStream, Door

PACKAGE = Path(handshake.__file__).parents[1]


def makers(path: Path) -> list[str]:
    """The functions of ``path`` that call ``AttestedStream`` or make one in a way that hides it."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and name_of(node.func) in {"AttestedStream", "replace", "__new__"}:
                arguments = {name_of(argument) for argument in node.args}
                if name_of(node.func) == "AttestedStream" or arguments & {"AttestedStream", "stream", "_stream"}:
                    found.append(f"{path.relative_to(PACKAGE)}:{function.name}")
    return found


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_one_function_makes_attested_streams() -> None:
    found = [maker for path in sorted(PACKAGE.rglob("*.py")) for maker in makers(path)]
    assert found == ["tunnel/handshake.py:verify"]


def test_nobody_gives_the_class_another_name() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not any(alias.name == "AttestedStream" and alias.asname for alias in node.names), path
            if isinstance(node, ast.Assign):
                assert name_of(node.value) != "AttestedStream", path


def test_the_relay_takes_nothing_but_attested_streams() -> None:
    assert typing.get_type_hints(Relay.run)["stream"] is AttestedStream
    assert list(inspect.signature(Relay.run).parameters) == ["self", "stream", "plain", "life", "carried"]
    assert typing.get_type_hints(Door.verify)["return"] is AttestedStream
