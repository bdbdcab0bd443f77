"""What is known about a code, for ``tng explain-code`` and docs/diagnostics.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """``title`` is one line without a full stop; ``example`` and ``instead`` are excerpts of a configuration.

    ``example`` is what earns the code, ``instead`` what to write; either may be empty where none helps.
    """

    title: str
    why: str
    example: str = ""
    instead: str = ""
