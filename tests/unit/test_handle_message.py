"""One message, one run, one final message: whatever engine, chat and user do meanwhile."""

import asyncio
import contextlib
import logging
import os
import random
import time

import anyio
import anyio.lowlevel
import pytest

from takopi.bridge import handle
from takopi.bridge.delivery import MessageRef, RenderedMessage, Reply, SendOptions
from takopi.bridge.handle import (
    ExecBridgeConfig,
    IncomingMessage,
    RunningTask,
    error_text,
    handle_message,
)
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.scheduler import ThreadJob, ThreadScheduler
from takopi.engines.base import session_lock
from takopi.logs import bind_run_context
from takopi.model import (
    Action,
    ActionEvent,
    CompletedEvent,
    ResumeToken,
    RunContext,
    StartedEvent,
)
from takopi.paths import get_run_base_dir, reset_run_base_dir, set_run_base_dir
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
from tests.support.fake import INIT, fake_runner

pytestmark = pytest.mark.anyio

TOKEN = ResumeToken("acme", "s1")
LINE = "`acme resume s1`"
USER = MessageRef(1, 100)


def step(title="a step", id=None, phase="completed", kind="note", ok=True):
    return ActionEvent("acme", Action(id or title, kind, title), phase, ok)


def script(*steps, **more):
    return ScriptRunner(steps, engine="acme", **{"resume_value": "s1", **more})


def completed(ok=True, answer="", error=None, resume=TOKEN):
    return CompletedEvent("acme", ok, answer, resume, error)


class Engine(ScriptRunner):
    """A runner made of an async generator function, which knows who ran and closed it.

    It stays in a cancel scope while it is suspended, which only the task that entered it may leave.
    """

    def __init__(self, body):
        super().__init__([], engine="acme")
        self.body = body
        self.ran_in = self.closed_in = self.problem = None

    async def run(self, prompt, resume):
        self.calls.append((prompt, resume))
        self.ran_in = asyncio.current_task()
        try:
            with anyio.CancelScope():
                async with contextlib.aclosing(self.body()) as events:
                    async for event in events:
                        yield event
        except RuntimeError as error:
            self.problem = error
            raise
        finally:
            self.closed_in = asyncio.current_task()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.005)  # as ending a process takes some time
            self.cleaned = True

    def assert_closed(self):
        if self.ran_in is not None:
            assert self.problem is None
            assert self.closed_in is self.ran_in
            assert self.cleaned


def incoming(text="do it", **more):
    return IncomingMessage(1, 100, text, **more)


def handling(chat, runner, text="do it", *, resume=None, thread_id=None, **more):
    """The call of `handle_message`; options of `ExecBridgeConfig` may be among ``more``."""
    config = {"presenter": MarkdownPresenter(), "final_notify": True, "refresh_s": None}
    config |= {key: more.pop(key) for key in list(more) if key in config}
    return handle_message(
        ExecBridgeConfig(chat, **config),
        runner=runner,
        incoming=incoming(text, thread_id=thread_id),
        resume_token=resume,
        **more,
    )


async def handled(runner, text="do it", *, chat=None, **more):
    """The chat after the message was handled."""
    chat = chat or RecordingTransport()
    with anyio.fail_after(10):
        await handling(chat, runner, text, **more)
    return chat


async def settle():
    """Let everybody go on until all wait for something; no time passes."""
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def nothing_is_left():
    yield
    left = [str(task) for task in asyncio.all_tasks() if "TestRunner" not in str(task)]
    assert left == []
    with anyio.fail_after(1):
        lock = session_lock(TOKEN)
        await lock.acquire()
    lock.release()


@contextlib.asynccontextmanager
async def running(chat, runner, **more):
    """A message being handled, and the running tasks; the block must let it end."""
    tasks = {}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            call = handling(chat, runner, running_tasks=tasks, **more)
            group.start_soon(lambda: call)
            await settle()
            yield tasks
    assert tasks == {}


# What a run becomes


async def test_a_loud_answer_is_a_new_message_that_replaces_the_progress():
    chat = await handled(script(Emit(step()), Return("the answer")))
    first, final = chat.sends
    assert first.options == SendOptions(USER, notify=False)
    assert final.options == SendOptions(USER, notify=True, replace=first.ref)
    assert first.message.text == "starting · acme · 0s"
    assert chat.texts == [f"done · acme · 0s · step 1\n\nthe answer\n\n{LINE}"]


async def test_a_quiet_answer_takes_the_place_of_the_progress():
    answer = "huge " * 5000
    chat = await handled(script(Return(answer)), final_notify=False)
    assert len(chat.sends) == 1
    assert chat.edits[-1].wait
    assert chat.texts == [f"done · acme · 0s\n\n{answer.strip()}\n\n{LINE}"]


async def test_a_quiet_answer_that_cannot_be_edited_in_is_sent():
    chat = RecordingTransport(edit_faults=lambda _: Fault(refuse=True))
    await handled(script(Return("x")), chat=chat, final_notify=False)
    first, final = chat.sends
    assert final.options == SendOptions(USER, notify=False, replace=first.ref)


async def test_a_loud_answer_that_cannot_be_sent_is_edited_in():
    chat = RecordingTransport(send_faults=lambda number: Fault(refuse=number > 0))
    await handled(script(Return("x")), chat=chat)
    assert (len(chat.sends), chat.attempts["send"]) == (1, 2)
    assert chat.texts[0].startswith("done")


@pytest.mark.parametrize("final_notify", [True, False])
async def test_without_a_progress_message_the_answer_is_still_sent(final_notify):
    chat = RecordingTransport(send_faults=lambda number: Fault(refuse=number == 0))
    tasks = {}
    runner = script(Emit(step()), Return("x"))
    await handled(runner, chat=chat, final_notify=final_notify, running_tasks=tasks)
    assert [sent.options for sent in chat.sends] == [SendOptions(USER, notify=final_notify)]
    assert (chat.attempts["edit"], tasks) == (0, {})


@pytest.mark.parametrize(
    ("event", "status", "body"),
    [
        (completed(answer="fine"), "done", "fine"),
        (completed(answer="fine", error="ignored"), "done", "fine"),
        (completed(answer=""), "error", None),
        (completed(answer=" \n "), "error", None),
        (completed(False, "part", "boom"), "error", "part\n\nboom"),
        (completed(False, " ", "boom"), "error", "boom"),
        (completed(False, "part"), "error", "part"),
        (completed(False), "error", None),
    ],
)
async def test_status_and_body(event, status, body):
    chat = await handled(script(Emit(event)))
    assert chat.texts == ["\n\n".join(filter(None, [f"{status} · acme · 0s", body, LINE]))]


