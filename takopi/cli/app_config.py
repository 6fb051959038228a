"""`takopi config …`: what the group's commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

config = typer.Typer(
    help="Look at and change the configuration file.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigPath = Annotated[
    Path | None,
    typer.Option("--config-path", metavar="FILE", help="Use this file instead of the usual one."),
]
ShowSecrets = Annotated[
    bool, typer.Option("--show-secrets", help="Print tokens and keys instead of `***`.")
]
Key = Annotated[str, typer.Argument(help="Dotted key, such as projects.app.path.")]


@config.command("path")
def path(config_path: ConfigPath = None) -> None:
    """Print where the configuration file is."""
    from takopi.cli.config import path_command

    raise typer.Exit(path_command(config_path))


@config.command("list")
def list_(config_path: ConfigPath = None, show_secrets: ShowSecrets = False) -> None:
    """Print everything the file sets."""
    from takopi.cli.config import list_command

    raise typer.Exit(list_command(config_path, show_secrets=show_secrets))


@config.command("get")
def get(key: Key, config_path: ConfigPath = None, show_secrets: ShowSecrets = False) -> None:
    """Print one value as TOML; exit code 1 when the file does not set it."""
    from takopi.cli.config import get_command

    raise typer.Exit(get_command(key, config_path, show_secrets=show_secrets))


# A chat id is negative, and must not be taken for an option.
@config.command("set", context_settings={"ignore_unknown_options": True})
def set_(
    key: Key,
    value: Annotated[str, typer.Argument(help="As in TOML; what is not TOML is a text.")],
    config_path: ConfigPath = None,
) -> None:
    """Set one value; the file is left as it was when the result would be invalid."""
    from takopi.cli.config import set_command

    raise typer.Exit(set_command(key, value, config_path))


@config.command("unset")
def unset(key: Key, config_path: ConfigPath = None) -> None:
    """Remove one value."""
    from takopi.cli.config import unset_command

    raise typer.Exit(unset_command(key, config_path))
