"""The run contract for engines written in Python, through real processes."""

import asyncio
import os
import stat
import sys
import types

import anyio
import pytest

from takopi.model import ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from tests.support.contract import assert_contract
from tests.support.processes import gone, until
from tests.support.python_engine import (
    INIT,
    STEP,
    AcmeRunner,
    assert_free,
    collect,
    init,
    line,
    result,
    token,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way"),
]

BAD = ["print", "this is not JSON"]

SCRIPTS = {
    "nothing": [],
    "exit_code_only": [["exit", 4]],
    "a_reason": [["err", "no such flag"], ["exit", 2]],
    "plain_output": [BAD, BAD],
    "session_only": [INIT],
    "minimal": [INIT, result()],
    "no_session": [STEP, result()],
    "no_outcome": [INIT, STEP],
    "killed": [INIT, STEP, ["kill", 9]],
    "failed": [INIT, result("part", error="boom"), ["exit", 1]],
    "failed_in_the_end": [INIT, result(), ["exit", 1]],
    "several_outcomes": [INIT, result("one"), STEP, result("two")],
    "lines_after_the_outcome": [INIT, result(), STEP, BAD, INIT],
    "session_twice": [INIT, STEP, INIT, result()],
    "actions_first": [BAD, STEP, INIT, result()],
    "errors_all_along": [line("boom"), INIT, line("boom"), BAD, result()],
    "garbage": [["hex", "fffe000a5b5b5b0a0a0d0a"], INIT, ["print", "[1]"], ["print", "null"], result()],
    "half_a_line": [INIT, ["write", '{"type": "res']],
    "lingering": [INIT, result(), ["sleep", 60]],
    "closed_pipes": [INIT, result(), ["close"], ["sleep", 0.1], ["exit", 1]],
    "unknown_lines": [INIT, *[line(f"new{number}") for number in range(80)]],
}  # fmt: skip


@pytest.mark.parametrize("resume", [None, "s1"], ids=["new", "resumed"])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_every_run_obeys_the_contract(name, resume, tmp_path):
    runner = AcmeRunner(tmp_path, *SCRIPTS[name], completed_grace_s=0.1)
    asked = token(resume) if resume else None
    events = await collect(runner.run("do it", asked))
    assert_contract(events, engine="acme", resume=resume)
    assert gone(runner.pid)
    await assert_free(token())


async def test_any_chunking_gives_the_same_events(tmp_path):
    steps = (INIT, STEP, BAD, line("boom"), STEP, result("whole ünï 😀"))
    stream = ("\r\n".join(words[1] for words in steps) + "\n").encode()
    found = []
    for size in (len(stream), 7, 1):
        pieces = [["hex", stream[i : i + size].hex()] for i in range(0, len(stream), size)]
        runner = AcmeRunner(tmp_path, *pieces, name=f"by{size}")
        found.append(await collect(runner.run("do it", None)))
        assert_contract(found[-1], engine="acme")
    assert found[0] == found[1] == found[2]
    assert found[0][-1].answer == "whole ünï 😀"
    assert len(found[0]) == 6


CLOSING = [["stray", 60, "PID"], INIT, STEP, BAD, STEP, ["sleep", 60]]


@pytest.mark.parametrize("resume", [None, token()], ids=["new", "resumed"])
@pytest.mark.parametrize("after", range(1, 5))
async def test_a_run_closed_after_any_event_leaves_nothing(after, resume, tmp_path):
    pid_file = tmp_path / "pid"
    steps = [[*words[:-1], str(pid_file)] if "PID" in words else words for words in CLOSING]
    runner = AcmeRunner(tmp_path, *steps)
    events = runner.run("do it", resume)
    for _ in range(after):
        await anext(events)
    await events.aclose()
    assert gone(runner.pid)
    assert gone(int(pid_file.read_text()))
    await assert_free(token())
    with pytest.raises(StopAsyncIteration):
        await anext(events)


