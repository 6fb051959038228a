"""What becomes of messages when whoever sent them does not wait any more, over HTTP."""

import anyio
import pytest

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions
from takopi.telegram.client import BotClient
from takopi.telegram.outbox import Outbox, Rates
from takopi.telegram.presenter import CANCEL_KEYBOARD
from takopi.telegram.transport import TelegramTransport
from tests.fake_telegram import Block
from tests.fake_telegram.fixtures import telegram  # noqa: F401

pytestmark = pytest.mark.anyio

PROGRESS = RenderedMessage("working", {"progress": True, "reply_markup": CANCEL_KEYBOARD})


@pytest.fixture(name="tg")
def fixture_tg(telegram):  # noqa: F811
    return telegram


@pytest.fixture
def dm(tg):
    return tg.private(tg.user(1, "Alice"))


@pytest.fixture
async def transport(tg):
    async with BotClient(tg.token, api_url=tg.url) as bot, Outbox(rates=Rates(0, 0, 0)) as outbox:
        yield TelegramTransport(bot, outbox)


async def give_up(tg, rule, send):
    """Cancel a sender as soon as a rule has its call; let the call go on then."""
    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await tg.until(lambda: rule.fired)
        group.cancel_scope.cancel()
    rule.release()


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_progress_that_is_under_way_is_deleted_once_it_is_posted(tg, dm, transport, phase):
    rule = tg.fail("sendMessage", Block(), phase=phase)
    await give_up(tg, rule, lambda: transport.send(channel_id=dm.id, message=PROGRESS))
    await tg.until(lambda: tg.calls("deleteMessage") and not dm.messages)


async def test_progress_that_is_queued_is_not_posted(tg, dm, transport):
    rule = tg.fail("sendMessage", Block(), when=lambda p: p.values["text"] == "first")
    async with anyio.create_task_group() as group:
        first = RenderedMessage("first")
        group.start_soon(lambda: transport.send(channel_id=dm.id, message=first))
        await tg.until(lambda: rule.fired)
        with anyio.move_on_after(0.05):
            await transport.send(channel_id=dm.id, message=PROGRESS)
        rule.release()
    await transport.send(channel_id=dm.id, message=RenderedMessage("last"))
    assert [message.text for message in dm.messages] == ["first", "last"]


async def test_an_answer_is_posted_and_says_so(tg, dm, transport):
    progress = await transport.send(channel_id=dm.id, message=PROGRESS)
    there = []
    rule = tg.fail("sendMessage", Block())

    async def send():
        seen = lambda: there.append([m.text for m in dm.messages])  # noqa: E731
        answer = RenderedMessage("done", {"on_posted": seen})
        options = SendOptions(replace=progress)
        await transport.send(channel_id=dm.id, message=answer, options=options)

    await give_up(tg, rule, send)
    await tg.until(lambda: [m.text for m in dm.messages] == ["done"])
    assert there == [["working", "done"]]  # before the progress was deleted


async def test_a_keyboard_is_taken_away_and_nothing_else_is_changed(tg, dm, transport):
    shown = await transport.send(channel_id=dm.id, message=PROGRESS)
    assert await transport.remove_buttons(shown)
    assert [(m.text, m.buttons) for m in dm.messages] == [("working", [])]
    assert not await transport.remove_buttons(shown)
    foreign = dm.send("mine")
    assert not await transport.remove_buttons(MessageRef(dm.id, foreign.id))
    assert not await transport.remove_buttons(MessageRef(dm.id, 99))
