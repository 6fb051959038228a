"""`takopi` and `takopi ENGINE`: check the set-up, take the lock, and hand over to the chat."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias

from takopi.bridge.build import build_runtime_spec
from takopi.bridge.transport import (
    SetupResult,
    TransportBackend,
    get_transport,
    interactive_setup,
    lock_token,
    needs_config,
)
from takopi.cli.streams import is_interactive
from takopi.collector import settle_collector
from takopi.config import Config, config_path, display_path, load_config
from takopi.config.settings import MAIN_TRANSPORT
from takopi.diagnostics import did_you_mean
from takopi.engines.backend import EngineBackend
from takopi.engines.registry import default_engine_id, list_backend_ids, load_registry
from takopi.errors import EXIT_OK, ConfigError, TakopiError, UsageError
from takopi.lockfile import acquire_lock, token_fingerprint
from takopi.logs import add_secret, get_logger, setup_logging, show_warnings

_COMMANDS_FOLDER = "running_engines"  # beside the configuration

logger = get_logger(__name__)

Step: TypeAlias = Literal["start", "set up", "ask, then set up", "config error", "other error"]


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What the command line asks for. ``engine`` replaces the configured default engine."""

    engine: str | None = None
    transport: str | None = None
    final_notify: bool = True
    onboard: bool = False
    debug: bool = False


def start_command(options: StartOptions) -> int:
    """Run the chat until it ends. The exit code: 0, or 128 + N after signal N."""
    if options.debug:
        os.environ.setdefault("TAKOPI_LOG_FILE", "debug.log")
    setup_logging(debug=options.debug)
    received: list[int] = []
    with _signals_interrupt(received):
        try:
            return _start(options)
        except KeyboardInterrupt:
            number = received[0] if received else int(signal.SIGINT)
            logger.info("shutdown.interrupted", signal=signal.Signals(number).name)
            return 128 + number


def _start(options: StartOptions) -> int:
    path = config_path()
    if _may_choose(options, path) and _chooses_terminal():
        return chat_command(options.engine)
    transport = _set_up(options, path)
    config = load_config(path)
    settings = config.settings
    spec = build_runtime_spec(config, default_engine_override=options.engine)
    transport_config = settings.transport_config(transport.id, config_path=path)
    token = lock_token(transport, transport_config=transport_config, config_path=path)
    if token:
        add_secret(token)
    with acquire_lock(config_path=path, token_fingerprint=token_fingerprint(token)):
        _end_left_over(path.with_name(_COMMANDS_FOLDER))
        runtime = spec.to_runtime(config_path=path)
        settle_collector()
        transport.build_and_run(
            transport_config=transport_config,
            config_path=path,
            runtime=runtime,
            final_notify=options.final_notify,
            default_engine_override=options.engine,
        )
    return EXIT_OK


def _end_left_over(folder: Path) -> None:
    """Begin without the engines of a takopi that was killed, and note our own for the next one."""
    from takopi.engines.left_over import end_left_over, keep_notes

    pids = end_left_over(folder)
    if pids:
        logger.warning("start.ended_left_over", pids=pids)
    keep_notes(folder)


def chat_command(engine: str | None, first: str = "") -> int:
    """Chat in the terminal, with no lock: it serves no account that two could be at.

    ``first`` is the first message, if it is not blank. The exit code is that of `run_chat`.
    """
    from takopi.terminal.chat import ChatOptions, run_chat

    if os.environ.get("TAKOPI_LOG_FILE") or os.environ.get("TAKOPI_LOG_LEVEL"):
        setup_logging()
    else:
        show_warnings()  # the terminal is for the conversation
    if engine is not None and engine not in engine_ids():
        advice = did_you_mean(engine, engine_ids()) or "see `takopi adapters list`"
        raise UsageError(f"unknown engine `{engine}`; {advice}")
    path = config_path()
    spec = build_runtime_spec(load_config(path), default_engine_override=engine)
    options = ChatOptions(path, first=first.strip() or None, default_engine_override=engine)
    return run_chat(spec.to_runtime(config_path=path), options)


def engine_ids() -> list[str]:
    """The engines that the command line knows, whatever state the configuration is in."""
    try:
        return list_backend_ids()
    except TakopiError:
        return load_registry(Config(config_path())).ids


# -- set-up ----------------------------------------------------------------------------------------


def _may_choose(options: StartOptions, path: Path) -> bool:
    """Whether nothing says yet which chat it is to be, and there is somebody to ask."""
    if options.transport is not None or options.onboard or path.exists():
        return False
    return is_interactive() and "transport" not in load_config(path).data


