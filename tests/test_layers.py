"""The shape of the package: who may import what, one gatekeeper per library, no engine in Python.

Imports count wherever they are: inside functions, under ``TYPE_CHECKING``, as text given to
``import_module``. Every rule takes sources and gives complaints, so that the tests below can also
show it sources that break it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "takopi"
ENGINES = sorted(path.stem for path in (ROOT / "adapters").glob("*.yaml"))

# A layer may import those below it, and modules of its own package. `takopi` itself is in the base.
BASE = {
    "",
    "ansi",
    "bundled",
    "collector",
    "diagnostics",
    "errors",
    "events",
    "ids",
    "json_state",
    "legacy",
    "lines",
    "logs",
    "model",
    "paths",
}
LAYERS = [
    BASE,
    {"config", "git", "lockfile", "plugins"},
    {"adapters"},
    {"engines"},
    {"bridge"},
    {"telegram", "terminal"},
    {"cli", "testing"},
    {"__main__", "api"},
]
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}
NARROWER = {
    "config": {"diagnostics", "errors", "ids", "logs"}
}  # what a part may import, where that is less than its layer may
DEMO = "demo"  # a program of its own, which takopi starts like any other

# Library -> the modules, or whole packages, that may import it.
GATEKEEPERS = {
    "httpx": {"takopi.telegram.client"},
    "jmespath": {"takopi.adapters.syntax"},
    "markdown_it": {"takopi.telegram"},
    "prompt_toolkit": {"takopi.terminal"},
    "psutil": {f"takopi.engines.{name}" for name in ("left_over", "process", "trees")},
    "pydantic": {
        *(f"takopi.adapters.{name}" for name in ("model", "options", "schema", "shape")),
        "takopi.config",
    },
    "pydantic_core": {"takopi.adapters.shape", "takopi.config"},
    "rich": {"takopi.cli", "takopi.terminal"},
    "ruamel": {"takopi.adapters.source", "takopi.cli.adapters"},
    "structlog": {"takopi.logs"},
    "subprocess": {"takopi.engines.process", "takopi.engines.subprocesses", "takopi.git"},
    "tomlkit": {"takopi.config"},
    "typer": {"takopi.cli"},
}
# Other ways to start a process, for the one module that does.
SPAWNERS = re.compile(
    r"os\.(system|popen|fork|forkpty|exec\w+|spawn\w+|posix_spawn\w*)"
    r"|asyncio\.create_subprocess_\w+|anyio\.(open|run)_process|pty\.(fork|spawn)"
)
DISTRIBUTIONS = {
    "markdown_it": "markdown-it-py",
    "pydantic_core": "pydantic",
    "ruamel": "ruamel.yaml",
}  # where the names differ

Sources = dict[str, str]
"""Module name -> text. A package has the name of its ``__init__``: ``takopi.adapters``."""


def sources(package: Path) -> Sources:
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


@dataclass(frozen=True)
class Import:
    """``target`` is a module of takopi where there is one, else what was written."""

    module: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def imports(modules: Sources) -> Iterator[Import]:
    for module, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            for target in targets(module, node, modules):
                yield Import(module, node.lineno, target)


def targets(module: str, node: ast.AST, modules: Sources) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=base, names=names, level=level):
            base = absolute(module, base or "", level, modules)
            wanted = [f"{base}.{alias.name}" for alias in names]
            return [target if target in modules else base for target in wanted]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__")
            | ast.Attribute(attr="import_module" | "__import__"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
    return []


def absolute(module: str, base: str, level: int, modules: Sources) -> str:
    if level == 0:
        return base
    is_package = any(name.startswith(f"{module}.") for name in modules)
    parts = module.split(".")
    parts = parts[: len(parts) - level + is_package]
    return ".".join([*parts, base] if base else parts)


def part_of(module: str) -> str:
    """``adapters`` of ``takopi.adapters.source``; ``""`` of ``takopi``."""
    return module.partition(".")[2].partition(".")[0]


def is_own(module: str) -> bool:
    return module.partition(".")[0] == "takopi"


def is_within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


# Rules: sources -> complaints


def homeless(modules: Sources) -> list[str]:
    """Modules that have no place in the table of layers."""
    return sorted({m for m in modules if part_of(m) not in HEIGHT and part_of(m) != DEMO})


def upward(modules: Sources) -> list[str]:
    """Imports that do not point down."""
    return [str(i) for i in imports(modules) if is_own(i.target) and not points_down(i)]


def points_down(found: Import) -> bool:
    here, there = part_of(found.module), part_of(found.target)
    if DEMO in (here, there):
        return here == there
    if here == there or (here in BASE and there in BASE):
        return True
    if here in NARROWER:
        return there in NARROWER[here]
    return HEIGHT.get(there, len(LAYERS)) < HEIGHT.get(here, -1)


def cyclic(modules: Sources) -> list[str]:
    """One circle of modules that import each other."""
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports(modules):
        if found.target in modules and found.target != found.module:
            graph[found.module].add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" < ".join(error.args[1])]
    return []


def ungated(modules: Sources) -> list[str]:
    """Libraries imported, and processes started, by a module whose job it is not."""
    wrong = [
        str(found)
        for found in imports(modules)
        if (places := GATEKEEPERS.get(found.target.partition(".")[0])) is not None
        and not is_within(found.module, places)
    ]
    for module, text in modules.items():
        if not is_within(module, GATEKEEPERS["subprocess"]):
            wrong += [f"{module}:{line} uses {name}" for line, name in spawns(text)]
    return wrong


def spawns(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        names = []
        match node:
            case ast.Attribute(value=ast.Name(id=base), attr=name):
                names = [f"{base}.{name}"]
            case ast.ImportFrom(module=base, names=aliases):
                names = [f"{base}.{alias.name}" for alias in aliases]
        yield from ((node.lineno, name) for name in names if SPAWNERS.fullmatch(name))


def undeclared(modules: Sources) -> list[str]:
    """Imports of what neither Python nor pyproject.toml provides; the demo has only Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w.-]", line)[0] for line in project["dependencies"]}
    wrong = []
    for found in imports(modules):
        library = found.target.partition(".")[0]
        if library in sys.stdlib_module_names or is_own(found.target):
            continue
        known = DISTRIBUTIONS.get(library, library) in declared
        if not known or part_of(found.module) == DEMO:
            wrong.append(str(found))
    return wrong


