"""`takopi adapters test` and `takopi adapters explain`, as a user has them."""

import json

import pytest

from .test_cli import ACME, ROOT, home, install_acme, takopi  # noqa: F401  (home is a fixture)

STREAM = '{"type": "session", "id": "s-1"}\n{"type": "done", "text": "ok"}\n'


@pytest.fixture
def cases(home):  # noqa: F811
    """An adapter and one recorded case of it; returns the project's folder."""
    install_acme(home)
    case = home / "project/fixtures/streams/acme/plain"
    case.mkdir(parents=True)
    (case / "stream.jsonl").write_text(STREAM)
    return home / "project"


def run(cases, *args):
    return takopi(cases.parent, "adapters", *args)


def test_a_missing_expectation_fails_and_update_writes_it(cases):
    first = run(cases, "test", "acme")
    assert first.returncode == 1
    assert (
        "acme/plain: events.json is missing; write it with --update and look at it" in first.stdout
    )
    updated = run(cases, "test", "acme", "--update")
    assert updated.returncode == 0
    assert "acme/plain: wrote events.json" in updated.stdout
    events = json.loads((cases / "fixtures/streams/acme/plain/events.json").read_text())
    assert [e["type"] for e in events] == ["started", "completed"]
    again = run(cases, "test")
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].split() == ["acme", "-", "2/2", "1", "2", "ok"]


def test_another_event_than_expected(cases):
    run(cases, "test", "acme", "--update")
    (cases / "fixtures/streams/acme/plain/stream.jsonl").write_text(STREAM.replace("ok", "no"))
    done = run(cases, "test", "acme")
    assert done.returncode == 1
    assert "acme/plain: event 1 is not the expected one" in done.stdout
    assert '"answer": "no"' in done.stdout


def test_one_is_not_true(cases):
    run(cases, "test", "acme", "--update")
    file = cases / "fixtures/streams/acme/plain/events.json"
    file.write_text(file.read_text().replace('"ok": true', '"ok": 1'))
    assert run(cases, "test", "acme").returncode == 1


def test_lines_that_no_rule_knows_fail(cases):
    (cases / "fixtures/streams/acme/plain/stream.jsonl").write_text('{"type": "new"}\n' + STREAM)
    done = run(cases, "test", "acme", "--update")
    assert done.returncode == 1
    assert "acme/plain: no rule matches 1 × type=new" in done.stdout


def test_rules_that_never_fired_fail_unless_less_is_wanted(cases):
    install_acme(
        cases.parent, ACME + "  - match: {type: other}\n    action: {kind: note, title: text}\n"
    )
    run(cases, "test", "acme", "--update")
    done = run(cases, "test", "acme")
    assert done.returncode == 1
    assert "acme: 67 % of the rules fired, 100 % are wanted" in done.stdout
    assert (
        "acme: no fixture fires the rule ~/.takopi/adapters/acme.yaml:14 (events[2])" in done.stdout
    )
    assert run(cases, "test", "acme", "--min-coverage", "60").returncode == 0


def test_values_that_never_had_one_are_told(cases):
    install_acme(cases.parent, ACME.replace("answer: text", "answer: txt"))
    done = run(cases, "test", "acme", "--update")
    assert done.returncode == 0
    assert (
        "events[1].complete.answer was null on 1 of 1 lines, which have: type, text" in done.stdout
    )


def test_an_invalid_adapter_is_not_hidden(cases):
    run(cases, "test", "acme", "--update")
    install_acme(cases.parent, ACME.replace("answer: text", "answer: trimm(text)"))
    done = run(cases, "test", "acme")
    assert done.returncode == 1
    assert "unknown function `trimm`" in done.stderr
    assert done.stdout.splitlines()[-1].split()[-1] == "broken"


def test_an_engine_without_fixtures_fails(cases):
    done = run(cases, "test", "demo")
    assert done.returncode == 1
    assert "demo: there are no fixtures in fixtures/streams/demo" in done.stdout
    assert run(cases, "test", "--fixtures", "nowhere").returncode == 2


def test_another_folder_of_fixtures(cases):
    done = run(cases, "test", "demo", "--fixtures", str(ROOT / "fixtures/streams"))
    assert done.returncode == 0


def test_explain_says_why_rules_did_not_match(cases):
    done = run(cases, "explain", "acme", "fixtures/streams/acme/plain:2")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == 'line 2: {"type": "done", "text": "ok"}'
    assert '✗ events[0] (line 11): `type` is "done", wanted "session"' in done.stdout
    assert "✓ events[1] (line 12)" in done.stdout
    assert 'complete.answer = "ok"' in done.stdout


def test_explain_shows_items_events_and_conditions():
    done = explain("claude", "fixtures/streams/claude/bash_ok:3")
    assert "item 0:" in done
    assert "✓ events[0].rules[0]" in done
    assert '→ {"type": "action"' in done
    assert "`if` is false" in explain("codex", "fixtures/streams/codex/error_401:5")


def test_explain_all_lines_and_lines_that_do_not_exist(cases):
    done = run(cases, "explain", "acme", "fixtures/streams/acme/plain")
    assert done.stdout.count("\nline ") == 1
    assert 'session.id = "s-1"' in done.stdout
    far = run(cases, "explain", "acme", "fixtures/streams/acme/plain:9")
    assert far.returncode == 2
    assert "has lines 1 to 2, not 9" in far.stderr


def explain(*args):
    import subprocess
    import sys

    return subprocess.run(
        [sys.executable, "-m", "takopi.cli.app", "adapters", "explain", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
