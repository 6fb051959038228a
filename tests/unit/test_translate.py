"""The translator, sentence by sentence: session, rules, actions, outcomes, the end of a run."""

import json
import logging
import time
import tracemalloc

import pytest

from takopi.adapters import actions as actions_module
from takopi.adapters.translate import MAX_SHAPES
from takopi.lines import Oversized
from takopi.model import ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from tests.support.adapters import translator_of
from tests.support.contract import assert_contract


def line(**fields):
    return json.dumps(fields).encode()


def feed(translator, *lines, exit_code=0, stderr=()):
    """All events of a stream of dicts and raw lines, and its end."""
    events = [e for raw in stderr for e in translator.stderr(raw)]
    for item in lines:
        events += translator.line(item if isinstance(item, bytes) else line(**item))
    events += translator.finish(exit_code)
    return events


def play(text, *lines, exit_code=0, stderr=(), **run):
    """`feed` for a fresh translator, with the contract checked."""
    events = feed(translator_of(text, **run), *lines, exit_code=exit_code, stderr=stderr)
    asked = run.get("resume")
    assert_contract(events, engine="acme", resume=asked)
    return events


def started(events):
    return [e for e in events if isinstance(e, StartedEvent)]


def actions(events):
    return [e for e in events if isinstance(e, ActionEvent)]


def shown(event):
    return (event.action.id, event.phase, event.action.kind, event.action.title, event.ok)


def token(value):
    return ResumeToken("acme", value)


# -- session (section 7) --------------------------------------------------------------------------


def test_the_session_may_be_on_any_line_and_comes_before_other_events_of_that_line():
    rules = "events:\n  - match: {type: step}\n    action: {title: type}"
    events = play(rules, {"type": "step"}, {"type": "step", "session": "s1"})
    assert [e.type for e in events] == ["action", "started", "action", "completed"]
    assert started(events)[0].resume == token("s1")


def test_a_session_on_the_last_line_is_told_before_the_outcome():
    rules = "events:\n  - match: {type: end}\n    complete: {answer: text}"
    events = play(rules, {"type": "end", "text": "hi", "session": "s1"})
    assert [e.type for e in events] == ["started", "completed"]
    assert events[-1] == CompletedEvent("acme", True, "hi", token("s1"))


def test_only_lines_that_match_may_tell_the_session():
    session = "session: {match: {type: init, kind: [a, b]}, id: id}"
    assert not started(play(session, {"type": "x", "id": "no"}, {"type": "init", "id": "no"}))
    assert started(play(session, {"type": "init", "kind": "b", "id": "s1"}))


def test_a_session_that_never_comes():
    events = play("", {"type": "nothing", "session": ""}, {"type": "nothing", "session": None})
    assert not started(events)
    assert events[-1].resume is None
    assert play("", {"type": "nothing"}, resume="asked")[-1].resume == token("asked")


def test_title_and_meta_of_the_session():
    session = "session: {id: id, title: '${model} (${mode})', meta: {cwd: cwd, tools: tools}}"
    told = {"id": 7, "model": "m1", "mode": "fast", "cwd": "/x", "tools": [1]}
    assert started(play(session, told)) == [
        StartedEvent("acme", token("7"), "m1 (fast)", {"cwd": "/x", "tools": [1]})
    ]


CREATE = "session: {create: '${uuid()}'}"


def test_a_created_token_is_told_at_the_first_json_line():
    assert [e.resume for e in started(play(CREATE, b"hello", {"type": "x"}, session="made"))] == [
        token("made")
    ]


def test_a_created_token_is_not_told_without_a_json_line():
    events = play(CREATE, b"usage: acme", exit_code=2, session="made")
    assert not started(events)
    assert events[-1].resume is None


def test_a_resumed_session_that_tells_its_id_is_not_taken_on_trust():
    session = "session: {id: session, create: '${uuid()}'}"
    translator = translator_of(session, resume="asked")
    assert translator.line(line(type="hello")) == []
    (end,) = translator.line(line(session="other"))
    assert not end.ok
    assert started(play(session, {"type": "hello"}, session="made"))
    assert started(play(CREATE, {"type": "hello"}, resume="asked"))[0].resume == token("asked")


def test_another_session_than_the_one_asked_for_ends_the_run():
    translator = translator_of("", resume="asked")
    (end,) = translator.line(line(type="nothing", session="other"))
    assert isinstance(end, CompletedEvent)
    assert (end.ok, end.resume) == (False, token("asked"))
    assert "asked" in end.error
    assert "other" in end.error
    assert translator.ended
    # Nothing follows, whatever comes.
    assert translator.line(line(session="asked")) == []
    assert translator.stderr(b"x") == []
    assert translator.skipped(Oversized(1)) == []
    assert translator.quiet(1) == []
    assert translator.finish(0) == []


