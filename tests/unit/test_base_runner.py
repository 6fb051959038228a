"""Engines written in Python without a process: resume lines, and one run at a time per session."""

import asyncio
import gc
import re

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.engines import base
from takopi.engines.python import BaseRunner, JsonlSubprocessRunner, ResumeTokenMixin
from takopi.events import EventFactory
from takopi.model import CompletedEvent, ResumeToken, StartedEvent

pytestmark = pytest.mark.anyio

A = ResumeToken("acme", "A")
B = ResumeToken("acme", "B")


# -- resume lines ---------------------------------------------------------------------------------


class Codex(ResumeTokenMixin):
    engine = "codex"
    resume_re = re.compile(r"(?im)^\s*`?codex\s+resume\s+(?P<token>[^`\s]+)`?\s*$")


class Claude(ResumeTokenMixin):
    engine = "claude"
    resume_re = re.compile(r"(?im)^\s*`?claude\s+(?:--resume|-r)\s+(?P<token>[^`\s]+)`?\s*$")

    def format_resume(self, token):
        return super().format_resume(token).replace("claude resume", "claude --resume")


RESUME_LINES = [
    ("`codex resume A`", "A"),
    ("codex resume A", "A"),
    ("  CODEX  resume A \r", "A"),
    ("codex resume A\ncodex resume B", "B"),
    ("codex resume A\nand so on\n`codex resume B`\nthe end", "B"),
    ("codex resume", None),
    ("codex\nresume\nA", None),
    ("run codex resume A please", None),
    ("codex resume A B", None),
    ("`claude --resume A`", None),
    ("", None),
    (None, None),
]


@pytest.mark.parametrize(("text", "found"), RESUME_LINES)
def test_the_last_resume_line_of_a_text_is_found(text, found):
    assert Codex().extract_resume(text) == (found and ResumeToken("codex", found))


@pytest.mark.parametrize(
    ("line", "found"), [row for row in RESUME_LINES if row[0] is not None and "\n" not in row[0]]
)
def test_a_line_is_a_resume_line_if_all_of_it_is(line, found):
    assert Codex().is_resume_line(line) == (found is not None)


def test_a_pattern_without_anchors_describes_whole_lines_too():
    class Loose(Codex):
        resume_re = re.compile(r"codex resume (?P<token>\S+)")

    assert not Loose().is_resume_line("codex resume A please")
    assert Loose().extract_resume("run codex resume A\ncodex resume B\n") == ResumeToken(
        "codex", "B"
    )


@pytest.mark.parametrize("codec", [Codex(), Claude()], ids=["default", "own format"])
@given(value=st.from_regex(r"[^`\s]{1,40}", fullmatch=True), before=st.text(), after=st.text())
@settings(deadline=None, max_examples=50)
def test_a_formatted_token_is_found_again(codec, value, before, after):
    token = ResumeToken(codec.engine, value)
    line = codec.format_resume(token)
    assert line.startswith("`")
    assert line.endswith("`")
    assert codec.is_resume_line(line)
    after = after.replace(codec.engine, "")
    assert codec.extract_resume(f"{before}\n{line}\n{after}") == token


def test_the_token_of_another_engine_is_not_formatted():
    with pytest.raises(RuntimeError, match=r"^resume token is for engine 'claude'$"):
        Codex().format_resume(ResumeToken("claude", "A"))


# -- sessions -------------------------------------------------------------------------------------


class Scripted(BaseRunner):
    """A run starts, waits for ``go``, reports ``session`` and waits for ``stop``."""

    engine = "acme"

    def __init__(self, session=None, log=None):
        self.session = session
        self.log = [] if log is None else log
        self.go = anyio.Event()
        self.stop = anyio.Event()
        self.closed_by = None

    async def run_impl(self, prompt, resume):
        events = EventFactory("acme")
        self.log.append(f"+{prompt}")
        try:
            await self.go.wait()
            if self.session is not None:
                yield events.started(self.session)
            await self.stop.wait()
            yield events.completed_ok(answer=prompt)
        finally:
            self.closed_by = asyncio.current_task()
            self.log.append(f"-{prompt}")


async def settled(turns=20):
    for _ in range(turns):
        await asyncio.sleep(0)


def play(runner, prompt, resume=None):
    """A task that collects the events, and the list it collects them in."""
    seen = []

    async def consume():
        async for event in runner.run(prompt, resume):
            seen.append(event)

    return asyncio.create_task(consume()), seen


async def test_two_runs_of_one_session_are_never_in_flight_together():
    runner = Scripted(A)
    runner.go.set()
    tasks = [play(runner, name, A)[0] for name in "xy"]
    await settled()
    assert runner.log == ["+x"]
    runner.stop.set()
    await asyncio.gather(*tasks)
    assert runner.log == ["+x", "-x", "+y", "-y"]


