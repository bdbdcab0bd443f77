"""The plan as the manifest that the runtime reads: canonical JSON, bound to its rules by two digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from tng_compiler.algebra.intervals import Interval, union
from tng_compiler.algebra.space import EVERY_PORT
from tng_compiler.model.types import Attest, DstFilter, HttpProxy, Mapping, Service, Socks5, Verify
from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, Plan, PlannedDoor
from tng_schema import contract

# A set of nft has one family: NAME6 is that of the ipset NAME for IPv6.
_SUFFIX = {"ipv4": "", "ipv6": "6"}


def render(plan: Plan, ruleset: str, guard: str) -> str:
    """Return the manifest of ``plan`` for exactly this ``ruleset`` and ``guard`` (``tng_schema/manifest.schema.json``).

    Canonical in the manner of RFC 8785: sorted members, no white space, UTF-8; one newline at the end.
    """
    document: dict[str, object] = {
        "manifest_version": contract.MANIFEST_VERSION,
        "compiler_version": plan.compiler_version,
        "config_sha256": plan.config_sha256,
        "ruleset_sha256": hashlib.sha256(ruleset.encode()).hexdigest(),
        "guard_sha256": hashlib.sha256(guard.encode()).hexdigest(),
        "table": plan.instance,
        "ipsets": [
            {"set": group.name, "ipset": group.name.removesuffix(_SUFFIX[group.family]), "family": group.family}
            for group in plan.operator_sets
        ],
        "guard_table": plan.guard_table,
        "way_back": asdict(plan.way_back) if plan.way_back else None,
        "cgroups": {
            "known": [{"set": names.known(level), "level": level} for level in plan.known_levels],
            "sets": [
                {"set": name, "paths": list(level.paths)}
                for entry in plan.entries
                for name, level in names.own_cgroups(entry)
            ],
            "services": [
                {"entry": entry.pointer, "paths": _inside(entry), "ports": ports}
                for entry in plan.of("egress")
                if entry.inside and (ports := _named_ports(entry))
            ],
        },
        "entries": [*map(_entry, plan.entries), *map(_door, plan.doors)],
    }
    if plan.control is not None:
        document["control"] = {"host": plan.control.host, "port": plan.control.port}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _inside(entry: Interception) -> list[str]:
    return sorted(path for level in entry.inside for path in level.paths)


def _named_ports(entry: Interception) -> list[Interval]:
    """The captured ports; none if that is every port: what listens on some other port is not what was meant."""
    ports = [ports for region in entry.captured for ports in region.ports]
    ports += [box.ports for region in entry.captured for box in region.boxes]
    ports += [ports for group in entry.captured_sets for ports in group.ports]
    named = union((one.first, one.last) for one in ports)
    return named if named != [(EVERY_PORT.first, EVERY_PORT.last)] else []


def _entry(entry: Interception) -> dict[str, object]:
    return {
        "pointer": entry.pointer,
        "role": entry.role,
        "listen_port": entry.listen_port,
        "mapping": [],
        "socks5": None,
        "http_proxy": None,
        "so_mark": entry.so_mark,
        "families": list(entry.families),
        "client_address": entry.client_address,
        "takes_forwarded": entry.takes_forwarded,
        "proxy_protocol": entry.proxy_protocol,
        "attest": _attest(entry.attest) if entry.attest else None,
        "verify": _verify(entry.verify) if entry.verify else None,
    }


def _door(door: PlannedDoor) -> dict[str, object]:
    return {
        "pointer": door.pointer,
        "role": door.role,
        "listen_port": 0,
        "mapping": [
            {
                "in_host": str(rule.host),
                "in_port": rule.ports.first,
                "in_port_end": rule.ports.last,
                "out_host": rule.out_host,
                "out_port": rule.out_first,
            }
            for rule in (door.mode.rules if isinstance(door.mode, Mapping) else ())
        ],
        "socks5": _socks5(door.mode) if isinstance(door.mode, Socks5) else None,
        "http_proxy": _http_proxy(door.mode) if isinstance(door.mode, HttpProxy) else None,
        "so_mark": door.so_mark,
        "families": [],
        "client_address": "tunnel",
        "takes_forwarded": False,
        "proxy_protocol": door.proxy_protocol,
        "attest": _attest(door.attest) if door.attest else None,
        "verify": _verify(door.verify) if door.verify else None,
    }


def _socks5(mode: Socks5) -> dict[str, object]:
    username, password = mode.auth or (None, None)
    return {"host": str(mode.host), "port": mode.port, "username": username, "password": password}


def _http_proxy(mode: HttpProxy) -> dict[str, object]:
    filters = [_dst_filter(each) for each in mode.filters]
    return {"host": str(mode.host), "port": mode.port, "filters": filters, "unmatched": mode.unmatched}


def _dst_filter(each: DstFilter) -> dict[str, object]:
    return {
        "domain": each.domain,
        "domain_regex": each.regex,
        "network": None if each.network is None else str(each.network),
        "port": each.ports.first,
        "port_end": each.ports.last,
    }


def _attest(attest: Attest) -> dict[str, object]:
    return {
        "model": attest.model,
        "aa_path": attest.aa_path,
        "refresh_interval": attest.refresh_interval,
        "service": _service(attest.service),
        "policy_ids": list(attest.policy_ids),
    }


def _verify(verify: Verify) -> dict[str, object]:
    return {
        "model": verify.model,
        "service": _service(verify.service),
        "policy_ids": list(verify.policy_ids),
        "trusted_certs_paths": list(verify.trusted_certs_paths),
        "skip_as_token_cert_verify": verify.skip_as_token_cert_verify,
        "issuer": verify.issuer,
        "max_session_age": verify.max_session_age,
    }


def _service(service: Service | None) -> dict[str, object] | None:
    if service is None:
        return None
    named: dict[str, object] = {"as_addr": service.as_addr, "as_headers": dict(service.as_headers)}
    if service.as_ca_paths:
        named["as_ca_paths"] = list(service.as_ca_paths)
    return named