async def test_a_runner_that_raises_is_an_error():
    chat = await handled(script(Emit(step()), Raise(ValueError("boom"))))
    assert len(chat.sends) == 1
    assert chat.texts == [f"error · acme · 0s · step 1\n\nboom\n\n{LINE}"]
    assert chat.edits[-1].wait


async def test_a_runner_that_cannot_even_be_called_is_an_error():
    class Missing(ScriptRunner):
        def run(self, prompt, resume):
            raise RuntimeError("not installed")

    chat = await handled(Missing([], engine="acme"))
    assert chat.texts == ["error · acme · 0s\n\nnot installed"]


async def test_an_error_that_cannot_be_edited_in_is_sent_silently():
    chat = RecordingTransport(edit_faults=lambda _: Fault(refuse=True))
    await handled(script(Raise(ValueError("boom"))), chat=chat)
    assert chat.sends[-1].options == SendOptions(USER, notify=False, replace=chat.sends[0].ref)
    assert chat.texts[0].startswith("error")


async def test_an_answer_outlives_a_runner_that_fails_after_it(caplog):
    async def body():
        yield StartedEvent("acme", TOKEN)
        yield completed(answer="the answer")
        raise OSError("no clean exit")

    chat = await handled(Engine(body))
    assert chat.texts == [f"done · acme · 0s\n\nthe answer\n\n{LINE}"]
    assert "no clean exit" in caplog.text


async def test_the_first_of_two_endings_counts():
    async def body():
        yield completed(answer="first")
        yield step()
        yield completed(False, "second")

    assert (await handled(Engine(body))).texts == [f"done · acme · 0s\n\nfirst\n\n{LINE}"]


async def test_an_iterator_need_not_be_a_generator():
    class Plain(ScriptRunner):
        def run(self, prompt, resume):
            events = iter([StartedEvent("acme", TOKEN), completed(answer="x")])

            class Events:
                def __aiter__(self):
                    return self

                async def __anext__(self):
                    for event in events:
                        return event
                    raise StopAsyncIteration

            return Events()

    assert (await handled(Plain([], engine="acme"))).texts[0].startswith("done")


CANCELLED = asyncio.CancelledError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("boom"), "boom"),
        (ValueError(), "ValueError"),
        (ExceptionGroup("outer", [ValueError("a")]), "a"),
        (ExceptionGroup("outer", [ValueError()]), "ValueError"),
        (ExceptionGroup("o", [ValueError("a"), ExceptionGroup("i", [OSError("b")])]), "a\nb"),
        (ExceptionGroup("o", [ValueError("a"), ValueError()]), "a"),
        (ExceptionGroup("o", [OSError(), ValueError()]), "o (2 sub-exceptions)"),
        (BaseExceptionGroup("o", [CANCELLED(), ValueError("a")]), "a"),
        (BaseExceptionGroup("o", [CANCELLED(), ValueError()]), "ValueError"),
        (BaseExceptionGroup("o", [CANCELLED()]), "o (1 sub-exception)"),
        (CANCELLED(), "CancelledError"),
    ],
)
async def test_error_texts(error, text):
    assert error_text(error) == text


async def test_a_group_of_errors_is_flattened():
    error = BaseExceptionGroup("outer", [CANCELLED(), ExceptionGroup("in", [ValueError("boom")])])
    chat = await handled(script(Raise(error)))
    assert chat.texts == [f"error · acme · 0s\n\nboom\n\n{LINE}"]


# Prompt, context and place


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("one\n`acme resume s1`\ntwo", "one\ntwo"),
        ("acme resume s1", "continue"),
        ("", "continue"),
        (" \n", "continue"),
        ("  one\n\n\ttwo  ", "one\n\n\ttwo"),
        ("one\r\nacme resume s1\r\ntwo", "one\r\ntwo"),
        ("say: acme resume s1", "say: acme resume s1"),
    ],
)
async def test_resume_lines_are_no_part_of_the_prompt(text, prompt):
    runner = script(Return("x"))
    await handled(runner, text, resume=TOKEN)
    assert runner.calls == [(prompt, TOKEN)]


async def test_whose_resume_lines_are_taken_out_can_be_said():
    runner = script(Return("x"))
    await handled(runner, "one\nacme resume s1", strip_resume_line=lambda line: line == "one")
    assert runner.calls == [("acme resume s1", None)]


async def test_a_failure_while_reading_the_text_is_an_error():
    def broken(line):
        raise ValueError("bad expression")

    chat = await handled(script(), strip_resume_line=broken)
    assert chat.texts == ["error · acme · 0s\n\nbad expression"]


async def test_the_context_comes_before_the_resume_line_in_every_message():
    runner = script(Emit(step()), Return("x"))
    chat = await handled(runner, context_line="`ctx: p`", final_notify=False)
    assert chat.sends[0].message.text == "starting · acme · 0s\n\n`ctx: p`"
    assert len(chat.edits) > 1
    assert all(e.message.text.endswith(f"\n\n`ctx: p`  \n{LINE}") for e in chat.edits)


async def test_the_thread_of_the_chat_is_kept():
    chat = await handled(script(Return("x")), thread_id=7)
    assert [sent.options.thread_id for sent in chat.sends] == [7, 7]
    assert [sent.options.reply_to.thread_id for sent in chat.sends] == [7, 7]


async def test_a_hidden_resume_line_stays_hidden():
    runner = script(Return("x"))
    runner.format_resume = lambda token: ""
    assert (await handled(runner)).texts == ["done · acme · 0s\n\nx"]


async def test_a_resume_line_that_cannot_be_made_costs_only_itself():
    other = ResumeToken("other", "s1")
    chat = await handled(script(Emit(completed(answer="x", resume=other))))
    assert chat.texts == ["done · acme · 0s\n\nx"]


async def test_the_elapsed_time_starts_with_the_call():
    now = [1000.0]
    runner = script(Advance(1065.9), Return("x"), advance=lambda at: now.__setitem__(0, at))
    chat = await handled(runner, clock=lambda: now[0])
    assert chat.sends[0].message.text == "starting · acme · 0s"
    assert chat.texts[0].startswith("done · acme · 1m 05s")


