"""Puts the CLIs into a cache folder, each version in a folder of its own: ENGINE/VERSION/.

The version is the one the adapter was tested with; where the registry does not have it, the newest.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from takopi.adapters.catalog import load_catalog
from takopi.config import Config

_INSTALL_S = 900.0
_START_S = 90.0
_NODE = "24"  # what comes into the cache where the system's node is too old


class InstallError(Exception):
    """A CLI that cannot be had here, and why."""


@dataclass(frozen=True)
class Package:
    """Where a CLI comes from."""

    name: str
    command: str
    registry: str = "npm"
    node: tuple[int, int] = (18, 0)  # the oldest it starts with
    postinstall: str | None = None  # script of the package, for npm that runs none
    platform: str | None = None  # package that holds just the binary


@dataclass(frozen=True)
class Cli:
    """An installed CLI: ``path`` are the folders to put on PATH."""

    version: str
    path: list[Path]
    note: str = ""


PACKAGES = {
    "codex": Package("@openai/codex", "codex"),
    "claude": Package("@anthropic-ai/claude-code", "claude", postinstall="install.cjs"),
    "gemini": Package("@google/gemini-cli", "gemini", node=(20, 0)),
    "opencode": Package("opencode-ai", "opencode", postinstall="postinstall.mjs"),
    "pi": Package("@earendil-works/pi-coding-agent", "pi", node=(22, 19)),
    "copilot": Package("@github/copilot", "copilot", node=(24, 0)),
    "kimi": Package("@moonshot-ai/kimi-code", "kimi", node=(24, 15)),
    "vibe": Package("mistral-vibe", "vibe", registry="pypi"),
    "kilo": Package(
        "@kilocode/cli",
        "kilo",
        postinstall="postinstall.mjs",
        platform="@kilocode/cli-{system}-{machine}",
    ),
    "qwen": Package("@qwen-code/qwen-code", "qwen", node=(22, 0)),
}


def install(engine: str, cache: Path) -> Cli:
    """The CLI of an engine, from the cache or the registry. Raises `InstallError`."""
    package = PACKAGES[engine]
    catalog = load_catalog(Config(cache / "takopi.toml"))  # no such file: the bundled adapters
    wanted = catalog.adapter(engine).spec.tested or "latest"
    node = node_folder(package.node, cache) if package.registry == "npm" else []
    reasons: list[str] = []
    for source, version in _sources(package, wanted):
        place = cache / engine / version
        try:
            folder = _place(source, place, version, node)
        except InstallError as error:
            reasons.append(str(error))
            continue
        note = f"instead of {wanted}: {reasons[0]}" if version != wanted else ""
        return Cli(_version(source, place), [folder, *node], note)
    raise InstallError("; ".join(reasons))


def _sources(package: Package, wanted: str) -> Iterator[tuple[Package, str]]:
    """What to try, in this order: the wanted version, its binary alone, the newest."""
    yield package, wanted
    if package.platform is not None:
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        name = package.platform.format(system=platform.system().lower(), machine=machine)
        yield replace(package, name=name, postinstall=None), wanted
    yield package, "latest"


def node_folder(minimum: tuple[int, int], cache: Path) -> list[Path]:
    """The folder of a node that is new enough; none where the system's is."""
    if _node_version("node") >= minimum:
        return []
    place = cache / "node" / _NODE
    binary = place / "node_modules" / "node" / "bin" / "node"
    if not binary.exists():
        _npm(place, f"node@{_NODE}", [])
    if _node_version(str(binary)) < minimum:
        raise InstallError(f"needs node {'.'.join(map(str, minimum))} or newer")
    return [binary.parent]


def _node_version(command: str) -> tuple[int, int]:
    if shutil.which(command) is None:
        return (0, 0)
    found = re.match(r"v(\d+)\.(\d+)", _run([command, "--version"], [], _START_S).stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _place(package: Package, place: Path, version: str, node: list[Path]) -> Path:
    """Install into ``place`` unless it is there; the folder of its commands."""
    if package.registry == "pypi":
        folder = place / "bin"
        if not (folder / package.command).exists():
            _pip(place, package.name, version)
        return folder
    home = place / "node_modules" / package.name
    if not home.exists():
        _npm(place, f"{package.name}@{version}", node)
    linked = place / "node_modules" / ".bin"
    folder = linked if linked.exists() else home / "bin"  # packages of a binary alone link nothing
    command = str(folder / package.command)
    result = _run([command, "--version"], node, _START_S)
    if result.returncode != 0 and package.postinstall is not None:
        _run(["node", str(home / package.postinstall)], node, _INSTALL_S, cwd=home)
        result = _run([command, "--version"], node, _START_S)
    if result.returncode != 0:
        raise InstallError(f"{package.name} does not start: {_last_line(result)}")
    return folder


def _npm(place: Path, package: str, node: list[Path]) -> None:
    if shutil.which("npm") is None:
        raise InstallError("npm is not installed")
    place.mkdir(parents=True, exist_ok=True)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    result = _run(["npm", "install", *quiet, "--prefix", str(place), package], node, _INSTALL_S)
    if result.returncode != 0:
        shutil.rmtree(place, ignore_errors=True)
        raise InstallError(f"npm install {package}: {_npm_reason(result.stderr)}")


def _npm_reason(stderr: str) -> str:
    """The first line of npm's complaint that says something."""
    lines = [re.sub(r"^(npm error *)+", "", line).strip() for line in stderr.splitlines()]
    dull = ("npm warn", "code ", "path ", "command ")
    return next((line for line in lines if line and not line.startswith(dull)), "failed")


def _pip(place: Path, package: str, version: str) -> None:
    made = _run([_python(), "-m", "venv", "--clear", str(place)], [], _INSTALL_S)
    name = package if version == "latest" else f"{package}=={version}"
    if made.returncode == 0:
        made = _run([str(place / "bin" / "pip"), "install", "-q", name], [], _INSTALL_S)
    if made.returncode != 0:
        shutil.rmtree(place, ignore_errors=True)
        raise InstallError(f"pip install {name}: {_last_line(made)}")


def _python() -> str:
    """A Python 3.12 or newer."""
    if sys.version_info >= (3, 12):
        return sys.executable
    for name in ("python3.14", "python3.13", "python3.12"):
        found = shutil.which(name)  # a version manager's stand-in may lead nowhere
        if found is not None and _run([found, "--version"], [], _START_S).returncode == 0:
            return found
    raise InstallError("needs Python 3.12 or newer on PATH")


def _version(package: Package, place: Path) -> str:
    """The version that lies in the cache."""
    if package.registry == "npm":
        text = (place / "node_modules" / package.name / "package.json").read_text("utf-8")
        return str(json.loads(text)["version"])
    name = package.name.replace("-", "_")
    found = next(place.glob(f"lib/python*/site-packages/{name}-*.dist-info"), None)
    return found.name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else "?"


def _run(
    command: list[str], path: list[Path], limit_s: float, *, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end, without a terminal; a failure to start or to end is a failed run."""
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([*map(str, path), env.get("PATH", os.defpath)])
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            env=env,
            cwd=cwd,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit code {result.returncode}"
