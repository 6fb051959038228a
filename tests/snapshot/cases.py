"""The recorded runs of ``fixtures/streams``: each folder is a test case of several modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from takopi.adapters.adapter import Adapter
from takopi.adapters.compile import compile_adapter
from takopi.adapters.replay import (
    Recording,
    events_text,
    load_recording,
    new_translator,
    replay,
)
from takopi.adapters.rules import Rule
from takopi.adapters.source import Source
from takopi.adapters.translate import Translator
from takopi.bundled import bundled
from takopi.model import TakopiEvent

CHECKOUT = Path(__file__).parents[2]
FIXTURES = CHECKOUT / "fixtures" / "streams"


@dataclass(frozen=True)
class Case:
    """One fixture folder."""

    engine: str
    folder: Path

    @property
    def name(self) -> str:
        """The folder's name; together with the engine's it is unique."""
        return self.folder.name

    @property
    def id(self) -> str:
        """What pytest calls the case."""
        return f"{self.engine}-{self.name}"

    @property
    def recording(self) -> Recording:
        """The stream and its meta, as the program loads them."""
        return load_recording(self.folder)

    @property
    def meta(self) -> dict[str, Any]:
        """All of ``meta.json``."""
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Replayed:
    """What a replay gave, and the translator that gave it."""

    events: list[TakopiEvent]
    translator: Translator


CASES = tuple(
    Case(stream.parts[-3], stream.parent) for stream in sorted(FIXTURES.glob("*/*/stream.jsonl"))
)
ENGINES = tuple(sorted(path.stem for path in bundled("adapters").glob("*.yaml")))

__all__ = [
    "CASES",
    "ENGINES",
    "FIXTURES",
    "Case",
    "Replayed",
    "adapter_of",
    "each_case",
    "each_engine",
    "events_text",
    "play",
]

each_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
each_engine = pytest.mark.parametrize("engine", ENGINES)


@cache
def adapter_of(engine: str) -> Adapter:
    """The compiled built-in adapter; its diagnostics fail the test."""
    path = bundled("adapters") / f"{engine}.yaml"

    def parent(name: str) -> Source:
        text = path.with_name(f"{name}.yaml").read_text(encoding="utf-8")
        return Source(f"adapters/{name}.yaml", text)

    source = Source(f"adapters/{path.name}", path.read_text(encoding="utf-8"))
    compiled = compile_adapter(source, stem=engine, parents=parent)
    assert compiled.adapter is not None, compiled.diagnostics
    return compiled.adapter


def play(
    engine: str, recording: Recording, on_rule: Callable[[Rule, Any], None] | None = None
) -> Replayed:
    """Replay ``recording`` through the built-in adapter of ``engine``."""
    translator = new_translator(adapter_of(engine), recording, on_rule=on_rule)
    events = [event for batch in replay(translator, recording) for event in batch]
    return Replayed(events, translator)