async def test_runs_of_different_sessions_are_in_flight_together():
    runner = Scripted()
    tasks = [play(runner, name, session)[0] for name, session in (("x", A), ("y", B))]
    await settled()
    assert runner.log == ["+x", "+y"]
    runner.go.set()
    runner.stop.set()
    await asyncio.gather(*tasks)


async def test_two_new_runs_are_in_flight_together_until_they_name_one_session():
    first, second = Scripted(A), Scripted(A)
    (one, seen_one), (two, seen_two) = play(first, "x"), play(second, "y")
    await settled()
    assert (first.log, second.log) == (["+x"], ["+y"])
    first.go.set()
    await settled()
    second.go.set()
    await settled()
    assert [e.type for e in seen_one] == ["started"]
    assert seen_two == []
    second.stop.set()
    await settled()
    assert seen_two == []
    first.stop.set()
    await asyncio.gather(one, two)
    assert [e.type for e in seen_two] == ["started", "completed"]


async def test_a_resume_of_a_new_session_waits_for_the_run_that_named_it():
    first, second = Scripted(A), Scripted(A)
    one, _ = play(first, "x")
    first.go.set()
    await settled()
    two, _ = play(second, "y", A)
    await settled()
    assert second.log == []
    first.stop.set()
    await settled()
    assert second.log == ["+y"]
    second.go.set()
    second.stop.set()
    await asyncio.gather(one, two)


async def test_a_session_is_free_when_the_consumer_closes_after_started():
    runner = Scripted(A)
    runner.go.set()
    events = runner.run("x", None)
    assert isinstance(await anext(events), StartedEvent)
    await events.aclose()
    assert runner.log == ["+x", "-x"]
    runner.stop.set()
    again, seen = play(runner, "y", A)
    await again
    assert isinstance(seen[-1], CompletedEvent)


async def test_a_failed_run_leaves_its_session_free():
    class Failing(Scripted):
        async def run_impl(self, prompt, resume):
            yield EventFactory("acme").started(A)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await play(Failing(), "x")[0]
    with pytest.raises(ValueError, match="broken"):
        await play(Failing(), "x", A)[0]


async def test_a_token_of_another_engine_is_refused_on_first_iteration():
    runner = Scripted()
    events = runner.run("x", ResumeToken("other", "A"))
    message = r"^resume token is for engine 'other', not 'acme'$"
    with pytest.raises(RuntimeError, match=message):
        await anext(events)
    assert runner.log == []


async def test_a_run_that_goes_on_in_another_session_holds_both():
    fork = Scripted(B)
    fork.go.set()
    one, _ = play(fork, "x", A)
    await settled()
    waiting = [Scripted(), Scripted()]
    tasks = [play(runner, "y", token)[0] for runner, token in zip(waiting, (A, B), strict=True)]
    await settled()
    assert [runner.log for runner in waiting] == [[], []]
    for runner in (fork, *waiting):
        runner.go.set()
        runner.stop.set()
    await asyncio.gather(one, *tasks)
    assert [runner.log for runner in waiting] == [["+y", "-y"]] * 2


async def test_cancelling_a_run_that_waits_for_its_session_changes_nothing():
    first, second = Scripted(A), Scripted(A)
    first.go.set()
    second.go.set()
    one, _ = play(first, "x")
    await settled()
    two, seen = play(second, "y")
    await settled()
    assert second.log == ["+y"]
    two.cancel()
    with pytest.raises(asyncio.CancelledError):
        await two
    assert seen == []
    assert second.log == ["+y", "-y"]
    third, _ = play(Scripted(), "z", A)
    await settled()
    assert not third.done()
    third.cancel()
    first.stop.set()
    await one
    with pytest.raises(asyncio.CancelledError):
        await third


def test_c1_a_session_has_one_lock_whatever_runner_asks():
    first, second = Scripted(), Scripted()
    lock = first.lock_for(A)
    assert second.lock_for(ResumeToken("acme", "A")) is lock
    assert first.lock_for(B) is not lock


async def test_c1_a_runner_built_by_a_reload_waits_for_the_runs_of_the_old_one():
    old, new = Scripted(A), Scripted(A)
    old.go.set()
    one, _ = play(old, "x", A)
    await settled()
    del old.session
    two, _ = play(new, "y", A)
    await settled()
    assert new.log == []
    for runner in (old, new):
        runner.go.set()
        runner.stop.set()
    await asyncio.gather(one, two)
    assert new.log == ["+y", "-y"]


async def test_an_idle_session_costs_nothing():
    runner = Scripted(B)
    runner.go.set()
    runner.stop.set()
    await play(runner, "x")[0]
    await play(runner, "x", A)[0]
    gc.collect()
    assert A not in base._locks
    assert B not in base._locks


