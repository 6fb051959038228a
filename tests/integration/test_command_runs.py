"""The runs of plugins' commands are runs of their chat: they wait, are waited for, and remembered."""

import sys

import anyio
import anyio.lowlevel
import pytest

from takopi.bridge import executor
from takopi.bridge.commands import RunRequest as Asked
from takopi.bridge.commands import get_command
from takopi.bridge.delivery import MessageRef
from takopi.bridge.execute import Executor
from takopi.bridge.executor import CommandPlace
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.plan import plan
from takopi.bridge.router import AutoRouter, RunnerEntry, unavailable_entry
from takopi.bridge.runtime import RuntimeSpec
from takopi.bridge.vocabulary import (
    ActiveRun,
    Cancel,
    CancelRun,
    Command,
    FollowRun,
    Inbound,
    Prompt,
    QueueRun,
    RunCommand,
    RunRequest,
    Scope,
    Snapshot,
    Why,
)
from takopi.config.projects import ProjectsConfig
from takopi.events import EventFactory
from takopi.model import ResumeToken
from takopi.plugins import COMMAND_GROUP
from takopi.telegram.sessions import ChatSessions
from takopi.terminal.chat import ChatMemory
from takopi.testing import Fault, RecordingTransport, ScriptRunner
from tests.support.distributions import new_site

pytestmark = pytest.mark.anyio

PLUGIN = """
class Ask:
    id = "ask"
    description = "for tests"
    async def handle(self, ctx):
        return await HANDLER(ctx)
BACKEND = Ask()
"""
AT = MessageRef(1, 7, sender_id=42)
WHY = Why("global", "none", "new")


class Engine(ScriptRunner):
    """An engine whose runs tell their session and end when the test says so, by prompt."""

    def __init__(self):
        super().__init__([], engine="acme")
        self.known, self.free, self.began = {}, {}, []
        self.sessions = True

    async def run(self, prompt, resume):
        self.began.append((prompt, resume.value if resume else None))
        factory = EventFactory("acme")
        await self.known.setdefault(prompt, anyio.Event()).wait()
        if self.sessions:
            yield factory.started(resume or token(f"s-{prompt}"))
        await self.free.setdefault(prompt, anyio.Event()).wait()
        yield factory.completed_ok(answer=f"answer to {prompt}")


class Room:
    """A chat with a command, whose handler tests give."""

    def __init__(self, group, memory=None, **faults):
        self.group = group
        self.engine = Engine()
        self.transport = RecordingTransport(first_message_id=100, **faults)
        self.memory = memory or ChatMemory()
        router = AutoRouter(
            [RunnerEntry("acme", self.engine), unavailable_entry("broken", "it is broken")], "acme"
        )
        self.spec = RuntimeSpec(router, ProjectsConfig())
        self.runtime = self.spec.to_runtime(config_path=None)
        self.cfg = ExecBridgeConfig(self.transport, MarkdownPresenter(), True, refresh_s=None)
        self.tasks = {}
        self.executor = Executor(
            self.cfg, self.runtime, task_group=group, memory=self.memory, run_command=self.begin
        )
        self.results = []

    async def begin(self, command):
        place = CommandPlace(
            cfg=self.cfg, runtime=self.runtime, message=AT, running_tasks=self.tasks
        )
        self.group.start_soon(self.executor.answer, command, place)

    async def ask(self, *prompts, mode="emit", resume=None, engine=None):
        """A command that asks for these runs at once."""

        async def handler(ctx):
            requests = [Asked(prompt, resume=resume, engine=engine) for prompt in prompts]
            self.results += await ctx.executor.run_many(requests, mode=mode, parallel=True)

        sys.modules["ask_plugin"].HANDLER = handler
        await self.do(RunCommand(Command(Inbound(AT, "/ask"), "ask", "")))

    async def do(self, *effects):
        await self.executor.execute(effects)
        await settle()

    async def say(self, text, number=8, **more):
        """A user's message, planned with what the chat knows; its effects."""
        inbound = Inbound(MessageRef(1, number, sender_id=42), text, **more)
        effects = plan(Prompt(inbound), self.snapshot())
        await self.do(*effects)
        return effects

    def snapshot(self):
        scope = Scope(None, dict(self.memory.sessions))
        return Snapshot(spec=self.spec, runs=self.executor.runs, chat=scope)

    async def let(self, *prompts, know=True, end=True):
        """Let runs tell their session and end."""
        for prompt in prompts:
            if know:
                self.engine.known.setdefault(prompt, anyio.Event()).set()
            if end:
                self.engine.free.setdefault(prompt, anyio.Event()).set()
            await settle()

    @property
    def texts(self):
        return [text.replace("  \n", "\n") for text in self.transport.texts]


