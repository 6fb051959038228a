"""`takopi adapters …`: list, validate, show, replay and schema."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from takopi.adapters.adapter import Adapter
from takopi.adapters.audit import Audit
from takopi.adapters.catalog import Catalog, Entry, file_entry, load_catalog
from takopi.adapters.options import EngineOptions, resolve_options
from takopi.adapters.replay import Recording, load_recording, new_translator, replay
from takopi.adapters.request import CommandLine, RunRequest, build_command
from takopi.adapters.source import Source
from takopi.adapters.translate import Translator
from takopi.ansi import without_escapes
from takopi.cli.view import JsonView, PlainView, View
from takopi.config import Config, load_config
from takopi.diagnostics import (
    Diagnostic,
    has_errors,
    in_file_order,
    render_github,
    render_json,
    render_text,
)
from takopi.engines.executables import find_executable
from takopi.errors import EXIT_FAILURE, EXIT_OK, SpecError, TakopiError, UsageError
from takopi.logs import show_warnings
from takopi.model import CompletedEvent, ResumeToken, TakopiEvent
from takopi.paths import reset_run_base_dir, set_run_base_dir

# -- targets ---------------------------------------------------------------------------------------


def _is_path(target: str) -> bool:
    return os.sep in target or target.endswith((".yaml", ".yml"))


def find_entry(catalog: Catalog, target: str) -> Entry:
    """The adapter file that an id or a path on the command line means."""
    if _is_path(target):
        path = Path(target)
        if path.is_dir():
            raise UsageError(f"{target} is a folder; name a file in it")
        if not path.is_file():
            raise UsageError(f"there is no file {target}")
        return file_entry(path.absolute())
    try:
        return catalog.entry(target)
    except TakopiError as error:
        raise UsageError(f"{error}; a file's name ends with .yaml") from None


def find_adapter(catalog: Catalog, target: str) -> Adapter:
    entry = find_entry(catalog, target)
    compiled = catalog.compiled(entry)
    if compiled.adapter is None:
        raise SpecError(f"{entry.shown} is broken", compiled.diagnostics)
    return compiled.adapter


# -- validate --------------------------------------------------------------------------------------


def validate_command(targets: Sequence[str], *, format: str) -> int:
    """Print every problem of the files named (or of all in use); 1 if there is an error."""
    show_warnings()
    config = load_config()
    catalog = load_catalog(config)
    entries = [find_entry(catalog, target) for target in targets]
    if not targets:
        entries = [catalog.entries[engine][0] for engine in catalog.ids]
    found: list[Diagnostic] = list(catalog.problems) if not targets else []
    for entry in entries:
        found += catalog.validate(entry)
        if targets or entry.origin != "built-in":
            found += _missing_command(catalog, config, entry)
    found = in_file_order(found)
    failed = has_errors(found)
    if format == "json":
        print(render_json(found))
    elif format == "github":
        for diagnostic in found:
            print(render_github(diagnostic))
    else:
        for diagnostic in found:
            print(render_text(diagnostic) + "\n")
        _summary(entries, found)
    return EXIT_FAILURE if failed else EXIT_OK


def _summary(entries: Sequence[Entry], found: Sequence[Diagnostic]) -> None:
    errors = sum(d.severity == "error" for d in found)
    warnings = len(found) - errors
    counts = [f"{errors} error{'s' * (errors != 1)}"] if errors else []
    counts += [f"{warnings} warning{'s' * (warnings != 1)}"] if warnings else []
    names = ", ".join(entry.id for entry in entries)
    print(f"{names}: {', '.join(counts) or 'ok'}")


def _missing_command(catalog: Catalog, config: Config, entry: Entry) -> list[Diagnostic]:
    adapter = catalog.compiled(entry).adapter
    if adapter is None:
        return []
    try:
        options = _options(config, adapter)
        command = build_command(adapter, RunRequest(prompt="hello"), options, os.environ).command
    except TakopiError as error:
        return [Diagnostic("schema", str(error), help="correct takopi.toml")]
    if find_executable(command, os.environ) is not None:
        return []
    how = f"install it: `{adapter.spec.install}`" if adapter.spec.install else "install it"
    text = entry.path.read_text(encoding="utf-8")
    at = re.search(r"(?m)^command:[ \t]*", text)
    begin = at.end() if at else 0
    source = Source(entry.shown, text)
    return [
        Diagnostic(
            "missing-command",
            f"`{command}` was not found on PATH",
            source.span(begin, begin + len(command)) if at else None,
            "command",
            f"{how}, or set `command` in [{adapter.id}] of takopi.toml",
            severity="warning",
        )
    ]


def _options(config: Config, adapter: Adapter) -> EngineOptions:
    table = config.engine_table(adapter.id)
    return resolve_options(
        adapter.id, adapter.spec.options, adapter.options_read, table, str(config.path)
    )


# -- show ------------------------------------------------------------------------------------------

_SAMPLE_PROMPT = "Say hello."


def show_command(target: str) -> int:
    """Print the adapter after ``extends``, and its command line for a sample prompt."""
    show_warnings()
    config = load_config()
    adapter = find_adapter(load_catalog(config), target)
    options = _options(config, adapter)
    print(f"# {adapter.file}")
    print(_as_yaml(adapter), end="")
    form = adapter.resume
    token = form.sample_token() if form is not None else None
    for resume in (None, token) if token is not None else (None,):
        request = RunRequest(prompt=_SAMPLE_PROMPT, resume=resume, cwd=str(Path.cwd()))
        line = build_command(adapter, request, options, os.environ)
        print(f"\n# {'resumed' if resume else 'new'} session")
        _print_command(line)
    if form is not None and token is not None:
        print(f"# resume line\n{form.format(token)}")
    return EXIT_OK


def _as_yaml(adapter: Adapter) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    out = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 120
    writer.allow_unicode = True
    writer.dump(adapter.spec.model_dump(by_alias=True, exclude_unset=True, mode="json"), out)
    return out.getvalue()


def _print_command(line: CommandLine) -> None:
    from shlex import quote

    inherited = {k: v for k, v in os.environ.items() if k in line.env}
    for name, value in line.env.items():
        if inherited.get(name) != value:
            print(f"env    {name}={quote(value)}")
    for name in os.environ:
        if name not in line.env:
            print(f"unset  {name}")
    print("argv   " + " ".join(map(quote, (line.command, *line.args))))
    print("stdin  " + (repr(line.stdin.decode("utf-8", "replace")) if line.stdin else "closed"))


# -- replay ----------------------------------------------------------------------------------------


def replay_command(
    target: str, path: Path, *, as_json: bool, as_chat: bool, speed: float | None
) -> int:
    """Print a recorded stream's events; 1 when the run it holds failed."""
    if as_json and as_chat:
        raise UsageError("--json and --chat show the same run in two ways; give one of them")
    show_warnings()
    adapter = find_adapter(load_catalog(load_config()), target)
    if not path.exists():
        raise UsageError(f"there is no recording {path}")
    recording = load_recording(path)
    recording = replace(recording, resume=_known_resume(adapter, recording))
    view: View
    if as_json:
        view = JsonView()
    elif as_chat:
        view = ChatView(adapter)
    else:
        view = PlainView(adapter.id, out=sys.stdout)
    audit = Audit(adapter)
    audit.translator = translator = new_translator(adapter, recording, on_rule=audit.on_rule)
    folder = set_run_base_dir(Path(recording.cwd))  # paths are shown relative to it
    try:
        outcome = _play(translator, recording, view, speed)
    finally:
        reset_run_base_dir(folder)
    audit.run_ended(translator)
    form = adapter.resume
    token = outcome.resume
    view.finish(outcome, f"`{form.format(token.value)}`" if form and token else "")
    _report(translator, audit if outcome.ok else None)
    return EXIT_OK if outcome.ok else EXIT_FAILURE


