"""Two hundred runs at once, and everything that can go wrong with them; nothing is lost or left."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import sys
from dataclasses import dataclass

import anyio
import psutil
import pytest

from takopi.bridge.handle import ExecBridgeConfig, IncomingMessage, handle_message
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.scheduler import ThreadJob, ThreadScheduler
from takopi.engines import base
from takopi.engines.jsonl import AdapterRunner
from takopi.model import Action, ActionEvent, ResumeToken
from takopi.testing import Emit, Raise, RecordingTransport, Return, ScriptRunner, Sleep, Wait
from tests.support.adapters import adapter_from
from tests.support.fake import CLI, EVENTS, STEP, init, result
from tests.support.processes import gone

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way"),
]

RUNS = 200
FOLLOW_UP = 1000  # added to the number of the message it follows

# What becomes of a run that nobody ends: the word its final message begins with, and what it says.
REAL = {
    "answer": ("done", "answer {}."),
    "flood": ("done", "answer {}."),
    "garbage": ("done", "answer {}."),
    "heir": ("done", "answer {}."),
    "crash": ("error", "out of luck"),
    "killed": ("error", "SIGKILL"),
    "mute": ("error", ""),
    "stillborn": ("error", "exit code 3"),
    "missing": ("error", "no-such-engine"),
    "hang": None,
    "family": None,
    "deaf": None,
}
SCRIPTED = {
    "answer": ("done", "answer {}."),
    "anonymous": ("done", "answer {}."),
    "raise": ("error", "boom {}"),
    "group": ("error", "boom {}"),
    "mute": ("error", ""),
    "hang": None,
}
SESSIONLESS = {"stillborn", "missing", "anonymous"}
GOODBYES = {"`cancelled`", "`interrupted`"}


@dataclass(frozen=True)
class Plan:
    """What one message does. ``leaves``: who ends the run, if somebody does; perhaps ``early``."""

    number: int
    is_real: bool
    kind: str
    leaves: str | None
    early: bool
    notify: bool

    @property
    def ending(self):
        return (REAL if self.is_real else SCRIPTED)[self.kind]

    @property
    def session(self):
        return f"s{self.number % FOLLOW_UP}"


def planned(seed):
    """Every kind at least three times; whatever hangs must be ended by somebody."""
    random_ = random.Random(seed)
    plans = []
    for number in range(RUNS):
        is_real = number % 2 == 0
        kinds = [*(REAL if is_real else SCRIPTED)]
        turn = number // 2
        kind = kinds[turn % len(kinds)] if turn < 3 * len(kinds) else random_.choice(kinds[:4])
        hangs = (REAL if is_real else SCRIPTED)[kind] is None
        leaves = random_.choice(["user", "program"]) if hangs or random_.random() < 0.2 else None
        early, notify = random_.random() < 0.3, random_.random() < 0.5
        plans.append(Plan(number, is_real, kind, leaves, early, notify))
    return plans


class Line:
    """One run's way to a chat shared by all: slow, and it fails, but leaves a way for what counts.

    It does not fail twice in a row, nor for a final message that has no progress message to go to
    instead. A progress edit may fail as often as it likes. An edit whose confirmation is lost has
    happened.
    """

    def __init__(self, soak, number, is_shown):
        self.soak, self.number, self.is_shown = soak, number, is_shown
        self.random = random.Random(f"{soak.seed}-{number}")
        self.slow_s = 0.15 if self.random.random() < 0.2 else 0.01
        self.failed = False
        self.finals = self.late = 0

    async def send(self, *, channel_id, message, options=None):
        assert options.reply_to.message_id == self.number
        self._note(message)
        await self._trouble(counts=True, is_last=is_final(message) and not self.is_shown)
        ref = await self.soak.chat.send(channel_id=channel_id, message=message, options=options)
        self.soak.owners[ref] = self.number
        self.is_shown = True
        self._delivered(message)
        return ref

    async def edit(self, *, ref, message, wait=True):
        assert self.soak.owners[ref] == self.number
        self._note(message)
        lost = await self._trouble(counts=wait, may_lose=True)
        edited = await self.soak.chat.edit(ref=ref, message=message, wait=wait)
        if lost:
            raise TimeoutError("no confirmation")
        self._delivered(message)
        return edited

    async def _trouble(self, *, counts, may_lose=False, is_last=False):
        """Take a while, then fail or return whether to fail after the fact."""
        kind = self.random.random()
        await anyio.sleep(self.random.random() * self.slow_s)
        fails = kind < 0.3 and not (counts and self.failed) and not is_last
        if counts:
            self.failed = fails
        if fails and may_lose and kind < 0.1:
            return True
        if fails:
            raise OSError("the chat is down")
        return False

    def _note(self, message):
        if not is_final(message):
            self.late += self.finals

    def _delivered(self, message):
        self.finals += is_final(message)


def is_final(message):
    return message.text.split()[0] not in ("starting", "working", "queued")


class Soak:
    """All messages of one seed, the users who send and cancel them, and the chat they see."""

    def __init__(self, seed, folder):
        self.seed, self.folder = seed, folder
        self.random = random.Random(seed)
        self.plans = planned(seed)
        self.chat = RecordingTransport()
        self.owners, self.lines = {}, {}
        self.tasks, self.scopes = {}, {}
        self.arrived, self.ended = set(), set()
        self.gate = anyio.Event()
        self.at_once = 0
        adapter = f"""
