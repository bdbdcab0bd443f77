"""``TNG2xx``: fields, types and ranges."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

SHAPE: dict[Code, Explanation] = {
    Code.WRONG_TYPE: Explanation(
        "A value of the wrong type",
        'Types are never converted: 8080.0, "8080" and true are not ports.',
        '{"port": "8080"}',
        '{"port": 8080}',
    ),
    Code.UNKNOWN_FIELD: Explanation(
        "A field that the language does not have here",
        "A misspelt filter that is ignored captures less than its author reads. The Rust TNG ignores unknown "
        "fields in several places; this compiler refuses them everywhere and names the nearest.",
        '{"prot": 8080}',
        '{"port": 8080}',
    ),
    Code.NOT_SUPPORTED_YET: Explanation(
        "Known, but not supported yet",
        "The Rust TNG has this feature and this version does not. Nothing of the document is applied, since "
        "the rest alone would be another configuration.",
        '{"mapping_udp": {}}',
    ),
    Code.MISSING_FIELD: Explanation(
        "A field that must be there is not",
        "Only what has one safe meaning has a default.",
        '{"attest": {}}',
        '{"attest": {"aa_addr": "unix:///run/aa.sock"}}',
    ),
    Code.OUT_OF_RANGE: Explanation(
        "A number or a list outside its limits",
        "Ports go from 1 to 65535 and marks from 1 to 4294967295. The Rust TNG accepts port 0, which no "
        "connection has, and mark 0, with which capture is silently off.",
        '{"so_mark": 0}',
        '{"so_mark": 565}',
    ),
    Code.UNKNOWN_CHOICE: Explanation(
        "A word that is none of the choices",
        "Choices are spelt in lower case, exactly as `tng schema` lists them.",
        '{"model": "pasport"}',
        '{"model": "passport"}',
    ),
    Code.NO_MODE: Explanation(
        "An entry that captures nothing",
        "Every entry has exactly one mode: `netfilter` or `mapping`, and on an ingress also `http_proxy` or `socks5`.",
        '{"no_ra": true}',
        '{"netfilter": {"capture_dst": {"port": 8080}}, "no_ra": true}',
    ),
    Code.SEVERAL_MODES: Explanation(
        "Two modes in one entry",
        "Every entry has exactly one mode. Two captures with one trust are two entries.",
    ),
    Code.NO_ENTRIES: Explanation(
        "A document without entries",
        "An empty configuration would protect nothing. The Rust TNG ends with a panic.",
        '{"add_ingress": []}',
    ),
    Code.NULL_VALUE: Explanation(
        "null where it does not mean absence",
        "null means absent for optional scalars and for whole blocks. For lists, booleans and choices it is "
        "an error, as in the Rust TNG. For `trusted_certs_paths` the Rust TNG takes null for no pin at all; "
        "here it is an error, lest a pin vanish unseen.",
        '{"capture_cgroup": null}',
        "{}",
    ),
    Code.EMPTY_TEXT: Explanation(
        "An empty string",
        "An empty host, set name or policy matches nothing, or everything, depending on who reads it.",
        '{"host": ""}',
        "{}",
    ),
    Code.TOO_MANY_FAULTS: Explanation(
        "More faults than one run reports",
        "A generator that errs once errs 100,000 times. Fix the first ones and run again.",
    ),
}
