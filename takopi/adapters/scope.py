"""What an expression sees besides the current node."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression was written: ``events[2].action.title`` in a line of a file."""

    file: str
    line: int
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.path})"


def _log_failure(place: Place, error: Exception) -> None:
    logger.warning("%s: %s; the value is null", place, error)


class Scope:
    """One run's variables, handed to every compiled expression beside the current node.

    ``event``    the whole decoded line (also inside ``each``); ``{}`` where there is no line
    ``state``    this run's variables, as left by ``set`` and ``append``
    ``options``  the engine's options after defaults and user config
    ``run``      ``prompt, resume, session, model, reasoning, cwd, engine``
    ``environ``  what ``env(name)`` reads; empty outside command-line fields
    ``failed``   told about every expression that fails while running (its value is null)
    """

    __slots__ = ("environ", "event", "failed", "options", "run", "state")

    def __init__(
        self,
        *,
        event: Any = None,
        state: dict[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        failed: Callable[[Place, Exception], None] = _log_failure,
    ) -> None:
        self.event = {} if event is None else event
        self.state: dict[str, Any] = {} if state is None else state
        self.options: Mapping[str, Any] = {} if options is None else options
        self.run: Mapping[str, Any] = {} if run is None else run
        self.environ: Mapping[str, str] = {} if environ is None else environ
        self.failed = failed
