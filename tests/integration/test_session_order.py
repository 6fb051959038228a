"""Whatever users do to the runs of a chat, whenever: each session does one thing at a time, in order.

Time is a fake: engines and the chat take as long as the test says, and nobody really waits.
"""

import sys
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

import anyio
import anyio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge import executor
from takopi.bridge.commands import RunRequest as Asked
from takopi.bridge.delivery import MessageRef
from takopi.bridge.execute import Executor
from takopi.bridge.executor import CommandPlace
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.router import AutoRouter, RunnerEntry
from takopi.bridge.runtime import RuntimeSpec
from takopi.bridge.vocabulary import (
    CancelRun,
    Command,
    FollowRun,
    Inbound,
    QueueRun,
    RunCommand,
    RunRequest,
    StartRun,
    Why,
)
from takopi.config.projects import ProjectsConfig
from takopi.events import EventFactory
from takopi.logs import suppress_logs
from takopi.model import ResumeToken
from takopi.plugins import COMMAND_GROUP
from takopi.testing import RecordingTransport, ScriptRunner
from tests.support.distributions import new_site

PLUGIN = """
class Ask:
    id = "ask"
    description = "for tests"
    async def handle(self, ctx):
        return await HANDLER(ctx)
BACKEND = Ask()
"""
WHY = Why("global", "none", "new")


class Clock:
    def __init__(self):
        self.now = 0.0
        self._waiting, self._numbers = [], count()

    async def sleep(self, seconds):
        if seconds:
            woken = anyio.Event()
            heappush(self._waiting, (self.now + seconds, next(self._numbers), woken))
            await woken.wait()

    async def advance(self):
        """Let everybody go on until all wait, then move to the next moment; whether there is one."""
        for _ in range(40):
            await anyio.lowlevel.checkpoint()
        if not self._waiting:
            return False
        self.now = self._waiting[0][0]
        while self._waiting and self._waiting[0][0] == self.now:
            heappop(self._waiting)[2].set()
        return True


@dataclass(frozen=True)
class Step:
    """What a user does after ``gap``; the rest is how long what comes of it takes."""

    kind: str
    gap: int
    target: int
    send: int = 0
    know: int = 0
    work: int = 0
    outcome: str = "done"


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ["start", "queue", "queue", "follow", "ask", "ask on", "cancel", "cancel", "stop"]
        ),
        st.integers(0, 3),
        st.integers(0, 8),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 4),
        st.sampled_from(["done", "done", "done", "boom", "no session", "no end"]),
    ),
    max_size=12,
)


class SlowChat(RecordingTransport):
    def __init__(self, world):
        super().__init__(first_message_id=1000)
        self.world = world

    async def send(self, **more):
        await self.world.clock.sleep(self.world.send_delay(more["options"].reply_to.message_id))
        return await super().send(**more)

    async def edit(self, **more):
        await self.world.clock.sleep(1 if more["wait"] else 0)
        return await super().edit(**more)


class Engine(ScriptRunner):
    """Takes no locks: that a session has one run at a time is the chat's doing."""

    def __init__(self, world):
        super().__init__([], engine="acme")
        self.world = world
        self.active = {}
        self.began = {}  # prompt -> session, in order
        self.finished = {}  # prompt -> when

    def enter(self, session, prompt):
        if session in self.active:
            self.world.violations.append(f"{prompt} while {self.active[session]} is in {session}")
        self.active[session] = prompt

    async def run(self, prompt, resume):
        if prompt in self.began:
            self.world.violations.append(f"{prompt} began twice")
        step = self.world.steps[int(prompt)]
        session = resume.value if resume else f"new-{prompt}"
        self.began[prompt] = session
        factory = EventFactory("acme")
        if resume:
            self.enter(session, prompt)
        try:
            for _ in range(5):  # no process is there at once
                await anyio.lowlevel.checkpoint()
            await self.world.clock.sleep(step.know)
            if step.outcome != "no session":
                if not resume:
                    self.enter(session, prompt)
                yield factory.started(ResumeToken("acme", session))
            await self.world.clock.sleep(step.work)
            self.finished[prompt] = self.world.clock.now
            if step.outcome == "boom":
                raise RuntimeError("boom")
            if step.outcome != "no end":
                yield factory.completed_ok(answer="done")
        finally:
            if self.active.get(session) == prompt:
                del self.active[session]


class AtOnce:
    """Instead of threads, which no fake clock waits for."""

    @staticmethod
    async def run_sync(function, **more):
        return function()


class Memory:
    """Counts what each run is said to have come to."""

    def __init__(self):
        self.open, self.closed = [], []

    def started(self, request, token, *, opens):
        self.open.append(request.prompt)

    def learned(self, request, token):
        pass

    def ended(self, request, heir):
        self.closed.append(request.prompt)

    def forget(self, at):
        pass


