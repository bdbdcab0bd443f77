"""Who proves what to whom, and whom a service sees: field by field, in a normal form in which order means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from tng_compiler.diagnostics.quoting import visible
from tng_compiler.model.types import Attest, ClientAddress, ProxyProtocol, Service, Verify
from tng_compiler.plan.types import Interception, PlannedDoor
from tng_schema import contract

Weight = Literal["weaker", "peer", "own"]
"""Demands less; something that the other side must agree to; a matter of this host alone."""

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """``before`` and ``after`` are texts for people. Values of headers, which are secrets, are never in them."""

    field: str
    before: str
    after: str
    weight: Weight


@dataclass(frozen=True, slots=True)
class Trust:
    """``attest`` and ``verify`` of an entry, and what an egress lets its services know of clients.

    Equal for entries of one meaning.
    """

    attest: Attest | None
    verify: Verify | None
    proxy_protocol: ProxyProtocol | None = None
    client_address: ClientAddress = "tunnel"

    @property
    def nothing(self) -> bool:
        """Whether nobody proves anything: ``no_ra``."""
        return self.attest is None and self.verify is None

    def without_secrets(self) -> Trust:
        """The same without the values of headers."""
        attest, verify = self.attest, self.verify
        if attest and attest.service:
            attest = replace(attest, service=_named(attest.service))
        if verify and verify.service:
            verify = replace(verify, service=_named(verify.service))
        return replace(self, attest=attest, verify=verify)


def trust_of(entry: Interception | PlannedDoor) -> Trust:
    """Return the trust of ``entry`` in the normal form."""
    seen = entry.client_address if isinstance(entry, Interception) else "tunnel"
    return Trust(_attest(entry.attest), _verify(entry.verify), entry.proxy_protocol, seen)


def changes(before: Trust, after: Trust) -> tuple[FieldChange, ...]:
    """Return what differs, the most dangerous first."""
    found = sorted(_changes(before, after), key=lambda change: ("weaker", "peer", "own").index(change.weight))
    return tuple(found)


def _changes(before: Trust, after: Trust) -> Iterator[FieldChange]:
    if before.nothing != after.nothing:
        no_ra = (_yes(before.nothing), _yes(after.nothing))
        yield FieldChange("no_ra", *no_ra, "weaker" if after.nothing else "peer")
    if (before.verify is None) != (after.verify is None):
        roles = ("verifies", "does not verify") if before.verify else ("does not verify", "verifies")
        yield FieldChange("roles", *roles, "weaker" if before.verify else "peer")
    if (before.attest is None) != (after.attest is None):
        roles = ("attests", "does not attest") if before.attest else ("does not attest", "attests")
        yield FieldChange("roles", *roles, "peer")
    if before.verify and after.verify:
        yield from _verify_changes(before.verify, after.verify)
    if before.attest and after.attest:
        yield from _attest_changes(before.attest, after.attest)
    if before.proxy_protocol != after.proxy_protocol:
        yield FieldChange("proxy_protocol", before.proxy_protocol or "none", after.proxy_protocol or "none", "own")
    if before.client_address != after.client_address:
        yield FieldChange("client_address", before.client_address, after.client_address, "own")


def _verify_changes(before: Verify, after: Verify) -> Iterator[FieldChange]:
    if before.model != after.model:
        yield FieldChange("verify.model", before.model, after.model, "peer")
    exposed = _anybody_answers(after) and not _anybody_answers(before)
    yield from _service_changes("verify", before.service, after.service, "weaker" if exposed else "peer")
    if before.policy_ids != after.policy_ids:
        fewer = set(after.policy_ids) < set(before.policy_ids)
        policies = (_list(before.policy_ids), _list(after.policy_ids))
        yield FieldChange("verify.policy_ids", *policies, "weaker" if fewer else "peer")
    if before.trusted_certs_paths != after.trusted_certs_paths:
        pins = (_list(before.trusted_certs_paths), _list(after.trusted_certs_paths))
        lost = not after.trusted_certs_paths or set(before.trusted_certs_paths) < set(after.trusted_certs_paths)
        lost = lost and bool(before.trusted_certs_paths)
        yield FieldChange("verify.trusted_certs_paths", *pins, "weaker" if lost else "peer")
    if before.skip_as_token_cert_verify != after.skip_as_token_cert_verify:
        skips = (_yes(before.skip_as_token_cert_verify), _yes(after.skip_as_token_cert_verify))
        yield FieldChange("verify.skip_as_token_cert_verify", *skips, "weaker" if skips[1] == "true" else "peer")
    if before.issuer != after.issuer:
        yield FieldChange(
            "verify.issuer", _text(before.issuer), _text(after.issuer), "weaker" if after.issuer is None else "peer"
        )
    if before.max_session_age != after.max_session_age:
        yield FieldChange("verify.max_session_age", _text(before.max_session_age), _text(after.max_session_age), "own")


def _attest_changes(before: Attest, after: Attest) -> Iterator[FieldChange]:
    if before.model != after.model:
        yield FieldChange("attest.model", before.model, after.model, "peer")
    yield from _service_changes("attest", before.service, after.service, "peer")
    if before.policy_ids != after.policy_ids:
        yield FieldChange("attest.policy_ids", _list(before.policy_ids), _list(after.policy_ids), "peer")
    if before.aa_path != after.aa_path:
        yield FieldChange("attest.aa_addr", before.aa_path, after.aa_path, "own")
    if before.refresh_interval != after.refresh_interval:
        intervals = (str(before.refresh_interval), str(after.refresh_interval))
        yield FieldChange("attest.refresh_interval", *intervals, "own")


def _anybody_answers(verify: Verify) -> bool:
    """Whether who is on the way to the service can answer in its place, and is believed."""
    url = urlsplit(verify.service.as_addr if verify.service else "")
    return url.scheme == "http" and not verify.trusted_certs_paths and not contract.is_loopback(url.hostname or "")


def _service_changes(
    where: str, before: Service | None, after: Service | None, weight: Weight
) -> Iterator[FieldChange]:
    addresses = (before.as_addr if before else "none", after.as_addr if after else "none")
    if addresses[0] != addresses[1]:
        yield FieldChange(f"{where}.as_addr", *addresses, weight)
    authorities = (before.as_ca_paths if before else (), after.as_ca_paths if after else ())
    if authorities[0] != authorities[1]:
        # Whoever answers as the service decides who is believed.
        more = bool(authorities[0]) and set(authorities[0]) < set(authorities[1])
        lost = where == "verify" and after is not None and (more or not authorities[1])
        names = tuple(_list(paths) if paths else "those of the host" for paths in authorities)
        yield FieldChange(f"{where}.as_ca_paths", names[0], names[1], "weaker" if lost else "own")
    headers = (before.as_headers if before else (), after.as_headers if after else ())
    if headers[0] != headers[1]:
        names = (_list(tuple(name for name, _ in headers[0])), _list(tuple(name for name, _ in headers[1])))
        if names[0] == names[1]:
            names = (names[0], f"{names[0]}, with other values")
        yield FieldChange(f"{where}.as_headers", *names, "own")


def _attest(attest: Attest | None) -> Attest | None:
    if attest is None:
        return None
    policies = tuple(sorted(set(attest.policy_ids)))
    return Attest(attest.model, attest.aa_path, attest.refresh_interval, _service(attest.service), policies)


def _verify(verify: Verify | None) -> Verify | None:
    if verify is None:
        return None
    return Verify(
        verify.model,
        _service(verify.service),
        tuple(sorted(set(verify.policy_ids))),
        tuple(sorted(set(verify.trusted_certs_paths))),
        verify.skip_as_token_cert_verify,
        verify.issuer,
        verify.max_session_age,
    )


def _service(service: Service | None) -> Service | None:
    if service is None:
        return None
    return Service(service.as_addr, tuple(sorted(service.as_headers)), tuple(sorted(set(service.as_ca_paths))))


def _named(service: Service) -> Service:
    return replace(service, as_headers=tuple((name, "") for name, _ in service.as_headers))


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _text(value: object) -> str:
    return "none" if value is None else visible(str(value), 200)


def _list(values: tuple[str, ...]) -> str:
    return ", ".join(visible(value, 200) for value in values) or "none"
