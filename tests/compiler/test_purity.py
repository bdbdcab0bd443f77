"""The compiler is a function of the text: nothing else goes in, nothing but text comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.documents import EXAMPLES

ROOT = Path(__file__).parents[2]
REFUSED = Path(__file__).parent / "refused"

LIBRARIES = (str(ROOT), sys.prefix, sys.base_prefix)
"""Where code and the data that belongs to it lie."""

WATCHED = """
import json, sys, sysconfig
from pathlib import Path
seen = []
def watch(event, arguments):
    if event == "open":
        seen.append([event, str(arguments[0])])
    elif event.split(".")[0] in ("socket", "subprocess", "os", "shutil", "tempfile", "signal", "ctypes", "nftables"):
        seen.append([event, repr(arguments)[:200]])
sys.addaudithook(watch)
from tng_compiler.cli.outputs import texts
from tng_compiler.explain.ask import ask
from tng_compiler.explain.flow import parse
from tng_compiler.explain.text import render
from tng_compiler.pipeline import compile_bytes
documents = [(name, Path(name).read_bytes()) for name in sys.argv[1:]]
started = len(seen)
output = {}
for name, data in documents:
    outcome = compile_bytes(Path(name).name, data)
    output[Path(name).name] = [item.diagnostic.message for item in outcome.found]
    if outcome.plan:
        output[Path(name).name] += [texts(outcome.plan, emit) for emit in ("nft", "manifest", "plan", "diagram", "svg")]
        output[Path(name).name] += [render(ask(outcome.plan, outcome.config, parse(flow))) for flow in ("", "udp")]
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"seen": seen[started:], "output": output, "modules": modules}))
"""


def watched(documents: list[Path], cwd: Path, **environment: str) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, documents)],
        capture_output=True, check=True, cwd=cwd, env={"PYTHONDONTWRITEBYTECODE": "1", **environment}, timeout=120,
    )  # fmt: skip
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def is_source(event: object) -> bool:
    """Whether an event is Python loading an installed package, or data that belongs to one."""
    assert isinstance(event, list)
    kind, what = event
    return what.startswith(LIBRARIES) if kind == "open" else kind in ("os.listdir", "os.scandir")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return watched([*EXAMPLES, *sorted(REFUSED.glob("*.json"))], tmp_path_factory.mktemp("empty"), PYTHONHASHSEED="1")


def test_compiling_opens_no_socket_process_or_foreign_file(first: dict[str, object]) -> None:
    seen = first["seen"]
    assert isinstance(seen, list)
    assert [event for event in seen if not is_source(event)] == []


def test_network_code_is_not_even_loaded(first: dict[str, object]) -> None:
    modules = first["modules"]
    assert isinstance(modules, list)
    assert {"socket", "ssl", "httpx", "asyncio", "tng_runtime"} & set(modules) == set()


def test_the_environment_changes_nothing(first: dict[str, object], tmp_path: Path) -> None:
    """Another hash seed, locale, time zone, home and directory: the same bytes."""
    other = watched(
        [*EXAMPLES, *sorted(REFUSED.glob("*.json"))], tmp_path,
        PYTHONHASHSEED="2", LC_ALL="C", TZ="Asia/Tokyo", HOME=str(tmp_path), COLUMNS="20",
        http_proxy="http://127.0.0.1:1",
    )  # fmt: skip
    assert other["output"] == first["output"]


def test_a_clean_check_loads_neither_lark_nor_rich() -> None:
    program = (
        "import sys\nsys.argv = ['tng', 'check', sys.argv[1]]\nfrom tng_compiler.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 0, ended.code\n"
        "print(*sorted({'lark', 'rich', 'cryptography', 'nftables'} & set(sys.modules)))"
    )
    example = str(ROOT / "examples" / "ingress_netfilter.json")
    result = subprocess.run([sys.executable, "-c", program, example], capture_output=True, text=True, check=True)
    assert [line[:14] for line in result.stdout.splitlines()] == ["ok: 1 document", "no document sh", ""]
