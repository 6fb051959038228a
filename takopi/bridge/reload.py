"""Hot reload: what a running takopi was made of is watched, and a good change is swapped in whole.

Watched are the configuration file, the user's adapter files and the list of installed packages. They
are looked at, not subscribed to: the files are few, may be missing or replaced at any time, and may
lie where no notification comes from. Runs that go on keep the runner they have; the locks of their
sessions belong to no runner.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from takopi.bridge.build import build_runtime_spec
from takopi.bridge.router import AutoRouter
from takopi.bridge.runtime import RuntimeSpec, TransportRuntime
from takopi.bridge.sources import config_status, sources
from takopi.config import load_config
from takopi.errors import ConfigError
from takopi.ids import RESERVED_CHAT_IDS
from takopi.logs import get_logger
from takopi.plugins import refresh

logger = get_logger(__name__)

POLL_S = 1.0
_SETTLE_S = 0.2  # an editor writes in steps; a file counts when it stands still this long
_SETTLE_LOOKS = 10


@dataclass(frozen=True, slots=True)
class ConfigReload:
    """A change that was swapped in."""

    settings: Any
    runtime_spec: RuntimeSpec
    config_path: Path


OnReload: TypeAlias = Callable[[ConfigReload], Awaitable[None] | None]
OnProblem: TypeAlias = Callable[[str], Awaitable[None] | None]


async def watch_config(
    *,
    config_path: Path,
    runtime: TransportRuntime,
    default_engine_override: str | None = None,
    reserved: frozenset[str] = RESERVED_CHAT_IDS,
    on_reload: OnReload | None = None,
    on_problem: OnProblem | None = None,
    poll_s: float = POLL_S,
) -> None:
    """Keep ``runtime`` up to date until cancelled.

    ``on_reload`` is told of each change swapped in, ``on_problem`` of each that was not, as a text
    for the chat. What they raise is logged.
    """
    watch = _Watch(config_path, runtime, default_engine_override, reserved)
    while True:
        await anyio.sleep(poll_s)
        if not await watch.changed():
            continue
        try:
            found = await anyio.to_thread.run_sync(watch.reload)
        except ConfigError as error:
            logger.warning("config.reload.failed", path=str(config_path), error=str(error))
            await _tell(on_problem, f"config reload failed, the last good one stays:\n{error}")
        except Exception as error:
            logger.exception("config.reload.crashed", path=str(config_path))
            await _tell(on_problem, f"config reload crashed, the last good one stays:\n{error}")
        else:
            found.runtime_spec.apply(runtime, config_path=config_path)
            logger.info("config.reload.applied", path=str(config_path))
            for problem in watch.kept:
                logger.warning("config.reload.engine_kept", problem=problem)
                await _tell(on_problem, problem)
            await _tell(on_reload, found)


async def _tell(callback: Callable[[Any], Awaitable[None] | None] | None, what: object) -> None:
    if callback is None:
        return
    try:
        answer = callback(what)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        logger.exception("config.reload.callback_failed")


class _Watch:
    """What was seen last, and how to make a runtime of what is there now."""

    def __init__(
        self,
        path: Path,
        runtime: TransportRuntime,
        default_engine_override: str | None,
        reserved: frozenset[str],
    ) -> None:
        self._path = path
        self._runtime = runtime
        self._override = default_engine_override
        self._reserved = reserved
        self._seen: object = runtime.spec.sources
        self._available = True
        self.kept: list[str] = []

    async def changed(self) -> bool:
        """Whether something else is there than before, and it stands still."""
        now = await anyio.to_thread.run_sync(self._look)
        if now is None or now == self._seen:
            return False
        for _ in range(_SETTLE_LOOKS):
            await anyio.sleep(_SETTLE_S)
            before, now = now, await anyio.to_thread.run_sync(self._look)
            if now == before:
                break
        if now is None:
            return False
        self._seen = now
        return True

    def _look(self) -> object | None:
        """What is there; None while there is no configuration file."""
        status, _ = config_status(self._path)
        if status != "ok":
            if self._available:
                self._available = False
                logger.warning("config.watch.unavailable", path=str(self._path), status=status)
            self._seen = None  # when it is back it counts as changed, even if it is the same
            return None
        if not self._available:
            self._available = True
            logger.info("config.watch.available", path=str(self._path))
        return sources(self._path, self._runtime.spec.adapter_paths)

    def reload(self) -> ConfigReload:
        """The runtime of what is there now. Raises `ConfigError`. Blocking."""
        refresh()
        config = load_config(self._path)
        spec = build_runtime_spec(
            config, default_engine_override=self._override, reserved=self._reserved
        )
        spec = self._keep_good_engines(spec)
        self._seen = spec.sources
        return ConfigReload(config.settings, spec, self._path)

    def _keep_good_engines(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Where an engine that worked was broken by a change, what worked stays."""
        before = {entry.engine: entry for entry in self._runtime.spec.router.entries}
        entries, self.kept = [], []
        for entry in spec.router.entries:
            old = before.get(entry.engine)
            if entry.status == "load_error" and old is not None and old.available:
                self.kept.append(
                    f"engine '{entry.engine}' was not changed, the last good one stays:\n{entry.issue}"
                )
                entries.append(old)
            else:
                entries.append(entry)
        if not self.kept:
            return spec
        return replace(spec, router=AutoRouter(entries, spec.router.default_engine))
