"""Every flow and every older connection of one configuration, sent as packets; what went wrong is the result."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache

from packets import decided, flows
from packets.cgroups import cgroups, socket_in, with_cgroups
from packets.flows import CONFIGS, FLOWS, OLDER, SERVICES, Flow, Older
from packets.wire import FAMILIES, PATIENCE, SECRET, Conversation, Responder, client, ends, held, outcome, place
from tng_compiler.emit import iptables, manifest, nft
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import Plan
from tng_demo.lab import Host, Lab, lab

# Connection tracking runs in a namespace only while some rule asks for it.
# A packet crosses the cable at once; it is the reader of its far end that may be slow on a busy machine.
SILENCE = 0.2

TRACKER = "table inet tracker { chain a { type filter hook input priority 0; ct state new accept; }; }"
# The runtime's own way to load: the text, and in the same transaction what it knows of this host's cgroups.
LOADER = """
import sys
from tng_runtime.kernel import cgroups, nftables
from tng_runtime.manifest import parse_manifest
manifest = parse_manifest(sys.argv[1].encode())
cgroups.require(manifest.cgroups)
follower = cgroups.Follower((manifest.table,), manifest.cgroups)
nftables.load(sys.stdin.read(), manifest.table, lambda: follower.commands(manifest.table))
"""
OPERATOR_SETS = {"peers": "10.77.0.2", "peers6": "fd77::3"}


@cache
def plan_of(name: str) -> Plan:
    """The plan of one configuration."""
    plan, diagnostics = build_plan(CONFIGS[name], "0" * 64)
    assert [diagnostic for diagnostic in diagnostics if diagnostic.severity.value == "error"] == []
    return plan


@contextlib.contextmanager
def world(name: str) -> Iterator[tuple[Lab, Responder]]:
    """Two hosts with services on both and, on ``host``, the listeners of the plan."""
    wanted = (flows.APP, flows.EXEMPT, flows.OTHER) if "cgroup" in name else ()
    with cgroups(*wanted), lab("host", "peer") as hosts, Responder() as responder:
        hosts["peer"].run("ip", "addr", "add", "10.77.0.3/24", "dev", "eth0")
        hosts["peer"].run("ip", "addr", "add", "fd77::3/64", "dev", "eth0", "nodad")
        in_cgroup = {
            flow.port: flow.cgroup for flow in FLOWS if flow.config == name and flow.way == "in" and flow.cgroup
        }
        for family, host, port in ((f, h, p) for f in FAMILIES for h in hosts.hosts.values() for p in SERVICES):
            group = in_cgroup.get(port) if host.name == "host" else None
            sock = socket_in(host, group, FAMILIES[family]) if group else None
            responder.listen(host, family, port, sock, proxy=False)
        for entry in plan_of(name).entries:
            for family in FAMILIES:
                responder.listen(hosts["host"], family, entry.listen_port, proxy=True, mark=entry.so_mark)
        yield hosts, responder


def rules(name: str, backend: str) -> str:
    """What is loaded for one configuration."""
    return nft.render(plan_of(name)) if backend == "nft" else iptables.render(plan_of(name))


def load(host: Host, plan: Plan, backend: str, text: str) -> None:
    """Load ``text`` and fill the operator's sets."""
    load_rules(host, plan, backend, text)
    for group in plan.operator_sets:
        fill(host, plan, backend, group.name, OPERATOR_SETS[group.name])


def load_rules(host: Host, plan: Plan, backend: str, text: str) -> None:
    """Load ``text``, with what is known of this host's cgroups."""
    if backend != "nft":
        tool(host, text, "sh")
    elif plan.known_levels:
        tool(host, text, sys.executable, "-c", LOADER, manifest.render(plan, text, nft.render_guard(plan)))
    else:
        tool(host, text, "nft", "-f", "-")


def fill(host: Host, plan: Plan, backend: str, name: str, address: str) -> None:
    """Put ``address`` into one of the operator's sets."""
    if backend == "nft":
        tool(host, f"add element inet {plan.instance} {name} {{ {address} }}", "nft", "-f", "-")
    else:
        tool(host, f"add {name} {address} -exist", "ipset", "restore")


def unload(host: Host, plan: Plan, backend: str) -> None:
    """Remove the rules; nothing may be left."""
    remove(host, plan, backend)
    if backend == "nft":
        assert tool(host, "", "nft", "list", "ruleset") == ""
        return
    assert "tng" not in tool(host, "", "iptables-save") + tool(host, "", "ip6tables-save")
    left = tool(host, "", "ipset", "list", "-name").split()
    assert left == [group.name for group in plan.operator_sets]