@pytest.mark.parametrize("resume", [None, token()], ids=["new", "resumed"])
@pytest.mark.parametrize("turns", [*range(8), 20, 100, 1000, 10_000])
async def test_a_run_cancelled_at_any_await_leaves_nothing(turns, resume, tmp_path):
    """As the bridge does it: the generator is closed explicitly by the task that is cancelled."""
    runner = AcmeRunner(tmp_path, INIT, ["repeat", 300, STEP[1]], result(), ["sleep", 60])
    closed = []

    async def consume():
        events = runner.run("do it", resume)
        try:
            async for _ in events:
                await asyncio.sleep(0)
        finally:
            with anyio.CancelScope(shield=True):
                await events.aclose()
            closed.append(True)

    task = asyncio.create_task(consume())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed or turns == 0
    assert all(gone(spawned["pid"]) for spawned in runner.logger.named("subprocess.spawn"))
    await assert_free(token())


async def test_a_run_cancelled_by_a_scope_leaves_nothing(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, ["sleep", 60])
    with anyio.move_on_after(0.3) as scope:
        async for event in runner.run("do it", token()):
            assert isinstance(event, StartedEvent)
    assert scope.cancelled_caught
    assert gone(runner.pid)
    await assert_free(token())


async def test_an_abandoned_run_is_ended_by_the_loop(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, ["sleep", 60])
    async for event in runner.run("do it", token()):
        assert isinstance(event, StartedEvent)
        break
    await until(lambda: gone(runner.pid))
    await assert_free(token())


async def test_twenty_runs_at_once(tmp_path):
    runners = [
        AcmeRunner(tmp_path, init(f"s{n}"), STEP, result(f"answer {n}"), name=f"n{n}")
        for n in range(20)
    ]
    runs = [collect(runner.run("do it", None)) for runner in runners]
    for n, events in enumerate(await asyncio.gather(*runs)):
        assert_contract(events, engine="acme")
        assert (events[-1].answer, events[-1].resume) == (f"answer {n}", token(f"s{n}"))


async def test_twenty_runs_of_one_session_come_one_after_the_other(tmp_path):
    notes = tmp_path / "notes"
    steps = [["note", str(notes)], INIT, STEP, result(), ["note", str(notes)]]
    runner = AcmeRunner(tmp_path, *steps)
    runs = [collect(runner.run("do it", token())) for _ in range(20)]
    for events in await asyncio.gather(*runs):
        assert_contract(events, engine="acme")
    exits = [i for i, (_, name, _) in enumerate(runner.logger.lines) if name == "subprocess.exit"]
    spawns = [i for i, (_, name, _) in enumerate(runner.logger.lines) if name == "subprocess.spawn"]
    assert len(notes.read_text().splitlines()) == 40
    assert all(spawn < end for spawn, end in zip(spawns, exits, strict=True))
    assert all(end < spawn for end, spawn in zip(exits, spawns[1:], strict=False))


# -- the example of the guide for authors ---------------------------------------------------------

