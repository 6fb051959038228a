"""`JsonlSubprocessRunner` with real processes: every hook, rule and correction it promises."""

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from types import SimpleNamespace

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from takopi.engines.base import EngineRunOptions, apply_run_options, get_run_options
from takopi.engines.python import JsonlSubprocessRunner
from takopi.errors import RunError
from takopi.model import Action, ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from takopi.paths import reset_run_base_dir, set_run_base_dir
from tests.support.contract import asked_of, assert_contract
from tests.support.processes import ending_processes, gone, read_pid, until
from tests.support.python_engine import (
    ACME,
    INIT,
    STEP,
    AcmeRunner,
    assert_free,
    collect,
    init,
    line,
    result,
    token,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way"),
]


async def play(runner, prompt="do it", resume=None):
    events = await collect(runner.run(prompt, resume))
    assert_contract(events, engine="acme", resume=asked_of(events))
    return events


async def outcome(runner, prompt="do it", resume=None):
    return (await play(runner, prompt, resume))[-1]


async def echo(runner, prompt="do it", resume=None):
    return json.loads((await outcome(runner, prompt, resume)).answer)


def types(events):
    return [event.type for event in events]


def notes(events):
    found = [e for e in events if isinstance(e, ActionEvent) and e.action.kind == "warning"]
    return [(note.action.title, note.action.detail) for note in found]


@pytest.fixture
def end_processes():
    yield from ending_processes()


# -- a run ----------------------------------------------------------------------------------------


async def test_a_run(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, STEP, result("hi"))
    events = await play(runner)
    assert types(events) == ["started", "action", "completed"]
    assert events[0] == StartedEvent("acme", token())
    assert events[-1] == CompletedEvent("acme", True, "hi", token())
    assert gone(runner.pid)
    await assert_free(token())


async def test_a_minimal_run(tmp_path):
    assert types(await play(AcmeRunner(tmp_path, INIT, result()))) == ["started", "completed"]


async def test_actions_may_come_before_started(tmp_path):
    events = await play(AcmeRunner(tmp_path, ["print", "loading"], STEP, INIT, result()))
    assert types(events) == ["action", "action", "started", "completed"]


async def test_hooks_are_called_in_order_with_the_runs_own_state(tmp_path):
    calls = []

    class Telling(AcmeRunner):
        def new_state(self, prompt, resume):
            calls.append(("new_state", prompt, resume))
            return super().new_state(prompt, resume)

        def start_run(self, prompt, resume, *, state):
            calls.append(("start_run", prompt, resume, state))

        def command(self):
            calls.append(("command",))
            return super().command()

        def build_args(self, prompt, resume, *, state):
            calls.append(("build_args", prompt, resume, state))
            return super().build_args(prompt, resume, state=state)

        def stdin_payload(self, prompt, resume, *, state):
            calls.append(("stdin_payload", prompt, resume, state))
            return super().stdin_payload(prompt, resume, state=state)

        def env(self, *, state):
            calls.append(("env", state))
            return super().env(state=state)

    runner = Telling(tmp_path, INIT, result())
    await play(runner, "x", token())
    (state,) = runner.states
    assert calls == [
        ("new_state", "x", token()),
        ("start_run", "x", token(), state),
        ("command",),
        ("build_args", "x", token(), state),
        ("stdin_payload", "x", token(), state),
        ("env", state),
    ]
    assert [found["type"] for found in state.seen] == ["init", "result"]


async def test_translate_is_told_the_session_asked_for_and_the_one_found(tmp_path):
    told = []

    class Telling(AcmeRunner):
        def translate(self, data, *, state, resume, found_session):
            told.append((resume, found_session))
            return super().translate(data, state=state, resume=resume, found_session=found_session)

    await play(Telling(tmp_path, STEP, INIT, result()))
    assert told == [(None, None), (None, None), (None, token())]
    told.clear()
    await play(Telling(tmp_path, INIT, result()), "x", token())
    assert told == [(token(), None), (token(), token())]


async def test_the_run_works_in_the_base_directory_with_its_options(tmp_path):
    seen = []

    class Telling(AcmeRunner):
        def build_args(self, prompt, resume, *, state):
            seen.append(get_run_options())
            return super().build_args(prompt, resume, state=state)

    runner = Telling(tmp_path, ["echo"])
    folder = tmp_path / "project"
    folder.mkdir()
    reset = set_run_base_dir(folder)
    try:
        with apply_run_options(EngineRunOptions(model="m")):
            assert (await echo(runner))["cwd"] == str(folder)
    finally:
        reset_run_base_dir(reset)
    assert (await echo(runner))["cwd"] == os.getcwd()
    assert seen == [EngineRunOptions(model="m"), None]


async def test_runs_of_one_runner_keep_nothing_of_each_other(tmp_path):
    bad = ["print", "no json"]
    runner = AcmeRunner(tmp_path, bad, bad, INIT, result())
    for _ in range(2):
        events = await play(runner)
        assert [e.action.id for e in events[:2]] == ["acme.note.1", "acme.note.2"]


# -- stdin and environment ------------------------------------------------------------------------