class WithFollowups(MarkdownPresenter):
    """Puts a part of its own into every message."""

    def __init__(self, **more):
        super().__init__()
        self.extra = {"followups": [RenderedMessage("part 2")], **more}

    def render_progress(self, state, **more):
        return RenderedMessage(super().render_progress(state, **more).text, self.extra)

    def render_final(self, state, **more):
        return RenderedMessage(super().render_final(state, **more).text, self.extra)


async def test_follow_ups_are_told_where_to_go():
    presenter = WithFollowups()
    chat = await handled(script(Emit(step()), Return("x")), presenter=presenter, thread_id=7)
    place = {"followup_reply_to_message_id": 100, "followup_thread_id": 7}
    assert [sent.message.extra for sent in chat.sends] == [
        {**presenter.extra, **place, "followup_notify": loud} for loud in (False, True)
    ]
    assert chat.edits[0].message.extra == {**presenter.extra, **place, "followup_notify": False}
    assert list(presenter.extra) == ["followups"]


async def test_what_follow_ups_were_told_already_is_kept():
    presenter = WithFollowups(followup_notify="mine", followup_reply_to_message_id=None)
    chat = await handled(script(Return("x")), presenter=presenter)
    assert chat.sends[-1].message.extra == presenter.extra
    plain = await handled(script(Return("x")))
    assert plain.sends[-1].message.extra == {}


# Resume tokens


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ([Emit(completed(answer="x", resume=ResumeToken("acme", "s2")))], "s2"),
        ([Emit(completed(answer="x", resume=None))], "s1"),
        ([Emit(StartedEvent("acme", ResumeToken("acme", "s3"))), Raise(OSError())], "s3"),
        ([Raise(OSError())], "s1"),
    ],
)
async def test_which_token_is_shown(steps, shown):
    chat = await handled(script(*steps))
    assert chat.texts[0].endswith(f"`acme resume {shown}`")


@pytest.mark.parametrize(
    "runner",
    [
        script(Raise(OSError("boom")), emit_session_start=False),
        script(Emit(completed(False, error="boom", resume=None)), emit_session_start=False),
    ],
    ids=["raised", "completed"],
)
async def test_c9_a_resumed_run_that_fails_early_keeps_its_resume_line(runner):
    chat = await handled(runner, resume=TOKEN)
    assert chat.sends[0].message.text == "starting · acme · 0s"
    assert chat.texts == [f"error · acme · 0s\n\nboom\n\n{LINE}"]


async def test_c9_a_resumed_run_whose_engine_exits_silently_keeps_its_resume_line():
    note = step("acme failed (rc=3).", kind="warning", ok=False)
    end = completed(False, error="acme failed (rc=3).", resume=TOKEN)
    runner = script(Emit(note), Emit(end), emit_session_start=False)
    chat = await handled(runner, resume=TOKEN)
    assert chat.texts == [f"error · acme · 0s · step 1\n\nacme failed (rc=3).\n\n{LINE}"]


async def test_c9_so_does_one_that_is_cancelled_early():
    chat = RecordingTransport()
    gate = anyio.Event()
    runner = script(Wait(gate), emit_session_start=False)
    async with running(chat, runner, resume=TOKEN) as tasks:
        next(iter(tasks.values())).cancel_requested.set()
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]


# Progress


async def test_edits_show_the_last_steps_and_do_not_wait():
    gate = anyio.Event()
    chat = RecordingTransport()
    runner = script(*(Emit(step(f"step {n}")) for n in range(7)), Wait(gate), Return("x"))
    async with running(chat, runner):
        assert chat.texts == [
            "working · acme · 0s · step 7\n\n"
            + "  \n".join(f"✓ step {n}" for n in range(2, 7))
            + f"\n\n{LINE}"
        ]
        assert not any(edit.wait for edit in chat.edits)
        gate.set()


async def test_a_burst_of_events_is_one_edit():
    async def body():
        for number in range(500):
            yield step(str(number))
        await settle()
        yield completed(answer="x")

    chat = await handled(Engine(body))
    assert len(chat.edits) == 1
    assert "step 500" in chat.edits[0].message.text


async def test_an_edit_that_would_change_nothing_is_skipped():
    gates = [anyio.Event(), anyio.Event()]
    chat = RecordingTransport()
    same = step("same", phase="completed")
    turn = step("turn", kind="turn")
    runner = script(Emit(same), Wait(gates[0]), Emit(same), Emit(turn), Wait(gates[1]), Return("x"))
    async with running(chat, runner, clock=lambda: 0.0):
        before = chat.attempts["edit"]
        assert "step 1" in chat.texts[0]
        gates[0].set()
        await settle()
        assert chat.attempts["edit"] == before
        gates[1].set()


async def test_a_change_of_extra_alone_is_an_edit():
    class Counting(MarkdownPresenter):
        count = 0

        def render_progress(self, state, **more):
            self.count += 1
            return RenderedMessage("same", {"count": self.count})

    async def body():
        for number in range(3):
            yield step(str(number))
            await settle()
        yield completed(answer="x")

    assert len((await handled(Engine(body), presenter=Counting())).edits) == 3


async def test_the_first_edit_is_skipped_as_well_if_it_would_change_nothing():
    class Constant(MarkdownPresenter):
        def render_progress(self, state, **more):
            return RenderedMessage("on it")

    chat = await handled(Engine(stuck_for_a_moment), presenter=Constant())
    assert chat.attempts["edit"] == 0


async def test_an_edit_that_failed_is_tried_again_at_the_next_change():
    async def body():
        yield step("same")
        await settle()
        yield step("same")
        await settle()
        yield completed(answer="x")

    chat = RecordingTransport(edit_faults=lambda number: Fault(refuse=number == 0))
    await handled(Engine(body), chat=chat)
    assert (chat.attempts["edit"], len(chat.edits)) == (2, 1)


async def test_a_slow_chat_does_not_slow_the_engine_down():
    chat = RecordingTransport(edit_faults=lambda _: Fault(delay_s=0.3))
    ended = []

    async def body():
        for number in range(50):
            yield step(str(number))
            await anyio.sleep(0.001)
        ended.append(len(chat.edits))
        yield completed(answer="x")

    tasks = {}
    before = time.monotonic()
    await handled(Engine(body), chat=chat, running_tasks=tasks)
    assert ended == [0]
    assert chat.attempts["edit"] == 1
    assert time.monotonic() - before < 0.3
    assert chat.texts[0].startswith("done")