def partial(modules: Sources, engines: list[str] = ENGINES) -> list[str]:
    """Modules in which an engine is named: as text, in an identifier, in a comment."""
    wrong = []
    for module, text in modules.items():
        for number, line in enumerate(text.split("\n"), 1):
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", line).lower()
            for engine in engines:
                own = part_of(module) == DEMO and engine == DEMO
                if not own and re.search(rf"(?<![^\W_]){engine}(?![^\W_])", words):
                    wrong.append(f"{module}:{number} names {engine}")
    return wrong


RULES = [homeless, upward, cyclic, ungated, undeclared, partial]


@pytest.fixture(scope="module")
def takopi() -> Sources:
    found = sources(PACKAGE)
    assert {"takopi", "takopi.adapters", "takopi.adapters.source", "takopi.model"} <= found.keys()
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_its_shape(rule, takopi):
    assert rule(takopi) == []


def test_every_gatekeeper_exists(takopi):
    places = set().union(*GATEKEEPERS.values())
    assert {place for place in places if place not in takopi} <= {"takopi.adapters.schema"}


def test_engines_are_found():
    assert len(ENGINES) >= 3
    assert DEMO in ENGINES


# The rules themselves

MODULES: Sources = dict.fromkeys(
    (
        *(f"takopi.{part}" if part else "takopi" for parts in LAYERS for part in parts),
        *("takopi.adapters.source", "takopi.adapters.model", "takopi.adapters.deep"),
        *("takopi.adapters.deep.inner", "takopi.cli.app", "takopi.engines.process"),
        *("takopi.demo", "takopi.demo.cli"),
    ),
    "",
)


def broken(rule, module, text):
    return rule({**MODULES, module: text})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_empty_modules_break_no_rule(rule):
    assert rule(MODULES) == []


@pytest.mark.parametrize("module", ["takopi.gadgets", "takopi.gadgets.inner"])
def test_a_module_needs_a_place(module):
    assert broken(homeless, module, "") == [module]


