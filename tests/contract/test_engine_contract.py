"""Every engine keeps the contract that is shipped for authors, and the contract finds those that do not."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from takopi.bundled import bundled
from takopi.engines.base import session_lock
from takopi.engines.python import JsonlSubprocessRunner, ResumeTokenMixin
from takopi.engines.sessions import BaseRunner
from takopi.events import EventFactory
from takopi.model import ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from takopi.testing import AdapterContract, EngineContract, Stage, checks, run_problems
from tests.support.adapters import adapter_text

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stage needs a POSIX system")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/takopi-engine-example"
ENGINES = sorted(path.stem for path in bundled("adapters").glob("*.yaml"))


def names_of(contract):
    return sorted(name for name in dir(contract) if name.startswith("test_"))


# -- engines that are right -----------------------------------------------------------------------


def contract_of(engine):
    recordings = ROOT / "fixtures/streams" / engine
    places = {"adapter": bundled("adapters") / f"{engine}.yaml", "recordings": recordings}
    return type(engine.title(), (AdapterContract,), places)()


@pytest.mark.parametrize("test", names_of(AdapterContract))
@pytest.mark.parametrize("engine", ENGINES)
def test_every_built_in_engine_keeps_the_contract(engine, test):
    getattr(contract_of(engine), test)()


@pytest.mark.parametrize("test", names_of(EngineContract))
def test_the_example_in_python_keeps_the_contract(test, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    monkeypatch.syspath_prepend(str(EXAMPLE / "tests"))
    module = importlib.import_module("test_tally_engine")
    getattr(module.TestTally(), test)()


LINES = [
    {"type": "init", "session": "s-81f3"},
    {"type": "step", "id": "1", "title": "look around"},
    {"type": "say", "text": "There are "},
    {"type": "say", "text": "two files 😀."},
    {"type": "end"},
]
STREAM = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES).encode()
FACTORY = EventFactory("acme")


class State:
    def __init__(self):
        self.note_seq = 0
        self.answer = ""


class Right(ResumeTokenMixin, JsonlSubprocessRunner):
    """What the engines below do wrong is all that tells them from this one."""

    engine = "acme"
    resume_re = re.compile(r"\s*`?acme resume (?P<token>[^`\s]+)`?\s*")

    def __init__(self, command):
        self.path = command

    def command(self):
        return self.path

    def build_args(self, prompt, resume, *, state):
        return [f"--prompt={prompt}"] + ([f"--resume={resume.value}"] if resume else [])

    def stdin_payload(self, prompt, resume, *, state):
        return None

    def new_state(self, prompt, resume):
        return State()

    def translate(self, data, *, state, resume, found_session):
        kind = data["type"]
        if kind == "init":
            return [StartedEvent("acme", ResumeToken("acme", data["session"]))]
        if kind == "step":
            facts = {"action_id": data["id"], "kind": "tool", "title": data["title"]}
            return [FACTORY.action_completed(**facts, ok=True)]
        if kind == "say":
            state.answer += data["text"]
        if kind == "end":
            return [FACTORY.completed_ok(answer=state.answer, resume=found_session or resume)]
        return []


class Contract(EngineContract):
    def __init__(self, kind):
        self.kind = kind

    def runner(self, command):
        return self.kind(command)

    def stream(self):
        return STREAM


@pytest.mark.parametrize("test", names_of(EngineContract))
def test_an_engine_that_is_right_passes(test):
    getattr(Contract(Right), test)()


# -- engines that are wrong -----------------------------------------------------------------------


def telling(change):
    """An engine whose events go through ``change``, which gives the events in the place of one."""

    class Telling(Right):
        async def run_impl(self, prompt, resume):
            async for event in super().run_impl(prompt, resume):
                for other in change(event):
                    yield other

    return Telling


def if_completed(events):
    return telling(lambda e: events(e) if isinstance(e, CompletedEvent) else [e])


def if_started(events):
    return telling(lambda e: events(e) if isinstance(e, StartedEvent) else [e])


def if_action(events):
    return telling(lambda e: events(e) if isinstance(e, ActionEvent) else [e])


NOTE = FACTORY.action_completed(action_id="n", kind="note", title="by the way", ok=True)


class KeepsStateOnItself(Right):
    answer = ""

    def translate(self, data, *, state, **more):
        if data["type"] == "init":
            self.answer = ""
        if data["type"] == "say":
            self.answer += data["text"]
        state.answer = self.answer
        return (
            super().translate(data, state=State(), **more)
            if data["type"] != "end"
            else [FACTORY.completed_ok(answer=self.answer, resume=more["found_session"])]
        )


class ForgetsTheSession(Right):
    def build_args(self, prompt, resume, *, state):
        return super().build_args(prompt, None, state=state)


class SplitsThePrompt(Right):
    def build_args(self, prompt, resume, *, state):
        return [*prompt.split(), *([resume.value] if resume else [])]


class StartsTwice(Right):
    async def run_impl(self, prompt, resume):
        await anyio.run_process([self.path, f"--prompt={prompt}"])
        async for event in super().run_impl(prompt, resume):
            yield event


class RunsAnywhere(Right):
    def command(self):
        return "/bin/sh"

    def build_args(self, prompt, resume, *, state):
        args = super().build_args(prompt, resume, state=state)
        return ["-c", 'cd / && exec "$0" "$@"', self.path, *args]


class TakesWhatComes(Right):
    """Every chunk is a line or several."""

    async def iter_json_lines(self, stream):
        async for chunk in pieces(stream):
            for line in chunk.split(b"\n"):
                yield line


async def pieces(stream):
    data = b"".join([chunk async for chunk in stream])
    if len(data) > len(STREAM) * 1.05:
        yield data.replace(b"\n", b"")
    else:
        yield data


class DiesOfGarbage(Right):
    def invalid_json_events(self, *, raw, line, state):
        raise ValueError(f"what is {line!r}?")


class EndsAtGarbage(Right):
    def invalid_json_events(self, *, raw, line, state):
        return [FACTORY.completed_error(error="garbage")]


class AlwaysGlad(Right):
    def process_error_events(self, rc, *, resume, found_session, state):
        return [FACTORY.completed_ok(answer="", resume=found_session or resume)]


class LosesTheSession(Right):
    def process_error_events(self, rc, *, resume, found_session, state):
        return []

    async def run_impl(self, prompt, resume):
        async for event in super().run_impl(prompt, resume):
            yield event if not getattr(event, "error", None) else replace(event, resume=None)


class Unlocked(Right):
    def run(self, prompt, resume):
        return self.run_impl(prompt, resume)


class LockedByObject(Right):
    """Each runner has locks of its own."""

    def __init__(self, command):
        super().__init__(command)
        self.locks = {}

    def lock_for(self, token):
        return self.locks.setdefault(token, type(session_lock(token))())


class LockedLate(Right):
    """A new session is free until it has ended."""

    def run(self, prompt, resume):
        return self.run_with_resume_lock(prompt, resume, self.run_impl)


class OneAtATime(LockedByObject):
    """All sessions have the same lock."""

    def lock_for(self, token):
        return super().lock_for("all")


class NeverUnlocked(LockedByObject):
    """Only a run that has ended gives its session back."""

    async def run_with_resume_lock(self, prompt, resume, run_fn):
        if resume is not None:
            await self.lock_for(resume).acquire()
        async with aclosing(run_fn(prompt, resume)) as events:
            async for event in events:
                yield event
        if resume is not None:
            self.lock_for(resume).release()


class OwnProcess(ResumeTokenMixin, BaseRunner):
    """Written without the base class for CLIs: it knows of one process, one end, and eager readers."""

    engine = "acme"
    resume_re = Right.resume_re

    def __init__(self, command):
        self.path = command

    async def run_impl(self, prompt, resume):
        command = [self.path, *([resume.value] if resume else [])]
        output = await self.output(command, prompt.encode())
        translate, state, found = Right(self.path).translate, State(), None
        for line in output.splitlines():
            data = json.loads(line)
            for event in translate(data, state=state, resume=resume, found_session=found):
                found = event.resume if isinstance(event, StartedEvent) else found
                yield event

    async def output(self, command, stdin):
        return (await anyio.run_process(command, input=stdin, check=False)).stdout


class WritesFirst(OwnProcess):
    """And reads only when everything is written."""

    async def output(self, command, stdin):
        def write_and_read():
            pipe = subprocess.PIPE
            with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
                process.stdin.write(stdin)
                process.stdin.close()
                return process.stdout.read()

        return await anyio.to_thread.run_sync(write_and_read)


class TakesEveryToken(Right):
    def format_resume(self, token):
        return f"`acme resume {token.value}`"


class RunsEveryToken(Right):
    def run(self, prompt, resume):
        if resume is not None:
            resume = ResumeToken("acme", resume.value)
        return super().run(prompt, resume)


def codec(pattern=Right.resume_re.pattern, template="`acme resume {}`", last=True):
    class Codec(Right):
        def format_resume(self, token):
            super().format_resume(token)
            return template.format(token.value)

        def is_resume_line(self, line):
            return re.search(pattern, line) is not None

        def extract_resume(self, text):
            found = re.findall(pattern, text or "")
            return ResumeToken("acme", found[-1 if last else 0]) if found else None

    return Codec


GOOD, PROMPT, RESUME = (
    "a_good_run_starts_answers_and_completes",
    "the_prompt_and_the_folder_reach_the_cli",
    "the_session_to_resume_reaches_the_cli",
)
GARBAGE, CRASH = "garbage_between_the_lines_does_no_harm", "a_crash_after_any_line_is_one_outcome"
FAILS, AFTER = "a_cli_that_fails_at_once_is_a_failed_run", "lines_after_the_end_do_no_harm"
ONE_BY_ONE = "runs_of_one_session_come_one_after_the_other"
KNOWN, FOREIGN = "a_new_session_is_taken_once_it_is_known", "tokens_of_other_engines_are_refused"
CODEC, CHUNKS = "resume_lines_can_be_read_back", "any_chunking_gives_the_same_events"
CANCELLED = "a_run_that_is_cancelled_leaves_nothing"
LEFT = "a_run_whose_reader_is_cancelled_leaves_nothing"
CLOSED = "a_run_closed_after_its_first_event_leaves_nothing"
STDIN, MIX = "a_cli_that_reads_no_stdin_is_not_waited_for", "runs_side_by_side_do_not_mix"

WRONG = {
    "no_completed": (if_completed(lambda e: []), GOOD, "there is no `completed`"),
    "two_completed": (if_completed(lambda e: [e, e]), GOOD, "there are 2 `completed`"),
    "something_after": (if_completed(lambda e: [e, NOTE]), GOOD, "is not the last event"),
    "two_started": (if_started(lambda e: [e, e]), GOOD, "there are 2 `started`"),
    "another_engines": (if_action(lambda e: [replace(e, engine="zulu")]), GOOD, "of the engine 'zulu'"),
    "no_token": (if_completed(lambda e: [replace(e, resume=None)]), GOOD, "has the token None"),
    "ok_and_error": (if_completed(lambda e: [replace(e, error="x")]), GOOD, "`ok` and has the error"),
    "no_title": (if_action(lambda e: [replace(e, action=replace(e.action, title=""))]), GOOD, "lacks its"),
    "no_phase": (if_action(lambda e: [replace(e, phase="begun")]), GOOD, "the phase 'begun'"),
    "ok_too_early": (if_action(lambda e: [replace(e, phase="started")]), GOOD, "before it is completed"),
    "no_answer": (if_completed(lambda e: [replace(e, answer="")]), GOOD, "there is no answer"),
    "failed": (if_completed(lambda e: [replace(e, ok=False, error="no")]), GOOD, "succeeds, but 'no'"),
    "no_error": (if_completed(lambda e: [replace(e, ok=False)]), GOOD, "without an `error`"),
    "splits_the_prompt": (SplitsThePrompt, PROMPT, "did not arrive whole"),
    "starts_twice": (StartsTwice, PROMPT, "started 2 times"),
    "runs_anywhere": (RunsAnywhere, PROMPT, "the CLI ran in /"),
    "forgets_the_session": (ForgetsTheSession, RESUME, "the CLI was not told s-81f3"),
    "takes_what_comes": (TakesWhatComes, CHUNKS, "gives other events"),
    "dies_of_garbage": (DiesOfGarbage, GARBAGE, "what is "),
    "ends_at_garbage": (EndsAtGarbage, GARBAGE, "changed how the run ended"),
    "own_process_after_the_end": (OwnProcess, AFTER, "there are 2 `completed`"),
    "always_glad": (AlwaysGlad, CRASH, "did not succeed"),
    "loses_the_session": (LosesTheSession, CRASH, "has the token None"),
    "glad_at_once": (AlwaysGlad, FAILS, "and the run succeeded"),
    "writes_first": (WritesFirst, STDIN, "Broken pipe"),
    "own_process_cancelled": (OwnProcess, CANCELLED, "still there"),
    "own_process_left": (OwnProcess, LEFT, "still there"),
    "own_process_closed": (OwnProcess, CLOSED, "still there"),
    "never_unlocked": (NeverUnlocked, CLOSED, "its session cannot go on"),
    "unlocked": (Unlocked, ONE_BY_ONE, "2 runs of one session"),
    "locked_by_object": (LockedByObject, ONE_BY_ONE, "2 runs of one session"),
    "locked_late": (LockedLate, KNOWN, "was resumed while"),
    "one_at_a_time": (OneAtATime, MIX, "has 1 times 'hold' instead of 2"),
    "state_on_itself": (KeepsStateOnItself, MIX, "while another goes on"),
    "runs_every_token": (RunsEveryToken, FOREIGN, "was started for a token of another"),
    "takes_every_token": (TakesEveryToken, FOREIGN, "`format_resume` takes a token"),
    "finds_inside": (codec(r"`?acme resume ([^`\s]+)`?"), CODEC, "run acme .* is taken for a resume line"),
    "finds_anything": (codec(r"(\S+)"), CODEC, "there is a token in"),
    "first_wins": (codec(r"(?m)^\s*`?acme resume ([^`\s]+)`?\s*$", last=False), CODEC, "last token"),
    "writes_another_line": (codec(template="acme --resume={}"), CODEC, "is not taken for a resume line"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_engine_that_is_wrong_is_found(name, monkeypatch):
    monkeypatch.setattr(checks, "WITHIN_S", 3.0)
    patient = Stage.wait_until_idle
    monkeypatch.setattr(Stage, "wait_until_idle", lambda stage: patient(stage, within_s=0.3))
    wait = Stage.wait
    monkeypatch.setattr(Stage, "wait", lambda *args: wait(*args, within_s=3.0))
    kind, test, message = WRONG[name]
    with pytest.raises(Exception, match=message):
        getattr(Contract(kind), f"test_{test}")()


def test_every_test_of_the_contract_can_fail():
    assert {f"test_{test}" for _, test, _ in WRONG.values()} == set(names_of(EngineContract))


# -- adapters that are wrong ----------------------------------------------------------------------


ADAPTER = """
args: [--, "${run().prompt}"]
session: {match: {type: init}, id: session}
events:
  - match: {type: step}
    action: {id: id, title: title, ok: "`true`"}
  - match: {type: say}
    append: {answer: text}
  - match: {type: end}
    complete: {}
