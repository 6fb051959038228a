"""The generic runner with real processes: what it guarantees whatever an adapter says."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
import psutil
import pytest

from takopi.adapters.options import EngineOptions
from takopi.engines import base
from takopi.engines.base import EngineRunOptions, apply_run_options
from takopi.engines.jsonl import AdapterRunner
from takopi.errors import RunError
from takopi.model import ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from takopi.paths import reset_run_base_dir, set_run_base_dir
from tests.support.adapters import adapter_from
from tests.support.contract import asked_of, assert_contract
from tests.support.fake import EVENTS, INIT, STEP, fake_runner, init, result
from tests.support.processes import ending_processes, gone, read_pid, until
from tests.support.python_engine import assert_free

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way"),
]


def token(value="s1"):
    return ResumeToken("acme", value)


async def collect(events, within_s=20.0):
    async with asyncio.timeout(within_s):
        found = [event async for event in events]
    assert_contract(found, engine="acme", resume=asked_of(found))
    return found


async def outcome(runner, prompt="do it", resume=None):
    return (await collect(runner.run(prompt, resume)))[-1]


@pytest.fixture
def end_processes():
    yield from ending_processes()


def is_note(event, text):
    return isinstance(event, ActionEvent) and text in event.action.title


# -- a run ----------------------------------------------------------------------------------------


async def test_a_run(tmp_path):
    run = fake_runner(tmp_path, INIT, STEP, result("hi")).start("do it")
    events = await collect(run.events)
    assert [e.type for e in events] == ["started", "action", "completed"]
    assert events[-1] == CompletedEvent("acme", True, "hi", token())
    assert run.outcome is events[-1]
    assert run.pid is not None
    assert not run.cancelled


async def test_the_last_line_needs_no_newline(tmp_path):
    runner = fake_runner(tmp_path, INIT, ["write", '{"type": "result", "text": "tail"}'])
    assert (await outcome(runner)).answer == "tail"


async def test_odd_bytes_between_good_lines(tmp_path):
    odd = [b"\xff\xfe", b"\x00\x01", b"[" * 100_000, b"\r\n", b"\n\n", b"{" * 5]
    steps = [["hex", (raw + b"\n").hex()] for raw in odd]
    events = await collect(fake_runner(tmp_path, INIT, *steps, result("hi")).run("x"))
    assert events[-1].answer == "hi"


async def test_an_early_exit_gives_its_reason(tmp_path):
    runner = fake_runner(
        tmp_path, ["err", "\x1b[31merror\x1b[0m: unexpected argument"], ["exit", 2],
        text="hints: [{match: unexpected, say: check extra_args}]",
    )  # fmt: skip
    end = await outcome(runner)
    assert (end.ok, end.resume) == (False, None)
    assert end.error == (
        "Acme failed (exit code 2)\nerror: unexpected argument\nhint: check extra_args"
    )


async def test_death_by_a_signal(tmp_path):
    end = await outcome(fake_runner(tmp_path, INIT, ["kill", 9]))
    assert end.error == "Acme was killed by SIGKILL"
    assert end.resume == token()


async def test_an_outcome_stands_whatever_the_exit_code(tmp_path):
    end = await outcome(fake_runner(tmp_path, INIT, result("hi"), ["exit", 3]))
    assert (end.ok, end.answer) == (True, "hi")


async def test_a_resumed_run_that_fails_early_keeps_its_token(tmp_path):
    end = await outcome(fake_runner(tmp_path, ["exit", 3]), resume=token("asked"))
    assert end.resume == token("asked")
    assert end.error == "Acme failed (exit code 3)"


async def test_another_session_than_asked_for_ends_the_tree_first(tmp_path):
    pid_file = tmp_path / "pid"
    runner = fake_runner(
        tmp_path, ["stray", 60, str(pid_file)], init("other"), result("never"), ["sleep", 60]
    )
    run = runner.start("x", token("asked"))
    events = [event async for event in run.events]
    assert [e.type for e in events] == ["completed"]
    assert "asked" in events[0].error
    assert "other" in events[0].error
    assert events[0].resume == token("asked")
    assert gone(run.pid)
    assert gone(await read_pid(pid_file))


async def test_the_tree_of_a_wrong_session_is_gone_when_the_outcome_is_told(tmp_path):
    run = fake_runner(tmp_path, init("other"), ["sleep", 60]).start("x", token("asked"))
    async for event in run.events:
        assert isinstance(event, CompletedEvent)
        assert gone(run.pid)


async def test_a_session_in_stderr(tmp_path):
    runner = fake_runner(
        tmp_path, ["err", "Session: s9"], result("hi"),
        text="session: {text: 'Session: (?P<token>\\S+)'}\n" + EVENTS.partition("}\n")[2],
    )  # fmt: skip
    events = await collect(runner.run("x"))
    assert [e.type for e in events] == ["started", "completed"]
    assert events[-1].resume == token("s9")


# -- the end (section 10) -------------------------------------------------------------------------


async def test_a_grandchild_that_holds_the_pipe_neither_delays_nor_dies(tmp_path, end_processes):
    pid_file = tmp_path / "pid"
    runner = fake_runner(tmp_path, INIT, ["spawn", 60, str(pid_file)], result("hi"))
    begin = time.monotonic()
    run = runner.start("x")
    events = await collect(run.events)
    pid = await read_pid(pid_file)
    end_processes.append(pid)
    assert events[-1].answer == "hi"
    assert time.monotonic() - begin < 5
    assert not gone(pid)
    # Nor does a cancellation that comes too late.
    await run.cancel()
    assert not run.cancelled
    assert not gone(pid)


async def test_a_lingering_cli_is_ended(tmp_path):
    runner = fake_runner(tmp_path, INIT, result("hi"), ["sleep", 60], text="settle: 0.1")
    run = runner.start("x")
    events = await collect(run.events, within_s=8)
    assert (events[-1].ok, events[-1].answer) == (True, "hi")
    assert gone(run.pid)


async def test_a_farewell_does_not_change_the_outcome(tmp_path):
    steps = [["farewell", result("bye", error="interrupted")[1]], INIT, result("hi"), ["sleep", 60]]
    end = await outcome(fake_runner(tmp_path, *steps, text="settle: 0.1"))
    assert (end.ok, end.answer) == (True, "hi")


async def test_a_later_line_stops_the_settle_clock(tmp_path):
    steps = [INIT, result("one"), STEP, ["sleep", 0.6], result("two"), ["sleep", 60]]
    end = await outcome(fake_runner(tmp_path, *steps, text="settle: 0.2"))
    assert end.answer == "two"


@pytest.mark.parametrize("noise", [["err", "bye"], ["print", ""]], ids=["stderr", "blank lines"])
async def test_stderr_and_blank_lines_do_not_stop_the_settle_clock(tmp_path, noise):
    steps = [INIT, result("hi")] + [noise, ["sleep", 0.1]] * 60
    begin = time.monotonic()
    assert (await outcome(fake_runner(tmp_path, *steps, text="settle: 0.4"))).answer == "hi"
    assert time.monotonic() - begin < 4


async def test_settle_may_be_an_expression(tmp_path):
    steps = [INIT, result("hi", left=0.1), ["sleep", 60]]
    assert (await outcome(fake_runner(tmp_path, *steps, text="settle: left"))).answer == "hi"


async def test_the_end_of_stdout_can_close_a_run(tmp_path):
    text = EVENTS.replace("- match: {type: result}", "- match: {type: never}") + "end: {}\n"
    say = ["print", '{"type": "say", "text": "hi"}']
    assert (await outcome(fake_runner(tmp_path, INIT, say, text=text))).ok
    end = await outcome(fake_runner(tmp_path, INIT, say, ["exit", 1], text=text))
    assert (end.ok, end.answer, end.error) == (False, "hi", "Acme failed (exit code 1)")


async def test_stdout_that_is_closed_early(tmp_path):
    steps = [INIT, result("hi"), ["close"], ["sleep", 0.3], ["exit", 5]]
    assert (await outcome(fake_runner(tmp_path, *steps))).answer == "hi"


# -- clocks ---------------------------------------------------------------------------------------


async def test_a_run_may_take_only_so_long(tmp_path):
    pid_file = tmp_path / "pid"
    steps = [INIT, ["print", '{"type": "say", "text": "half"}'], ["stray", 60, str(pid_file)]]
    runner = fake_runner(tmp_path, *steps, ["sleep", 60], options=EngineOptions(timeout_s=0.5))
    end = await outcome(runner)
    assert (end.ok, end.answer) == (False, "half")
    assert "ran longer than 0.5 s" in end.error
    assert gone(await read_pid(pid_file))


async def test_the_time_limit_holds_for_an_engine_that_never_pauses(tmp_path):
    step = STEP[1]
    runner = fake_runner(
        tmp_path, INIT, ["repeat", 50_000_000, step], options=EngineOptions(timeout_s=0.5)
    )
    assert "ran longer" in (await outcome(runner)).error


async def test_silence_is_told_once_each_time(tmp_path):
    steps = [INIT, ["sleep", 0.7], STEP, ["sleep", 0.7], result()]
    events = await collect(fake_runner(tmp_path, *steps, text="quiet: 0.25").run("x"))
    notes = [e for e in events if is_note(e, "no output for 0.25 s")]
    assert [(e.action.kind, e.phase) for e in notes] == [("note", "updated")] * 2
    assert [e.type for e in events] == ["started", "action", "action", "action", "completed"]


# -- cancelling -----------------------------------------------------------------------------------


async def test_cancelling_before_the_start(tmp_path):
    started = tmp_path / "started"
    run = fake_runner(tmp_path, ["note", str(started)], INIT, result()).start("x", token("asked"))
    await run.cancel()
    (end,) = await collect(run.events)
    assert end == CompletedEvent("acme", False, "", token("asked"), "cancelled")
    assert not started.exists()
    assert run.outcome is end


async def test_cancelling_a_run_that_waits_for_its_session(tmp_path):
    runner = fake_runner(tmp_path, INIT, ["sleep", 60])
    first = runner.start("x")
    await anext(first.events)
    for cancel_first in (True, False):
        second = runner.start("x", token())
        if cancel_first:
            await second.cancel()
        task = asyncio.create_task(collect(second.events, within_s=5))
        await asyncio.sleep(0.05)
        assert task.done() == cancel_first
        await second.cancel()
        (end,) = await task
        assert (end.error, end.resume) == ("cancelled", token())
        assert second.pid is None
    # The first is not touched, and its lock is still its own.
    third = asyncio.create_task(collect(runner.start("x", token()).events))
    await asyncio.sleep(0.05)
    assert not third.done()
    assert not gone(first.pid)
    third.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await third
    await first.events.aclose()


async def test_cancelling_a_running_engine_ends_its_tree(tmp_path):
    pids = [tmp_path / "child", tmp_path / "stray"]
    steps = [["spawn", 60, str(pids[0])], ["stray", 60, str(pids[1])], INIT, ["sleep", 60]]
    run = fake_runner(tmp_path, *steps).start("x")
    events = [await anext(run.events)]
    begin = time.monotonic()
    await run.cancel()
    await run.cancel()
    assert time.monotonic() - begin < 1.5
    assert gone(run.pid)
    assert all([gone(await read_pid(pid)) for pid in pids])
    events += [event async for event in run.events]
    assert_contract(events)
    assert events[-1] == CompletedEvent("acme", False, "", token(), "cancelled")
    assert run.cancelled


async def test_cancelling_an_engine_that_ignores_sigterm(tmp_path):
    run = fake_runner(tmp_path, ["deaf"], INIT, ["sleep", 60]).start("x")
    await anext(run.events)
    begin = time.monotonic()
    await run.cancel()
    assert 1.5 < time.monotonic() - begin < 4
    assert gone(run.pid)
    assert [e.error async for e in run.events] == ["cancelled"]


async def test_cancelling_right_after_the_first_read_began(tmp_path):
    run = fake_runner(tmp_path, ["sleep", 60]).start("x")
    task = asyncio.create_task(collect(run.events))
    await until(lambda: run.pid is not None)
    await run.cancel()
    assert (await task)[-1].error == "cancelled"
    assert gone(run.pid)


async def test_cancelling_delivers_an_outcome_that_was_recorded(tmp_path):
    goodbye = result("bye", error="interrupted")[1]
    steps = [["farewell", goodbye], INIT, STEP, result("hi"), STEP, ["sleep", 60]]
    run = fake_runner(tmp_path, *steps).start("x")
    events = []
    async for event in run.events:
        events.append(event)
        if len(events) == 3:  # the step after the outcome
            await run.cancel()
    assert (events[-1].ok, events[-1].answer) == (True, "hi")
    assert gone(run.pid)


async def test_what_an_engine_said_before_it_was_cancelled_is_kept(tmp_path):
    say = ["print", '{"type": "say", "text": "half"}']
    run = fake_runner(tmp_path, INIT, say, STEP, ["sleep", 60]).start("x")
    events = []
    async for event in run.events:
        events.append(event)
        if isinstance(event, ActionEvent):
            await run.cancel()
    assert (events[-1].answer, events[-1].error) == ("half", "cancelled")


async def test_cancelling_a_second_run_of_a_session_that_is_held_back(tmp_path):
    first = fake_runner(tmp_path, INIT, ["sleep", 60], name="first").start("x")
    await anext(first.events)
    second = fake_runner(tmp_path, INIT, ["sleep", 60], name="second").start("x")
    task = asyncio.create_task(collect(second.events))
    await asyncio.sleep(0.3)
    assert not task.done()
    await second.cancel()
    assert (await task)[-1].error == "cancelled"
    assert gone(second.pid)
    assert not gone(first.pid)
    await first.events.aclose()


async def test_closing_early_ends_the_tree_and_frees_the_session(tmp_path):
    pid_file = tmp_path / "stray"
    runner = fake_runner(tmp_path, ["stray", 60, str(pid_file)], INIT, STEP, ["sleep", 60])
    run = runner.start("x")
    assert isinstance(await anext(run.events), StartedEvent)
    await run.events.aclose()
    assert gone(run.pid)
    assert gone(await read_pid(pid_file))
    again = fake_runner(tmp_path, INIT, result("hi"), name="again")
    assert (await outcome(again, resume=token())).answer == "hi"
    await run.cancel()


async def test_cancelling_the_consumers_task_ends_the_tree(tmp_path):
    pid_file = tmp_path / "stray"
    run = fake_runner(tmp_path, ["stray", 60, str(pid_file)], INIT, ["sleep", 60]).start("x")
    task = asyncio.create_task(collect(run.events))
    pid = await read_pid(pid_file)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(run.pid)
    assert gone(pid)
    assert run.outcome is None


async def test_cancelling_while_the_consumer_handles_an_event(tmp_path):
    run = fake_runner(tmp_path, INIT, STEP, ["sleep", 60]).start("x")

    async def consume():
        async with contextlib.aclosing(run.events) as events:
            async for _ in events:
                await asyncio.sleep(60)

    task = asyncio.create_task(consume())
    await until(lambda: run.pid is not None)
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(run.pid)


async def test_an_anyio_scope_may_cancel_a_run(tmp_path):
    run = fake_runner(tmp_path, INIT, ["sleep", 60]).start("x")
    with anyio.move_on_after(0.3) as scope:
        async for _ in run.events:
            pass
    assert scope.cancelled_caught
    assert gone(run.pid)


async def test_nothing_leaks(tmp_path):
    async def one(kind):
        steps = [INIT, STEP, ["sleep", 60]] if kind else [INIT, STEP, result()]
        run = fake_runner(tmp_path, *steps, name=f"leak{kind}").start("x")
        if kind == 0:
            await collect(run.events)
        elif kind == 1:
            await anext(run.events)
            await run.cancel()
            await collect(run.events)
        elif kind == 2:
            await anext(run.events)
            await run.events.aclose()
        else:
            with anyio.move_on_after(0.15):
                await collect(run.events)

    me = psutil.Process()

    def counts():
        gc.collect()
        return me.num_fds(), len(asyncio.all_tasks()), len(base._locks)

    for kind in range(4):
        await one(kind)
    before = counts()
    for kind in range(4):
        await one(kind)
        await one(kind)
    assert counts() == before
    assert not [child for child in me.children() if "fake_cli" in " ".join(child.cmdline())]


# -- what keeps a run from starting ---------------------------------------------------------------


async def test_a_missing_command_says_how_to_install_it(tmp_path):
    runner = AdapterRunner(adapter_from("command: no-such-acme\ninstall: npm i -g acme"))
    with pytest.raises(RunError) as caught:
        await collect(runner.run("x", token()))
    assert str(caught.value) == (
        "`no-such-acme` was not found; install it with `npm i -g acme`, "
        "or set `command` in the [acme] table of takopi.toml"
    )
    await assert_free(token())


async def test_a_command_that_is_no_program(tmp_path):
    file = tmp_path / "acme"
    file.write_text("just text")
    with pytest.raises(RunError, match="is not an executable file"):
        await collect(fake_runner(tmp_path, command=str(file)).run("x"))


async def test_a_missing_directory(tmp_path):
    reset = set_run_base_dir(tmp_path / "gone")
    try:
        with pytest.raises(RunError, match=r"working directory `.*gone` does not exist"):
            await collect(fake_runner(tmp_path, INIT).run("x", token()))
    finally:
        reset_run_base_dir(reset)
    await assert_free(token())


@pytest.mark.parametrize(("prompt", "reason"), [("x" * 200_000, "too long"), ("a\0b", "NUL")])
async def test_arguments_that_cannot_be(tmp_path, prompt, reason):
    file = tmp_path / "started"
    runner = fake_runner(tmp_path, ["note", str(file)], args='"${run().prompt}"')
    run = runner.start(prompt)
    with pytest.raises(RunError, match=reason):
        await collect(run.events)
    assert run.pid is None
    assert not file.exists()


async def test_a_program_in_the_projects_folder_is_not_run_instead(tmp_path, monkeypatch):
    here, project = tmp_path / "here", tmp_path / "project"
    for folder in (here, project):
        folder.mkdir()
        script = folder / "acme"
        text = json.dumps({"type": "result", "text": folder.name})
        script.write_text(f"#!/bin/sh\necho '{text}'\n")
        script.chmod(0o755)
    monkeypatch.chdir(here)
    reset = set_run_base_dir(project)
    try:
        for command, path in (("./acme", os.environ["PATH"]), ("acme", f".:{os.environ['PATH']}")):
            environ = {**os.environ, "PATH": path}
            runner = fake_runner(tmp_path, command=command, environ=environ)
            assert (await outcome(runner)).answer == "here"
    finally:
        reset_run_base_dir(reset)


# -- what the engine gets -------------------------------------------------------------------------


async def echo(runner, prompt="do it", resume=None):
    return json.loads((await outcome(runner, prompt, resume)).answer)


STDIN = "stdin: ${run().prompt}\n"


@pytest.mark.parametrize("prompt", ["", "-x", "--help", "ünï\n😀", "y" * 1_000_000])
async def test_a_prompt_on_stdin(tmp_path, prompt):
    runner = fake_runner(tmp_path, ["read"], INIT, ["echo"], text=STDIN)
    assert (await echo(runner, prompt))["stdin"] == prompt


@pytest.mark.parametrize(
    "prompt", ["", "-x", "--help", "ünï\n😀 'q' \"d\" $HOME `x`", "y" * 100_000]
)
async def test_a_prompt_as_an_argument(tmp_path, prompt):
    runner = fake_runner(tmp_path, ["read"], INIT, ["echo"], args='--, "${run().prompt}"')
    found = await echo(runner, prompt)
    assert found["argv"] == ["--", prompt]
    assert found["stdin"] == ""  # closed: the engine does not wait for it


async def test_an_engine_that_never_reads_stdin(tmp_path):
    runner = fake_runner(tmp_path, INIT, result("hi"), ["sleep", 0.2], text=STDIN)
    assert (await outcome(runner, "y" * 1_000_000)).answer == "hi"
    runner = fake_runner(tmp_path, ["err", "bad flag"], ["exit", 2], text=STDIN)
    assert (await outcome(runner, "y" * 1_000_000)).error == "Acme failed (exit code 2)\nbad flag"


async def test_the_environment(tmp_path):
    environ = {**os.environ, "TAKOPI__TELEGRAM__BOT_TOKEN": "t", "HARD": "theirs", "GONE": "x"}
    names = ["TAKOPI__TELEGRAM__BOT_TOKEN", "HARD", "GONE", "SOFT", "MODE", "MINE"]
    text = "env: {set: {MODE: m}, default: {SOFT: s, HARD: s}, unset: [GONE]}"
    runner = fake_runner(
        tmp_path, INIT, ["echo", *names], text=text, environ=environ,
        options=EngineOptions(env={"MINE": "1"}),
    )  # fmt: skip
    assert (await echo(runner))["env"] == {
        **{"TAKOPI__TELEGRAM__BOT_TOKEN": None, "HARD": "theirs", "GONE": None},
        **{"SOFT": "s", "MODE": "m", "MINE": "1"},
    }


async def test_directory_and_overrides_are_those_of_the_caller(tmp_path):
    args = '"${run().cwd}", "${run().model}", "${run().reasoning}"'
    runner = fake_runner(tmp_path, INIT, ["echo"], args=args)

    async def one(folder, model):
        (tmp_path / folder).mkdir()
        set_run_base_dir(tmp_path / folder)
        with apply_run_options(EngineRunOptions(model, "high")):
            found = await echo(runner)
        assert found["cwd"] == str((tmp_path / folder).resolve())
        assert found["argv"] == [str(tmp_path / folder), model, "high"]

    await asyncio.gather(*(asyncio.create_task(one(f"f{i}", f"m{i}")) for i in range(3)))


async def test_secrets_do_not_come_out(tmp_path):
    secret = "hunter2hunter2"
    runner = fake_runner(
        tmp_path, ["print", f"using key {secret}"], ["err", f"bad key {secret}"], ["exit", 1],
        environ={**os.environ, "ACME_API_KEY": secret},
    )  # fmt: skip
    events = await collect(runner.run("x"))
    assert secret not in repr(events)
    assert "bad key ***" in events[-1].error


async def test_prompts_are_not_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        await outcome(fake_runner(tmp_path, INIT, result(), args='"${run().prompt}"'), "my secret")
    assert "my secret" not in caplog.text


# -- one run at a time per session ----------------------------------------------------------------


async def test_runs_of_one_session_never_overlap(tmp_path):
    log = tmp_path / "log"
    command = f"echo start >>{log}; sleep 0.1; echo end >>{log}; echo '{result('hi')[1]}'"
    text = f"command: sh\nargs: [-c, {json.dumps(command)}]\n" + EVENTS
    # Different runner objects, as after a configuration reload.
    ends = await asyncio.gather(
        *(outcome(AdapterRunner(adapter_from(text)), resume=token()) for _ in range(4))
    )
    assert [end.ok for end in ends] == [True] * 4
    assert log.read_text().split() == ["start", "end"] * 4


async def test_new_runs_are_under_way_at_once(tmp_path):
    both = [tmp_path / "0", tmp_path / "1"]
    runners = [
        fake_runner(
            tmp_path, ["note", str(both[i])], ["wait", str(both[1 - i])], init(f"s{i}"), result(),
            name=f"n{i}",
        )
        for i in range(2)
    ]  # fmt: skip
    assert all(end.ok for end in await asyncio.gather(*map(outcome, runners)))


async def test_two_new_runs_that_report_the_same_session(tmp_path):
    go = tmp_path / "go"
    first = fake_runner(tmp_path, INIT, ["wait", str(go)], result("one"), name="first").start("x")
    assert isinstance(await anext(first.events), StartedEvent)
    second = fake_runner(tmp_path, STEP, INIT, result("two"), name="second").start("x")
    seen = []

    async def watch():
        async for event in second.events:
            seen.append((event.type, first.outcome is not None))

    task = asyncio.create_task(watch())
    await until(lambda: seen)
    await asyncio.sleep(0.3)
    assert seen == [("action", False)]
    go.touch()
    assert [e.type async for e in first.events] == ["completed"]
    await task
    assert seen[1:] == [("started", True), ("completed", True)]


async def test_a_resume_waits_for_the_new_run(tmp_path):
    go, log = tmp_path / "go", tmp_path / "log"
    first = fake_runner(tmp_path, INIT, ["wait", str(go)], result(), name="first").start("x")
    await anext(first.events)
    resumed = fake_runner(tmp_path, ["note", str(log)], INIT, result(), name="resumed")
    task = asyncio.create_task(outcome(resumed, resume=token()))
    await asyncio.sleep(0.3)
    assert not log.exists()
    go.touch()
    async for _ in first.events:
        pass
    assert (await task).ok
    assert log.exists()


async def test_another_engines_token(tmp_path):
    run = fake_runner(tmp_path, INIT).start("x", ResumeToken("other", "s1"))
    with pytest.raises(RuntimeError, match=r"^resume token is for engine 'other', not 'acme'$"):
        await anext(run.events)
    assert run.pid is None


def test_resume_lines(tmp_path):
    runner = fake_runner(tmp_path)
    assert runner.format_resume(token()) == "`acme --resume s1`"
    assert runner.extract_resume("x\n`acme --resume a`\nacme --resume b\n") == token("b")
    assert runner.extract_resume("") is None
    assert runner.extract_resume(None) is None
    assert runner.is_resume_line(" `acme --resume a` ")
    assert not runner.is_resume_line("run acme --resume a")
    with pytest.raises(RuntimeError, match=r"^resume token is for engine 'other'$"):
        runner.format_resume(ResumeToken("other", "s1"))
    silent = AdapterRunner(adapter_from("resume: null\nsession: null"))
    assert silent.format_resume(token()) == ""
    assert silent.extract_resume("acme --resume a") is None
    assert not silent.is_resume_line("acme --resume a")


# -- many lines, many runs ------------------------------------------------------------------------


async def test_other_tasks_get_their_turn_while_lines_stream(tmp_path):
    line = json.dumps({"type": "step", "id": "%d", "title": "x" * 300})
    runner = fake_runner(tmp_path, INIT, ["repeat", 200_000, line], result("hi"))
    worst = 0.0

    async def tick():
        nonlocal worst
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.001)
            worst = max(worst, time.monotonic() - begin)

    ticker = asyncio.create_task(tick())
    count = 0
    async with asyncio.timeout(60):
        async for _ in runner.run("x"):
            count += 1
    ticker.cancel()
    assert count == 200_002
    assert worst < 0.25


async def test_a_slow_consumer_holds_the_engine_back(tmp_path):
    log = tmp_path / "log"
    line = json.dumps({"type": "step", "id": "%d", "title": "x" * 1000})
    run = fake_runner(tmp_path, INIT, ["repeat", 20_000, line], ["note", str(log)], result()).start("x")  # fmt: skip
    await anext(run.events)
    await asyncio.sleep(0.7)
    assert not log.exists()
    async for _ in run.events:
        pass
    assert log.exists()


async def test_twenty_runs_at_once(tmp_path):
    runners = [
        fake_runner(tmp_path, init(f"s{i}"), *[STEP] * 20, result(f"r{i}"), name=f"n{i}")
        for i in range(20)
    ]
    ends = await asyncio.gather(*map(outcome, runners))
    assert [(e.answer, e.resume.value) for e in ends] == [(f"r{i}", f"s{i}") for i in range(20)]


def test_a_run_that_nobody_finished_reading_is_ended_with_its_loop(tmp_path):
    """A consumer that breaks out of the loop and forgets the iterator."""
    pid_file = tmp_path / "pid"
    runner = fake_runner(tmp_path, ["stray", 60, str(pid_file)], INIT, ["sleep", 60])

    async def careless():
        run = runner.start("x")
        async for _ in run.events:
            break
        return run.pid

    pid = asyncio.run(careless())
    assert gone(pid)
    assert gone(int(pid_file.read_text()))


def test_the_fake_cli_knows_its_steps(tmp_path):
    script = tmp_path / "s.json"
    script.write_text('[["nonsense"]]')
    cli = Path(__file__).parents[1] / "support" / "fake_cli.py"
    found = subprocess.run([sys.executable, str(cli), str(script)], capture_output=True, text=True)
    assert "no such step: nonsense" in found.stderr
