"""Any document up to the size limit is checked in bounded time and memory: those that were the worst, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.documents import VERIFY, ingress, text
from tng_compiler.diagnostics.codes import Code
from tng_compiler.pipeline import MOST_FINDINGS, compile_bytes
from tng_compiler.source.text import MAX_BYTES

SECONDS = 15
"""Of CPU time: 5 s is the promise, and the machines of tests are slow and shared; what was mended took minutes."""
MEGABYTES = 500
ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
from tng_compiler.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("used", used.ru_utime + used.ru_stime, int(peak.split()[1]) // 1024, file=sys.stderr)
"""


def entries(count: int, netfilter: Callable[[int], Any], **trust: Any) -> str:
    """A document with many entries."""
    made = [{"netfilter": netfilter(n), **(trust or {"verify": VERIFY})} for n in range(count)]
    return json.dumps({"add_ingress": made})


def filled(head: str, unit: str, tail: str) -> str:
    """A document of the size limit."""
    return head + unit * ((MAX_BYTES - len(head) - len(tail)) // len(unit)) + tail


def entries_of_doors(count: int, ports: int) -> str:
    """Mappings whose ports are compared with each other, and filters with a pattern each."""
    made: list[Any] = []
    for n in range(count):
        out = {"host": f"h{n}", "port": 1}
        rules = [{"in": {"host": f"127.0.{n >> 8}.{n & 255}", "port": port + 1}, "out": out} for port in range(ports)]
        filters = [{"domain_regex": f"h{n}x{port}"} for port in range(ports // 2)]
        listen = {"host": "127.0.0.1", "port": 2000 + n}
        made += [{"mapping": {"rules": rules}}, {"http_proxy": {"proxy_listen": listen, "dst_filters": filters}}]
    return json.dumps({"add_ingress": [{**door, "verify": VERIFY} for door in made]})


FAULT = '{"add_ingress":[{"netfilter":{"capture_dst":{"prot":1}}}]}'
MEMBERS = ",".join(f'"m{n}":1' for n in range(1_000_000))
DOCUMENTS: dict[str, Callable[[], str]] = {
    "a fault and blanks": lambda: filled(FAULT, " ", ""),
    "a fault and lines": lambda: filled(FAULT, "\n", ""),
    "no JSON and blanks": lambda: filled('{"add_ingress":[{]}', " ", ""),
    "unknown members": lambda: f'{{"add_ingress":[{{"netfilter":{{{MEMBERS}}}}}]}}',
    "bad items": lambda: filled('{"add_ingress":[{"netfilter":{"capture_dst":[', '{"prot":1},', "1]}}]}"),
    "bad hosts": lambda: filled('{"add_ingress":[{"netfilter":{"capture_dst":[', '{"host":"x"},', "1]}}]}"),
    "a long name above many values": lambda: f'{{"{"n" * 8_000_000}":[{"1," * 3_500_000}1],"a":1,"a":2}}',
    "no object": lambda: filled("[", "1,", "1]"),
    "names of sets": lambda: json.dumps(ingress({"capture_dst": [{"ipset": f"tng_{n}"} for n in range(500_000)]})),
    "a name twice at the end": lambda: filled(
        '{"add_ingress":[{"netfilter":{"capture_dst":[', '{"port":80},', '{"port":1}]},"no_ra":true,"no_ra":true}]}'
    ),
    "null for what is left out": lambda: filled(
        '{"add_ingress":[{"netfilter":{"capture_dst":[', '{"host":null,"port":80},', '{"port":1}]},"no_ra":true}]}'
    ),
    "a name twice in every item": lambda: filled(
        '{"add_ingress":[{"netfilter":{"capture_dst":[', '{"port":1,"port":2},', '{"port":1}]},"no_ra":true}]}'
    ),
    "deep cgroups": lambda: entries(
        100,
        lambda n: {
            "capture_dst": {"port": 80},
            "capture_cgroup": [f"/a{n}x{m}{'/b' * 240}" for m in range(100)],
            "nocapture_cgroup": [f"/a{n}x{m}{'/b' * 250}" for m in range(100)],
        },
    ),
    "a deep cgroup": lambda: filled('{"add_ingress":[{"netfilter":{"capture_cgroup":"', "/a", '"},"no_ra":true}]}'),
    "small arrays": lambda: filled("[", "[],", "[]]"),
    "entries beyond the limit": lambda: filled('{"add_ingress":[', '{"socks5":{"proxy_listen":{"port":1}}},', "1]}"),
    "doors": lambda: entries_of_doors(200, 100),
    "many hosts of many entries": lambda: entries(
        1000, lambda n: {"capture_dst": [{"host": f"10.{n // 4}.{n % 4 * 64 + m // 8}.{m % 8}"} for m in range(500)]}
    ),
    "cgroups of many entries": lambda: entries(
        1000, lambda n: {"capture_dst": {"port": 80}, "capture_cgroup": [f"/a{n}/b{m}" for m in range(8)]}
    ),
    "many cgroups": lambda: entries(
        50,
        lambda n: {
            "capture_dst": {"port": 80},
            "capture_cgroup": [f"/a{n}/b{m}" for m in range(4096)],
            "nocapture_cgroup": [f"/a{n}/b{m}/c" for m in range(4096)],
        },
    ),
    "services of many entries": lambda: json.dumps(
        {
            "add_ingress": [
                {
                    "netfilter": {"capture_dst": [{"host": f"10.{n >> 8}.{n & 255}.{m}"} for m in range(80)]},
                    "verify": {**VERIFY, "as_addr": f"https://10.1.1.{n % 250}:{n + 1}/"},
                }
                for n in range(1000)
            ]
        }
    ),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", list(DOCUMENTS))
def test_the_worst_documents_are_checked_within_bounds(tmp_path: Path, name: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(DOCUMENTS[name]()[:MAX_BYTES])
    command = [sys.executable, "-c", PROGRAM, "check", str(path), "--format", "sarif"]
    environment = {"PYTHONPATH": f"{ROOT / 'compiler'}:{ROOT / 'schema'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-1000:]
    seconds, megabytes = map(float, done.stderr.rsplit("used", 1)[1].split())
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
    assert len(done.stdout) < 4 * 1024 * 1024


def test_a_thousand_findings_are_kept_and_the_rest_is_counted() -> None:
    document = json.loads(
        entries(900, lambda n: {"capture_dst": {"port": n + 1}, "ipv6": "bypass", "udp": "bypass"}, no_ra=True)
    )
    document["add_ingress"][5]["netfilter"]["so_mark"] = 0
    found = compile_bytes("x", text(document)).found
    assert len(found) == MOST_FINDINGS
    assert [item.diagnostic.code for item in found if item.is_error] == [Code.OUT_OF_RANGE]
    last = found[-1].diagnostic
    assert (last.code, last.severity.value) == (Code.TOO_MANY_FAULTS, "warning")
    assert "more" in last.message