async def test_the_prompt_is_written_to_stdin(tmp_path):
    assert (await echo(AcmeRunner(tmp_path, ["read"], ["echo"]), "ünï 😀"))["stdin"] == "ünï 😀"


async def test_half_a_character_does_not_cost_the_prompt(tmp_path):
    assert (await echo(AcmeRunner(tmp_path, ["read"], ["echo"]), "a\ud83db"))["stdin"] == "a?b"


@pytest.mark.parametrize("payload", [None, b""])
async def test_without_a_payload_stdin_is_at_its_end(tmp_path, payload):
    class Silent(AcmeRunner):
        def stdin_payload(self, prompt, resume, *, state):
            return payload

    assert (await echo(Silent(tmp_path, ["read"], ["echo"])))["stdin"] == ""


async def test_the_environment_is_inherited_without_takopis_own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("ACME_MODE", "fast")
    monkeypatch.setenv("TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN", "secret")
    names = ["ACME_MODE", "TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN"]
    found = await echo(AcmeRunner(tmp_path, ["echo", *names]))
    assert found["env"] == dict(zip(names, ["fast", None], strict=True))


async def test_a_dict_replaces_the_environment_and_keeps_takopis_own_settings_out(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ACME_MODE", "fast")

    class Own(AcmeRunner):
        def env(self, *, state):
            return {"ACME_KEY": "k", "TAKOPI__X": "secret", "takopi__y": "secret"}

    names = ["ACME_KEY", "ACME_MODE", "HOME", "TAKOPI__X", "takopi__y"]
    found = await echo(Own(tmp_path, ["echo", *names]))
    assert found["env"] == dict(zip(names, ["k", None, None, None, None], strict=True))


async def test_c5_a_large_prompt_to_a_cli_that_writes_first(tmp_path):
    prompt = "x" * 3_000_000
    steps = [INIT, ["repeat", 30_000, STEP[1]], ["read"], ["echo"]]
    assert (await echo(AcmeRunner(tmp_path, *steps), prompt))["stdin"] == prompt


async def test_c5_a_cli_that_never_reads_its_prompt(tmp_path):
    prompt = "x" * 1_000_000
    assert (await outcome(AcmeRunner(tmp_path, INIT, result("hi")), prompt)).answer == "hi"
    end = await outcome(AcmeRunner(tmp_path, INIT, ["exit", 3]), prompt)
    assert end.error == "acme failed (rc=3)."


# -- starting fails -------------------------------------------------------------------------------


async def test_c10_a_missing_executable_is_named(tmp_path):
    class Missing(AcmeRunner):
        def command(self):
            return "no-such-acme"

    with pytest.raises(RunError, match=r"cannot start `no-such-acme`: .* is it installed\?"):
        await collect(Missing(tmp_path).run("x", token()))
    await assert_free(token())


async def test_c10_a_missing_directory_is_named(tmp_path):
    reset = set_run_base_dir(tmp_path / "gone")
    try:
        with pytest.raises(RunError, match=r"the working directory `.*/gone` does not exist"):
            await collect(AcmeRunner(tmp_path, INIT).run("x", None))
    finally:
        reset_run_base_dir(reset)


async def test_an_executable_is_found_from_here_not_from_the_projects_folder(tmp_path, monkeypatch):
    project = tmp_path / "project"
    for folder, word in ((tmp_path / "bin", "real"), (project / "bin", "trap")):
        folder.mkdir(parents=True)
        program = folder / "acme"
        line = json.dumps({"type": "result", "text": word})
        program.write_text(f"#!/bin/sh\necho '{line}'\n")
        program.chmod(0o755)

    class Named(AcmeRunner):
        def command(self):
            return "acme"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"bin:{os.environ['PATH']}")
    reset = set_run_base_dir(project)
    try:
        assert (await outcome(Named(tmp_path))).answer == "real"
    finally:
        reset_run_base_dir(reset)


async def test_pipes_that_cannot_be_opened(tmp_path):
    class Worded(AcmeRunner):
        def tag(self):
            return "the engine"

    runner = Worded(tmp_path, INIT)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))
    try:
        with pytest.raises(RuntimeError, match=r"^the engine failed to open subprocess pipes: \w"):
            await collect(runner.run("x", None))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_an_argument_may_be_a_path_but_not_a_number(tmp_path):
    class Odd(AcmeRunner):
        more = tmp_path

        def build_args(self, prompt, resume, *, state):
            return [*super().build_args(prompt, resume, state=state), self.more]

    assert (await echo(Odd(tmp_path, ["echo"])))["argv"] == [str(tmp_path)]
    with pytest.raises(TypeError, match="int"):
        await collect(Odd(tmp_path, ["echo"], more=5).run("x", None))


@pytest.mark.parametrize("hook", ["new_state", "start_run", "command", "build_args", "env"])
async def test_a_hook_that_fails_before_the_start_leaves_the_session_free(tmp_path, hook):
    def fail(*_, **__):
        raise LookupError(hook)

    runner = AcmeRunner(tmp_path, INIT, **{hook: fail})
    with pytest.raises(LookupError, match=hook):
        await collect(runner.run("x", token()))
    await assert_free(token())
    assert not runner.logger.named("subprocess.spawn")