async def test_nothing_is_edited_after_the_final_message():
    class Stubborn(RecordingTransport):
        async def edit(self, **more):
            with anyio.CancelScope(shield=True):
                return await super().edit(**more)

    async def body():
        yield step("a")
        await anyio.sleep(0.01)
        yield step("b")
        yield completed(answer="x")

    chat = Stubborn(edit_faults=lambda _: Fault(delay_s=0.03))
    await handled(Engine(body), chat=chat)
    await anyio.sleep(0.05)
    assert chat.sends[-1].after == len(chat.sends) + len(chat.edits) - 1
    assert len(chat.edits) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault(error=OSError("down")), Fault(error=ExceptionGroup("g", [OSError("down")]))],
)
async def test_c8_an_edit_that_raises_does_not_end_the_run(fault, caplog):
    chat = RecordingTransport(edit_faults=lambda number: fault if number == 0 else None)

    async def body():
        for number in range(3):
            yield step(str(number))
            await settle()
        yield completed(answer="the answer")

    await handled(Engine(body), chat=chat)
    assert chat.texts == [f"done · acme · 0s · step 3\n\nthe answer\n\n{LINE}"]
    assert (chat.attempts["edit"], len(chat.edits)) == (3, 2)
    assert "transport.edit_message.failed" in caplog.text


async def test_c8_a_presenter_that_raises_does_not_end_the_run(caplog):
    class Broken(MarkdownPresenter):
        def render_progress(self, state, **more):
            if state.action_count == 1:
                raise ValueError("cannot render")
            return super().render_progress(state, **more)

        def render_final(self, state, **more):
            raise ValueError("cannot render the answer")

    async def body():
        for number in range(2):
            yield step(str(number))
            await settle()
        yield completed(answer="the answer")

    chat = await handled(Engine(body), presenter=Broken())
    assert [edit.message.text.count("✓") for edit in chat.edits] == [2]
    assert chat.texts == [f"done · acme · 0s · step 2\n\nthe answer\n\n{LINE}"]
    assert "progress.render_failed" in caplog.text
    assert "handle.render_failed" in caplog.text


async def test_c8_a_chat_that_raises_at_everything_still_gets_one_final_try():
    down = Fault(error=OSError("down"))
    chat = RecordingTransport(send_faults=lambda _: down, edit_faults=lambda _: down)
    runner = script(Emit(step()), Return("x"))
    await handled(runner, chat=chat)
    assert chat.attempts == {"send": 2, "edit": 0}
    assert len(runner.calls) == 1


async def test_an_odd_event_does_not_end_the_run():
    async def body():
        yield ActionEvent("acme", Action("a", "note", "odd", None), "completed", True)
        yield "no event at all"
        await settle()
        yield completed(answer="x")

    assert (await handled(Engine(body))).texts[0].startswith("done · acme · 0s · step 1")


class Refresher:
    """Time that passes when the test says so."""

    def __init__(self):
        self.now = 0.0
        self.asked = []
        self._passed = anyio.Event()

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self.asked.append(seconds)
        await self._passed.wait()

    async def pass_time(self, seconds):
        self.now += seconds
        self._passed.set()
        self._passed = anyio.Event()
        await settle()


async def test_a_silent_run_does_not_look_frozen():
    chat, gate, refresher = RecordingTransport(), anyio.Event(), Refresher()
    runner = script(Wait(gate), Return("x"))
    timing = {"clock": refresher.clock, "sleep": refresher.sleep}
    async with running(chat, runner, refresh_s=15.0, **timing):
        assert chat.texts == [f"working · acme · 0s\n\n{LINE}"]
        await refresher.pass_time(15)
        assert chat.texts == [f"working · acme · 15s\n\n{LINE}"]
        await refresher.pass_time(50)
        assert chat.texts == [f"working · acme · 1m 05s\n\n{LINE}"]
        await refresher.pass_time(0.5)  # the same text
        assert len(chat.edits) == 3
        gate.set()
    assert set(refresher.asked) == {15.0}


async def test_by_default_a_silent_run_is_refreshed_rarely():
    config = ExecBridgeConfig(RecordingTransport(), MarkdownPresenter(), True)
    assert config.refresh_s >= 10


# A message that is there already


async def test_a_placeholder_becomes_the_progress():
    chat = RecordingTransport()
    placeholder = chat.place(50)
    gate = anyio.Event()
    runner = script(Wait(gate), Return("x"))
    async with running(chat, runner, progress_ref=placeholder) as tasks:
        assert list(tasks) == [placeholder]
        assert chat.edits[0].message.text == "starting · acme · 0s"
        assert chat.edits[0].wait
        assert chat.sends == []
        gate.set()
    assert [sent.options.replace for sent in chat.sends] == [placeholder]


async def test_a_placeholder_that_cannot_be_edited_is_replaced():
    chat = RecordingTransport(edit_faults=lambda number: Fault(refuse=number == 0))
    placeholder = chat.place(50)
    gate = anyio.Event()
    runner = script(Wait(gate), Return("x"))
    async with running(chat, runner, progress_ref=placeholder) as tasks:
        first = chat.sends[0]
        assert first.options == SendOptions(USER, notify=False, replace=placeholder)
        assert list(tasks) == [first.ref]
        gate.set()
    assert len(chat.messages) == 1


async def test_a_placeholder_out_of_reach_is_not_left_behind():
    chat = RecordingTransport(
        send_faults=lambda number: Fault(refuse=number == 0),
        edit_faults=lambda number: Fault(refuse=number == 0),
    )
    await handled(script(Return("x")), chat=chat, progress_ref=chat.place(50))
    assert chat.texts == [f"done · acme · 0s\n\nx\n\n{LINE}"]


async def test_a_placeholder_can_be_cancelled_before_it_shows_progress():
    chat = RecordingTransport(
        edit_faults=lambda number: Fault(delay_s=0.05) if number == 0 else None
    )
    placeholder = chat.place(50)
    runner = script(Wait(anyio.Event()), Return("x"))
    async with running(chat, runner, progress_ref=placeholder) as tasks:
        tasks[placeholder].cancel_requested.set()
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]


async def test_an_engine_does_not_wait_until_its_placeholder_is_edited():
    chat = RecordingTransport(edit_faults=lambda number: Fault(delay_s=60) if number == 0 else None)
    with anyio.fail_after(5):
        await handling(chat, script(Return("x")), progress_ref=chat.place(50))
    assert chat.texts == [f"done · acme · 0s\n\nx\n\n{LINE}"]


