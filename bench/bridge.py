"""The bridge: what showing an event costs, and how long fifty busy runs hold up an idle chat."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import anyio
import anyio.lowlevel

from bench.measure import Row, medians
from bench.processes import body, in_own_session, runner_of
from takopi.bridge.delivery import ChannelId, MessageRef, RenderedMessage, SendOptions
from takopi.bridge.handle import ExecBridgeConfig, IncomingMessage, handle_message
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.progress import ProgressTracker
from takopi.collector import settle_collector
from takopi.engines.base import Runner
from takopi.engines.jsonl import AdapterRunner
from takopi.model import (
    Action,
    ActionEvent,
    ActionPhase,
    CompletedEvent,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)
from takopi.testing import RecordingTransport, Return, ScriptRunner

_BURST = 100
_EVERY_S = 0.02  # between messages of the idle chat
_TARGET_MS = 10.0
_SPACING_S = 0.1  # between the edits of a run, as in a terminal; Telegram takes fewer
_LINES = 5_000  # of a busy run: as many steps as a long one has, namely five hundred
_AGAIN = 20  # and again, for more than it gets rid of while it is watched


def measure(quick: bool) -> list[Row]:
    """Every row of the bridge."""
    rows = _cost(400 if quick else 1_000, 3 if quick else 21)
    return [*rows, *_company(5 if quick else 50, 0.3 if quick else 3.0, 1 if quick else 3)]


# -- an event ------------------------------------------------------------------------------------


class _Steps(ScriptRunner):
    """Gives events, and after every ``burst`` of them two turns of the loop: an edit takes that."""

    def __init__(self, events: list[ActionEvent], burst: int) -> None:
        super().__init__([])
        self._events = events
        self._burst = burst

    async def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        for number, event in enumerate(self._events, 1):
            yield event
            if number % self._burst == 0:
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
        yield CompletedEvent(self.engine, True, "done", resume)


def _cost(count: int, rounds: int) -> list[Row]:
    """From an event to an edit in the transport's hands, against making the edit's text."""
    phases: tuple[tuple[ActionPhase, bool | None], ...] = (("started", None), ("completed", True))
    events = [
        ActionEvent("mock", Action(str(i), "command", f"pytest -q tests/test_{i}.py -x"), phase, ok)
        for i in range(count // 2)
        for phase, ok in phases
    ]

    def render() -> None:
        tracker, presenter = ProgressTracker(engine="mock"), MarkdownPresenter()
        for event in events:
            tracker.note_event(event)
            presenter.render_progress(tracker.snapshot(), elapsed_s=61.0)

    def show(burst: int) -> Callable[[], object]:
        def shown() -> None:
            chat = RecordingTransport()
            anyio.run(_handle, chat, _Steps(events, burst))
            if not 0 <= len(chat.edits) - len(events) // burst <= 2:
                raise RuntimeError(f"{len(events)} events became {len(chat.edits)} edits")

        return shown

    works = {"render": render, "single": show(1), "burst": show(_BURST)}
    spent = medians(works, rounds, first="render")
    render_us = spent["render"] / len(events) * 1e6
    return [
        Row("rendering a progress message", render_us, "µs"),
        Row("an event and its edit ÷ rendering", spent["single"], "×"),
        Row(f"an event in a burst of {_BURST} ÷ rendering", spent["burst"], "×"),
        Row("an event and its edit", spent["single"] * render_us, "µs"),
        Row(f"an event in a burst of {_BURST}", spent["burst"] * render_us, "µs"),
    ]


async def _handle(
    chat: RecordingTransport,
    runner: Runner,
    on_thread_known: Callable[[ResumeToken, anyio.Event], Awaitable[None]] | None = None,
    edit_spacing_s: float = 0.0,
) -> None:
    await handle_message(
        ExecBridgeConfig(
            chat,
            MarkdownPresenter(),
            final_notify=True,
            refresh_s=None,
            edit_spacing_s=edit_spacing_s,
        ),
        runner=runner,
        incoming=IncomingMessage(1, 1, "go"),
        resume_token=None,
        on_thread_known=on_thread_known,
    )


# -- an idle chat --------------------------------------------------------------------------------


class _IdleChat(RecordingTransport):
    """Notes when the first message is handed over."""

    posted: float | None = None

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef | None:
        if self.posted is None:
            self.posted = time.monotonic()
        return await super().send(channel_id=channel_id, message=message, options=options)


@dataclass(slots=True)
class _Watch:
    """What an idle chat and another task see, in ms: wall clock, and CPU of this process alone."""

    posts: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    async def look(self, seconds: float) -> None:
        async with anyio.create_task_group() as group:
            ends = time.monotonic() + seconds
            group.start_soon(self._turns, ends)
            group.start_soon(self._messages, ends)

    async def _turns(self, ends: float) -> None:
        while (begun := time.monotonic()) < ends:
            cpu = time.process_time()
            await anyio.sleep(0.001)
            self.waits.append((time.monotonic() - begun - 0.001) * 1e3)
            self.spent.append((time.process_time() - cpu) * 1e3)

    async def _messages(self, ends: float) -> None:
        while (due := time.monotonic() + _EVERY_S) < ends:
            await anyio.sleep(_EVERY_S)
            chat = _IdleChat()
            await _handle(chat, ScriptRunner([Return("x")]))
            assert chat.posted is not None
            self.posts.append((chat.posted - due) * 1e3)

    def rows(self, who: str, target: float | None) -> list[Row]:
        message, wait = f"{who}: message → first post", f"{who}: wait of another task"
        return [
            *_spread(message, self.posts, target),
            *_spread(wait, self.waits, target),
            *_spread(f"{who}: our own CPU in such a wait", self.spent, target),
        ]


def _spread(what: str, values: list[float], target: float | None) -> list[Row]:
    ordered = sorted(values)
    p99 = ordered[int(len(ordered) * 0.99)]
    return [
        Row(f"{what}, p50", median(ordered), "ms"),
        Row(f"{what}, p99", p99, "ms", target),
        Row(f"{what}, max", ordered[-1], "ms", target),
    ]


def _company(count: int, seconds: float, rounds: int) -> list[Row]:
    """An idle chat beside nothing, beside bare readers of the same processes, and beside runs."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "stream"
        with file.open("wb") as out:
            out.writelines(body(_LINES))
        # Readers that do nothing would soon be through with one file.
        bare = in_own_session(*[file] * 20 * _AGAIN)
        runner = runner_of(*in_own_session(*[file] * _AGAIN))
        beside: dict[str, tuple[int, Callable[[_Up], Awaitable[None]]]] = {
            "alone": (0, lambda up: _bare(bare, up)),
            f"{count} bare readers": (count, lambda up: _bare(bare, up)),
            f"{count} runs without the bridge": (count, lambda up: _unbridged(runner, up)),
            f"{count} busy runs": (count, lambda up: _bridged(runner, up)),
        }
        seen = {who: _Watch() for who in beside}
        for _ in range(rounds):
            for who, (many, work) in beside.items():
                settle_collector()
                anyio.run(_watch, seen[who], seconds, many, work)
    last = f"{count} busy runs"
    return [
        row
        for who, watch in seen.items()
        for row in watch.rows(who, _TARGET_MS if who == last else None)
    ]


