"""``TNG3xx``: fields that contradict each other, or say nothing."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

MEANING: dict[Code, Explanation] = {
    Code.TRUST_CONFLICT: Explanation(
        "`no_ra` beside `attest` or `verify`",
        "`no_ra` turns attestation off. Beside a block that asks for it one of the two would be ignored.",
        '{"no_ra": true, "verify": {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}}',
    ),
    Code.TRUST_MISSING: Explanation(
        "An entry that says nothing about trust",
        "A tunnel without a stated trust would be either useless or a surprise. Going without attestation has "
        "to be asked for.",
        '{"netfilter": {"capture_dst": {"port": 8080}}}',
        '{"netfilter": {"capture_dst": {"port": 8080}}, '
        '"verify": {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}}',
    ),
    Code.EMPTY_POLICY_IDS: Explanation(
        "No policies to verify by",
        "Without a policy any evidence that parses would do. The Rust TNG accepts an empty list.",
        '{"policy_ids": []}',
        '{"policy_ids": ["default"]}',
    ),
    Code.BAD_HOST: Explanation(
        "Not an address and not a network",
        "`host` is an IPv4 or IPv6 address or a network in CIDR notation. Names are not resolved. Short and "
        "octal forms (10/8, 10.20, 010.0.0.1) mean different things to different programs, and are refused "
        "although the Rust TNG accepts some.",
        '{"host": "10/8"}',
        '{"host": "10.0.0.0/8"}',
    ),
    Code.HOST_BITS_SET: Explanation(
        "A network with host bits",
        "10.0.0.1/8 is either the network 10.0.0.0/8 or the host 10.0.0.1; the two differ by 16 million addresses.",
        '{"host": "10.0.0.1/8"}',
        '{"host": "10.0.0.0/8"}',
    ),
    Code.PORT_END_ALONE: Explanation(
        "`port_end` without `port`",
        "A range has two ends.",
        '{"port_end": 8090}',
        '{"port": 8080, "port_end": 8090}',
    ),
    Code.PORT_END_BELOW_PORT: Explanation(
        "A range that ends before it begins",
        "Ranges are inclusive at both ends; one port may be both.",
        '{"port": 8090, "port_end": 8080}',
        '{"port": 8080, "port_end": 8090}',
    ),
    Code.HOST_AND_IPSET: Explanation(
        "`host` and `ipset` in one destination",
        "A destination has one set of addresses. Either of the two is two destinations.",
        '{"host": "10.0.0.1", "ipset": "partners"}',
        '[{"host": "10.0.0.1"}, {"ipset": "partners"}]',
    ),
    Code.BAD_IPSET_NAME: Explanation(
        "A set name that cannot be one",
        "A set lives in a table of nft by this name. Letters, digits, `_`, `.` and `-` are allowed, 31 at "
        "most, and the first is a letter or `_`; anything else could be read as syntax by somebody.",
        '{"ipset": "x; drop"}',
        '{"ipset": "partners"}',
    ),
    Code.BAD_CGROUP_PATH: Explanation(
        "A cgroup path that cannot be one",
        "Paths are relative to the root of the cgroup v2 hierarchy, without `.` and `..`, of the characters "
        "that systemd and container runtimes use. The root itself holds every process and selects nothing. "
        "`systemctl show -P ControlGroup UNIT` prints the path of a unit. What is compared is the cgroup of the "
        "socket: a socket keeps the one in which it was made, wherever its process goes.",
        '{"capture_cgroup": ["/a/../b"]}',
        '{"capture_cgroup": ["/b"]}',
    ),
    Code.EMPTY_DESTINATION: Explanation(
        "A destination without a condition",
        "An item with neither host, ipset nor port would match everything, which is hardly what an empty "
        "object means. All TCP is the empty list.",
        '{"capture_dst": {}}',
        '{"capture_dst": []}',
    ),
    Code.INGRESS_NEVER_REACHES: Explanation(
        "A destination that an ingress never captures",
        "An ingress takes unicast TCP to other hosts. Loopback, multicast, broadcast and unspecified "
        "addresses never match, so that the entry would protect less than it says. The Rust TNG accepts them "
        "silently.",
        '{"host": "127.0.0.1"}',
    ),
    Code.EGRESS_NEVER_RECEIVES: Explanation(
        "A destination that an egress never receives",
        "Nothing but this host itself connects to its loopback addresses, and no TCP to multicast or broadcast ones.",
        '{"netfilter": {"capture_dst": {"host": "127.0.0.1"}}}',
        '{"netfilter": {"capture_dst": {"host": "127.0.0.1"}, "capture_local_traffic": true}}',
    ),
    Code.CAPTURE_UNSAID: Explanation(
        "Neither `capture_dst` nor `capture_cgroup`",
        "The manual of the Rust TNG says that this captures everything, its program refuses it. Here "
        "everything has to be asked for: an explicit empty list.",
        '{"netfilter": {}}',
        '{"netfilter": {"capture_dst": []}}',
    ),
    Code.CAPTURE_ALL: Explanation(
        "All TCP is captured",
        "An explicit `[]` without a cgroup takes every connection: of package managers, of DNS over TCP, of "
        "remote shells.",
        '{"capture_dst": []}',
        '{"capture_dst": {"port": 8080}}',
    ),
    Code.BAD_INTERFACE: Explanation(
        "Not the name of an interface",
        "`forwarded_interfaces` has names as `ip link` shows them, of at most 15 characters. A star at the end stands "
        "for every name that begins so: container networks come and go. The loopback interface forwards nothing.",
        '{"forwarded": "capture", "forwarded_interfaces": ["lo"]}',
        '{"forwarded": "capture", "forwarded_interfaces": ["docker0", "br-*"]}',
    ),
    Code.BAD_AA_ADDR: Explanation(
        "Not the address of an agent",
        "The attestation agent listens on a Unix domain socket: unix:// and an absolute path of at most 107 bytes.",
        '{"aa_addr": "/run/aa.sock"}',
        '{"aa_addr": "unix:///run/aa.sock"}',
    ),
    Code.BAD_AS_ADDR: Explanation(
        "Not the URL of a service",
        "An http or https URL with a host, without credentials, query and fragment: paths such as "
        "/attestation are appended to it.",
        '{"as_addr": "as.example:8081"}',
        '{"as_addr": "https://as.example:8081/"}',
    ),
    Code.HEADERS_WITHOUT_SERVICE: Explanation(
        "`as_headers` without `as_addr`",
        "Headers are sent to the service, and none is named.",
        '{"as_headers": {"Authorization": "Bearer TOKEN"}}',
    ),
    Code.BAD_HEADER: Explanation(
        "Not an HTTP header",
        "Names are tokens (RFC 9110, section 5.1), values printable ASCII on one line; a line end in a value "
        "would add headers of somebody's choice.",
        '{"as_headers": {"X Team": "a"}}',
        '{"as_headers": {"X-Team": "a"}}',
    ),
    Code.SKIP_WITH_PIN: Explanation(
        "A pin that is not looked at",
        "`skip_as_token_cert_verify` believes any signer; `trusted_certs_paths` names the only ones to believe.",
    ),
    Code.SKIP_WITH_SERVICE: Explanation(
        "A service that is not asked",
        "In passport the service is needed only for the certificates that sign tokens, and those are not "
        "verified here.",
    ),
    Code.NO_TRUST_ANCHOR: Explanation(
        "Nobody whose tokens to believe",
        "In passport the peer brings a token. Its signature is checked against `trusted_certs_paths`, or "
        "against the certificates of the service at `as_addr`.",
        '{"model": "passport", "policy_ids": ["default"]}',
        '{"model": "passport", "policy_ids": ["default"], "trusted_certs_paths": ["/etc/tng/as-ca.pem"]}',
    ),
    Code.SERVICE_REQUIRED: Explanation(
        "No attestation service",
        "In background_check the verifying side asks the service about evidence, in passport the attesting "
        "side gets its token from it.",
        '{"verify": {"policy_ids": ["default"]}}',
        '{"verify": {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}}',
    ),
    Code.FIELD_OF_OTHER_MODEL: Explanation(
        "A field that this model does not use",
        "In background_check the attesting side talks to its agent only. The Rust TNG ignores such fields "
        "silently; here they are refused, since the author seems to expect something from them.",
        '{"attest": {"aa_addr": "unix:///run/aa.sock", "as_addr": "http://127.0.0.1:8081/"}}',
    ),
    Code.RELATIVE_PATH: Explanation(
        "A path that depends on where one stands",
        "The runtime is started by a service manager, in a directory that no document can know. The Rust TNG "
        "accepts relative paths.",
        '{"trusted_certs_paths": ["as-ca.pem"]}',
        '{"trusted_certs_paths": ["/etc/tng/as-ca.pem"]}',
    ),
    Code.PROXY_HEADER_TOO_LONG: Explanation(
        "Policies that no PROXY header has room for",
        "With `proxy_protocol` every connection to the service begins with a header that names the policies which the "
        "client was judged by. Servers read a bounded header: nginx 4,096 bytes since 1.23.2; before that, and for "
        "TLS and streams, 107.",
        '{"verify": {"policy_ids": ["a name of four thousand characters ..."]}, "proxy_protocol": "v2"}',
    ),
    Code.BAD_CONTROL_HOST: Explanation(
        "A control interface at no address",
        "It listens on an address of this host. A name would have to be looked up when the instance starts, and "
        "could mean another address each time.",
        '{"control_interface": {"restful": {"host": "gateway.example", "port": 50000}}}',
        '{"control_interface": {"restful": {"port": 50000}}}',
    ),
    Code.CONTROL_OPEN: Explanation(
        "A control interface that others can ask",
        "It has no password and no TLS. Nobody can change anything there, but whoever reaches it sees what is "
        "captured, whom this host believes, and how much it carries. The Rust TNG listens on all addresses when "
        "`host` is left out; here that is 127.0.0.1.",
        '{"control_interface": {"restful": {"host": "0.0.0.0", "port": 50000}}}',
        '{"control_interface": {"restful": {"port": 50000}}}',
    ),
    Code.MAPPING_UNSAID: Explanation(
        "A mapping without an in and an out",
        "A mapping is one pair of `in` and `out`, or a list of such pairs in `rules`, not both.",
        '{"mapping": {"in": {"port": 10001}}}',
        '{"mapping": {"in": {"port": 10001}, "out": {"host": "192.0.2.1", "port": 20001}}}',
    ),
    Code.BAD_DOOR: Explanation(
        "A host of a mapping that is none",
        "What a mapping listens on is an address of this host: a name may mean several, or change. Where it connects "
        "to is an address or a name; a name is resolved for each connection. The Rust TNG takes IPv4 addresses only.",
        '{"in": {"host": "localhost", "port": 10001}}',
        '{"in": {"host": "127.0.0.1", "port": 10001}}',
    ),
    Code.MAPPED_RANGES_DIFFER: Explanation(
        "Ranges of a mapping that differ in size",
        "The first port that comes in leads to the first that goes out, and so on: there must be as many of both.",
        '{"in": {"port": 10001, "port_end": 10005}, "out": {"host": "192.0.2.1", "port": 20001, "port_end": 20002}}',
        '{"in": {"port": 10001, "port_end": 10005}, "out": {"host": "192.0.2.1", "port": 20001, "port_end": 20005}}',
    ),
    Code.BAD_FILTER: Explanation(
        "A filter of destinations that is none",
        "A filter of an `http_proxy` says `domain` (a name; `*` in front of it or behind it stands for anything, `*` "
        "alone for every destination), `domain_regex`, `ip` or `ip_cidr`, and ports. A pattern is found anywhere in "
        "the name; it has literals, `.`, classes, `\\d \\w`, groups, `|`, `* + ? {m,n}`, `^` and `$`, which RE2 and "
        "Rust read alike, and at most 300 states: no name takes long. The Rust TNG takes several kinds in one filter, "
        "and looks at one.",
        '{"domain": "a*.example.com"}',
        '{"domain_regex": "^a.*\\\\.example\\\\.com$"}',
    ),
    Code.CA_WITHOUT_TLS: Explanation(
        "An authority for HTTPS that is not spoken",
        "`as_ca_paths` names who signs the certificate that the attestation service shows in TLS: a private CA that "
        "this host does not believe otherwise. Without an https `as_addr` there is no such certificate. Who may sign "
        "the service's tokens is another question, which `trusted_certs_paths` in `verify` answers.",
        '{"as_addr": "http://as.example/", "as_ca_paths": ["/etc/tng/tls-ca.pem"]}',
        '{"as_addr": "https://as.example/", "as_ca_paths": ["/etc/tng/tls-ca.pem"]}',
    ),
}