command: {json.dumps(sys.executable)}
args: [-SE, {json.dumps(str(CLI))}, "${{run().prompt}}"]
"""
        self.engine = AdapterRunner(adapter_from(adapter + EVENTS), environ=os.environ)
        missing = adapter_from("command: no-such-engine\n" + EVENTS)
        self.missing = AdapterRunner(missing, environ=os.environ)

    # -- engines -----------------------------------------------------------------------------

    def runner(self, plan):
        if plan.kind == "missing":
            return self.missing
        return self.engine if plan.is_real else self.scripted(plan)

    def script(self, plan):
        """The steps of `tests/support/fake_cli.py`, in a file whose name is the prompt."""
        session, hold = init(plan.session), ["wait", str(self.folder / "gate")]
        answer, pid = result(f"answer {plan.number}."), str(self.folder / f"{plan.number}.pid")
        flood = '{"type": "step", "id": "%d", "title": "step %d"}'
        steps = {
            "answer": [session, hold, STEP, answer],
            "flood": [session, hold, ["repeat", 2000, flood], answer],
            "garbage": [session, hold, ["hex", "fffe007b0a"], ["print", "{"], answer],
            "heir": [session, hold, ["spawn", 1, pid], answer],
            "crash": [session, hold, STEP, ["err", "out of luck"], ["exit", 3]],
            "killed": [session, hold, ["kill", 9]],
            "mute": [session, hold, result("")],
            "stillborn": [["exit", 3]],
            "hang": [session, STEP, ["sleep", 60]],
            "family": [["spawn", 60, pid], ["stray", 60, pid + "2"], session, ["sleep", 60]],
            "deaf": [["deaf"], session, ["sleep", 60]],
        }
        path = self.folder / f"{plan.number}.json"
        path.write_text(json.dumps(steps.get(plan.kind, [])))
        return str(path)

    def scripted(self, plan):
        error = ValueError(f"boom {plan.number}")
        steps = [Wait(self.gate)]
        for number in range(self.random.randrange(8)):
            action = Action(f"a{number}", "note", f"step {number}")
            steps += [Emit(ActionEvent("acme", action, "completed", True))]
            steps += [Sleep(self.random.random() / 20)]
        ending = {
            "raise": [Raise(error)],
            "group": [Raise(ExceptionGroup("several", [error]))],
            "mute": [],
            "hang": [Wait(anyio.Event())],
        }
        steps += ending.get(plan.kind, [Return(f"answer {plan.number}.")])
        named = plan.kind != "anonymous"
        return ScriptRunner(
            steps, engine="acme", resume_value=plan.session, emit_session_start=named
        )

    # -- messages ----------------------------------------------------------------------------

    async def handle(self, plan, resume=None, progress_ref=None):
        async def on_thread_known(token, done):
            assert token.value == plan.session
            self.arrived.add(plan.number)
            await self.scheduler.note_thread_known(token, done)
            if plan.number < FOLLOW_UP and not plan.is_real and plan.kind == "answer":
                await self.follow_up(plan, token)

        line = self.lines[plan.number] = Line(self, plan.number, progress_ref is not None)
        text = self.script(plan) if plan.is_real else "go"
        with anyio.CancelScope() as self.scopes[plan.number]:
            await handle_message(
                ExecBridgeConfig(line, MarkdownPresenter(), plan.notify, 0.05),
                runner=self.runner(plan),
                incoming=IncomingMessage(1, plan.number, text),
                resume_token=resume,
                running_tasks=self.tasks,
                on_thread_known=on_thread_known,
                progress_ref=progress_ref,
            )
        self.ended.add(plan.number)

    async def follow_up(self, plan, token):
        """The user replies while the run goes on: the reply waits for its turn."""
        number = plan.number + FOLLOW_UP
        ref = self.chat.place(f"p{number}")
        self.owners[ref] = number
        await self.scheduler.enqueue(ThreadJob(1, number, "go", token, progress_ref=ref))

    async def run_job(self, job):
        first = self.plans[job.user_msg_id - FOLLOW_UP]
        assert first.number not in {self.owners[ref] for ref in self.tasks}
        plan = Plan(job.user_msg_id, False, "answer", None, False, first.notify)
        self.plans.append(plan)
        await self.handle(plan, job.resume_token, job.progress_ref)

    async def leave(self, plan):
        """The user cancels, if there is something to cancel; else the program ends."""
        if not plan.early:
            await self.gate.wait()
        await anyio.sleep(self.random.random() * 0.5)
        if plan.leaves == "user":
            for ref, task in self.tasks.items():
                if self.owners[ref] == plan.number:
                    task.cancel_requested.set()
                    return
        self.scopes[plan.number].cancel()

    async def open_gate(self):
        """When every run that will have a session has it, or is over."""
        waits_for = {p.number for p in self.plans if p.kind not in SESSIONLESS}
        while not waits_for <= self.arrived | self.ended:  # noqa: ASYNC110 (processes start)
            await anyio.sleep(0.01)
        self.at_once = RUNS - len(self.ended)
        (self.folder / "gate").touch()
        self.gate.set()

    async def run(self):
        first = list(self.plans)
        async with anyio.create_task_group() as group:
            self.scheduler = ThreadScheduler(task_group=group, run_job=self.run_job)
            for plan in first:
                group.start_soon(self.handle, plan)
            for plan in first:
                if plan.leaves is not None:
                    group.start_soon(self.leave, plan)
            group.start_soon(self.open_gate)

    # -- verdicts ----------------------------------------------------------------------------

    def assert_one_final_message_each(self):
        shown = {}
        for ref, message in self.chat.messages.items():
            shown.setdefault(self.owners[ref], []).append(message.text)
        assert sorted(shown) == sorted(plan.number for plan in self.plans)
        for plan in self.plans:
            line, texts = self.lines[plan.number], shown[plan.number]
            assert (plan, len(texts), line.finals, line.late) == (plan, 1, 1, 0)
            self.assert_ending(plan, texts[0])

    def assert_ending(self, plan, text):
        label = text.split()[0]
        if plan.leaves is not None and label in GOODBYES:
            return
        assert plan.ending is not None, (plan, text)
        expected, says = plan.ending
        assert label == expected, (plan, text)
        assert says.format(plan.number) in text, (plan, text)


def open_things():
    me = psutil.Process()
    return asyncio.all_tasks(), set(me.children(recursive=True)), me.num_fds()


def left_over(before):
    """What there is now and was not before; other tests' leavings may go meanwhile."""
    tasks, children, descriptors = open_things()
    return tasks - before[0], children - before[1], max(0, descriptors - before[2])


