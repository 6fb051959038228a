"""`takopi adapters list`: a line per engine, from what is remembered of its file where that is enough."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from takopi.adapters.cache import Verdict
from takopi.adapters.catalog import Catalog, Entry, display_path, load_catalog
from takopi.config import Config, load_config
from takopi.diagnostics import render_text
from takopi.engines.executables import find_executable
from takopi.errors import EXIT_OK, TakopiError
from takopi.logs import show_warnings


@dataclass(frozen=True, slots=True)
class _Row:
    entry: Entry
    verdict: Verdict
    status: str
    executable: str | None = None


def list_command(*, versions: bool) -> int:
    """Print a line per engine; what it shadows stands below it."""
    show_warnings()
    config = load_config()
    catalog = load_catalog(config)
    rows = [_row(catalog, config, catalog.entries[engine][0]) for engine in catalog.ids]
    told = _versions(rows) if versions else {}
    table = [("ENGINE", "STATUS", "SOURCE", "CLI", *(["VERSION", "TESTED"] if versions else []))]
    for row in rows:
        cells = [row.entry.id, row.status, source_of(row.entry), _cli(row)]
        if versions:
            cells += [told.get(row.entry.id, "-"), row.verdict.tested or "-"]
        table.append(tuple(cells))
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for i, line in enumerate(table):
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
        for hidden in catalog.entries[rows[i - 1].entry.id][1:] if i else []:
            print(f"  shadows {source_of(hidden)}")
    for problem in catalog.problems:
        print(f"\n{render_text(problem)}", file=sys.stderr)
    broken = [row.entry.id for row in rows if row.verdict.errors]
    if broken:
        print(f"\nsee what is wrong: takopi adapters validate {' '.join(broken)}", file=sys.stderr)
    return EXIT_OK


def source_of(entry: Entry) -> str:
    """``built-in``, or where a user's or a package's file comes from."""
    if entry.origin == "package":
        return f"package {entry.distribution}"
    return "built-in" if entry.origin == "built-in" else f"{entry.origin} {entry.shown}"


def _row(catalog: Catalog, config: Config, entry: Entry) -> _Row:
    verdict = catalog.verdict(entry)
    if verdict.errors:
        return _Row(entry, verdict, f"broken ({verdict.errors})")
    try:
        command = verdict.command
        if command is None or config.engine_table(entry.id):
            command = _configured_command(catalog, config, entry)
    except TakopiError as error:
        print(f"warning: {error}", file=sys.stderr)
        return _Row(entry, verdict, "bad config")
    executable = find_executable(command, os.environ)
    return _Row(entry, verdict, "ok" if executable else "missing cli", executable)


def _configured_command(catalog: Catalog, config: Config, entry: Entry) -> str:
    """The executable that the ``[engine]`` table makes of it. Raises `TakopiError` for a bad one."""
    from takopi.adapters.request import RunRequest, build_command
    from takopi.engines.registry import engine_options

    options = engine_options(catalog, config, entry.id)
    adapter = catalog.adapter(entry.id)
    return build_command(adapter, RunRequest(prompt="hello"), options, os.environ).command


def _cli(row: _Row) -> str:
    if row.executable is not None:
        return display_path(Path(row.executable))
    if row.status != "missing cli":
        return "-"
    return f"not found; {row.verdict.install}" if row.verdict.install else "not found"


def _versions(rows: Sequence[_Row]) -> dict[str, str]:
    """What each CLI says its version is, asked all at once."""
    import anyio

    from takopi.engines.probe import ask_version

    found: dict[str, str] = {}

    async def ask(row: _Row, executable: str) -> None:
        try:
            version = await ask_version(executable, row.verdict.version_args, os.environ)
            found[row.entry.id] = version or "no answer"
        except TakopiError as error:
            found[row.entry.id] = str(error)

    async def ask_all() -> None:
        async with anyio.create_task_group() as tasks:
            for row in rows:
                if row.executable is not None:
                    tasks.start_soon(ask, row, row.executable)

    anyio.run(ask_all)
    return found
