"""``TNG6xx``: what `tng doctor` and `tng apply` find on the host."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

HOST: dict[Code, Explanation] = {
    Code.NFT_MISSING: Explanation(
        "No program nft",
        "Rules are checked with nft and loaded with its library. The package is called nftables.",
    ),
    Code.NFT_OLD: Explanation(
        "An nft that is older than what the rules were tried with",
        "Debian 12 has 1.0.6. An older one may not know an expression of ours; then it refuses all rules, and "
        "nothing is loaded.",
    ),
    Code.BINDING_MISSING: Explanation(
        "No binding of nft for Python",
        "The runtime loads rules through libnftables and Debian's package python3-nftables, not through the "
        "program nft.",
    ),
    Code.KERNEL_OLD: Explanation(
        "A kernel in which a table has no owner",
        "The guard is a table that only the runtime can change, so that whoever flushes the ruleset opens "
        "nothing. Linux has that from 5.12 on.",
    ),
    Code.NOT_PERMITTED: Explanation(
        "Not allowed to change rules",
        "Loading rules, and marking sockets, needs CAP_NET_ADMIN in the network namespace in question.",
    ),
    Code.RULES_REFUSED: Explanation(
        "Rules that the kernel does not take",
        "nft had the kernel check the rules, without loading them. Most often a module is missing: small "
        "kernels of containers and virtual machines leave out some expressions of nf_tables.",
    ),
    Code.PORT_TAKEN: Explanation(
        "A listen port that another process has",
        "Captured connections are redirected to the listen port of their entry. A program that has it would "
        "get them, so the runtime refuses to start.",
        '{"netfilter": {"capture_dst": {"port": 8080}, "listen_port": 15001}}',
        '{"netfilter": {"capture_dst": {"port": 8080}, "listen_port": 15101}}',
    ),
    Code.CGROUP_ABSENT: Explanation(
        "A cgroup that is not there",
        "The kernel compares cgroups by identity, so each must be there when the rules are loaded. systemd "
        "makes the one of a unit when the unit starts; that of a slice with its first unit.",
    ),
    Code.IPSET_ABSENT: Explanation(
        "An ipset that is not there",
        "The runtime copies the addresses of an ipset of the kernel into its rules, and follows it. Without "
        "the ipset it does not know what to capture.",
    ),
    Code.NAT_BEFORE_OURS: Explanation(
        "Another table that redirects before ours",
        "Whatever its nat chain sends elsewhere reaches the capture, and the guard, with the new destination: "
        "connections to a captured service may pass in plaintext. No document shows it.",
    ),
    Code.FLUSHED_AT_BOOT: Explanation(
        "A firewall that removes the rules of everybody",
        "nftables.service loads /etc/nftables.conf when the host boots, and again whenever it is reloaded. "
        "The runtime's own guard survives that and the rules are loaded again, but rules that wait for a "
        "runtime are gone.",
    ),
    Code.CONNTRACK_FULL: Explanation(
        "Little room for connections",
        "The kernel keeps a row for each tracked connection, two for a captured one. When the table is full "
        "it drops the first packet of each new connection, of everybody on this host.",
    ),
    Code.INSTANCES_MEET: Explanation(
        "Two instances with the same ports and labels",
        "Listen ports and bits of conntrack's labels come from the name of an instance, out of 58 slots. Two names "
        "that have one slot would take each other's judged connections for their own.",
    ),
    Code.MARKS_APART: Explanation(
        "Two instances that capture each other",
        "An instance spares what carries its mark. All have the same one unless a document says otherwise; with "
        "another mark the tunnels of one are captured by the other, if it captures where they go.",
        '{"so_mark": 700}',
        '{"so_mark": 565}',
    ),
    Code.CAPTURED_TWICE: Explanation(
        "Two instances that capture the same",
        "Each instance redirects what it captures in tables of its own, and the one whose rules were loaded last comes "
        "first, whichever that is. The other gets nothing. When the first one stops, its rules stay and refuse, "
        "although the other runs.",
        '{"capture_dst": {"port": 8080}}',
        '{"capture_dst": {"host": "10.0.0.2", "port": 8080}}',
    ),
    Code.RUN_BY_UNIT: Explanation(
        "An instance that a unit runs",
        "Whoever applies by hand takes over from the process of the unit. It ends when its connections have, and then "
        "the unit starts its own document again, which takes over in turn.",
    ),
    Code.WAY_BACK_TAKEN: Explanation(
        "A routing table or mark that somebody else uses",
        "With `client_address: original` answers to clients come back by a routing rule: a mark leads to a routing "
        "table in which every address is this host's. The numbers follow from the instance's name, and stand in the "
        "plan. Rules of somebody else have one of them, so packets of one would go the way of the other.",
        "ip rule add fwmark 0x3000 table 100",
        "ip rule add fwmark 0x4000 table 100",
    ),
    Code.WAY_BACK_ASTRAY: Explanation(
        "A routing rule of ours that is left, or is missing",
        "The routing rule and the route of `client_address: original` are there as long as the rules are. A run that "
        "lives puts them back when somebody removes them; where that fails, answers to clients are dropped, never sent "
        "on. What is left without tables leads packets with our mark to this host: `tng down` removes it.",
        '{"capture_dst": {"port": 8080}, "client_address": "original"}',
        "tng down",
    ),
    Code.AGENT_SILENT: Explanation(
        "No attestation agent behind its socket",
        "This side cannot prove itself without the agent. A start waits for the first certificate and fails "
        "without it; what is captured is refused meanwhile.",
    ),
    Code.SERVICE_UNREACHABLE: Explanation(
        "No attestation service at its address",
        "`GET /certificate` had no answer. Peers are refused until the service answers.",
    ),
    Code.SERVICE_CERTIFICATE: Explanation(
        "An attestation service whose certificate does not hold",
        "The certificate of its HTTPS has expired, has another name, or is of an authority that this host "
        "does not trust. A private CA is named by `as_ca_paths`, which is then the only one. `trusted_certs_paths` is "
        "something else: it names who may sign tokens.",
        '{"as_addr": "https://as.example/", "trusted_certs_paths": ["/etc/tng/tls-ca.pem"]}',
        '{"as_addr": "https://as.example/", "as_ca_paths": ["/etc/tng/tls-ca.pem"]}',
    ),
    Code.CLOCKS_APART: Explanation(
        "Clocks that differ",
        "Tokens and certificates hold from one time to another. The service said what time it is, and it is not ours.",
    ),
    Code.CERTIFICATES_UNUSABLE: Explanation(
        "A file of certificates that cannot be used",
        "What `as_ca_paths` and `trusted_certs_paths` name is read when an instance starts, by root: certificates in "
        "PEM, at most 1 MiB a file. Without one of them the instance does not start.",
    ),
    Code.IPV6_OFF: Explanation(
        "IPv6 that is captured and switched off",
        "The rules take IPv6, and this host has none. That is safe: when somebody switches it on later, the "
        "runtime listens, and the rules refuse until then.",
    ),
    Code.CONTAINERS_HERE: Explanation(
        "A host that forwards for containers or guests",
        "An ingress captures what this host sends itself. What a container on a bridge sends is forwarded: "
        "it is refused for captured destinations, captured with `forwarded: capture`, or passes in plaintext with "
        "`forwarded: bypass`.",
        '{"capture_dst": {"port": 8080}, "forwarded": "bypass"}',
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "forwarded_interfaces": ["docker0"]}',
    ),
    Code.INTERFACE_UNUSABLE: Explanation(
        "An interface from which nothing can be captured",
        "A redirect leads a forwarded connection to the first address of the interface that it came by. Where that has "
        "no address of the family, as the interfaces of some Kubernetes networks, the kernel drops the connection: "
        "nothing leaks, and nothing works.",
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "forwarded_interfaces": ["cali*"]}',
        "ip addr add 169.254.1.1/32 dev cali0123456789a",
    ),
    Code.INTERFACE_LEADS_OUT: Explanation(
        "Neighbours that are captured like guests",
        "What comes by this interface and is forwarded is carried through the tunnel in the name of this host. The "
        "host itself goes out by it, or a network card is on the bridge: whoever is there may be anybody.",
        '{"capture_dst": {"port": 8080}, "forwarded": "capture"}',
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "forwarded_interfaces": ["docker0", "br-*"]}',
    ),
    Code.CLIENT_PORTS: Explanation(
        "Ports of clients where the rules expect services",
        "Over UDP only who spoke first and the port tell an answer from a request. The rules let answers of services "
        "of this host go to captured destinations, and take ports from 32768 to 60999 for those of clients. Where "
        "clients get other ports too, a neighbour who speaks first in the name of a captured destination makes what a "
        "program sends there an answer, and it passes.",
        "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        "sysctl -w net.ipv4.ip_local_port_range='32768 60999'",
    ),
}
