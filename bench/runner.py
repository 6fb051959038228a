"""The runner through real processes: throughput, latency, company, memory, and ending a tree."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import anyio
import anyio.lowlevel
import psutil

from bench.measure import Row, cpu_s
from bench.memory import growth_mb
from bench.processes import (
    RESULT,
    body,
    consume,
    in_own_session,
    one_core,
    runner_of,
    script_runner,
    write_stream,
)
from bench.translator import BASELINE, bare_decode
from takopi.engines.jsonl import AdapterRunner
from takopi.lines import MAX_LINE_BYTES
from takopi.model import ActionEvent

_CAP_MB = MAX_LINE_BYTES / 1_000_000

# Prints a line with the time every few milliseconds: the pipe is empty whenever one is written.
_STAMPS = """
import sys, time
print('{"type": "init", "id": "s1"}', flush=True)
for i in range(int(sys.argv[1])):
    time.sleep(0.004)
    print('{"type": "step", "id": "%d", "title": "%d"}' % (i, time.monotonic_ns()), flush=True)
print('{"type": "result"}', flush=True)
"""
# Has children and grandchildren, and says so.
_TREE = """
import subprocess, sys, time
for _ in range(3):
    subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60; wait"])
time.sleep(0.2)
print('{"type": "init", "id": "s1"}\\n{"type": "step", "id": "1", "title": "up"}', flush=True)
time.sleep(60)
"""
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _TREE
_GRACE_S = 2.0


def measure(quick: bool) -> list[Row]:
    """Every row of the runner."""
    lines = 10_000 if quick else 200_000
    with tempfile.TemporaryDirectory() as folder:
        stream = write_stream(Path(folder) / "stream", lines)
        rows = _throughput(runner_of("cat", str(stream)), lines, 1 if quick else 5)
        rows += _latency(40 if quick else 500)
        rows += _company(Path(folder), 5 if quick else 50, 5 * lines // 2, 1 if quick else 3)
    rows += _memory(quick)
    return [*rows, *_ending(1 if quick else 5)]


def _wall_s(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _throughput(runner: AdapterRunner, lines: int, rounds: int) -> list[Row]:
    raw = [line[:-1] for line in body(lines)]

    def run() -> None:
        anyio.run(consume, runner)

    def decode() -> None:
        for line in raw:
            bare_decode(line)

    wall, cpu, share = [], [], []
    for _ in range(rounds):
        bare = cpu_s(decode)
        spent = cpu_s(run)
        with one_core():
            wall.append(lines / _wall_s(run))
        cpu.append(spent / lines * 1e6)
        share.append(spent / bare)
    what = f"{lines:,} lines of 350 B"
    return [
        Row(f"{what}, on one core with the CLI", median(wall), "lines/s", 80_000, at_least=True),
        Row(f"{what}, CPU per line", median(cpu), "µs"),
        Row(f"{what}, CPU ÷ {BASELINE}", median(share), "×", 7),
    ]


def _latency(lines: int) -> list[Row]:
    """Of a run; and of a read that waits for nothing else, which is the machine's own part."""
    seen: list[float] = []
    bare: list[float] = []

    with subprocess.Popen(
        [sys.executable, "-c", _STAMPS, str(lines)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"title" in line:
                written = int(line.rsplit(b'"', 2)[1])
                bare.append((time.monotonic_ns() - written) / 1e3)

    async def read() -> None:
        run = script_runner(_STAMPS, str(lines)).start("go")
        async for event in run.events:
            if isinstance(event, ActionEvent):
                seen.append((time.monotonic_ns() - int(event.action.title)) / 1e3)

    anyio.run(read)
    return [
        Row("write → a blocking read, p50", median(bare), "µs"),
        Row("write → event, p50", median(seen), "µs", 150),
    ]


def _company(folder: Path, runs: int, lines: int, rounds: int) -> list[Row]:
    """Many runs at once, and another task that wants its turn every millisecond."""
    share = folder / "share"
    with share.open("wb") as out:
        out.writelines(body(lines // runs))
    end = folder / "end"
    end.write_bytes(RESULT)
    alone = runner_of(*in_own_session(*[share] * runs, end))
    one_of_many = runner_of(*in_own_session(share, end))
    waits: list[float] = []
    busy: list[float] = []

    async def together() -> None:
        longest = most = 0.0

        async def wait_for_turns() -> None:
            nonlocal longest, most
            while True:
                begun, spent = time.monotonic(), time.process_time()
                await anyio.sleep(0.001)
                longest = max(longest, time.monotonic() - begun - 0.001)
                most = max(most, time.process_time() - spent)

        async with anyio.create_task_group() as others:
            others.start_soon(wait_for_turns)
            async with anyio.create_task_group() as tasks:
                for _ in range(runs):
                    tasks.start_soon(consume, one_of_many)
                    await anyio.lowlevel.checkpoint()  # messages come one by one
            others.cancel_scope.cancel()
        waits.append(longest)
        busy.append(most)

    ratios = []
    for _ in range(rounds):
        single = cpu_s(lambda: anyio.run(consume, alone))
        ratios.append(cpu_s(lambda: anyio.run(together)) / single)
    return [
        Row(f"{runs} runs at once, CPU per line ÷ one run", median(ratios), "×", 1.1),
        Row(f"{runs} runs at once, longest wait of another task", median(waits) * 1e3, "ms", 10),
        Row(f"{runs} runs at once, our own CPU in such a wait", median(busy) * 1e3, "ms"),
    ]


def _memory(quick: bool) -> list[Row]:
    lines = 50_000 if quick else 1_000_000
    return [
        Row(f"{lines:,} lines, growth of the peak", growth_mb("lines", str(lines)), "MB", 5),
        Row(
            "a 100 MB line, growth of the peak",
            growth_mb("oversized", "100000000"),
            "MB",
            _CAP_MB + 2,
        ),
    ]


def _ending(rounds: int) -> list[Row]:
    found = [anyio.run(_cancel, script_runner(_TREE)) for _ in range(rounds)]
    deaf = [anyio.run(_cancel, script_runner(_DEAF)) for _ in range(min(rounds, 2))]
    walk = median(walk for _, walk in found)
    return [
        Row("walk of a tree of ten", walk, "ms"),
        Row("cancel → tree gone", median(took for took, _ in found), "ms", 10 + walk),
        Row(
            "SIGTERM ignored: beyond the grace of 2 s",
            median(took for took, _ in deaf) - _GRACE_S * 1e3,
            "ms",
            50,
        ),
    ]


async def _cancel(runner: AdapterRunner) -> tuple[float, float]:
    """Milliseconds until a cancelled run's whole tree is gone, and what looking for it takes."""
    run = runner.start("go")
    took = walk = 0.0
    async for event in run.events:
        if isinstance(event, ActionEvent) and run.pid is not None and not run.cancelled:
            begun = time.monotonic()
            tree = psutil.Process(run.pid).children(recursive=True)
            walk = (time.monotonic() - begun) * 1e3
            begun = time.monotonic()
            await run.cancel()
            took = (time.monotonic() - begun) * 1e3
            alive = [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            if len(tree) < 9 or alive:
                raise RuntimeError(f"a tree of {len(tree)} left {alive}")
    return took, walk