"""


@pytest.fixture
def adapter(tmp_path):
    case = tmp_path / "streams/plain"
    case.mkdir(parents=True)
    (case / "stream.jsonl").write_bytes(STREAM)

    class Acme(AdapterContract):
        adapter = tmp_path / "acme.yaml"
        recordings = tmp_path / "streams"

    def write(text):
        Acme.adapter.write_text(adapter_text(text))
        return Acme()

    return write


def test_an_adapter_that_loses_the_session_is_found(adapter):
    contract = adapter(ADAPTER)
    contract.test_a_good_run_starts_answers_and_completes()
    with pytest.raises(AssertionError, match="the CLI was not told s-81f3"):
        contract.test_the_session_to_resume_reaches_the_cli()


def test_an_adapter_without_expected_events_is_found(adapter):
    with pytest.raises(AssertionError, match=r"plain: events\.json is missing"):
        adapter(ADAPTER).test_every_recording_gives_its_events()


def test_an_adapter_that_never_completes_has_no_good_recording(adapter):
    with pytest.raises(AssertionError, match="no recording of a run that succeeds"):
        adapter(
            ADAPTER.replace("complete: {}", "set: {x: type}")
        ).test_any_chunking_gives_the_same_events()


def test_a_broken_adapter_is_shown_with_the_place(adapter):
    with pytest.raises(AssertionError, match=r"(?s)is broken.*acme\.yaml:\d+:"):
        adapter(ADAPTER.replace("append:", "apend:")).stream()


# -- the check of one run, and the kit itself -----------------------------------------------------


class CannotStart(Right):
    def command(self):
        raise RuntimeError("there is no CLI")


@pytest.mark.parametrize("test", [CANCELLED, LEFT, ONE_BY_ONE, KNOWN, MIX])
def test_what_a_runner_raises_comes_out_at_once_and_unwrapped(test, monkeypatch):
    contract = Contract(Right)

    async def session(stage):
        contract.kind = CannotStart
        return ResumeToken("acme", "s-81f3")

    monkeypatch.setattr(contract, "_session", session)
    with pytest.raises(RuntimeError, match="there is no CLI"):
        getattr(contract, f"test_{test}")()


def test_the_check_names_everything_that_is_wrong_at_once():
    events = [
        CompletedEvent("acme", False, "", ResumeToken("acme", "other")),
        StartedEvent("acme", ResumeToken("acme", "s1")),
    ]
    found = "; ".join(run_problems(events, engine="acme", resume="s1"))
    assert "not the last event" in found
    assert "`completed` has the token" in found
    assert "without an `error`" in found
    assert run_problems([], engine="acme") == ["there is no `completed`"]


def test_the_kit_needs_no_pytest():
    code = "import sys, takopi.testing; print('pytest' in sys.modules, '_pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
