"""What is on the list of runs in flight at each moment, and what the next takopi makes of it."""

import pytest

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions
from takopi.telegram.left_over import LeftOver
from takopi.telegram.open_runs import OpenRun, OpenRuns
from takopi.telegram.tracked import TrackedTransport

pytestmark = pytest.mark.anyio

ALIVE = RenderedMessage("working", {"progress": True})
ANSWER = RenderedMessage("done", {"answer": "done"})
INTERRUPTED = "interrupted: takopi ended before this did; send it again if it is still wanted."
PROMPT = OpenRun(-5, 10, 7, state="asked")


class Chat:
    """A chat that remembers what was done in it; new messages have the numbers from ``next_id``."""

    def __init__(self):
        self.done = []
        self.next_id = 15
        self.has_buttons = True

    async def close(self):
        pass

    async def send(self, *, channel_id, message, options):
        if self.next_id is None:
            return None
        reply_to = options.reply_to and options.reply_to.message_id
        self.done.append(("send", message.text.split(":")[0], reply_to, options.thread_id))
        self.next_id += 1
        message.extra.get("on_posted", lambda: None)()
        return MessageRef(channel_id, self.next_id - 1, thread_id=options.thread_id)

    async def edit(self, *, ref, message, wait=True):
        self.done.append(("edit", ref.message_id, message.text))
        assert message.extra["reply_markup"] == {"inline_keyboard": []}
        return ref

    async def delete(self, *, ref):
        self.done.append(("delete", ref.message_id))
        return True

    async def remove_buttons(self, ref):
        self.done.append(("remove buttons", ref.message_id))
        return self.has_buttons


@pytest.fixture
def open_runs(tmp_path):
    return OpenRuns(tmp_path / "takopi.toml")


@pytest.fixture
def chat():
    return Chat()


@pytest.fixture
def tracked(chat, open_runs):
    return TrackedTransport(chat, open_runs)


@pytest.fixture
def settle(chat, tracked, open_runs, tmp_path):
    left_over = LeftOver(chat, open_runs, chat.remove_buttons)

    async def settle():
        for run in OpenRuns(tmp_path / "takopi.toml").left_over():
            await left_over.settle(run)
        return chat.done

    return settle


def reply(**options):
    return SendOptions(reply_to=MessageRef(-5, 10), thread_id=7, **options)


async def test_a_prompt_is_noted_until_its_progress_is(tracked, open_runs):
    open_runs.add(PROMPT)
    await tracked.send(channel_id=-5, message=ALIVE, options=reply())
    assert open_runs.left_over() == [OpenRun(-5, 15, 7)]


async def test_a_prompt_is_noted_until_something_is_said_to_it(tracked, chat, open_runs):
    open_runs.add(PROMPT)
    number, chat.next_id = chat.next_id, None
    await tracked.send(channel_id=-5, message=ANSWER, options=reply())
    assert open_runs.left_over() == [PROMPT]
    chat.next_id = number
    await tracked.send(channel_id=-5, message=ANSWER, options=reply())
    assert open_runs.left_over() == []


async def test_a_prompt_without_a_word_gets_one_and_progress_nobody_knows_has_no_button(
    open_runs, settle
):
    open_runs.add(PROMPT)
    assert await settle() == [
        ("send", "interrupted", 10, 7),
        *[("remove buttons", number) for number in (11, 12, 13, 14)],
    ]
    assert open_runs.left_over() == []


async def test_a_prompt_gets_one_word_however_often_its_next_takopi_is_killed(open_runs, settle):
    open_runs.add(PROMPT)
    open_runs.note(-5, 10, "said")
    assert await settle() == [("remove buttons", number) for number in range(11, 18)]
    assert open_runs.left_over() == []


async def test_a_prompt_that_was_answered_as_nobody_waited_is_not_answered_again(
    open_runs, settle, chat, monkeypatch
):
    async def fail(ref):
        raise RuntimeError("killed")

    monkeypatch.setattr(chat, "remove_buttons", fail)
    open_runs.add(PROMPT)
    left_over = LeftOver(chat, open_runs, chat.remove_buttons)
    with pytest.raises(RuntimeError, match="killed"):
        await left_over.settle(PROMPT)
    assert open_runs.left_over() == [OpenRun(-5, 10, 7, state="said")]


async def test_the_progress_of_new_runs_keeps_its_button(open_runs, settle, chat, monkeypatch):
    open_runs.add(PROMPT)
    send = chat.send

    async def send_late(**message):
        open_runs.add(OpenRun(-5, 12))
        return await send(**message)

    monkeypatch.setattr(chat, "send", send_late)
    removed = [number for what, number, *_ in await settle() if what == "remove buttons"]
    assert removed == [11, 13, 14]


async def test_buttons_are_looked_for_nearby_only(open_runs, settle, chat):
    open_runs.add(PROMPT)
    chat.next_id = 10_000
    removed = [number for what, number, *_ in await settle() if what == "remove buttons"]
    assert removed == list(range(11, 19))
    open_runs.add(OpenRun(-5, 12, state="asked"))
    await settle()
    assert chat.done[-1] == ("remove buttons", 20)
    assert len(chat.done) == 2 + 8 + 2  # each is looked at once


async def test_a_run_that_was_answered_is_not_interrupted(open_runs, settle):
    open_runs.note(-5, 15, "answered")  # nobody added it
    assert open_runs.left_over() == []
    open_runs.add(OpenRun(-5, 15, 7, "acme --resume s1"))
    open_runs.note(-5, 15, "answered")
    assert await settle() == [("delete", 15)]
    assert open_runs.left_over() == []


async def test_a_message_that_was_to_become_the_answer_is_interrupted_if_it_has_not(
    open_runs, settle, chat
):
    for chat.has_buttons in (True, False):
        open_runs.add(OpenRun(-5, 15))
        open_runs.note(-5, 15, "answering")
        await settle()
    removed = ("remove buttons", 15)
    assert chat.done == [removed, ("edit", 15, INTERRUPTED), removed]
    assert open_runs.left_over() == []


async def test_a_run_in_flight_is_interrupted_and_can_be_gone_on_with(open_runs, settle):
    open_runs.add(OpenRun(-5, 15, 7, "acme --resume s1"))
    assert await settle() == [("edit", 15, f"{INTERRUPTED}\n\nacme --resume s1")]
    assert open_runs.left_over() == []


async def test_what_cannot_be_said_is_not_said_for_ever(open_runs, settle, chat):
    open_runs.add(PROMPT)
    chat.next_id = None
    assert await settle() == []
    assert open_runs.left_over() == []
