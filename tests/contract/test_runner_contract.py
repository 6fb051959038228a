"""The run contract over everything an engine CLI may do, through a real process."""

import asyncio
import json
import os

import pytest

from takopi.adapters.options import EngineOptions
from takopi.model import ResumeToken
from tests.support.contract import assert_contract
from tests.support.fake import EVENTS, INIT, STEP, fake_runner, init, result

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way"),
]

SAY = ["print", '{"type": "say", "text": "part"}']
BAD = ["print", "this is not JSON"]

SCRIPTS = {
    "nothing": [],
    "exit_code_only": [["exit", 4]],
    "a_reason": [["err", "no such flag"], ["exit", 2]],
    "plain_output": [BAD, BAD],
    "session_only": [INIT],
    "minimal": [INIT, result()],
    "no_session": [STEP, result()],
    "no_outcome": [INIT, STEP, SAY],
    "killed": [INIT, STEP, ["kill", 9]],
    "failed": [INIT, result("part", error="boom"), ["exit", 1]],
    "failed_in_the_end": [INIT, result(), ["exit", 1]],
    "several_outcomes": [INIT, result("one"), STEP, result("two")],
    "lines_after_the_outcome": [INIT, result(), STEP, BAD],
    "session_last": [STEP, SAY, result(), INIT],
    "many_sessions": [INIT, init("s2"), STEP, init("s3"), result()],
    "actions_first": [BAD, STEP, INIT, result()],
    "another_session": [init("other"), STEP, result()],
    "garbage": [["hex", "fffe000a5b5b5b0a0a0d0a"], INIT, ["print", "[1]"], ["print", "null"], result()],
    "half_a_line": [INIT, ["write", '{"type": "res']],
    "lingering": [INIT, result(), ["sleep", 60]],
    "hanging": [INIT, STEP, ["sleep", 60]],
    "closed_pipes": [INIT, result(), ["close"], ["sleep", 0.1], ["exit", 1]],
    "unknown_lines": [INIT, *[["print", json.dumps({"type": f"new{i}"})] for i in range(80)]],
}  # fmt: skip
OPTIONS = EngineOptions(timeout_s=1.0)
SETTLE = "settle: 0.1\n"


async def play(runner, resume, cancel_after=None):
    """All events; ``cancel_after`` that many the run is cancelled."""
    run = runner.start("do it", resume)
    events = []
    async with asyncio.timeout(15):
        if cancel_after == 0:
            await run.cancel()
        async for event in run.events:
            events.append(event)
            if len(events) == cancel_after:
                await run.cancel()
    assert run.outcome is events[-1]
    return events


@pytest.mark.parametrize("resume", [None, "s1"], ids=["new", "resumed"])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_every_run_obeys_the_contract(name, resume, tmp_path):
    runner = fake_runner(tmp_path, *SCRIPTS[name], text=SETTLE, options=OPTIONS)
    token = ResumeToken("acme", resume) if resume else None
    assert_contract(await play(runner, token), engine="acme", resume=resume)


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("name", ["hanging", "lingering", "several_outcomes", "unknown_lines"])
async def test_a_cancelled_run_obeys_the_contract(name, after, tmp_path):
    runner = fake_runner(tmp_path, *SCRIPTS[name], text=SETTLE, options=OPTIONS)
    events = await play(runner, ResumeToken("acme", "s1"), cancel_after=after)
    assert_contract(events, engine="acme", resume="s1")


@pytest.mark.parametrize("declared", ["", "end: {}\n"], ids=["complete", "end"])
async def test_any_chunking_gives_the_same_events(declared, tmp_path):
    lines = [words[1] for words in (INIT, STEP, BAD, SAY, STEP, SAY, result("whole ünï 😀"))]
    stream = ("\n".join(lines) + "\n").encode()
    found = []
    for size in (len(stream), 7, 1):
        pieces = [["hex", stream[i : i + size].hex()] for i in range(0, len(stream), size)]
        runner = fake_runner(tmp_path, *pieces, text=EVENTS + declared, name=f"by{size}")
        found.append(await play(runner, None))
        assert_contract(found[-1], engine="acme")
    assert found[0] == found[1] == found[2]
    assert found[0][-1].answer == "whole ünï 😀"