def _chooses_terminal() -> bool:
    """Ask where to chat; elsewhere than here an account has to be set up."""
    import typer

    print("There is no configuration yet. Where do you want to chat?")
    print("  1  here, in this terminal: needs no account")
    print("  2  in Telegram, from any phone")
    answer = ""
    while answer not in ("1", "2"):
        answer = typer.prompt("Choose", default="1").strip()
    return answer == "1"


def next_step(*, ok: bool, config_helps: bool, config_exists: bool, interactive: bool) -> Step:
    """What to do with the result of a check of the set-up."""
    if ok:
        return "start"
    if not config_helps:
        return "other error"
    if not interactive:
        return "config error"
    return "ask, then set up" if config_exists else "set up"


def _set_up(options: StartOptions, path: Path) -> TransportBackend:
    """The chat, once it has all it needs. Raises `TakopiError`."""
    backend, transport = _choose(options, path)
    if options.onboard:
        if not is_interactive():
            raise TakopiError("--onboard requires a TTY")
        if not interactive_setup(transport, force=True):
            raise TakopiError("the set-up was broken off; nothing was started")
        backend, transport = _choose(options, path)
    result = transport.check_setup(backend, transport_override=options.transport)
    step = _step(result, transport, path)
    if step in ("set up", "ask, then set up"):
        exists = step == "ask, then set up"
        if exists and not _ask(path, transport.id):
            raise _setup_error(result, transport, path)
        if not interactive_setup(transport, force=exists):
            raise TakopiError("the set-up was broken off; nothing was started")
        backend, transport = _choose(options, path)
        result = transport.check_setup(backend, transport_override=options.transport)
    if not result.ok:
        raise _setup_error(result, transport, path)
    return transport


def _choose(options: StartOptions, path: Path) -> tuple[EngineBackend, TransportBackend]:
    try:
        config = load_config(path)
    except ConfigError:
        config = Config(path)  # the check of the set-up says what is wrong with it
    registry = load_registry(config)
    backend = registry.backend(default_engine_id(registry, options.engine))
    wanted: Any = config.data.get("transport", MAIN_TRANSPORT)
    if options.transport is not None:
        wanted = options.transport.strip()
        if not wanted:
            raise TakopiError("Invalid `--transport`; expected a non-empty string.")
    return backend, get_transport(str(wanted).strip(), allowlist=registry.allowlist)


def _step(result: SetupResult, transport: TransportBackend, path: Path) -> Step:
    return next_step(
        ok=result.ok,
        config_helps=any(needs_config(issue, transport.id) for issue in result.issues),
        config_exists=path.exists(),
        interactive=is_interactive(),
    )


def _ask(path: Path, transport_id: str) -> bool:
    import typer

    return typer.confirm(
        f"config at {display_path(path)} is missing/invalid for {transport_id}, run onboarding now?",
        default=False,
    )


def _setup_error(result: SetupResult, transport: TransportBackend, path: Path) -> TakopiError:
    """The error of a set-up that is not complete: which file and why, or the first issue."""
    issue = next((i for i in result.issues if needs_config(i, transport.id)), None)
    if issue is None:
        first = result.issues[0]
        details = "\n".join(_plain(line) for line in first.lines)
        return TakopiError(f"{first.title}\n{details}".rstrip())
    steps = "\n".join(_plain(line) for line in issue.lines)
    if not path.exists():
        return ConfigError(
            f"missing takopi config at {display_path(path)}; `takopi --onboard` in a terminal "
            f"asks for what it needs, `takopi config set` writes it\n{steps}"
        )
    message = f"invalid takopi config at {display_path(path)}"
    try:
        load_config(path).settings.transport_config(transport.id, config_path=path)
    except ConfigError as error:
        return ConfigError(f"{message}\n{error}", error.diagnostics)
    return ConfigError(f"{message}: {issue.title}\n{steps}")


def _plain(line: str) -> str:
    from rich.text import Text

    return Text.from_markup(line).plain.rstrip()


def onboarding_paths_command() -> int:
    """Print what `takopi` does for each state of its set-up."""
    rows = [("SET-UP", "CONFIG FILE", "TERMINAL", "THEN")]
    for missing, exists, interactive in itertools.product(
        ("nothing", "the chat's settings", "something else"), (False, True), (True, False)
    ):
        step = next_step(
            ok=missing == "nothing",
            config_helps=missing == "the chat's settings",
            config_exists=exists,
            interactive=interactive,
        )
        rows.append((f"lacks {missing}", _yes(exists), _yes(interactive), step))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return EXIT_OK


def _yes(value: bool) -> str:
    return "yes" if value else "no"


# -- while it runs ---------------------------------------------------------------------------------


@contextmanager
def _signals_interrupt(received: list[int]) -> Iterator[None]:
    """Being told to end, and losing the terminal, work like Ctrl-C: runs are ended, the lock freed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGINT)

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
