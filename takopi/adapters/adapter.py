"""A compiled adapter: everything the translator and the runner need, ready to use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from takopi.adapters.code import Value
from takopi.adapters.jmes import Expression
from takopi.adapters.model import AdapterSpec
from takopi.adapters.resume import ResumeFormat
from takopi.adapters.rules import MatchPath, OutcomePlan, RuleSet, Test
from takopi.adapters.scope import Place
from takopi.adapters.tools import ToolTable


@dataclass(frozen=True, slots=True)
class Argument:
    """One entry of ``args``: a value, or arguments that are there only when ``condition`` is true."""

    value: Value | None
    condition: Value | None = None
    then: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvPlan:
    """Compiled ``env``."""

    set: tuple[tuple[str, Value], ...] = ()
    default: tuple[tuple[str, Value], ...] = ()
    unset: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Compiled ``session``."""

    match: Test | None
    id: Value | None
    text: re.Pattern[str] | None
    create: Value | None
    title: Value | None
    meta: Value | None
    adopt: bool


@dataclass(frozen=True, slots=True)
class Hint:
    """Advice for a known failure."""

    match: re.Pattern[str]
    say: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """One engine. ``spec`` is the file as written, after ``extends``; the rest is compiled from it."""

    spec: AdapterSpec
    file: str
    command: Value
    args: tuple[Argument, ...]
    stdin: Value | None
    env: EnvPlan
    resume: ResumeFormat | None
    session: SessionPlan | None
    tools: ToolTable
    rules: RuleSet
    end: OutcomePlan | None
    settle: Value
    hints: tuple[Hint, ...]
    match_paths: tuple[MatchPath, ...]  # every path a `match` names: what tells shapes apart
    options_read: frozenset[str]
    expressions: tuple[tuple[Place, Expression], ...] = field(repr=False)

    @property
    def id(self) -> str:
        """The engine id."""
        return self.spec.id

    @property
    def name(self) -> str:
        """The name for people."""
        return self.spec.name or self.spec.id
