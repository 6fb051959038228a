"""Runs the real CLIs through takopi and prints what works: `python -m tests.e2e_engines`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from tests.e2e_engines.chat import COLUMNS, Chat
from tests.e2e_engines.checks import CHECKS, Findings, Stage
from tests.e2e_engines.fake_llm import FakeLlm
from tests.e2e_engines.homes import engines, make_home
from tests.e2e_engines.install import Cli, InstallError, install
from tests.e2e_engines.report import Report, print_details, print_table

_CHAT = "chat"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 when anything that ran did not do what it should."""
    options = _options(argv)
    base = Path(tempfile.mkdtemp(prefix="takopi-e2e-"))
    stop = threading.Event()
    talks: list[Report] = []
    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                runs = list(pool.map(lambda e: _play(e, base, options, stop), options.only))
            except KeyboardInterrupt:
                stop.set()  # the pool waits for the runs that go on; none starts after them
                raise
        _print_runs(runs, options)
        if _CHAT in options.checks:
            talks = _play_chat(runs, base, options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"homes and logs: {base}", file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)
    if all(report.missing for report in runs):
        return 1  # nothing was tried, so nothing is known to work
    return 1 if any(report.failed for report in [*runs, *talks]) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e_engines",
        description="Run the real CLIs through takopi, against a fake model server.",
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "takopi-e2e"
    checks = [*CHECKS, _CHAT]
    add = parser.add_argument
    add("--only", nargs="+", choices=engines(), default=engines(), metavar="ENGINE")
    add("--checks", nargs="+", choices=checks, default=checks, metavar="CHECK")
    add("--cache", type=Path, default=cache, help="where CLIs are installed (default: %(default)s)")
    add("--timeout", type=float, default=120.0, help="seconds one run may take (%(default)s)")
    add("--jobs", type=int, default=2, help="engines at a time (%(default)s)")
    add("--keep", action="store_true", help="keep homes and logs, and say where")
    options = parser.parse_args(argv)
    options.only = list(dict.fromkeys(options.only))  # twice at once in one home would not do
    return options


def _play(engine: str, base: Path, options: argparse.Namespace, stop: threading.Event) -> Report:
    """Install an engine, and play its runs."""
    report = Report(engine)
    try:
        report.cli = install(engine, options.cache.absolute())
        _play_runs(report, report.cli, base / engine, options, stop)
    except InstallError as error:
        report.missing = str(error)
    except Exception:  # one engine must not cost the others their report
        report.findings["setup"] = Findings([traceback.format_exc()])
    return report


def _play_runs(
    report: Report, cli: Cli, base: Path, options: argparse.Namespace, stop: threading.Event
) -> None:
    with FakeLlm() as llm:
        home = make_home({report.engine: llm.url}, base / "home", cli.path, uuid4().hex)
        stage = Stage(report.engine, home, llm, base / "logs", options.timeout)
        for name, check in CHECKS.items():
            if name in options.checks and not stop.is_set():
                with report.check(name, llm) as found:
                    check(stage, found)
        report.outside, report.unknown = sorted(set(llm.outside)), sorted(set(llm.unknown))


def _print_runs(runs: Sequence[Report], options: argparse.Namespace) -> None:
    print_details(runs)
    if set(options.checks) & set(CHECKS):
        print_table("runs", list(CHECKS), runs)
    for report in runs:
        if report.missing:
            print(f"\n{report.engine} was not run: {report.missing}")
        elif report.cli is not None and report.cli.note:
            print(f"\n{report.engine}: {report.cli.note}")


def _play_chat(runs: Sequence[Report], base: Path, options: argparse.Namespace) -> list[Report]:
    """One conversation about every engine that is installed."""
    clis = {report.engine: report.cli for report in runs if report.cli is not None}
    if not clis:
        return []
    print("a chat with a bot:", file=sys.stderr)
    chat = Chat(clis, base / _CHAT, limit_s=options.timeout, together=options.jobs)
    talks = chat.hold()
    print_details(talks)
    print_table("a chat with a bot", COLUMNS, talks)
    return talks


if __name__ == "__main__":
    sys.exit(main())
