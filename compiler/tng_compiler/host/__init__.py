"""What the host is like, looked at without touching anything: the preflight of ``tng doctor`` and ``tng apply``."""