# -- lines ----------------------------------------------------------------------------------------


async def test_blank_lines_are_skipped(tmp_path):
    raw = b"\n  \n\r\n\t\r\n"
    runner = AcmeRunner(tmp_path, ["hex", raw.hex()], INIT, result())
    assert types(await play(runner)) == ["started", "completed"]


async def test_blanks_around_a_line_and_crlf_are_stripped(tmp_path):
    decoded = []

    class Telling(AcmeRunner):
        def decode_jsonl(self, *, line):
            decoded.append(line)
            return super().decode_jsonl(line=line)

    raw = b'  {"type": "init", "session": "s1"} \t\r\n'
    events = await play(Telling(tmp_path, ["hex", raw.hex()], result()))
    assert types(events) == ["started", "completed"]
    assert decoded[0] == raw.strip()


@pytest.mark.parametrize("text", ["no json", "{", "null", '{"a": 1} x'])
async def test_what_is_not_json_is_noted(tmp_path, text):
    events = await play(AcmeRunner(tmp_path, ["print", f" {text} "], INIT, result()))
    message = "invalid JSON from acme; ignoring line"
    assert events[0] == ActionEvent(
        "acme",
        Action("acme.note.1", "warning", message, {"line": text}),
        "completed",
        False,
        message,
        "warning",
    )
    assert types(events) == ["action", "started", "completed"]


async def test_a_decoder_that_raises_is_noted(tmp_path):
    class Strict(AcmeRunner):
        def decode_jsonl(self, *, line):
            if line == b"odd":
                raise LookupError("what is that")
            return super().decode_jsonl(line=line)

    events = await play(Strict(tmp_path, ["print", "odd"], INIT, result()))
    assert notes(events) == [
        ("invalid event from acme; ignoring line", {"line": "odd", "error": "what is that"})
    ]


async def test_json_that_is_too_deep_is_noted(tmp_path):
    events = await play(AcmeRunner(tmp_path, ["print", "[" * 100_000], INIT, result()))
    ((title, detail),) = notes(events)
    assert title == "invalid event from acme; ignoring line"
    assert detail["line"] == "[" * 100_000


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        ({}, {"type": "boom"}),
        ({"item": {"type": "t"}}, {"type": "boom", "item_type": "t"}),
        ({"item": {"item_type": "u"}}, {"type": "boom", "item_type": "u"}),
        ({"item": "text"}, {"type": "boom"}),
        ({"item": {}}, {"type": "boom"}),
    ],
)
async def test_a_translator_that_raises_is_noted_and_the_stream_goes_on(tmp_path, more, detail):
    events = await play(AcmeRunner(tmp_path, line("boom", **more), INIT, result("hi")))
    assert notes(events) == [
        ("acme translation error; ignoring event", {"error": "boom", **detail})
    ]
    assert events[-1].answer == "hi"


async def test_a_value_that_is_no_object_reaches_the_translator(tmp_path):
    events = await play(AcmeRunner(tmp_path, ["print", "[1]"], INIT, result()))
    ((title, detail),) = notes(events)
    assert title == "acme translation error; ignoring event"
    assert list(detail) == ["error"]


async def test_unknown_types_are_never_fatal(tmp_path):
    runner = AcmeRunner(tmp_path, line("news"), INIT, line("news"), result())
    assert types(await play(runner)) == ["started", "completed"]


async def test_events_after_completed_in_one_list_are_discarded(tmp_path):
    class Chatty(AcmeRunner):
        def translate(self, data, **more):
            events = super().translate(data, **more)
            if data["type"] == "result":
                events += super().translate({"type": "step", "id": "9", "title": "late"}, **more)
                events += events
            return events

    assert types(await play(Chatty(tmp_path, INIT, result()))) == ["started", "completed"]


async def test_lines_after_completed_are_dropped_and_logged_once(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, result("one"), STEP, ["print", ""], result("two"), STEP)
    events = await play(runner)
    assert types(events) == ["started", "completed"]
    assert events[-1].answer == "one"
    (dropped,) = runner.logger.named("runner.drop.jsonl_after_completed")
    assert dropped["lines"] == 3


async def test_invalid_utf8_is_replaced(tmp_path):
    raw = b'{"type": "result", "text": "a\xffb"}\n'
    assert (await outcome(AcmeRunner(tmp_path, ["hex", raw.hex()]))).answer == "a\ufffdb"


async def test_a_lone_surrogate_and_nan_do_not_cost_the_line(tmp_path):
    raw = '{"type": "result", "text": "a\\ud83d", "cost": NaN}'
    assert (await outcome(AcmeRunner(tmp_path, ["print", raw]))).answer == "a\ud83d"


async def test_c2_the_last_line_needs_no_newline(tmp_path):
    end = await outcome(AcmeRunner(tmp_path, INIT, ["write", result("tail")[1]]))
    assert (end.ok, end.answer) == (True, "tail")


async def test_an_oversized_line_is_skipped_with_a_note(tmp_path):
    long = line("step", id="1", title="x" * 5000)
    runner = AcmeRunner(tmp_path, INIT, long, STEP, result(), long, max_line_bytes=1000)
    events = await play(runner)
    assert [title for title, _ in notes(events)] == [
        "skipped an oversized line of 0.0 MB from acme"
    ]
    assert types(events) == ["started", "action", "action", "completed"]
    assert events[1].action.kind == "warning"


