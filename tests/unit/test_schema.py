"""The schema for editors: generated, complete, and what it says of places."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from takopi.adapters.schema import adapter_schema, main, render

FILE = Path(__file__).parents[2] / "schemas" / "adapter.schema.json"
SCHEMA = adapter_schema()


def test_the_file_is_not_stale():
    assert FILE.read_text(encoding="utf-8") == render(), "run `make schemas`"


def test_the_text_says_on_its_first_line_that_it_is_generated():
    assert "Generated" in render().splitlines()[0]
    assert json.loads(render()) == SCHEMA


def test_it_is_a_schema():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def properties():
    for name, model in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        for key, schema in model["properties"].items():
            yield pytest.param(schema, id=f"{name}.{key}".lstrip("."))


@pytest.mark.parametrize("schema", list(properties()))
def test_every_key_is_described_and_has_a_type(schema):
    assert schema["description"]
    typed = {"type", "anyOf", "$ref", "enum", "const"} & set(schema)
    assert typed or schema["description"] == "the value when the user gives none, as it is"


def test_expressions_may_be_anything_and_say_so():
    title = SCHEMA["$defs"]["ActionSpec"]["properties"]["title"]
    assert set(title["type"]) == {"string", "number", "boolean", "null", "object", "array"}
    assert "JMESPath" in title["description"]


def test_names_of_keys_are_no_titles_of_schemas():
    assert "title" in SCHEMA["$defs"]["SessionSpec"]["properties"]
    assert "default" in SCHEMA["$defs"]["EnvSpec"]["properties"]
    assert "title" not in SCHEMA["$defs"]["SessionSpec"]


BASE = {"adapter": 1, "id": "x", "resume": None}
WHOLE = {**BASE, "command": "x", "args": [], "session": None, "events": [{"match": {"a": 1}}]}


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        (WHOLE, True),
        (BASE, False),
        ({**BASE, "extends": "y"}, True),
        ({**BASE, "extends": "y", "events": ["inherit"]}, True),
        ({**WHOLE, "events": ["inherit"]}, False),
        ({**WHOLE, "resume": {"line": "x"}}, False),
        ({**WHOLE, "resume": {"line": "x"}, "session": {"id": "a"}}, True),
        ({**WHOLE, "session": {"id": "a", "text": "b"}}, False),
        ({**WHOLE, "session": {"title": "a"}}, False),
        ({**WHOLE, "events": [{"match": {"a": 1}, "each": "b"}]}, False),
        ({**WHOLE, "events": [{"match": {"a..b": 1}}]}, False),
        ({**WHOLE, "options": {"A": {"type": "string"}}}, False),
        ({**WHOLE, "adapter": 2}, False),
    ],
)
def test_what_only_the_whole_file_tells(document, valid):
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(document) == valid


def test_the_command_writes_a_file(tmp_path, capsys):
    target = tmp_path / "schema.json"
    assert main([str(target)]) == 0
    assert target.read_text(encoding="utf-8") == render()
    assert main([]) == 0
    assert capsys.readouterr().out == render()
    assert main(["a", "b"]) == 2


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "takopi.adapters.schema"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == render()
    assert found.stderr == ""
