"""Replays a recorded stream through an adapter, without starting anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from takopi.adapters.adapter import Adapter
from takopi.adapters.options import resolve_options
from takopi.adapters.request import RunRequest, run_values
from takopi.adapters.rules import Rule
from takopi.adapters.translate import Translator
from takopi.errors import TakopiError
from takopi.lines import LineSplitter, Oversized
from takopi.model import TakopiEvent


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded run: stdout byte for byte, and what its meta says about the rest."""

    path: Path
    stdout: bytes
    stderr: str = ""
    exit_code: int = 0
    resume: str | None = None
    cwd: str = "/home/user/project"
    cli: str | None = None
    version: str | None = None


# What is read of a meta file.
_META: dict[str, type] = {
    "stderr": str,
    "exit_code": int,
    "resume": str,
    "cwd": str,
    "cli": str,
    "version": str,
}


def load_recording(path: Path) -> Recording:
    """Read a fixture folder, or a bare stream with an optional ``<name>.meta.json`` beside it.

    Raises `TakopiError` naming the file that is missing or wrong.
    """
    if path.is_dir():
        stream, meta = path / "stream.jsonl", path / "meta.json"
    else:
        stream = path
        meta = path.with_name(path.name.removesuffix(".jsonl") + ".meta.json")
        if path.name == "stream.jsonl" and not meta.exists():
            meta = path.with_name("meta.json")
    try:
        stdout = stream.read_bytes()
    except OSError as error:
        raise TakopiError(f"cannot read the recording {stream}: {error.strerror}") from error
    facts: dict[str, Any] = {}
    if meta.exists():
        try:
            facts = json.loads(meta.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TakopiError(f"cannot read {meta}: {error}") from error
    if not isinstance(facts, dict):
        raise TakopiError(f"cannot read {meta}: it must hold a JSON object")
    known = {key: facts[key] for key in _META if facts.get(key) is not None}
    for key, value in known.items():
        if type(value) is not _META[key]:
            raise TakopiError(f"cannot read {meta}: `{key}` must be of type {_META[key].__name__}")
    return Recording(path=stream, stdout=stdout, **known)


def new_translator(
    adapter: Adapter, recording: Recording, *, on_rule: Callable[[Rule, Any], None] | None = None
) -> Translator:
    """A translator for a recorded run, with the adapter's default options."""
    options = resolve_options(adapter.id, adapter.spec.options, adapter.options_read, {}, "")
    request = RunRequest(prompt="", resume=recording.resume, cwd=recording.cwd)
    run = run_values(adapter, request, options)
    plan = adapter.session
    if recording.resume is None and plan is not None and (plan.id or plan.text):
        run["session"] = None  # what takopi would have chosen itself is not what was recorded
    return Translator(adapter, run, options.values, on_rule=on_rule)


def replay(translator: Translator, recording: Recording) -> Iterator[list[TakopiEvent]]:
    """The events line by line, then those of the end."""
    splitter = LineSplitter()
    for line in [*splitter.feed(recording.stdout), *splitter.flush()]:
        yield translator.skipped(line) if isinstance(line, Oversized) else translator.line(line)
    for text in recording.stderr.split("\n"):
        yield translator.stderr(text.encode("utf-8", "replace"))
    yield translator.finish(recording.exit_code)


def event_json(event: TakopiEvent) -> dict[str, Any]:
    """An event as JSON: its dataclass field by field, ``type`` first."""
    fields = asdict(event)
    return {"type": fields.pop("type"), **fields}


def events_text(events: Sequence[TakopiEvent]) -> str:
    """The text of ``events.json``. Lone surrogates, which UTF-8 cannot hold, stay JSON escapes."""
    text = json.dumps([event_json(event) for event in events], indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"