@pytest.mark.parametrize("how", ["user", "program"])
async def test_a_run_can_end_while_its_placeholder_is_edited(how):
    """The end comes while the edit returns, when nothing waits any more."""
    tasks = {}

    class Impatient(RecordingTransport):
        async def edit(self, *, ref, **more):
            edited = await super().edit(ref=ref, **more)
            if self.attempts["edit"] == 1 and how == "user":
                tasks[ref].cancel_requested.set()
            elif self.attempts["edit"] == 1:
                call.cancel()
            return edited

    chat, runner = Impatient(), script(Wait(anyio.Event()), Return("x"))
    placeholder = chat.place(50)
    call = asyncio.create_task(
        handling(chat, runner, progress_ref=placeholder, running_tasks=tasks)
    )
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert chat.texts == [f"{LABELS[how]} · acme · 0s\n\n{LINE}"]


# Sessions and running tasks


async def test_a_run_is_registered_while_it_lasts():
    chat, gate = RecordingTransport(), anyio.Event()
    context = RunContext("p", "b")
    async with running(chat, script(Wait(gate), Return("x")), context=context) as tasks:
        ((ref, task),) = tasks.items()
        assert ref == chat.sends[0].ref
        assert (task.context, task.resume) == (context, TOKEN)
        assert task.resume_ready.is_set()
        assert not task.done.is_set()
        gate.set()
        await task.done.wait()
    assert chat.texts[0].startswith("done")


async def test_done_comes_before_the_final_message():
    gate = anyio.Event()
    chat = RecordingTransport(send_faults=lambda number: Fault(delay_s=0.05) if number else None)
    async with running(chat, script(Wait(gate), Return("x"))) as tasks:
        (task,) = tasks.values()
        gate.set()
        await task.done.wait()
        assert tasks == {}
        assert len(chat.sends) == 1
    assert len(chat.sends) == 2


async def test_a_run_without_a_session_ends_without_resume_ready():
    gate = anyio.Event()
    runner = script(Wait(gate), Return("x"), emit_session_start=False)
    chat = RecordingTransport()
    async with running(chat, runner) as tasks:
        (task,) = tasks.values()
        gate.set()
        await task.done.wait()
        assert not task.resume_ready.is_set()
        assert task.resume is None
    assert chat.texts == ["done · acme · 0s\n\nx"]


async def test_the_session_is_told_once():
    told = []

    async def on_thread_known(token, done):
        told.append((token, done.is_set()))

    async def body():
        yield step("early")
        yield StartedEvent("acme", TOKEN)
        yield StartedEvent("acme", TOKEN)
        yield completed(answer="x")

    await handled(Engine(body), on_thread_known=on_thread_known)
    assert told == [(TOKEN, False)]


async def test_resume_ready_waits_for_the_callback():
    release = anyio.Event()

    async def on_thread_known(token, done):
        await release.wait()

    chat = RecordingTransport()
    async with running(chat, script(Return("x")), on_thread_known=on_thread_known) as tasks:
        (task,) = tasks.values()
        assert (task.resume, task.resume_ready.is_set()) == (TOKEN, False)
        release.set()
        await task.resume_ready.wait()


async def test_c15_a_callback_that_fails_does_not_fail_the_run(caplog):
    async def on_thread_known(token, done):
        raise OSError("disk full")

    gate = anyio.Event()
    chat = RecordingTransport()
    runner = script(Wait(gate), Return("x"))
    async with running(chat, runner, on_thread_known=on_thread_known) as tasks:
        (task,) = tasks.values()
        assert task.resume_ready.is_set()
        gate.set()
    assert chat.texts == [f"done · acme · 0s\n\nx\n\n{LINE}"]
    assert "disk full" in caplog.text


async def test_c14_a_run_without_an_end_is_an_error():
    async def body():
        yield StartedEvent("acme", TOKEN)
        yield step()

    chat = await handled(Engine(body))
    assert chat.texts == [
        f"error · acme · 0s · step 1\n\nrunner finished without a completed event\n\n{LINE}"
    ]


async def test_the_caller_keeps_its_own_context():
    seen = []

    async def body():
        seen.append(get_run_base_dir())
        bind_run_context(leak="yes")
        set_run_base_dir(None)
        yield StartedEvent("acme", TOKEN)
        yield completed(answer="x")

    before = set_run_base_dir("/somewhere")
    try:
        await handled(Engine(body))
        assert (seen, get_run_base_dir()) == (["/somewhere"], "/somewhere")
    finally:
        reset_run_base_dir(before)


async def test_c19_prompts_are_logged_at_debug_only(caplog):
    caplog.set_level(logging.DEBUG, "takopi")
    await handled(script(Emit(step()), Return("my answer")), "my secret prompt")
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    assert any(line.startswith("handle.incoming") and "text_len=16" in line for line in told)
    (end,) = [line for line in told if line.startswith("runner.completed")]
    assert "ok=True" in end
    assert "answer_len=9" in end
    assert "action_count=1" in end
    assert "resume=s1" in end
    assert not any("my secret" in line or "my answer" in line for line in told)
    assert any("my secret prompt" in r.getMessage() for r in caplog.records)
    for event in ("progress.sent", "runner.event.cli", "handle.final.rendered"):
        assert event in caplog.text
    for event in ("transport.send_message", "transport.edit_message"):
        assert event in caplog.text


# Cancelling


async def test_a_cancelled_run_keeps_its_last_steps_and_its_session():
    chat = RecordingTransport()
    async with running(chat, script(Emit(step()), Wait(anyio.Event()))) as tasks:
        (task,) = tasks.values()
        task.cancel_requested.set()
    assert len(chat.sends) == 1
    assert chat.texts == [f"`cancelled` · acme · 0s · step 1\n\n✓ a step\n\n{LINE}"]
    assert chat.edits[-1].wait


async def test_a_cancelled_message_that_cannot_be_edited_is_sent():
    chat = RecordingTransport(edit_faults=lambda _: Fault(refuse=True))
    async with running(chat, script(Wait(anyio.Event()))) as tasks:
        next(iter(tasks.values())).cancel_requested.set()
    assert chat.sends[-1].options == SendOptions(USER, notify=False, replace=chat.sends[0].ref)


