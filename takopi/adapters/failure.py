"""What to tell a user whose run failed: why, and what to do next."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from takopi.adapters.adapter import Hint

TAIL_CHARS = 4_000  # of the last stderr, and of the last stdout, in an error
_SEARCHED_CHARS = 8_000  # of each that hints look at: what a slow regular expression can take


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
    parts = [failure.error]
    if not failure.error:
        last = (_last(lines, TAIL_CHARS) for lines in (failure.stderr, failure.stdout))
        parts = [_headline(failure), *chain.from_iterable(last)]
    searched = [failure.error[:_SEARCHED_CHARS], failure.error[_SEARCHED_CHARS:][-_SEARCHED_CHARS:]]
    searched += [
        "\n".join(_last(lines, _SEARCHED_CHARS)) for lines in (failure.stderr, failure.stdout)
    ]
    advice = dict.fromkeys(hint.say for hint in hints if any(map(hint.match.search, searched)))
    return "\n".join([*parts, *(f"hint: {say}" for say in advice)])


def _last(lines: Sequence[str], chars: int) -> list[str]:
    """The newest lines, ``chars`` characters of them; the last one always."""
    kept: list[str] = []
    room = chars
    for line in reversed(lines):
        room -= len(line)
        if room < 0 and kept:
            break
        kept.append(line)
    return kept[::-1]


def _headline(failure: Failure) -> str:
    code = failure.exit_code or 0
    how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
    if failure.recorded:
        return f"{failure.name} run failed" + (f" ({how})" if code else "")
    if code < 0:
        return f"{failure.name} was {how}"
    if code:
        return f"{failure.name} failed ({how})"
    return f"{failure.name} finished without a result event"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