def remove(host: Host, plan: Plan, backend: str) -> None:
    """Remove the rules."""
    if backend == "nft":
        tool(host, f"delete table inet {plan.instance}", "nft", "-f", "-")
    else:
        tool(host, iptables.render(plan), "sh", "-s", "remove")


def tool(host: Host, text: str, *argv: str) -> str:
    """Run a program on ``host``, where cgroup2 is on /sys/fs/cgroup, with ``text`` as its input."""
    argv = ("nsenter", f"--net=/run/netns/{host.namespace}", *with_cgroups(argv))
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr + text
    return done.stdout


def wrong_flows(name: str, backend: str, text: str) -> Generator[str, None, None]:
    """Yield what goes otherwise than the plan says, with ``text`` loaded.

    First the connections that are older than the rules while nothing tracked connections, then all new ones, then the
    older ones again with tracking before.
    """
    with world(name) as (hosts, responder):
        host, plan = hosts["host"], plan_of(name)
        yield from _older(hosts, responder, name, lambda: load(host, plan, backend, text), "untracked")
        yield from (found for flow in FLOWS if flow.config == name and (found := _flow(hosts, plan, flow)))
        unload(host, plan, backend)
        tool(host, TRACKER, "nft", "-f", "-")
        yield from _older(hosts, responder, name, lambda: load(host, plan, backend, text), "tracked")


def _flow(hosts: Lab, plan: Plan, flow: Flow) -> str:
    expected = flow.expected
    if expected == "passed":
        expected = f"passed {flow.port}"
    elif expected != "reset":
        listen_port = next(entry.listen_port for entry in plan.entries if entry.name == expected)
        expected = f"captured {listen_port} {place(flow.family, flow.address, flow.port)}"
    sender = hosts["peer" if flow.way == "in" else "host"]
    sock = _socket(sender, flow.family, flow.mark, flow.cgroup if flow.way == "out" else "")
    found = outcome(sock, flow.address, flow.port)
    if found != expected:
        return f"{flow.title}: {found}"
    # The reader of the rules is held against the kernel, and neither of them makes the expectation.
    predicted = decided.new(plan, flow, _sets_with(plan, flow.address))
    return "" if found == predicted else f"{flow.title}: {found}, but decide says {predicted}"


def _sets_with(plan: Plan, address: str) -> frozenset[str]:
    return frozenset(group.name for group in plan.operator_sets if OPERATOR_SETS[group.name] == address)


def _socket(sender: Host, family: str, mark: int, cgroup: str) -> socket.socket:
    if not cgroup:
        return client(sender, family, mark)
    sock = socket_in(sender, cgroup, FAMILIES[family])
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    return sock


def _older(hosts: Lab, responder: Responder, name: str, load_rules: Callable[[], None], tracking: str) -> Iterator[str]:
    """Open the connections, load the rules, let one side speak first; yield what goes otherwise than the plan says."""
    with contextlib.ExitStack() as stack:
        opened = []
        for case in OLDER:
            if case.config != name or (tracking == "tracked" and not case.tracked):
                continue
            sender = hosts["peer" if case.way == "in" else "host"]
            sock = _socket(sender, "ipv6" if ":" in case.address else "ipv4", case.mark, case.cgroup)
            opened.append((case, stack.enter_context(held(responder, sock, case.address, case.port))))
        load_rules()
        for case, (near, far) in opened:
            if found := _goes_on(responder, case, near, far):
                yield f"{tracking} {case.title}: {found}"
            in_sets = _sets_with(plan_of(name), case.address)
            predicted = decided.older(plan_of(name), case, tracked=tracking == "tracked", in_sets=in_sets)
            if predicted != case.expected:
                yield f"{tracking} {case.title}: decide says {predicted}"


def _goes_on(responder: Responder, case: Older, near: socket.socket, far: Conversation) -> str:
    first, second = (near, far.connection) if case.first == "client" else (far.connection, near)
    with contextlib.suppress(OSError):
        first.send(SECRET)
    if case.expected == "passed":
        if case.first == "client":
            return "" if responder.wait_until(far, SECRET) else "did not go on"
        return "" if _arrived(near, PATIENCE) else "did not go on"
    ours = far.connection if case.way == "in" else near
    if not ends(ours):
        return "the end on the host lives on"
    if case.way == "in" and case.first == "service":
        return "the service spoke in plaintext" if _arrived(second, SILENCE) else ""
    # What a peer sends in plaintext cannot be unsent, but it must not reach a service that demands attestation.
    return "the client spoke in plaintext" if responder.wait_until(far, SECRET, SILENCE) else ""


def _arrived(sock: socket.socket, patience: float) -> bool:
    sock.settimeout(patience)
    try:
        return sock.recv(65536) != b""
    except OSError:
        return False
