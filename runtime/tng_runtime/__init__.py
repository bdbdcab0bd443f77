"""Manifest and ruleset to an attested tunnel. Knows nothing of the compiler."""

__version__ = "0.1.0"
