"""Translators on long streams, decoding included, against decoding alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.measure import Row, medians
from bench.reference import interpreted_adapter
from bench.streams import STREAMS, builtin_catalog, long_stream
from takopi.adapters.adapter import Adapter
from takopi.adapters.replay import Recording, new_translator
from takopi.model import TakopiEvent

_whole = msgspec.json.Decoder().decode
try:
    import orjson
except ImportError:
    BASELINE, bare_decode = "msgspec (orjson is not installed)", _whole
else:
    BASELINE, bare_decode = "orjson", orjson.loads

TARGETS = {"codex": 5.0, "claude": 1.4, "opencode": 2.2, "pi": 1.6}
ONE_LINE_TARGET = 1.05


def measure(quick: bool) -> list[Row]:
    """Per engine: µs per line of decoding alone, and the rest as multiples of it."""
    catalog = builtin_catalog()
    lines, rounds = (1_000, 1) if quick else (50_000, 5)
    rows: list[Row] = []
    for engine in catalog.ids:
        if (STREAMS / engine).is_dir():
            rows += _stream(catalog.adapter(engine), lines, rounds, quick)
    return [*rows, *_one_line(catalog.adapter("claude"), 3 if quick else 15)]


def _stream(adapter: Adapter, count: int, rounds: int, quick: bool) -> list[Row]:
    lines = long_stream(adapter, count)
    few = lines[: 300 if quick else 4_000]
    interpreted = interpreted_adapter(adapter.id)
    if _events(adapter, few) != _events(interpreted, few):
        raise RuntimeError(f"{adapter.id}: interpreted rules give other events")
    spent = medians(
        {
            "bare": lambda: _decode(bare_decode, lines),
            "msgspec": lambda: _decode(_whole, lines),
            "ours": lambda: _translate(adapter, lines),
        },
        rounds,
        first="bare",
    )
    against = medians(
        {"ours": lambda: _translate(adapter, few), "theirs": lambda: _translate(interpreted, few)},
        min(rounds, 3),
        first="ours",
    )
    name, size = adapter.id, sum(map(len, lines)) / count
    return [
        Row(f"{name}: {BASELINE} alone, {size:.0f} B lines", spent["bare"] / count * 1e6, "µs"),
        Row(f"{name}: msgspec alone ÷ {BASELINE}", spent["msgspec"], "×"),
        Row(f"{name}: translator ÷ {BASELINE}", spent["ours"], "×", TARGETS.get(name)),
        Row(f"{name}: rules interpreted ÷ translator", against["theirs"], "×"),
    ]


def _one_line(adapter: Adapter, rounds: int) -> list[Row]:
    """A message of a megabyte, as an agent that quotes a file prints it."""
    text = "A line of an answer, with “quotes” and a \\ in it.\n" * 20_000
    message = {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}
    lines = [json.dumps(message, ensure_ascii=False).encode()] * 10
    spent = medians(
        {"bare": lambda: _decode(bare_decode, lines), "ours": lambda: _translate(adapter, lines)},
        rounds,
        first="bare",
    )
    return [Row(f"one 1 MB line ÷ {BASELINE}", spent["ours"], "×", ONE_LINE_TARGET)]


def _decode(decode: Callable[[bytes], Any], lines: Sequence[bytes]) -> None:
    for line in lines:
        decode(line)


def _translate(adapter: Adapter, lines: Sequence[bytes]) -> None:
    translate = new_translator(adapter, _NOWHERE).line
    for line in lines:
        translate(line)


def _events(adapter: Adapter, lines: Sequence[bytes]) -> list[TakopiEvent]:
    translator = new_translator(adapter, _NOWHERE)
    events = [event for line in lines for event in translator.line(line)]
    return [*events, *translator.finish(0)]


_NOWHERE = Recording(path=Path(), stdout=b"")
