"""Long streams made of the recordings in ``fixtures/streams``."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

from takopi.adapters.adapter import Adapter
from takopi.adapters.catalog import Catalog, Entry
from takopi.adapters.replay import Recording, load_recording, new_translator, replay
from takopi.bundled import bundled
from takopi.model import ActionEvent

ROOT = Path(__file__).resolve().parents[1]
STREAMS = ROOT / "fixtures" / "streams"


def builtin_catalog() -> Catalog:
    """The shipped adapters alone, whatever this machine's user has of his own; nothing cached."""
    entries = {
        path.stem: [Entry(path.stem, path, "built-in")]
        for path in sorted(bundled("adapters").glob("*.yaml"))
    }
    return Catalog(entries)


def good_recordings(engine: str) -> list[Recording]:
    """The recorded runs of a real CLI that ended well; ``doc_`` ones were written by hand."""
    found = []
    for folder in sorted((STREAMS / engine).iterdir()):
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if not folder.name.startswith("doc_") and meta.get("exit_code") == 0:
            found.append(load_recording(folder))
    return found


def long_stream(adapter: Adapter, lines: int) -> list[bytes]:
    """``lines`` lines: the good recordings again and again, every action with an id of its own.

    A run does not use an id twice, and what is remembered of an action depends on that.
    """
    recordings = [(r, _ids(adapter, r)) for r in good_recordings(adapter.id)]
    stream: list[bytes] = []
    for turn in count():
        for recording, ids in recordings:
            text = recording.stdout
            for known in ids if turn else ():
                text = text.replace(b'"%s"' % known, b'"%s_%d"' % (known, turn))
            stream += [line for line in text.split(b"\n") if line.startswith(b"{")]
            if len(stream) >= lines:
                return stream[:lines]
    raise AssertionError("unreachable")


def _ids(adapter: Adapter, recording: Recording) -> list[bytes]:
    """The action ids that stand in the stream itself (others are takopi's own)."""
    translator = new_translator(adapter, replace(recording, resume=None))
    events = [event for found in replay(translator, recording) for event in found]
    ids = {event.action.id.encode() for event in events if isinstance(event, ActionEvent)}
    return sorted(found for found in ids if b'"%s"' % found in recording.stdout)
