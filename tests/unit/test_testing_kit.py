"""The kit that plugins test with: runners that play a script, a chat that records."""

import anyio
import pytest

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions
from takopi.engines.base import session_lock
from takopi.model import Action, ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from takopi.testing import (
    Advance,
    Emit,
    Fault,
    MockRunner,
    Raise,
    RecordingTransport,
    Return,
    ScriptRunner,
    Sleep,
    Wait,
)
from tests.support.contract import assert_contract

pytestmark = pytest.mark.anyio

TOKEN = ResumeToken("mock", "s1")


def step(id="1", phase="completed", ok=None):
    return ActionEvent("mock", Action(id, "note", "a step"), phase, ok)


async def collect(runner, prompt="do it", resume=None):
    return [event async for event in runner.run(prompt, resume)]


# Runners


@pytest.mark.parametrize("resume", [None, TOKEN], ids=["new", "resumed"])
@pytest.mark.parametrize(
    "runner",
    [
        MockRunner(events=[step()], answer="done"),
        ScriptRunner([Emit(step()), Return("done")]),
        ScriptRunner([], default_answer="done"),
        ScriptRunner([Return("done"), Emit(step())], emit_session_start=False),
        ScriptRunner([Emit(CompletedEvent("mock", True, "done", TOKEN)), Emit(step())],
                     resume_value="s1"),
    ],
    ids=["mock", "script", "empty", "sessionless", "completed"],
)  # fmt: skip
async def test_their_runs_obey_the_contract(runner, resume):
    events = await collect(runner, resume=resume)
    assert_contract(events, engine="mock", resume=resume and resume.value)
    assert events[-1].answer == "done"


async def test_the_session_is_the_one_asked_for_then_the_given_one_then_a_random_one():
    given = ScriptRunner([], resume_value="mine", title="T")
    assert (await collect(given, resume=TOKEN))[0] == StartedEvent("mock", TOKEN, "T")
    assert (await collect(given))[0].resume == ResumeToken("mock", "mine")
    random = ScriptRunner([])
    first, second = [(await collect(random))[0].resume.value for _ in range(2)]
    assert first != second
    assert int(first, 16)


async def test_a_completed_action_that_does_not_say_so_went_well():
    events = [step("a"), step("b", "started"), step("c", ok=False)]
    found = await collect(MockRunner(events=events, answer="x"))
    assert [event.ok for event in found[1:-1]] == [True, None, False]
    assert events[0].ok is None


async def test_the_steps_of_a_script():
    times, slept, gate = [], [], anyio.Event()

    async def sleep(seconds):
        slept.append(seconds)
        gate.set()

    script = [Advance(1.0), Emit(step(), at=2.0), Sleep(30), Wait(gate), Raise(KeyError("boom"))]
    runner = ScriptRunner(script, engine="acme", sleep=sleep, advance=times.append)
    run = runner.run("p", None)
    assert [(await anext(run)).type for _ in range(2)] == ["started", "action"]
    with pytest.raises(KeyError, match="boom"):
        await anext(run)
    assert (times, slept) == ([1.0, 2.0], [30])
    assert runner.calls == [("p", None)]


async def test_a_script_without_a_clock_ignores_times():
    assert len(await collect(ScriptRunner([Advance(1.0), Emit(step(), at=2.0)]))) == 3


async def test_another_engines_token_is_refused():
    runner = ScriptRunner([])
    with pytest.raises(RuntimeError, match="token is for engine 'acme', not 'mock'"):
        await collect(runner, resume=ResumeToken("acme", "s1"))
    with pytest.raises(RuntimeError, match="token is for engine 'acme'"):
        runner.format_resume(ResumeToken("acme", "s1"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("`mock resume A`", "A"),
        ("text\n  MOCK resume A  \nmore", "A"),
        ("mock resume A\n`mock resume B`", "B"),
        ("mock resume", None),
        ("run mock resume A please", None),
        ("`acme resume A`", None),
        ("", None),
        (None, None),
    ],
)
def test_resume_lines_are_read(text, value):
    runner = MockRunner(events=[])
    assert runner.extract_resume(text) == (value and ResumeToken("mock", value))
    if text is not None and "\n" not in text:
        assert runner.is_resume_line(text) == (value is not None)


def test_a_resume_line_is_read_back():
    runner = MockRunner(events=[], engine="acme")
    token = ResumeToken("acme", "s.1+")
    assert runner.format_resume(token) == "`acme resume s.1+`"
    assert runner.extract_resume(runner.format_resume(token)) == token


async def test_runs_of_one_session_wait_for_each_other():
    gate = anyio.Event()
    runner = ScriptRunner([Wait(gate)], resume_value="s1")
    heard = []

    async def listen(resume):
        async for event in runner.run("p", resume):
            heard.append(event.type)

    async with anyio.create_task_group() as group:
        group.start_soon(listen, None)
        group.start_soon(listen, TOKEN)
        await anyio.wait_all_tasks_blocked()
        assert heard == ["started"]
        gate.set()
    assert heard == ["started", "completed"] * 2


async def test_a_closed_run_lets_go_of_its_session():
    run = ScriptRunner([Wait(anyio.Event())], resume_value="s1").run("p", None)
    await anext(run)
    lock = session_lock(TOKEN)
    await run.aclose()
    with anyio.fail_after(1):
        await lock.acquire()
    lock.release()


# Transport


async def test_the_chat_shows_what_was_sent_and_edited():
    chat = RecordingTransport()
    first = await chat.send(channel_id=7, message=RenderedMessage("one"))
    second = await chat.send(
        channel_id=7, message=RenderedMessage("two"), options=SendOptions(replace=first)
    )
    assert first == MessageRef(7, 1)
    assert (chat.texts, chat.deletes) == (["two"], [first])
    assert await chat.edit(ref=second, message=RenderedMessage("three"), wait=False) == second
    assert await chat.edit(ref=first, message=RenderedMessage("late")) is None
    assert chat.messages == {second: RenderedMessage("three")}
    assert [(e.ref, e.wait, e.after) for e in chat.edits] == [(second, False, 2)]
    assert [sent.options.notify for sent in chat.sends] == [True, True]
    assert chat.attempts == {"send": 2, "edit": 2}
    await chat.close()
    assert chat.closed


async def test_faults_hit_the_calls_they_are_meant_for():
    faults = {0: Fault(refuse=True), 1: Fault(error=OSError("down")), 2: Fault(delay_s=0.02)}
    chat = RecordingTransport(send_faults=faults.get)
    message = RenderedMessage("x")
    assert await chat.send(channel_id=1, message=message) is None
    with pytest.raises(OSError, match="down"):
        await chat.send(channel_id=1, message=message)
    before = anyio.current_time()
    assert await chat.send(channel_id=1, message=message) is not None
    assert anyio.current_time() - before >= 0.02
    assert (len(chat.sends), chat.attempts["send"]) == (1, 3)


async def test_a_placed_message_can_be_edited():
    chat = RecordingTransport(edit_faults=lambda number: Fault(refuse=number == 0))
    ref = chat.place(5)
    assert await chat.edit(ref=ref, message=RenderedMessage("x")) is None
    assert chat.texts == ["queued"]
    assert await chat.edit(ref=ref, message=RenderedMessage("x")) == ref
