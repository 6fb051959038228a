"""Resume lines: a session's token as one line of chat that also works in a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from takopi.adapters.code import Value
from takopi.adapters.scope import Scope

# What validation renders: the three shapes of token that the CLIs of this field use.
SAMPLE_TOKENS = (
    "0199a213-81c0-7800-8aa1-bbab2a035a53",
    "ses_5f0a9c1e2ffeXk3QZr7mWtBv9N",
    "/home/user/my sessions/one.jsonl",
)

# A longer line is no resume line: a path is the longest token there is. It bounds the time that a
# slow regular expression takes, for every line of every answer is tried.
MAX_LINE_CHARS = 2_000

_TOKEN = r'(?P<token>"[^"`\n]+"|[^\s"`]+)'


@dataclass(frozen=True, slots=True)
class ResumeFormat:
    """How one engine writes and reads its resume line: always one line of a text."""

    line: Value
    regex: re.Pattern[str]

    def format(self, token: str) -> str:
        """The line for ``token``; a token with white space is double-quoted."""
        shown = f'"{token}"' if re.search(r"\s", token) else token
        return str(self.line.evaluate({"token": shown}, Scope()))

    def sample_token(self) -> str:
        """A token of the kind this engine uses: one whose line is understood."""
        good = (t for t in SAMPLE_TOKENS if self.extract(self.format(t)) == t)
        return next(good, SAMPLE_TOKENS[0])

    def extract(self, text: str | None) -> str | None:
        """The token of the last resume line in ``text``, or None."""
        for line in reversed((text or "").split("\n")):
            if len(line) <= MAX_LINE_CHARS:
                tokens = [*filter(None, map(_token, self.regex.finditer(line)))]
                if tokens:
                    return tokens[-1]
        return None

    def is_line(self, line: str) -> bool:
        """Whether the whole line is a resume line."""
        stripped = line.strip()
        if len(stripped) > MAX_LINE_CHARS:
            return False
        match = self.regex.search(stripped)
        return match is not None and match.group().strip() == stripped and _token(match) is not None


def _token(match: re.Match[str]) -> str | None:
    """The token, unquoted; one that begins with ``-`` could be read as a flag and is refused."""
    token = match.group("token")
    if not token:
        return None
    if len(token) > 1 and token[0] == token[-1] == '"':
        token = token[1:-1]
    return None if not token or token.startswith("-") else token


def build_regex(parts: list[str | None]) -> re.Pattern[str]:
    """The regular expression of a line given as literal texts with one None for the token.

    It matches a line of its own, in any case, with or without back-ticks.
    """
    body = "".join(
        _TOKEN
        if part is None
        else r"[ \t]+".join(re.escape(word) for word in re.split(r"[ \t]+", part))
        for part in parts
    )
    return re.compile(rf"(?im)^[ \t]*`?{body}`?[ \t]*\r?$")
