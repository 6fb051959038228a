"""What every engine must do, as runs and what must come of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e_engines.fake_llm import FakeLlm, Turn
from tests.e2e_engines.homes import Home
from tests.e2e_engines.processes import waiting_commands
from tests.e2e_engines.takopi_run import Event, Result, TakopiRun

WAIT = "timeout 100 tail -f /dev/null"  # some refuse to `sleep`, wherever it stands

_CANCEL_S = 10.0  # from Ctrl-C to the end of the last process

# Their streams call a command a success whatever its exit code, so that takopi cannot tell.
_SILENT_ABOUT_FAILED_COMMANDS = frozenset({"gemini"})

# Their streams tell of a command when it is over, so that a chat cannot show it while it runs.
SILENT_ABOUT_RUNNING_COMMANDS = frozenset({"kilo", "kimi", "opencode", "vibe"})

# Their streams tell the session last: a run that is stopped cannot be gone on with.
SILENT_ABOUT_RUNNING_SESSIONS = frozenset({"kimi"})


class AbandonedError(Exception):
    """The rest of a check would say nothing new: its findings have the cause."""


@dataclass
class Findings:
    """What came of one check."""

    problems: list[str] = field(default_factory=list)
    unmapped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def expect(self, truth: object, problem: str) -> None:
        if not truth:
            self.problems.append(problem)


@dataclass(frozen=True)
class Stage:
    """Where the checks of one engine are played."""

    engine: str
    home: Home
    llm: FakeLlm
    logs: Path
    limit_s: float

    def run(
        self, name: str, prompt: str, turns: Sequence[Turn], *, resume: str | None = None
    ) -> Result:
        """Play a script for one prompt, to its end."""
        return self.start(name, prompt, turns, resume=resume).wait(self.limit_s)

    def start(
        self, name: str, prompt: str, turns: Sequence[Turn], *, resume: str | None = None
    ) -> TakopiRun:
        self.llm.play(turns)
        return TakopiRun(self.engine, prompt, self.home, self.logs / name, resume=resume)


def check_answer(stage: Stage, found: Findings) -> None:
    """A prompt, an answer."""
    answer = "The answer of this run is forty-two: 42 ✓"
    result = stage.run("answer", "What is the answer?", [Turn(text=answer)])
    _check_good(result, answer, found)
    found.expect(stage.llm.unused == 0, "the script was not played to its end")


def check_tool(stage: Stage, found: Findings) -> None:
    """A shell command: it runs, its output reaches the model, and it is a step of the run."""
    # The output is not in the command, and some refuse `$(`. Of a command that ends at once, qwen's
    # CLI loses the output now and then: what follows gives it time.
    command = r"printf 'tool-%d-output\n' 42; ls -a; uname -a"
    turns = [Turn(text="I will count.", command=command), Turn(text="It says 42.")]
    result = stage.run("tool", "Count, please.", turns)
    _check_good(result, "It says 42.", found)
    found.expect(stage.llm.seen("tool-42-output"), "the model did not see the command's output")
    step = _last_step(result, command)
    found.expect(step, f"no completed step for the command; steps: {_titles(result)}")
    found.expect(not step or step["ok"], "the step of the command is not ok")


def check_failing(stage: Stage, found: Findings) -> None:
    """A command that fails is a failed step of a run that goes on."""
    command = "cat no-such-file.txt; exit 3"
    turns = [Turn(command=command), Turn(text="There is no such file.")]
    result = stage.run("failing", "Show me the file.", turns)
    _check_good(result, "There is no such file.", found)
    step = _last_step(result, command)
    found.expect(step, f"no completed step for the command; steps: {_titles(result)}")
    if stage.engine not in _SILENT_ABOUT_FAILED_COMMANDS:
        found.expect(not step or step["ok"] is False, "the step of the failed command is ok")


def check_resume(stage: Stage, found: Findings) -> None:
    """A second run in the session of a first one knows what was said."""
    first = stage.run("resume-1", "Remember the word plum-tree.", [Turn(text="I will.")])
    _check_good(first, "I will.", found)
    if first.token is None:
        return
    turns = [Turn(text="It was plum-tree.")]
    second = stage.run("resume-2", "Which word was it?", turns, resume=first.token)
    _check_good(second, "It was plum-tree.", found)
    found.expect(
        second.token == first.token, f"the session changed: {first.token} became {second.token}"
    )
    told = ("Remember the word plum-tree.", "I will.", "Which word was it?")
    found.expect(stage.llm.seen(*told), f"the model was not told all of {told}")


def check_error(stage: Stage, found: Findings) -> None:
    """The model's server refuses: the run fails, and says why."""
    reason = "the server has no wish to answer"
    turns = [Turn(error=400, text=reason, repeat=True)]
    result = stage.run("error", "Say something.", turns)
    _check_shape(result, found)
    found.expect(result.outcome.get("ok") is False, "the run did not fail")
    found.expect(result.code == 1, f"takopi's exit code is {result.code}, not 1")
    error = str(result.outcome.get("error"))
    found.expect(reason in error, f"the error does not say why: {error!r}")


