"""``--version``: this program's, and what the runtime that ``apply`` would become says of itself."""

from __future__ import annotations

import platform
import subprocess

from tng_compiler import __version__


def texts() -> tuple[str, str]:
    """One line for each program, with Python's and OpenSSL's version; the second says why if there is no runtime."""
    # Loading it costs more than `tng check` has to spare.
    from ssl import OPENSSL_VERSION

    return f"tng {__version__} (Python {platform.python_version()}, {_short(OPENSSL_VERSION)})", _runtime()


def _short(openssl: str) -> str:
    return " ".join(openssl.split()[:2])


def _runtime() -> str:
    from tng_compiler.cli.runtime import look_for_runtime

    if (program := look_for_runtime()) is None:
        return "tng-runtime: not installed beside this program, nor on PATH"
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"tng-runtime: {program} does not say: {error}"
    return done.stdout.strip()
