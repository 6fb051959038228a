"""The functions an expression may call: JMESPath's own and those of the adapter language.

Implementations get evaluated arguments and return JSON values. What JMESPath calls a type error is
an `EvaluationError`. The built-ins answer exactly as the reference library does, also where that is
Python showing through (``contains([1], true)`` is true).
"""

from __future__ import annotations

import json
import math
import re
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from takopi.adapters.backtracking import search_ends
from takopi.adapters.scope import Scope
from takopi.adapters.shell import unwrap_shell
from takopi.paths import relativize_command, relativize_path

Implementation = Callable[..., Any]

EVERYWHERE: Final = frozenset({"event", "command", "session.create", "resume"})
_BEFORE: Final = frozenset({"command", "session.create"})  # there is a line
NUMBERS: Final = frozenset({int, float})  # not bool, which Python counts as an int
_STRINGS: Final = frozenset({str})
_MAX_TEXT_DEPTH: Final = 16


class EvaluationError(Exception):
    """A compiled expression failed on this data: a type error or an invalid value."""


@dataclass(frozen=True, slots=True)
class Function:
    """One callable name.

    ``places``      where an adapter may call it: a line is known in ``event`` only
    ``pure``        the same arguments give the same value, whatever the scope: may be folded
    ``scoped``      the implementation takes the `Scope` before the arguments
    ``attribute``   the function is nothing but this attribute of the scope
    ``references``  positions of arguments that must be ``&expression``; passed as callables
    ``bind``        the last argument must be a literal string; `bind` makes the implementation for
                    the other arguments from it, and raises `re.error` if it is no good
    ``on_text``     the same for one argument that is a string, which never fails
    """

    name: str
    usage: str
    min_args: int
    max_args: int | None
    implementation: Implementation
    can_fail: bool = True
    pure: bool = True
    places: frozenset[str] = EVERYWHERE
    scoped: bool = False
    attribute: str | None = None
    references: frozenset[int] = frozenset()
    bind: Callable[[str], Implementation] | None = None
    on_text: Implementation | None = None


def type_name(value: Any) -> str:
    """JMESPath's name of a JSON value's type."""
    for types, name in _TYPE_NAMES:
        if type(value) in types:
            return name
    return type(value).__name__


_TYPE_NAMES: Final = (
    (_STRINGS, "string"),
    (NUMBERS, "number"),
    (frozenset({bool}), "boolean"),
    (frozenset({list}), "array"),
    (frozenset({dict}), "object"),
    (frozenset({type(None)}), "null"),
)


def _unwanted(name: str, wanted: str, value: Any) -> EvaluationError:
    return EvaluationError(f"`{name}` wants {wanted}, not {type_name(value)}")


def _require(name: str, wanted: str, types: frozenset[type], *values: Any) -> None:
    for value in values:
        if type(value) not in types:
            raise _unwanted(name, wanted, value)


def _require_array(name: str, value: Any) -> None:
    if type(value) is not list:
        raise _unwanted(name, "an array", value)


def _require_numbers(name: str, value: Any) -> None:
    _require_array(name, value)
    for item in value:
        if type(item) not in NUMBERS:
            raise _unwanted(name, "an array of numbers", item)


def _require_sortable(name: str, value: Any) -> None:
    _require_array(name, value)
    if value:
        types = NUMBERS if type(value[0]) in NUMBERS else _STRINGS
        _require(name, "an array of only numbers or only strings", types, *value)


# JMESPath's own functions


def _abs(value: Any) -> Any:
    _require("abs", "a number", NUMBERS, value)
    return abs(value)


def _avg(values: Any) -> Any:
    _require_numbers("avg", values)
    try:
        return sum(values) / len(values) if values else None
    except OverflowError as error:
        raise EvaluationError(f"`avg`: {error}") from None


def _ceil(value: Any) -> Any:
    return _round("ceil", math.ceil, value)


def _floor(value: Any) -> Any:
    return _round("floor", math.floor, value)


def _round(name: str, method: Callable[[float], int], value: Any) -> int:
    _require(name, "a number", NUMBERS, value)
    try:
        return method(value)
    except (OverflowError, ValueError) as error:  # infinity, NaN
        raise EvaluationError(f"`{name}`: {error}") from None


def _contains(subject: Any, search: Any) -> bool:
    if type(subject) is str:
        _require("contains", "a string to search for in a string", _STRINGS, search)
    elif type(subject) is not list:
        raise _unwanted("contains", "an array or a string", subject)
    try:
        return search in subject
    except RecursionError:
        raise EvaluationError("`contains`: the data nests too deep") from None


def _ends_with(subject: Any, suffix: Any) -> bool:
    if type(subject) is str and type(suffix) is str:
        return subject.endswith(suffix)
    raise _unwanted("ends_with", "strings", suffix if type(subject) is str else subject)


def _starts_with(subject: Any, prefix: Any) -> bool:
    if type(subject) is str and type(prefix) is str:
        return subject.startswith(prefix)
    raise _unwanted("starts_with", "strings", prefix if type(subject) is str else subject)


