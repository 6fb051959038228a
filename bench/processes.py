"""Runs through real processes: an adapter for ``cat`` and for small scripts, and how to consume one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from takopi.adapters.compile import compile_adapter
from takopi.adapters.source import Source
from takopi.diagnostics import render_text
from takopi.engines.jsonl import AdapterRunner

_ADAPTER = """
adapter: 1
id: bench
command: {command}
args: {args}
resume: null
session: {{match: {{type: init}}, id: id}}
events:
  - match: {{type: text}}
    set: {{answer: text}}
  - match: {{type: step}}
    action: {{id: id, phase: completed, title: title}}
  - match: {{type: result}}
    complete: {{}}
"""
INIT = b'{"type": "init", "id": "s1"}\n'
RESULT = b'{"type": "result"}\n'
# Prints files as a run of a session of its own; runs of one session would wait for each other.
_IN_OWN_SESSION = """
printf '{"type": "init", "id": "%s"}\\n' $$
exec cat "$@"
"""


def runner_of(command: str, *args: str) -> AdapterRunner:
    """A runner whose engine is ``command``."""
    text = _ADAPTER.format(command=json.dumps(command), args=json.dumps(args))
    compiled = compile_adapter(Source("bench.yaml", text))
    if compiled.adapter is None:
        raise RuntimeError("\n".join(render_text(d) for d in compiled.diagnostics))
    return AdapterRunner(compiled.adapter, environ=os.environ)


def in_own_session(*files: Path) -> list[str]:
    """A command line that prints ``files``, which have no `INIT`, as the rest of a new session."""
    return ["sh", "-c", _IN_OWN_SESSION, "sh", *map(str, files)]


def script_runner(script: str, *args: str) -> AdapterRunner:
    """A runner whose engine is a Python script, started without site packages."""
    return runner_of(sys.executable, "-SE", "-c", script, *args)


def body(lines: int, size: int = 350) -> Iterator[bytes]:
    """Lines of ``size`` bytes, nine texts to a step, as an agent that streams prints them."""
    for i in range(lines):
        head = (
            b'{"type": "step", "id": "%d", "title": "'
            if i % 10 == 9
            else b'{"type": "text", "id": "%d", "text": "'
        )
        begin = head % i
        yield begin + b"x" * (size - len(begin) - 3) + b'"}\n'


def write_stream(file: Path, lines: int, size: int = 350) -> Path:
    """A whole run's output in a file, for ``cat``."""
    with file.open("wb") as out:
        out.write(INIT)
        out.writelines(body(lines, size))
        out.write(RESULT)
    return file


async def consume(runner: AdapterRunner) -> int:
    """Read a run to its end; how many events there were. Raises if it did not end well."""
    run = runner.start("go")
    count = 0
    async for _ in run.events:
        count += 1
    if run.outcome is None or not run.outcome.ok:
        raise RuntimeError(f"the run failed: {run.outcome}")
    return count


@contextmanager
def one_core() -> Iterator[None]:
    """This process and those it starts on one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
