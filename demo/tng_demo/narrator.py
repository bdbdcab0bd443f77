"""How the tour speaks: numbered steps, commands, what they printed, and what holds or does not, within 100 columns."""

from __future__ import annotations

import shlex
import sys
import textwrap

WIDTH = 100

_BOLD, _GREEN, _RED, _DIM, _PLAIN = "\033[1m", "\033[32m", "\033[31;1m", "\033[2m", "\033[0m"


class Narrator:
    """Prints to standard output, in colours on a terminal, and remembers what did not hold."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._colours = sys.stdout.isatty()
        self._step = 0
        self._folds = textwrap.TextWrapper(
            WIDTH - 4, subsequent_indent="  ", drop_whitespace=False, break_on_hyphens=False
        )

    def step(self, title: str, text: str) -> None:
        """Begin a numbered step."""
        self._step += 1
        print(f"\n{self._paint(_BOLD, f'{self._step}. {title}')}\n{self._paint(_DIM, '-' * WIDTH)}")
        self.say(text)

    def say(self, text: str) -> None:
        """A paragraph."""
        print(textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False), flush=True)

    def shell(self, host: str, *argv: str) -> None:
        """A command, as a person would type it on ``host``."""
        print(self._paint(_BOLD, f"  {host}$ {shlex.join(argv)}"), flush=True)

    def show(self, text: str) -> None:
        """What a program printed; longer lines are folded."""
        for line in text.rstrip("\n").expandtabs(4).splitlines():
            for part in self._folds.wrap(line) or [""]:
                print(f"    {part.rstrip()}", flush=True)

    def check(self, holds: bool, text: str) -> None:
        """State whether ``text`` holds."""
        if not holds:
            self.failures.append(f"step {self._step}: {text}")
        mark = self._paint(_GREEN, "[ ok ]") if holds else self._paint(_RED, "[FAIL]")
        body = textwrap.fill(text, WIDTH - 9, break_on_hyphens=False)
        print(f"  {mark} {textwrap.indent(body, ' ' * 9).lstrip()}", flush=True)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text