def _join(glue: Any, values: Any) -> str:
    if type(glue) is not str:
        raise _unwanted("join", "a string to join with", glue)
    if type(values) is not list:
        raise _unwanted("join", "an array", values)
    try:
        return str(glue.join(values))
    except TypeError:
        _require("join", "an array of strings", _STRINGS, *values)
        raise


def _keys(value: Any) -> list[Any]:
    if type(value) is not dict:
        raise _unwanted("keys", "an object", value)
    return list(value)


def _values(value: Any) -> list[Any]:
    if type(value) is not dict:
        raise _unwanted("values", "an object", value)
    return list(value.values())


def _length(value: Any) -> int:
    if type(value) is str or type(value) is list or type(value) is dict:
        return len(value)
    raise _unwanted("length", "a string, an array or an object", value)


def _map(reference: Callable[[Any], Any], values: Any) -> list[Any]:
    _require_array("map", values)
    return [reference(value) for value in values]


def _max(values: Any) -> Any:
    _require_sortable("max", values)
    return max(values, default=None)


def _min(values: Any) -> Any:
    _require_sortable("min", values)
    return min(values, default=None)


def _sort(values: Any) -> list[Any]:
    _require_sortable("sort", values)
    return sorted(values)


def _sum(values: Any) -> Any:
    _require_numbers("sum", values)
    try:
        return sum(values)
    except OverflowError as error:
        raise EvaluationError(f"`sum`: {error}") from None


