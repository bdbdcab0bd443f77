"""The container recipe and the manifests: what can be said of them without an engine or a cluster."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
from package.extras import UNITS

from tng_demo import tunnel

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))


def capabilities() -> list[str]:
    """Those that the unit keeps, which tests/boot runs with."""
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", (UNITS / "tng@.service").read_text("utf-8"), re.MULTILINE)
    return [name.removeprefix("CAP_") for name in line.split()]


@pytest.mark.parametrize("path", [*MANIFESTS, EXAMPLES / "container/Containerfile"], ids=lambda path: path.name)
def test_a_container_gets_the_capabilities_that_the_unit_keeps(path: Path) -> None:
    found = re.findall(r"add: \[(.*)\]|--cap-add (\S+)", path.read_text("utf-8"))
    assert [re.split(", ?", one or other) for one, other in found] == [capabilities()]


def test_the_document_of_the_config_map_compiles(tmp_path: Path) -> None:
    text = (EXAMPLES / "kubernetes/sidecar.yaml").read_text("utf-8")
    document = tmp_path / "tng.json"
    document.write_text(dedent(text.partition("  tng.json: |\n")[2].partition("---")[0]))
    done = subprocess.run([tunnel.TNG, "check", str(document)], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("ok: 1 document\n"), done