async def test_an_engine_may_fail_while_it_is_cancelled(caplog):
    async def body():
        yield StartedEvent("acme", TOKEN)
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("cannot end it")

    chat = RecordingTransport()
    async with running(chat, Engine(body)) as tasks:
        next(iter(tasks.values())).cancel_requested.set()
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]
    assert "cannot end it" in caplog.text


async def test_an_engine_that_will_not_be_closed_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(handle, "_CLOSE_S", 0.02)
    release = anyio.Event()

    async def body():
        try:
            yield StartedEvent("acme", TOKEN)
        finally:
            await anyio.sleep_forever()

    async def on_thread_known(token, done):
        await release.wait()

    chat, runner = RecordingTransport(), Engine(body)
    async with running(chat, runner, on_thread_known=on_thread_known) as tasks:
        next(iter(tasks.values())).cancel_requested.set()
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]
    assert "handle.runner_close_timed_out" in caplog.text


async def test_an_engine_whose_helper_fails_between_two_events_says_why():
    """Its task group then cancels the task that reads it, in the middle of something else."""
    known = anyio.Event()

    async def body():
        async def helper():
            await known.wait()
            raise ValueError("boom")

        async with anyio.create_task_group() as group:
            group.start_soon(helper)
            yield StartedEvent("acme", TOKEN)

    async def on_thread_known(token, done):
        known.set()
        await anyio.sleep_forever()

    runner = Engine(body)
    chat = await handled(runner, on_thread_known=on_thread_known)
    assert chat.texts == [f"error · acme · 0s\n\nboom\n\n{LINE}"]
    runner.assert_closed()


async def test_a_careless_wrapper_costs_no_final_message():
    """It leaves the runner inside to the garbage collector, and with it an open task group."""
    inner = []

    class Wrapper(ScriptRunner):
        async def run(self, prompt, resume):
            async for event in self.inside():
                yield event

        async def inside(self):
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 0)
                    yield StartedEvent("acme", TOKEN)
                    yield step()
            finally:
                inner.append("closed")

    async def on_thread_known(token, done):
        await anyio.sleep_forever()

    chat = RecordingTransport()
    with pytest.MonkeyPatch.context() as patch:
        loop = asyncio.get_running_loop()
        patch.setattr(loop, "call_exception_handler", lambda context: None)
        runner = Wrapper([], engine="acme")
        async with running(chat, runner, on_thread_known=on_thread_known) as tasks:
            next(iter(tasks.values())).cancel_requested.set()
        await settle()
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]
    assert inner == ["closed"]


async def test_a_cancellation_that_escapes_from_an_engine_ends_the_run_only():
    async def body():
        yield StartedEvent("acme", TOKEN)
        raise asyncio.CancelledError

    chat = await handled(Engine(body))
    assert chat.texts == [f"`interrupted` · acme · 0s\n\n{LINE}"]


async def ends_in(chat, runner, how, more):
    """Let a run get stuck, then end it: as the user does, or as the program does."""
    tasks = {}
    call = asyncio.create_task(handling(chat, runner, running_tasks=tasks, **more))
    await settle()
    assert not call.done()
    if how == "user":
        (task,) = tasks.values()
        task.cancel_requested.set()
        await call
    else:
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert call.cancelled()
    assert tasks == {}
    if isinstance(runner, Engine):
        runner.assert_closed()


async def stuck_before_the_first_event():
    await anyio.sleep_forever()
    yield


async def stuck_between_events():
    yield StartedEvent("acme", TOKEN)
    yield step()
    await anyio.sleep_forever()


async def stuck_for_a_moment():
    yield step()
    await settle()
    yield completed(answer="x")


async def two_events():
    yield StartedEvent("acme", TOKEN)
    yield completed(answer="never seen")


async def lingering_after_the_end():
    yield StartedEvent("acme", TOKEN)
    yield completed(answer="the answer")
    await anyio.sleep_forever()


async def stuck_callback(token, done):
    await anyio.sleep_forever()


LABELS = {"user": "`cancelled`", "program": "`interrupted`"}


@pytest.mark.parametrize("how", LABELS)
@pytest.mark.parametrize(
    ("body", "more", "rest"),
    [
        (stuck_before_the_first_event, {}, ""),
        (stuck_between_events, {}, f" · step 1\n\n✓ a step\n\n{LINE}"),
        (two_events, {"on_thread_known": stuck_callback}, f"\n\n{LINE}"),
    ],
    ids=["first event", "between", "callback"],
)
async def test_c12_the_engine_is_closed_in_its_own_task(body, more, rest, how):
    chat = RecordingTransport()
    with anyio.fail_after(5):
        await ends_in(chat, Engine(body), how, more)
    assert len(chat.sends) == 1
    assert chat.texts == [f"{LABELS[how]} · acme · 0s{rest}"]


@pytest.mark.parametrize("how", LABELS)
async def test_c13_an_answer_that_is_there_is_delivered(how):
    chat = RecordingTransport()
    with anyio.fail_after(5):
        await ends_in(chat, Engine(lingering_after_the_end), how, {})
    assert chat.texts == [f"done · acme · 0s\n\nthe answer\n\n{LINE}"]
    assert chat.sends[-1].options.notify


async def test_c13_a_request_in_the_moment_of_the_answer_comes_too_late():
    tasks = {}

    async def body():
        yield StartedEvent("acme", TOKEN)
        (task,) = tasks.values()
        task.cancel_requested.set()
        yield completed(answer="the answer")

    chat = await handled(Engine(body), running_tasks=tasks)
    assert chat.texts == [f"done · acme · 0s\n\nthe answer\n\n{LINE}"]


async def test_an_error_that_comes_after_the_request_is_a_cancellation():
    release = anyio.Event()

    async def body():
        try:
            yield StartedEvent("acme", TOKEN)
            raise ValueError("boom")
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    chat = RecordingTransport()
    async with running(chat, Engine(body)) as tasks:
        (task,) = tasks.values()
        task.cancel_requested.set()
        await settle()
        release.set()
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]


async def test_a_request_in_the_moment_of_the_error_comes_too_late():
    tasks = {}

    class Failing(ScriptRunner):
        async def run(self, prompt, resume):
            yield StartedEvent("acme", TOKEN)
            (task,) = tasks.values()
            task.cancel_requested.set()
            raise ValueError("boom")

    chat = await handled(Failing([], engine="acme"), running_tasks=tasks)
    assert chat.texts == [f"error · acme · 0s\n\nboom\n\n{LINE}"]


