"""Effects become runs and messages: in order, once each, and cancellable until they end."""

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from takopi.bridge.delivery import MessageRef
from takopi.bridge.execute import Executor
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.router import AutoRouter, RunnerEntry, unavailable_entry
from takopi.bridge.runtime import TransportRuntime
from takopi.bridge.vocabulary import (
    CancelRun,
    Command,
    EndChat,
    FollowRun,
    ForgetSessions,
    Inbound,
    QueueRun,
    Reply,
    RunCommand,
    RunRequest,
    StartRun,
    Why,
)
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.events import EventFactory
from takopi.model import ResumeToken, RunContext
from takopi.paths import get_run_base_dir
from takopi.testing import Fault, RecordingTransport, ScriptRunner

pytestmark = pytest.mark.anyio

WHY = Why("global", "none", "new")


class Engine(ScriptRunner):
    """An engine whose runs tell their session and end when the test says so, by prompt."""

    def __init__(self, *, sessions=True):
        super().__init__([], engine="acme")
        self.sessions = sessions
        self.known = {}
        self.free = {}
        self.began = []
        self.folders = {}

    def gate(self, gates, prompt):
        return gates.setdefault(prompt, anyio.Event())

    async def run(self, prompt, resume):
        self.began.append((prompt, resume.value if resume else None))
        self.folders[prompt] = get_run_base_dir()
        factory = EventFactory("acme")
        await self.gate(self.known, prompt).wait()
        if self.sessions:
            yield factory.started(resume or ResumeToken("acme", f"s-{prompt}"))
        await self.gate(self.free, prompt).wait()
        if prompt == "boom":
            raise RuntimeError("it broke")
        yield factory.completed_ok(answer=f"answer to {prompt}")


class Memory:
    def __init__(self):
        self.calls = []

    def started(self, request, token, *, opens):
        self.calls.append(("started", request.prompt, token, opens))

    def learned(self, request, token):
        self.calls.append(("learned", request.prompt, token.value))

    def ended(self, request, heir):
        self.calls.append(("ended", request.prompt, heir.prompt if heir else None))

    def forget(self, at):
        self.calls.append(("forget", at.message_id))


class Bench:
    def __init__(self, group, *, engine=None, transport=None, projects=None, **more):
        self.engine = engine or Engine()
        self.transport = transport or RecordingTransport(first_message_id=100)
        self.memory = Memory()
        router = AutoRouter(
            [RunnerEntry("acme", self.engine), unavailable_entry("other", "other is broken")],
            "acme",
        )
        self.executor = Executor(
            ExecBridgeConfig(self.transport, MarkdownPresenter(), True, refresh_s=None),
            TransportRuntime(router=router, projects=projects or ProjectsConfig()),
            task_group=group,
            memory=self.memory,
            **more,
        )

    async def do(self, *effects):
        await self.executor.execute(effects)
        await settle()

    async def let(self, *prompts, know=True, end=True):
        """Let runs tell their session and end."""
        for prompt in prompts:
            if know:
                self.engine.gate(self.engine.known, prompt).set()
            if end:
                self.engine.gate(self.engine.free, prompt).set()
            await settle()

    @property
    def texts(self):
        return [text.replace("  \n", "\n") for text in self.transport.texts]

    def shown(self, number):
        return {run.asked.message_id: run for run in self.executor.runs}[number]


async def settle():
    """Let everybody go on until all wait for something, and no thread is at work for them."""
    threads = anyio.to_thread.current_default_thread_limiter()
    quiet = 0
    while quiet < 2:
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        quiet = quiet + 1 if threads.borrowed_tokens == 0 else 0
        await anyio.sleep(0.001)


def asked(number):
    return MessageRef(1, number)


def request(number, prompt, engine="acme", context=None):
    return RunRequest(Inbound(asked(number), prompt), prompt, engine, context, WHY)


def start(number, prompt, **more):
    return StartRun(request(number, prompt, **more))


def queue(number, prompt, session="s1", **more):
    return QueueRun(request(number, prompt, **more), ResumeToken("acme", session))


def follow(number, prompt, behind, else_new=True):
    return FollowRun(request(number, prompt), asked(behind), else_new)


@pytest.fixture
async def bench():
    async with anyio.create_task_group() as group:
        yield Bench(group)
        group.cancel_scope.cancel()


