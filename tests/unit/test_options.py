"""Options: types, defaults, refusals, and the words a wrong one gets."""

import logging
import math

import pytest

from takopi.adapters.model import OptionSpec
from takopi.adapters.options import check_value, item_spec, resolve_options
from takopi.errors import ConfigError

WHERE = "/home/me/.takopi/takopi.toml"


def option(**given):
    return OptionSpec(**given)


@pytest.mark.parametrize(
    ("given", "good", "bad", "expected"),
    [
        ({"type": "string"}, ["", "x"], [1, True, None, ["x"]], "a string"),
        ({"type": "boolean"}, [True, False], [0, 1, "true"], "true or false"),
        ({"type": "integer"}, [0, -1], [1.0, True, "1"], "an integer"),
        ({"type": "number"}, [0, 1.5], [True, "1"], "a number"),
        ({"type": "table"}, [{}, {"a": 1}], [[], "x"], "a table"),
        ({"type": "list"}, [[], ["x"]], ["x", [1], {}], "a list of strings"),
        ({"type": "list", "items": "integer"}, [[1]], [["1"], [True]], "a list of integers"),
        ({"type": "list", "items": "number"}, [[1, 1.5]], [["1"]], "a list of numbers"),
        ({"type": "list", "items": "boolean"}, [[True]], [[1]], "a list of true or false"),
        ({"type": "string", "choices": ["a", "b"]}, ["a"], ["c", "A"], "one of `a`, `b`"),
        ({"type": "list", "choices": ["a"]}, [["a"], []], [["a", "c"]], "one of `a`"),
        ({"type": "integer", "choices": [1]}, [1], [2], "one of `1`"),
    ],
)
def test_types(given, good, bad, expected):
    for value in good:
        assert check_value(option(**given), value) is None
    for value in bad:
        assert check_value(option(**given), value) == expected


def test_types_are_named_when_they_are_wrong():
    assert check_value(option(type="integer"), True) == "an integer"
    assert check_value(option(type="string", choices=["a"]), 1) == "a string"


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        (["-c", "x"], None),
        (["exec"], "exec"),
        (["--color"], "--color"),
        (["--color=never"], "--color=never"),
        (["--json-lines"], None),
        (["x", "--json"], "--json"),
    ],
)
def test_what_the_adapter_sets_itself_is_forbidden(value, refused):
    spec = option(type="list", forbid=["exec", "--color*", "--json"])
    expected = f"something other than `{refused}`, which the adapter sets itself"
    assert check_value(spec, value) == (expected if refused else None)


def test_forbidden_strings():
    assert check_value(option(type="string", forbid=["no*"]), "nothing") is not None


def test_items_are_what_choices_are_made_of():
    assert item_spec(option(type="list")).type == "string"
    assert item_spec(option(type="list", items="integer")).type == "integer"
    assert item_spec(option(type="number")).type == "number"


DECLARED = {
    "model": option(type="string", default="fast"),
    "tools": option(type="list", items="string"),
    "extra_args": option(type="list", forbid=["--json"]),
}
READ = frozenset({"model", "tools", "extra_args"})


def resolve(table, declared=None, read=READ):
    return resolve_options("acme", DECLARED if declared is None else declared, read, table, WHERE)


def test_defaults_are_filled_in():
    assert resolve({}).values == {"model": "fast"}
    assert resolve({"model": "slow", "tools": []}).values == {"model": "slow", "tools": []}


def test_every_engine_has_command_env_and_timeout():
    options = resolve({"command": "/opt/acme", "env": {"A": "1"}, "timeout": 5})
    assert (options.command, options.env, options.timeout_s) == ("/opt/acme", {"A": "1"}, 5.0)
    empty = resolve({})
    assert (empty.command, empty.env, empty.timeout_s) == (None, {}, None)
    assert resolve({"command": ""}).command is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"extra_args": "--x"},
            f"Invalid `acme.extra_args` in {WHERE}; expected a list of strings.",
        ),
        ({"model": 1}, f"Invalid `acme.model` in {WHERE}; expected a string."),
        ({"env": "x"}, f"Invalid `acme.env` in {WHERE}; expected a table."),
        ({"env": {"A": 1}}, f"Invalid `acme.env.A` in {WHERE}; expected a string."),
        (
            {"env": {"A=B": "1"}},
            f"Invalid `acme.env` in {WHERE}; expected names without `=`, not 'A=B'.",
        ),
        (
            {"env": {"A": "x\0"}},
            f"Invalid `acme.env.A` in {WHERE}; expected a string without NUL.",
        ),
        ({"command": "x\0"}, f"Invalid `acme.command` in {WHERE}; expected a program's name."),
        ({"command": ["x"]}, f"Invalid `acme.command` in {WHERE}; expected a string."),
        ({"timeout": "5"}, f"Invalid `acme.timeout` in {WHERE}; expected a number."),
        ({"timeout": 0}, f"Invalid `acme.timeout` in {WHERE}; expected a number above 0."),
        ({"timeout": math.nan}, f"Invalid `acme.timeout` in {WHERE}; expected a number above 0."),
        (
            {"extra_args": ["--json"]},
            f"Invalid `acme.extra_args` in {WHERE}; "
            "expected something other than `--json`, which the adapter sets itself.",
        ),
    ],
)
def test_a_bad_value_names_option_file_and_what_was_expected(table, message):
    with pytest.raises(ConfigError) as error:
        resolve(table)
    assert str(error.value) == message


def test_extra_args_that_nobody_reads_are_refused():
    with pytest.raises(ConfigError, match="this engine takes no extra arguments"):
        resolve({"extra_args": ["-x"]}, {}, frozenset())
    assert resolve({"extra_args": []}, {}, frozenset()).values == {"extra_args": []}


def test_an_undeclared_key_is_passed_over_with_a_suggestion(caplog):
    with caplog.at_level(logging.WARNING):
        options = resolve({"modle": "x", "zzz": 1})
    assert options.values == {"model": "fast"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{WHERE}: [acme] has no option `modle` (did you mean `model`?)",
        f"{WHERE}: [acme] has no option `zzz` "
        "(known: `command`, `env`, `extra_args`, `model`, `timeout`, `tools`)",
    ]


def test_an_inherited_option_without_a_reader_is_not_accepted_in_silence(caplog):
    with caplog.at_level(logging.WARNING):
        options = resolve({"tools": ["x"]}, read=frozenset({"model"}))
    assert options.values == {"model": "fast"}
    assert "has no option `tools`" in caplog.text


def test_a_declared_timeout_is_a_default():
    declared = {"timeout": option(type="number", default=60)}
    assert resolve({}, declared, frozenset()).timeout_s == 60.0
