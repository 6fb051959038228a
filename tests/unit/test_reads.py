"""Decoding only what is read must not be told from decoding whole lines."""

import json
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.adapters.catalog import Catalog, Entry
from takopi.adapters.reads import Fields, fields_read, partial_decoder
from takopi.adapters.replay import load_recording, new_translator, replay
from takopi.adapters.translate import Translator
from takopi.bundled import bundled
from tests.support.adapters import adapter_from, run_of, translator_of

FILES = sorted(bundled("adapters").glob("*.yaml"))
ENGINES = [file.stem for file in FILES]
STREAMS = Path(__file__).parents[2] / "fixtures" / "streams"
CATALOG = Catalog({file.stem: [Entry(file.stem, file, "built-in")] for file in FILES})

whole = msgspec.json.decode


def reads(**rule):
    """What the fields of one rule make an adapter read, as names; ``...`` is all of it."""
    rules = json.dumps([{"match": {"type": "x"}, **rule}])
    return shown(fields_read(adapter_from(f"session: null\nresume: null\nevents: {rules}")))


def shown(fields: Fields):
    return ... if fields.whole else {name: shown(f) for name, f in sorted(fields.fields.items())}


# -- what is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("a", {"a": ...}),
        ("a.b.c", {"a": {"b": {"c": ...}}}),
        ("a.b || c", {"a": {"b": ...}, "c": ...}),
        ("a && a.b", {"a": ...}),  # whether `a` is empty is seen
        ("a.b == c.d", {"a": {"b": ...}, "c": {"d": ...}}),
        ("a[0].b", {"a": ...}),
        ("a[*].b", {"a": ...}),
        ("a.*.b", {"a": ...}),
        ("a[?b == `1`].c", {"a": ...}),
        ("a[?event().z].c", {"a": ..., "z": ...}),
        ("a | b | c", {"a": {"b": {"c": ...}}}),
        ("a.{x: b, y: c.d}", {"a": {"b": ..., "c": {"d": ...}}}),
        ("[a.b, c]", {"a": {"b": ...}, "c": ...}),
        ("length(a.b)", {"a": {"b": ...}}),
        ("map(&x.y, a)", {"a": ...}),
        ("sort_by(a, &event().k)", {"a": ..., "k": ...}),
        ("event().a.b", {"a": {"b": ...}}),
        ("state().v.w || a", {"a": ...}),
        ("'literal'", {}),
    ],
)
def test_expression(expression, fields):
    assert reads(set={"v": expression}) == {"type": ..., **fields}


@pytest.mark.parametrize(
    "expression", ["@", "event()", "keys(@)", "to_string(@)", "text(@)", "*", "@ | @"]
)
def test_expression_that_reads_the_whole_line(expression):
    assert reads(set={"v": expression}) is ...


def test_each_reads_its_list_whole_and_its_rules_read_the_line_by_event_only():
    item = {"match": {"type": "y"}, "set": {"v": "inner || event().outer.b"}}
    assert reads(each="a.items", rules=[item]) == {
        "type": ...,
        "a": {"items": ...},
        "outer": {"b": ...},
    }


def test_matches_templates_and_settle_are_read():
    adapter = adapter_from(
        """
        settle: late.by
        tools:
          - {name: acme, title: "${name} ${event().extra}"}
        events:
          - match: {a.type: x}
            action: {id: b.id, title: "step ${b.title}"}
        """
    )
    assert shown(fields_read(adapter)) == {
        "a": {"type": ...},
        "b": {"id": ..., "title": ...},
        "extra": ...,
        "late": {"by": ...},
    }


def test_what_is_evaluated_without_a_line_does_not_count():
    text = """
        args: ["${run().prompt}"]
        session: {id: deep.id, meta: {all: "@"}}
        end: {answer: state().v}
        events:
          - {match: {type: x}, set: {v: a}}
    """
    assert shown(fields_read(adapter_from(text))) == {"type": ..., "a": ...}


