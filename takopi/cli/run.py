"""`takopi run`: one run in the terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import anyio
from anyio.abc import TaskStatus

from takopi.adapters.catalog import Catalog, load_catalog
from takopi.ansi import strip_ansi
from takopi.cli.view import View, make_view, name_of, no_session
from takopi.config import Config, load_config
from takopi.diagnostics import did_you_mean, render_text
from takopi.engines.base import Run, Runner, start_run
from takopi.engines.registry import engine_entry, load_registry
from takopi.errors import EXIT_FAILURE, EXIT_OK, UsageError
from takopi.logs import show_warnings
from takopi.model import ResumeToken
from takopi.paths import reset_run_base_dir, set_run_base_dir


def run_command(
    engine: str, words: Sequence[str], *, resume: str | None, as_json: bool, cwd: Path | None
) -> int:
    """Run ``words`` as one prompt. The exit code: 0, 1 for a failed run, 128 + N after signal N."""
    show_warnings()
    config = load_config()
    catalog = load_catalog(config)
    runner = _runner(config, engine, catalog)
    token = _token(runner, resume)
    prompt = _prompt(words)
    folder = set_run_base_dir((cwd or Path.cwd()).absolute())
    try:
        view = make_view(engine, as_json=as_json)
        try:
            return anyio.run(_show, view, runner, start_run(runner, prompt, token))
        finally:
            view.close()
    finally:
        reset_run_base_dir(folder)


def _runner(config: Config, engine: str, catalog: Catalog) -> Runner:
    registry = load_registry(config, catalog=catalog)
    if engine not in registry.sources:
        for problem in catalog.problems:  # it may be why the engine is not known
            print(render_text(problem), file=sys.stderr)
        advice = did_you_mean(engine, registry.ids) or "see `takopi adapters list`"
        raise UsageError(f"unknown engine `{engine}`; {advice}")
    runner = engine_entry(config, engine, catalog=catalog).runner
    assert runner is not None  # or it would have raised
    return runner


def _prompt(words: Sequence[str]) -> str:
    if list(words) == ["-"]:
        # As bytes: what is not UTF-8 must not cost the prompt.
        piped = b"" if sys.stdin is None else sys.stdin.buffer.read()
        prompt, source = piped.decode("utf-8", "replace"), "stdin holds no prompt"
    else:
        prompt, source = " ".join(words), "the prompt is empty"
    if not prompt.strip():
        raise UsageError(f"{source}; say what the engine should do")
    return prompt


def _token(runner: Runner, resume: str | None) -> ResumeToken | None:
    if resume is None:
        return None
    sample = runner.format_resume(ResumeToken(runner.engine, "TOKEN"))
    if not sample:
        raise UsageError(f"{name_of(runner)} cannot resume a session; leave out --resume")
    text = resume.strip().removeprefix("resume:").strip()  # as this command prints it
    token = runner.extract_resume(text)
    if token is not None:
        return token
    # A token may be a path with spaces in it; other words are a line that is not this engine's.
    words = len(text.split()) > 1 and (os.sep not in text or not text.isprintable())
    if not text or text.startswith("-") or words:
        given = f"`{strip_ansi(resume)}`" if text else "an empty text"
        raise UsageError(
            f"{given} is neither a session token nor a resume line of {name_of(runner)}, "
            f"which looks like {sample}"
        )
    return ResumeToken(runner.engine, text)


async def _show(view: View, runner: Runner, run: Run) -> int:
    received: list[int] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_on_signal, run, received)
        try:
            async with aclosing(run.events) as events:  # type: ignore[type-var]
                async for event in events:
                    view.event(event)
        except Exception as error:
            failure = error  # raised outside the group, or it would come wrapped
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    outcome = run.outcome
    if outcome is None:
        return EXIT_FAILURE
    line = runner.format_resume(outcome.resume) if outcome.resume is not None else ""
    view.finish(outcome, line, cancelled=bool(received) and not outcome.ok)
    if outcome.ok and outcome.resume is None:
        print(f"warning: {no_session(runner)}", file=sys.stderr)
    if received and not outcome.ok:
        return 128 + received[0]
    return EXIT_OK if outcome.ok else EXIT_FAILURE


async def _cancel_on_signal(
    run: Run,
    received: list[int],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """End the engine's whole tree on Ctrl-C, and when takopi is told to end or loses its terminal."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            received.append(int(number))
            await run.cancel()
