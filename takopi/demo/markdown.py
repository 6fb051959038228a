"""Small pieces of Markdown that stay intact whatever the file names and texts in them are."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_BACKTICKS = re.compile("`+")


def printable(text: str) -> str:
    """``text`` that is safe for UTF-8 and for a terminal; only tabs and newlines stay."""
    return _CONTROL.sub(" ", _LONE_SURROGATE.sub("\ufffd", text))


def clip(text: str, width: int) -> str:
    """``text`` on one line, at most ``width`` characters."""
    flat = " ".join(printable(text[: width * 4]).split())
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"


def code(text: str, width: int = 120) -> str:
    """``text`` as inline code, inside enough backticks."""
    flat = clip(text, width) or " "
    longest = max((len(run) for run in _BACKTICKS.findall(flat)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def block(lines: Sequence[str], language: str = "", width: int = 160) -> str:
    """``lines`` as a fenced code block, long lines cut."""
    cut = [printable(line if len(line) <= width else line[: width - 1] + "…") for line in lines]
    longest = max((len(run) for run in _BACKTICKS.findall("\n".join(cut))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + language, *cut, fence])


def count(number: int, noun: str) -> str:
    """``3 files``, ``1 file``, ``2 matches``, ``1,200 directories``."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("ch", "s")):
        return f"{number:,} {noun}es"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("ry") else f"{number:,} {noun}s"


def size(number: int) -> str:
    """A number of bytes for people: ``812 B``, ``3.4 KB``."""
    amount = float(number)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
            )
        amount /= 1024
    raise AssertionError("unreachable")
