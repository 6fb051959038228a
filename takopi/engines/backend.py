"""What an engine is before it runs: something that builds a runner from a table of takopi.toml."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from takopi.engines.base import Runner

EngineConfig: TypeAlias = dict[str, Any]
"""The raw ``[<id>]`` table of takopi.toml, ``{}`` if absent."""


@dataclass(frozen=True, slots=True)
class EngineBackend:
    """One engine, declared in YAML or written in Python: from here on there is no difference.

    ``build_runner`` gets the engine's table and the configuration file's path, and raises
    `ConfigError` for a bad value; it must be content with ``{}``. ``cli_cmd`` (default: the id) is
    looked up on PATH.
    """

    id: str
    build_runner: Callable[[EngineConfig, Path], Runner]
    cli_cmd: str | None = None
    install_cmd: str | None = None


@dataclass(frozen=True, slots=True)
class SetupIssue:
    """Something to do before takopi can start. ``lines`` may hold rich markup.

    ``needs_config``: going through the set-up of the chat would help.
    """

    title: str
    lines: tuple[str, ...]
    needs_config: bool = False


def install_issue(cmd: str, install_cmd: str | None) -> SetupIssue:
    """The issue of an engine whose executable was not found."""
    if install_cmd:
        line = f"   [dim]$ {_escape_markup(install_cmd)}[/]"
    else:
        line = "   [dim]see the engine's documentation for how to install it[/]"
    return SetupIssue(f"install {cmd}", (line,))


def _escape_markup(text: str) -> str:
    """``pip install acme[all]`` names no style; rich itself belongs to the command line."""
    return re.sub(r"\[(?=[a-z#/@][^\[]*\])", r"\\[", text)