async def test_a_translator_that_returns_nothing_says_nothing(tmp_path):
    class Silent(AcmeRunner):
        def translate(self, data, **_):
            pass

    (end,) = await play(Silent(tmp_path, INIT, result()))
    assert end.error == "acme finished without a result event"


# -- the session ----------------------------------------------------------------------------------


async def broken(runner, resume=None):
    """The error of a run that must end by one, with its process gone and its session free."""
    with pytest.raises(RuntimeError) as error:
        await collect(runner.run("x", resume), within_s=8)
    assert gone(runner.pid)
    await assert_free(resume or token())
    return str(error.value)


async def test_started_with_another_engines_token_is_fatal(tmp_path):
    runner = AcmeRunner(tmp_path, line("init", session="s1", engine="other"), ["sleep", 60])
    assert await broken(runner) == "acme emitted session token for engine 'other'"


async def test_another_session_than_expected_is_fatal(tmp_path):
    runner = AcmeRunner(tmp_path, init("got"), ["sleep", 60])
    assert await broken(runner, token("want")) == ("acme emitted session id got but expected want")
    (problem,) = runner.logger.named("runner.started.error")
    assert problem["error"] == "acme emitted session id got but expected want"


async def test_another_session_than_found_is_fatal(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, init("s2"), ["sleep", 60])
    assert await broken(runner) == "acme emitted session id s2 but expected s1"


@pytest.mark.parametrize("resume", [None, token()], ids=["new", "resumed"])
async def test_a_repeated_session_is_swallowed(tmp_path, resume):
    runner = AcmeRunner(tmp_path, INIT, INIT, STEP, INIT, result())
    events = await play(runner, "x", resume)
    assert types(events) == ["started", "action", "completed"]
    reasons = [seen["reason"] for seen in runner.logger.named("runner.started.seen")]
    first = "matched_expected" if resume else "first_seen"
    assert reasons == [first, "duplicate", "duplicate"]


class Forking(AcmeRunner):
    """Goes on in a new session when it resumes one."""

    def handle_started_event(self, event, *, expected_session, found_session):
        return super().handle_started_event(
            event, expected_session=None, found_session=found_session
        )


async def test_an_engine_may_accept_another_session(tmp_path):
    runner = Forking(tmp_path, init("new"), ["wait", str(tmp_path / "go")], result())
    events = runner.run("x", token("old"))
    assert await anext(events) == StartedEvent("acme", token("new"))
    waiting = AcmeRunner(tmp_path, init("new"), result(), name="waiting")
    task = asyncio.create_task(collect(waiting.run("y", token("new"))))
    await asyncio.sleep(0.1)
    assert not waiting.logger.named("subprocess.spawn")
    (tmp_path / "go").touch()
    assert (await anext(events)).resume == token("new")
    assert [event async for event in events] == []
    await task


async def test_a_run_has_one_started_whatever_the_override_says(tmp_path):
    class Careless(AcmeRunner):
        def handle_started_event(self, event, *, expected_session, found_session):
            return event.resume, True

    events = await play(Careless(tmp_path, INIT, init("s2"), result()))
    assert types(events) == ["started", "completed"]
    assert events[-1].resume == events[0].resume == token()


@pytest.mark.parametrize("claimed", [None, token("s2")])
async def test_completed_has_the_token_of_started(tmp_path, claimed):
    class Forgetful(AcmeRunner):
        def translate(self, data, **more):
            if data["type"] == "result":
                return [CompletedEvent("acme", True, "hi", claimed)]
            return super().translate(data, **more)

    assert (await outcome(Forgetful(tmp_path, INIT, result()))).resume == token()
    end = await outcome(Forgetful(tmp_path, result()), resume=token("asked"))
    assert end.resume == (claimed or token("asked"))


# -- the end --------------------------------------------------------------------------------------


async def test_an_outcome_stands_whatever_the_exit_code(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, result("hi"), ["exit", 3])
    end = await outcome(runner)
    assert (end.ok, end.answer) == (True, "hi")
    assert runner.logger.named("subprocess.exit")[0]["rc"] == 3


@pytest.mark.parametrize("resume", [None, token("asked")], ids=["new", "resumed"])
async def test_a_failed_process_without_a_session(tmp_path, resume):
    note, end = await play(AcmeRunner(tmp_path, ["exit", 3]), "x", resume)
    assert (note.action.title, note.ok, note.action.detail) == ("acme failed (rc=3).", False, {})
    assert end == CompletedEvent("acme", False, "", resume, "acme failed (rc=3).")


async def test_a_failed_process_with_a_session(tmp_path):
    end = await outcome(AcmeRunner(tmp_path, INIT, ["exit", 3]))
    assert (end.resume, end.error) == (token(), "acme failed (rc=3).")


async def test_death_by_a_signal_is_a_failure_too(tmp_path):
    end = await outcome(AcmeRunner(tmp_path, INIT, ["kill", 9]))
    assert end.error == "acme failed (rc=-9)."