async def warm_up():
    """What a first run leaves for later ones: the loop's watchers, a thread that looks for trees."""
    adapter = adapter_from("command: sleep\nargs: ['60']\n" + EVENTS)
    run = AdapterRunner(adapter, environ=os.environ).start("go")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: anext(run.events))
        await anyio.sleep(0.05)
        await run.cancel()


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_hundred_runs_end_in_one_message_each_and_leave_nothing(seed, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "takopi")  # thousands of lines say nothing here
    await warm_up()
    before = open_things()
    soak = Soak(seed, tmp_path)
    with anyio.fail_after(60):
        await soak.run()
    assert soak.at_once > RUNS / 2
    soak.assert_one_final_message_each()
    assert len(soak.plans) > RUNS
    assert soak.tasks == {}
    assert {text.split()[0] for text in soak.chat.texts} == {"done", "error", *GOODBYES}

    pids = [int(path.read_text()) for path in (*tmp_path.glob("*.pid"), *tmp_path.glob("*.pid2"))]
    assert len(pids) > 3
    # An heir sleeps for a second, and its pipes are open for as long.
    with contextlib.suppress(TimeoutError), anyio.fail_after(5):
        while any(left_over(before)) or not all(map(gone, pids)):  # noqa: ASYNC110 (processes end)
            await anyio.sleep(0.02)
    assert left_over(before) == (set(), set(), 0)
    assert [pid for pid in pids if not gone(pid)] == []
    await assert_sessions_are_free(soak)


async def assert_sessions_are_free(soak):
    for plan in soak.plans:
        with anyio.fail_after(1):
            async with base.session_lock(ResumeToken("acme", plan.session)):
                pass
    soak.scheduler = None
    gc.collect()
    assert dict(base._locks) == {}
