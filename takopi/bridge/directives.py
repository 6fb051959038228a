"""Directives: the engine, project and branch that the first words of a message ask for.

::

    /acme @feat/name /z80 fix the tests     engine, branch, project; the rest is the prompt
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, TypeAlias

from takopi.config.projects import ProjectsConfig
from takopi.errors import DirectiveError
from takopi.model import EngineId

_Kind: TypeAlias = Literal["engine", "project", "branch"]

_WORD = re.compile(r"\S+")
_NAMES: dict[_Kind, str] = {"engine": "engine", "project": "project", "branch": "@branch"}


@dataclass(frozen=True, slots=True)
class ParsedDirectives:
    """A message without its directives. ``project`` is the key, an alias in lower case."""

    prompt: str
    engine: EngineId | None = None
    project: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class _Directive:
    kind: _Kind
    value: str
    end: int  # where in the text the word ends


def parse_directives(
    text: str,
    *,
    engine_ids: Iterable[EngineId],
    projects: ProjectsConfig,
    branch_applies: bool = True,
) -> ParsedDirectives:
    """``text`` split into directives and prompt; the same text where there are none.

    ``branch_applies`` says whether there is a project to take the branch of. Without one, and
    without a project among the directives, ``@name`` is no directive but somebody's name.
    Raises `DirectiveError` for two of a kind.
    """
    found = list(_leading_directives(text, engine_ids, projects))
    if not branch_applies and not any(each.kind == "project" for each in found):
        found = list(takewhile(lambda each: each.kind != "branch", found))
    if not found:
        return ParsedDirectives(text)
    values: dict[_Kind, str] = {}
    for each in found:
        if each.kind in values:
            raise DirectiveError(f"multiple {_NAMES[each.kind]} directives")
        values[each.kind] = each.value
    return ParsedDirectives(
        prompt=text[found[-1].end :].strip(),
        engine=values.get("engine"),
        project=values.get("project"),
        branch=values.get("branch"),
    )


def _leading_directives(
    text: str, engine_ids: Iterable[EngineId], projects: ProjectsConfig
) -> Iterator[_Directive]:
    """The directives the first line that is not blank begins with, up to the first other word."""
    engines = {engine.lower(): engine for engine in engine_ids}
    start = len(text) - len(text.lstrip())
    for line in text[start:].splitlines()[:1]:
        for word in _WORD.finditer(line):
            found = _parse_word(word[0], engines, projects)
            if found is None:
                return
            yield _Directive(*found, end=start + word.end())


def _parse_word(
    word: str, engines: dict[str, EngineId], projects: ProjectsConfig
) -> tuple[_Kind, str] | None:
    if word.startswith("@") and len(word) > 1:
        return "branch", word[1:]
    if word.startswith("/"):
        # Chats complete a command with the name of the bot: `/acme@some_bot`.
        name = word[1:].partition("@")[0].lower()
        if name in engines:
            return "engine", engines[name]
        if name and name in projects.projects:
            return "project", name
    return None
