"""Errors a user can act on.

::

    TakopiError (RuntimeError)      exit code 1
    ├── SpecError                   an adapter file is wrong; carries its diagnostics
    ├── ConfigError                 takopi.toml is wrong; may carry diagnostics
    ├── DirectiveError              a message asks for two engines, projects or branches
    ├── LockError                   another takopi serves this bot already
    ├── PluginError                 a plugin cannot be loaded
    ├── WorktreeError               a branch's worktree cannot be made; reaches users as ConfigError
    ├── RunnerUnavailableError      an engine exists but cannot run
    ├── RunError                    a run could not be started
    └── UsageError                  the command line names something that is not there (exit code 2)

Exit codes of the command line: 0 ok, 1 expected failure, 2 usage, 3 a bug in takopi, 130 Ctrl-C.
Messages are lower-case, say what, where and what to do next, and have no final full stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from takopi.diagnostics import Diagnostic

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_INTERRUPTED = 130


class TakopiError(RuntimeError):
    """Anything that went wrong and that the user can do something about."""


class SpecError(TakopiError):
    """An adapter file that cannot be used; ``diagnostics`` says where and why."""

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class ConfigError(TakopiError):
    """A value in takopi.toml that cannot be used; ``diagnostics`` may show the lines."""

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class DirectiveError(TakopiError):
    """Directives at the head of a message that contradict each other."""


class LockError(TakopiError):
    """The lock file of the configuration, or of its bot, is held by somebody else or unusable."""

    def __init__(self, message: str, *, path: Path, state: str) -> None:
        super().__init__(message)
        self.path = path
        self.state = state


class PluginError(TakopiError):
    """A plugin that cannot be loaded."""


class WorktreeError(TakopiError):
    """A branch that cannot be had in a worktree of its own."""


class RunnerUnavailableError(TakopiError):
    """An engine that is known but cannot run; ``issue`` is the reason."""

    def __init__(self, engine: str, issue: str | None = None) -> None:
        super().__init__(f"engine '{engine}' is unavailable" + (f": {issue}" if issue else ""))
        self.engine = engine
        self.issue = issue


class RunError(TakopiError):
    """A run that could not be started: no such command, no such directory, an argument too long."""


class UsageError(TakopiError):
    """A command line that names something that is not there."""