UPWARD = [
    ("takopi.adapters.source", "import takopi.engines", "takopi.engines"),
    ("takopi.adapters.source", "import os, takopi.cli.app as a", "takopi.cli.app"),
    (
        "takopi.adapters.source",
        "from takopi.engines.process import spawn",
        "takopi.engines.process",
    ),
    ("takopi.adapters.source", "from takopi import model, bridge", "takopi.bridge"),
    ("takopi.adapters.source", "def f():\n    from takopi.cli import app", "takopi.cli.app"),
    ("takopi.adapters.source", "if TYPE_CHECKING:\n    import takopi.telegram", "takopi.telegram"),
    ("takopi.adapters.source", "try:\n    import takopi.cli\nexcept E: pass", "takopi.cli"),
    ("takopi.adapters.source", "from ..engines import process", "takopi.engines.process"),
    ("takopi.adapters", "from ..engines import process", "takopi.engines.process"),
    ("takopi.adapters.deep.inner", "from ...engines import process", "takopi.engines.process"),
    ("takopi.adapters.deep", "from ...engines import process", "takopi.engines.process"),
    ("takopi.adapters", "import_module('takopi.cli.app')", "takopi.cli.app"),
    ("takopi.adapters", "importlib.import_module('takopi.cli')", "takopi.cli"),
    ("takopi.adapters", "__import__('takopi.cli')", "takopi.cli"),
    ("takopi.adapters", "import takopi.gadgets", "takopi.gadgets"),
    ("takopi.gadgets", "import takopi.model", "takopi.model"),
    ("takopi.engines", "import takopi.bridge", "takopi.bridge"),
    ("takopi.bridge", "import takopi.telegram", "takopi.telegram"),
    ("takopi.telegram", "import takopi.cli", "takopi.cli"),
    ("takopi.bridge", "import takopi.testing", "takopi.testing"),
    ("takopi.bridge", "from takopi import api", "takopi.api"),
    ("takopi.cli.app", "from takopi.api import Runner", "takopi.api"),
    ("takopi.__main__", "import takopi.runner_bridge", "takopi.runner_bridge"),
    ("takopi.cli.app", "import takopi.testing", "takopi.testing"),
    ("takopi", "from takopi.adapters.source import parse", "takopi.adapters.source"),
    ("takopi.model", "import takopi.adapters", "takopi.adapters"),
    ("takopi.errors", "import takopi.config", "takopi.config"),
    ("takopi.config", "import takopi.plugins", "takopi.plugins"),
    ("takopi.config", "import takopi.adapters", "takopi.adapters"),
    ("takopi.config", "from takopi.model import EngineId", "takopi.model"),
    ("takopi.plugins", "import takopi.config", "takopi.config"),
    ("takopi.demo.cli", "from takopi.errors import TakopiError", "takopi.errors"),
    ("takopi.demo.cli", "from takopi import __version__", "takopi"),
    ("takopi.cli.app", "from takopi.demo import cli", "takopi.demo.cli"),
    ("takopi.engines.process", "def f():\n    import takopi.demo", "takopi.demo"),
]


@pytest.mark.parametrize(("module", "text", "target"), UPWARD)
def test_an_import_that_does_not_point_down_is_found(module, text, target):
    (complaint,) = broken(upward, module, text)
    assert complaint.startswith(f"{module}:")
    assert complaint.endswith(f" imports {target}")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("takopi.cli.app", "import takopi.telegram, takopi.bridge, takopi.engines, takopi.model"),
        ("takopi.cli.app", "from takopi import __version__, config"),
        ("takopi.engines.process", "from takopi.adapters.source import parse"),
        ("takopi.adapters.source", "from takopi import bundled, config, errors, plugins"),
        ("takopi.adapters.source", "from takopi.adapters.model import AdapterSpec"),
        ("takopi.adapters.deep.inner", "from ..model import AdapterSpec\nfrom . import inner"),
        ("takopi.errors", "from takopi.diagnostics import Diagnostic"),
        ("takopi.config", "from takopi.errors import ConfigError"),
        ("takopi.plugins", "from takopi import model, paths"),
        ("takopi.demo.cli", "from takopi.demo import VERSION"),
        ("takopi.model", "import os.path, engines\nfrom cli import app"),
        ("takopi.model", "'import takopi.cli'  # import takopi.cli"),
    ],
)
def test_an_import_that_points_down_is_not(module, text):
    assert broken(upward, module, text) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import takopi.lines", "import takopi.model"),
        ("from takopi import lines", "from takopi.model import EngineId"),
        ("def f():\n    import takopi.lines", "if TYPE_CHECKING:\n    import takopi.model"),
        ("from takopi import paths", "import takopi.model"),
    ],
)
def test_a_circle_of_imports_is_found(first, second):
    modules = {**MODULES, "takopi.model": first, "takopi.lines": second}
    modules["takopi.paths"] = "import takopi.lines"
    (circle,) = cyclic(modules)
    assert {"takopi.model", "takopi.lines"} <= set(circle.split(" < "))


