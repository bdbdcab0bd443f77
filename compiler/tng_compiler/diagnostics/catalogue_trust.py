"""``TNG5xx``: what is legal and weak."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

TRUST: dict[Code, Explanation] = {
    Code.NO_ATTESTATION: Explanation(
        "A tunnel that proves nothing",
        "`no_ra` encrypts to whoever answers at the other end, an attacker included. It is for debugging.",
        '{"no_ra": true}',
    ),
    Code.SIGNATURE_UNCHECKED: Explanation(
        "Tokens of any signer are believed",
        "`skip_as_token_cert_verify` accepts a token that anybody signed with a key of their own: the "
        "attestation can be forged with a few lines of code.",
        '{"skip_as_token_cert_verify": true}',
        '{"trusted_certs_paths": ["/etc/tng/as-ca.pem"]}',
    ),
    Code.PLAIN_HTTP_SERVICE: Explanation(
        "The attestation service is reached in plain http",
        "Off this host, whoever is on the way can read the evidence and the headers, and answer with "
        "certificates of their own: the trust is then theirs. Pinning with `trusted_certs_paths` takes the "
        "last power away.",
        '{"as_addr": "http://as.example/"}',
        '{"as_addr": "https://as.example/"}',
    ),
    Code.PEER_UNVERIFIED: Explanation(
        "An ingress that proves itself and verifies nobody",
        "With `attest` alone an ingress shows what it runs to whoever answers, and then sends to it what its programs "
        "say: to somebody else as well, who answers in the peer's name. That is enough where only the service must "
        "know its clients; everywhere else `verify` belongs beside it.",
        '{"add_ingress": [{"attest": {"aa_addr": "unix:///run/aa.sock"}}]}',
        '{"add_ingress": [{"attest": {"aa_addr": "unix:///run/aa.sock"}, "verify": {"policy_ids": ["default"]}}]}',
    ),
}
