"""The plan for people: what a review reads first, and what a diff of two plans is made of."""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.algebra.space import Ports, Region
from tng_compiler.algebra.text import ADDRESS, ports_text
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.types import Attest, DstFilter, HttpProxy, Mapping, Service, Socks5, Verify
from tng_compiler.plan.types import Interception, OperatorSet, Plan, PlannedDoor


def render(plan: Plan) -> str:
    """Return the plan as lines ``name: value``, one destination a line, in the order of precedence."""
    marks = ", ".join(str(mark) for mark in plan.marks) or "none"
    lines = [
        f"instance {plan.instance}: table inet {plan.instance}, marks {marks}, tng {plan.compiler_version}",
        f"configuration {plan.config_sha256}",
        f"conntrack: own connections in zone {plan.zone}, those to this host with label {plan.published_label}",
        f"while it runs the guard stands once more in table inet {plan.guard_table}",
    ]
    if plan.control is not None:
        lines.append(f"says how it stands at http://{_socket(plan.control.host, plan.control.port)}/status/")
    if back := plan.way_back:
        lines += [
            f"outside of the tables: routing rule {back.priority}, mark {back.mark:#x} to table {back.routing_table};",
            f"routing table {back.routing_table}: every address of both families is this host's, for that mark alone",
        ]
    for entry in plan.entries:
        lines += ["", *_entry(entry)]
    for door in plan.doors:
        lines += ["", *door_lines(door)]
    return "\n".join(lines) + "\n"


def _socket(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _entry(entry: Interception) -> Iterator[str]:
    yield f"{entry.role} {entry.pointer}"
    yield f"  listens on port {entry.listen_port}, dials with mark {entry.so_mark}"
    yield f"  captures {_senders(entry)}"
    for which, levels in (("only if in", entry.inside), ("but not in", entry.outside)):
        for level in levels:
            yield from (f"    {which} cgroup {path} (level {level.level})" for path in level.paths)
    for verb, regions, sets in (
        ("to", entry.captured, entry.captured_sets),
        ("resets", entry.rejected, entry.rejected_sets),
    ):
        for region in regions:
            yield from (f"    {verb} {region.family} {line}" for line in _region(region))
        yield from (f"    {verb} {group.family} {_operator_set(group)}" for group in sets)
    if entry.ipv6 == "bypass":
        yield "    leaves IPv6 alone: it passes in plaintext"
    if entry.role == "ingress":
        yield f"    {forwarded(entry)}"
    passes = entry.udp == "bypass"
    yield f"    {'leaves alone' if passes else 'refuses'} UDP there" + _plaintext(passes=passes)
    if entry.client_address == "original":
        yield "  dials from the client's own address: the service sees the client"
    if entry.proxy_protocol:
        yield f"  tells the service who its client is: PROXY protocol {entry.proxy_protocol}"
    yield f"  proves itself: {attestation(entry.attest)}"
    yield f"  demands: {demand(entry.verify)}"


def door_lines(door: PlannedDoor) -> Iterator[str]:
    """Yield the lines of an entry that captures nothing."""
    yield f"{door.role} {door.pointer}"
    yield f"  captures nothing, dials with mark {door.so_mark}"
    if isinstance(door.mode, Socks5):
        who = "whoever knows the password" if door.mode.auth else "everybody who reaches it"
        yield f"    SOCKS5 for {who} on {door.mode.host} port {door.mode.port}, to wherever programs ask for"
    if isinstance(door.mode, HttpProxy):
        yield f"    HTTP proxy for everybody who reaches it on {door.mode.host} port {door.mode.port}, to"
        yield from (f"      {filter_words(each)}" for each in door.mode.filters)
        yield f"    {_UNMATCHED[door.mode.unmatched]} what no filter takes" + _plaintext(
            passes=door.mode.unmatched == "direct"
        )
    for rule in door.mode.rules if isinstance(door.mode, Mapping) else ():
        host = f"[{rule.host}]" if rule.host.version == 6 else str(rule.host)
        last = rule.out_first + rule.ports.last - rule.ports.first
        there = f"{rule.out_host} {ports_text(Ports(rule.out_first, last))}"
        yield f"    listens on {host} {ports_text(Ports(rule.ports.first, rule.ports.last))}, leads to {there}"
    if door.proxy_protocol:
        yield f"  tells the service who its client is: PROXY protocol {door.proxy_protocol}"
    yield f"  proves itself: {attestation(door.attest)}"
    yield f"  demands: {demand(door.verify)}"


_UNMATCHED = {"refuse": "refuses", "direct": "dials without a tunnel"}


def filter_words(each: DstFilter) -> str:
    """Return which destinations a filter of a proxy takes."""
    pattern = None if each.regex is None else f"names with {json_text(each.regex)}"
    where = each.domain or pattern or (str(each.network) if each.network else "every destination")
    return f"{where}, {ports_text(Ports(each.ports.first, each.ports.last))}"


def forwarded(entry: Interception) -> str:
    """Return what an ingress does with what this host forwards."""
    if entry.takes is None:
        passes = entry.forwarded == "bypass"
        return f"{'leaves alone' if passes else 'refuses'} what this host forwards there" + _plaintext(passes=passes)
    named = f"interfaces {', '.join(entry.takes)}" if entry.takes else "bridges and veth that do not lead there"
    return f"captures what this host forwards there from {named}, refuses it from others"


def _plaintext(*, passes: bool) -> str:
    return ": it passes in plaintext" if passes else ""


def _senders(entry: Interception) -> str:
    if entry.role == "ingress":
        return "what this host sends to others"
    return "what arrives for this host" + (" and what it sends to itself" if entry.local_traffic else "")


def _region(region: Region) -> Iterator[str]:
    address = ADDRESS[region.family]
    for ports in region.ports:
        yield f"any address, {ports_text(ports)}"
    for box in region.boxes:
        span = str(address(box.first)) if box.first == box.last else f"{address(box.first)}-{address(box.last)}"
        yield f"{span}, {ports_text(box.ports)}"


def _operator_set(group: OperatorSet) -> str:
    return f"addresses in set {group.name}, {'; '.join(ports_text(ports) for ports in group.ports)}"


def attestation(attest: Attest | None) -> str:
    """Return how the entry's side proves itself."""
    if attest is None:
        return "no"
    issuer = f", token from {_at(attest.service)}" if attest.service else ""
    refresh = f"every {attest.refresh_interval} s" if attest.refresh_interval else "for every handshake"
    policies = f", policies {', '.join(attest.policy_ids)}" if attest.policy_ids else ""
    return f"{attest.model} through the agent at {attest.aa_path}, {refresh}{issuer}{policies}"


def _at(service: Service) -> str:
    by = f" (its TLS by {', '.join(service.as_ca_paths)})" if service.as_ca_paths else ""
    return f"{service.as_addr}{by}"


def demand(verify: Verify | None) -> str:
    """Return what the entry demands of its peer."""
    if verify is None:
        return "nothing of its peer"
    parts = [f"{verify.model}, policies {', '.join(verify.policy_ids)}"]
    if verify.service:
        parts.append(f"service {_at(verify.service)}")
    if verify.trusted_certs_paths:
        parts.append(f"pinned to {', '.join(verify.trusted_certs_paths)}")
    if verify.skip_as_token_cert_verify:
        parts.append("TOKEN SIGNER NOT VERIFIED")
    if verify.issuer is not None:
        parts.append(f"issuer {verify.issuer}")
    if verify.max_session_age is not None:
        parts.append(f"sessions end {verify.max_session_age} s after the verdict")
    return ", ".join(parts)