async def settle():
    """Let everybody go on until all wait for something."""
    for _ in range(3):
        for _ in range(60):
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.001)


def token(value="s1"):
    return ResumeToken("acme", value)


def queue(number, prompt, session="s1"):
    inbound = Inbound(MessageRef(1, number), prompt)
    return QueueRun(RunRequest(inbound, prompt, "acme", None, WHY), token(session))


class AtOnce:
    """Instead of threads, which `settle` does not wait for."""

    @staticmethod
    async def run_sync(function, **more):
        return function()


@pytest.fixture
def site(tmp_path, monkeypatch):
    for site in new_site(tmp_path, monkeypatch):
        points = {COMMAND_GROUP: {"ask": "ask_plugin:BACKEND"}}
        site.install("ask", points, modules={"ask_plugin": PLUGIN})
        get_command("ask")
        monkeypatch.setattr(executor, "to_thread", AtOnce)
        yield


@pytest.fixture
async def room(site):
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            found = Room(group)
            yield found
            group.cancel_scope.cancel()


MODES = pytest.mark.parametrize("mode", ["emit", "capture"])


# -- waiting for each other


@MODES
async def test_a_message_waits_for_the_session_of_a_command_s_run(room, mode):
    await room.ask("a", mode=mode)
    await room.let("a", end=False)
    await room.do(queue(8, "b", "s-a"))
    assert room.engine.began == [("a", None)]
    assert "queued · acme · 0s" in room.texts
    await room.let("a", "b")
    assert room.engine.began == [("a", None), ("b", "s-a")]
    assert room.executor.runs == ()


@MODES
async def test_a_command_s_run_waits_for_its_session_in_turn(room, mode):
    await room.do(queue(1, "a"), queue(2, "b"))
    await room.ask("c", mode=mode, resume=token())
    await room.do(queue(9, "d"))
    assert room.texts.count("queued · acme · 0s") == (3 if mode == "emit" else 2)
    await room.let("d", "c", "b", "a")
    assert [prompt for prompt, _ in room.engine.began] == ["a", "b", "c", "d"]
    assert {session for _, session in room.engine.began} == {"s1"}
    (result,) = room.results
    assert (result.ok, result.answer, result.resume) == (True, "answer to c", token())
    assert room.executor.runs == ()
    assert room.tasks == {}


async def test_a_queued_run_of_a_command_becomes_its_progress(room):
    await room.ask("a", resume=token())
    assert room.texts == ["starting · acme · 0s"]
    assert len(room.transport.sends) == 1
    assert room.transport.sends[0].message.text == "queued · acme · 0s"
    assert room.transport.sends[0].options.notify is False
    await room.let("a")
    assert room.transport.sends[1].options.replace == room.transport.sends[0].ref
    assert room.texts == ["done · acme · 0s\n\nanswer to a\n\n`acme resume s1`"]


async def test_runs_of_one_command_wait_for_each_other_where_they_share_a_session(room):
    await room.ask("a", "b", "c", mode="capture", resume=token())
    for number, prompt in enumerate("abc"):
        assert len(room.engine.began) == number + 1
        await room.let(room.engine.began[-1][0])
        assert prompt in [began for began, _ in room.engine.began]
    assert [result.answer for result in room.results] == [f"answer to {p}" for p in "abc"]