# -- runs


async def test_a_new_run_shows_progress_and_its_answer(bench):
    await bench.do(start(1, "hi"))
    assert bench.shown(1).queued is False
    assert bench.texts == ["starting · acme · 0s"]
    await bench.let("hi", end=False)
    assert bench.shown(1).resume == ResumeToken("acme", "s-hi")
    assert bench.shown(1).shown == bench.transport.sends[0].ref
    await bench.let("hi")
    assert bench.texts == ["done · acme · 0s\n\nanswer to hi\n\n`acme resume s-hi`"]
    assert bench.executor.runs == ()
    assert bench.transport.sends[0].options.reply_to == asked(1)


async def test_the_memory_is_told_of_every_step(bench):
    await bench.do(start(1, "a"), queue(2, "b", "s9"), ForgetSessions(asked(3)))
    assert bench.memory.calls == [
        ("started", "a", None, True),
        ("started", "b", ResumeToken("acme", "s9"), False),
        ("forget", 3),
    ]
    await bench.let("a")
    assert bench.memory.calls[3:] == [("learned", "a", "s-a"), ("ended", "a", None)]


async def test_runs_of_one_session_wait_for_each_other(bench):
    await bench.do(queue(1, "a"), queue(2, "b"), queue(3, "c", "s2"))
    assert sorted(bench.engine.began) == [("a", "s1"), ("c", "s2")]
    assert bench.shown(2).queued
    assert "queued · acme · 0s" in bench.texts
    await bench.let("b", "a")
    assert bench.engine.began[2:] == [("b", "s1")]
    assert bench.texts[-1] == "done · acme · 0s\n\nanswer to b\n\n`acme resume s1`"


async def test_a_queued_message_becomes_the_run_s_progress(bench):
    await bench.do(queue(1, "a"))
    assert [sent.options.notify for sent in bench.transport.sends] == [False]
    assert bench.transport.edits[0].message.text == "starting · acme · 0s"
    await bench.let("a")
    assert len(bench.transport.sends) == 2
    assert bench.transport.sends[1].options.replace == bench.transport.sends[0].ref


async def test_a_new_session_is_busy_once_it_is_known(bench):
    await bench.do(start(1, "a"))
    await bench.let("a", end=False)
    await bench.do(queue(2, "b", "s-a"))
    assert bench.engine.began == [("a", None)]
    await bench.let("a")
    assert bench.engine.began == [("a", None), ("b", "s-a")]


async def test_messages_run_in_their_order_whichever_placeholder_comes_first():
    transport = RecordingTransport(send_faults=lambda n: Fault(0.05) if n == 1 else None)
    async with anyio.create_task_group() as group:
        bench = Bench(group, transport=transport)
        await bench.do(queue(1, "a"))
        group.start_soon(bench.executor.execute, (queue(2, "b"),))
        group.start_soon(bench.executor.execute, (queue(3, "c"),))
        await bench.let("c", "b", "a")
        with anyio.fail_after(5):
            await bench.executor.idle()
        assert [prompt for prompt, _ in bench.engine.began] == ["a", "b", "c"]
        assert not [text for text in bench.texts if "queued" in text]
        group.cancel_scope.cancel()


# -- following a run without a session


async def test_f30_followers_line_up_for_the_session_in_order(bench):
    await bench.do(start(1, "a"), follow(2, "b", 1), follow(3, "c", 1))
    assert bench.engine.began == [("a", None)]
    assert [run.queued for run in bench.executor.runs] == [False, True, True]
    await bench.let("a", end=False)
    await bench.do(queue(4, "d", "s-a"))
    await bench.let("a", "d", "c", "b")
    assert bench.engine.began == [("a", None), ("b", "s-a"), ("c", "s-a"), ("d", "s-a")]
    assert bench.executor.runs == ()


async def test_without_a_session_the_first_follower_opens_one_for_the_others(bench):
    bench.engine.sessions = False
    await bench.do(start(1, "a"), follow(2, "b", 1), follow(3, "c", 1))
    await bench.let("a", know=True)
    assert bench.engine.began == [("a", None), ("b", None)]
    assert ("ended", "a", "b") in bench.memory.calls
    bench.engine.sessions = True
    await bench.let("b", "c")
    assert bench.engine.began == [("a", None), ("b", None), ("c", "s-b")]