@dataclass
class World:
    """One chat, in which every message is handled in a task of its own, as it comes."""

    steps: list[Step]
    clock: Clock = field(default_factory=Clock)
    cancelled: dict[str, float] = field(default_factory=dict)  # when: -1 if it had not begun
    violations: list[str] = field(default_factory=list)

    def send_delay(self, message_id):
        number = int(str(message_id).partition("/")[0])
        return self.steps[number].send if number < len(self.steps) else 0

    async def play(self):
        self.engine, self.chat, self.memory = Engine(self), SlowChat(self), Memory()
        router = AutoRouter([RunnerEntry("acme", self.engine)], "acme")
        runtime = RuntimeSpec(router, ProjectsConfig()).to_runtime(config_path=None)

        async def at_once(context):
            await anyio.lowlevel.checkpoint()

        runtime.resolve_run_cwd_async = at_once
        cfg = ExecBridgeConfig(self.chat, MarkdownPresenter(), True, refresh_s=None)
        self.tasks = {}
        async with anyio.create_task_group() as group:

            async def begin(command):
                place = CommandPlace(
                    cfg=cfg, runtime=runtime, message=command.inbound.at, running_tasks=self.tasks
                )
                group.start_soon(self.executor.answer, command, place)

            self.executor = Executor(
                cfg, runtime, task_group=group, memory=self.memory, run_command=begin
            )
            sys.modules["ask_plugin"].HANDLER = self.ask
            group.start_soon(self.users, group)
            while await self.clock.advance():
                assert self.clock.now < 1000
            with anyio.fail_after(5):
                await self.executor.idle()
            self.queues = len(self.executor._scheduler._queues)
            group.cancel_scope.cancel()

    async def users(self, group):
        for number, step in enumerate(self.steps):
            await self.clock.sleep(step.gap)
            effect = self.effect(number, step)
            if effect is not None:
                group.start_soon(self.handle, effect)

    async def handle(self, effect):
        known = [run.asked for run in self.executor.runs]
        if isinstance(effect, CancelRun) and effect.asked in known:
            self.note_cancelled(str(effect.asked.message_id).partition("/")[0])
        await self.executor.execute((effect,))

    def note_cancelled(self, prompt):
        self.cancelled.setdefault(prompt, self.clock.now if prompt in self.engine.began else -1)

    def effect(self, number, step):
        at = MessageRef(1, number)
        request = RunRequest(Inbound(at, str(number)), str(number), "acme", None, WHY)
        runs = self.executor.runs
        aimed = runs[step.target % len(runs)] if runs else None
        match step.kind:
            case "start":
                return StartRun(request)
            case "queue":
                return QueueRun(request, ResumeToken("acme", f"s{step.target % 2}"))
            case "follow" if aimed is not None and aimed.resume is not None:
                return QueueRun(request, aimed.resume)
            case "follow" if aimed is not None:
                return FollowRun(request, aimed.asked, else_new=step.target % 3 > 0)
            case "ask" | "ask on":
                return RunCommand(Command(Inbound(at, "/ask"), "ask", str(number)))
            case "cancel" if aimed is not None:
                return CancelRun(aimed.asked)
            case "stop":
                self.stop(step)
        return None

    def stop(self, step):
        """End a command."""
        commands = [ref for ref in self.tasks if ref.message_id < len(self.steps)]
        if commands:
            command = commands[step.target % len(commands)]
            self.note_cancelled(str(command.message_id))
            self.tasks[command].cancel_requested.set()

    async def ask(self, ctx):
        step = self.steps[int(ctx.args_text)]
        resume = ResumeToken("acme", f"s{step.target % 2}") if step.kind == "ask on" else None
        mode = "emit" if step.target % 3 else "capture"
        result = await ctx.executor.run_one(Asked(ctx.args_text, resume=resume), mode=mode)
        well = step.outcome in ("done", "no session")
        if result.ok is not well and result.error != "cancelled":
            self.violations.append(f"{step} came to {result}")

    # -- what must be so afterwards

    def check(self):
        assert self.violations == []
        self.check_nothing_is_left()
        self.check_order()
        for prompt, when in self.cancelled.items():
            assert self.engine.finished.get(prompt, -1) <= when
        for prompt in self.memory.open:
            told_off = self.steps[int(prompt)].kind == "follow" and prompt not in self.engine.began
            assert prompt in self.engine.began or prompt in self.cancelled or told_off

    def check_nothing_is_left(self):
        assert self.executor.runs == ()
        assert self.tasks == {}
        assert self.queues == 0
        assert self.engine.active == {}
        assert sorted(self.memory.open) == sorted(self.memory.closed)
        assert len(set(self.memory.open)) == len(self.memory.open)
        for text in self.chat.texts:
            assert text.split(" · ")[0] not in ("queued", "starting", "working")

    def check_order(self):
        for session in set(self.engine.began.values()):
            order = [p for p, where in self.engine.began.items() if where == session]
            assert order == sorted(order, key=self.memory.open.index), f"order of {session}"


@given(STEPS)
@settings(deadline=None, max_examples=100)
def play(steps):
    world = World(steps)
    with suppress_logs("critical"):  # failing runs are part of it
        anyio.run(world.play)
    world.check()


def test_each_session_does_one_thing_at_a_time_in_order(tmp_path, monkeypatch):
    for site in new_site(tmp_path, monkeypatch):
        points = {COMMAND_GROUP: {"ask": "ask_plugin:BACKEND"}}
        site.install("ask", points, modules={"ask_plugin": PLUGIN})
        __import__("ask_plugin")
        monkeypatch.setattr(executor, "to_thread", AtOnce)
        play()
