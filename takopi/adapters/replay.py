"""Replays a recorded stream through an adapter, without starting anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
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
    if path.is_dir() and not stream.exists():
        raise TakopiError(f"{path} is no recording: it holds no stream.jsonl")
    try:
        stdout = stream.read_bytes()
    except OSError as error:
        raise TakopiError(f"cannot read the recording {stream}: {error.strerror}") from error
    facts = _load_meta(meta) if meta.exists() else {}
    return Recording(path=stream, stdout=stdout, **facts)


def _load_meta(meta: Path) -> dict[str, Any]:
    try:
        facts = json.loads(meta.read_text(encoding="utf-8"))
    except OSError as error:
        raise TakopiError(f"cannot read {meta}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TakopiError(f"cannot read {meta}: it is not UTF-8 (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise TakopiError(f"cannot read {meta}: it is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise TakopiError(f"cannot read {meta}: it must hold a JSON object")
    known = {key: facts[key] for key in _META if facts.get(key) is not None}
    for key, value in known.items():
        if type(value) is not _META[key]:
            wanted = "a whole number" if _META[key] is int else "a string"
            raise TakopiError(f"cannot read {meta}: `{key}` must be {wanted}")
    return known


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
    found = _fields(event)
    return {"type": found.pop("type"), **found}


def _fields(value: Any) -> dict[str, Any]:
    """Like `dataclasses.asdict`, which also copies what fields hold: facts of any size and depth."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: _fields(v) if is_dataclass(v) else v for name, v in found.items()}


def event_line(event: TakopiEvent, *, ascii: bool = False) -> str:
    """An event as one line of JSON. Facts that are nested deeper than Python writes are left out."""
    found = event_json(event)
    try:
        return json.dumps(found, ensure_ascii=ascii)
    except RecursionError:
        found |= {key: None for key in ("meta", "usage") if key in found}
        if "action" in found:
            found["action"]["detail"] = {}
        return json.dumps(found, ensure_ascii=ascii)


def events_text(events: Sequence[TakopiEvent]) -> str:
    """The text of ``events.json``. Lone surrogates, which UTF-8 cannot hold, stay JSON escapes."""
    text = json.dumps([event_json(event) for event in events], indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"
