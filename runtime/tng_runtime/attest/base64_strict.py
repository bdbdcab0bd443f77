"""Base64 (RFC 4648) in which every value has exactly one spelling.

The usual decoders skip foreign characters and ignore the unused bits of the last character, so that an altered text
may decode to the same bytes. Here whatever does not encode back to the same text is refused.
"""

from __future__ import annotations

import base64

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused


def decode_url(text: str, code: Code, what: str) -> bytes:
    """base64url without padding (RFC 7515, section 2); raises ``Refused(code)``."""
    if "=" in text:
        raise Refused(code, f"{what} is padded")
    return _decode(text + "=" * (-len(text) % 4), b"-_", code, what)


def decode_either(text: str, code: Code, what: str) -> bytes:
    """Standard base64 with padding or base64url without: certificates in ``x5c`` come as both; raises
    ``Refused(code)``.
    """
    if "+" in text or "/" in text or text.endswith("="):
        return _decode(text, b"+/", code, what)
    return decode_url(text, code, what)


def _decode(padded: str, last_two: bytes, code: Code, what: str) -> bytes:
    try:
        decoded = base64.b64decode(padded, altchars=last_two, validate=True)
    except ValueError:
        raise Refused(code, f"{what} is not base64") from None
    if base64.b64encode(decoded, altchars=last_two).decode("ascii") != padded:
        raise Refused(code, f"{what} is not canonical base64")
    return decoded
