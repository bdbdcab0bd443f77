"""The two object identifiers of TCG DICE that the wire uses."""

from __future__ import annotations

from cryptography import x509

# TCG DICE tagged evidence; here its value is directly the CBOR.
EVIDENCE = x509.ObjectIdentifier("2.23.133.5.4.9")
# Present and empty beside the evidence.
MANIFEST = x509.ObjectIdentifier("2.23.133.5.4.2")
