"""From a captured connection to an attested one: our certificate, the peer's, and the verdict between them."""
