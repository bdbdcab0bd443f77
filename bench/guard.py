"""What the guard costs: traffic that passes it, with the rules of before (``guard_before.nft``) and those of today.

Nothing is captured here, so every packet walks the whole guard of both hosts, and no program of ours takes part. The
rules of today are both tables, as while the runtime lives. Rounds are short and alternate: the difference is less than
what a machine drifts in a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from bench.phases import rate
from tng_compiler.emit import nft
from tng_compiler.pipeline import compile_bytes
from tng_demo import scene as scenes
from tng_demo.lab import Host, lab

BEFORE = Path(__file__).with_name("guard_before.nft")
# Both roles, one port each that nothing here uses.
DOCUMENT = {
    "add_ingress": [{"netfilter": {"capture_dst": {"port": 9}}, "no_ra": True}],
    "add_egress": [{"netfilter": {"capture_dst": {"port": 9}}, "no_ra": True}],
}
IPERF_PORT = 5201
WORDS = {
    "bulk": "bulk, one stream, Gbit/s",
    "requests": "keep-alive requests/s, 32 connections",
    "connections": "new connections/s",
}


def table(rounds: int, seconds: int) -> str:
    """A Markdown table: medians with the rules of before and of today, and the median of the ratios."""
    figures: dict[str, list[dict[str, float]]] = {"before": [], "today": []}
    with lab("client", "server") as hosts:
        scene = scenes.set_up(hosts)
        client, server = scene.client, scene.server
        server.start("iperf3", "-s", "-p", str(IPERF_PORT))
        server.wait_for_port(IPERF_PORT)
        for number in range(rounds):
            for which in sorted(figures, reverse=bool(number % 2)):
                for host in (client, server):
                    _load(host, which)
                figures[which].append(_measure(client, server, seconds))
    lines = ["| | before | today | ratio | worst to best round |", "|---|---:|---:|---:|---:|"]
    for name, words in WORDS.items():
        ratios = sorted(b[name] / a[name] for a, b in zip(figures["before"], figures["today"], strict=True))
        medians = [median(each[name] for each in figures[which]) for which in ("before", "today")]
        digits = 2 if name == "bulk" else 0
        lines.append(
            f"| {words} | {medians[0]:,.{digits}f} | {medians[1]:,.{digits}f} | {median(ratios):.3f}x "
            f"| {ratios[0]:.2f}x to {ratios[-1]:.2f}x |"
        )
    return "\n".join(lines)


def _load(host: Host, which: str) -> None:
    if which == "before":
        text = BEFORE.read_text(encoding="utf-8").replace("dport 8080", "dport 9").replace("sport 8080", "sport 9")
        host.run("nft", "-f", "-", stdin=f"table inet tng_guard\ndelete table inet tng_guard\n{text}")
        return
    plan = compile_bytes("guard", json.dumps(DOCUMENT).encode()).plan
    assert plan
    guard = f"table inet {plan.guard_table}\ndelete table inet {plan.guard_table}\nadd table inet {plan.guard_table}\n"
    host.run("nft", "-f", "-", stdin=nft.render(plan) + guard + nft.render_guard(plan))


def _measure(client: Host, server: Host, seconds: int) -> dict[str, float]:
    bulk = client.run("iperf3", "-c", server.ipv4, "-p", str(IPERF_PORT), "-t", str(seconds), "-J").stdout
    url = f"http://{server.ipv4}:{scenes.PORT}/"
    wrk = ("wrk", "-t1", "-c32", f"-d{seconds}")
    return {
        "bulk": json.loads(bulk)["end"]["sum_received"]["bits_per_second"] / 1e9,
        "requests": rate(client.run(*wrk, url).stdout),
        "connections": rate(client.run(*wrk, "-H", "Connection: close", url).stdout),
    }