async def test_c16_a_program_that_ends_while_the_first_message_is_posted_says_so():
    chat = RecordingTransport(send_faults=lambda number: Fault(delay_s=60) if number == 0 else None)
    runner = script(Return("x"))
    with anyio.fail_after(5):
        await ends_in(chat, runner, "program", {})
    assert runner.calls == []
    assert chat.texts == ["`interrupted` · acme · 0s"]


async def test_c16_a_final_message_on_its_way_is_sent_once():
    chat = RecordingTransport(send_faults=lambda number: Fault(delay_s=0.1) if number else None)
    with anyio.fail_after(5):
        await ends_in(chat, script(Return("x")), "program", {})
    assert chat.texts == [f"done · acme · 0s\n\nx\n\n{LINE}"]
    assert (chat.attempts["send"], len(chat.sends)) == (2, 2)


@pytest.mark.parametrize("stuck", ["run", "final"])
async def test_c16_a_chat_that_hangs_holds_the_program_up_for_a_moment_only(
    stuck, monkeypatch, caplog
):
    monkeypatch.setattr(handle, "_GOODBYE_S", 0.05)
    hang = Fault(delay_s=60)
    chat = RecordingTransport(
        send_faults=lambda number: hang if number else None, edit_faults=lambda _: hang
    )
    runner = script(Wait(anyio.Event())) if stuck == "run" else script(Return("x"))
    before = time.monotonic()
    with anyio.fail_after(5):
        await ends_in(chat, runner, "program", {})
    assert time.monotonic() - before < 2
    assert len(chat.sends) == 1
    assert "handle.final.undelivered" in caplog.text


async def test_c16_an_engine_that_takes_its_time_to_end_costs_no_message(monkeypatch):
    monkeypatch.setattr(handle, "_GOODBYE_S", 0.1)

    async def body():
        try:
            yield StartedEvent("acme", TOKEN)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.2)

    chat = RecordingTransport()
    with anyio.fail_after(5):
        await ends_in(chat, Engine(body), "program", {})
    assert chat.texts == [f"`interrupted` · acme · 0s\n\n{LINE}"]


@pytest.mark.parametrize("when", ["before", "during"])
async def test_c16_a_cancelled_scope_is_as_good_as_a_cancelled_task(when):
    chat, runner = RecordingTransport(), Engine(stuck_between_events)
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            if when == "before":
                scope.cancel()
            group.start_soon(lambda: handling(chat, runner))
            await settle()
            scope.cancel()
    assert scope.cancelled_caught
    assert len(chat.texts) == 1
    assert chat.texts[0].startswith("`interrupted` · acme · 0s")
    runner.assert_closed()


async def test_c16_the_end_of_the_program_beats_nothing_the_user_asked_for():
    chat, closing = RecordingTransport(), anyio.Event()

    async def body():
        try:
            yield StartedEvent("acme", TOKEN)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await closing.wait()

    tasks = {}
    call = asyncio.create_task(handling(chat, Engine(body), running_tasks=tasks))
    await settle()
    next(iter(tasks.values())).cancel_requested.set()
    await settle()
    call.cancel()
    await settle()
    call.cancel()  # impatiently
    closing.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert chat.texts == [f"`cancelled` · acme · 0s\n\n{LINE}"]


