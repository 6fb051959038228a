"""The engine: how its CLI is started, and what the CLI's lines mean.

The base classes do the rest: they start the process, feed it and end its whole tree, read its lines,
let runs of one session wait for each other, and report crashes and garbage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from takopi.api import (
    ConfigError,
    EngineBackend,
    EngineConfig,
    EventFactory,
    JsonlSubprocessRunner,
    ResumeToken,
    ResumeTokenMixin,
    TakopiEvent,
    get_run_options,
)

ENGINE = "tally"
COMMAND = "tally-agent"
INSTALL = "pip install takopi-engine-example"


@dataclass
class RunState:
    """What belongs to one run. The runner is shared by all chats and keeps nothing of a run itself."""

    events: EventFactory
    answer: str = ""
    note_seq: int = 0  # the base class numbers its notes with it


class TallyRunner(ResumeTokenMixin, JsonlSubprocessRunner):
    """Runs ``tally-agent``."""

    engine = ENGINE
    # A whole line, in back-ticks or not. The group must be called `token`.
    resume_re = re.compile(r"\s*`?tally resume (?P<token>[A-Za-z0-9]+)`?\s*")

    def __init__(self, command: str = COMMAND, model: str | None = None) -> None:
        self._command = command
        self._model = model

    def command(self) -> str:
        """The executable."""
        return self._command

    def build_args(self, prompt: str, resume: ResumeToken | None, *, state: RunState) -> list[str]:
        """Everything but the prompt, which the base class writes to stdin."""
        args = ["--json"]
        options = get_run_options()  # the chat's /model comes before the configuration
        model = (options.model if options else None) or self._model
        if model:
            args.append(f"--model={model}")
        if resume is not None:
            args.append(f"--resume={resume.value}")
        return args

    def new_state(self, prompt: str, resume: ResumeToken | None) -> RunState:
        """A fresh state for each run."""
        return RunState(EventFactory(self.engine))

    def translate(
        self,
        data: Any,
        *,
        state: RunState,
        resume: ResumeToken | None,
        found_session: ResumeToken | None,
    ) -> list[TakopiEvent]:
        """The events of one line; none for a line that is not known."""
        events = state.events
        match data:
            case {"event": "session", "id": str(session)}:
                return [events.started(ResumeToken(self.engine, session), title=data.get("model"))]
            case {"event": "tool", "id": str(call), "name": str(name)}:
                return [events.action_started(action_id=call, kind="tool", title=name)]
            case {"event": "tool_done", "id": str(call), "ok": bool(ok), "result": str(result)}:
                return [events.action_completed(action_id=call, kind="tool", title=result, ok=ok)]
            case {"event": "reply", "text": str(text)}:
                state.answer = text
            case {"event": "end", "status": "ok"}:
                return [events.completed_ok(answer=state.answer)]
            case {"event": "end", "status": str(status)}:
                return [events.completed_error(error=status, answer=state.answer)]
        return []


def build_runner(config: EngineConfig, config_path: Path) -> TallyRunner:
    """The runner of the ``[tally]`` table, which may be empty."""
    for key in ("command", "model"):
        if not isinstance(config.get(key, ""), str):
            raise ConfigError(f"Invalid `{ENGINE}.{key}` in {config_path}; expected a string.")
    return TallyRunner(config.get("command") or COMMAND, config.get("model"))


BACKEND = EngineBackend(id=ENGINE, build_runner=build_runner, cli_cmd=COMMAND, install_cmd=INSTALL)
