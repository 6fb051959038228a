"""Jobs of one session run in order, those of different sessions side by side."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest

from takopi.bridge.delivery import MessageRef
from takopi.bridge.scheduler import ThreadJob, ThreadScheduler
from takopi.model import ResumeToken, RunContext

pytestmark = pytest.mark.anyio


def token(value="s1"):
    return ResumeToken("acme", value)


def job(text, session="s1", ref=None, chat=1):
    placeholder = MessageRef(chat, ref) if ref is not None else None
    return ThreadJob(chat, 100, text, token(session), progress_ref=placeholder)


class Bench:
    """A scheduler whose jobs end when they are told to."""

    def __init__(self, group):
        self.scheduler = ThreadScheduler(task_group=group, run_job=self.run)
        self.began, self.ended, self.failing = [], [], set()
        self.gates = {}
        self.others = asyncio.all_tasks()

    async def run(self, found):
        self.began.append(found.text)
        try:
            if found.text in self.failing:
                raise RuntimeError("boom")
            await self.gates.setdefault(found.text, anyio.Event()).wait()
        finally:
            self.ended.append(found.text)

    async def add(self, *jobs):
        for found in jobs:
            await self.scheduler.enqueue(found)
        await settle()

    async def finish(self, *texts):
        for text in texts:
            self.gates.setdefault(text, anyio.Event()).set()
        await settle()

    def assert_idle(self):
        scheduler = self.scheduler
        assert (scheduler._queues, scheduler._queued, scheduler._busy) == ({}, {}, {})
        assert asyncio.all_tasks() == self.others


async def settle():
    """Let everybody go on until all wait for something."""
    for _ in range(30):
        await asyncio.sleep(0)


@asynccontextmanager
async def bench():
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            found = Bench(group)
            yield found
        found.assert_idle()


async def test_jobs_of_one_session_run_one_after_the_other_in_order():
    async with bench() as b:
        await b.add(job("a"), job("b"), job("c"))
        assert b.began == ["a"]
        await b.finish("b")
        assert b.began == ["a"]
        await b.finish("a")
        assert b.began == ["a", "b", "c"]
        assert b.ended == ["a", "b"]
        await b.finish("c")
        b.assert_idle()


async def test_different_sessions_run_side_by_side():
    async with bench() as b:
        await b.add(job("a"), job("b", "s2"), job("c", "s2"))
        assert b.began == ["a", "b"]
        await b.finish("b")
        assert b.began == ["a", "b", "c"]
        await b.finish("a", "c")


async def test_an_engine_is_part_of_the_session():
    assert ThreadScheduler.thread_key(token()) == "acme:s1"
    async with bench() as b:
        other = ThreadJob(1, 2, "b", ResumeToken("other", "s1"))
        await b.add(job("a"), other)
        assert b.began == ["a", "b"]
        await b.finish("a", "b")


async def test_a_job_that_fails_does_not_stop_those_after_it(caplog):
    async with bench() as b:
        b.failing = {"a", "b"}
        await b.add(job("a"), job("b"), job("c"))
        assert b.began == ["a", "b", "c"]
        await b.finish("c")
    assert caplog.text.count("scheduler.job_failed") == 2
    assert "boom" in caplog.text


async def test_the_fields_of_enqueue_resume_make_the_job():
    jobs = []

    async def run(found):
        jobs.append(found)

    async with anyio.create_task_group() as group:
        scheduler = ThreadScheduler(task_group=group, run_job=run)
        ref = MessageRef(1, 9)
        await scheduler.enqueue_resume(1, 2, "text", token())
        await scheduler.enqueue_resume(
            1, 3, "more", token(), RunContext("p", "b"), 4, (1, None), ref
        )
    assert jobs == [
        ThreadJob(1, 2, "text", token()),
        ThreadJob(1, 3, "more", token(), RunContext("p", "b"), 4, (1, None), ref),
    ]


async def test_a_busy_session_is_waited_for():
    async with bench() as b:
        done = anyio.Event()
        await b.scheduler.note_thread_known(token(), done)
        await b.add(job("a"), job("b", "s2"))
        assert b.began == ["b"]
        done.set()
        await settle()
        assert b.began == ["b", "a"]
        await b.finish("a", "b")


async def test_an_unfinished_marker_is_kept():
    async with bench() as b:
        first, second = anyio.Event(), anyio.Event()
        await b.scheduler.note_thread_known(token(), first)
        await b.scheduler.note_thread_known(token(), second)
        await b.add(job("a"))
        second.set()
        await settle()
        assert b.began == []
        first.set()
        await settle()
        assert b.began == ["a"]
        await b.finish("a")


async def test_a_finished_marker_gives_way():
    async with bench() as b:
        first, second = anyio.Event(), anyio.Event()
        await b.scheduler.note_thread_known(token(), first)
        first.set()
        await b.scheduler.note_thread_known(token(), second)  # before anybody could clear it
        await b.add(job("a"))
        assert b.began == []
        second.set()
        await settle()
        assert b.began == ["a"]
        await b.finish("a")


async def test_a_marker_clears_itself():
    async with bench() as b:
        done = anyio.Event()
        await b.scheduler.note_thread_known(token(), done)
        done.set()
        await settle()
        b.assert_idle()
        await b.scheduler.note_thread_known(token(), done)
        b.assert_idle()


async def test_a_job_may_mark_its_own_session():
    ran = []

    async def run(found):
        done = anyio.Event()
        await scheduler.note_thread_known(found.resume_token, done)
        await anyio.lowlevel.checkpoint()
        done.set()
        ran.append(found.text)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            scheduler = ThreadScheduler(task_group=group, run_job=run)
            for text in "abc":
                await scheduler.enqueue(job(text))
    assert ran == ["a", "b", "c"]


# Taking jobs back


async def test_a_queued_job_can_be_taken_back_once():
    async with bench() as b:
        second = job("b", ref=11)
        await b.add(job("a", ref=10), second, job("c", ref=12))
        assert await b.scheduler.cancel_queued(1, 11) is second
        assert await b.scheduler.cancel_queued(1, 11) is None
        await b.finish("a")
        assert b.began == ["a", "c"]
        await b.finish("c")


async def test_a_running_or_finished_or_unknown_job_cannot():
    async with bench() as b:
        await b.add(job("a", ref=10))
        assert await b.scheduler.cancel_queued(1, 10) is None
        await b.finish("a")
        assert await b.scheduler.cancel_queued(1, 10) is None
        assert await b.scheduler.cancel_queued(1, 99) is None


async def test_a_message_is_known_by_its_chat():
    async with bench() as b:
        await b.add(job("a"), job("b", ref=11, chat=1), job("c", ref=11, chat="two"))
        assert await b.scheduler.cancel_queued("two", 11) == job("c", ref=11, chat="two")
        await b.finish("a", "b")
        assert b.ended == ["a", "b"]


async def test_of_equal_jobs_the_other_one_stays():
    async with bench() as b:
        await b.add(job("a"), job("b", ref=11), job("b", ref=12), job("b", ref=11))
        assert await b.scheduler.cancel_queued(1, 11) is not None
        assert [found.progress_ref.message_id for found in b.scheduler._queues["acme:s1"]] == [
            11,
            12,
        ]
        await b.finish("a", "b")
        assert b.ended == ["a", "b", "b"]


async def test_c17_the_first_job_behind_a_busy_session_can_be_taken_back():
    async with bench() as b:
        done = anyio.Event()
        await b.scheduler.note_thread_known(token(), done)
        await b.add(job("a", ref=10), job("b", ref=11))
        assert await b.scheduler.cancel_queued(1, 10) == job("a", ref=10)
        done.set()
        await settle()
        assert b.began == ["b"]
        await b.finish("b")


async def test_c17_until_the_moment_in_which_it_begins():
    async with bench() as b:
        done = anyio.Event()
        await b.scheduler.note_thread_known(token(), done)
        await b.add(job("a", ref=10))
        done.set()  # the worker has not had a turn yet
        assert await b.scheduler.cancel_queued(1, 10) == job("a", ref=10)
        await settle()
        assert b.began == []
    async with bench() as b:
        await b.scheduler.enqueue(job("a", ref=10))
        assert await b.scheduler.cancel_queued(1, 10) == job("a", ref=10)
        await settle()
        assert b.began == []


async def test_a_queue_whose_jobs_were_all_taken_back_takes_new_ones():
    async with bench() as b:
        done = anyio.Event()
        await b.scheduler.note_thread_known(token(), done)
        await b.add(job("a", ref=10))
        await b.scheduler.cancel_queued(1, 10)
        await b.add(job("b"))
        done.set()
        await settle()
        assert b.began == ["b"]
        await b.finish("b")
        await b.add(job("c"))
        assert b.began == ["b", "c"]
        await b.finish("c")


async def test_there_is_one_task_per_session_and_per_marker():
    async with bench() as b:
        before = len(asyncio.all_tasks())
        done = anyio.Event()
        for number in range(10):
            await b.scheduler.note_thread_known(token("s2"), done)
            await b.add(job(f"a{number}"), job(f"b{number}", "s2"))
        assert len(asyncio.all_tasks()) - before == 3
        done.set()
        await b.finish(*(f"{name}{number}" for name in "ab" for number in range(10)))


async def test_the_end_of_the_program_leaves_nothing():
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            b = Bench(group)
            await b.scheduler.note_thread_known(token("s2"), anyio.Event())
            await b.add(job("a", ref=10), job("b", ref=11), job("c", "s2", ref=12))
            group.cancel_scope.cancel()
    assert b.ended == ["a"]
    b.assert_idle()
