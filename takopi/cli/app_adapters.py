"""`takopi adapters …`: what the group's commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

adapters = typer.Typer(
    help="Engines as YAML files: list, check, look at and try them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@adapters.command("list")
def adapters_list(
    versions: Annotated[
        bool, typer.Option("--versions", help="Ask each CLI for its version.")
    ] = False,
) -> None:
    """List engines: source, status, what shadows what, and whether the CLI was found."""
    from takopi.cli.listing import list_command

    raise typer.Exit(list_command(versions=versions))


@adapters.command("validate")
def adapters_validate(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|ID]...", help="What to check; without any, all adapters in use."
        ),
    ] = None,
    format: Annotated[
        Literal["text", "json", "github"],
        typer.Option("--format", help="How problems are printed."),
    ] = "text",
) -> None:
    """Check adapter files; exit code 1 when there are problems."""
    from takopi.cli.adapters import validate_command

    raise typer.Exit(validate_command(targets or [], format=format))


@adapters.command("show")
def adapters_show(
    target: Annotated[str, typer.Argument(metavar="ID|FILE", help="The adapter to show.")],
) -> None:
    """Show an adapter as resolved, and what it starts for a sample prompt."""
    from takopi.cli.adapters import show_command

    raise typer.Exit(show_command(target))


@adapters.command("replay")
def adapters_replay(
    target: Annotated[str, typer.Argument(metavar="ID|FILE", help="The adapter to use.")],
    recording: Annotated[
        Path, typer.Argument(metavar="STREAM", help="A fixture folder or a file of JSON lines.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the events as JSON lines.")] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Print what the chat would show, message by message.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="N", help="Lines per second; default: all at once."),
    ] = None,
) -> None:
    """Show the events of a recorded stream; exit code 1 when the run it holds failed."""
    from takopi.cli.adapters import replay_command

    raise typer.Exit(replay_command(target, recording, as_json=json, as_chat=chat, speed=speed))


@adapters.command("explain")
def adapters_explain(
    target: Annotated[str, typer.Argument(metavar="ID|FILE", help="The adapter to use.")],
    place: Annotated[
        str,
        typer.Argument(
            metavar="STREAM[:LINE]", help="A recorded stream; without a line, all of them."
        ),
    ],
) -> None:
    """Show one line's way through the rules: which matched, which did not and why."""
    from takopi.cli.fixtures import explain_command

    raise typer.Exit(explain_command(target, place))


@adapters.command("test")
def adapters_test(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID|FILE]...", help="What to test; without any, all that have fixtures."
        ),
    ] = None,
    fixtures: Annotated[
        Path, typer.Option(metavar="DIR", help="Holds a folder per engine, with a folder per case.")
    ] = Path("fixtures/streams"),
    update: Annotated[
        bool, typer.Option("--update", help="Write what the streams give as the new expectation.")
    ] = False,
    min_coverage: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="N", help="Percent of the rules that must fire."),
    ] = 100,
) -> None:
    """Replay recorded streams: run contract, expected events, coverage of rules and lines."""
    from takopi.cli.fixtures import test_command

    raise typer.Exit(
        test_command(targets or [], fixtures=fixtures, update=update, min_coverage=min_coverage)
    )


@adapters.command("schema")
def adapters_schema() -> None:
    """Print the JSON Schema of adapter files, for editors."""
    from takopi.cli.adapters import schema_command

    raise typer.Exit(schema_command())