def test_nothing_to_leave_out():
    assert partial_decoder(Fields(whole=True)) is None
    assert partial_decoder(Fields()) is None


# -- what is decoded ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        '{"b": 1, "b": 2, "a": {"c": 1, "c": 2}}',
        '{"a": {"c": 1}, "a": {"d": 1}}',
        '{"\\u0061": {"\\u0063": "é"}, "ü": 1}',
        '{"a": [{"c": 1}], "b": {"c": 1}}',
        '{"a": 123456789012345678901234567890, "b": 1e3}',
        '{"a": null}',
        "{}",
    ],
)
def test_decoded_fields_are_those_of_the_whole_line(raw):
    decode = partial_decoder(
        Fields(fields={"a": Fields(fields={"c": Fields(whole=True)}), "b": Fields(whole=True)})
    )
    line = whole(raw)
    expected = {key: value for key, value in line.items() if key in ("a", "b")}
    if isinstance(line.get("a"), dict):
        expected["a"] = {key: value for key, value in line["a"].items() if key == "c"}
    assert decode(raw.encode()) == expected


@pytest.mark.parametrize(
    "skipped",
    ['"\\q"', '"\\ud83d"', "NaN", "01", '"a\tb"', "[1,", '{"a" 1}', "tru", "-", "1.", "[" * 5000],
)
def test_what_is_passed_over_must_be_json_all_the_same(skipped):
    decode = partial_decoder(Fields(fields={"type": Fields(whole=True)}))
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        decode(f'{{"x": {skipped}, "type": 1}}'.encode())


# -- the same events ---------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "type"])
SCALARS = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "x", "a", "text"])
JSON = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3) | st.lists(st.tuples(NAMES, below), max_size=3).map(tuple)
    ),
    max_leaves=12,
)
"""Objects are tuples of pairs: a key may come twice."""


