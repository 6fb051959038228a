"""The official JMESPath compliance suite, where it is available."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from takopi.adapters.functions import EvaluationError
from takopi.adapters.jmes import compile_expression
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import ExpressionError

SUITE = Path(__file__).parents[3] / "shared" / "jmespath"
CASES_IN_SUITE = 892


def cases():
    for file in sorted(SUITE.glob("*.json")):
        if file.name == "benchmarks.json":
            continue
        for group in json.loads(file.read_text(encoding="utf-8")):
            for case in group["cases"]:
                yield file.name, group["given"], case


def failure(given, case):
    """Why the case fails, or None."""
    try:
        value = compile_expression(case["expression"]).evaluate(given, Scope())
    except (EvaluationError, ExpressionError) as error:
        return None if "error" in case else f"raised {error!r}"
    if "error" in case:
        return f"gave {value!r} instead of the error {case['error']}"
    wanted = case["result"]
    return None if same(value, wanted) else f"gave {value!r} instead of {wanted!r}"


def same(value, wanted):
    """Equal as JSON: 1 is 1.0, true is not 1, keys come in any order."""
    if isinstance(wanted, dict):
        return (
            isinstance(value, dict)
            and value.keys() == wanted.keys()
            and all(same(value[key], wanted[key]) for key in wanted)
        )
    if isinstance(wanted, list):
        return (
            isinstance(value, list) and len(value) == len(wanted) and all(map(same, value, wanted))
        )
    return value == wanted and isinstance(value, bool) is isinstance(wanted, bool)


@pytest.mark.skipif(not SUITE.is_dir(), reason="the compliance suite is not beside the repository")
def test_every_case_of_the_official_suite():
    ran, failures = 0, []
    for name, given, case in cases():
        ran += 1
        why = failure(given, case)
        if why is not None:
            failures.append(f"{name}: {case['expression']}: {why}")
    assert failures == []
    assert ran == CASES_IN_SUITE