def test_adopting_another_session():
    events = play("session: {id: session, mismatch: adopt}", {"session": "new"}, resume="asked")
    assert started(events)[0].resume == token("new")


def test_later_sessions_are_ignored():
    events = play("", {"session": "s1"}, {"session": "sub-agent"}, resume="s1")
    assert [e.resume for e in started(events)] == [token("s1")]


TEXT = "session: {text: 'Session ID: (?P<token>\\S+)'}"


@pytest.mark.parametrize("place", ["stdout", "stderr"])
def test_a_session_in_plain_text_is_no_warning(place):
    said = b"\x1b[2mSession ID: s1\x1b[0m\r"
    where = {"stderr": [said]} if place == "stderr" else {}
    events = play(TEXT, *([said] if place == "stdout" else []), {"type": "nothing"}, **where)
    assert started(events)[0].resume == token("s1")
    assert not actions(events)


def test_a_wrong_session_in_plain_text():
    translator = translator_of(TEXT, resume="asked")
    (end,) = translator.stderr(b"Session ID: other")
    assert (end.ok, end.resume) == (False, token("asked"))


def test_a_later_session_in_plain_text_is_ignored_and_no_warning():
    events = play(TEXT, b"Session ID: s1", b"Session ID: s2")
    assert [e.resume for e in started(events)] == [token("s1")]
    assert not actions(events)


def test_an_engine_without_sessions_gets_a_private_token_at_its_first_json_line():
    text = "resume: null\nsession: null"
    assert started(play(text, {"type": "nothing"}, session="private"))[0].resume == token("private")
    assert not started(play(text, b"oops", session="private"))


# -- rules (section 8) ----------------------------------------------------------------------------


def test_the_first_rule_that_matches_is_the_only_one():
    rules = """
    events:
      - match: {type: [a, b]}
        if: skip
      - match: {x: 1}
        action: {title: "'first'"}
      - match: {type: a}
        action: {title: "'second'"}
      - match: {type: b}
        action: {title: "'third'"}
    """
    lines = [{"type": "a", "x": 1}, {"type": "b"}, {"type": "a"}, {"type": "a", "skip": True}]
    assert [e.action.title for e in actions(play(rules, *lines))] == ["first", "third", "second"]


def test_values_are_computed_before_any_is_stored():
    rules = """
    events:
      - match: {type: a}
        set: {x: y, y: state().x}
        action: {title: "${state().x}|${state().y}"}
    """
    events = play(rules, {"type": "a", "y": 1}, {"type": "a", "y": 2})
    assert [e.action.title for e in actions(events)] == ["1|", "2|1"]


def test_the_order_within_a_rule():
    rules = """
    events:
      - match: {type: a}
        each: items
        rules:
          - match: {kind: x}
            set: {answer: name}
        complete: {answer: "join('', [state().answer, '!'])"}
        action: {title: state().answer}
        append: {answer: more}
        set: {answer: text}
    """
    line_ = {"type": "a", "text": "1", "more": "2", "items": [{"kind": "x", "name": "late"}]}
    translator = translator_of(rules)
    events = feed(translator, line_)
    assert actions(events)[0].action.title == "12"
    assert events[-1].answer == "12!"
    assert translator.scope.state["answer"] == "late"


@pytest.mark.parametrize(
    ("items", "titles"),
    [
        ([{"n": "1"}, {"n": "2"}], ["1", "2"]),
        ({"n": "1"}, ["1"]),
        ([], []),
        ("text", []),
        (None, []),
        (5, []),
    ],
)
def test_each_takes_a_list_or_one_object(items, titles):
    rules = """
    events:
      - match: {type: a}
        each: items
        rules:
          - match: {none: null}
            action: {title: n}
    """
    events = play(rules, {"type": "a", "items": items})
    assert [e.action.title for e in actions(events)] == titles
    assert events[-1].usage is None


def test_inside_each_the_line_is_the_event():
    rules = """
    events:
      - match: {type: a}
        each: "@"
        rules:
          - match: {type: a}
            each: items
            rules:
              - match: {type: b}
                action: {title: "${name} of ${event().name}"}
    """
    events = play(rules, {"type": "a", "name": "top", "items": [{"type": "b", "name": "leaf"}]})
    assert actions(events)[0].action.title == "leaf of top"


APPEND = """
events:
  - match: {type: delta}
    append: {answer: text}
  - match: {type: tool}
    set: {answer: null}
  - match: {type: ask}
    if: state().answer
    action: {title: state().answer}
  - match: {type: ask}
end: {}
"""


def delta(text):
    return {"type": "delta", "text": text}


def test_appended_text_is_seen_at_once_and_dropped_by_set():
    ask = {"type": "ask"}
    events = play(APPEND, ask, delta("a"), delta("b"), ask, {"type": "tool"}, ask, delta("c"))
    assert [e.action.title for e in actions(events)] == ["ab"]
    assert events[-1].answer == "c"