def as_json(value):
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(k)}: {as_json(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    return json.dumps(value)


def pairs(names):
    return st.lists(st.tuples(names, JSON), max_size=5).map(tuple)


EXPRESSIONS = [
    "a.b", "a.b.c", "a && a.b", "!a", "a == b", "a.b == `{}`", "a || b", "a.*", "a[*].b", "a[].b", "a[0]",
    "a[0].b", "a[-1:]", "a[?b]", "a[?@.b].c", "a | [0]", "a.b | c", "a.{x: b}", "a.[b, c]", "[a, b.c]",
    "{x: a.b, y: event().c.a}", "keys(@)", "to_string(a)", "to_string(@)", "text(a)", "type(a.b)",
    "length(a)", "not_null(a.b, c)", "map(&b, a)", "a[?event().b == b]", "event().a.b", "event()", "@.a.b",
    "contains(a.b, 'x')", "merge(a, b)", "a.b < `1`", "sort_by(a, &b)", "a.b.c || a.c.b || b",
]  # fmt: skip


@cache
def adapter_of(expression):
    return adapter_from(f"""
    session: {{id: session}}
    events:
      - match: {{type: [x, a, text]}}
        set: {{v: {json.dumps(expression)}}}
        action: {{title: to_string(state().v)}}
        each: c
        rules:
          - match: {{a: x}}
            action: {{title: b.c || event().b}}
          - match: {{b.c: null}}
      - match: {{type: null, a.b: [1, x]}}
        complete: {{answer: b, usage: {{n: b.c}}}}
    """)


def outcome(translator, lines):
    events = [event for line in lines for event in translator.line(line)]
    return [*events, *translator.finish(0)], translator.unmapped, translator.failures


@pytest.mark.parametrize("expression", EXPRESSIONS)
@settings(max_examples=20, deadline=None)
@given(documents=st.lists(pairs(NAMES), min_size=1, max_size=4))
def test_any_document_gives_the_same_events(expression, documents):
    lines = [b'{"session": "s1"}', *(as_json((("type", "x"), *d)).encode() for d in documents)]
    assert_same(adapter_of(expression), run_of(), lines)


def assert_same(adapter, run, lines):
    partly, wholly = Translator(adapter, run), Translator(adapter, run, on_rule=lambda *_: None)
    assert outcome(partly, lines) == outcome(wholly, lines)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_documents_of_an_engines_own_words_give_the_same_events(engine, data):
    adapter = CATALOG.adapter(engine)
    words = vocabulary(adapter)
    names = st.sampled_from(sorted(words))
    document = st.recursive(
        names | SCALARS,
        lambda below: (
            st.lists(below, max_size=2) | st.lists(st.tuples(names, below), max_size=5).map(tuple)
        ),
        max_leaves=20,
    )
    documents = data.draw(
        st.lists(st.lists(st.tuples(names, document), max_size=6).map(tuple), max_size=4)
    )
    lines = [*first_lines(engine), *(as_json(d).encode() for d in documents)]
    assert_same(adapter, run_of(engine=engine), lines)


@cache
def first_lines(engine):
    """The lines of a recording: its session is what makes the translator decode in part."""
    adapter = CATALOG.adapter(engine)
    for recording in recordings(engine):
        lines = recording.stdout.split(b"\n")
        translator = Translator(adapter, run_of(engine=engine))
        for line in lines:
            translator.line(line)
        if translator.token is not None:
            return lines
    raise AssertionError(f"no recording of {engine} tells a session")


def vocabulary(adapter):
    """The names and the literals that the adapter's rules know."""
    words = set()

    def add(fields):
        for name, below in fields.fields.items():
            words.add(name)
            add(below)

    add(fields_read(adapter))
    for rule in all_rules(adapter.rules):
        for path, values in rule.match.items():
            words.update(path)
            words.update(value for value in values if isinstance(value, str))
    return words


def all_rules(found):
    for rule in found.rules:
        yield rule
        if rule.rules is not None:
            yield from all_rules(rule.rules)


def recordings(engine):
    return [load_recording(folder) for folder in sorted((STREAMS / engine).iterdir())]


@pytest.mark.parametrize("engine", [e for e in ENGINES if (STREAMS / e).is_dir()])
def test_every_recording_gives_the_same_events(engine):
    adapter = CATALOG.adapter(engine)
    for recording in recordings(engine):
        partly = new_translator(adapter, recording)
        wholly = new_translator(adapter, recording, on_rule=lambda *_: None)
        assert list(replay(partly, recording)) == list(replay(wholly, recording)), recording.path
        assert partly.unmapped == wholly.unmapped
        assert partly.failures == wholly.failures


# -- who needs whole lines ---------------------------------------------------------------------------

TWO_RULES = """
session: {id: session}
events:
  - match: {type: x}
    set: {v: a.b}
"""


def test_who_listens_to_rules_gets_whole_nodes():
    seen = []
    adapter = adapter_from(TWO_RULES)
    translator = Translator(adapter, run_of(), on_rule=lambda rule, node: seen.append(node))
    for line in (b'{"session": "s", "type": "y"}', b'{"type": "x", "a": {"b": 1, "c": 2}, "z": 3}'):
        translator.line(line)
    assert seen == [{"type": "x", "a": {"b": 1, "c": 2}, "z": 3}]


def test_unmapped_shapes_name_the_keys_of_the_whole_line():
    translator = translator_of(TWO_RULES)
    translator.line(b'{"session": "s", "type": "x"}')
    translator.line(b'{"new": 1, "other": {}}')
    assert list(translator.unmapped) == ["keys new,other"]


def test_a_line_that_only_the_lenient_decoder_takes_is_not_lost():
    translator = translator_of(
        "session: {id: session}\nevents:\n  - match: {type: x}\n    set: {answer: text}\nend: {}"
    )
    translator.line(b'{"session": "s", "type": "x"}')
    translator.line(b'{"type": "x", "skipped": "\\ud83d", "text": "kept"}')
    translator.line(b'{"type": "x", "skipped": "\xff", "text": "too"}')
    assert translator.scope.state["answer"] == "too"
    assert translator.lines == 3
