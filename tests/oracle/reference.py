"""The reference library as an oracle for our compiled expressions.

The library parses and interprets; its own functions are its own. Functions of the adapter language
are the same implementations ours use, so only the interpreter differs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jmespath
from jmespath import functions as library
from jmespath.exceptions import UnknownFunctionError

from takopi.adapters.functions import FUNCTIONS, EvaluationError, Function
from takopi.adapters.scope import Scope


class ReferenceError_(Exception):
    """The reference library refused the expression, or failed on the data."""


class _Functions(library.Functions):
    def __init__(self, scope: Scope, functions: Mapping[str, Function]) -> None:
        self._scope = scope
        self._own = functions

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        if function_name in self.FUNCTION_TABLE:
            return super().call_function(function_name, resolved_args)
        function = self._own.get(function_name)
        if function is None:
            raise UnknownFunctionError(function_name)
        count = len(resolved_args)
        if count < function.min_args or (
            function.max_args is not None and count > function.max_args
        ):
            raise EvaluationError("wrong number of arguments")
        scope = (self._scope,) if function.scoped else ()
        return function.implementation(*scope, *resolved_args)


def reference_search(
    text: str,
    node: Any,
    scope: Scope | None = None,
    functions: Mapping[str, Function] = FUNCTIONS,
) -> Any:
    """What the reference library makes of ``text`` on ``node``; `ReferenceError_` if it fails.

    The library's interpreter also fails with Python's own errors (``contains('a', `1`)`` is a
    TypeError, a slice step of 0 a ValueError); they count like its own.
    """
    options = jmespath.Options(custom_functions=_Functions(scope or Scope(), functions))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            return jmespath.compile(text).search(node, options=options)
    except (EvaluationError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ReferenceError_(f"{type(error).__name__}: {error}") from error


def same_json(left: Any, right: Any) -> bool:
    """Equal as JSON with Python's types told apart: True is not 1, and 1 is not 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same_json(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)
