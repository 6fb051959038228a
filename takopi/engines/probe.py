"""Asks a CLI about itself: its version, and whether somebody is logged in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio

from takopi.adapters.request import inherited
from takopi.engines.process import Command, spawn

_TIME_S = 20.0  # some CLIs take seconds to start on a cold machine


async def ask_version(
    executable: str, version_args: Sequence[str], environ: Mapping[str, str]
) -> str | None:
    """The first thing like a version in what the CLI prints; None if it says nothing like it.

    Raises `RunError` when the CLI cannot be started.
    """
    version = re.search(r"\d+(?:\.\d+)+\S*", (await _ask(executable, version_args, environ)).text)
    return version.group() if version else None


async def ask_login(
    executable: str, login_args: Sequence[str], environ: Mapping[str, str]
) -> bool | None:
    """Whether somebody is logged in; None if the CLI gives no answer in time.

    Raises `RunError` when the CLI cannot be started.
    """
    code = (await _ask(executable, login_args, environ)).exit_code
    return None if code is None else code == 0


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    exit_code: int | None  # None: no end in time


async def _ask(executable: str, args: Sequence[str], environ: Mapping[str, str]) -> _Answer:
    process = await spawn(Command((executable, *args), None, inherited(environ), None))
    lines: list[bytes] = []
    code: int | None = None
    try:
        with anyio.move_on_after(_TIME_S):
            ended = False
            while not ended:
                batch = await process.read()
                lines += [x for x in (*batch.stdout, *batch.stderr) if isinstance(x, bytes)]
                ended = batch.ended
            code = process.returncode
    finally:
        with anyio.CancelScope(shield=True):
            await process.stop()
    return _Answer(b"\n".join(lines).decode("utf-8", "replace"), code)