async def test_c12_a_closed_run_unwinds_in_the_task_that_closes_it():
    runner = Scripted(A)
    runner.go.set()
    events = runner.run("x", None)
    await anext(events)
    await events.aclose()
    assert runner.closed_by is asyncio.current_task()


async def test_c12_a_run_unwinds_whole_while_its_consumer_is_being_cancelled():
    class Slow(Scripted):
        async def run_impl(self, prompt, resume):
            try:
                async for event in super().run_impl(prompt, resume):
                    yield event
            finally:
                await asyncio.sleep(0.02)
                self.log.append("clean")

    runner = Slow(A)
    runner.go.set()
    with anyio.CancelScope() as scope:
        events = runner.run("x", A)
        await anext(events)
        scope.cancel()  # as during a callback of the bridge
        try:
            await asyncio.sleep(0)
        finally:
            await events.aclose()
    assert runner.log[:1] == ["+x"]
    assert runner.log[-1] == "clean"
    runner.stop.set()
    await play(runner, "y", A)[0]


async def test_events_may_come_from_any_iterator():
    class Plain:
        def __init__(self, events):
            self.events = iter(events)

        def __aiter__(self):
            return self

        async def __anext__(self):
            try:
                return next(self.events)
            except StopIteration:
                raise StopAsyncIteration from None

    class Runner(BaseRunner):
        engine = "acme"

        def run_impl(self, prompt, resume):
            return Plain([EventFactory("acme").completed_ok(answer=prompt)])

    task, seen = play(Runner(), "x", A)
    await task
    assert [event.answer for event in seen] == ["x"]


async def test_run_with_resume_lock_holds_the_lock_of_a_resume_only():
    runner = Scripted()
    in_flight = []

    async def run_fn(prompt, resume):
        in_flight.append((prompt, resume))
        await runner.stop.wait()
        yield EventFactory("acme").completed_ok(answer=prompt)

    async def consume(prompt, resume):
        return [e async for e in runner.run_with_resume_lock(prompt, resume, run_fn)]

    jobs = [("x", A), ("y", A), ("n", None), ("m", None)]
    tasks = [asyncio.create_task(consume(*job)) for job in jobs]
    await settled()
    assert sorted(in_flight, key=str) == sorted([("x", A), ("n", None), ("m", None)], key=str)
    runner.stop.set()
    answers = [[event.answer for event in events] for events in await asyncio.gather(*tasks)]
    assert answers == [["x"], ["y"], ["n"], ["m"]]


async def test_a_base_runner_must_say_how_it_runs():
    with pytest.raises(NotImplementedError):
        await anext(BaseRunner().run("x", None))
    runner = JsonlSubprocessRunner()
    for hook, args in {
        runner.command: (),
        runner.build_args: ("x", None),
        runner.translate: ({},),
    }.items():
        names = {"build_args": ["state"], "translate": ["state", "resume", "found_session"]}
        with pytest.raises(NotImplementedError):
            hook(*args, **dict.fromkeys(names.get(hook.__name__, [])))


RUNS = st.lists(
    st.tuples(
        st.sampled_from([None, "A", "B"]),  # resume
        st.sampled_from(["A", "B", "C"]),  # the session a new run names
        st.integers(0, 3),  # turns before and after it
        st.sampled_from(["read on", "close", "cancel"]),
    ),
    min_size=1,
    max_size=8,
)


@given(runs=RUNS)
@settings(deadline=None, max_examples=60)
def test_never_two_runs_of_one_session_whatever_their_consumers_do(runs):
    busy, most = {}, {}

    class Runner(BaseRunner):
        engine = "acme"

        async def run_impl(self, prompt, resume):
            session, turns = prompt
            await settled(turns)
            yield EventFactory("acme").started(resume or ResumeToken("acme", session))
            await settled(turns)
            yield EventFactory("acme").completed_ok(answer="")

    async def consume(resume, session, turns, manner):
        events = Runner().run((resume or session, turns), resume and ResumeToken("acme", resume))
        key = None
        try:
            async for event in events:
                if isinstance(event, StartedEvent):
                    key = event.resume
                    busy[key] = busy.get(key, 0) + 1
                    most[key] = max(most.get(key, 0), busy[key])
                    await settled(turns)
                    if manner == "close":
                        break
        finally:
            if key is not None:
                busy[key] -= 1
            await events.aclose()

    async def main():
        tasks = [asyncio.create_task(consume(*run)) for run in runs]
        await settled(2)
        for task, (*_, manner) in zip(tasks, runs, strict=True):
            if manner == "cancel":
                task.cancel()
        async with asyncio.timeout(5):
            done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(error is None or isinstance(error, asyncio.CancelledError) for error in done)

    asyncio.run(main())
    assert set(most.values()) <= {1}
    assert set(busy.values()) <= {0}
