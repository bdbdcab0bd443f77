"""``TNG4xx``: what the analysis of the captured regions finds."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

CAPTURE: dict[Code, Explanation] = {
    Code.ENTRY_SHADOWED: Explanation(
        "An entry that entries before it leave nothing",
        "Where two entries match a packet, the first in the document wins. Here that holds for every packet of an "
        "entry, so its trust settings would never be applied. The Rust TNG lets one entry win by race.",
        '{"add_ingress": [{"netfilter": {"capture_dst": {"port": 8080}}, "no_ra": true},\n'
        ' {"netfilter": {"capture_dst": {"host": "10.0.0.1", "port": 8080}}, "no_ra": true}]}',
        '{"add_ingress": [{"netfilter": {"capture_dst": {"host": "10.0.0.1", "port": 8080}}, "no_ra": true},\n'
        ' {"netfilter": {"capture_dst": {"port": 8080}}, "no_ra": true}]}',
    ),
    Code.ITEM_SHADOWED: Explanation(
        "A destination that entries before it leave nothing",
        "Every packet of this item belongs to an entry further up, with the trust settings of that one.",
    ),
    Code.ITEM_PARTLY_SHADOWED: Explanation(
        "A destination that an entry before it shares",
        "Some packets match two entries; the message shows one. The first entry in the document gets them. Often "
        "that is meant, an exception before the rule; then nothing needs to be done.",
    ),
    Code.DUPLICATE_ITEM: Explanation(
        "The same destination twice in one entry",
        "It is captured once. A repetition is often a typing error in one of the two.",
        '[{"port": 8080}, {"port": 8080}]',
        '[{"port": 8080}, {"port": 8081}]',
    ),
    Code.ITEM_COVERED: Explanation(
        "A destination inside of others in its entry",
        "It adds nothing. Perhaps the wider one is wider than meant.",
        '[{"host": "10.0.0.0/8"}, {"host": "10.1.0.0/16", "port": 80}]',
        '[{"host": "10.0.0.0/8"}]',
    ),
    Code.ITEMS_OVERLAP: Explanation(
        "Destinations of one entry that share packets",
        "What both name is captured once, and nothing is lost; but the two were perhaps meant to be separate.",
        '[{"port": 8000, "port_end": 8080}, {"port": 8080, "port_end": 8090}]',
        '[{"port": 8000, "port_end": 8090}]',
    ),
    Code.ANALYSIS_UNFINISHED: Explanation(
        "Too many entries or items nested in each other to compare them all",
        "The comparison stops after a bounded effort: of more than 125,000 different items in entries of one role "
        "nothing is compared, of fewer what is not nested very deeply. The rules are right all the same: the first "
        "entry in the document wins. But warnings may be missing, and TNG401, an entry that is never reached.",
    ),
    Code.MORE_OF_A_KIND: Explanation(
        "More findings of one kind than are shown",
        "At most 8 of a kind are shown for an entry. Mend those first; the next run shows others.",
    ),
    Code.LISTEN_PORT_TWICE: Explanation(
        "Two entries that listen on one port",
        "Connections of both would arrive at one listener, and one of the two trust settings would be applied to all.",
        '{"listen_port": 15001} in two entries',
    ),
    Code.LISTEN_PORT_CAPTURED: Explanation(
        "A listen port among the captured ones",
        "On an egress, a connection to the captured port could not be told from one that went past the redirect, and "
        "that is refused. The Rust TNG accepts it.",
        '{"capture_dst": {"port": 16000, "port_end": 16010}, "listen_port": 16005}',
        '{"capture_dst": {"port": 16000, "port_end": 16010}, "listen_port": 17000}',
    ),
    Code.LISTEN_PORT_EPHEMERAL: Explanation(
        "A listen port that the kernel gives to others",
        "Linux takes the ports of outgoing connections from 32768 to 60999 (ip_local_port_range). When the runtime "
        "starts, one of them may have its listen port.",
        '{"listen_port": 40000}',
        '{"listen_port": 15001}',
    ),
    Code.PEER_LISTEN_PORT: Explanation(
        "An ingress that captures the port where an egress listens",
        "Clients name the port of the service. The listen port of an egress is reached by its redirect only, and "
        "refuses whoever comes directly.",
        '{"add_ingress": [{"netfilter": {"capture_dst": {"port": 16001}}}]}',
        '{"add_ingress": [{"netfilter": {"capture_dst": {"port": 8080}}}]}',
    ),
    Code.MARK_OF_OTHERS: Explanation(
        "A mark that another program uses",
        "Whatever carries the mark is taken for the runtime's own and is never captured. kube-proxy, Cilium, Istio, "
        "Tailscale and wg-quick mark packets of other programs, which would then pass in plaintext. No document shows "
        "what else other tables of a host do: a nat chain of another table whose priority is below -105 redirects "
        "first, and the capture and the guard see only where it sent the packet. `nft list ruleset` shows the "
        "priorities.",
        '{"so_mark": 1337}',
        '{"so_mark": 565}',
    ),
    Code.SET_NAME_TAKEN: Explanation(
        "A set name that means something else in nft",
        "The set is called NAME for IPv4 and NAME6 for IPv6, since a set of nft has one family. Neither may be a word "
        "of nft, a set of ours or another set of the document, nor be longer than 31 characters.",
        '{"ipset": "ip"}',
        '{"ipset": "partners"}',
    ),
    Code.CAPTURES_NOTHING: Explanation(
        "A capture that no packet can match",
        "All its cgroups are exempt, or it names IPv6 alone and does not capture IPv6.",
        '{"capture_cgroup": ["app.slice/web"], "nocapture_cgroup": ["app.slice"]}',
        '{"capture_cgroup": ["app.slice"], "nocapture_cgroup": ["app.slice/web"]}',
    ),
    Code.CGROUP_EXEMPT: Explanation(
        "A cgroup condition without effect",
        "A captured cgroup inside of an exempt one is exempt; an exempt cgroup outside of all captured ones was not "
        "captured anyway. A cgroup here is that of a socket, from the moment when it is made, not that of the process "
        "that uses it: what systemd makes for a unit (socket activation) belongs to systemd's own cgroup, and a "
        "process that is moved keeps its open sockets in the old one.",
        '{"capture_cgroup": ["a.slice"], "nocapture_cgroup": ["b.slice"]}',
        '{"capture_cgroup": ["a.slice"], "nocapture_cgroup": ["a.slice/b"]}',
    ),
    Code.CGROUP_OF_UNIT: Explanation(
        "A cgroup that a restart replaces, with iptables",
        "Rules hold the identity of a cgroup, not its path. systemd removes the cgroup of a service or scope when it "
        "stops and makes another when it starts. The nft output refuses what an unknown cgroup sends to captured "
        "destinations until the runtime has found it; iptables cannot, and lets it pass in plaintext until the script "
        "is run again. A slice of its own lives on while its units restart. Sockets keep the cgroup in which they were "
        "made: one that a unit inherits (socket activation) is not in the unit's.",
        '{"capture_cgroup": ["system.slice/web.service"]}',
        '{"capture_cgroup": ["web.slice"]}',
    ),
    Code.LOCAL_TRAFFIC_BY_CGROUP: Explanation(
        "capture_local_traffic together with cgroups",
        "On an egress a cgroup means the service's. For what this host sends to itself the kernel knows the sender's "
        "only, at the moment when the redirect is decided. The service's cgroup is that of its listening socket: one "
        "that systemd made for it (socket activation), or that it made before it was moved, is in another. The "
        "runtime looks at the captured ports when it starts and logs `listener_in_other_cgroup`.",
        '{"capture_local_traffic": true, "capture_cgroup": ["web.slice"]}',
        '{"capture_cgroup": ["web.slice"]}',
    ),
    Code.BROAD_CAPTURE: Explanation(
        "A broad capture that takes SSH or DNS with it",
        "Port 22 of very many hosts is captured, or port 53 without being named. Whoever is at the other end does not "
        "speak TNG, so name resolution over TCP fails, or administrators are locked out.",
        '{"capture_dst": {"host": "0.0.0.0/0"}}',
        '{"capture_dst": {"host": "10.20.0.0/24", "port": 8080}}',
    ),
    Code.FAMILY_OPEN: Explanation(
        "Every address of one family, and none of the other",
        "`0.0.0.0/0` is every IPv4 address and `::/0` every IPv6 address; neither says anything of the other family, "
        "which leaves and arrives in plaintext. Without `host` a destination is of both.",
        '{"capture_dst": {"host": "::/0", "port": 443}}',
        '{"capture_dst": {"port": 443}}',
    ),
    Code.CAPTURES_SERVICE: Explanation(
        "An ingress that captures the attestation service",
        "The runtime's own calls carry its mark and pass. Those of the attestation agent and of other programs on this "
        "host would be sent into a tunnel that needs the very same service.",
        '{"netfilter": {"capture_dst": {"port": 8081}},\n'
        ' "verify": {"as_addr": "https://as.example:8081/", "policy_ids": ["default"]}}',
    ),
    Code.IPV6_OPEN: Explanation(
        "IPv6 that passes in plaintext",
        "`ipv6: bypass` leaves IPv6 alone, as the Rust TNG does. A name with an IPv6 address is then reached without "
        "attestation.",
        '{"ipv6": "bypass"}',
        '{"ipv6": "reject"}',
    ),
    Code.TOO_FRAGMENTED: Explanation(
        "Overlaps in too many pieces",
        "The rows of a set must not overlap. A network with thousands of separate ports around thousands of hosts with "
        "all their ports would need millions of rows.",
    ),
    Code.NOT_IN_IPTABLES: Explanation(
        "A condition that iptables cannot express",
        "iptables compares the cgroup of the sending socket only. On an egress the service's is meant, which nft finds "
        "by looking up the listening socket.",
        '{"add_egress": [{"netfilter": {"capture_dst": {"port": 8080}, "capture_cgroup": ["web.slice"]}}]}',
        '{"add_egress": [{"netfilter": {"capture_dst": {"port": 8080}}}]}',
    ),
    Code.WEAKER_IN_IPTABLES: Explanation(
        "What the iptables output holds to less well",
        "iptables can compare the mark of a packet, which other tables can rewrite, but not that of the socket which "
        "sends or receives it; its tables have no owner, so a flush removes them; it cannot ask for the zone of a "
        "connection, and has no sets of cgroups. The script says in its header what that means for the plan.",
        '{"add_ingress": [{"netfilter": {"capture_dst": {"port": 8080}}}]}',
    ),
    Code.FORWARDED_OPEN: Explanation(
        "Packets of containers and guests that pass in plaintext",
        "What this host forwards for a container, a virtual machine or another host never meets the capture, which "
        "takes what this host sends itself. `forwarded: bypass` lets it go on to captured destinations without "
        "attestation, as the Rust TNG does; by default it is refused.",
        '{"forwarded": "bypass"}',
        '{"forwarded": "reject"}',
    ),
    Code.UDP_OPEN: Explanation(
        "UDP that passes in plaintext",
        "The capture takes TCP. HTTP/3 and others speak UDP to the same destinations and ports, and with "
        "`udp: bypass` they go past the tunnel, as with the Rust TNG. By default UDP for a captured destination and "
        "port is answered with an ICMP error, and clients fall back to TCP.",
        '{"udp": "bypass"}',
        '{"udp": "reject"}',
    ),
    Code.DNS_SPARED: Explanation(
        "A capture of every port, which leaves DNS alone",
        "UDP for captured destinations and ports is refused. Where every port is captured, port 53 is not: without "
        "name resolution most hosts cannot even be configured. So plain DNS over UDP passes in plaintext to captured "
        "destinations. An item that names port 53 refuses it.",
        '{"capture_dst": {"host": "10.20.0.0/24"}}',
        '{"capture_dst": {"host": "10.20.0.0/24", "port": 8080}}',
    ),
    Code.FORWARDED_BY_CGROUP: Explanation(
        "Whose forwarded packets these are",
        "`capture_cgroup` looks at the socket that sends. What a container or guest sends has its socket in another "
        "network namespace or kernel; here it is a forwarded packet without one. So `forwarded: capture` "
        "cannot keep to cgroups, and would capture more than the entry says.",
        '{"capture_cgroup": ["/machine.slice"], "capture_dst": {"port": 8080}, "forwarded": "capture"}',
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "forwarded_interfaces": ["podman0"]}',
    ),
    Code.INTERFACES_UNUSED: Explanation(
        "Interfaces from which nothing is captured",
        "`forwarded_interfaces` says whose forwarded packets are captured, and `forwarded` that they are at all.",
        '{"capture_dst": {"port": 8080}, "forwarded_interfaces": ["docker0"]}',
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "forwarded_interfaces": ["docker0"]}',
    ),
    Code.FORWARDED_NOT_EXEMPT: Explanation(
        "An exemption that containers do not have",
        "`nocapture_cgroup` exempts sockets of this host. A container on a network of its own has none here: what it "
        "sends is captured, even if its processes are in the cgroup.",
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "nocapture_cgroup": ["/machine.slice"]}',
        '{"capture_dst": {"port": 8080}, "forwarded": "capture", "forwarded_interfaces": ["docker0"]}',
    ),
    Code.CLIENTS_HIDDEN: Explanation(
        "An egress that hides its clients from the service",
        "The service behind an egress sees every connection come from an address of its own host. Whatever trusts "
        "addresses fails open: a database that lets `samehost` in without a password, an allow list with 127.0.0.1, "
        "a mail server's `mynetworks`. Limits and bans per address hit everybody at once, and logs name nobody. "
        "`client_address: original` lets the egress dial from the client's own address; with `proxy_protocol` the "
        "connection begins with a header that names the client, for servers that read one.",
        '{"add_egress": [{"netfilter": {"capture_dst": {"port": 5432}}}]}',
        '{"add_egress": [{"netfilter": {"capture_dst": {"port": 5432}, "client_address": "original"}}]}',
    ),
    Code.DOOR_OPEN: Explanation(
        "A door of an ingress that others can reach",
        "A mapping, or a proxy without a password, asks nobody who he is. On an address that other hosts reach, "
        "whoever connects goes through the tunnel in the name of this host. 0.0.0.0, every address, is the default of "
        "the Rust TNG.",
        '{"add_ingress": [{"mapping": {"in": {"port": 10001}, "out": {"host": "192.0.2.1", "port": 20001}}}]}',
        '{"add_ingress": [{"mapping": {"in": {"host": "127.0.0.1", "port": 10001}, '
        '"out": {"host": "192.0.2.1", "port": 20001}}}]}',
    ),
    Code.DOOR_TAKEN: Explanation(
        "A port of a mapping that is taken",
        "Two entries of the document listen on one port, an entry captures what comes for it, or a mapping leads back "
        "to itself.",
        '{"in": {"port": 10001}, "out": {"host": "127.0.0.1", "port": 10001}}',
        '{"in": {"port": 10001}, "out": {"host": "127.0.0.1", "port": 5432}}',
    ),
    Code.UNMATCHED_OPEN: Explanation(
        "A proxy that lets the rest leave in plaintext",
        "What none of `dst_filters` takes leaves without a tunnel, as with the Rust TNG: a misspelt name, another port "
        "or an address in place of a name is enough. The program that asked cannot tell the difference.",
        '{"dst_filters": {"domain": "*.example.com"}, "unmatched": "direct"}',
        '{"dst_filters": {"domain": "*.example.com"}}',
    ),
}