def test_appending_nothing_and_values_that_are_no_text():
    assert play(APPEND, delta(None), {"type": "delta"})[-1].answer == ""
    assert play(APPEND, delta("a"), delta(5), delta({"x": 1}))[-1].answer == 'a5{"x": 1}'


@pytest.mark.parametrize("read", ["", "    action: {id: \"'x'\", title: length(state().answer)}"])
def test_an_answer_in_many_small_pieces_is_linear(read):
    rules = f"events:\n  - match: {{type: delta}}\n    append: {{answer: text}}\n{read}\nend: {{}}"
    translator = translator_of(rules)
    raw = line(type="delta", text="0123456789abcde→")
    begin = time.process_time()
    for _ in range(64_000):
        translator.line(raw)
    spent = time.process_time() - begin
    assert len(translator.finish(0)[-1].answer) == 1_024_000
    assert spent < 3.0, "about 0.1 when linear, over 10 when not"


# -- what nothing maps ----------------------------------------------------------------------------

UNMAPPED = """
session: {match: {type: init}, id: id}
events:
  - match: {type: a, item.kind: x}
  - match: {type: list}
    each: items
    rules:
      - match: {kind: known}
"""


def test_unmapped_lines_are_counted_by_shape_and_logged_once(caplog):
    lines = [
        {"type": "init", "id": "s1"},
        {"type": "init", "id": "s2"},
        {"type": "a", "item": {"kind": "x"}},
        {"type": "a", "item": {"kind": "new"}},
        {"type": "a", "item": {"kind": "new"}, "other": 1},
        {"type": "b", "kind": 1},
        {"foo": 1, "bar": 2},
        {},
        {"type": "list", "items": [{"kind": "known"}, {"kind": "new"}, 5, None]},
    ]
    with caplog.at_level(logging.WARNING):
        end = play(UNMAPPED, *lines)[-1]
    assert end.usage == {
        "unmapped": {
            "type=a item.kind=new": 2,
            "type=b kind=1": 1,
            "keys foo,bar": 1,
            "empty object": 1,
            "type=list › kind=new": 1,
            "type=list › int": 1,
            "type=list › null": 1,
        }
    }
    assert len([r for r in caplog.records if "no rule matches" in r.message]) == 7


def test_unmapped_shapes_are_bounded():
    lines = [{"type": f"t{i}", "item": {"kind": "k" * 5000}} for i in range(MAX_SHAPES + 30)]
    found = play(UNMAPPED, *lines)[-1].usage["unmapped"]
    assert len(found) == MAX_SHAPES + 1
    assert sum(found.values()) == MAX_SHAPES + 30
    assert found["other shapes"] == 30
    assert max(map(len, found)) < 200


# -- actions --------------------------------------------------------------------------------------


def act(spec, *lines, extra="", **options):
    """Actions of ``action: {spec}`` for each line (every line has ``type: a``)."""
    rules = f"events:\n  - match: {{type: a}}\n    action: {{{spec}}}\n{extra}"
    return actions(play(rules, *({"type": "a", **fields} for fields in lines), **options))


def test_an_action_without_an_id_gets_a_fresh_one_and_is_complete():
    found = act("kind: '${k}', id: i", {"k": "note"}, {"k": "tool"}, {"k": "note", "i": None})
    assert [(e.action.id, e.phase, e.ok) for e in found] == [
        ("acme.note.1", "completed", True),
        ("acme.tool.1", "completed", True),
        ("acme.note.2", "completed", True),
    ]


def test_fresh_ids_and_warnings_of_the_runner_share_one_count():
    rules = "events:\n  - match: {type: a}\n    action: {title: type}"
    found = actions(play(rules, {"type": "a"}, b"plain", {"type": "a"}))
    assert [e.action.id for e in found] == ["acme.note.1", "acme.note.2", "acme.note.3"]


@pytest.mark.parametrize(
    ("spec", "fields", "phase"),
    [
        ("id: i", {"i": "1"}, "started"),
        ("id: i", {"i": ""}, "completed"),
        ("id: i", {"i": 0}, "started"),
        ("id: i, ok: done", {"i": "1"}, "completed"),
        ("id: i, exit_code: code", {"i": "1"}, "completed"),
        ("id: i, phase: updated, ok: done", {"i": "1"}, "updated"),
        ("id: i, phase: '${p}'", {"i": "1", "p": "completed"}, "completed"),
        ("id: i, phase: '${p}'", {"i": "1", "p": "nonsense"}, "started"),
        ("title: i, phase: started", {"i": "1"}, "started"),
    ],
)
def test_the_phase(spec, fields, phase):
    (event,) = act(spec, fields)
    assert event.phase == phase
    assert (event.ok is None) == (phase != "completed")