async def test_every_moment_is_a_good_one_to_cancel():
    """Cancel after 0, 1, 2 … turns of the loop, until the run is too quick for it."""

    async def on_thread_known(token, done):
        await anyio.lowlevel.checkpoint()

    async def body():
        await anyio.lowlevel.checkpoint()
        yield StartedEvent("acme", TOKEN)
        await anyio.lowlevel.checkpoint()
        yield step()
        yield completed(answer="x")
        await anyio.lowlevel.checkpoint()

    shown = {"user": set(), "program": set()}
    for how, labels in shown.items():
        for turns in range(80):
            chat, runner, tasks = RecordingTransport(), Engine(body), {}
            call = asyncio.create_task(
                handling(chat, runner, running_tasks=tasks, on_thread_known=on_thread_known)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            if how == "program":
                call.cancel()
            for task in tasks.values():
                task.cancel_requested.set()
            with anyio.fail_after(5), contextlib.suppress(asyncio.CancelledError):
                await call
            runner.assert_closed()
            assert tasks == {}
            if chat.messages:
                labels.add(chat.texts[0].split()[0])
                # A first message that was cancelled on its way may have arrived nevertheless.
                assert len(chat.messages) == 1 or turns < 10
            else:
                assert (how, turns) == ("program", 0)  # it had not begun
    assert shown["user"] >= {"`cancelled`", "done"}
    assert shown["program"] >= {"`interrupted`", "done"}


# Real engines


@pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way")
async def test_an_engine_that_ignores_sigterm_is_killed(tmp_path):
    runner = fake_runner(tmp_path, ["deaf"], INIT, ["sleep", 60])
    chat, tasks, known = RecordingTransport(), {}, anyio.Event()

    async def on_thread_known(token, done):
        known.set()

    call = asyncio.create_task(
        handling(chat, runner, running_tasks=tasks, on_thread_known=on_thread_known)
    )
    with anyio.fail_after(10):
        await known.wait()
        before = time.monotonic()
        next(iter(tasks.values())).cancel_requested.set()
        await call
    assert 1.9 <= time.monotonic() - before < 4
    assert chat.texts[0].startswith("`cancelled` · acme · ")
    assert chat.texts[0].endswith("\n\n`acme --resume s1`")


@pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way")
async def test_a_resumed_engine_that_exits_silently_keeps_its_resume_line(tmp_path):
    chat = await handled(fake_runner(tmp_path, ["exit", 3]), resume=TOKEN, clock=lambda: 0.0)
    assert chat.texts == ["error · acme · 0s\n\nAcme failed (exit code 3)\n\n`acme --resume s1`"]


# All of it at once


class Storm:
    """Many messages at once, of every kind, with users and chats that interfere; seeded."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.chat = RecordingTransport(send_faults=self.fault, edit_faults=self.fault)
        self.calm = False
        self.tasks, self.order, self.ended = {}, {}, []
        self.finals = {}

    def fault(self, number):
        if self.calm:
            return None
        kind = self.random.random()
        if kind < 0.1:
            return Fault(refuse=True)
        if kind < 0.2:
            return Fault(error=OSError("down"), delay_s=self.random.random() / 100)
        return Fault(delay_s=self.random.random() / 50) if kind < 0.5 else None

    def runner(self, session):
        steps = []
        for number in range(self.random.randrange(6)):
            steps += [Emit(step(str(number))), Sleep(self.random.random() / 50)]
        ending = self.random.choice(["return", "raise", "hang", "nothing"])
        if ending == "return":
            steps.append(Return("x"))
        elif ending == "raise":
            steps.append(Raise(ValueError("boom")))
        elif ending == "hang":
            steps.append(Wait(anyio.Event()))
        return script(*steps, resume_value=session)

    async def run(self, job):
        session = job.resume_token.value
        self.order.setdefault(session, []).append(job.user_msg_id)
        reply = FinalCounter(self.chat, self.finals, job.user_msg_id)
        config = ExecBridgeConfig(reply, MarkdownPresenter(), self.random.random() < 0.5, None)
        await handle_message(
            config,
            runner=self.runner(session),
            incoming=IncomingMessage(1, job.user_msg_id, job.text),
            resume_token=job.resume_token,
            running_tasks=self.tasks,
            on_thread_known=self.scheduler.note_thread_known,
            progress_ref=job.progress_ref,
        )
        self.ended.append(job.user_msg_id)

    async def users(self):
        """Cancel at random, then whatever is left."""
        while True:
            await anyio.sleep(self.random.random() / 30)
            if self.tasks:
                self.random.choice([*self.tasks.values()]).cancel_requested.set()

    async def blow(self, count):
        jobs, taken = {}, set()
        async with anyio.create_task_group() as group:
            self.scheduler = ThreadScheduler(task_group=group, run_job=self.run)
            users = anyio.CancelScope()

            async def cancelling():
                with users:
                    await self.users()

            group.start_soon(cancelling)
            for number in range(count):
                session = f"s{self.random.randrange(12)}"
                ref = self.chat.place(f"p{number}")
                job = ThreadJob(1, number, "t", ResumeToken("acme", session), progress_ref=ref)
                jobs.setdefault(session, []).append(number)
                await self.scheduler.enqueue(job)
                if self.random.random() < 0.1:
                    await anyio.sleep(0.001)
                if self.random.random() < 0.1 and await self.scheduler.cancel_queued(
                    1, f"p{number}"
                ):
                    taken.add(number)
                    del self.chat.messages[ref]
            while len(self.ended) + len(taken) < count:  # noqa: ASYNC110
                await anyio.sleep(0.005)
            users.cancel()
        return {s: [n for n in numbers if n not in taken] for s, numbers in jobs.items()}


class FinalCounter:
    """Counts, per user message, how often a final text was delivered, and what came after it."""

    def __init__(self, chat, finals, number):
        self.chat, self.number = chat, number
        self.seen = finals.setdefault(number, {"tried": 0, "delivered": 0, "late": 0})

    def _note(self, text, delivered):
        if text.split()[0] in ("starting", "working"):
            self.seen["late"] += bool(self.seen["tried"])
        else:
            self.seen["tried"] += 1
            self.seen["delivered"] += delivered

    async def send(self, *, channel_id, message, options=None):
        ref = None
        try:
            ref = await self.chat.send(channel_id=channel_id, message=message, options=options)
        finally:
            self._note(message.text, ref is not None)
        return ref

    async def edit(self, *, ref, message, wait=True):
        edited = None
        try:
            edited = await self.chat.edit(ref=ref, message=message, wait=wait)
        finally:
            self._note(message.text, edited is not None)
        return edited


@pytest.mark.parametrize("seed", range(4))
async def test_fifty_runs_in_a_storm(seed, caplog):
    caplog.set_level(logging.CRITICAL, "takopi")  # thousands of lines say nothing here
    storm = Storm(seed)
    before = asyncio.all_tasks()
    with anyio.fail_after(20):
        expected = await storm.blow(50)
    assert asyncio.all_tasks() == before
    assert storm.tasks == {}
    assert {s: n for s, n in storm.order.items() if n} == {s: n for s, n in expected.items() if n}
    assert len(storm.finals) == sum(map(len, expected.values()))
    for seen in storm.finals.values():
        assert seen["delivered"] == 1 or (seen["delivered"] == 0 and 1 <= seen["tried"] <= 2)
        assert seen["late"] == 0
    assert sum(seen["delivered"] for seen in storm.finals.values()) > 30


async def test_the_end_of_the_program_in_a_storm(caplog):
    caplog.set_level(logging.CRITICAL, "takopi")
    storm = Storm(99)
    storm.calm = True
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            storm.scheduler = ThreadScheduler(task_group=group, run_job=storm.run)
            for number in range(50):
                token = ResumeToken("acme", f"s{number}")
                ref = storm.chat.place(f"p{number}")
                await storm.scheduler.enqueue(ThreadJob(1, number, "t", token, progress_ref=ref))
            await anyio.sleep(0.03)
            group.cancel_scope.cancel()
    assert storm.tasks == {}
    labels = {text.split()[0] for text in storm.chat.texts}
    assert "`interrupted`" in labels
    assert labels <= {"`interrupted`", "done", "error"}
    assert all(seen["delivered"] == 1 for seen in storm.finals.values())


# Delivery values


async def test_a_message_is_known_by_channel_and_id():
    one = MessageRef(1, 2, raw={"a": 1}, thread_id=3, sender_id=4)
    assert one == MessageRef(1, 2)
    assert hash(one) == hash(MessageRef(1, 2))
    assert one != MessageRef(1, 3)
    assert one != MessageRef("1", 2)
    assert {one: "x"}[MessageRef(1, 2)] == "x"


async def test_running_tasks_are_free_of_each_other():
    one, two = RunningTask(), RunningTask()
    one.done.set()
    assert not two.done.is_set()


async def test_a_reply_says_when_nothing_was_delivered(caplog):
    down = Fault(error=OSError("down"))
    reply = Reply(RecordingTransport(send_faults=lambda _: down), 1, 100, None)
    assert await reply.send(RenderedMessage("x"), notify=True) is None
    assert await reply.edit(MessageRef(1, 5), RenderedMessage("x"), wait=True) is None
    assert "transport.send_message.failed" in caplog.text


async def test_a_mock_runner_is_a_runner():
    runner = MockRunner(events=[step()], answer="fine", engine="acme", resume_value="s1")
    chat = await handled(runner)
    assert chat.texts == [f"done · acme · 0s · step 1\n\nfine\n\n{LINE}"]