@pytest.mark.parametrize("resume", [None, token()], ids=["new", "resumed"])
async def test_an_end_without_a_result(tmp_path, resume):
    runner = AcmeRunner(tmp_path, STEP, ["err", "not shown"])
    events = await play(runner, "x", resume)
    assert events[-1] == CompletedEvent(
        "acme", False, "", resume, "acme finished without a result event"
    )
    (seen,) = runner.logger.named("runner.completed.seen")
    assert seen["source"] == "stream_end"


async def test_the_hooks_for_the_end_may_be_overridden(tmp_path):
    class Own(AcmeRunner):
        def process_error_events(self, rc, *, resume, found_session, state):
            return [ACME.completed_error(error=f"rc {rc}", resume=found_session or resume)]

        def stream_end_events(self, *, resume, found_session, state):
            return [ACME.completed_ok(answer=f"{len(state.seen)} lines", resume=found_session)]

    end = await outcome(Own(tmp_path, INIT, ["err", "why"], ["exit", 4]))
    assert (end.error, end.resume) == ("rc 4\nwhy", token())
    assert (await outcome(Own(tmp_path, INIT, STEP))).answer == "2 lines"


@pytest.mark.parametrize("code", [0, 4])
async def test_a_hook_that_forgets_completed_does_not_cost_it(tmp_path, code):
    class Forgetful(AcmeRunner):
        def process_error_events(self, rc, **_):
            return []

        def stream_end_events(self, **_):
            return []

    end = await outcome(Forgetful(tmp_path, INIT, ["exit", code]))
    assert (end.ok, end.resume) == (False, token())


async def test_c11_a_failed_process_shows_the_end_of_stderr(tmp_path):
    lines = [["err", f"line {number}"] for number in range(40)]
    steps = [*lines, ["err", "\x1b[31merror\x1b[0m: not logged in"], ["exit", 1]]
    note, end = await play(AcmeRunner(tmp_path, *steps))
    head, *tail = end.error.split("\n")
    assert head == note.action.title == "acme failed (rc=1)."
    assert tail == [*(f"line {number}" for number in range(21, 40)), "error: not logged in"]
    assert note.action.detail["stderr"] == "\n".join(tail)


async def test_c11_the_end_of_stderr_is_bounded_and_hides_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "sk-very-secret")
    long = [["err", "y" * 3000] for _ in range(5)]
    steps = [*long, ["err", "bad key sk-very-secret"], ["exit", 1]]
    runner = AcmeRunner(tmp_path, *steps)
    note, end = await play(runner)
    assert len(end.error) < 4200
    assert end.error.endswith("\nbad key ***")
    assert "sk-very-secret" not in str(note)
    assert "sk-very-secret" not in str(runner.logger.lines)