@pytest.mark.parametrize(
    ("spec", "fields", "ok"),
    [
        ("kind: tool", {}, True),
        ("kind: warning", {}, False),
        ("kind: warning, ok: good", {"good": True}, True),
        ("ok: good", {"good": False}, False),
        ("ok: good", {"good": 0}, True),  # 0 is true
        ("ok: good", {"good": None}, True),
        ("exit_code: code", {"code": 0}, True),
        ("exit_code: code", {"code": 1}, False),
        ("exit_code: code", {"code": -9}, False),
        ("exit_code: code, ok: good", {"code": 1, "good": True}, False),
        ("exit_code: code, ok: good", {"code": 0, "good": False}, False),
        ("exit_code: code", {"code": True}, True),
        ("exit_code: code", {"code": "1"}, True),
        ("exit_code: code", {"code": None}, True),
    ],
)
def test_whether_an_action_is_ok(spec, fields, ok):
    (event,) = act(spec, fields)
    assert event.ok is ok


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        (3, {"exit_code": 3}),
        (2.0, {"exit_code": 2}),
        (1.5, {"exit_code": 1.5}),
        (True, {}),
        ("1", {}),
    ],
)
def test_an_exit_code_is_a_number_in_the_detail(code, detail):
    (event,) = act("exit_code: code", {"code": code})
    assert event.action.detail == detail
    assert type(event.action.detail.get("exit_code")) is not bool


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_json_cannot_hold_cost_nothing(number):
    rules = "events:\n  - match: {type: a}\n    action: {exit_code: code, title: type}"
    (event,) = actions(play(rules, b'{"type": "a", "code": ' + number + b"}"))
    assert event.action.detail == {}


@pytest.mark.parametrize(
    ("spec", "fields", "kind", "title"),
    [
        ("title: t", {"t": "x"}, "note", "x"),
        ("title: t", {"t": 5}, "note", "5"),
        ("title: t, kind: command", {}, "command", "command"),
        ("changes: c", {"c": [{"path": "/home/user/project/a.py", "kind": "add"}]}, "note", "a.py"),
        ("changes: c", {"c": [{"path": "a"}, {"path": "b"}]}, "note", "a, b"),
        ("changes: c", {"c": ["nonsense", {"path": ""}, {"kind": "add"}]}, "note", "note"),
        ("tool: {name: n}", {"n": "frobnicate"}, "tool", "frobnicate"),
        ("tool: {name: n}", {"n": None}, "note", "note"),
        ("tool: {name: n, input: i}", {"n": "Bash", "i": {"command": "ls"}}, "command", "ls"),
        ("kind: tool, tool: {name: n, input: i}", {"n": "Bash", "i": {"command": "ls"}}, "tool", "ls"),
        ("title: t, tool: {name: n}", {"n": "Bash", "t": "x"}, "command", "x"),
        ("detail: {changes: c}", {"c": ["a", 5]}, "note", "note"),
        ("detail: {changes: c}", {"c": 5}, "note", "note"),
    ],
)  # fmt: skip
def test_kind_and_title(spec, fields, kind, title):
    (event,) = act(spec, fields)
    assert (event.action.kind, event.action.title) == (kind, title)


def test_changes_are_in_the_detail():
    changes = [{"path": "a", "kind": "add"}, {"path": "b", "kind": "delete"}]
    (event,) = act("changes: c", {"c": changes})
    assert event.action.detail == {"changes": changes}
    (event,) = act("tool: {name: n, input: i}", {"n": "Write", "i": {"file_path": "/x/y.py"}})
    assert event.action.detail == {"changes": [{"path": "/x/y.py", "kind": "update"}]}
    assert event.action.title == "/x/y.py"


PHASES = """
events:
  - match: {type: start}
    action: {id: id, tool: {name: name, input: input}, detail: {a: a, b: b}}
  - match: {type: update}
    action: {id: id, phase: updated, detail: {b: b}}
  - match: {type: end}
    action: {id: id, ok: good, kind: "${kind}", title: title, detail: d}
  - match: {type: named_end}
    action: {id: id, ok: good, tool: {name: name}}
"""


def test_a_later_phase_inherits():
    events = play(
        PHASES,
        {"type": "start", "id": "1", "name": "Bash", "input": {"command": "ls"}, "a": 1, "b": 1},
        {"type": "update", "id": "1", "b": 2},
        {"type": "end", "id": "1", "good": False, "d": {"c": 3}},
    )
    first, second, third = actions(events)
    assert [shown(e)[1:] for e in (first, second, third)] == [
        ("started", "command", "ls", None),
        ("updated", "command", "ls", None),
        ("completed", "command", "ls", False),
    ]
    assert first.action.detail == {"a": 1, "b": 1}
    assert second.action.detail == {"a": 1, "b": 2}
    assert third.action.detail == {"a": 1, "b": 2, "c": 3}


