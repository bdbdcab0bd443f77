"""What ``scripts/package`` does: the wheel and the Debian packages in ``dist/``, the same bytes each time."""
