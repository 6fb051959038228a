"""`takopi init`: the repository you are in becomes a project."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer

from takopi.cli.streams import is_interactive
from takopi.config import (
    config_path,
    display_path,
    ensure_table,
    load_config,
    load_or_init_config,
    validate_settings_data,
    write_config,
)
from takopi.engines.registry import load_registry
from takopi.errors import EXIT_OK, ConfigError, TakopiError
from takopi.git import resolve_default_base, resolve_main_worktree_root
from takopi.ids import RESERVED_CHAT_IDS


def init_command(alias: str | None, *, default: bool) -> int:
    """Add or replace a project. Raises `TakopiError` when the user does not want to."""
    path = config_path()
    engines = load_registry(load_config(path)).ids
    data, _ = load_or_init_config(path)
    cwd = Path.cwd()
    root = resolve_main_worktree_root(cwd) or cwd
    if alias is None:
        alias = _ask_alias(root)
    alias = alias.strip()
    if not alias:
        raise TakopiError("project alias cannot be empty")
    _check(alias, engines)
    projects = ensure_table(data, "projects", config_path=path)
    known = next((key for key in projects if key.lower() == alias.lower()), None)
    table: dict[str, Any] = {}
    if known is not None:
        question = f"project '{alias}' already exists, overwrite?"
        if not (is_interactive() and typer.confirm(question, default=False)):
            raise TakopiError(f"project '{alias}' already exists; nothing was changed")
        # What says where it is is replaced; a chat bound to it and the like stay.
        table = {**ensure_table(projects, known, config_path=path, label=f"projects.{known}")}
        if known != alias:
            del projects[known]
    table["path"] = str(root)
    table.setdefault("worktrees_dir", ".worktrees")
    base = resolve_default_base(root)
    if base is not None:
        table["worktree_base"] = base
    else:
        table.pop("worktree_base", None)
    projects[alias] = table
    if default:
        data["default_project"] = alias
    settings = validate_settings_data(data, config_path=path)
    settings.to_projects_config(config_path=path, engine_ids=engines, reserved=RESERVED_CHAT_IDS)
    write_config(data, path)
    print(f"saved project '{alias}' to {display_path(path)}")
    print(
        f"in a chat: /{alias.lower()} followed by what to do; /{alias.lower()} @branch for a branch"
    )
    return EXIT_OK


def _ask_alias(root: Path) -> str:
    name = root.name.removesuffix(".git")
    if not is_interactive():
        return name
    answer: str = typer.prompt("project alias", default=name, show_default=bool(name))
    return answer


def _check(alias: str, engines: Collection[str]) -> None:
    """Raises `ConfigError` for a name that means something else in a message."""
    word = alias.lower()
    if word in RESERVED_CHAT_IDS:
        taken = "reserved commands"
    elif word in engines:
        taken = "engine ids"
    else:
        return
    raise ConfigError(f"Invalid project alias '{alias}'; aliases must not match {taken}.")