async def test_without_its_placeholder_a_run_waits_all_the_same(site):
    async with anyio.create_task_group() as group:
        room = Room(group, send_faults=lambda number: Fault(refuse=True))
        await room.do(queue(1, "a"))
        await room.ask("b", resume=token())
        await room.let("b")
        assert room.engine.began == [("a", "s1")]
        await room.let("a")
        assert room.engine.began == [("a", "s1"), ("b", "s1")]
        assert room.results[0].ok
        group.cancel_scope.cancel()


# -- remembering


@MODES
async def test_the_session_of_a_command_s_run_is_remembered(room, mode):
    await room.ask("a", mode=mode)
    await room.let("a")
    assert room.memory.sessions["acme"].token == token("s-a")
    (effect,) = await room.say("go on")
    assert effect.token == token("s-a")
    assert room.engine.began[1:] == [("go on", "s-a")]


@MODES
async def test_the_session_of_a_command_s_run_is_stored_where_chats_are(site, tmp_path, mode):
    files = (tmp_path / "takopi.toml", tmp_path, ProjectsConfig)
    async with anyio.create_task_group() as group:
        room = Room(group, ChatSessions(*files))
        await room.ask("a", mode=mode)
        await room.let("a")
        group.cancel_scope.cancel()
    after_restart = ChatSessions(*files).scope(MessageRef(1, 99, sender_id=42))
    assert after_restart.sessions["acme"].token == token("s-a")


@MODES
async def test_f30_a_message_waits_for_a_command_s_run_that_opens_a_session(room, mode):
    await room.ask("a", mode=mode)
    (effect,) = await room.say("b")
    assert isinstance(effect, FollowRun)
    assert room.engine.began == [("a", None)]
    await room.let("a", "b")
    assert room.engine.began == [("a", None), ("b", "s-a")]


async def test_f30_a_message_goes_on_without_a_command_s_run_that_told_no_session(room):
    room.engine.sessions = False
    await room.ask("a")
    await room.say("b")
    await room.let("a")
    assert room.engine.began == [("a", None), ("b", None)]
    assert room.memory.sessions["acme"].run == MessageRef(1, 8)


async def test_a_run_that_told_no_session_is_not_gone_on_with(room):
    room.engine.sessions = False
    await room.ask("a")
    await room.let("a")
    assert room.memory.sessions == {}


async def test_a_reply_to_a_command_s_run_is_next_in_its_session(room):
    await room.ask("a", "b")
    first, second = room.executor.runs
    assert {first.shown, second.shown} == set(room.transport.messages)
    (effect,) = await room.say("after b", reply_to=second.shown)
    assert effect.behind == second.asked
    await room.let("a", "b")
    assert room.engine.began[2:] == [("after b", "s-b")]


async def test_who_replies_to_a_command_s_run_without_a_session_is_told(room):
    room.engine.sessions = False
    await room.ask("a")
    (run,) = room.executor.runs
    await room.say("b", reply_to=run.shown)
    await room.let("a")
    assert "resume token not ready yet; try replying to the final message." in room.texts
    assert room.engine.began == [("a", None)]
    assert room.executor.runs == ()


# -- cancelling


@MODES
async def test_a_command_s_run_that_waits_is_taken_back(room, mode):
    await room.do(queue(1, "a"))
    await room.ask("b", mode=mode, resume=token())
    (run,) = [run for run in room.executor.runs if run.command is not None]
    silent = mode == "capture"
    assert (run.queued, run.command, run.silent, run.shown is None) == (True, AT, silent, silent)
    await room.do(CancelRun(run.asked))
    (result,) = room.results
    assert (result.ok, result.error, result.resume) == (False, "cancelled", token())
    shown = room.texts if mode == "emit" else [room.texts[0], result.message.text]
    assert shown[1] == "`cancelled` · acme · 0s"
    await room.let("a")
    assert room.engine.began == [("a", "s1")]
    await room.do(queue(9, "c"))
    assert room.engine.began[-1] == ("c", "s1")


