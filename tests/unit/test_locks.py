"""Session locks and what callers set around a run."""

import gc

import anyio
import pytest

from takopi.engines.base import (
    EngineRunOptions,
    apply_run_options,
    get_run_options,
    session_lock,
)
from takopi.model import ResumeToken

pytestmark = pytest.mark.anyio

TOKEN = ResumeToken("acme", "s1")


async def test_one_live_session_has_one_lock():
    lock = session_lock(TOKEN)
    assert session_lock(ResumeToken("acme", "s1")) is lock
    assert session_lock(ResumeToken("acme", "s2")) is not lock
    assert session_lock(ResumeToken("other", "s1")) is not lock


async def test_an_idle_session_costs_nothing():
    from takopi.engines import base

    token = ResumeToken("acme", "of nobody else")
    lock = session_lock(token)
    assert token in base._locks
    del lock
    gc.collect()
    assert token not in base._locks


async def test_a_lock_is_held_by_one_and_may_be_released_by_another_task():
    lock = session_lock(TOKEN)
    await lock.acquire()
    with anyio.move_on_after(0.02) as scope:
        await lock.acquire()
    assert scope.cancelled_caught
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: anyio.to_thread.run_sync(lambda: None))
        lock.release()
    await lock.acquire()
    lock.release()


async def test_run_options_are_inherited_and_restored():
    seen = []

    async def child():
        seen.append(get_run_options())

    assert get_run_options() is None
    with apply_run_options(EngineRunOptions(model="m")):
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        with apply_run_options(None):
            assert get_run_options() is None
        assert get_run_options() == EngineRunOptions(model="m", reasoning=None)
    assert get_run_options() is None
    assert seen == [EngineRunOptions(model="m")]