# As published, but for the import lines and the escapes in the pattern (`\\s` in a raw string, which
# only the page's own escaping can have meant). The body of `translate` follows the guide's mapping.
GUIDE = r"""
ENGINE: EngineId = "pi"
_RESUME_RE = re.compile(r"(?im)^\s*`?pi\s+--resume\s+(?P<token>[^`\s]+)`?\s*$")


@dataclass
class PiRunner(ResumeTokenMixin, JsonlSubprocessRunner):
    engine: EngineId = ENGINE
    resume_re: re.Pattern[str] = _RESUME_RE

    pi_cmd: str = "pi"
    model: str | None = None
    allowed_tools: list[str] | None = None

    def command(self) -> str:
        return self.pi_cmd

    def build_args(
        self, prompt: str, resume: ResumeToken | None, *, state: Any
    ) -> list[str]:
        _ = prompt, state
        args = ["--jsonl", "--verbose"]
        if resume is not None:
            args.extend(["--resume", resume.value])
        if self.model is not None:
            args.extend(["--model", self.model])
        if self.allowed_tools:
            args.extend(["--allowed-tools", ",".join(self.allowed_tools)])
        return args

    def stdin_payload(
        self, prompt: str, resume: ResumeToken | None, *, state: Any
    ) -> bytes | None:
        _ = resume, state
        return prompt.encode()

    def translate(
        self,
        data: dict[str, Any],
        *,
        state: Any,
        resume: ResumeToken | None,
        found_session: ResumeToken | None,
    ) -> list[TakopiEvent]:
        _ = state, resume, found_session
        ...
"""
MAPPING = """
        match data["type"]:
            case "session.start":
                token = ResumeToken(ENGINE, data["session_id"])
                return [StartedEvent(engine=ENGINE, resume=token, title=data["model"])]
            case "tool.use":
                action = Action(data["id"], "command", data["input"]["command"])
                return [ActionEvent(ENGINE, action, "started")]
            case "tool.result":
                action = Action(data["tool_use_id"], "command", "ls")
                return [ActionEvent(ENGINE, action, "completed", ok=not data["is_error"])]
            case "final":
                token = ResumeToken(ENGINE, data["session_id"])
                return [CompletedEvent(ENGINE, data["ok"], data["answer"], token)]
        return []
"""
IMPORTS = """
import re
from dataclasses import dataclass
from typing import Any

from takopi.engines.python import JsonlSubprocessRunner, ResumeTokenMixin
from takopi.model import (
    Action, ActionEvent, CompletedEvent, EngineId, ResumeToken, StartedEvent, TakopiEvent,
)
"""
LINES = """\
{"type":"session.start","session_id":"pi_01","model":"pi-large"}
{"type":"tool.use","id":"toolu_1","name":"Bash","input":{"command":"ls"}}
{"type":"tool.result","tool_use_id":"toolu_1","content":"ok","is_error":false}
{"type":"final","session_id":"pi_01","ok":true,"answer":"Done."}
"""


def guide(monkeypatch, *parts):
    module = types.ModuleType("guide_pi")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join([IMPORTS, GUIDE, *parts]), "guide", "exec"), module.__dict__)
    return module.PiRunner


@pytest.fixture
def pi(tmp_path):
    """A `pi` that notes its arguments and its prompt and prints the lines of the guide."""
    program = tmp_path / "bin" / "pi"
    program.parent.mkdir()
    (tmp_path / "lines").write_text(LINES)
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/argv\ncat > {tmp_path}/prompt\n'
        f"cat {tmp_path}/lines\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


async def test_the_example_of_the_guide_works(tmp_path, pi, monkeypatch):
    monkeypatch.setenv("PATH", f"{pi.parent}:{os.environ['PATH']}")
    runner = guide(monkeypatch, MAPPING)(model="pi-large", allowed_tools=["Bash", "Read"])
    session = ResumeToken("pi", "pi_01")
    events = await collect(runner.run("do it", session))
    assert_contract(events, engine="pi")
    assert [event.type for event in events] == ["started", "action", "action", "completed"]
    assert events[0] == StartedEvent("pi", session, "pi-large")
    assert events[-1] == CompletedEvent("pi", True, "Done.", session)
    assert isinstance(events[1], ActionEvent)
    argv = ["--jsonl", "--verbose", "--resume", "pi_01", "--model", "pi-large"]
    assert (tmp_path / "argv").read_text().split() == [*argv, "--allowed-tools", "Bash,Read"]
    assert (tmp_path / "prompt").read_text() == "do it"


async def test_the_skeleton_of_the_guide_runs_before_its_translator_is_written(
    tmp_path, pi, monkeypatch
):
    (end,) = await collect(guide(monkeypatch)(pi_cmd=str(pi)).run("do it", None))
    assert end.error == "pi finished without a result event"


def test_the_example_of_the_guide_knows_its_resume_lines(monkeypatch):
    runner = guide(monkeypatch, MAPPING)()
    assert runner.is_resume_line("`pi --resume pi_01`")
    assert runner.extract_resume("hi\n\npi --resume pi_01") == ResumeToken("pi", "pi_01")