def test_what_a_later_phase_writes_beats_what_it_inherits():
    start = {"type": "start", "id": "1", "name": "Bash", "input": {"command": "ls"}}
    end = {"type": "end", "id": "1", "kind": "tool", "title": "listed"}
    assert shown(actions(play(PHASES, start, end))[1]) == ("1", "completed", "tool", "listed", True)


def test_an_end_that_only_repeats_the_tools_name_keeps_the_title():
    start = {"type": "start", "id": "1", "name": "Bash", "input": {"command": "ls"}}
    end = {"type": "named_end", "id": "1", "name": "Bash"}
    assert shown(actions(play(PHASES, start, end))[1])[2:4] == ("command", "ls")


def test_completed_without_a_start_and_a_start_without_an_end():
    end = {"type": "end", "id": "1", "good": True}
    assert shown(actions(play(PHASES, end))[0]) == ("1", "completed", "note", "note", True)
    start = {"type": "start", "id": "1", "name": "x"}
    assert [e.phase for e in actions(play(PHASES, start))] == ["started"]


def test_a_phase_after_the_end_still_inherits():
    start = {"type": "start", "id": "1", "name": "x", "a": 1}
    ends = [{"type": "end", "id": "1"}, {"type": "end", "id": "1", "good": False}]
    last = actions(play(PHASES, start, *ends))[-1]
    assert shown(last) == ("1", "completed", "tool", "x", False)
    assert last.action.detail["a"] == 1


def test_titles_are_never_cut():
    (event,) = act("title: t", {"t": "x" * 100_000})
    assert len(event.action.title) == 100_000


@pytest.mark.parametrize("ends", [True, False], ids=["finished", "never finished"])
def test_memory_of_actions_is_bounded(ends, monkeypatch):
    monkeypatch.setattr(actions_module, "MAX_OPEN_ACTIONS", 500)
    count = 5_000
    translator = translator_of(PHASES)

    def play_from(first):
        for i in range(first, first + count):
            translator.line(line(type="start", id=str(i), name="x"))
            if ends:
                translator.line(line(type="end", id=str(i), good=True))

    play_from(0)
    tracemalloc.start()
    try:
        play_from(count)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    limit = actions_module.MAX_CLOSED_ACTIONS if ends else 500
    assert grown < 50_000 + limit * 1200  # what is remembered was replaced; all would be 3 MB


def test_an_action_is_remembered_after_it_has_ended():
    def ends(count):
        return [{"type": "end", "id": str(i), "good": True} for i in range(count)]

    few = actions_module.MAX_CLOSED_ACTIONS
    start, again = {"type": "start", "id": "0", "name": "x"}, {"type": "end", "id": "0"}
    assert actions(play(PHASES, start, *ends(few), again))[-1].action.title == "x"
    assert actions(play(PHASES, start, *ends(2 * few), again))[-1].action.title != "x"


# -- outcomes (sections 8 and 10) -----------------------------------------------------------------

OUTCOME = """
events:
  - match: {type: say}
    set: {answer: text, error: error, usage: usage}
  - match: {type: end}
    complete: {}
  - match: {type: full}
    complete: {answer: text, error: error, ok: good, usage: usage}
"""


def end_of(*lines, text=OUTCOME, **options):
    return play(text, *lines, **options)[-1]


def test_an_outcome_defaults_to_the_state():
    said = {"type": "say", "text": "hi", "usage": {"turns": 2, "cost_usd": None, "x": "y"}}
    assert end_of(said, {"type": "end"}) == CompletedEvent(
        "acme", True, "hi", None, None, {"turns": 2, "x": "y"}
    )
    failed = end_of({"type": "say", "text": "partly", "error": "boom"}, {"type": "end"})
    assert (failed.ok, failed.answer, failed.error) == (False, "partly", "boom")


def test_an_outcome_without_anything():
    assert end_of({"type": "end"}) == CompletedEvent("acme", True, "")


def test_the_last_outcome_wins_whatever_the_exit_code():
    end = end_of({"type": "full", "error": "boom"}, {"type": "full", "text": "yes"}, exit_code=3)
    assert (end.ok, end.answer, end.error) == (True, "yes", None)
    end = end_of({"type": "full", "text": "yes"}, {"type": "full", "error": "boom"}, exit_code=0)
    assert (end.ok, end.error) == (False, "boom")


