"""Keeps regular expressions from taking for ever: refuses some, and bounds what they search.

Python's ``re`` tries one way after another and has no time limit: where a text can be divided
among the rounds of a repeat in many ways, as in ``(a+)+$``, each further character doubles the
time, and one line of chat would stop takopi for good. An adapter with such an expression is
refused, without ever being run. What is only polynomial, as ``.*.*x``, is kept short by the length
of the texts that expressions get to see.

The expression becomes an automaton whose states are its characters (Glushkov's construction). Its
time is exponential if one text leads from a state back to it in two ways: by one edge that exists
twice, or side by side through different states.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

EXPONENTIAL_HELP = (
    "a repeat of what repeats already divides one text in very many ways: "
    "write one repeat, `a+` for `(a+)+`, or separate the rounds, `(a+,)+`"
)

# Time may grow with the square of a text.
LONG_TEXT_CHARS = 16_000
# A repeat that matches at most so many characters cannot take long.
_SHORT = 16
# States of one loop; larger ones are looked at for double edges only.
_MAX_STATES = 40
# Between two parts; an expression with more is a list of words, and not looked at.
_MAX_EDGES = 100_000

# Every kind of character that a class can tell from others.
_ALPHABET = [*map(chr, range(128)), "\xa0", "\u2028", "é", "ß", "中", "٣"]
_ALL = (1 << len(_ALPHABET)) - 1
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")

_Node = TypeVar("_Node", bound=Hashable)


def exponential_part(regex: str) -> str | None:
    """The part of a valid ``regex`` that can take exponential time, such as ``(a+)+``, or None."""
    if not _REPEATED_GROUP.search(regex) or not _is_exponential(regex):
        return None
    # The smallest repeated group that is so by itself; it must be seen to be able to fail.
    parts = sorted(_repeated_groups(regex), key=len)
    return next((part for part in parts if _is_exponential(f"(?:{part})$")), regex)


def search_ends(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first match; of a text over `LONG_TEXT_CHARS` only the two ends are searched."""
    if len(text) <= LONG_TEXT_CHARS:
        return pattern.search(text)
    half = LONG_TEXT_CHARS // 2
    found = pattern.search(text, 0, half)
    # What ends at the cut may be half a match, or take the cut for the end of the text.
    return found if found and found.end() < half else pattern.search(text, len(text) - half)


def _is_exponential(regex: str) -> bool:
    parser = importlib.import_module("re._parser")
    try:
        tree = parser.parse(regex)
        return _Automaton().is_exponential(tree, tree.state.flags)
    except (re.error, RecursionError, OverflowError):
        return False  # too large to tell; what does not compile is reported elsewhere


def _repeated_groups(regex: str) -> Iterator[str]:
    """Every group with the repeat behind it, as written."""
    opened: list[int] = []
    for token in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()]", regex, re.DOTALL):
        if token[0] == "(":
            opened.append(token.start())
        elif token[0] == ")" and opened:
            start = opened.pop()
            repeat = re.compile(r"\s*(?:[*+]|\{[\d,]*\})[?+]?").match(regex, token.end())
            if repeat:
                yield regex[start : repeat.end()]


@dataclass(slots=True)
class _Part:
    """A part of the expression: in how many ways it can be empty, begin and end (2: several)."""

    empty: int = 0
    first: Counter[int] = field(default_factory=Counter)
    last: Counter[int] = field(default_factory=Counter)


