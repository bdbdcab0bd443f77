"""The manifest, read with typed getters into frozen values.

The runtime parses instead of validating: no JSON Schema library belongs to the trusted base of a TEE. Unknown members
and versions are refused, because a member that is not understood may be a restriction that would be dropped. The format
is ``tng_schema/manifest.schema.json``.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, cast

from tng_runtime.errors import HostError
from tng_runtime.members import (
    Members,
    bad,
    between,
    boolean,
    integer,
    listed,
    matching,
    nullable,
    one_of,
    string_map,
    text_of,
)
from tng_schema import contract
from tng_schema.pattern import PatternError, pattern

Model = Literal["background_check", "passport"]
Role = Literal["ingress", "egress"]
Family = Literal["ipv4", "ipv6"]
ProxyProtocol = Literal["v2"]
ClientAddress = Literal["tunnel", "original"]
Unmatched = Literal["refuse", "direct"]

# What a directory holds that is executed.
FILES = (MANIFEST_FILE, RULESET_FILE, GUARD_FILE) = (contract.MANIFEST, contract.RULESET, contract.GUARD)
MAX_BYTES = 16 << 20
# One name in a path.
CGROUP = rf"(?!\.{{1,2}}(?:/|$)){contract.CGROUP_COMPONENT}"


@dataclass(frozen=True, slots=True)
class Service:
    """An attestation service (restful-as) and the headers sent with every call.

    ``as_ca_paths`` not empty: these alone sign the certificate of its HTTPS.
    """

    as_addr: str
    as_headers: tuple[tuple[str, str], ...]
    as_ca_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attest:
    """How this side proves itself: the agent's unix socket, seconds between refreshes, and for passport the issuer."""

    model: Model
    aa_path: str
    refresh_interval: int
    service: Service | None
    policy_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verify:
    """What this side demands of its peer. ``trusted_certs_paths`` not empty is an exclusive pin."""

    model: Model
    service: Service | None
    policy_ids: tuple[str, ...]
    trusted_certs_paths: tuple[str, ...]
    skip_as_token_cert_verify: bool
    issuer: str | None
    max_session_age: int | None


@dataclass(frozen=True, slots=True)
class MappingRule:
    """Ports to listen on, ``in_port`` to ``in_port_end``, and where they lead; ``out_host`` may be a name."""

    in_host: str
    in_port: int
    in_port_end: int
    out_host: str
    out_port: int


@dataclass(frozen=True, slots=True)
class Socks5:
    """A SOCKS5 proxy on an address of this host; ``username`` and ``password`` both None: everybody may connect."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class DstFilter:
    """Destinations of a proxy, by one of the three or all of them None, and inclusive ports; ``network`` is in CIDR."""

    domain: str | None
    domain_regex: str | None
    network: str | None
    port: int
    port_end: int


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An HTTP proxy on an address of this host; ``unmatched`` is what happens to what none of ``filters`` takes."""

    host: str
    port: int
    filters: tuple[DstFilter, ...]
    unmatched: Unmatched