def _merge(*objects: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for value in objects:
        if type(value) is not dict:
            raise _unwanted("merge", "objects", value)
        merged.update(value)
    return merged


def _not_null(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _reverse(value: Any) -> Any:
    if type(value) is str or type(value) is list:
        return value[::-1]
    raise _unwanted("reverse", "an array or a string", value)


def _keyed(
    name: str, choose: Callable[..., Any], values: list[Any], reference: Callable[[Any], Any]
) -> Any:
    """Apply min, max or sorted, where every key must be a number or a string."""

    def key(value: Any) -> Any:
        found = reference(value)
        if type(found) not in NUMBERS and type(found) is not str:
            raise _unwanted(name, "numbers or strings to compare by", found)
        return found

    try:
        return choose(values, key=key)
    except TypeError:
        raise EvaluationError(f"`{name}` cannot compare numbers with strings") from None


def _min_by(values: Any, reference: Callable[[Any], Any]) -> Any:
    _require_array("min_by", values)
    return _keyed("min_by", min, values, reference) if values else None


def _max_by(values: Any, reference: Callable[[Any], Any]) -> Any:
    _require_array("max_by", values)
    return _keyed("max_by", max, values, reference) if values else None


def _sort_by(values: Any, reference: Callable[[Any], Any]) -> Any:
    _require_array("sort_by", values)
    return _keyed("sort_by", sorted, values, reference)


def _to_array(value: Any) -> list[Any]:
    return value if type(value) is list else [value]


def _to_number(value: Any) -> Any:
    if type(value) in NUMBERS:
        return value
    if type(value) is not str:
        return None
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return None


def _to_string(value: Any) -> str:
    if type(value) is str:
        return value
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (RecursionError, ValueError) as error:  # too deep; an integer of thousands of digits
        raise EvaluationError(f"`to_string`: {error}") from None


# Functions of the adapter language


def _text(value: Any) -> str:
    return _find_text(value, _MAX_TEXT_DEPTH) or ""


def _find_text(value: Any, depth: int) -> str | None:
    """The human text in a content value; None where there is none (an image block)."""
    if type(value) is str:
        return value
    if value is None or depth == 0:
        return None
    if type(value) is list:
        found = (_find_text(item, depth - 1) for item in value)
        return "\n".join(part for part in found if part is not None)
    if type(value) is dict:
        inner = value.get("text")
        return _find_text(value.get("content") if inner is None else inner, depth - 1)
    try:
        return json.dumps(value)
    except (TypeError, ValueError):  # not JSON; an integer of thousands of digits
        return None


def _string_method(name: str, method: Callable[..., Any]) -> Implementation:
    """A method of `str`, null for null."""

    def call(subject: Any, *arguments: Any) -> Any:
        if subject is None:
            return None
        _require(name, "strings", _STRINGS, subject, *arguments)
        try:
            return method(subject, *arguments)
        except ValueError as error:  # split by the empty string
            raise EvaluationError(f"`{name}`: {error}") from None

    return call


def _dash_safe(value: str) -> str:
    return f" {value}" if value.startswith("-") else value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _parse_json(value: str) -> Any:
    try:
        return _decode_json(value)
    except (ValueError, RecursionError):
        return None


def _bind_capture(regex: str) -> Implementation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a nested set, `[[`: matched as written
        pattern = re.compile(regex)

    def capture(value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        _require("capture", "a string", _STRINGS, value)
        found = search_ends(pattern, value)
        return None if found is None else {"match": found[0], **found.groupdict()}

    return capture


def _capture(value: Any, regex: str) -> dict[str, Any] | None:
    return _bind_capture(regex)(value)  # type: ignore[no-any-return]


def _env(scope: Scope, name: Any) -> str | None:
    if name is None:
        return None
    _require("env", "a string", _STRINGS, name)
    return scope.environ.get(name)


def _relative(name: str, shorten: Callable[[Scope, str], str]) -> Function:
    def call(scope: Scope, value: Any) -> str | None:
        if value is None:
            return None
        _require(name, "a string", _STRINGS, value)
        return shorten(scope, value)

    return Function(name, f"{name}(string)", 1, 1, call, pure=False, scoped=True, on_text=shorten)


def _short_path(scope: Scope, value: str) -> str:
    return relativize_path(value, base_dir=scope.run.get("cwd"))


def _short_command(scope: Scope, value: str) -> str:
    return relativize_command(unwrap_shell(value), base_dir=scope.run.get("cwd"))


def _uuid() -> str:
    return str(uuid.uuid4())


_BUILT_IN: Final = (
    Function("abs", "abs(number)", 1, 1, _abs),
    Function("avg", "avg(numbers)", 1, 1, _avg),
    Function("ceil", "ceil(number)", 1, 1, _ceil),
    Function("contains", "contains(subject, search)", 2, 2, _contains),
    Function("ends_with", "ends_with(string, suffix)", 2, 2, _ends_with),
    Function("floor", "floor(number)", 1, 1, _floor),
    Function("join", "join(glue, list)", 2, 2, _join),
    Function("keys", "keys(object)", 1, 1, _keys),
    Function("length", "length(value)", 1, 1, _length, on_text=len),
    Function("map", "map(&expression, list)", 2, 2, _map, references=frozenset({0})),
    Function("max", "max(list)", 1, 1, _max),
    Function("max_by", "max_by(list, &expression)", 2, 2, _max_by, references=frozenset({1})),
    Function("merge", "merge(object, ...)", 1, None, _merge),
    Function("min", "min(list)", 1, 1, _min),
    Function("min_by", "min_by(list, &expression)", 2, 2, _min_by, references=frozenset({1})),
    Function("not_null", "not_null(value, ...)", 1, None, _not_null, can_fail=False),
    Function("reverse", "reverse(value)", 1, 1, _reverse),
    Function("sort", "sort(list)", 1, 1, _sort),
    Function("sort_by", "sort_by(list, &expression)", 2, 2, _sort_by, references=frozenset({1})),
    Function("starts_with", "starts_with(string, prefix)", 2, 2, _starts_with),
    Function("sum", "sum(numbers)", 1, 1, _sum),
    Function("to_array", "to_array(value)", 1, 1, _to_array, can_fail=False),
    Function("to_number", "to_number(value)", 1, 1, _to_number, can_fail=False),
    Function("to_string", "to_string(value)", 1, 1, _to_string, on_text=str),
    Function("type", "type(value)", 1, 1, type_name, can_fail=False),
    Function("values", "values(object)", 1, 1, _values),
)


def _variables(name: str, places: frozenset[str]) -> Function:
    return Function(
        name,
        f"{name}()",
        0,
        0,
        attrgetter(name),
        can_fail=False,
        pure=False,
        places=places,
        scoped=True,
        attribute=name,
    )


def _on_string(
    usage: str, method: Callable[..., Any], min_args: int = 1, max_args: int | None = None
) -> Function:
    name = usage.partition("(")[0]
    return Function(
        name,
        usage,
        min_args,
        max_args or min_args,
        _string_method(name, method),
        on_text=method if min_args == 1 and method is not str.split else None,
    )


_OWN: Final = (
    _variables("event", frozenset({"event"})),
    _variables("state", frozenset({"event"})),
    _variables("options", EVERYWHERE),
    _variables("run", EVERYWHERE),
    Function("env", "env(name)", 1, 1, _env, pure=False, places=_BEFORE, scoped=True),
    Function(
        "uuid",
        "uuid()",
        0,
        0,
        _uuid,
        can_fail=False,
        pure=False,
        places=frozenset({"session.create"}),
    ),
    Function("text", "text(value)", 1, 1, _text, can_fail=False, on_text=str),
    _relative("relpath", _short_path),
    _relative("relcommand", _short_command),
    Function("capture", "capture(string, 'regex')", 2, 2, _capture, bind=_bind_capture),
    _on_string("parse_json(string)", _parse_json),
    _on_string("split(string, separator?)", str.split, 1, 2),
    _on_string("lower(string)", str.lower),
    _on_string("trim(string, characters?)", str.strip, 1, 2),
    _on_string("removeprefix(string, prefix)", str.removeprefix, 2),
    _on_string("removesuffix(string, suffix)", str.removesuffix, 2),
    _on_string("replace(string, old, new)", str.replace, 3),
    _on_string("dash_safe(string)", _dash_safe),
)

FUNCTIONS: Final[Mapping[str, Function]] = {f.name: f for f in (*_BUILT_IN, *_OWN)}