async def test_who_replies_to_a_run_without_a_session_is_told(bench):
    bench.engine.sessions = False
    await bench.do(start(1, "a"), follow(2, "b", 1, else_new=False))
    await bench.let("a")
    assert "resume token not ready yet; try replying to the final message." in bench.texts
    assert bench.engine.began == [("a", None)]
    assert bench.executor.runs == ()


async def test_a_reply_to_one_that_waits_runs_before_what_was_asked_later(bench):
    replies_to_b = follow(3, "c", 2, else_new=False)
    await bench.do(start(1, "a"), follow(2, "b", 1), replies_to_b, follow(4, "d", 1))
    await bench.let("a", "b", "c", "d")
    assert [prompt for prompt, _ in bench.engine.began] == ["a", "b", "c", "d"]
    assert {session for _, session in bench.engine.began[1:]} == {"s-a"}


async def test_one_that_is_told_it_waited_in_vain_cannot_be_cancelled():
    transport = RecordingTransport(edit_faults=lambda n: Fault(0.05))
    async with anyio.create_task_group() as group:
        bench = Bench(group, transport=transport)
        bench.engine.sessions = False
        await bench.do(start(1, "a"), *(follow(n, f"b{n}", 1, else_new=False) for n in (2, 3)))
        await bench.let("a")
        await bench.do(CancelRun(asked(3)))
        with anyio.fail_after(5):
            await bench.executor.idle()
        ended = [call[1] for call in bench.memory.calls if call[0] == "ended"]
        assert sorted(ended) == ["a", "b2", "b3"]
        assert sum("not ready yet" in text for text in bench.texts) == 2
        group.cancel_scope.cancel()


@pytest.mark.parametrize("session", [True, False])
async def test_a_run_that_ends_while_its_follower_is_announced(session):
    transport = RecordingTransport(send_faults=lambda n: Fault(0.05) if n == 1 else None)
    async with anyio.create_task_group() as group:
        bench = Bench(group, transport=transport)
        bench.engine.sessions = session
        await bench.do(start(1, "a"))
        group.start_soon(bench.executor.execute, (follow(2, "b", 1),))
        await bench.let("a")
        await anyio.sleep(0.1)
        assert bench.engine.began[1:] == [("b", "s-a" if session else None)]
        await bench.let("b")
        await bench.executor.idle()
        group.cancel_scope.cancel()


async def test_who_is_announced_late_follows_the_one_that_took_over():
    transport = RecordingTransport(send_faults=lambda n: Fault(0.05) if n == 2 else None)
    async with anyio.create_task_group() as group:
        bench = Bench(group, transport=transport)
        bench.engine.sessions = False
        await bench.do(start(1, "a"), follow(2, "b", 1))
        group.start_soon(bench.executor.execute, (follow(3, "c", 1),))
        await bench.let("a")
        bench.engine.sessions = True
        await anyio.sleep(0.1)
        assert bench.engine.began == [("a", None), ("b", None)]
        await bench.let("b", "c")
        assert bench.engine.began[2:] == [("c", "s-b")]
        group.cancel_scope.cancel()


# -- cancelling


async def test_a_running_one_is_cancelled(bench):
    await bench.do(start(1, "a"))
    await bench.let("a", end=False)
    await bench.do(CancelRun(asked(1)))
    assert bench.texts == ["`cancelled` · acme · 0s\n\n`acme resume s-a`"]
    assert bench.executor.runs == ()


async def test_one_that_has_not_begun_never_does(bench):
    await bench.do(start(1, "a"), CancelRun(asked(1)))
    assert bench.engine.began == []
    assert bench.texts == ["`cancelled` · acme · 0s"]


async def test_one_whose_first_message_is_on_its_way_is_cancelled():
    async with anyio.create_task_group() as group:
        slow = RecordingTransport(send_faults=lambda n: Fault(0.05) if n == 0 else None)
        bench = Bench(group, transport=slow)
        await bench.do(start(1, "a"))
        await bench.do(CancelRun(asked(1)))
        await bench.executor.idle()
        assert len(bench.texts) == 1
        assert bench.texts[0].startswith("`cancelled` · acme")
        group.cancel_scope.cancel()