@dataclass(frozen=True, slots=True)
class Entry:
    """One capture: who listens where, with which mark it dials, and the trust it demands (both null: ``no_ra``).

    ``proxy_protocol``: an egress tells the service who its client is, with a header before the payload.
    ``client_address`` original: it dials the service from the client's address. ``takes_forwarded``: an ingress is also
    for what this host forwards, which comes to an address of the incoming interface. With ``mapping`` or a proxy it
    captures nothing: ``listen_port`` is 0 and ``families`` empty.
    """

    pointer: str
    role: Role
    listen_port: int
    so_mark: int
    families: tuple[Family, ...]
    attest: Attest | None
    verify: Verify | None
    proxy_protocol: ProxyProtocol | None = None
    client_address: ClientAddress = "tunnel"
    mapping: tuple[MappingRule, ...] = ()
    socks5: Socks5 | None = None
    http_proxy: HttpProxy | None = None
    takes_forwarded: bool = False

    @property
    def listens_everywhere(self) -> bool:
        """Whether its redirect leads to other addresses of this host than the loopback address."""
        return self.role == "egress" or self.takes_forwarded

    @property
    def is_door(self) -> bool:
        """Whether it captures nothing."""
        return bool(self.mapping) or self.proxy is not None

    @property
    def proxy(self) -> Socks5 | HttpProxy | None:
        """The proxy that it is."""
        return self.socks5 or self.http_proxy


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A set of both tables that holds every cgroup at depth ``level`` (1 is below the root)."""

    set: str
    level: int


@dataclass(frozen=True, slots=True)
class CgroupSet:
    """A set of both tables that holds the cgroups at ``paths``, relative to the root, all of one depth."""

    set: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceCgroups:
    """An egress that captures by the cgroup of the service: its pointer, the cgroups, and the ports that it names."""

    entry: str
    paths: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Cgroups:
    """What the tables know of cgroups by their ids; both empty when no entry asks for any.

    ``services``: which sockets should be found in which cgroups, for a warning at the start.
    """

    known: tuple[KnownSet, ...]
    sets: tuple[CgroupSet, ...]
    services: tuple[ServiceCgroups, ...] = ()


@dataclass(frozen=True, slots=True)
class Ipset:
    """A set of the tables that holds the addresses of one family that are in the kernel's ipset of that name."""

    set: str
    ipset: str
    family: Family


