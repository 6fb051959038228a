"""What to tell a user whose run failed: why, and what to do next."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from takopi.adapters.adapter import Hint

# CSI and OSC sequences, and other two-character escapes.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def strip_ansi(text: str) -> str:
    """Text without terminal escapes and control characters, trimmed at the ends."""
    return _CONTROL.sub("", _ANSI.sub("", text)).strip()


@dataclass(frozen=True, slots=True)
class Failure:
    """The facts about a run that failed."""

    name: str  # the engine's name for people
    error: str  # the reason the stream gave, "" when it gave none
    exit_code: int | None  # negative: died by that signal; None: ended by takopi
    recorded: bool  # the stream closed the run itself
    stderr: Sequence[str]
    stdout: Sequence[str]  # lines that were not JSON


def describe_failure(failure: Failure, hints: Sequence[Hint]) -> str:
    """The error text: the reason, else exit status and the last output, then the hints that fit."""
    parts = [failure.error or _headline(failure)]
    if not failure.error:
        parts += [*failure.stderr, *failure.stdout]
    haystack = "\n".join([failure.error, *failure.stderr, *failure.stdout])
    parts += [f"hint: {hint.say}" for hint in hints if hint.match.search(haystack)]
    return "\n".join(parts)


def _headline(failure: Failure) -> str:
    code = failure.exit_code
    if code is not None and code < 0:
        return f"{failure.name} was killed by {_signal_name(-code)}"
    if failure.recorded:
        return f"{failure.name} run failed"
    if code:
        return f"{failure.name} failed (exit code {code})"
    return f"{failure.name} finished without a result event"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