class _Automaton:
    def __init__(self) -> None:
        self.chars: list[int] = []  # of each state, as a set of bits over the alphabet
        self.edges: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self.looks: list[tuple[Any, int]] = []  # what is matched by itself: lookarounds and such

    def is_exponential(self, tree: Any, flags: int) -> bool:
        whole = self._sequence(tree, flags)
        # Where the expression may end, it has matched, and nothing is tried again.
        ends = set() if self.looks else set(whole.last)
        for loop in _strong_components(self.edges):
            if set(loop) - ends and (self._double_edge(loop) or self._two_ways(loop)):
                return True
        return any(_Automaton().is_exponential(inner, flags) for inner, flags in self.looks)

    def _double_edge(self, loop: list[int]) -> bool:
        inside = set(loop)
        return any(self.edges[p][q] > 1 for p in loop for q in self.edges[p] if q in inside)

    def _two_ways(self, loop: list[int]) -> bool:
        """Whether two walks can part and meet again, reading the same characters."""
        if not 1 < len(loop) <= _MAX_STATES:
            return False
        inside = set(loop)
        ahead = {p: [q for q in self.edges[p] if q in inside] for p in loop}
        pairs = {
            (p, q): [(r, s) for r in ahead[p] for s in ahead[q] if self.chars[r] & self.chars[s]]
            for p in loop
            for q in loop
        }
        return any(
            any(p == q for p, q in met) and any(p != q for p, q in met)
            for met in _strong_components(pairs)
        )

    # -- construction ------------------------------------------------------------------------

    def _sequence(self, items: Iterable[Any], flags: int) -> _Part:
        whole = _Part(empty=1)
        for item in items:
            whole = self._then(whole, self._item(item, flags))
        return whole

    def _then(self, a: _Part, b: _Part) -> _Part:
        self._join(a.last, b.first)
        return _Part(
            min(2, a.empty * b.empty),
            a.first + _times(b.first, a.empty),
            b.last + _times(a.last, b.empty),
        )

    def _join(self, ends: Counter[int], starts: Counter[int]) -> None:
        if len(ends) * len(starts) > _MAX_EDGES:
            raise OverflowError("too many states")
        for p, ways in ends.items():
            for q, more in starts.items():
                self.edges[p][q] = min(2, self.edges[p][q] + ways * more)

    def _either(self, parts: Iterable[_Part]) -> _Part:
        whole = _Part()
        for part in parts:
            whole.empty = min(2, whole.empty + part.empty)
            whole.first.update(part.first)
            whole.last.update(part.last)
        return whole

    def _state(self, chars: int) -> _Part:
        self.chars.append(chars)
        number = len(self.chars) - 1
        return _Part(0, Counter([number]), Counter([number]))

    def _item(self, item: Any, flags: int) -> _Part:
        kind, value = str(item[0]), item[1]
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, inner = value
            return self._repeat(low, high, inner, flags)
        if kind == "SUBPATTERN":
            _, added, removed, inner = value
            return self._sequence(inner, (flags | added) & ~removed)
        if kind == "BRANCH":
            return self._either(self._sequence(branch, flags) for branch in value[1])
        if kind == "GROUPREF_EXISTS":
            branches = [branch for branch in value[1:] if branch is not None]
            found = self._either(self._sequence(branch, flags) for branch in branches)
            return found if len(branches) == 2 else self._either([found, _Part(empty=1)])
        if kind in ("ASSERT", "ASSERT_NOT"):
            self.looks.append((value[1], flags))
            return _Part(empty=1)
        if kind in ("ATOMIC_GROUP", "POSSESSIVE_REPEAT"):
            # Matches in one way only; reads no character that others could read as well.
            self.looks.append((value if kind == "ATOMIC_GROUP" else value[2], flags))
            return self._state(0)
        if kind == "AT":
            return self._state(0)
        return self._state(_ALL if kind == "GROUPREF" else _characters(kind, value, flags))

    def _repeat(self, low: int, high: int, inner: Any, flags: int) -> _Part:
        part = self._sequence(inner, flags)
        shortest, longest = inner.getwidth()
        if high * longest > _SHORT and not (low == high and shortest == longest):
            self._join(part.last, part.first)
            return _Part(1 if low == 0 else part.empty, part.first, part.last)
        return part if low else self._either([part, _Part(empty=1)])


def _times(states: Counter[int], ways: int) -> Counter[int]:
    return Counter({state: min(2, count * ways) for state, count in states.items() if ways})


def _characters(kind: str, value: Any, flags: int) -> int:
    """The characters that a node matches, as bits."""
    if kind == "ANY":
        return _ALL if flags & re.DOTALL else _bits(lambda c: c != "\n")
    if kind == "NOT_LITERAL":
        return _ALL & ~_literal(value, flags)
    if kind == "LITERAL":
        return _literal(value, flags)
    if kind == "RANGE":
        low, high = value
        found = _bits(lambda c: low <= ord(c) <= high)
        if flags & re.IGNORECASE:
            found |= _bits(lambda c: low <= ord(c.swapcase()[0]) <= high)
        # Letters beyond the alphabet: the stand-in for them all.
        return found | (_literal(ord("中"), 0) if high > 127 else 0)
    if kind == "CATEGORY":
        return _bits(re.compile(_CATEGORIES[str(value)]).match)
    if kind == "IN":
        found, negated = 0, False
        for inner, what in value:
            if str(inner) == "NEGATE":
                negated = True
            else:
                found |= _characters(str(inner), what, flags)
        return _ALL & ~found if negated else found
    return _ALL


def _literal(code: int, flags: int) -> int:
    char = chr(code)
    same = {char, *char.swapcase()} if flags & re.IGNORECASE else {char}
    known = _bits(lambda c: c in same)
    return known or _bits(lambda c: c == "中")


def _bits(test: Callable[[str], object]) -> int:
    return sum(1 << i for i, char in enumerate(_ALPHABET) if test(char))


def _strong_components(edges: Mapping[_Node, Iterable[_Node]]) -> Iterator[list[_Node]]:
    """The sets of nodes that lead to each other (Tarjan's algorithm, without recursion)."""
    order: dict[_Node, int] = {}
    lowest: dict[_Node, int] = {}
    waiting: dict[_Node, None] = {}
    for root in list(edges):
        path = [(root, iter(edges.get(root, ())))] if root not in order else []
        while path:
            node, following = path[-1]
            if node not in order:
                order[node] = lowest[node] = len(order)
                waiting[node] = None
            for other in following:
                if other not in order:
                    path.append((other, iter(edges.get(other, ()))))
                    break
                if other in waiting:
                    lowest[node] = min(lowest[node], lowest[other])
            else:
                path.pop()
                if path:
                    before = path[-1][0]
                    lowest[before] = min(lowest[before], lowest[node])
                if lowest[node] == order[node]:
                    met: list[_Node] = []
                    while not met or met[-1] != node:
                        met.append(waiting.popitem()[0])
                    yield met