async def test_c11_a_secret_that_a_long_line_of_stderr_cuts_in_two_stays_hidden(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ACME_API_KEY", "sk-very-secret")
    long = "y" * (16 * 1024 - 8) + "sk-very-secret"
    end = await outcome(AcmeRunner(tmp_path, ["err", long], ["exit", 1]))
    assert "yyy" in end.error
    assert "sk-" not in end.error


async def test_c3_a_cli_that_lingers_after_completed_is_ended(tmp_path):
    pid_file = tmp_path / "child"
    steps = [INIT, ["stray", 60, str(pid_file)], result("hi"), ["sleep", 60]]
    runner = AcmeRunner(tmp_path, *steps, completed_grace_s=0.2)
    begin = time.monotonic()
    assert (await outcome(runner)).answer == "hi"
    assert time.monotonic() - begin < 5
    assert gone(runner.pid)
    assert gone(await read_pid(pid_file))


async def test_c3_a_cli_that_never_stops_printing_after_completed_is_ended(tmp_path):
    steps = [INIT, result("hi"), ["repeat", 50_000_000, STEP[1]]]
    runner = AcmeRunner(tmp_path, *steps, completed_grace_s=0.2)
    events = await play(runner)
    assert types(events) == ["started", "completed"]
    assert gone(runner.pid)


async def test_c3_a_cli_may_store_its_session_after_completed(tmp_path):
    stored = tmp_path / "stored"
    runner = AcmeRunner(tmp_path, INIT, result(), ["sleep", 0.2], ["note", str(stored)])
    begin = time.monotonic()
    events = runner.run("x", None)
    assert types([await anext(events), await anext(events)]) == ["started", "completed"]
    assert time.monotonic() - begin < 5
    assert not stored.exists()  # the outcome is told at once
    assert [event async for event in events] == []
    assert stored.exists()


async def test_c3_the_grace_does_not_wait_for_a_slow_consumer(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, result(), ["sleep", 60], completed_grace_s=0.2)
    events = runner.run("x", None)
    await anext(events)
    await anext(events)
    await asyncio.sleep(0.3)
    begin = time.monotonic()
    assert [event async for event in events] == []
    assert time.monotonic() - begin < 1.5


async def test_c3_a_slow_consumer_costs_no_process_that_was_left_running(tmp_path, end_processes):
    pid_file = tmp_path / "child"
    steps = [INIT, result(), ["spawn", 60, str(pid_file)]]
    runner = AcmeRunner(tmp_path, *steps, completed_grace_s=0.1)
    events = runner.run("x", None)
    await anext(events)
    await anext(events)
    end_processes.append(await read_pid(pid_file))
    await until(lambda: gone(runner.pid))
    await asyncio.sleep(0.15)
    assert [event async for event in events] == []
    assert not gone(end_processes[0])


@pytest.mark.parametrize("end", [result("hi"), ["exit", 3]], ids=["completed", "failed"])
async def test_c3_a_grandchild_that_holds_the_pipe_neither_delays_nor_dies(
    tmp_path, end_processes, end
):
    pid_file = tmp_path / "child"
    begin = time.monotonic()
    await play(AcmeRunner(tmp_path, INIT, ["spawn", 60, str(pid_file)], end))
    end_processes.append(await read_pid(pid_file))
    assert time.monotonic() - begin < 5
    assert not gone(end_processes[0])


async def test_closing_stdout_is_not_the_end(tmp_path):
    steps = [INIT, ["close"], ["sleep", 0.2], ["exit", 5]]
    assert (await outcome(AcmeRunner(tmp_path, *steps))).error == "acme failed (rc=5)."


# -- stopping early -------------------------------------------------------------------------------


async def test_closing_early_ends_the_tree_and_frees_the_session(tmp_path):
    pid_file = tmp_path / "stray"
    runner = AcmeRunner(tmp_path, ["stray", 60, str(pid_file)], INIT, STEP, ["sleep", 60])
    events = runner.run("x", None)
    assert isinstance(await anext(events), StartedEvent)
    await events.aclose()
    assert gone(runner.pid)
    assert gone(await read_pid(pid_file))
    again = AcmeRunner(tmp_path, INIT, result("hi"), name="again")
    assert (await outcome(again, resume=token())).answer == "hi"


async def test_c4_descendants_of_a_cli_that_has_exited_are_ended_too(tmp_path):
    pid_file = tmp_path / "child"
    runner = AcmeRunner(tmp_path, INIT, STEP, ["spawn", 60, str(pid_file)], ["exit", 0])
    events = runner.run("x", None)
    await anext(events)
    pid = await read_pid(pid_file)
    await until(lambda: gone(runner.pid))
    await events.aclose()
    assert gone(pid)


async def test_what_a_finished_cli_left_running_outlives_a_consumer_that_stops_at_completed(
    tmp_path, end_processes
):
    pid_file = tmp_path / "child"
    runner = AcmeRunner(tmp_path, INIT, ["spawn", 60, str(pid_file)])
    events = runner.run("x", None)
    async for event in events:
        if isinstance(event, CompletedEvent):
            break
    await events.aclose()
    end_processes.append(await read_pid(pid_file))
    assert not gone(end_processes[0])


async def test_an_engine_that_ignores_sigterm_is_killed(tmp_path):
    runner = AcmeRunner(tmp_path, ["deaf"], INIT, ["sleep", 60])
    events = runner.run("x", None)
    await anext(events)
    begin = time.monotonic()
    await events.aclose()
    assert 1.5 < time.monotonic() - begin < 4
    assert gone(runner.pid)


async def test_a_run_that_waits_for_its_session_starts_no_process(tmp_path):
    first = AcmeRunner(tmp_path, INIT, ["wait", str(tmp_path / "go")], result(), name="first")
    second = AcmeRunner(tmp_path, INIT, result(), name="second")
    events = first.run("x", None)
    await anext(events)
    task = asyncio.create_task(collect(second.run("y", token())))
    await asyncio.sleep(0.1)
    assert not second.logger.named("subprocess.spawn")
    (tmp_path / "go").touch()
    assert [event.type async for event in events] == ["completed"]
    assert types(await task) == ["started", "completed"]


async def test_two_new_runs_are_in_flight_together(tmp_path):
    go = tmp_path / "go"
    runners = [
        AcmeRunner(tmp_path, ["wait", str(go)], init(name), result(), name=name) for name in "ab"
    ]
    tasks = [asyncio.create_task(collect(runner.run("x", None))) for runner in runners]
    await until(lambda: all(runner.logger.named("subprocess.spawn") for runner in runners))
    assert not any(gone(runner.pid) for runner in runners)
    go.touch()
    for events, name in zip(await asyncio.gather(*tasks), "ab", strict=True):
        assert events[0] == StartedEvent("acme", token(name))


async def test_two_new_runs_that_name_one_session_come_one_after_the_other(tmp_path):
    go = tmp_path / "go"
    first = AcmeRunner(tmp_path, INIT, ["wait", str(go)], result("one"), name="first")
    second = AcmeRunner(tmp_path, INIT, result("two"), name="second")
    events = first.run("x", None)
    await anext(events)
    seen = []

    async def consume():
        async for event in second.run("y", None):
            seen.append(event)

    task = asyncio.create_task(consume())
    await until(lambda: second.logger.named("runner.started.seen"))
    await asyncio.sleep(0.05)
    assert seen == []
    go.touch()
    assert [event.answer async for event in events] == ["one"]
    await task
    assert types(seen) == ["started", "completed"]


async def test_the_consumers_pace_is_back_pressure(tmp_path):
    done = tmp_path / "done"
    steps = [INIT, ["repeat", 12_000, STEP[1]], ["note", str(done)], result()]
    events = AcmeRunner(tmp_path, *steps).run("x", None)
    await anext(events)
    await asyncio.sleep(0.5)
    assert not done.exists()
    assert types([event async for event in events]) == ["action"] * 12_000 + ["completed"]


async def test_other_tasks_run_while_many_lines_are_translated(tmp_path):
    class Slow(AcmeRunner):
        def translate(self, data, **more):
            time.sleep(0.001)
            return super().translate(data, **more)

    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - before)

    runner = Slow(tmp_path, INIT, ["repeat", 600, line("news")[1]], result())
    watcher = asyncio.create_task(watch())
    await play(runner)
    await asyncio.sleep(0)  # the watcher sees the end of the last wait
    watcher.cancel()
    assert 0 < longest < 0.3


