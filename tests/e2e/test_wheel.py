"""What is shipped works: built, installed into a folder of its own, and run from elsewhere.

Nothing is downloaded: the build is not isolated, and the dependencies are those of the environment
that runs the tests. The installed folder comes before it on the path.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.wheels import build, install, run

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
DATA = ("adapters", "schemas")

Files = dict[str, bytes]
"""Path in an archive or under a folder -> content."""


def archive_of(target, folder, tree=ROOT) -> Path:
    build(target, folder, tree)
    (built,) = folder.iterdir()
    return built


def output(*command, cwd, env) -> str:
    return run(*command, cwd=cwd, env=env).stdout


def files_below(folder: Path, pattern: str = "**/*") -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def files_in_wheel(wheel: Path) -> Files:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@dataclass(frozen=True)
class Built:
    """Both archives, and what the checkout held when they were made."""

    wheel: Path
    sdist: Path
    package: Files
    data: dict[str, Files]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    return Built(
        archive_of("wheel", tmp_path_factory.mktemp("wheel")),
        archive_of("sdist", tmp_path_factory.mktemp("sdist")),
        files_below(ROOT / "takopi"),
        {kind: files_below(ROOT / kind) for kind in DATA},
    )


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The folder that holds the installed wheel, its scripts in ``bin``."""
    folder = tmp_path_factory.mktemp("site")
    install([built.wheel], folder)
    return folder


@pytest.fixture
def env(installed, tmp_path):
    """An empty home, and a PATH on which none of takopi's scripts lies."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": os.defpath,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(installed),
    }


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "shopping.txt").write_text("bread\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("kind", "name"), [("adapters", "demo.yaml"), ("schemas", "adapter.schema.json")]
)
def test_there_is_data_to_ship(built, kind, name):
    assert name in built.data[kind]


def test_the_wheel_holds_the_package_and_its_data(built):
    expected = {f"takopi/{name}": content for name, content in built.package.items()}
    for kind in DATA:
        data = built.data[kind].items()
        expected |= {f"takopi/_data/{kind}/{name}": content for name, content in data}
    info = f"takopi-{VERSION}.dist-info/"
    found = files_in_wheel(built.wheel)
    assert {name: c for name, c in found.items() if not name.startswith(info)} == expected
    assert {"takopi/py.typed", "takopi/adapters/tools.yaml"} <= found.keys()


def test_the_sdist_holds_what_a_build_needs_and_no_tests(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {f"takopi/{name}" for name in built.package}
    for kind in DATA:
        expected |= {f"{kind}/{name}" for name in built.data[kind]}
    assert expected <= names
    assert {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"} <= names
    assert {name.partition("/")[0] for name in names if "/" in name} == {"takopi", *DATA}


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    again = files_in_wheel(archive_of("wheel", tmp_path / "again", tree))
    assert again == files_in_wheel(built.wheel)


LOOK = """
import json, takopi
from takopi.bundled import bundled
print(json.dumps([takopi.__file__, takopi.__version__, *(str(bundled(k)) for k in %r)]))
"""


def test_the_installed_package_finds_its_own_data(built, installed, env, project):
    found = json.loads(output(sys.executable, "-c", LOOK % (DATA,), cwd=project, env=env))
    file, version, *folders = found
    assert Path(file) == installed / "takopi" / "__init__.py"
    assert version == VERSION
    for kind, folder in zip(DATA, map(Path, folders), strict=True):
        assert folder.is_relative_to(installed)
        assert files_below(folder) == built.data[kind]


def test_both_scripts_are_installed_and_tell_their_version(installed, env, project):
    assert {path.name for path in (installed / "bin").iterdir()} == {"takopi", "takopi-demo"}
    assert (
        output(installed / "bin" / "takopi", "--version", cwd=project, env=env).strip() == VERSION
    )
    demo = output(installed / "bin" / "takopi-demo", "--version", cwd=project, env=env)
    assert demo.startswith("takopi-demo ")


def test_a_built_in_engine_runs(installed, env, project):
    answer = output(installed / "bin" / "takopi", "run", "demo", "list files", cwd=project, env=env)
    assert "shopping.txt" in answer
    events = output(
        installed / "bin" / "takopi", "run", "--json", "demo", "list files", cwd=project, env=env
    )
    kinds = [json.loads(line)["type"] for line in events.splitlines()]
    assert (kinds[0], kinds[-1]) == ("started", "completed")


def test_every_built_in_engine_is_listed_and_valid(built, installed, env, project):
    takopi = installed / "bin" / "takopi"
    listed = output(takopi, "adapters", "list", cwd=project, env=env)
    for name in built.data["adapters"]:
        assert name.removesuffix(".yaml") in listed
    output(takopi, "adapters", "validate", cwd=project, env=env)
