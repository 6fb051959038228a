"""Asks a CLI for its version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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
    command = Command((executable, *version_args), None, inherited(environ), None)
    process = await spawn(command)
    lines: list[bytes] = []
    try:
        with anyio.move_on_after(_TIME_S):
            ended = False
            while not ended:
                batch = await process.read()
                lines += [x for x in (*batch.stdout, *batch.stderr) if isinstance(x, bytes)]
                ended = batch.ended
    finally:
        with anyio.CancelScope(shield=True):
            await process.stop()
    text = b"\n".join(lines).decode("utf-8", "replace")
    version = re.search(r"\d+(?:\.\d+)+\S*", text)
    return version.group() if version else None