# -- iter_json_lines ------------------------------------------------------------------------------


class Chunks(AcmeRunner):
    """Splits the stream itself, as bytes."""

    async def iter_json_lines(self, stream):
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for found in lines:
                yield found
        assert rest == b""


class Buffered(AcmeRunner):
    async def iter_json_lines(self, stream):
        buffered = BufferedByteReceiveStream(stream)
        while True:
            try:
                yield await buffered.receive_until(b"\n", 1_000_000)
            except anyio.IncompleteRead:
                return


class Small(AcmeRunner):
    async def iter_json_lines(self, stream):
        data = b""
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                data += await stream.receive(7)
        for found in data.split(b"\n"):
            yield found


class Filtered(AcmeRunner):
    async def iter_json_lines(self, stream):
        async for found in super().iter_json_lines(stream):
            if found.startswith(b"data: "):
                yield found.removeprefix(b"data: ")


@pytest.mark.parametrize("kind", [AcmeRunner, Chunks, Buffered, Small])
async def test_lines_may_be_split_by_the_engine_itself(tmp_path, kind):
    steps = [INIT, ["print", ""], STEP, ["repeat", 500, STEP[1]], ["write", result("ünï")[1]]]
    events = await play(kind(tmp_path, *steps))
    assert types(events) == ["started"] + ["action"] * 501 + ["completed"]
    assert events[-1].answer == "ünï"


