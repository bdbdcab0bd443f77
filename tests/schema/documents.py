"""Documents, and what an editor must say of each with the schema: nothing, or something.

``python -m schema.documents DIR`` writes them and lists them for ``scripts/editors``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compiler.documents import EXAMPLES
from compiler.test_refused import FILES
from tng_compiler.diagnostics.codes import Code
from tng_compiler.pipeline import compile_bytes

SHAPE = {code for code in Code if code.startswith("TNG2")}
SEEN = SHAPE | {
    Code.TRUST_CONFLICT, Code.TRUST_MISSING, Code.EMPTY_POLICY_IDS, Code.PORT_END_ALONE, Code.HOST_AND_IPSET,
    Code.BAD_IPSET_NAME, Code.EMPTY_DESTINATION, Code.CAPTURE_UNSAID, Code.BAD_AA_ADDR, Code.HEADERS_WITHOUT_SERVICE,
    Code.SKIP_WITH_PIN, Code.NO_TRUST_ANCHOR, Code.SERVICE_REQUIRED, Code.FIELD_OF_OTHER_MODEL, Code.RELATIVE_PATH,
    Code.BAD_CONTROL_HOST, Code.MAPPING_UNSAID,
}  # fmt: skip
"""What a schema can say; the rest needs arithmetic, or other places of the document."""
UNSEEN = {
    "meaning_aa_addr_too_long": "bytes, not characters",
    "meaning_multiplex": "the value is of the language, and not supported yet",
    "plan_many_duplicates": "warnings of analysis",
    "meaning_mapping_too_many_ports": "a difference of two numbers",
}
BAD_HOSTS = {"meaning_host_mapped"}


def cases() -> dict[str, tuple[bytes, bool]]:
    """Each document by name, and whether nothing is said of it; those of which a schema cannot tell are left out."""
    found = {path.stem: (path.read_bytes(), True) for path in EXAMPLES}
    for name, text in FILES.items():
        if name in UNSEEN or name.startswith("text_"):
            continue
        try:
            json.loads(text)
        except ValueError:
            continue
        errors = {item.diagnostic.code for item in compile_bytes(name, text).found if item.is_error}
        hosts = Code.BAD_HOST in errors and name not in BAD_HOSTS
        if not errors:
            found[name] = (text, True)
        elif errors & SEEN or hosts:
            found[name] = (text, False)
    return found


def main(directory: Path) -> None:
    """Write the documents, and for each its path and ``ok`` or ``wrong``, one a line."""
    directory.mkdir(parents=True)
    for name, (text, good) in cases().items():
        path = directory / f"{name}.json"
        path.write_bytes(text)
        print(path, "ok" if good else "wrong", sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
