"""The command line's front door: the commands, and what errors become.

Only typer is imported here: `takopi --help` must feel instant. Each command imports what it needs.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from takopi import __version__
from takopi.cli.streams import abandon_output, is_full, prepare_streams
from takopi.errors import (
    EXIT_BUG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    TakopiError,
    UsageError,
)

app = typer.Typer(
    name="takopi",
    help="Puts coding agents into a chat; every engine is one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
adapters = typer.Typer(
    help="Engines as YAML files: list, check, look at and try them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(adapters, name="adapters")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Puts coding agents into a chat; every engine is one YAML file."""
    try:
        Path.cwd()
    except OSError:
        raise TakopiError(
            "the working directory does not exist any more; change to one that does: `cd ~`"
        ) from None


@app.command()
def run(
    engine: Annotated[str, typer.Argument(help="Engine id, see `takopi adapters list`.")],
    prompt: Annotated[list[str], typer.Argument(help="The prompt; `-` alone reads it from stdin.")],
    resume: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="Go on with this session: its token or resume line."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print takopi's events as JSON lines.")
    ] = False,
    cwd: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory to work in.")] = None,
) -> None:
    """Run one prompt and show its progress and answer."""
    from takopi.cli.run import run_command

    raise typer.Exit(run_command(engine, prompt, resume=resume, as_json=json, cwd=cwd))


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


def main() -> None:
    """Run the command line and exit with its code."""
    prepare_streams()
    try:
        try:
            code = _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        abandon_output()  # whoever read it is gone; there is nobody to tell
        code = EXIT_FAILURE
    except OSError as error:  # see `is_full`
        with suppress(OSError):  # stderr may be what is full
            _say_error(TakopiError(f"cannot write the output: {error.strerror}"))
        abandon_output()
        code = EXIT_FAILURE
    sys.exit(code)


def _run() -> int:
    """The exit code. Errors of the output streams are left to the caller."""
    try:
        app()
    except UsageError as error:
        _say_error(error)
        return EXIT_USAGE
    except TakopiError as error:
        _say_error(error)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) or is_full(error):
            raise
        import traceback

        traceback.print_exc()
        typer.echo(
            f"error: this is a bug in takopi {__version__}; please report it with the lines above",
            err=True,
        )
        return EXIT_BUG
    return EXIT_OK


def _say_error(error: TakopiError) -> None:
    typer.echo(f"error: {error}", err=True)
    diagnostics = getattr(error, "diagnostics", ())
    if diagnostics:
        from takopi.diagnostics import render_text

        for diagnostic in diagnostics:
            typer.echo("\n" + render_text(diagnostic), err=True)


if __name__ == "__main__":
    main()
