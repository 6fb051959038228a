"""Values that a stream never had, and drafts that cannot work yet."""

import pytest

from takopi.adapters.audit import Audit
from takopi.adapters.compile import compile_adapter
from takopi.adapters.source import Source
from takopi.adapters.translate import Translator

YAML = """\
adapter: 1
id: acme
command: acme
args: ["${run().prompt}", "${run().resume}"]
resume: {line: "acme resume ${token}"}
session: {match: {type: init}, id: %(session)s}
events:
  - match: {type: tool}
    action: {id: %(id)s, title: name, exit_code: code, detail: {why: why}}
  - match: {type: text}
    append: {answer: %(text)s}
  - match: {type: done}
    set: {usage: {a: `1`}}
    complete: {error: error}
"""
GOOD = {"session": "id", "id": "call", "text": "text"}
LINES = (
    b'{"type": "init", "id": "s1"}',
    b'{"type": "tool", "call": "t1", "name": "ls"}',
    b'{"type": "text", "text": "hello"}',
    b'{"type": "done"}',
)


def findings(lines=LINES, **fields):
    text = YAML % {**GOOD, **fields}
    adapter = compile_adapter(Source("acme.yaml", text.replace("`1`", "1"))).adapter
    audit = Audit(adapter)
    run = {"prompt": "", "resume": None, "session": None, "cwd": "/"}
    audit.translator = translator = Translator(adapter, run, {}, on_rule=audit.on_rule)
    for line in lines:
        translator.line(line)
    translator.finish(0)
    audit.run_ended(translator)
    return audit.findings()


def test_nothing_to_find():
    assert findings() == []


def test_a_misspelt_session():
    assert findings(session="ident") == [
        "session: no line told a session id, so the run cannot be resumed"
    ]


def test_a_misspelt_field_is_told_with_the_fields_there_are():
    assert findings(text="txt") == [
        "acme.yaml:10 events[1].append.answer was null on 1 of 1 lines, which have: type, text"
    ]
    assert findings(id="step.id")[0].startswith("acme.yaml:8 events[0].action.id was null")


def test_a_value_that_was_there_once_is_good():
    assert findings((*LINES[:3], b'{"type": "text"}', LINES[3])) == []


def test_a_rule_that_never_acted_is_not_reported():
    assert findings((LINES[0], LINES[3]), text="txt") == []


DRAFT = """\
adapter: 1
id: acme
command: acme
args: %(args)s
resume: {line: "acme resume ${token}"}
session: {id: id}
events:
  - match: {type: a}
    %(rule)s
"""


def warnings(args='["${run().prompt}", "${run().resume}"]', rule="complete: {}"):
    compiled = compile_adapter(Source("acme.yaml", DRAFT % {"args": args, "rule": rule}))
    assert compiled.adapter is not None, "a draft can be replayed"
    return [(d.severity, d.message, d.help) for d in compiled.diagnostics]


def test_a_finished_file_has_no_warnings():
    assert warnings() == []
    assert warnings(args='["${to_string(run())}"]') == []


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        ({"args": '["${run().resume}"]'}, "nothing reads `run().prompt`"),
        ({"args": '["${run().prompt}"]'}, "nothing reads `run().resume`"),
        ({"rule": "set: {answer: x}"}, "no rule has `complete` and there is no `end`"),
        (
            {"rule": "set: {anwser: x}\n    complete: {}"},
            "the state variable `anwser` is set",
        ),
    ],
)
def test_what_a_draft_lacks(draft, message):
    [(severity, text, advice)] = warnings(**draft)
    assert severity == "warning"
    assert text.startswith(message)
    assert advice


def test_a_misspelt_variable_has_a_suggestion():
    [(_, _, advice)] = warnings(rule="append: {anwser: x}\n    complete: {}")
    assert advice == "did you mean `answer`?"


def test_a_forgotten_template():
    text = DRAFT % {"args": "[run().prompt]", "rule": "complete: {}"}
    [problem] = compile_adapter(Source("acme.yaml", text)).diagnostics
    assert problem.message == "`run().prompt` is literal text here, not an expression"
    assert problem.help == "write `${run().prompt}` to mix in its value"
