"""A runner whose engine is the scripted CLI of `fake_cli`."""

import json
import os
import sys
from pathlib import Path

from takopi.adapters.options import EngineOptions
from takopi.engines.jsonl import AdapterRunner
from tests.support.adapters import adapter_from

CLI = Path(__file__).with_name("fake_cli.py")

EVENTS = """
session: {match: {type: init}, id: session}
events:
  - match: {type: say}
    append: {answer: text}
  - match: {type: step}
    action: {id: id, title: title}
  - match: {type: result}
    complete: {answer: text, error: error}
  - match: {type: echo}
    complete: {answer: to_string(@)}
"""

INIT = ["print", '{"type": "init", "session": "s1"}']
STEP = ["print", '{"type": "step", "id": "1", "title": "working"}']


def init(session):
    return ["print", json.dumps({"type": "init", "session": session})]


def result(text="done", **more):
    return ["print", json.dumps({"type": "result", "text": text, **more})]


def fake_runner(
    folder, *steps, text="", args="", options=None, name="script", command=None, environ=None
):
    """A runner; each script of ``steps`` is written to ``folder``/``name``.json.

    ``text`` adds keys to the adapter, ``args`` adds arguments, as YAML.
    """
    script = Path(folder) / f"{name}.json"
    script.write_text(json.dumps(steps), encoding="utf-8")
    head = f"""
command: {json.dumps(command or sys.executable)}
args: [-SE, {json.dumps(str(CLI))}, {json.dumps(str(script))}{args and ", "}{args}]
"""
    body = text if "\nevents:" in text or text.startswith("events:") else EVENTS + text
    adapter = adapter_from(head + body)
    return AdapterRunner(adapter, options or EngineOptions(), environ=environ or os.environ)
