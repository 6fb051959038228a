"""What JMESPath does with lists and objects: projections, filters, indexes, selections.

Each function writes the code of one kind of node of the tree; ``emit`` writes that of its children.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from takopi.adapters.code import Block, Code, Writer, joined
from takopi.adapters.syntax import Node

Emit: TypeAlias = Callable[[Node, str], Code]


def projection(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``a[*].b``, ``a[].b``: the body for every item of a list, nulls dropped."""
    base, body = node["children"]
    items = emit(base, here)
    return _loop(w, emit, items, f"type({items.text}) is list", items.text, body)


def value_projection(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``a.*.b``: the body for every value of an object, nulls dropped."""
    base, body = node["children"]
    items = emit(base, here)
    return _loop(w, emit, items, f"type({items.text}) is dict", f"{items.text}.values()", body)


def filter_projection(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``a[?condition].b``: the body for every item that the condition is true of, nulls dropped."""
    base, body, condition = node["children"]
    if base["type"] == "multi_select_list" and _is_current(body) and _is_current(condition):
        return _true_items(w, emit, base, here)
    items = emit(base, here)
    return _loop(w, emit, items, f"type({items.text}) is list", items.text, body, condition)


def _is_current(node: Node) -> bool:
    return node["type"] in ("current", "identity")


def _true_items(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``[a, b][?@]``, with which sums and joins leave out what is absent: no list of all of them."""
    found = w.variable()
    with w.block(guard=True) as block:
        codes = [emit(child, here) for child in node["children"]]
    with w.block(guard=True) as rest:
        w.place(None, block)
        w.add(f"{found} = []")
        for code in codes:
            w.add(f"if {code.true}:", f" {found}.append({code.text})")
    w.add(f"{found} = None")
    w.place(f"if {here} is not None:", rest)
    return joined(found, *codes, local=True)


def first_of_fields(w: Writer, emit: Emit, node: Node, condition: Node, here: str) -> Code | None:
    """``[a, b] | [?condition] | [0]``: reads no further field than the one that is found.

    None where another expression than a field is selected, or the condition can fail.
    """
    names = [child["value"] for child in node["children"] if child["type"] == "field"]
    if len(names) < len(node["children"]):
        return None
    mark = w.mark()
    found, name, item = w.variable(), w.variable(), w.variable()
    with w.block() as loop:
        w.add(f"{item} = {here}.get({name}) if type({here}) is dict else None")
        test = emit(condition, item)
        w.add(f"if {item} is not None and ({test.true}):", f" {found} = {item}", " break")
    if test.fails:
        w.undo(mark)
        return None
    with w.block() as fitting:
        w.place(f"for {name} in {w.name(tuple(names))}:", loop)
    w.add(f"{found} = None")
    w.place(f"if {here} is not None:", fitting)
    return joined(found, test, local=True)


def first_of_filter(w: Writer, emit: Emit, node: Node, here: str) -> Code | None:
    """``a[?condition].b | [0]``: stops at the first. None where an item behind it could fail."""
    base, body, condition = node["children"]
    mark = w.mark()
    items = emit(base, here)
    items.fails, fails = False, items.fails
    fits = f"type({items.text}) is list"
    code = _loop(w, emit, items, fits, items.text, body, condition, first=True)
    if code.fails:
        w.undo(mark)
        return None
    code.fails = fails
    return code


def _loop(
    w: Writer,
    emit: Emit,
    items: Code,
    fits: str,
    iterated: str,
    body: Node,
    condition: Node | None = None,
    *,
    first: bool = False,
) -> Code:
    found, item = w.variable(), w.variable()
    parts = [items]
    keep = (f"{found} = ", "break") if first else (f"{found}.append(", "")
    with w.block() as loop:
        test = emit(condition, item) if condition is not None else None
        with w.block() as kept:
            if test is not None and test.tests_text is not None:
                w.texts.add(test.tests_text)
            value = emit(body, item)
            store = f"{keep[0]}{value.text}" if first else f"{keep[0]}{value.text})"
            if not (test is not None and value.text == test.text == item):
                w.add(f"if {value.text} is not None:")
                store = f" {store}"
            w.add(store)
            if first:
                w.add(f"{' ' * (store[0] == ' ')}break")
        w.place(f"if {test.true}:" if test is not None else None, kept)
        parts += [value] if test is None else [value, test]
    with w.block() as fitting:
        if not first:
            w.add(f"{found} = []")
        w.place(f"for {item} in {iterated}:", loop)
    w.add(f"{found} = None")
    w.place(f"if {fits}:", fitting)
    return joined(found, *parts, local=items.local)


def flatten(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``a[]``: a list whose lists are replaced by their items."""
    code = emit(node["children"][0], here)
    return joined(w.let(f"{w.name(_flat)}({code.text})"), code)


def _flat(value: Any) -> list[Any] | None:
    if type(value) is not list:
        return None
    merged: list[Any] = []
    for item in value:
        if type(item) is list:
            merged.extend(item)
        else:
            merged.append(item)
    return merged


def slice_of(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``[1:3]`` of the current node."""
    part = w.name(slice(*node["children"]))
    return Code(w.let(f"{here}[{part}] if type({here}) is list else None"))


def index_of(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``[0]`` of the current node."""
    at: int = node["value"]
    needed = w.name(at + 1 if at >= 0 else -at)
    there = f"type({here}) is list and len({here}) >= {needed}"
    return Code(w.read(here, f"{here}[{w.name(at)}] if {there} else None", f"[{at}]"))


def multi_select_list(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``[a, b]``: null of null."""
    with w.block(guard=True) as block:
        codes = [emit(child, here) for child in node["children"]]
    return _selected(w, here, f"[{', '.join(code.text for code in codes)}]", codes, block)


def multi_select_dict(w: Writer, emit: Emit, node: Node, here: str) -> Code:
    """``{a: b}``: null of null."""
    pairs = node["children"]
    with w.block(guard=True) as block:
        codes = [emit(pair["children"][0], here) for pair in pairs]
    items = (f"{w.name(p['value'])}: {c.text}" for p, c in zip(pairs, codes, strict=True))
    return _selected(w, here, f"{{{', '.join(items)}}}", codes, block)


def _selected(w: Writer, here: str, text: str, codes: list[Code], block: Block) -> Code:
    """What cannot fail may be computed although it is not needed."""
    if any(code.fails for code in codes):
        found = w.variable()
        w.add(f"{found} = None")
        block.lines.append(f"{found} = {text}")
        w.place(f"if {here} is not None:", block)
    else:
        w.place(None, block)
        found = w.let(f"None if {here} is None else {text}")
    return joined(found, *codes, local=True)
