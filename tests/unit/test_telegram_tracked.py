"""Which progress messages are on the list of those that look alive."""

import anyio
import pytest

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions
from takopi.telegram.open_runs import OpenRun, OpenRuns
from takopi.telegram.tracked import TrackedTransport

pytestmark = pytest.mark.anyio

ALIVE = RenderedMessage("working", {"progress": True})
ANSWER = RenderedMessage("done", {"answer": "done"})
CANCELLED = RenderedMessage("cancelled")


class Chat:
    """A chat that posts when it is told to. What it edits fails if it is ``broken``."""

    def __init__(self):
        self.go = anyio.Event()
        self.go.set()
        self.sent = 0
        self.edits = []
        self.deleted = []
        self.broken = False
        self.on_edit = lambda: None

    async def close(self):
        pass

    async def send(self, *, channel_id, message, options=None):
        await self.go.wait()
        self.sent += 1
        return None if self.broken else MessageRef(channel_id, self.sent)

    async def edit(self, *, ref, message, wait=True):
        self.on_edit()
        self.edits.append((ref.message_id, message.text, message.extra))
        return None if self.broken else ref

    async def delete(self, *, ref):
        self.deleted.append(ref.message_id)
        return not self.broken


@pytest.fixture
def open_runs(tmp_path):
    return OpenRuns(tmp_path / "takopi.toml")


@pytest.fixture
def chat():
    return Chat()


@pytest.fixture
def tracked(chat, open_runs):
    return TrackedTransport(chat, open_runs)


async def test_progress_is_noted_until_it_is_replaced(tracked, open_runs):
    ref = await tracked.send(channel_id=5, message=ALIVE)
    assert open_runs.left_over() == [OpenRun(5, 1)]
    await tracked.edit(ref=ref, message=ALIVE, wait=False)
    assert open_runs.left_over() == [OpenRun(5, 1)]
    await tracked.send(channel_id=5, message=ANSWER, options=SendOptions(replace=ref))
    assert open_runs.left_over() == []


async def test_it_is_noted_that_a_message_may_be_the_answer_by_now(tracked, chat, open_runs):
    ref = await tracked.send(channel_id=5, message=ALIVE)
    seen = []
    chat.on_edit = lambda: seen.append(open_runs.left_over())
    await tracked.edit(ref=ref, message=ANSWER)
    assert seen == [[OpenRun(5, 1, state="answering")]]
    assert open_runs.left_over() == []


async def test_an_end_that_could_not_be_shown_stays_on_the_list(tracked, chat, open_runs):
    ref = await tracked.send(channel_id=5, message=ALIVE)
    chat.broken = True
    await tracked.edit(ref=ref, message=CANCELLED)
    assert open_runs.left_over() == [OpenRun(5, 1)]
    assert not await tracked.delete(ref=ref)
    assert open_runs.left_over() == [OpenRun(5, 1)]
    chat.broken = False
    await tracked.edit(ref=ref, message=CANCELLED)
    assert open_runs.left_over() == []


async def test_progress_that_nobody_waits_for_any_more_is_deleted(tracked, chat, open_runs):
    chat.go = anyio.Event()
    async with anyio.create_task_group() as group:

        async def send():
            with anyio.move_on_after(0.01):
                await tracked.send(channel_id=5, message=ALIVE)

        group.start_soon(send)
        await anyio.sleep(0.05)
        chat.go.set()
    assert chat.deleted == [1]
    assert open_runs.left_over() == []


async def test_nobody_waits_long_for_what_cannot_be_posted(tracked, chat, open_runs, monkeypatch):
    monkeypatch.setattr("takopi.telegram.tracked._LATE_S", 0.02)
    chat.go = anyio.Event()
    with anyio.fail_after(2), anyio.move_on_after(0.01) as scope:
        await tracked.send(channel_id=5, message=ALIVE)
    assert scope.cancelled_caught
    assert open_runs.left_over() == []
