"""What JMESPath does with lists and objects: projections, filters, indexes, selections.

Each function compiles one kind of node of the tree, its children compiled before.
"""

from __future__ import annotations

from typing import Any

from takopi.adapters.code import Code, Evaluator, joined
from takopi.adapters.functions import NUMBERS
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import Node


def projection(node: Node, codes: list[Code]) -> Code:
    """``a[*].b``, ``a[].b``: the body for every item of a list, nulls dropped."""
    base, body = codes
    items, run = base.run, body.run

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not list:
            return None
        return [value for item in found if (value := run(item, scope)) is not None]

    return _mapped(project, base, body)


def value_projection(node: Node, codes: list[Code]) -> Code:
    """``a.*.b``: the body for every value of an object, nulls dropped."""
    base, body = codes
    items, run = base.run, body.run

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not dict:
            return None
        return [value for item in found.values() if (value := run(item, scope)) is not None]

    return _mapped(project, base, body)


def filter_projection(node: Node, codes: list[Code]) -> Code:
    """``a[?condition].b``: the body for every item that the condition is true of, nulls dropped."""
    base, body, condition = codes
    items, run, test = base.run, body.run, condition.run
    if condition.is_current and body.is_current:
        return _mapped(_true_items(items), base)

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not list:
            return None
        return [
            value
            for item in found
            # `is_true`, without a call
            if ((true := test(item, scope)) or type(true) in NUMBERS)
            and (value := run(item, scope)) is not None
        ]

    def first(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        for item in found if type(found) is list else ():
            true = test(item, scope)
            if true or type(true) in NUMBERS:
                value = run(item, scope)
                if value is not None:
                    return value
        return None

    code = _mapped(project, base, body, condition)
    if not (body.fails or condition.fails):
        code.first = first
    return code


def _true_items(items: Evaluator) -> Evaluator:
    """``[?@]``, with which sums and joins leave out what is absent."""

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not list:
            return None
        return [item for item in found if item or type(item) in NUMBERS]

    return project


def _mapped(run: Evaluator, base: Code, *bodies: Code) -> Code:
    return joined(run, base, *bodies, local=base.local)


def flatten(node: Node, codes: list[Code]) -> Code:
    run = codes[0].run

    def flatten(node: Any, scope: Scope) -> Any:
        found = run(node, scope)
        if type(found) is not list:
            return None
        merged: list[Any] = []
        for item in found:
            if type(item) is list:
                merged.extend(item)
            else:
                merged.append(item)
        return merged

    return joined(flatten, *codes)


def slice_of(part: slice) -> Code:
    return Code(lambda node, scope: node[part] if type(node) is list else None)


def index_of(node: Node) -> Code:
    position = node["value"]

    def index(node: Any, scope: Scope) -> Any:
        if type(node) is not list:
            return None
        try:
            return node[position]
        except IndexError:
            return None

    return Code(index, index=position)


def multi_select_list(node: Node, codes: list[Code]) -> Code:
    runs = tuple(code.run for code in codes)
    names = [
        code.path[0] for code in codes if code.root is None and code.path and not code.path[1:]
    ]
    plain = len(names) == len(codes)  # [a, b, c]

    def select(node: Any, scope: Scope) -> Any:
        if plain and type(node) is dict:
            return list(map(node.get, names))
        return None if node is None else [run(node, scope) for run in runs]

    return joined(select, *codes, local=True)  # null of null


def multi_select_dict(node: Node, codes: list[Code]) -> Code:
    pairs = tuple(
        zip((pair["value"] for pair in node["children"]), (c.run for c in codes), strict=True)
    )

    def select(node: Any, scope: Scope) -> Any:
        if node is None:
            return None
        selected = {}
        for name, run in pairs:  # before Python 3.12 a comprehension is one call more
            selected[name] = run(node, scope)
        return selected

    return joined(select, *codes, local=True)  # null of null