async def test_a_command_s_run_that_waits_is_found_by_its_message(room):
    await room.do(queue(1, "a"))
    await room.ask("b", resume=token())
    (shown,) = [ref for ref in room.tasks if ref != AT]
    assert room.tasks[shown].resume == token()
    assert room.tasks[shown].resume_ready.is_set()
    room.tasks[shown].cancel_requested.set()
    await settle()
    assert room.results[0].error == "cancelled"
    assert room.tasks == {}


@MODES
async def test_what_waits_ends_with_its_command(room, mode):
    await room.do(queue(1, "a"))
    await room.ask("b", "c", mode=mode, resume=token())
    room.tasks[AT].cancel_requested.set()
    await settle()
    cancelled = [text for text in room.texts if text == "`cancelled` · acme · 0s"]
    assert len(cancelled) == (2 if mode == "emit" else 0)
    assert room.texts[-1] == "cancelled"
    assert [run.asked.message_id for run in room.executor.runs] == [1]
    assert room.tasks == {}
    await room.let("a")
    assert room.engine.began == [("a", "s1")]


@MODES
async def test_a_running_one_is_cancelled_by_its_chat(room, mode):
    await room.ask("a", mode=mode)
    await room.let("a", end=False)
    (run,) = room.executor.runs
    assert not run.queued
    await room.do(CancelRun(run.asked))
    assert room.results[0].error == "cancelled"
    assert room.executor.runs == ()


async def test_a_request_between_its_turn_and_its_run_is_obeyed(room, monkeypatch):
    """Finding the folder may take git a while."""
    asked, free = anyio.Event(), anyio.Event()

    async def slowly(context):
        asked.set()
        await free.wait()

    monkeypatch.setattr(room.runtime, "resolve_run_cwd_async", slowly)
    await room.ask("a", resume=token())
    await asked.wait()
    (shown,) = [ref for ref in room.tasks if ref != AT]
    room.tasks[shown].cancel_requested.set()
    await settle()
    free.set()
    await settle()
    assert room.results[0].error == "cancelled"
    assert room.engine.began == []
    assert room.texts == ["`cancelled` · acme · 0s\n\n`acme resume s1`"]


async def test_a_command_that_is_listed_stands_for_its_runs(room):
    await room.ask("a", "b")
    snapshot = room.snapshot()
    inbound = Inbound(MessageRef(1, 8, sender_id=42), "/cancel")
    (effect,) = plan(Cancel(inbound), snapshot)
    assert effect.text == "reply to the progress message to cancel."
    runs = (*snapshot.runs, ActiveRun(AT, "/ask"))
    listed = Snapshot(spec=snapshot.spec, runs=runs, numbered=True)
    assert plan(Cancel(inbound), listed) == (CancelRun(AT),)


# -- what goes wrong


@pytest.mark.parametrize("engine", ["broken", "nobody"])
async def test_a_queued_run_that_cannot_begin_says_so_in_its_place(room, engine):
    await room.ask("a", resume=ResumeToken(engine, "s1"))
    assert len(room.transport.sends) == 1
    (text,) = room.texts
    (result,) = room.results
    assert "error" in text
    assert result.error in text
    assert "queued" not in text
    assert ("nobody" in room.memory.sessions) is False
    assert room.tasks == {}
    assert room.executor.runs == ()


async def test_the_end_of_the_program_ends_what_waits(site):
    async with anyio.create_task_group() as group:
        room = Room(group)
        await room.do(queue(1, "a"))
        await room.ask("b", "c", resume=token())
        group.cancel_scope.cancel()
    assert room.executor.runs[0].asked.message_id == 1
    assert len(room.executor.runs) == 1
    assert room.tasks == {}
