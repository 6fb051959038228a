"""The same rules, interpreted: every expression by the reference library, rules one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jmespath
from jmespath import functions as library

from bench.streams import builtin_catalog
from takopi.adapters import expressions, rules
from takopi.adapters.adapter import Adapter
from takopi.adapters.code import Value, called
from takopi.adapters.functions import FUNCTIONS, EvaluationError, Function
from takopi.adapters.jmes import Expression, compile_expression, is_true
from takopi.adapters.rules import Rule, RuleSet, matcher
from takopi.adapters.scope import Scope
from takopi.adapters.tools import builtin_tools

_FAILURES = (TypeError, ValueError, OverflowError, RecursionError)


class _Functions(library.Functions):
    """The library's functions and, in its own interpreter, those of the adapter language."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        if function_name in self.FUNCTION_TABLE:
            return super().call_function(function_name, resolved_args)
        function = FUNCTIONS[function_name]
        scope = (self._scope,) if function.scoped else ()
        return function.implementation(*scope, *resolved_args)


def interpreted_adapter(engine: str) -> Adapter:
    """A built-in adapter whose expressions and rules nothing was compiled of."""
    with _interpreting():
        return builtin_catalog().adapter(engine)


@contextmanager
def _interpreting() -> Iterator[None]:
    builtin_tools.cache_clear()
    try:
        with (
            mock.patch.object(expressions, "compile_expression", _interpreted),
            mock.patch("takopi.adapters.compile.compile_rules", _one_by_one),
        ):
            yield
    finally:
        builtin_tools.cache_clear()


def _interpreted(text: str, functions: Mapping[str, Function] | None = None) -> Expression:
    checked = compile_expression(text, functions)
    parsed = jmespath.compile(text)

    def evaluate(node: Any, scope: Scope) -> Any:
        try:
            return parsed.search(node, options=jmespath.Options(custom_functions=_Functions(scope)))
        except _FAILURES as error:
            raise EvaluationError(str(error)) from error

    return Expression(text, checked.ast, called(evaluate), can_fail=True, constant=checked.constant)


def _one_by_one(found: Sequence[Rule]) -> RuleSet:
    tests = [(matcher(rule.match), rule.condition, rule) for rule in found]

    def find(node: Any, scope: Scope) -> Rule | None:
        for test, condition, rule in tests:
            if test(node) and (condition is None or is_true(condition.evaluate(node, scope))):
                return rule
        return None

    return rules.RuleSet(tuple(found), Value(called(find)))
