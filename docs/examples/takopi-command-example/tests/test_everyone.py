"""What /everyone asks and answers; the engines play scripts, so nothing needs to be installed."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from takopi_command_example.everyone import BACKEND

from takopi.api import CommandBackend, CommandContext, ConfigError, MessageRef, RunResult
from takopi.testing import Return, ScriptRunner, Sleep, collect

COMMAND = MessageRef("room", 7)


class Executor:
    """Runs requests with scripted engines, as many at once as it is asked to."""

    def __init__(self, **answers: str) -> None:
        self.runners = {
            engine: ScriptRunner([Sleep(0.05), Return(answer)], engine=engine)
            for engine, answer in answers.items()
        }
        self.sent: list[str] = []

    async def send(self, message: Any, **_: Any) -> None:
        self.sent.append(message)

    async def run_many(
        self, requests: Any, *, mode: str = "emit", parallel: bool = False
    ) -> list[RunResult]:
        assert (mode, parallel) == ("capture", True)
        return [await self.run(request) for request in requests]

    async def run(self, request: Any) -> RunResult:
        if request.engine not in self.runners:
            return RunResult(request.engine, None, ok=False, error="not installed")
        end = (await collect(self.runners[request.engine], request.prompt, None))[-1]
        return RunResult(end.engine, None, end.ok, end.answer, end.resume, end.error)


def ask(executor: Executor, args_text: str, **config: Any) -> str:
    """The command's answer."""
    runtime = SimpleNamespace(available_engine_ids=lambda: tuple(executor.runners))
    context = CommandContext(
        command="everyone",
        text=f"/everyone {args_text}",
        args_text=args_text,
        args=tuple(args_text.split()),
        message=COMMAND,
        reply_to=None,
        reply_text=None,
        config_path=None,
        plugin_config=config,
        runtime=runtime,
        executor=executor,
    )
    return anyio.run(BACKEND.handle, context).text


def test_it_is_a_command() -> None:
    assert isinstance(BACKEND, CommandBackend)


def test_every_engine_is_asked_the_same_and_answers_in_its_part() -> None:
    executor = Executor(one="yes", two="no")
    assert ask(executor, "is it\nso?") == "## one\n\nyes\n\n## two\n\nno"
    assert [runner.calls for runner in executor.runners.values()] == [[("is it\nso?", None)]] * 2
    assert executor.sent == ["asking one, two …"]


def test_only_configured_engines_are_asked_and_one_that_fails_says_why() -> None:
    executor = Executor(one="yes", two="no")
    assert ask(executor, "so?", engines=["two", "three"]) == (
        "## two\n\nno\n\n## three\n\nerror: not installed"
    )


def test_without_a_prompt_it_says_how() -> None:
    assert ask(Executor(one="yes"), "  ") == "usage: /everyone PROMPT"


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"plugins\.everyone\.engines"):
        ask(Executor(one="yes"), "so?", engines="one")