def test_a_chain_of_imports_is_no_circle():
    modules = {**MODULES, "takopi.model": "import takopi.lines, takopi.paths"}
    assert cyclic({**modules, "takopi.lines": "import takopi.paths"}) == []


UNGATED = [
    ("takopi.adapters.model", "from ruamel.yaml import YAML"),
    ("takopi.cli.app", "import ruamel.yaml"),
    ("takopi.adapters.jmes", "import jmespath"),
    ("takopi.adapters.source", "def f():\n    from jmespath.parser import Parser"),
    ("takopi.adapters.source", "import pydantic"),
    ("takopi.adapters.model", "from pydantic_core import ErrorDetails"),
    ("takopi.engines", "import subprocess"),
    ("takopi.demo.cli", "import subprocess"),
    ("takopi.cli.app", "if TYPE_CHECKING:\n    import psutil"),
    ("takopi.engines.process", "import typer"),
    ("takopi.bridge", "from rich.console import Console"),
    ("takopi.client", "from rich.console import Console"),
    ("takopi.telegram", "import httpx"),
    ("takopi.telegram", "importlib.import_module('httpx')"),
    ("takopi.cli.app", "os.system('ls')"),
    ("takopi.cli.app", "await asyncio.create_subprocess_exec('ls')"),
    ("takopi.demo.cli", "from os import execvp"),
    ("takopi.bridge", "run = anyio.run_process"),
]


@pytest.mark.parametrize(("module", "text"), UNGATED)
def test_a_library_past_its_gatekeeper_is_found(module, text):
    assert len(broken(ungated, module, text)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("takopi.adapters.source", "from ruamel.yaml import YAML"),
        ("takopi.cli.adapters", "import ruamel.yaml"),
        ("takopi.adapters.syntax", "from jmespath.parser import Parser"),
        ("takopi.engines.process", "import subprocess, psutil\nasyncio.create_subprocess_exec"),
        ("takopi.cli.app", "import typer, rich.live"),
        ("takopi.cli", "import typer"),
        ("takopi.cli.app", "import richer, os\nos.path.join\nplatform.system()"),
    ],
)
def test_a_gatekeeper_may_pass(module, text):
    assert broken(ungated, module, text) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("takopi.adapters.source", "import yaml"),
        ("takopi.adapters.source", "def f():\n    from jsonschema import validate"),
        ("takopi.demo.cli", "import anyio"),
    ],
)
def test_an_undeclared_dependency_is_found(module, text):
    assert len(broken(undeclared, module, text)) == 1


def test_a_declared_dependency_is_not():
    text = "import anyio, json\nfrom ruamel.yaml import YAML\nfrom pydantic_core import Url"
    assert broken(undeclared, "takopi.adapters.source", text) == []
    assert broken(undeclared, "takopi.demo.cli", "import json, takopi.demo") == []


@pytest.mark.parametrize(
    "text",
    [
        "if engine == 'acme': pass",
        'name = "takopi-acme"',
        "x = f'{y} --acme'",
        "class AcmeRunner: pass",
        "class ACMERunner: pass",
        "class MyAcme: pass",
        "ACME_HOME = 1",
        "def run_acme(): pass",
        "x = 1  # as Acme does",
        '"""Runs acme."""',
        "x = 'big_co'",
        "class Runner_BIG_CO2: pass\nbig_co = 1",
    ],
)
def test_an_engine_named_in_python_is_found(text):
    modules = {**MODULES, "takopi.engines.process": text}
    assert len(partial(modules, ["acme", "big_co"])) == 1


@pytest.mark.parametrize("text", ["placme = acmes = 'pacmen'", "big_coat = 1", "éacme = 'acmeé'"])
def test_a_word_that_only_holds_an_engine_is_not(text):
    assert partial({"takopi.model": text}, ["acme", "big_co"]) == []


def test_the_demo_may_name_itself_only():
    assert partial({"takopi.demo.cli": "prog = 'takopi-demo'"}) == []
    assert partial({"takopi.cli.app": "prog = 'takopi-demo'"}) == ["takopi.cli.app:1 names demo"]
    other = next(engine for engine in ENGINES if engine != DEMO)
    assert len(partial({"takopi.demo.cli": f"prog = {other!r}"})) == 1