def check_cancel(stage: Stage, found: Findings) -> None:
    """Ctrl-C during a command ends the whole tree, soon, and the run is `cancelled`."""
    turns = [Turn(text="I will wait.", command=WAIT), Turn(text="I never say this.")]
    run = stage.start("cancel", "Wait for a minute.", turns)
    waiting = run.wait_for(waiting_commands, stage.limit_s)
    found.expect(waiting, "the command never ran")
    if waiting:
        time.sleep(1.0)  # let the CLI tell that it runs
        run.interrupt()
    result = run.wait(stage.limit_s)
    _check_shape(result, found)
    if not waiting:
        return
    outcome = result.outcome
    found.expect(outcome.get("ok") is False, "a cancelled run is ok")
    error = str(outcome.get("error"))
    found.expect(error.startswith("cancelled"), f"the error is {error!r}, not `cancelled`")
    found.expect(result.code == 130, f"takopi's exit code is {result.code}, not 130")
    found.expect(result.ended_s < _CANCEL_S, f"it took {result.ended_s:.1f} s to end after Ctrl-C")


CHECKS: dict[str, Callable[[Stage, Findings], None]] = {
    "answer": check_answer,
    "tool": check_tool,
    "failing": check_failing,
    "resume": check_resume,
    "error": check_error,
    "cancel": check_cancel,
}


def _check_good(result: Result, answer: str, found: Findings) -> None:
    _check_shape(result, found)
    outcome = result.outcome
    found.expect(outcome.get("ok") is True, f"the run failed: {outcome.get('error')!r}")
    found.expect(result.code == 0, f"takopi's exit code is {result.code}, not 0")
    said = str(outcome.get("answer")).strip()
    found.expect(said == answer, f"the answer is {said!r}, not {answer!r}")
    found.expect(result.token, "the run cannot be resumed: no session")


def _check_shape(result: Result, found: Findings) -> None:
    """The contract of every run: at most one start, one end, which is last and of the same session."""
    found.problems += result.problems
    if "Traceback" in result.stderr:
        found.problems.append(f"takopi crashed: {result.stderr[-1000:].strip()}")
        raise AbandonedError
    kinds = [event["type"] for event in result.events]
    found.expect(kinds.count("started") <= 1, "more than one `started`")
    found.expect(kinds.count("completed") == 1, f"{kinds.count('completed')} `completed` events")
    found.expect(kinds[-1:] == ["completed"], f"the last event is {kinds[-1:]}")
    for event in result.events:
        if event["type"] == "started":
            found.expect(
                event["resume"]["value"] == result.token, "`started` tells another session"
            )
    found.unmapped.update(result.unmapped)


def _last_step(result: Result, command: str) -> Event | None:
    """The completed step of a command, whatever its title leaves out."""
    steps = [
        event
        for event in result.actions
        if event["phase"] == "completed"
        and event["action"]["kind"] == "command"
        and command in event["action"]["title"]
    ]
    return steps[-1] if steps else None


def _titles(result: Result) -> list[str]:
    return [
        f"{event['phase']} {event['action']['kind']} {event['action']['title']}"
        for event in result.actions
    ]