@pytest.mark.parametrize(
    ("fields", "ok", "error"),
    [
        ({"error": False}, True, None),
        ({"error": None}, True, None),
        ({"error": ""}, True, None),
        ({"error": []}, True, None),
        ({"error": "boom"}, False, "boom"),
        ({"error": "boom", "good": True}, True, None),
        ({"good": False}, False, "Acme run failed"),
        ({"error": True}, False, "Acme run failed"),
        ({"error": "  "}, False, "Acme run failed"),
        ({"error": {"message": "inner"}}, False, "inner"),
        ({"error": {"error": {"message": "inner"}}}, False, "inner"),
        ({"error": {"data": {"message": "inner"}, "name": "X"}}, False, "inner"),
        ({"error": {"code": 5}}, False, '{"code": 5}'),
        ({"error": ["a", {"text": "b"}]}, False, "a\nb"),
        ({"error": 0}, False, "0"),
    ],
)
def test_whether_a_run_is_ok(fields, ok, error):
    end = end_of({"type": "full", **fields})
    assert (end.ok, end.error) == (ok, error)


def test_an_error_is_not_also_the_answer():
    end = end_of({"type": "full", "text": " boom\n", "error": "boom"})
    assert (end.answer, end.error) == ("", "boom")
    end = end_of({"type": "full", "text": "boom!", "error": "boom"})
    assert (end.answer, end.error) == ("boom!", "boom")
    assert end_of({"type": "full", "text": "boom", "error": "boom", "good": True}).answer == "boom"


def test_an_answer_may_be_a_content_value():
    assert end_of({"type": "full", "text": [{"text": "a"}, {"text": "b"}]}).answer == "a\nb"
    assert end_of({"type": "full", "text": None}).answer == ""


@pytest.mark.parametrize("usage", [None, [], "many", 5, {}, {"turns": None}])
def test_usage_that_says_nothing(usage):
    assert end_of({"type": "full", "usage": usage}).usage is None


def test_a_failure_without_an_error_says_why():
    end = end_of({"type": "full", "good": False}, stderr=[b"disk full"], exit_code=1)
    assert end.error == "Acme run failed (exit code 1)\ndisk full"
    end = end_of({"type": "full", "good": False}, exit_code=-15)
    assert end.error == "Acme run failed (killed by SIGTERM)"


# -- the end of a run without an outcome ----------------------------------------------------------

END = """
events:
  - match: {type: say}
    set: {answer: text, error: error}
end: {}
"""
NO_END = END.replace("end: {}", "")


def test_end_closes_a_run():
    end = end_of({"type": "say", "text": "hi"}, text=END)
    assert (end.ok, end.answer, end.error) == (True, "hi", None)


@pytest.mark.parametrize(
    ("lines", "exit_code", "error"),
    [
        ([{"type": "say", "text": "hi"}], 1, "Acme failed (exit code 1)"),
        ([{"type": "say", "text": "hi"}], -9, "Acme was killed by SIGKILL"),
        ([{"type": "say", "text": "hi"}], -250, "Acme was killed by signal 250"),
        ([{"type": "say", "text": "hi", "error": "boom"}], 0, "boom"),
        ([{"type": "say", "text": "hi", "error": "boom"}], 1, "boom"),
        ([{"type": "strange"}], 0, "Acme finished without a result event"),
        ([], 0, "Acme finished without a result event"),
    ],
)
def test_end_does_not_close_a_run_that_failed(lines, exit_code, error):
    end = end_of(*lines, text=END, exit_code=exit_code)
    assert (end.ok, end.error) == (False, error)
    assert end.answer == ("hi" if lines and "text" in lines[0] else "")


def test_a_session_line_is_a_mapped_line():
    session = "session: {match: {type: init}, id: id}\nend: {}"
    assert end_of({"type": "init", "id": "1"}, text=session).ok


def test_end_may_say_more():
    text = NO_END + "end: {answer: \"'${state().answer}!'\", ok: state().answer == 'hi'}"
    assert end_of({"type": "say", "text": "hi"}, text=text).ok
    end = end_of({"type": "say", "text": "no"}, text=text)
    assert (end.ok, end.error) == (False, "Acme run failed")


def test_without_end_and_outcome_a_run_failed():
    end = end_of({"type": "say", "text": "hi"}, text=NO_END)
    assert (end.ok, end.answer) == (False, "hi")
    assert end.error == "Acme finished without a result event"
    end = end_of({"type": "say", "error": "boom"}, text=NO_END)
    assert end.error == "boom"


def test_takopis_own_reason():
    translator = translator_of(END)
    translator.line(line(type="say", text="hi"))
    (end,) = translator.finish(None, failure="cancelled")
    assert (end.ok, end.answer, end.error) == (False, "hi", "cancelled")
    translator = translator_of(OUTCOME)
    translator.line(line(type="full", text="done"))
    (end,) = translator.finish(None, failure="cancelled")
    assert (end.ok, end.answer) == (True, "done")


