"""What a message asks for, by its first word. Pure."""

from __future__ import annotations

import re

from takopi.bridge.vocabulary import (
    Cancel,
    Command,
    Help,
    Ignore,
    Inbound,
    Intent,
    NewSession,
    Prompt,
    Quit,
    Unusable,
    Words,
)
from takopi.diagnostics import suggest

# A command may be addressed: `/cancel@some_bot`. A path, `/etc/hosts`, is no command.
_WORD = re.compile(r"\s*/(?P<word>\w+)(?:@\S*)?(?!\S)", re.ASCII)


def parse_intent(inbound: Inbound, words: Words) -> Intent:
    """The intent of a message: own commands > engines and projects > taken words > plugins > prompt."""
    if not inbound.text.strip():
        return Ignore("empty")
    found = _WORD.match(inbound.text)
    if found is None:
        return Prompt(inbound)
    word, rest = found["word"].lower(), inbound.text[found.end() :].strip()
    if word in words.commands:
        return _own_command(inbound, word, rest)
    if word in words.directives:
        return Prompt(inbound)
    if word in words.taken:
        return Unusable(inbound, word, "see `/help`")
    if word in words.plugins:
        return Command(inbound, word, rest)
    near = suggest(word, _known(words)) if words.corrects else None
    if near is not None:
        return Unusable(inbound, word, f"did you mean `/{near}`?")
    return Prompt(inbound)


def _own_command(inbound: Inbound, word: str, rest: str) -> Intent:
    match word:
        case "cancel":
            number = rest.split()[0].removeprefix("#") if rest else None
            return Cancel(inbound, number)
        case "new":
            return NewSession(inbound, rest)
        case "help":
            return Help(inbound)
        case "quit":
            return Quit()
    raise ValueError(f"no intent is known for the command `/{word}`")


def _known(words: Words) -> list[str]:
    return sorted({*words.commands, *words.directives, *words.plugins})
