"""The context line: project and branch of a run, in the footer of every message about it.

::

    `ctx: z80 @feat/name`       a reply to the message goes on there
    `acme resume 0199a213`
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile

from takopi.bridge.markdown import code_span
from takopi.config.projects import ProjectsConfig
from takopi.errors import DirectiveError
from takopi.model import RunContext

_MARK = re.compile(r"ctx:", re.IGNORECASE)


def format_context_line(context: RunContext | None, *, projects: ProjectsConfig) -> str | None:
    """The line that `parse_context_line` reads; None without a project."""
    if context is None or not context.project:
        return None
    project = projects.projects.get(context.project)
    alias = project.alias if project is not None else context.project
    return code_span(f"ctx: {alias}" + (f" @{context.branch}" if context.branch else ""))


def parse_context_line(
    text: str | None,
    *,
    projects: ProjectsConfig,
    is_resume_line: Callable[[str], bool] = lambda _: False,
) -> RunContext | None:
    """The context in the footer of a bot's message, as Markdown or as a chat shows it.

    Raises `DirectiveError` for a project that is not known.
    """
    for line in reversed(footer_lines(text, is_resume_line)):
        words = _context_words(line)
        if words:
            return _parse_words(words, projects)
    return None


def footer_lines(
    text: str | None, is_resume_line: Callable[[str], bool] = lambda _: False
) -> list[str]:
    """The last lines of a bot's message, as far as they can be its footer: two at most.

    A footer is a paragraph of a context line and a resume line. In a longer paragraph, which some
    chat ran together, only a resume line tells that the line before it belongs to the footer. An
    answer may talk about context lines, and what it says is not meant for us.
    """
    lines = [line.strip() for line in (text or "").rstrip().splitlines()]
    upwards = list(takewhile(bool, reversed(lines)))
    count = 2 if len(upwards) == 2 or (upwards and is_resume_line(upwards[0])) else 1
    return upwards[:count][::-1]


def _context_words(line: str) -> list[str]:
    """The words after ``ctx:``; none where that is not how the line begins."""
    text = line.lstrip("`")
    # As many back-ticks as it began with end it. Chats may drop those of one side: so one at least.
    closing = min(max(1, len(line) - len(text)), len(text) - len(text.rstrip("`")))
    text = text[: len(text) - closing].strip()
    mark = _MARK.match(text)
    return text[mark.end() :].split() if mark else []


def _parse_words(words: list[str], projects: ProjectsConfig) -> RunContext:
    # An alias is one word. One with blanks can be the project of a chat, though, or the default.
    for count in range(len(words), 0, -1):
        key = " ".join(words[:count]).lower()
        if key in projects.projects:
            return RunContext(key, _parse_branch(words[count:]))
    raise DirectiveError(
        f"unknown project '{words[0]}' in ctx line; "
        "start a new thread or add it back to your config"
    )


def _parse_branch(words: list[str]) -> str | None:
    """The branch of ``@name`` or ``@ name``; None for an ``@`` that nothing follows."""
    if not words or not words[0].startswith("@"):
        return None
    return words[0][1:] or (words[1] if len(words) > 1 else None)
