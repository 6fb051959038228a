"""What is allowed in the configuration, but surely not meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from takopi.config.report import Source, read_source
from takopi.config.settings import Settings
from takopi.diagnostics import Diagnostic, suggest

# `/a@b` is the alias `a` said to the bot `b`, and a word ends at white space.
_NO_DIRECTIVE = re.compile(r"[\s@]")


def unknown_tables(
    settings: Settings, known_engine_ids: Iterable[str], *, config_path: Path | None = None
) -> list[Diagnostic]:
    """Warnings for keys at the top that are neither a setting nor an engine."""
    engines = set(known_engine_ids)
    source = _source(config_path)
    found = []
    for key in settings.model_extra or {}:
        if key in engines:
            continue
        meant = suggest(key, [*Settings.model_fields, *sorted(engines)])
        advice = f"did you mean `{meant}`?" if meant else "`takopi adapters list` shows the engines"
        message = f"`{key}` is neither a setting nor an engine"
        found.append(
            source.problem((key,), message, code="unknown-key", help=advice, severity="warning")
        )
    return found


def unreachable_aliases(settings: Settings, *, config_path: Path | None = None) -> list[Diagnostic]:
    """Warnings for projects that no message can name."""
    source = _source(config_path)
    return [
        source.problem(
            ("projects", alias),
            f"no message can name the project '{alias}'",
            help="use letters, digits, `_` and `-` in an alias",
            severity="warning",
        )
        for alias in settings.projects
        if not alias or _NO_DIRECTIVE.search(alias)
    ]


def _source(path: Path | None) -> Source:
    return read_source(path) if path is not None else Source(Path("takopi.toml"))
