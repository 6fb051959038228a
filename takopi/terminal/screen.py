"""What a chat needs of a terminal, and the plain one: lines in, lines out.

A message that is over goes to stdout, progress to stderr, so that a script can read the answers.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol

import anyio
import anyio.lowlevel

from takopi.ansi import without_escapes
from takopi.bridge.delivery import MessageRef
from takopi.bridge.markdown import MarkdownParts

_CHUNK_BYTES = 1 << 16


class Screen(Protocol):
    """Shows messages and reads the user's. ``interactive``: somebody sits there."""

    interactive: bool

    def update(self, ref: MessageRef, parts: MarkdownParts) -> None:
        """Show a message that will change, or its change."""
        ...

    def drop(self, ref: MessageRef) -> None:
        """Take such a message away."""
        ...

    def say(self, parts: MarkdownParts, *, ring: bool = False) -> None:
        """Print a message for good."""
        ...

    def echo(self, text: str) -> None:
        """Show what the user said elsewhere."""
        ...

    async def read(self) -> str | None:
        """The user's next message; None: there will be no more."""
        ...


class PlainScreen:
    """For pipes, files and dumb terminals. Each line is a message."""

    interactive = False

    def __init__(self) -> None:
        self._shown: dict[MessageRef, set[str]] = {}
        self._pending = bytearray()
        self._ended = False

    def update(self, ref: MessageRef, parts: MarkdownParts) -> None:
        """Print what is new about a run."""
        shown = self._shown.setdefault(ref, set())
        number, label = parts.header.split(" · ")[0].split(" ", 1)
        steps = [line.strip() for line in (parts.body or "").split("\n")]
        for key, line in [(label, parts.header), *((step, f"{number}   {step}") for step in steps)]:
            if key and key not in shown:
                shown.add(key)
                print(without_escapes(line), file=sys.stderr, flush=True)

    def drop(self, ref: MessageRef) -> None:
        """Forget what was printed; it stays where it is."""
        self._shown.pop(ref, None)

    def say(self, parts: MarkdownParts, *, ring: bool = False) -> None:
        """Print a message; nobody is there to hear a bell."""
        found = [parts.header, parts.body, "\n".join(footer_lines(parts))]
        text = "\n\n".join(without_escapes(part) for part in found if part)
        print(f"{text.encode('utf-8', 'replace').decode()}\n", flush=True)

    def echo(self, text: str) -> None:
        """Nothing: a script knows what it said."""

    async def read(self) -> str | None:
        """The next line that is not blank."""
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if newline or self._ended:
                self._pending = rest
                if text := line.decode("utf-8", "replace").strip():
                    return text
                if not newline:
                    return None
                continue
            chunk = await _read_chunk(sys.stdin.fileno())
            self._ended = not chunk
            self._pending += chunk


async def _read_chunk(number: int) -> bytes:
    """What a file descriptor has, without a thread that nobody could end."""
    try:
        await anyio.wait_readable(number)
    except OSError:
        await anyio.lowlevel.checkpoint()  # a plain file, or /dev/null: always readable
    return os.read(number, _CHUNK_BYTES)


def footer_lines(parts: MarkdownParts) -> list[str]:
    """The footer as lines to be copied: without back-ticks."""
    lines = (line.strip().strip("`") for line in (parts.footer or "").split("\n"))
    return [without_escapes(line) for line in lines if line]
