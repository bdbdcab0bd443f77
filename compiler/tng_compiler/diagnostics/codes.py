"""Stable codes of everything the compiler has to say. Placeholder members are added by the stages that raise them."""

from __future__ import annotations

from enum import Enum


class Code(str, Enum):
    """``TNG1xx`` text, ``TNG2xx`` shape, ``TNG3xx`` meaning, ``TNG4xx`` capture analysis, ``TNG5xx`` trust."""

    NOT_JSON = "TNG101"