async def test_f28_a_queued_one_is_taken_back(bench):
    await bench.do(queue(1, "a"), queue(2, "b"), CancelRun(asked(2)))
    assert bench.texts[1] == "`cancelled` · acme · 0s"
    await bench.let("a")
    assert bench.engine.began == [("a", "s1")]
    assert bench.executor.runs == ()


async def test_f28_the_head_of_the_queue_behind_a_new_session_is_taken_back(bench):
    await bench.do(start(1, "a"))
    await bench.let("a", end=False)
    await bench.do(queue(2, "b", "s-a"))
    await bench.do(CancelRun(asked(2)))
    await bench.let("a")
    assert bench.engine.began == [("a", None)]


async def test_a_follower_is_taken_back(bench):
    await bench.do(start(1, "a"), follow(2, "b", 1), follow(3, "c", 1), CancelRun(asked(2)))
    await bench.let("a", "c")
    assert bench.engine.began == [("a", None), ("c", "s-a")]
    assert "`cancelled` · acme · 0s" in bench.texts


async def test_one_that_is_over_cannot_be_cancelled(bench):
    await bench.do(start(1, "a"))
    await bench.let("a")
    before = bench.texts
    await bench.do(CancelRun(asked(1)), CancelRun(asked(77)))
    assert bench.texts == before


async def test_one_is_taken_back_once_however_often_that_is_asked():
    transport = RecordingTransport(edit_faults=lambda n: Fault(0.05))
    async with anyio.create_task_group() as group:
        bench = Bench(group, transport=transport)
        await bench.do(queue(1, "a"))
        await bench.do(queue(2, "b"))
        for _ in range(2):
            group.start_soon(bench.executor.execute, (CancelRun(asked(2)),))
        await bench.let("a")  # its turn comes while it is taken back
        with anyio.fail_after(5):
            await bench.executor.idle()
        assert bench.engine.began == [("a", "s1")]
        assert [call for call in bench.memory.calls if call[:2] == ("ended", "b")] == [
            ("ended", "b", None)
        ]
        assert bench.texts.count("`cancelled` · acme · 0s") == 1
        group.cancel_scope.cancel()


# -- what goes wrong


async def test_an_unavailable_engine_says_why(bench):
    await bench.do(start(1, "a", engine="other"))
    assert bench.texts == ["error · other · 0s\n\nerror:\nother is broken"]
    assert bench.executor.runs == ()


async def test_an_engine_that_is_gone_when_its_turn_comes(bench):
    await bench.do(start(1, "a", engine="gone"))
    assert bench.texts == ["error:\nengine 'gone' is unavailable: engine not configured"]


async def test_a_failing_run_sets_the_next_free(bench):
    await bench.do(queue(1, "boom"), queue(2, "b"))
    await bench.let("boom", "b")
    assert "it broke" in bench.texts[0]
    assert bench.engine.began == [("boom", "s1"), ("b", "s1")]


async def test_a_chat_that_takes_no_messages_runs_them_nevertheless():
    async with anyio.create_task_group() as group:
        deaf = RecordingTransport(send_faults=lambda n: Fault(refuse=True))
        bench = Bench(group, transport=deaf)
        await bench.do(start(1, "a"), follow(2, "b", 1), queue(3, "c", "s-a"))
        await bench.let("a", "b", "c")
        assert sorted(prompt for prompt, _ in bench.engine.began) == ["a", "b", "c"]
        with anyio.fail_after(1):
            await bench.executor.idle()
        group.cancel_scope.cancel()


async def test_a_run_works_in_its_project_and_says_so(tmp_path):
    z80 = ProjectConfig("Z80", tmp_path, tmp_path / ".worktrees")
    async with anyio.create_task_group() as group:
        bench = Bench(group, projects=ProjectsConfig({"z80": z80}))
        await bench.do(queue(1, "a", context=RunContext("z80")))
        await bench.let("a")  # the folder is found in a thread
        with anyio.fail_after(5):
            await bench.executor.idle()
        assert bench.engine.folders == {"a": tmp_path}
        assert "`ctx: Z80`\n`acme resume s1`" in bench.texts[0]
        await bench.do(queue(2, "b"))
        assert bench.engine.folders["b"] is None
        group.cancel_scope.cancel()


