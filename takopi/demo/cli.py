"""``takopi-demo``: ask a question about the files here, or reopen a session in a terminal."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import BinaryIO, NoReturn

from takopi.demo import VERSION
from takopi.demo.engine import Crash, Engine
from takopi.demo.files import Workspace
from takopi.demo.markdown import printable
from takopi.demo.sessions import Session, SessionError, SessionStore, render_transcript
from takopi.demo.stream import JsonLines, PlainText, Stream

_MAX_STDIN = 1 << 16  # bytes of a prompt that are kept
_CRASHED = 3
_BROKEN_PIPE = 128 + signal.SIGPIPE
_HELP = """\
Answers simple questions about the files of the working directory: list, count, search, read.
It needs no account and no network, so that takopi can be tried at once.

prompts to try:
  list files, how many lines of Python?, search for TODO, where is main defined?,
  read README.md, what is this project?, biggest files
follow-ups in a session:
  and in tests?, show the first one, again, what did I ask?
to see how a failing engine looks:
  fail       a failed run, exit code 1
  crash      text on stderr, exit code 3, no closing line
  sleep 30   a step that takes 30 seconds (to try cancelling)

environment:
  TAKOPI_DEMO_DELAY  seconds to pause in each step, like --delay
  TAKOPI_DEMO_HOME   where sessions are kept
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. 2 is wrong usage, 1 a failed run, 3 a crash."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    arguments = _parse(list(sys.argv[1:] if argv is None else argv))
    try:
        return _ask(arguments) if arguments.command == "ask" else _resume(arguments)
    except SessionError as error:
        return _complain(str(error))
    except Crash:
        print("takopi-demo: crashed, because the prompt asked for it", file=sys.stderr)
        return _CRASHED
    except BrokenPipeError:
        # Whoever read the output is gone: nothing more to say, not even when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _BROKEN_PIPE


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _complain(message: str) -> int:
    print(f"takopi-demo: {printable(message)}", file=sys.stderr)
    return 1


def _parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; what follows a ``--`` is the prompt, whatever it looks like."""
    parser = argparse.ArgumentParser(
        prog="takopi-demo",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"takopi-demo {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask = commands.add_parser("ask", help="answer one prompt", allow_abbrev=False)
    ask.add_argument("--json", action="store_true", help="print events as JSON lines")
    ask.add_argument("--session", metavar="ID", help="continue this session")
    resume = commands.add_parser("resume", help="reopen a session", allow_abbrev=False)
    resume.add_argument("session", metavar="ID")
    for command in (ask, resume):
        command.add_argument(
            "--delay",
            type=_seconds,
            default=os.environ.get("TAKOPI_DEMO_DELAY") or "0",
            metavar="SECONDS",
            help="pause in each step, to watch progress (default 0)",
        )
        command.add_argument(
            "prompt", nargs="*", metavar="PROMPT", help="words, or - for stdin; -- may precede it"
        )
    literal: list[str] = []
    if "--" in argv:
        split = argv.index("--")
        argv, literal = argv[:split], argv[split + 1 :]
    arguments = parser.parse_args(argv)
    if arguments.prompt == ["-"] and not literal:
        arguments.prompt = [_stdin_text()]
    arguments.prompt += literal
    if arguments.command == "ask" and not arguments.prompt:
        parser.error("a prompt is needed: takopi-demo ask PROMPT")
    return arguments


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of seconds from 0 to 3600")
    return value


def _stdin_text() -> str:
    """The text on stdin; all of it is read, so that no writer gets a broken pipe."""
    kept = b""
    while sys.stdin and (chunk := sys.stdin.buffer.read(_MAX_STDIN)):
        kept += chunk[: _MAX_STDIN - len(kept)]
    return kept.decode("utf-8", "replace")


def _ask(arguments: argparse.Namespace) -> int:
    store = SessionStore.of_user(os.environ)
    root = _here()
    session = store.load(arguments.session) if arguments.session else store.new(root)
    out, talk = _binary(1), _binary(2)
    stream: Stream = JsonLines(out) if arguments.json else PlainText(out, talk)
    engine = Engine(store, session, Workspace(root), stream, delay_s=arguments.delay)
    done = engine.ask(" ".join(arguments.prompt))
    if not arguments.json and sys.stderr:
        print(f"\nto continue: takopi-demo resume {session.id}", file=sys.stderr)
    return 0 if done else 1


def _resume(arguments: argparse.Namespace) -> int:
    """One more question, or the whole session: what was said, then questions line by line."""
    store = SessionStore.of_user(os.environ)
    session = store.load(arguments.session)
    root = session.cwd if os.path.isdir(session.cwd) else _here()
    stream = PlainText(_binary(1), _binary(2))
    engine = Engine(store, session, Workspace(root), stream, delay_s=arguments.delay)
    if arguments.prompt:
        return 0 if engine.ask(" ".join(arguments.prompt)) else 1
    _say(render_transcript(session))
    if sys.stdin and sys.stdin.isatty():
        _converse(engine, session, root)
    return 0


def _converse(engine: Engine, session: Session, root: str) -> None:
    _say(f"\nsession {session.id} in {root}; `exit` or Ctrl-D ends\n")
    while True:
        _say("\n> ")
        line = sys.stdin.buffer.readline().decode("utf-8", "replace")
        if not line or line.strip().lower() in {"exit", "quit", "bye"}:
            _say("" if line else "\n")
            return
        if line.strip():
            engine.ask(line.strip())


def _say(text: str) -> None:
    out = _binary(1)
    out.write(printable(text).encode())
    out.flush()


def _here() -> str:
    try:
        return os.path.realpath(os.getcwd())
    except FileNotFoundError:
        raise SessionError("the working directory does not exist any more") from None


def _binary(number: int) -> BinaryIO:
    """Stdout or stderr for bytes; a closed one swallows what is written."""
    stream = sys.stdout if number == 1 else sys.stderr
    return stream.buffer if stream else open(os.devnull, "wb")