async def test_an_override_may_build_on_the_default(tmp_path):
    steps = [["print", f"data: {step[1]}"] for step in (INIT, STEP, result("hi"))]
    events = await play(Filtered(tmp_path, ["print", "event: x"], *steps))
    assert types(events) == ["started", "action", "completed"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_override_sees_no_more_of_an_oversized_line_than_that_it_was_there(
    tmp_path, at_once
):
    long = line("step", id="1", title="x" * 5000)
    steps = [INIT, STEP, long, result()]
    if at_once:
        steps = [["print", "\n".join(text for _, text in steps)]]
    events = await play(Chunks(tmp_path, *steps, max_line_bytes=1000))
    assert types(events) == ["started", "action", "action", "completed"]
    assert "oversized" in events[2].action.title


async def test_an_override_that_ends_early_ends_the_lines_but_not_the_process(tmp_path):
    class Early(AcmeRunner):
        async def iter_json_lines(self, stream):
            async with stream:
                async for found in super().iter_json_lines(stream):
                    yield found
                    return

    runner = Early(tmp_path, INIT, ["repeat", 12_000, STEP[1]], ["exit", 6])
    events = await play(runner)
    assert types(events) == ["started", "action", "completed"]
    assert events[-1].error == "acme failed (rc=6)."


async def test_a_closed_stream_gives_nothing_more(tmp_path):
    errors = []

    class Closing(AcmeRunner):
        async def iter_json_lines(self, stream):
            await stream.aclose()
            for read in (stream.receive, super().iter_json_lines(stream).__anext__):
                with pytest.raises(anyio.ClosedResourceError) as error:
                    await read()
                errors.append(error)
            yield b""

    await play(Closing(tmp_path, INIT, result()))
    assert len(errors) == 2


@pytest.mark.parametrize("at", ["call", "first", "later"])
async def test_an_override_that_fails_ends_the_run(tmp_path, at):
    class Failing(AcmeRunner):
        def iter_json_lines(self, stream):
            if at == "call":
                raise LookupError(at)
            return self.fail_later(stream)

        async def fail_later(self, stream):
            if at == "first":
                raise LookupError(at)
            async for found in super().iter_json_lines(stream):
                yield found
                raise LookupError(at)

    runner = Failing(tmp_path, INIT, ["sleep", 60])
    with pytest.raises(LookupError, match=at):
        await collect(runner.run("x", token()))
    assert gone(runner.pid)
    await assert_free(token())


async def test_an_override_is_closed_with_the_run(tmp_path):
    closed = []

    class Telling(AcmeRunner):
        async def iter_json_lines(self, stream):
            try:
                async for found in super().iter_json_lines(stream):
                    yield found
            finally:
                closed.append(asyncio.current_task())

    events = Telling(tmp_path, INIT, ["sleep", 60]).run("x", None)
    await anext(events)
    await events.aclose()
    assert closed == [asyncio.current_task()]


# -- notes and logs -------------------------------------------------------------------------------


def test_note_ids_count_from_one():
    class Tagged(JsonlSubprocessRunner):
        engine = "acme"

        def tag(self):
            return "acme-cli"

    runner = Tagged()
    state = runner.new_state("x", None)
    assert state.note_seq == 0
    assert [runner.next_note_id(state) for _ in range(2)] == ["acme-cli.note.1", "acme-cli.note.2"]
    assert runner.next_note_id(SimpleNamespace(note_seq=4)) == "acme-cli.note.5"
    note = runner.note_event("all well", state=state, ok=True, detail={"a": 1})
    assert note == ActionEvent(
        "acme",
        Action("acme-cli.note.3", "warning", "all well", {"a": 1}),
        "completed",
        True,
        "all well",
        "info",
    )
    message = r"^state must define note_seq or override next_note_id$"
    with pytest.raises(RuntimeError, match=message):
        runner.note_event("x", state=object())


def test_the_defaults_of_the_other_hooks():
    runner = JsonlSubprocessRunner()
    runner.engine = "acme"
    assert runner.tag() == "acme"
    assert runner.pipes_error_message() == "acme failed to open subprocess pipes"
    assert runner.stdin_payload("hé", None, state=None) == "hé".encode()
    assert runner.env(state=None) is None
    assert runner.start_run("x", None, state=None) is None
    assert runner.get_logger() is not None
    runner.logger = "mine"
    assert runner.get_logger() == "mine"


async def test_c19_prompts_are_logged_by_length_and_in_full_only_at_debug(tmp_path):
    prompt = 'tell "nobody"\nplease'

    class Argued(AcmeRunner):
        def build_args(self, prompt, resume, *, state):
            more = [prompt, f"--prompt={prompt}", json.dumps({"prompt": prompt})]
            return [*super().build_args(prompt, resume, state=state), *more]

    runner = Argued(tmp_path, INIT, ["print", prompt.split()[0]], result())
    await play(runner, prompt)
    (start,) = runner.logger.named("runner.start")
    assert start == {"engine": "acme", "resume": None, "prompt_len": len(prompt)}
    (spawned,) = runner.logger.named("subprocess.spawn")
    assert spawned["cmd"] == sys.executable
    placeholder = f"<{len(prompt)} characters>"
    assert spawned["args"][-3:-1] == [placeholder, f"--prompt={placeholder}"]
    infos = str([found for found in runner.logger.lines if found[0] == "info"])
    assert "nobody" not in infos
    assert runner.logger.named("runner.prompt") == [{"engine": "acme", "prompt": prompt}]


async def test_secrets_among_the_arguments_are_not_logged(tmp_path, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "sk-very-secret")

    class Argued(AcmeRunner):
        def build_args(self, prompt, resume, *, state):
            key = os.environ["ACME_API_KEY"]
            return [*super().build_args(prompt, resume, state=state), f"--key={key}"]

    runner = Argued(tmp_path, INIT, result())
    await play(runner)
    assert runner.logger.named("subprocess.spawn")[0]["args"][-1] == "--key=***"


async def test_the_steps_of_a_run_are_logged(tmp_path):
    steps = [["err", "warming up"], ["print", "no json"], line("boom"), INIT, result()]
    runner = AcmeRunner(tmp_path, *steps)
    await play(runner, "do it", token())
    log = runner.logger
    assert log.at("info") == [
        "runner.start",
        "subprocess.spawn",
        "subprocess.stdin.send",
        "runner.jsonl.invalid",
        "subprocess.exit",
    ]
    assert log.named("runner.start")[0]["resume"] == "s1"
    sent = log.named("subprocess.stdin.send")
    assert sent == [{"pid": runner.pid, "resume": "s1", "bytes": 5}]
    assert log.named("subprocess.exit") == [{"pid": runner.pid, "rc": 0}]
    assert log.named("subprocess.stderr") == [{"tag": "acme", "line": "warming up"}]
    assert log.named("jsonl.parse.invalid") == [{"tag": "acme", "line": "no json"}]
    assert log.named("runner.translate.error") == [{"tag": "acme", "error": "boom"}]
    assert log.named("runner.completed.seen") == [{"tag": "acme", "ok": True, "has_answer": True}]


async def test_the_pipeline_is_logged_at_info_when_it_is_traced(tmp_path, monkeypatch):
    monkeypatch.setenv("TAKOPI_TRACE_PIPELINE", "1")
    runner = AcmeRunner(tmp_path, INIT, result())
    await play(runner)
    assert {"runner.started.seen", "runner.completed.seen"} <= set(runner.logger.at("info"))


async def test_a_runner_without_a_logger_logs_all_the_same(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, result())
    del runner.logger
    assert types(await play(runner)) == ["started", "completed"]


async def test_a_foreign_token_starts_nothing(tmp_path):
    runner = AcmeRunner(tmp_path, INIT, result())
    message = r"^resume token is for engine 'other', not 'acme'$"
    with pytest.raises(RuntimeError, match=message):
        await collect(runner.run("x", ResumeToken("other", "s1")))
    assert runner.logger.lines == []
