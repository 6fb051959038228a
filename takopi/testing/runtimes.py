"""A runtime for tests of chats and commands, without a configuration and without installed engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from takopi.bridge.router import AutoRouter, RunnerEntry
from takopi.bridge.runtime import TransportRuntime
from takopi.config.projects import ProjectsConfig
from takopi.engines.base import Runner
from takopi.testing.runners import ScriptRunner


def runtime_of(
    *runners: Runner,
    missing: Mapping[str, str] | None = None,
    plugin_configs: Mapping[str, Any] | None = None,
) -> TransportRuntime:
    """What a transport gets, with these engines; the first is the default one.

    ``missing``         engines that cannot run, each with the issue that people see
    ``plugin_configs``  the ``[plugins.<id>]`` tables
    """
    entries = [RunnerEntry(runner.engine, runner) for runner in runners]
    for engine, issue in (missing or {}).items():
        # What could not be found keeps its resume lines: a stand-in has some of the usual form.
        entries.append(RunnerEntry(engine, ScriptRunner((), engine=engine), "missing_cli", issue))
    router = AutoRouter(entries, runners[0].engine)
    return TransportRuntime(router=router, projects=ProjectsConfig(), plugin_configs=plugin_configs)
