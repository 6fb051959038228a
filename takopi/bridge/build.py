"""From the configuration to what a runtime needs: engines with runners, projects, plugin tables."""

from __future__ import annotations

from collections.abc import Collection

from takopi.adapters.catalog import user_folder
from takopi.bridge.router import AutoRouter, RunnerEntry, unavailable_entry
from takopi.bridge.runtime import RuntimeSpec
from takopi.bridge.sources import sources
from takopi.config import Config
from takopi.config.masking import secret_values
from takopi.engines.registry import EngineEntry, load_engines
from takopi.ids import RESERVED_CHAT_IDS
from takopi.logs import add_secret, get_logger
from takopi.plugins import normalize_allowlist

logger = get_logger(__name__)


def build_runtime_spec(
    config: Config,
    *,
    default_engine_override: str | None = None,
    reserved: Collection[str] = RESERVED_CHAT_IDS,
) -> RuntimeSpec:
    """Everything the configuration says, built. What is wrong with single engines is logged,
    and from here on no log line shows a secret.

    Raises `ConfigError` for bad settings and for a default engine that cannot run. Blocks: it reads
    adapter files and looks for executables.
    """
    for secret in secret_values(config.data):
        add_secret(secret)
    adapter_paths = (*config.adapter_paths(), user_folder(config))
    seen = sources(config.path, adapter_paths)  # before it is read: what changes now counts later
    settings = config.settings
    allowlist = normalize_allowlist(settings.plugins.enabled)
    engines = load_engines(config, default_engine=default_engine_override, allowlist=allowlist)
    for warning in engines.warnings:
        logger.warning("setup.warning", problem=warning)
    projects = settings.to_projects_config(
        config_path=config.path,
        engine_ids=[entry.engine for entry in engines.entries],
        reserved=reserved,
    )
    return RuntimeSpec(
        router=AutoRouter([_runner_entry(entry) for entry in engines.entries], engines.default),
        projects=projects,
        allowlist=allowlist,
        plugin_configs=dict(settings.plugins.model_extra or {}),
        watch_config=settings.watch_config,
        sources=seen,
        adapter_paths=adapter_paths,
    )


def _runner_entry(entry: EngineEntry) -> RunnerEntry:
    if entry.runner is None:
        return unavailable_entry(entry.engine, entry.issue)
    return RunnerEntry(entry.engine, entry.runner, entry.status, entry.issue)
