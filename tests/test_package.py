"""What must agree across the package, and what starting it must not cost."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import takopi
from takopi.diagnostics import CODES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "takopi"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What `takopi --help` must not wait for: each command imports what it needs.
SLOW = (
    "anyio",
    "asyncio",
    "importlib.metadata",
    "jmespath",
    "jsonschema",
    "msgspec",
    "psutil",
    "pydantic",
    "rich",
    "ruamel",
)


def test_the_version_is_the_project_s():
    assert takopi.__version__ == PROJECT["version"]


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts in a module, docstrings and keyword arguments' values included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.AST]:
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }


def test_every_documented_code_is_used(trees):
    used = {
        text for name, tree in trees.items() if name != "diagnostics.py" for text in texts(tree)
    }
    assert CODES.keys() <= used


def test_every_code_used_is_documented(trees):
    """As far as it is written where a diagnostic is made; variables are not followed."""
    makers = {"Diagnostic", "Finding", "problem"}
    used = {
        node.args[0].value
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", None)) in makers
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert {"syntax", "schema", "expression"} <= used, "diagnostics are no longer found"
    assert used <= CODES.keys()


def imported_by(statement: str) -> set[str]:
    """The modules a fresh interpreter has after a statement, beyond those it starts with."""

    def modules(code: str) -> set[str]:
        code += "\nimport sys\nprint(*sys.modules, sep='\\n')"
        # -S: what the environment's .pth files import is not takopi's doing.
        paths = f"import sys\nsys.path[:] = {[str(ROOT), *sys.path]!r}\n"
        done = subprocess.run(
            [sys.executable, "-S", "-c", paths + code], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    return modules(statement) - modules("")


def slow(modules: set[str]) -> list[str]:
    return sorted(name for name in SLOW if name in modules)


def test_the_command_line_starts_without_what_is_slow():
    modules = imported_by("import takopi.cli.app")
    assert "typer" in modules
    assert slow(modules) == []


def test_the_demo_starts_with_the_standard_library_only():
    roots = {name.partition(".")[0] for name in imported_by("import takopi.demo.cli")}
    assert roots - sys.stdlib_module_names == {"takopi"}


@pytest.mark.parametrize("library", ["importlib.metadata", "ruamel.yaml", "rich.console", "anyio"])
def test_what_is_slow_would_be_found(library):
    assert slow(imported_by(f"import {library}")) != []


def test_the_readmes_table_of_engines_is_up_to_date():
    spec = importlib.util.spec_from_file_location("update_readme", ROOT / "tests/update_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.README.read_text(encoding="utf-8")
    assert module.updated(text) == text, "run: make schemas"
