"""Adapters from a few lines of YAML."""

import textwrap

from takopi.adapters.compile import compile_adapter
from takopi.adapters.source import Source
from takopi.adapters.translate import Translator
from takopi.diagnostics import render_text

DEFAULTS = {
    "adapter": "adapter: 1",
    "id": "id: acme",
    "name": "name: Acme",
    "command": "command: acme",
    "args": 'args: ["${run().prompt}"]',
    "resume": "resume: {line: 'acme --resume ${token}'}",
    "session": "session: {id: session}",
    "events": "events:\n  - match: {type: nothing}",
}


def adapter_text(text=""):
    """``text`` with the keys an adapter needs and the test does not care about."""
    body = textwrap.dedent(text)
    keys = {line.partition(":")[0] for line in body.splitlines() if line[:1].isalpha()}
    return "\n".join([*(v for k, v in DEFAULTS.items() if k not in keys), body]) + "\n"


def adapter_from(text=""):
    """The compiled adapter of a (partial) file that must be right; warnings do not matter."""
    compiled = compile_adapter(Source("acme.yaml", adapter_text(text)))
    problems = [render_text(problem) for problem in compiled.diagnostics]
    assert compiled.adapter is not None, "\n".join(problems)
    return compiled.adapter


def run_of(**values):
    """What ``run()`` returns; ``session`` follows ``resume`` unless given."""
    run = {
        "prompt": "do it",
        "resume": None,
        "session": values.get("resume"),
        "model": None,
        "reasoning": None,
        "cwd": "/home/user/project",
        "engine": "acme",
    }
    return {**run, **values}


def translator_of(text="", *, options=None, redact=str, **run):
    return Translator(adapter_from(text), run_of(**run), options, redact=redact)
