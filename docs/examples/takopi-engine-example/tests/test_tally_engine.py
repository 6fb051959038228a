"""The engine keeps the run contract, and reads its settings."""

from pathlib import Path

import anyio
import pytest
from takopi_engine_example.engine import BACKEND, TallyRunner

from takopi.api import (
    ConfigError,
    EngineRunOptions,
    Runner,
    TakopiEvent,
    apply_run_options,
)
from takopi.testing import EngineContract, Play, Stage, collect

STREAM = Path(__file__).with_name("tally.jsonl").read_bytes()


class TestTally(EngineContract):
    """The tests that every engine must pass."""

    def stream(self) -> bytes:
        return STREAM

    def runner(self, command: str) -> Runner:
        return TallyRunner(command)


def run(runner: Runner) -> list[TakopiEvent]:
    return anyio.run(collect, runner, "one two three", None)


def test_a_good_run_shows_a_tool_and_the_answer() -> None:
    with Stage() as stage:
        *_, tool, end = run(TallyRunner(stage.cli(Play(stdout=[STREAM]))))
        (call,) = stage.calls
    assert (tool.action.title, tool.ok) == ("3 words", True)
    assert (end.ok, end.answer) == (True, "3 words, 3 in this session.")
    assert (call.arguments, call.stdin) == (("--json",), "one two three")


def test_the_chats_model_comes_before_the_configured_one() -> None:
    with Stage() as stage:
        command = stage.cli(Play(stdout=[STREAM]))
        runner = BACKEND.build_runner({"command": command, "model": "big"}, Path("takopi.toml"))
        run(runner)
        with apply_run_options(EngineRunOptions(model="small")):
            run(runner)
        assert [call.arguments[-1] for call in stage.calls] == ["--model=big", "--model=small"]


def test_a_setting_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Invalid `tally\.model` in takopi\.toml"):
        BACKEND.build_runner({"model": 3}, Path("takopi.toml"))


def test_nothing_needs_to_be_configured() -> None:
    assert BACKEND.build_runner({}, Path("takopi.toml")).engine == "tally"