def test_the_error_carries_the_last_output_without_terminal_codes():
    end = end_of(
        b"\x1b[1;31mError:\x1b[0m unknown flag \x1b]8;;http://x\x07--foo\x1b]8;;\x07",
        b"\x1b[2K\r",
        b"",
        stderr=[b"warn\x07ing\r", b"   ", b"two"],
        exit_code=2,
    )
    assert end.error == "Acme failed (exit code 2)\nwarning\ntwo\nError: unknown flag --foo"


def test_the_last_output_is_bounded():
    lines = [f"{i} {'x' * 5000}".encode() for i in range(500)]
    end = end_of(*lines, stderr=lines, exit_code=2)
    assert [part[:4] for part in end.error.splitlines()[1:]] == ["498 ", "499 "] * 2
    assert len(end.error) < 10_000


def test_an_error_of_the_stream_needs_no_output():
    assert end_of({"type": "full", "error": "boom"}, stderr=[b"noise"]).error == "boom"


HINTS = """
events:
  - match: {type: full}
    complete: {error: error}
hints:
  - {match: "(?i)not logged in", say: run `acme login`}
  - {match: "401", say: run `acme login`}
  - {match: "disk", say: make room}
"""


@pytest.mark.parametrize("place", ["error", "stderr", "stdout"])
def test_hints_are_added_once_each(place):
    text = "Not logged in (401)"
    lines = {"error": [{"type": "full", "error": text}], "stdout": [text.encode()]}.get(place, [])
    stderr = [text.encode()] if place == "stderr" else []
    end = end_of(*lines, text=HINTS, stderr=stderr, exit_code=1)
    assert end.error.endswith(f"{text}\nhint: run `acme login`")
    assert end.error.count("hint") == 1


def test_no_hints_for_a_run_that_succeeded():
    assert end_of({"type": "full"}, text=HINTS, stderr=[b"not logged in"]).error is None


def test_secrets_are_hidden_wherever_output_is_shown():
    secret = "hunter2hunter2"

    def redact(text):
        return text.replace(secret, "***")

    # It straddles the place where a long line is cut.
    long = b"x" * 1990 + secret.encode()
    translator = translator_of("", redact=redact)
    events = feed(translator, f"key {secret}".encode(), long, stderr=[long], exit_code=1)
    assert "hunter" not in repr(events)
    assert "key ***" in events[-1].error
    end = feed(translator_of(OUTCOME, redact=redact), {"type": "full", "error": f"bad {secret}"})
    assert end[-1].error == "bad ***"


# -- lines ----------------------------------------------------------------------------------------


def test_lines_that_are_not_json_warn_five_times_and_are_counted():
    events = play("", *[f"line {i}".encode() for i in range(12)])
    found = actions(events)
    assert [shown(e) for e in found[:2]] == [
        ("acme.note.1", "completed", "warning", "not JSON: line 0", False),
        ("acme.note.2", "completed", "warning", "not JSON: line 1", False),
    ]
    assert found[0].level == "warning"
    assert found[0].action.detail == {"line": "line 0"}
    assert [e.action.title for e in found[5:]] == ["7 more lines were not JSON"]


def test_five_lines_need_no_count():
    assert len(actions(play("", *[b"x"] * 5))) == 5
    assert actions(play("", *[b"x"] * 6))[-1].action.title == "1 more line was not JSON"


def test_lines_that_are_not_json_can_be_ignored():
    events = play("non_json: ignore", *[b"reason"] * 8, exit_code=1)
    assert not actions(events)
    assert "reason" in events[-1].error


@pytest.mark.parametrize("raw", [b"[1]", b"5", b'"text"', b"null", b"true", b"{", b"\x00", b"{}x"])
def test_json_that_is_no_object_is_not_json(raw):
    events = play("end: {}", raw)
    # A control character alone is nothing to show.
    assert [e.action.kind for e in actions(events)] == ([] if raw == b"\x00" else ["warning"])
    assert not events[-1].ok


@pytest.mark.parametrize("raw", [b"", b"   ", b"\r", b"\t\r", b"\x1b[0m"])
def test_blank_lines_are_nothing(raw):
    translator = translator_of(OUTCOME)
    translator.line(line(type="end"))
    assert translator.line(raw) == []
    assert translator.settle_s == 10


ODD = """
events:
  - match: {type: a}
    action: {title: t}
"""


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b'{"type": "a", "t": "half \\ud83d"}', "half �"),
        (b'{"type": "a", "t": "whole \\ud83d\\ude00"}', "whole 😀"),
        (b'{"type": "a", "t": "bad \xff byte"}', "bad � byte"),
        ('{"type": "a", "t": "x\u2028y\u0085z"}'.encode(), "x\u2028y\u0085z"),
        (b'{"t": "late", "type": "a"}', "late"),
        (b'{"type": "b", "t": "1", "type": "a", "t": "2"}', "2"),
        (b'  {"type": "a", "t": "crlf"}  \r', "crlf"),
        (b'\xef\xbb\xbf{"type": "a", "t": "bom"}', "bom"),
        (b'{"type": "a", "t": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (b'{"type": "a", "t": "nul \\u0000 in it"}', "nul \x00 in it"),
        (b'{"type": "a", "t": "x", "n": NaN}', "x"),
    ],
)
def test_odd_lines_are_not_lost(raw, title):
    (event,) = actions(play(ODD, raw))
    assert event.action.title == title
    event.action.title.encode()


