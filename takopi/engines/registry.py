"""Engines by id: the adapter, its options from the configuration, and a runner made of both."""

from __future__ import annotations

from takopi.adapters.catalog import Catalog, load_catalog
from takopi.adapters.options import EngineOptions, resolve_options
from takopi.config import Config
from takopi.engines.jsonl import AdapterRunner


def engine_options(catalog: Catalog, config: Config, engine: str) -> EngineOptions:
    """The ``[engine]`` table checked against the adapter. Raises `ConfigError` or `SpecError`."""
    adapter = catalog.adapter(engine)
    return resolve_options(
        engine,
        adapter.spec.options,
        adapter.options_read,
        config.engine_table(engine),
        str(config.path),
    )


def build_runner(config: Config, engine: str, catalog: Catalog | None = None) -> AdapterRunner:
    """A runner for ``engine``. Raises `TakopiError` for an unknown, broken or misconfigured one."""
    catalog = catalog or load_catalog(config)
    return AdapterRunner(catalog.adapter(engine), engine_options(catalog, config, engine))
