"""The refusal codes of attestation: what each one means and what the operator does about it.

The groups follow the order of the checks: certificate, evidence, service, token, trust anchors, the life of a session,
and the agent of the attesting side.
"""

from __future__ import annotations

from tng_runtime.errors import ExplainedCode


class Code(ExplainedCode):
    """A code of attestation."""

    CERT_CHAIN = (
        "RA-CERT-CHAIN",
        "The peer did not show exactly one certificate.",
        "Let the peer attest with TNG; a peer that shows none has no `attest` block, one that shows several is no TNG.",
    )
    CERT_SIZE = (
        "RA-CERT-SIZE",
        "The certificate is larger than 1 MiB.",
        "Find out why the peer's evidence is that large (event logs, additional devices) and shorten it.",
    )
    CERT_FORM = (
        "RA-CERT-FORM",
        "The bytes are not one DER X.509 v3 certificate, or an extension in it is malformed or repeated.",
        "Look at who answers at that address; it does not issue certificates as TNG does.",
    )
    CERT_ALGORITHM = (
        "RA-CERT-ALGORITHM",
        "The certificate's key or signature algorithm is weak or not supported.",
        "Update the peer: P-256, P-384, P-521 or RSA of 2048 to 8192 bits, with SHA-256, SHA-384 or SHA-512.",
    )
    CERT_SELF_SIGNED = (
        "RA-CERT-SELF-SIGNED",
        "Issuer and subject differ, or the certificate is not signed with its own key.",
        "Look for something between the two hosts that replaces certificates.",
    )
    CERT_CRITICAL = (
        "RA-CERT-CRITICAL",
        "The certificate has a critical extension that this version does not know, or a usage that TLS does not allow.",
        "Update this side, or look at what issues the peer's certificates.",
    )
    CERT_DATES = (
        "RA-CERT-DATES",
        "The certificate has ended, has not begun, or lives longer than 24 hours.",
        "Compare the clocks of both hosts; look at the peer's log for failed renewals.",
    )
    CERT_NO_EVIDENCE = (
        "RA-CERT-NO-EVIDENCE",
        "The certificate carries no evidence.",
        "Give the peer's entry an `attest` block; it may run with `no_ra`.",
    )
    CERT_EVIDENCE_TWICE = (
        "RA-CERT-EVIDENCE-TWICE",
        "The certificate carries more than one evidence extension.",
        "Treat the peer as hostile: no TNG issues such a certificate.",
    )
    EVIDENCE_FORM = (
        "RA-EVIDENCE-FORM",
        "The evidence is not the strict CBOR that the protocol demands.",
        "Compare the versions of both sides; treat a peer that claims to be this version as hostile.",
    )
    EVIDENCE_TAG = (
        "RA-EVIDENCE-TAG",
        "The CBOR tag names no kind of evidence that this version knows.",
        "Compare the versions of both sides and the provider in the peer's `attest` block.",
    )
    EVIDENCE_MODEL = (
        "RA-EVIDENCE-MODEL",
        "A token came where evidence is due, or evidence where a token is due.",
        "Give `model` the same value on both sides: `background_check` or `passport`.",
    )
    EVIDENCE_HASH = (
        "RA-EVIDENCE-HASH",
        "The hash algorithm of the runtime data is none of SHA-256, SHA-384, SHA-512.",
        "Compare the versions of both sides.",
    )
    EVIDENCE_ADDITIONAL = (
        "RA-EVIDENCE-ADDITIONAL",
        "The additional evidence is not a JSON object of evidence by TEE, or of more than 16 TEEs.",
        "Look at the peer's attestation agent and its device attesters.",
    )
    RUNTIME_DATA_FORM = (
        "RA-RUNTIME-DATA-FORM",
        "The runtime data is not canonical JSON.",
        "Compare the versions of both sides; treat a peer that claims to be this version as hostile.",
    )
    RUNTIME_DATA_CLAIMS = (
        "RA-RUNTIME-DATA-CLAIMS",
        "The runtime data is not exactly one `pubkey-hash` of the right type.",
        "Compare the versions of both sides; treat a peer that claims to be this version as hostile.",
    )
    KEY_BINDING = (
        "RA-KEY-BINDING",
        "The evidence belongs to another key than the certificate's.",
        "Treat the peer as hostile: it shows the evidence of somebody else.",
    )
    SERVICE_UNREACHABLE = (
        "RA-SERVICE-UNREACHABLE",
        "The attestation service could not be reached.",
        "Look at `as_addr`, at the route to it and at the service itself.",
    )
    SERVICE_TLS = (
        "RA-SERVICE-TLS",
        "The attestation service does not speak TLS, or none that is spoken here (1.2 or newer).",
        "Look at `as_addr`: its port and its scheme (http or https), and at the service's TLS settings.",
    )
    SERVICE_CA = (
        "RA-SERVICE-CA",
        "The HTTPS certificate of the attestation service is of an authority that is not believed.",
        "Name a private CA in `as_ca_paths`, or install it on this host; `trusted_certs_paths` is for tokens.",
    )
    SERVICE_CERTIFICATE = (
        "RA-SERVICE-CERTIFICATE",
        "The HTTPS certificate of the attestation service has ended, has not begun, or names another host.",
        "Renew it; compare its names with the host in `as_addr`, and the clocks of both hosts.",
    )
    SERVICE_BUSY = (
        "RA-SERVICE-BUSY",
        "More peers that are not known yet wait for the attestation service than are let wait.",
        "Look at who connects that often, or at why the service takes so long.",
    )
    SERVICE_DEADLINE = (
        "RA-SERVICE-DEADLINE",
        "The attestation service did not answer in time.",
        "Look at the load of the service and at its own access to the vendor's collateral.",
    )
    SERVICE_STATUS = (
        "RA-SERVICE-STATUS",
        "The attestation service refused the evidence or failed; its word is in the detail.",
        "Read the service's log for this time: policy, reference values, or unsupported TEE.",
    )
    SERVICE_ANSWER = (
        "RA-SERVICE-ANSWER",
        "The attestation service answered with something that is not a token.",
        "Look at `as_addr`: a proxy, a login page or another service may answer there.",
    )
    SERVICE_SIZE = (
        "RA-SERVICE-SIZE",
        "The answer of the attestation service is larger than 1 MiB.",
        "Look at `as_addr`: another service may answer there.",
    )
    SERVICE_DIALECT = (
        "RA-SERVICE-DIALECT",
        "The older service cannot verify additional evidence, which may not be dropped.",
        "Update the attestation service to one that takes a list of verification requests.",
    )
    TOKEN_SIZE = (
        "RA-TOKEN-SIZE",
        "The token is larger than 1 MiB, or its header larger than 64 KiB.",
        "Look at the attestation service: its claims are not meant to be that large.",
    )
    TOKEN_FORM = (
        "RA-TOKEN-FORM",
        "The token is not a JWT of three strict base64url segments with strict JSON.",
        "Look at what answers as attestation service.",
    )
    TOKEN_HEADER = (
        "RA-TOKEN-HEADER",
        "The token's header demands something that is not understood (`crit`, `typ`).",
        "Compare the versions of the attestation service and of this side.",
    )
    TOKEN_ALGORITHM = (
        "RA-TOKEN-ALGORITHM",
        "The token's `alg` is not one that its key allows.",
        "Treat the token as forged; services sign with ES256, ES384, ES512, RS or PS with 256, 384 or 512.",
    )
    TOKEN_KEY = (
        "RA-TOKEN-KEY",
        "The token's `jwk` is missing, weak, malformed or not the key of its leaf certificate.",
        "Treat the token as forged, or repair the service's signing configuration.",
    )
    TOKEN_CHAIN = (
        "RA-TOKEN-CHAIN",
        "The token's chain is missing, malformed, out of order or ended, its issuers are no CAs or its leaf no signer.",
        "Repair the service's signing configuration: `x5c`, leaf first, in date, and a leaf whose usages let it sign.",
    )
    TOKEN_UNTRUSTED = (
        "RA-TOKEN-UNTRUSTED",
        "The token's certificate chain does not end at a trust anchor.",
        "Put the service's CA into `trusted_certs_paths`; if it is there, somebody else signs tokens.",
    )
    TOKEN_SIGNATURE = (
        "RA-TOKEN-SIGNATURE",
        "The token's signature does not verify.",
        "Treat the token as forged or altered on its way.",
    )
    TOKEN_TIME = (
        "RA-TOKEN-TIME",
        "The token has ended, has not begun, or states its times in another form than whole seconds.",
        "Compare the clocks of this host and the service; in passport look at the peer's `refresh_interval`.",
    )
    TOKEN_ISSUER = (
        "RA-TOKEN-ISSUER",
        "The token's `iss` is not the configured issuer.",
        "Compare `issuer` with what the service puts into its tokens.",
    )
    TOKEN_PROFILE = (
        "RA-TOKEN-PROFILE",
        "The token is neither in the EAR form of the CoCo trustee nor in the simple form.",
        "Compare the version of the attestation service with the supported ones.",
    )
    TOKEN_SUBMODS = (
        "RA-TOKEN-SUBMODS",
        "The token's `submods` are missing, malformed or without `cpu0`.",
        "Look at the policy of the attestation service: it must appraise the CPU.",
    )
    TOKEN_STATUS = (
        "RA-TOKEN-STATUS",
        "The service does not affirm the peer, or its status contradicts its trustworthiness vector.",
        "Compare the peer's measurements with the service's reference values and policy.",
    )
    TOKEN_POLICY = (
        "RA-TOKEN-POLICY",
        "The token was not appraised by every configured policy, or not by one and the same.",
        "Compare `policy_ids` with the policies that the service holds and, in passport, with the peer's.",
    )
    TOKEN_CLAIMS = (
        "RA-TOKEN-CLAIMS",
        "The token does not vouch for the key of the certificate that was presented.",
        "Treat the peer as hostile: it shows the token of somebody else.",
    )
    ANCHOR_FORM = (
        "RA-ANCHOR-FORM",
        "The trust anchors are empty, not PEM certificates, weak, or more than the bound allows.",
        "Repair the files of `trusted_certs_paths`, or look at what `/certificate` of the service answers.",
    )
    ANCHOR_DATES = (
        "RA-ANCHOR-DATES",
        "A trust anchor has ended or has not begun.",
        "Replace the certificate; compare the clock of this host.",
    )
    SESSION_AGE = (
        "RA-SESSION-AGE",
        "The verdict on an open connection has ended (`max_session_age`).",
        "Nothing, if clients connect again; otherwise compare `max_session_age` with how long they stay.",
    )
    AGENT_UNREACHABLE = (
        "RA-AGENT-UNREACHABLE",
        "The attestation agent's socket could not be reached.",
        "Start the attestation agent; compare `aa_addr` with the path of its socket.",
    )
    AGENT_BUSY = (
        "RA-AGENT-BUSY",
        "More handshakes that want evidence of their own wait for the attestation agent than are let wait.",
        "Look at who connects that often, or give `refresh_interval` a value above 0.",
    )
    AGENT_DEADLINE = (
        "RA-AGENT-DEADLINE",
        "The attestation agent did not answer in time.",
        "Look at the agent's log; hardware quotes may queue behind each other.",
    )
    AGENT_FRAME = (
        "RA-AGENT-FRAME",
        "The attestation agent's answer is not a ttrpc frame that belongs to the request.",
        "Look at what listens on that socket.",
    )
    AGENT_STATUS = (
        "RA-AGENT-STATUS",
        "The attestation agent answered with an error; its word is in the detail.",
        "Look at the agent's log: no TEE device, or the attester failed.",
    )
    SELF_JUDGE = (
        "RA-SELF-JUDGE",
        "The process of this side that makes certificates and asks the service did not answer.",
        "Look at the lines with `process=judge`, and at the load of this host.",
    )
    SELF_EXPIRED = (
        "RA-SELF-EXPIRED",
        "This side has no valid certificate of its own to show.",
        "Look at the earlier lines about its renewal: the attestation agent or, in passport, the service is away.",
    )
