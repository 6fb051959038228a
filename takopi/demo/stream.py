"""Where a run's events go: JSON lines for programs, or plain text for people.

An event is a flat object whose ``event`` names it::

    {"event": "session", "id": "demo-4f0q…", "cwd": "/home/user/project", "resumed": false}
    {"event": "thought", "text": "Looking for `TODO`."}
    {"event": "warning", "text": "…"}
    {"event": "step.begin", "step": "s1", "tool": {"name": "search_text", "input": {…}}}
    {"event": "step.update", "step": "s1", "summary": "2 of 5 s"}
    {"event": "step.end", "step": "s1", "ok": true, "summary": "3 matches in 2 files"}
    {"event": "step.end", "step": "s2", "ok": false, "error": "`x.py`: no such file"}
    {"event": "answer", "text": "**3 matches** …"}
    {"event": "done", "stats": {"files": 7, "steps": 1, "ms": 12}}        exit code 0
    {"event": "failed", "error": "…", "stats": {…}}                       exit code 1

``session`` comes first, ``done`` or ``failed`` last; a run that was stopped has neither.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO, Protocol, TypeAlias

from takopi.demo.markdown import printable

Event: TypeAlias = dict[str, Any]


class Stream(Protocol):
    """Takes the events of a run as they happen."""

    def emit(self, event: Event) -> None:
        """Write one event and flush it."""


class JsonLines:
    """One JSON object per line, valid UTF-8 whatever the files are called."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def emit(self, event: Event) -> None:
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        self._out.write(printable(line).encode() + b"\n")
        self._out.flush()


class PlainText:
    """The answer on ``out``; steps and remarks on ``talk``, one line each."""

    def __init__(self, out: BinaryIO, talk: BinaryIO) -> None:
        self._out = out
        self._talk = talk

    def emit(self, event: Event) -> None:
        name = event["event"]
        if name == "answer":
            self._write(self._out, event["text"] + "\n")
        elif name == "failed":
            self._write(self._talk, f"failed: {event['error']}\n")
        elif name == "step.begin":
            given = ", ".join(f"{key} {value}" for key, value in event["tool"]["input"].items())
            self._write(self._talk, f"· {event['tool']['name']} {given}\n")
        elif name == "step.end" and not event["ok"]:
            self._write(self._talk, f"  failed: {event['error']}\n")
        elif name in {"step.end", "step.update"}:
            self._write(self._talk, f"  {event['summary']}\n")
        elif name == "warning":
            self._write(self._talk, f"! {event['text']}\n")

    @staticmethod
    def _write(file: BinaryIO, text: str) -> None:
        file.write(printable(text).encode())
        file.flush()
