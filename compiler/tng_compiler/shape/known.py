"""What the Rust TNG 2.12.0 knows and this compiler does not support: fields by where they stand, and choices.

Established by asking its parser, which names the fields that it expects.
"""

from __future__ import annotations

_MODES = {
    "mapping_udp": "the UDP port mapping mode",
    "netfilter_udp": "the UDP capture mode",
    "hook": "the library preload mode",
}
_PROTOCOLS = {
    "ohttp": "Oblivious HTTP tunnels",
    "quic": "QUIC tunnels",
}
MULTIPLEX = "several streams a TLS connection"
MODES = frozenset({*_MODES, "netfilter", "mapping", "http_proxy", "socks5"})
"""Names of the ways to capture: an entry has exactly one."""

FIELDS: dict[str, dict[str, str]] = {
    "": {
        "metric": "the export of metrics",
        "trace": "the export of traces",
        "admin_bind": "the admin interface of Envoy",
    },
    "ingress": {
        **_MODES,
        **_PROTOCOLS,
        "encap_in_http": "the older name of ohttp",
        "web_page_inject": "the injection into web pages",
    },
    "egress": {
        **_MODES,
        **_PROTOCOLS,
        "decap_from_http": "the older name of ohttp",
        "direct_forward": "the forwarding of plain HTTP beside the tunnel",
    },
    "rats_tls": {
        "multiplex_max_streams_per_connection": MULTIPLEX,
        "multiplex_max_connections": MULTIPLEX,
    },
    "attest": {
        "asr_addr": "the REST front end of the attestation agent",
        "api_key": "Intel Trust Authority",
        "attestation_policy": "the built-in attestation service",
        "reference_values": "the built-in attestation service",
    },
    "verify": {
        "as_is_grpc": "the gRPC attestation service, by the older name of as_type",
        "verify_signer_transparency": "the transparency log of token signers",
        "api_key": "Intel Trust Authority",
        "ita_jwks_addr": "Intel Trust Authority",
        "attestation_policy": "the built-in attestation service",
        "reference_values": "the built-in attestation service",
    },
}

NULLABLE = frozenset({"ohttp", "quic", "direct_forward", "metric", "trace", "admin_bind"})
"""Blocks for which ``null`` means absent."""

CHOICES: dict[str, dict[str, str]] = {
    "as_type": {"grpc": "the gRPC attestation service", "builtin": "the built-in attestation service"},
    "as_provider": {"ita": "Intel Trust Authority"},
    "aa_type": {"builtin": "the built-in attestation agent"},
    "aa_provider": {
        "ita": "Intel Trust Authority",
        "coco_asr": "the REST front end of the attestation agent",
        "ita_asr": "Intel Trust Authority",
    },
}

ELSEWHERE: dict[tuple[str, str], str] = {
    ("ingress netfilter", "capture_local_traffic"): "it belongs to an egress; an ingress never captures local traffic",
    ("ingress netfilter", "client_address"): "it belongs to an egress: a service sees the client, or this host",
    ("egress", "client_address"): "it belongs into `netfilter`",
    ("egress netfilter", "forwarded"): "it belongs to an ingress; an egress takes what is for this host only",
    (
        "egress netfilter",
        "forwarded_interfaces",
    ): "it belongs to an ingress; an egress takes what is for this host only",
    ("ingress", "direct_forward"): "it belongs to an egress",
    ("ingress", "proxy_protocol"): "it belongs to an egress: an ingress has no service to tell",
    ("egress netfilter", "proxy_protocol"): "it belongs one level up, beside `netfilter`",
    ("ingress", "decap_from_http"): "it belongs to an egress",
    ("egress", "encap_in_http"): "it belongs to an ingress",
    ("egress", "http_proxy"): "it belongs to an ingress",
    ("egress", "socks5"): "it belongs to an ingress",
    ("attest", "trusted_certs_paths"): "it belongs to `verify`",
    ("attest", "skip_as_token_cert_verify"): "it belongs to `verify`",
    ("verify", "aa_addr"): "it belongs to `attest`",
    ("verify", "refresh_interval"): "it belongs to `attest`",
    ("destination", "listen_port"): "it belongs one level up, to `netfilter`",
    ("destination", "so_mark"): "it belongs one level up, to `netfilter`",
    ("ingress", "capture_dst"): "it belongs into `netfilter`",
    ("egress", "capture_dst"): "it belongs into `netfilter`",
}
"""Names that exist, but not here: (where it stands, name) to where it belongs."""


def place_of(path: tuple[str | int, ...]) -> str:
    """Name the kind of object at a path, as the keys of the tables above."""
    if not path:
        return ""
    role = "ingress" if path[0] == "add_ingress" else "egress"
    names = [part for part in path[1:] if isinstance(part, str)]
    if not names:
        return role
    if names[-1] == "capture_dst":
        return "destination"
    return f"{role} netfilter" if names[-1] == "netfilter" else names[-1]
