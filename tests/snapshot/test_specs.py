"""What `takopi adapters validate` says about every file of ``fixtures/specs``.

``bad/<code>-<what>.yaml`` has one problem (or what its name says), ``<code>-<what>.txt`` beside it
is how it is shown. ``pytest tests/snapshot/test_specs.py --snapshot-update`` writes the texts; read
the difference before committing it. ``good`` files have no problem at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation

from takopi.adapters.compile import Compiled, compile_adapter
from takopi.adapters.schema import adapter_schema
from takopi.adapters.shape import check_shape
from takopi.adapters.source import Node, Source, parse, plain
from takopi.diagnostics import CODES, Diagnostic, render_text
from tests.support.snapshots import TextBeside

CHECKOUT = Path(__file__).parents[2]
SPECS = CHECKOUT / "fixtures" / "specs"
GOOD = sorted((SPECS / "good").glob("*.yaml"))
BAD = sorted((SPECS / "bad").glob("*.yaml"))
BUILT_IN = sorted((CHECKOUT / "adapters").glob("*.yaml"))

# These are about several files, or about the machine: see tests/unit/test_catalog.py and the
# command line's own tests.
NOT_OF_ONE_FILE = {"resume-overlap", "duplicate-id", "missing-command", "missing-key"}

each_bad = pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
each_good = pytest.mark.parametrize("file", [*GOOD, *BUILT_IN], ids=lambda file: file.stem)


def read(file: Path) -> str:
    with file.open(encoding="utf-8", newline="") as text:
        return text.read()


def compiled(file: Path) -> Compiled:
    source = Source(file.name, read(file))

    def parents(engine: str) -> Source | None:
        if engine == "acme":  # what every bad file calls itself
            return source
        for folder in (file.parent / "parents", file.parent):
            found = folder / f"{engine}.yaml"
            if found.is_file():
                return Source(str(found.relative_to(file.parent)), read(found))
        return None

    stem = file.stem if file.parent.name != "bad" else None
    if file.stem == "schema-id-is-not-the-stem":
        stem = "acme"
    return compile_adapter(source, stem=stem, parents=parents)


def shown(diagnostics: tuple[Diagnostic, ...]) -> str:
    return "\n\n".join(render_text(d) for d in diagnostics) + "\n"


class TextBesideSpec(TextBeside):
    """Keeps what is said about ``<name>.yaml`` as ``<name>.txt``."""

    file_extension = "txt"

    def serialize(self, data: Any, **_: Any) -> str:
        return str(data)

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(SPECS / "bad")

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: Any) -> str:
        file: Path = test_location.item.callspec.params["file"]  # type: ignore[attr-defined]
        return file.stem


@each_bad
def test_a_bad_spec_is_explained(file: Path, snapshot: SnapshotAssertion):
    result = compiled(file)
    assert result.adapter is None
    assert shown(result.diagnostics) == snapshot(extension_class=TextBesideSpec)


@each_bad
def test_a_bad_spec_has_the_problem_it_is_named_after(file: Path):
    diagnostics = compiled(file).diagnostics
    code = max((code for code in CODES if file.stem.startswith(code)), key=len)
    assert code in {d.code for d in diagnostics}
    assert {d.code for d in diagnostics} <= set(CODES)


@each_bad
def test_every_problem_points_into_the_file_in_its_order(file: Path):
    diagnostics = compiled(file).diagnostics
    places = []
    for d in diagnostics:
        assert d.span is not None
        lines = read(file if d.span.file == file.name else file.parent / d.span.file)
        # As an editor counts lines: U+2028 and the like are ordinary characters.
        text = lines.replace("\r\n", "\n").removeprefix("\ufeff").split("\n")[d.span.line - 1]
        assert d.span.text == text
        assert 0 <= d.span.column - 1 <= max(len(text) - 1, 0)
        assert d.span.column - 1 + d.span.length <= max(len(text), 1)
        places.append((d.span.file, d.span.line, d.span.column))
    assert places == sorted(places)


def test_every_code_of_one_file_has_a_bad_spec():
    named = {max((c for c in CODES if f.stem.startswith(c)), key=len) for f in BAD}
    assert named == set(CODES) - NOT_OF_ONE_FILE


def test_every_text_belongs_to_a_spec():
    assert {f.stem for f in (SPECS / "bad").glob("*.txt")} == {f.stem for f in BAD}


@each_good
def test_a_good_spec_has_no_problem(file: Path):
    result = compiled(file)
    assert shown(result.diagnostics) == "\n"
    assert result.adapter is not None
    assert result.adapter.id == file.stem


VALIDATOR = jsonschema.Draft202012Validator(adapter_schema())


@each_good
def test_a_good_spec_fits_the_schema(file: Path):
    root, _ = parse(Source(file.name, read(file)))
    assert root is not None
    assert [e.message for e in VALIDATOR.iter_errors(plain(root))] == []


def document(file: Path) -> Node | None:
    """The document of a spec whose YAML is right."""
    root, problems = parse(Source(file.name, read(file)))
    return None if problems else root


@pytest.mark.parametrize(
    "file", [file for file in BAD if document(file)], ids=lambda file: file.stem
)
def test_what_has_the_wrong_shape_does_not_fit_the_schema(file: Path):
    root = document(file)
    assert root is not None
    data = plain(root)
    extends = root.get("extends") is not None
    right = root.kind == "map" and (extends or check_shape(root).spec is not None)
    assert VALIDATOR.is_valid(data) == right