class _Up:
    """Tells when all have begun."""

    def __init__(self, count: int) -> None:
        self.all = anyio.Event()
        self._missing = count
        self.note_begin(0)

    def note_begin(self, count: int = 1) -> None:
        self._missing -= count
        if self._missing == 0:
            self.all.set()


async def _watch(
    watch: _Watch, seconds: float, count: int, work: Callable[[_Up], Awaitable[None]]
) -> None:
    """Look while ``count`` of them are at work; the last must still be at it then."""
    up = _Up(count)
    at_work = 0

    async def keep_at_it() -> None:
        nonlocal at_work
        at_work += 1
        await work(up)
        at_work -= 1

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(keep_at_it)
        await up.all.wait()
        await watch.look(seconds)
        if at_work != count:
            raise RuntimeError("a run was through before its time was up")
        group.cancel_scope.cancel()


async def _bare(argv: list[str], up: _Up) -> None:
    """As much at a time as takopi reads."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220 (nothing else)
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        try:
            await anyio.wait_readable(pipe)
            up.note_begin()
            while os.read(pipe, 16 * 1024):
                await anyio.wait_readable(pipe)
        finally:
            process.kill()


async def _unbridged(runner: AdapterRunner, up: _Up) -> None:
    async with aclosing(runner.run("go")) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, StartedEvent):
                up.note_begin()


async def _bridged(runner: AdapterRunner, up: _Up) -> None:
    async def on_thread_known(token: ResumeToken, done: anyio.Event) -> None:
        up.note_begin()

    await _handle(RecordingTransport(), runner, on_thread_known, _SPACING_S)