async def test_a_project_that_is_gone_is_an_error(bench):
    await bench.do(start(1, "a", context=RunContext("gone")))
    with anyio.fail_after(5):
        await bench.executor.idle()
    assert len(bench.texts) == 1
    assert bench.texts[0].startswith("error:\n")
    assert "gone" in bench.texts[0]
    assert bench.engine.began == []


async def test_the_end_of_the_program_says_good_bye():
    transport = RecordingTransport()
    async with anyio.create_task_group() as group:
        bench = Bench(group, transport=transport)
        await bench.do(start(1, "a"), queue(2, "b", "s2"))
        await bench.let("a", "b", end=False)
        group.cancel_scope.cancel()
    assert len(transport.texts) == 2
    assert all(text.startswith("`interrupted` · acme") for text in transport.texts)


# -- reload


def reloaded(bench, *entries, projects=None):
    router = AutoRouter(entries, entries[0].engine)
    bench.executor._runtime.update(router=router, projects=projects or ProjectsConfig())


async def test_a_reload_leaves_runs_alone_and_what_waits_uses_it(bench):
    await bench.do(queue(1, "a"), queue(2, "b"), start(3, "c"), follow(4, "d", 3))
    newer = Engine()
    reloaded(bench, RunnerEntry("acme", newer))
    assert bench.engine.began == [("a", "s1"), ("c", None)]
    await bench.let("a", "c")
    for prompt in "bd":
        newer.gate(newer.known, prompt).set()
        newer.gate(newer.free, prompt).set()
    await settle()
    assert newer.began == [("b", "s1"), ("d", "s-c")]
    assert bench.engine.began == [("a", "s1"), ("c", None)]
    assert bench.executor.runs == ()
    assert all(text.startswith("done") for text in bench.texts)


async def test_a_reload_that_takes_the_engine_away_is_told_to_what_waits(bench):
    await bench.do(queue(1, "a"), queue(2, "b"), queue(3, "c"))
    reloaded(bench, unavailable_entry("other", "broken"))
    await bench.let("a", end=False)
    assert "working · acme · 0s\n\n`acme resume s1`" in bench.texts
    await bench.let("a")
    gone = "error:\nengine 'acme' is unavailable: engine not configured"
    assert bench.texts.count(gone) == 2
    assert "done · acme · 0s\n\nanswer to a\n\n`acme resume s1`" in bench.texts
    assert len(bench.texts) == 3  # in the place of their placeholders
    assert bench.executor.runs == ()
    reloaded(bench, RunnerEntry("acme", bench.engine))
    await bench.do(queue(4, "d"))
    assert bench.engine.began[1:] == [("d", "s1")]


async def test_a_reload_that_takes_the_project_away_is_told_to_what_waits(tmp_path):
    z80 = ProjectConfig("Z80", tmp_path, tmp_path / ".worktrees")
    async with anyio.create_task_group() as group:
        bench = Bench(group, projects=ProjectsConfig({"z80": z80}))
        await bench.do(queue(1, "a"), queue(2, "b", context=RunContext("z80", "x")))
        assert bench.texts[1] == "queued · acme · 0s\n\n`ctx: Z80 @x`"
        reloaded(bench, RunnerEntry("acme", bench.engine))
        await bench.let("a")
        with anyio.fail_after(5):
            await bench.executor.idle()
        assert "error:\nunknown project 'z80'" in bench.texts
        assert bench.engine.began == [("a", "s1")]
        group.cancel_scope.cancel()


# -- small effects


async def test_a_reply_is_silent(bench):
    await bench.do(Reply(asked(5), "hello"))
    (sent,) = bench.transport.sends
    assert (sent.message.text, sent.options.notify) == ("hello", False)
    assert sent.options.reply_to == asked(5)


async def test_the_end_of_the_chat_is_reported():
    ended = []
    async with anyio.create_task_group() as group:
        await Bench(group, end_chat=lambda: ended.append(True)).do(EndChat())
    assert ended == [True]


async def test_a_plugin_s_command_is_handed_over():
    seen = []

    async def handle(command):
        seen.append(command)

    command = Command(Inbound(asked(1), "/deploy x"), "deploy", "x")
    async with anyio.create_task_group() as group:
        await Bench(group, run_command=handle).do(RunCommand(command))
        bench = Bench(group)
        await bench.do(RunCommand(command))
    assert seen == [command]
    assert bench.texts == ["error:\nthis chat has no plugin commands; `/deploy` was not run"]