def _known_resume(adapter: Adapter, recording: Recording) -> str | None:
    return recording.resume if adapter.resume is not None else None


def _play(
    translator: Translator, recording: Recording, view: View, speed: float | None
) -> CompletedEvent:
    last: TakopiEvent | None = None
    for events in replay(translator, recording):
        for event in events:
            view.event(event)
            last = event
        if speed is not None:
            time.sleep(1 / speed)
    if not isinstance(last, CompletedEvent):
        raise RuntimeError("a replay ended without a completed event")
    return last


def _report(translator: Translator, audit: Audit | None) -> None:
    """What the adapter did not understand, on stderr. A run that broke off proves nothing null."""
    lines = sum(translator.unmapped.values())
    if lines:
        print(
            f"\nno rule matched {lines} of {translator.lines} lines or their items:",
            file=sys.stderr,
        )
        for shape, count in translator.unmapped.items():
            print(f"  {count} × {without_escapes(shape)}", file=sys.stderr)
    findings = audit.findings() if audit is not None else []
    if findings:
        print(
            "\nvalues that this stream never had (a misspelt field is null for ever):",
            file=sys.stderr,
        )
        for finding in findings:
            print(f"  {without_escapes(str(finding))}", file=sys.stderr)


class ChatView:
    """Every state of the chat's one progress message, then the final message."""

    def __init__(self, adapter: Adapter) -> None:
        from takopi.bridge.markdown import MarkdownFormatter, assemble_markdown_parts
        from takopi.bridge.progress import ProgressTracker

        self._adapter = adapter
        self._tracker = ProgressTracker(engine=adapter.id)
        self._formatter = MarkdownFormatter()
        self._assemble = assemble_markdown_parts
        self._last = ""
        self._edits = 0
        self._message("starting")

    def event(self, event: TakopiEvent) -> None:
        """Edit the message if the event changed it."""
        if self._tracker.note_event(event):
            self._message("working")

    def finish(self, outcome: CompletedEvent, resume_line: str, *, cancelled: bool = False) -> None:
        """Print the final message."""
        body = outcome.answer
        if not outcome.ok and outcome.error:
            body = f"{body}\n\n{outcome.error}" if body.strip() else outcome.error
        status = "done" if outcome.ok and body.strip() else "error"
        parts = self._formatter.render_final_parts(
            self._tracker.snapshot(resume_formatter=self._line),
            elapsed_s=0,
            status=status,
            answer=body,
        )
        self._print("final message", self._assemble(parts))

    def close(self) -> None:
        """Nothing is open."""

    def _line(self, token: ResumeToken) -> str:
        form = self._adapter.resume
        return f"`{form.format(token.value)}`" if form is not None else ""

    def _message(self, label: str) -> None:
        state = self._tracker.snapshot(resume_formatter=self._line)
        parts = self._formatter.render_progress_parts(state, elapsed_s=0, label=label)
        text = self._assemble(parts)
        if text != self._last:
            self._last = text
            self._print(f"edit {self._edits}" if self._edits else "progress message", text)
            self._edits += 1

    @staticmethod
    def _print(title: str, text: str) -> None:
        print(f"── {title} " + "─" * max(0, 60 - len(title)))
        print(without_escapes(text).encode("utf-8", "replace").decode(), flush=True)


# -- schema ----------------------------------------------------------------------------------------


def schema_command() -> int:
    """Print the JSON Schema of the adapter format."""
    from takopi.adapters.schema import render

    print(render(), end="")
    return EXIT_OK
