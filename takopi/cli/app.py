"""The command line's front door: the commands, and what errors become.

Only typer is imported here: `takopi --help` must feel instant. Each command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from takopi import __version__
from takopi.cli.app_adapters import adapters
from takopi.cli.app_config import config
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

_ENGINE = "<engine>"  # a name that nobody can type


class _Commands(TyperGroup):
    """The commands, and one per engine, which is looked up when it is typed."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is None and _is_engine(cmd_name):
            return super().get_command(ctx, _ENGINE)
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0]
        if not (word.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, word)):
            from takopi.cli.start import engine_ids
            from takopi.diagnostics import did_you_mean

            commands = [name for name, command in self.commands.items() if not command.hidden]
            advice = did_you_mean(word, [*commands, *engine_ids()]) or "see `takopi --help`"
            raise UsageError(f"`{word}` is neither a command nor an engine; {advice}")
        return super().resolve_command(ctx, args)


def _is_engine(word: str) -> bool:
    """Whether an engine has this id, broken or not."""
    from takopi.ids import is_valid_id

    if not is_valid_id(word):
        return False
    from takopi.cli.start import engine_ids

    return word in engine_ids()


def _built_in_engines() -> str:
    from takopi.bundled import bundled

    return ", ".join(sorted(path.stem for path in bundled("adapters").glob("*.yaml")))


app = typer.Typer(
    name="takopi",
    cls=_Commands,
    help="Puts coding agents into a chat; every engine is one YAML file.",
    epilog=f"`takopi ENGINE` starts with another default engine. Built in: {_built_in_engines()}.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(adapters, name="adapters")
app.add_typer(config, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


FinalNotify = Annotated[
    bool | None,
    typer.Option(
        "--final-notify/--no-final-notify",
        help="Post answers as new messages, which ring (default), or edit the progress message.",
        show_default=False,
    ),
]
Onboard = Annotated[
    bool | None,
    typer.Option("--onboard/--no-onboard", help="Set the chat up first.", show_default=False),
]
Transport = Annotated[
    str | None, typer.Option(metavar="ID", help="The chat to use instead of the configured one.")
]
Debug = Annotated[
    bool | None,
    typer.Option("--debug/--no-debug", help="Log everything, to debug.log.", show_default=False),
]


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration file; default ~/.takopi/takopi.toml."),
    ] = None,
    final_notify: FinalNotify = None,
    onboard: Onboard = None,
    transport: Transport = None,
    debug: Debug = None,
) -> None:
    """Puts coding agents into a chat; every engine is one YAML file.

    Without a command: starts the chat.
    """
    try:
        Path.cwd()
    except OSError:
        raise TakopiError(
            "the working directory does not exist any more; change to one that does: `cd ~`"
        ) from None
    if config is not None:
        # Where every command looks, and a takopi that an engine starts.
        os.environ["TAKOPI_CONFIG"] = str(config.expanduser().absolute())
    if ctx.invoked_subcommand is None:
        _start(ctx, None)


@app.command(_ENGINE, hidden=True)
def engine(
    ctx: typer.Context,
    final_notify: FinalNotify = None,
    onboard: Onboard = None,
    transport: Transport = None,
    debug: Debug = None,
) -> None:
    """Start the chat with this engine as the default one."""
    _start(ctx, ctx.info_name)


def _start(ctx: typer.Context, engine: str | None) -> None:
    from takopi.cli.start import StartOptions, start_command

    given = {**ctx.find_root().params}  # options may stand before the engine, too
    given.update({name: value for name, value in ctx.params.items() if value is not None})
    options = StartOptions(
        engine=engine,
        transport=given["transport"],
        final_notify=given["final_notify"] is not False,
        onboard=given["onboard"] is True,
        debug=given["debug"] is True,
    )
    raise typer.Exit(start_command(options))


@app.command()
def chat(
    engine: Annotated[
        str | None, typer.Argument(help="Default engine here, see `takopi adapters list`.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Argument(help="The first message; the chat goes on after it.")
    ] = None,
) -> None:
    """Chat here, in the terminal; needs no configuration and no account."""
    from takopi.cli.start import chat_command

    raise typer.Exit(chat_command(engine, " ".join(prompt or ())))


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


@app.command()
def init(
    alias: Annotated[
        str | None, typer.Argument(help="What messages call the project: /ALIAS.")
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Use this project for messages that name none.")
    ] = False,
) -> None:
    """Register the repository you are in as a project."""
    from takopi.cli.init import init_command

    raise typer.Exit(init_command(alias, default=default))


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check configuration, engines, adapters, plugins, projects and the lock."""
    from takopi.cli.doctor import doctor_command

    raise typer.Exit(doctor_command(as_json=json))


@app.command()
def plugins(
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="Import each one to see whether it works.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when a plugin has an error.")
    ] = False,
) -> None:
    """List engines, chats and commands that packages add."""
    from takopi.cli.plugins import plugins_command

    raise typer.Exit(plugins_command(load=load, strict=strict))


@app.command("chat-id")
def chat_id(
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Bot token; default the configured one.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="Bind the chat to this project.")
    ] = None,
) -> None:
    """Show the number of a Telegram chat: wait for a message that is sent there."""
    from takopi.cli.chat_id import chat_id_command

    raise typer.Exit(chat_id_command(token, project))


@app.command("onboarding-paths", hidden=True)
def onboarding_paths() -> None:
    """Show which ways there are through the set-up."""
    from takopi.cli.start import onboarding_paths_command

    raise typer.Exit(onboarding_paths_command())


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

        from takopi.logs import redact

        typer.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
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