@dataclass(frozen=True, slots=True)
class Control:
    """Where the control interface answers over TCP: an address of IPv4 or IPv6, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole document; the digests name the one ruleset and guard that it belongs to.

    ``way_back`` is there if some egress dials from its clients' addresses.
    """

    compiler_version: str
    config_sha256: str
    ruleset_sha256: str
    guard_sha256: str
    table: str
    ipsets: tuple[Ipset, ...]
    guard_table: str
    cgroups: Cgroups
    entries: tuple[Entry, ...]
    control: Control | None = None
    way_back: contract.WayBack | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest with the texts of its ruleset and guard, the digests already checked.

    They may be megabytes and are seldom needed, so they are kept packed.
    """

    manifest: Manifest
    _ruleset: bytes
    _guard: bytes

    @property
    def ruleset(self) -> str:
        """What is loaded as ``manifest.table``."""
        return _unpacked(self._ruleset)

    @property
    def guard(self) -> str:
        """What is loaded as ``manifest.guard_table``."""
        return _unpacked(self._guard)


def load_bundle(directory: Path) -> Bundle:
    """Read ``manifest.json``, ``ruleset.nft`` and ``guard.nft`` of ``directory``.

    Raises ``HostError`` (exit 1) if one is missing, is malformed, or if they do not belong together.
    """
    manifest = parse_manifest(_read(directory / MANIFEST_FILE))
    ruleset = _rules(directory / RULESET_FILE, manifest.ruleset_sha256)
    return Bundle(manifest, ruleset, _rules(directory / GUARD_FILE, manifest.guard_sha256))


def _rules(path: Path, expected: str) -> bytes:
    data = _read(path)
    if (digest := hashlib.sha256(data).hexdigest()) != expected:
        raise HostError(
            f"{path}: its SHA-256 is {digest}, the manifest belongs to {expected}",
            hint="compile again with `tng compile CONFIG -o DIR`; none of the files is edited by hand",
            exit_code=1,
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise HostError(f"{path}: not UTF-8", hint="compile it again", exit_code=1) from None
    return zlib.compress(data, zlib.Z_BEST_SPEED)


def _unpacked(packed: bytes) -> str:
    return zlib.decompress(packed).decode("utf-8")


def parse_manifest(data: bytes) -> Manifest:
    """Parse the bytes of a manifest; raises ``HostError`` (exit 1) with the path of the member at fault."""
    try:
        document = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad("", f"not a JSON document: {error}") from None
    root = Members(document, "")
    if (version := root.get("manifest_version", integer)) != contract.MANIFEST_VERSION:
        raise bad("/manifest_version", f"expected {contract.MANIFEST_VERSION}, got {version}")
    manifest = Manifest(
        compiler_version=root.get("compiler_version", text_of),
        config_sha256=root.get("config_sha256", _sha256),
        ruleset_sha256=root.get("ruleset_sha256", _sha256),
        guard_sha256=root.get("guard_sha256", _sha256),
        table=root.get("table", matching(contract.TABLE)),
        ipsets=root.get("ipsets", listed(_ipset)),
        guard_table=root.get("guard_table", matching(contract.TABLE + contract.GUARD_SUFFIX)),
        cgroups=root.get("cgroups", _cgroups),
        entries=root.get("entries", listed(_entry)),
        control=root.get("control", _control) if root.has("control") else None,
        way_back=root.get("way_back", nullable(_way_back)),
    )
    root.close()
    if len({ipset.set for ipset in manifest.ipsets}) != len(manifest.ipsets):
        raise bad("/ipsets", "expected each set once")
    if manifest.guard_table != manifest.table + contract.GUARD_SUFFIX:
        raise bad("/guard_table", f"expected {manifest.table}{contract.GUARD_SUFFIX}, got {manifest.guard_table}")
    if any(entry.client_address == "original" for entry in manifest.entries) != (manifest.way_back is not None):
        raise bad("/way_back", "expected one if some entry has the client_address original, else null")
    if manifest.way_back not in (None, contract.way_back(manifest.table)):
        raise bad("/way_back", f"expected {contract.way_back(manifest.table)} for table {manifest.table}")
    if not manifest.entries:
        raise bad("/entries", "expected at least one entry")
    ports = [entry.listen_port for entry in manifest.entries if not entry.is_door]
    if len(set(ports)) != len(ports):
        raise bad("/entries", "expected a listen_port of its own for each entry")
    return manifest


def _control(value: object, path: str) -> Control:
    obj = Members(value, path)
    control = Control(obj.get("host", _address), obj.get("port", between(1, 0xFFFF)))
    obj.close()
    return control


def _address(value: object, path: str) -> str:
    text = text_of(value, path)
    if not contract.is_address(text):
        raise bad(path, f"expected an address of IPv4 or IPv6, got {text!r}")
    return text


def _own_address(value: object, path: str) -> str:
    text = _address(value, path)
    if str(ip_address(text.partition("%")[0])) != text:
        raise bad(path, f"expected an address in its canonical form, got {text!r}")
    return text


def _way_back(value: object, path: str) -> contract.WayBack:
    obj = Members(value, path)
    number = between(1, 0xFFFFFFFF)
    found = contract.WayBack(obj.get("mark", number), obj.get("routing_table", number), obj.get("priority", number))
    obj.close()
    return found


def _cgroups(value: object, path: str) -> Cgroups:
    obj = Members(value, path)
    cgroups = Cgroups(
        known=obj.get("known", listed(_known_set)),
        sets=obj.get("sets", listed(_cgroup_set)),
        services=obj.get("services", listed(_service_cgroups)),
    )
    obj.close()
    names = [known.set for known in cgroups.known] + [group.set for group in cgroups.sets]
    if len(set(names)) != len(names):
        raise bad(path, "expected each set once")
    return cgroups


def _known_set(value: object, path: str) -> KnownSet:
    obj = Members(value, path)
    known = KnownSet(obj.get("set", matching(r"known_cgroups_[0-9]{1,3}")), obj.get("level", between(1, 255)))
    obj.close()
    return known


def _cgroup_set(value: object, path: str) -> CgroupSet:
    obj = Members(value, path)
    name = obj.get("set", matching(r"(in|e)gress_[0-9]{1,9}_(inside|outside)_[0-9]{1,3}"))
    group = CgroupSet(name, obj.get("paths", listed(matching(f"{CGROUP}(/{CGROUP})*"))))
    obj.close()
    if not group.paths:
        raise bad(f"{path}/paths", "expected at least one path")
    return group


def _service_cgroups(value: object, path: str) -> ServiceCgroups:
    obj = Members(value, path)
    service = ServiceCgroups(
        entry=obj.get("entry", matching(r"/add_egress/[0-9]+")),
        paths=obj.get("paths", listed(matching(f"{CGROUP}(/{CGROUP})*"))),
        ports=obj.get("ports", listed(_ports)),
    )
    obj.close()
    return service


def _ports(value: object, path: str) -> tuple[int, int]:
    ends = listed(between(0, 0xFFFF))(value, path)
    if len(ends) != 2 or ends[0] > ends[1]:
        raise bad(path, "expected the first and the last port")
    return ends[0], ends[1]


def _ipset(value: object, path: str) -> Ipset:
    obj = Members(value, path)
    name, family = matching(contract.SET_NAME), one_of("ipv4", "ipv6")
    ipset = Ipset(obj.get("set", name), obj.get("ipset", name), cast("Family", obj.get("family", family)))
    obj.close()
    return ipset


def _entry(value: object, path: str) -> Entry:
    obj = Members(value, path)
    entry = Entry(
        pointer=obj.get("pointer", matching(r"/add_(ingress|egress)/[0-9]+")),
        role=cast("Role", obj.get("role", one_of("ingress", "egress"))),
        listen_port=obj.get("listen_port", between(0, 0xFFFF)),
        mapping=obj.get("mapping", listed(_mapping_rule)),
        socks5=obj.get("socks5", nullable(_socks5)),
        http_proxy=obj.get("http_proxy", nullable(_http_proxy)),
        so_mark=obj.get("so_mark", between(1, 0xFFFFFFFF)),
        families=cast("tuple[Family, ...]", obj.get("families", listed(one_of("ipv4", "ipv6")))),
        attest=obj.get("attest", nullable(_attest)),
        verify=obj.get("verify", nullable(_verify)),
        client_address=cast("ClientAddress", obj.get("client_address", one_of("tunnel", "original"))),
        takes_forwarded=obj.get("takes_forwarded", boolean),
        proxy_protocol=cast("ProxyProtocol | None", obj.get("proxy_protocol", nullable(one_of("v2")))),
    )
    obj.close()
    if entry.proxy_protocol and entry.role == "ingress":
        raise bad(f"{path}/proxy_protocol", "expected null on an ingress")
    if entry.client_address != "tunnel" and entry.role == "ingress":
        raise bad(f"{path}/client_address", "expected tunnel on an ingress")
    if entry.takes_forwarded and (entry.is_door or entry.role == "egress"):
        raise bad(f"{path}/takes_forwarded", "expected false but on an ingress that captures")
    if entry.is_door == bool(entry.listen_port):
        raise bad(f"{path}/listen_port", "expected a port, or 0 where nothing is captured")
    if entry.is_door and entry.client_address != "tunnel":
        raise bad(f"{path}/client_address", "expected tunnel where nothing is captured")
    doors = [name for name in ("mapping", "socks5", "http_proxy") if getattr(entry, name)]
    if len(doors) > 1 or (entry.proxy and entry.role == "egress"):
        raise bad(f"{path}/{doors[-1]}", "expected it alone, and on an ingress")
    if entry.is_door == bool(entry.families) or len(set(entry.families)) != len(entry.families):
        raise bad(f"{path}/families", "expected one or two different families")
    return entry


def _mapping_rule(value: object, path: str) -> MappingRule:
    obj = Members(value, path)
    port = between(1, 0xFFFF)
    rule = MappingRule(
        in_host=obj.get("in_host", _own_address),
        in_port=obj.get("in_port", port),
        in_port_end=obj.get("in_port_end", port),
        out_host=obj.get("out_host", matching(r"[A-Za-z0-9_.:-]{1,253}")),
        out_port=obj.get("out_port", port),
    )
    obj.close()
    if not 0 <= rule.in_port_end - rule.in_port <= 0xFFFF - rule.out_port:
        raise bad(path, "expected a range of ports, and as many from out_port on")
    return rule


def _socks5(value: object, path: str) -> Socks5:
    obj = Members(value, path)
    found = Socks5(
        host=obj.get("host", _own_address),
        port=obj.get("port", between(1, 0xFFFF)),
        username=obj.get("username", nullable(text_of)),
        password=obj.get("password", nullable(text_of)),
    )
    obj.close()
    if (found.username is None) != (found.password is None):
        raise bad(path, "expected a username and a password, or neither")
    return found


def _http_proxy(value: object, path: str) -> HttpProxy:
    obj = Members(value, path)
    found = HttpProxy(
        host=obj.get("host", _own_address),
        port=obj.get("port", between(1, 0xFFFF)),
        filters=obj.get("filters", listed(_dst_filter)),
        unmatched=cast("Unmatched", obj.get("unmatched", one_of("refuse", "direct"))),
    )
    obj.close()
    if not found.filters:
        raise bad(f"{path}/filters", "expected at least one filter")
    return found


def _dst_filter(value: object, path: str) -> DstFilter:
    obj = Members(value, path)
    found = DstFilter(
        domain=obj.get("domain", nullable(matching(r"\*?[a-z0-9_.-]+|[a-z0-9_.-]+\*"))),
        domain_regex=obj.get("domain_regex", nullable(_regex)),
        network=obj.get("network", nullable(_network)),
        port=obj.get("port", between(1, 0xFFFF)),
        port_end=obj.get("port_end", between(1, 0xFFFF)),
    )
    obj.close()
    if found.port > found.port_end or [found.domain, found.domain_regex, found.network].count(None) < 2:
        raise bad(path, "expected a range of ports, and at most one of domain, domain_regex and network")
    return found


def _regex(value: object, path: str) -> str:
    text = text_of(value, path)
    try:
        pattern(text)
    except PatternError as error:
        raise bad(path, f"expected a pattern: {error}") from None
    return text


def _network(value: object, path: str) -> str:
    text = text_of(value, path)
    try:
        return str(ip_network(text))
    except ValueError:
        raise bad(path, f"expected a network, got {text!r}") from None


def _attest(value: object, path: str) -> Attest:
    obj = Members(value, path)
    attest = Attest(
        model=cast("Model", obj.get("model", one_of("background_check", "passport"))),
        aa_path=obj.get("aa_path", _absolute),
        refresh_interval=obj.get("refresh_interval", between(0, 0xFFFFFFFF)),
        service=obj.get("service", nullable(_service)),
        policy_ids=obj.get("policy_ids", listed(text_of)),
    )
    obj.close()
    if (attest.model == "passport") != (attest.service is not None):
        raise bad(f"{path}/service", "expected a service in passport and none in background_check")
    return attest


def _verify(value: object, path: str) -> Verify:
    obj = Members(value, path)
    verify = Verify(
        model=cast("Model", obj.get("model", one_of("background_check", "passport"))),
        service=obj.get("service", nullable(_service)),
        policy_ids=obj.get("policy_ids", listed(text_of)),
        trusted_certs_paths=obj.get("trusted_certs_paths", listed(_absolute)),
        skip_as_token_cert_verify=obj.get("skip_as_token_cert_verify", boolean),
        issuer=obj.get("issuer", nullable(text_of)),
        max_session_age=obj.get("max_session_age", nullable(between(1, 0xFFFFFFFF))),
    )
    obj.close()
    if not verify.policy_ids:
        raise bad(f"{path}/policy_ids", "expected at least one policy id")
    if verify.model == "background_check" and verify.service is None:
        raise bad(f"{path}/service", "expected a service in background_check")
    if verify.service is None and not verify.trusted_certs_paths and not verify.skip_as_token_cert_verify:
        raise bad(path, "expected a service or trusted_certs_paths: nothing could anchor a token")
    return verify


def _service(value: object, path: str) -> Service:
    obj = Members(value, path)
    headers = obj.get("as_headers", string_map)
    authorities = obj.get("as_ca_paths", listed(_absolute)) if obj.has("as_ca_paths") else ()
    service = Service(obj.get("as_addr", matching(r"https?://.+")), headers, authorities)
    obj.close()
    return service


_sha256 = matching(r"[0-9a-f]{64}")
_absolute = matching(r"/.*")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same member twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise HostError(
            f"{path}: {error.strerror}", hint="make it with `tng compile CONFIG -o DIR`", exit_code=1
        ) from None
    if len(data) > MAX_BYTES:
        raise HostError(f"{path}: larger than {MAX_BYTES} bytes", hint="compile it again", exit_code=1)
    return data
