"""What an expression sees besides the current node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Scope:
    """One run's variables, handed to every compiled expression beside the current node.

    ``event``    the whole decoded line (also inside ``each``); ``{}`` where there is no line
    ``state``    this run's variables, as left by ``set`` and ``append``
    ``options``  the engine's options after defaults and user config
    ``run``      ``prompt, resume, session, model, reasoning, cwd, engine``
    ``environ``  what ``env(name)`` reads; empty outside command-line fields
    """

    __slots__ = ("environ", "event", "options", "run", "state")

    def __init__(
        self,
        *,
        event: Any = None,
        state: dict[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.event = {} if event is None else event
        self.state: dict[str, Any] = {} if state is None else state
        self.options: Mapping[str, Any] = {} if options is None else options
        self.run: Mapping[str, Any] = {} if run is None else run
        self.environ: Mapping[str, str] = {} if environ is None else environ
