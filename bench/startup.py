"""Starting takopi, as multiples of starting Python; and built-in adapters until they are ready."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench.measure import Row, child_cpu_s
from bench.streams import builtin_catalog

# What the framework itself costs a command that has an option.
_FRAMEWORK = """
import typer
app = typer.Typer(add_completion=False, rich_markup_mode=None)
@app.callback()
def root(): pass
@app.command()
def go(option: bool = False): pass
app(["go"])
"""
_READY = """
import time
from pathlib import Path
from takopi.adapters.catalog import load_catalog
from takopi.config import Config
catalog = load_catalog(Config(Path("none/takopi.toml")))
for engine in catalog.ids:
    assert catalog.verdict(catalog.entry(engine)).errors == 0, engine
"""
_COMPILED = _READY.replace(
    "catalog.verdict(catalog.entry(engine)).errors == 0", "catalog.adapter(engine)"
)
_IMPORTED = _READY.partition("for engine")[0]


def measure(quick: bool) -> list[Row]:
    """Medians of CPU time, of the children alone."""
    rounds = 2 if quick else 9
    takopi = [sys.executable, "-m", "takopi.cli.app"]
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "HOME": home,
            "XDG_CACHE_HOME": f"{home}/cache",
            "TAKOPI_DEMO_DELAY": "0",
        }
        bin_folder = str(Path(sys.executable).parent)
        env["PATH"] = f"{bin_folder}{os.pathsep}{env.get('PATH', os.defpath)}"

        def cpu(*argv: str) -> float:
            return child_cpu_s(argv, env)

        commands = {
            "a Typer command that does nothing": ([sys.executable, "-c", _FRAMEWORK], None),
            "--help": ([*takopi, "--help"], 9.0),
            "--version": ([*takopi, "--version"], 9.0),
            "adapters list": ([*takopi, "adapters", "list"], 12.0),
            "run demo": ([*takopi, "run", "demo", "hello"], None),
        }
        cpu(*takopi, "adapters", "list")  # byte code and caches are there
        base: list[float] = []
        seen: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            base.append(cpu(sys.executable, "-c", "pass"))
            for name, (argv, _) in commands.items():
                seen[name].append(cpu(*argv))
        rows = [Row("python -c pass", median(base) * 1e3, "ms")]
        for name, (_, target) in commands.items():
            rows.append(Row(name, median(seen[name]) / median(base), "×", target))
        return [*rows, *_ready(env, rounds)]


def _ready(env: dict[str, str], rounds: int) -> list[Row]:
    """All built-in adapters known good, and all compiled, above what the imports cost."""
    seen: dict[str, list[float]] = {name: [] for name in ("imports", "cold", "warm", "compiled")}
    for i in range(rounds):
        fresh = {**env, "XDG_CACHE_HOME": f"{env['HOME']}/cold{i}"}

        def cpu(script: str, env: dict[str, str] = fresh) -> float:
            return child_cpu_s([sys.executable, "-c", script], env) * 1e3

        light = cpu(_IMPORTED)
        heavy = cpu(_IMPORTED + "import takopi.adapters.compile\n")
        seen["imports"].append(heavy - light)
        seen["cold"].append(cpu(_READY) - heavy)
        seen["warm"].append(max(cpu(_READY) - light, 0))
        seen["compiled"].append(cpu(_COMPILED) - heavy)
    found = {name: median(values) for name, values in seen.items()}
    count = len(builtin_catalog().ids)
    return [
        Row("importing what compiles adapters", found["imports"], "ms"),
        Row(f"{count} adapters ready, cold, without those imports", found["cold"], "ms", 250),
        Row(f"{count} adapters ready, warm", found["warm"], "ms", 20),
        Row(f"{count} adapters compiled", found["compiled"], "ms"),
    ]
