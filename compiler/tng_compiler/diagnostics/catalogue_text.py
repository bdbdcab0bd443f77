"""``TNG1xx``: what keeps a document from being JSON (RFC 8259), or from being one JSON for everybody."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

TEXT: dict[Code, Explanation] = {
    Code.NOT_JSON: Explanation(
        "The text is not JSON",
        "Something stands where JSON does not allow it, and none of the more specific codes fits.",
        '{"add_ingress" {}}',
    ),
    Code.NOT_UTF8: Explanation(
        "The bytes are not UTF-8",
        "JSON between systems is UTF-8 (RFC 8259, section 8.1). Guessing another encoding would guess at host "
        "names and paths.",
    ),
    Code.BYTE_ORDER_MARK: Explanation(
        "The document starts with a byte order mark",
        "JSON texts must not start with U+FEFF, and the Rust TNG refuses it. Some editors on Windows write it unasked.",
    ),
    Code.WIDE_ENCODING: Explanation(
        "The document is UTF-16 or UTF-32",
        "JSON between systems is UTF-8 (RFC 8259, section 8.1). The redirection of some shells writes UTF-16.",
    ),
    Code.CONTROL_CHARACTER: Explanation(
        "A raw control character",
        "Control characters, NUL among them, stand in JSON strings only as escapes, and outside of strings "
        "not at all. In a path or a name they are hardly ever meant.",
        '{"host": "10.0.0.1<TAB>"}',
        '{"host": "10.0.0.1"}',
    ),
    Code.LONE_SURROGATE: Explanation(
        "Half of a surrogate pair",
        "An escape from \\ud800 to \\udfff is half of a character. Programs disagree on what it is alone, so "
        "that two of them would read two configurations.",
        '{"ipset": "\\ud83d"}',
    ),
    Code.DUPLICATE_KEY: Explanation(
        "A name occurs twice in one object",
        "Programs disagree on which of the two counts: a reviewer reads one and the machine executes the "
        "other. The Rust TNG lets the last one win inside `verify`; this compiler refuses all of them.",
        '{"port": 80, "port": 8080}',
        '{"port": 8080}',
    ),
    Code.NOT_A_NUMBER: Explanation(
        "A number that JSON or computers do not have",
        "NaN and Infinity are not JSON. A number such as 1e999 is infinite once it is read.",
        '{"port": NaN}',
        '{"port": 8080}',
    ),
    Code.TOO_DEEP: Explanation(
        "Too many nested arrays and objects",
        "More than 128 levels are refused, as the Rust TNG does; the language itself needs six.",
    ),
    Code.TOO_LARGE: Explanation(
        "The document is too large",
        "Above 12 MiB, or 1,200,000 arrays and objects, a document is refused unread, so that time and memory stay "
        "bounded. 100,000 destinations are about 4 MiB; addresses that change belong into an `ipset`.",
    ),
    Code.TRAILING_COMMA: Explanation(
        "A comma before a closing bracket",
        "JSON has commas between items only.",
        "[1, 2,]",
        "[1, 2]",
    ),
    Code.COMMENT: Explanation(
        "A comment",
        "JSON has none. Provenance that matters can be kept beside the document, under version control.",
        '{"port": 8080} // web',
        '{"port": 8080}',
    ),
    Code.WRONG_QUOTES: Explanation(
        "Quotes other than double ones",
        "JSON strings are in plain double quotes; word processors turn them into curly ones.",
        "{'port': 8080}",
        '{"port": 8080}',
    ),
    Code.MISSING_COMMA: Explanation(
        "No comma between two items",
        "Items of a list and members of an object are separated by commas; the place is where one belongs.",
        '{"port": 8080 "port_end": 8090}',
        '{"port": 8080, "port_end": 8090}',
    ),
    Code.UNCLOSED: Explanation(
        "Something that was opened is not closed",
        "A string ends on its line, and every bracket has its counterpart. The place is where it was opened.",
        '{"add_ingress": [',
        '{"add_ingress": []}',
    ),
    Code.EMPTY_DOCUMENT: Explanation(
        "The document is empty",
        "An empty configuration would protect nothing.",
    ),
    Code.EXTRA_DATA: Explanation(
        "Something follows the document",
        "A file holds one JSON object. Often a closing bracket too many.",
        '{"add_ingress": []}}',
        '{"add_ingress": []}',
    ),
    Code.MISSING_COLON: Explanation(
        "No colon between a name and its value",
        "A member of an object is a name in double quotes, a colon and a value.",
        '{"port" = 8080}',
        '{"port": 8080}',
    ),
    Code.MISSING_VALUE: Explanation(
        "No value where one is due",
        "Values are objects, lists, strings in double quotes, numbers, true, false and null, in lower case.",
        '{"no_ra": True}',
        '{"no_ra": true}',
    ),
    Code.UNQUOTED_NAME: Explanation(
        "A name without quotes",
        "Names of members are strings in double quotes; JSON5 and JavaScript allow less, JSON does not.",
        "{port: 8080}",
        '{"port": 8080}',
    ),
    Code.BAD_ESCAPE: Explanation(
        "A backslash that escapes nothing",
        "A backslash itself is written twice, which names of systemd units with \\x2d need.",
        '"dev-disk\\x2d1.slice"',
        '"dev-disk\\\\x2d1.slice"',
    ),
    Code.BAD_NUMBER: Explanation(
        "A number that JSON does not write so",
        "No leading zeros, plus signs, hexadecimal or bare decimal points. An address or a network is a string.",
        '{"so_mark": 0x235}',
        '{"so_mark": 565}',
    ),
}
