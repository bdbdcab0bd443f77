"""Who proves what to whom: ``attest``, ``verify`` and ``no_ra``."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Note, Place
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block
from tng_compiler.model.service import absolute, service
from tng_compiler.model.types import Attest, RaModel, Verify

_UNIX = "unix://"
_MAX_SOCKET_PATH = 107
"""sun_path of unix(7), less its final NUL."""
_PASSPORT_FIELDS = ("as_provider", "as_type", "as_addr", "as_headers", "as_ca_paths", "policy_ids")
DEFAULT_REFRESH_INTERVAL = 600


def check_trust(entry: Block) -> None:
    """Report an entry that contradicts itself, or that says nothing about trust."""
    claims = [name for name in ("attest", "verify") if entry.said(name)]
    present = tuple(Note(entry.key_at(name), f"`{name}` is here") for name in claims if name in entry.members)
    if entry.flag("no_ra"):
        if claims:
            message = f"expected `no_ra` alone, found it beside `{'` and `'.join(claims)}`"
            help_ = "remove `no_ra` to attest, or the others to go without"
            entry.findings.error(Code.TRUST_CONFLICT, entry.key_at("no_ra"), message, help_, present)
        else:
            message = "expected attestation, found `no_ra`: the tunnel is encrypted to whoever answers"
            help_ = "use `verify` and `attest` outside of tests"
            entry.findings.warn(Code.NO_ATTESTATION, entry.key_at("no_ra"), message, help_)
    elif entry.pointer.startswith("/add_ingress/") and claims == ["attest"]:
        message = "expected `verify` in an ingress, found `attest` alone: it sends to whoever answers"
        help_ = "add `verify`, unless only the other side must know whom it talks to"
        entry.findings.warn(Code.PEER_UNVERIFIED, entry.key_at("attest"), message, help_)
    elif not claims and not (entry.said("no_ra") and entry.members.get("no_ra") is not False):
        message = "expected `verify`, `attest`, both, or `no_ra: true` in the entry, found none"
        help_ = "an ingress usually has `verify`, an egress `attest`"
        entry.findings.error(Code.TRUST_MISSING, Place(entry.pointer), message, help_)


def attest(block: Block) -> Attest | None:
    """Build how this side proves itself; None after a fault, which is reported."""
    model = _model(block)
    aa_path = _aa_path(block)
    interval = block.integer("refresh_interval")
    issuer = None
    if model == "passport":
        issuer = service(block, pinned=False)
        if not block.said("as_addr"):
            message = "expected `as_addr` in `attest` with model passport, found none"
            help_ = "name the attestation service that issues the token"
            block.findings.error(Code.SERVICE_REQUIRED, Place(block.pointer), message, help_)
    elif "model" not in block.members or block.usable("model"):
        for name in _PASSPORT_FIELDS:
            if block.usable(name):
                message = f"expected `{name}` only with model passport, found it with background_check"
                help_ = 'add "model": "passport", or remove it: the verifier has its own'
                block.findings.error(Code.FIELD_OF_OTHER_MODEL, block.key_at(name), message, help_)
    if aa_path is None:
        return None
    return Attest(
        model=model,
        aa_path=aa_path,
        refresh_interval=DEFAULT_REFRESH_INTERVAL if interval is None else interval,
        service=issuer,
        policy_ids=tuple(policy for _, policy in block.texts("policy_ids")),
    )


def verify(block: Block) -> Verify:
    """Build what is demanded of the peer; faults are reported."""
    model = _model(block)
    policies = tuple(policy for _, policy in block.texts("policy_ids"))
    if block.members.get("policy_ids") == []:
        message = "expected at least one policy in `policy_ids`, found an empty list"
        help_ = 'without a policy anything is affirmed; CoCo\'s own is ["default"]'
        block.findings.error(Code.EMPTY_POLICY_IDS, block.value_at("policy_ids"), message, help_)
    pins = tuple(
        absolute(block, pointer, path)
        for pointer, path in block.texts("trusted_certs_paths")
        if not block.findings.full
    )
    skip = block.flag("skip_as_token_cert_verify")
    where = service(block, pinned=bool(pins))
    pinned = bool(block.members.get("trusted_certs_paths")) or (
        block.said("trusted_certs_paths") and "trusted_certs_paths" not in block.members
    )
    _check_anchor(block, model, pinned=pinned, skip=skip)
    return Verify(
        model=model,
        service=where,
        policy_ids=policies,
        trusted_certs_paths=pins,
        skip_as_token_cert_verify=skip,
        issuer=block.text("issuer"),
        max_session_age=block.integer("max_session_age"),
    )


def _check_anchor(block: Block, model: RaModel, *, pinned: bool, skip: bool) -> None:
    findings, served = block.findings, block.said("as_addr")
    skip_at = block.key_at("skip_as_token_cert_verify")
    if skip and pinned:
        message = "expected `trusted_certs_paths` or `skip_as_token_cert_verify`, found both"
        notes = (Note(block.key_at("trusted_certs_paths"), "the pin that would not be looked at"),)
        findings.error(Code.SKIP_WITH_PIN, skip_at, message, "remove one of the two", notes)
    if skip and model == "passport" and block.usable("as_addr"):
        message = "expected `as_addr` or `skip_as_token_cert_verify` with model passport, found both"
        notes = (Note(block.key_at("as_addr"), "the service that would not be asked"),)
        findings.error(Code.SKIP_WITH_SERVICE, skip_at, message, "remove one of the two", notes)
    if skip:
        message = "expected signatures to be verified, found `skip_as_token_cert_verify`: any signer is believed"
        help_ = "pin the signer with `trusted_certs_paths` outside of tests"
        findings.warn(Code.SIGNATURE_UNCHECKED, skip_at, message, help_)
    if model == "background_check" and not served:
        message = "expected `as_addr` in `verify` with model background_check, found none"
        findings.error(
            Code.SERVICE_REQUIRED,
            Place(block.pointer),
            message,
            "name the attestation service that judges the evidence",
        )
    elif model == "passport" and not (served or pinned or skip):
        message = "expected `as_addr` or `trusted_certs_paths` in `verify` with model passport, found neither"
        help_ = "name who may sign tokens: pinned certificates, or the service to fetch them from"
        findings.error(Code.NO_TRUST_ANCHOR, Place(block.pointer), message, help_)


def _model(block: Block) -> RaModel:
    return "passport" if block.text("model") == "passport" else "background_check"


def _aa_path(block: Block) -> str | None:
    address = block.text("aa_addr")
    if address is None:
        return None
    path = address.removeprefix(_UNIX)
    if not address.startswith(f"{_UNIX}/") or path == "/":
        message = f"expected unix:///path, found {json_text(address)}"
        help_ = f"write unix://{address}" if address.startswith("/") else "three slashes, then the path of the socket"
    elif not path.isprintable():
        message, help_ = f"expected a printable path, found {json_text(address)}", None
    elif (length := len(path.encode("utf-8", "surrogatepass"))) > _MAX_SOCKET_PATH:
        message = f"expected a socket path of at most {_MAX_SOCKET_PATH} bytes, found {length}"
        help_ = "the kernel takes no longer one (unix(7))"
    else:
        return path
    block.findings.error(Code.BAD_AA_ADDR, block.value_at("aa_addr"), message, help_)
    return None