def test_halves_of_a_character_in_two_lines_are_joined():
    halves = [b'{"type": "delta", "text": "a\\ud83d"}', b'{"type": "delta", "text": "\\ude00b"}']
    assert play(APPEND, *halves)[-1].answer == "a😀b"


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"a":' * 100_000, b'{"n": ' + b"9" * 5000 + b"}"]
)
def test_what_cannot_be_decoded_costs_one_line(raw):
    events = play(ODD, raw, {"type": "a", "t": "next"})
    assert [e.action.kind for e in actions(events)] == ["warning", "note"]


def test_a_skipped_line_is_a_warning():
    translator = translator_of("")
    (event,) = translator.skipped(Oversized(70_000_000))
    assert event.action.title == "skipped a line of 70.0 MB: too long"
    assert (event.action.kind, event.ok) == ("warning", False)


def test_silence_is_a_note():
    (event,) = translator_of("").quiet(120)
    assert shown(event) == ("acme.note.1", "updated", "note", "no output for 120 s", None)


def test_a_mistake_of_takopis_own_costs_one_line(caplog, monkeypatch):
    translator = translator_of(ODD)
    real = translator._actions.event

    def broken(plan, node):
        if node["t"] == "bad":
            raise RuntimeError("a bug")
        return real(plan, node)

    monkeypatch.setattr(translator._actions, "event", broken)
    events = feed(translator, *({"type": "a", "t": t} for t in ("one", "bad", "two")))
    assert [e.action.kind for e in actions(events)] == ["note", "warning", "note"]
    assert "a bug" in caplog.text


# -- expressions and settle -----------------------------------------------------------------------


def test_a_failing_expression_is_null_and_warns_once_per_place(caplog):
    rules = """
    events:
      - match: {type: a}
        if: "!broken || length(n) == `0`"
        set: {answer: "join('', n)"}
        action: {title: "length(n)", detail: {n: "ceil(n)"}, kind: note}
    """
    with caplog.at_level(logging.WARNING):
        events = play(rules, *[{"type": "a", "n": True}] * 3)
    assert [shown(e)[2:] for e in actions(events)] == [("note", "note", True)] * 3
    warnings = [r.message for r in caplog.records]
    assert len(warnings) == 3
    assert all("acme.yaml:" in w and "events[0]" in w for w in warnings)


SETTLE = """
settle: {}
events:
  - match: {{type: end}}
    complete: {{}}
  - match: {{type: tasks}}
    set: {{tasks: tasks}}
"""


@pytest.mark.parametrize(
    ("settle", "expected"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("0", 0),
        ("s", 7),
        ("state().tasks && `600` || `10`", 600),
        ("missing", 10),
        ("type", 10),
        ("length(missing)", 10),
        ("bool", 10),
        ("negative", 10),
    ],
)
def test_settle_is_evaluated_when_an_outcome_is_recorded(settle, expected):
    translator = translator_of(SETTLE.format(settle))
    assert translator.settle_s is None
    translator.line(line(type="tasks", tasks=[1]))
    translator.line(line(type="end", s=7, bool=True, negative=-1))
    assert (translator.settle_s, translator.outcomes) == (expected, 1)


@pytest.mark.parametrize("raw", [b'{"type": "other"}', b"not json", None])
def test_any_later_line_stops_the_clock_until_the_next_outcome(raw):
    translator = translator_of(SETTLE.format(3))
    translator.line(line(type="end"))
    _ = translator.skipped(Oversized(1)) if raw is None else translator.line(raw)
    assert translator.settle_s is None
    translator.line(line(type="end"))
    assert (translator.settle_s, translator.outcomes) == (3, 2)


def test_stderr_does_not_stop_the_clock():
    translator = translator_of(SETTLE.format(3))
    translator.line(line(type="end"))
    translator.stderr(b"bye")
    assert translator.settle_s == 3


def test_an_outcome_that_is_nested_too_deep_to_be_shown_does_not_cost_the_end():
    rules = """
    events:
      - match: {type: end}
        complete: {error: reason}
    """
    for depth in range(700, 1000):
        raw = b'{"type": "end", "reason": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
        *_, last = play(rules, raw)
        assert isinstance(last, CompletedEvent)
        assert last.ok is False
