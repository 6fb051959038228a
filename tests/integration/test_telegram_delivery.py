"""Runs in a chat of the fake server: what arrives when everything goes wrong, and what is saved."""

import random
import stat
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anyio
import pytest

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions
from takopi.bridge.handle import ExecBridgeConfig, IncomingMessage, handle_message
from takopi.bridge.progress import ProgressTracker
from takopi.model import Action, ActionEvent, ResumeToken
from takopi.telegram.client import BotClient
from takopi.telegram.outbox import Outbox, Rates
from takopi.telegram.presenter import TelegramPresenter, heartbeat_s
from takopi.telegram.transport import TelegramTransport, save_answer
from takopi.testing import Emit, Return, ScriptRunner, Sleep
from tests.fake_telegram import (
    Block,
    Driver,
    Drop,
    FakeBotApi,
    Flood,
    Garbage,
    Http,
    Refuse,
    WrongShape,
)
from tests.fake_telegram.fixtures import telegram  # noqa: F401 - a fixture
from tests.fake_telegram.mock import mock_transport
from tests.support.telegram_rules import errors

pytestmark = pytest.mark.anyio

SPEED = 100  # how much faster than real the outbox lives, where a test waits for it
NO_LIMITS = Rates(0, 0, 0)


@dataclass
class Desk:
    """A transport that is open, and what it is made of."""

    transport: TelegramTransport
    outbox: Outbox
    answers: Path
    topics_gone: list

    @property
    def saved(self):
        return sorted(self.answers.glob("*.md"))


@asynccontextmanager
async def opened(server, folder, *, rates=NO_LIMITS, speed=SPEED):
    async def sleep(seconds):
        await anyio.sleep(seconds / speed)

    gone = []
    async with (
        BotClient(server.token, api_url=server.url, timeout_s=5) as bot,
        Outbox(rates=rates, clock=lambda: time.monotonic() * speed, sleep=sleep) as outbox,
    ):
        answers = folder / "answers"
        transport = TelegramTransport(
            bot,
            outbox,
            answers=answers,
            on_thread_gone=lambda chat, thread: gone.append((chat, thread)),
        )
        yield Desk(transport, outbox, answers, gone)


@pytest.fixture(name="tg")
def fixture_tg(telegram):  # noqa: F811
    return telegram


@pytest.fixture
async def desk(tg, tmp_path):
    async with opened(tg, tmp_path) as desk:
        yield desk


@pytest.fixture
def dm(tg):
    return tg.private(tg.user(1, "Alice"))


def state(steps=0, footer=None):
    tracker = ProgressTracker(engine="codex")
    for number in range(steps):
        action = Action(f"a{number}", "command", f"echo {number}")
        tracker.note_event(ActionEvent("codex", action, "completed", True))
    return tracker.snapshot(context_line=footer)


PRESENTER = TelegramPresenter()
WORKING = PRESENTER.render_progress(state(), elapsed_s=1)


def final(answer="the **answer**", *, status="done", elapsed_s=2, presenter=PRESENTER):
    return presenter.render_final(state(), elapsed_s=elapsed_s, status=status, answer=answer)


def working(text):
    return RenderedMessage(f"working {text}", WORKING.extra)


def to(shown, **options):
    return SendOptions(reply_to=MessageRef(shown.room.id, shown.id), **options)


async def begin(desk, room, prompt=None, **options):
    """A progress message, as a run begins with."""
    where = to(prompt, notify=False, **options) if prompt else SendOptions(notify=False, **options)
    return await desk.transport.send(channel_id=room.id, message=WORKING, options=where)


async def send_final(desk, room, message=None, **options):
    return await desk.transport.send(
        channel_id=room.id, message=message or final(), options=SendOptions(**options)
    )


def texts(room):
    return [view.text for view in room.visible() if view.by == "bot"]


# -- sending, editing, deleting ------------------------------------------------------------------------


async def test_a_final_replaces_the_progress(desk, dm):
    prompt = dm.send("do it")
    progress = await begin(desk, dm, prompt)
    assert dm.visible()[-1].buttons == ("cancel",)
    assert dm.visible()[-1].silent
    ref = await desk.transport.send(
        channel_id=dm.id, message=final(), options=to(prompt, replace=progress)
    )
    (_, shown) = dm.visible()
    assert (shown.id, shown.text) == (ref.message_id, "done · codex · 2s\n\nthe answer")
    assert (shown.reply_to, shown.silent, shown.buttons) == (prompt.id, False, ())
    assert [entity["type"] for entity in shown.entities] == ["bold"]


async def test_an_edit_that_is_not_waited_for_gives_its_message_back(desk, dm):
    progress = await begin(desk, dm)
    assert await desk.transport.edit(ref=progress, message=working("on"), wait=False) is progress
    gone = MessageRef(dm.id, 999)
    assert await desk.transport.edit(ref=gone, message=working("on"), wait=False) is gone
    assert await desk.transport.edit(ref=gone, message=final()) is None
    assert await desk.transport.edit(ref=progress, message=final()) == progress
    assert texts(dm) == [final().text]


async def test_a_chat_may_be_written_as_text(desk, dm):
    ref = await desk.transport.send(channel_id=str(dm.id), message=final())
    assert await desk.transport.edit(ref=ref, message=final("other"))
    assert await desk.transport.delete(ref=MessageRef(str(dm.id), str(ref.message_id)))
    assert texts(dm) == []
    assert list(desk.outbox._lanes) == [dm.id]  # one chat, one pace


async def test_a_deleted_message_counts_as_deleted(desk, dm):
    ref = await send_final(desk, dm)
    assert await desk.transport.delete(ref=ref)
    assert await desk.transport.delete(ref=ref)


async def test_a_queued_edit_is_dropped_for_a_delete_or_a_replacement(tg, desk, dm):
    first, second = await begin(desk, dm), await begin(desk, dm)
    block = tg.fail("sendMessage", Block())
    async with anyio.create_task_group() as group:
        group.start_soon(send_final, desk, dm)
        await tg.until(lambda: len(tg.calls("sendMessage")) == 3)
        for ref in (first, second):
            await desk.transport.edit(ref=ref, message=working("late"), wait=False)
        group.start_soon(lambda: desk.transport.delete(ref=first))
        group.start_soon(lambda: send_final(desk, dm, replace=second))
        await anyio.wait_all_tasks_blocked()
        block.release()
    await tg.until(lambda: not desk.outbox.pending and tg.is_idle())
    assert tg.calls("editMessageText") == []
    assert texts(dm) == [final().text] * 2


async def test_follow_ups_go_where_the_message_went(desk, tg):
    alice = tg.user(1, "Alice")
    forum = tg.forum("team", admins=[alice, tg.bot])
    topic = forum.topic("api")
    prompt = forum.send("hello", by=alice, thread=topic)
    progress = await begin(desk, forum, prompt, thread_id=topic.id)
    message = final("x" * 9000, presenter=TelegramPresenter(overflow="split"))
    options = to(prompt, notify=False, replace=progress, thread_id=topic.id)
    ref = await desk.transport.send(channel_id=forum.id, message=message, options=options)
    shown = [view for view in forum.visible() if view.by == "bot"]
    assert ref.thread_id == topic.id
    assert [view.text.partition("\n")[0] for view in shown] == [
        "done · codex · 2s",
        "done · codex · 2s · continued (2/3)",
        "done · codex · 2s · continued (3/3)",
    ]
    assert {(view.reply_to, view.thread, view.silent) for view in shown} == {
        (prompt.id, topic.id, True)
    }
    assert "".join(view.text.partition("\n\n")[2] for view in shown) == "x" * 9000


async def test_follow_ups_of_an_edit_are_sent_after_it(desk, dm):
    prompt = dm.send("hello")
    progress = await begin(desk, dm, prompt)
    message = final("x" * 9000, presenter=TelegramPresenter(overflow="split"))
    assert await desk.transport.edit(ref=progress, message=message) == progress
    shown = [view for view in dm.visible() if view.by == "bot"]
    assert [view.id for view in shown] == [2, 3, 4]
    assert [view.reply_to for view in shown] == [prompt.id] * 3
    assert [view.buttons for view in shown] == [()] * 3


async def test_follow_ups_stay_together(desk, dm):
    message = final("x" * 9000, presenter=TelegramPresenter(overflow="split"))
    async with anyio.create_task_group() as group:
        group.start_soon(send_final, desk, dm, message)
        group.start_soon(send_final, desk, dm, final("other"))
    assert [len(text) > 1000 for text in texts(dm)] in ([True] * 3 + [False], [False] + [True] * 3)


async def test_a_text_that_is_too_long_is_split_whoever_made_it(desk, dm):
    await desk.transport.send(channel_id=dm.id, message=RenderedMessage("🐙 " * 3000))
    assert "".join(text.replace(" ", "") for text in texts(dm)) == "🐙" * 3000
    progress = await begin(desk, dm)
    await desk.transport.edit(ref=progress, message=RenderedMessage("y" * 5000))
    assert "".join(texts(dm)[-2:]) == "y" * 5000


async def test_progress_that_is_too_long_is_cut(desk, dm):
    progress = await begin(desk, dm)
    await desk.transport.edit(ref=progress, message=RenderedMessage("y" * 5000, {"progress": True}))
    assert [len(text) for text in texts(dm)] == [4096]


# -- never lost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "times"),
    [(Drop("unread"), 3), (Drop("before"), 1), (Http(502), 2), (Http(500), 4), (Http(504), 1)],
)
async def test_f13_an_answer_outlasts_trouble_and_arrives_once(tg, desk, dm, fault, times):
    progress = await begin(desk, dm)
    tg.fail("sendMessage", fault, times=times)
    assert await send_final(desk, dm, replace=progress)
    assert texts(dm) == [final().text]
    assert desk.saved == []


@pytest.mark.parametrize("fault", [Drop("after"), Garbage()])
async def test_f13_an_answer_that_may_have_arrived_is_sent_twice_at_most(tg, desk, dm, fault):
    tg.fail("sendMessage", fault, times=1, phase="after")
    assert await send_final(desk, dm)
    assert texts(dm) == [final().text] * 2


async def test_f13_a_network_that_was_down_for_a_while(tg, desk, dm):
    with tg.offline():
        async with anyio.create_task_group() as group:
            group.start_soon(send_final, desk, dm)
            await tg.until(lambda: desk.outbox.pending == 1)
            group.cancel_scope.cancel()  # nobody waits any longer
    await tg.until(lambda: texts(dm) == [final().text])


@pytest.mark.parametrize("said", ["message to be replied not found", "replied message not found"])
async def test_f07_the_prompt_was_deleted_meanwhile(tg, desk, dm, said):
    prompt = dm.send("do it")
    progress = await begin(desk, dm, prompt)
    dm.delete(prompt)
    tg.fail("sendMessage", Refuse(400, f"Bad Request: {said}"))
    options = to(prompt, replace=progress)
    assert await desk.transport.send(channel_id=dm.id, message=final(), options=options)
    assert texts(dm) == [final().text]
    assert dm.visible()[0].reply_to is None


async def test_f08_the_topic_was_deleted_meanwhile(tg, desk):
    alice = tg.user(1, "Alice")
    forum = tg.forum("team", admins=[alice, tg.bot])
    topic = forum.topic("api")
    progress = await begin(desk, forum, thread_id=topic.id)
    topic.delete()
    assert await begin(desk, forum, thread_id=topic.id) is None  # progress is not worth it
    assert await send_final(desk, forum, replace=progress, thread_id=topic.id)
    assert final().text in texts(forum)
    assert set(desk.topics_gone) == {(forum.id, topic.id)}


async def test_f39_refused_entities_leave_plain_text(tg, desk, dm):
    tg.fail("sendMessage", Refuse(400, "Bad Request: can't parse entities: …"))
    ref = await send_final(desk, dm)
    tg.fail("editMessageText", Refuse(400, "Bad Request: can't parse entities: …"))
    assert await desk.transport.edit(ref=ref, message=final("a **new** one"))
    (shown,) = dm.visible()
    assert (shown.text, shown.entities) == (final("a **new** one").text, ())


async def test_f39_what_is_sent_is_within_the_limits(tg, desk, dm):
    message = final("\n".join(f"[link {n}](http://x.y/{n}) 🐙" for n in range(6)))
    assert errors(message.text, message.extra["entities"]) == []
    assert len(message.extra["entities"]) <= 100
    many = [{"type": "bold", "offset": n, "length": 1} for n in range(150)]
    assert await desk.transport.send(
        channel_id=dm.id, message=RenderedMessage("x" * 150, {"entities": many})
    )
    (call,) = tg.calls("sendMessage")
    assert call.params.nested("entities") == many[:100]


async def test_an_answer_that_the_server_finds_too_long_is_cut_and_saved_whole(tg, desk, dm):
    answer = "\n\n".join(f"paragraph {n}" for n in range(200))
    tg.fail("sendMessage", Refuse(400, "Bad Request: message is too long"))
    assert await send_final(desk, dm, final(answer))
    (shown,) = texts(dm)
    assert shown.startswith("done · codex · 2s\n\nparagraph 0")
    assert shown.endswith("…")
    assert desk.saved[0].read_text() == f"done · codex · 2s\n\n{answer}\n"


async def test_f06_an_edit_without_a_change_is_no_failure(desk, dm):
    progress = await begin(desk, dm)
    assert await desk.transport.edit(ref=progress, message=final())
    assert await desk.transport.edit(ref=progress, message=final()) == progress
    assert texts(dm) == [final().text]


async def test_f35_an_answer_that_cannot_be_sent_is_shown_in_the_progress_message(tg, desk, dm):
    progress = await begin(desk, dm)
    tg.fail("sendMessage", Refuse(400, "Bad Request: something new"), times=None)
    assert await send_final(desk, dm, replace=progress) == progress
    (shown,) = dm.visible()
    assert (shown.text, shown.buttons) == (final().text, ())
    assert desk.saved == []


async def test_f35_a_progress_message_that_cannot_be_deleted_loses_its_button(tg, desk, dm):
    progress = await begin(desk, dm)
    tg.fail("deleteMessage", Refuse(400, "Bad Request: message can't be deleted for everyone"))
    assert await send_final(desk, dm, replace=progress)
    await tg.until(lambda: dm.visible()[0].buttons == ())
    assert texts(dm) == ["done · codex · 2s", final().text]


async def test_a_replaced_message_is_deleted_however_long_it_takes(tg, desk, dm):
    progress = await begin(desk, dm)
    tg.fail("deleteMessage", Http(502), times=6)
    assert await send_final(desk, dm, replace=progress)
    assert texts(dm) == [final().text]


async def test_an_answer_that_cannot_be_delivered_is_saved(tg, desk, dm, caplog):
    progress = await begin(desk, dm)
    dm.block_bot()
    assert await send_final(desk, dm, final("the **whole** answer"), replace=progress) is None
    (path,) = desk.saved
    assert path.read_text() == "done · codex · 2s\n\nthe **whole** answer\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert str(path) in caplog.text
    assert "whole" not in caplog.text
    tg.accept("live-button")  # the user blocked the bot: it can change nothing there


NO_WAY_OUT = [
    Refuse(401, "Unauthorized"),
    Refuse(403, "Forbidden: bot was kicked from the group chat"),
    Refuse(400, "Bad Request: chat not found"),
    Refuse(400, "Bad Request: message to be replied not found"),
    Refuse(400, "Bad Request: message thread not found"),
    Refuse(400, "Bad Request: TOPIC_CLOSED"),
    Refuse(404, "Not Found"),
    Refuse(409, "Conflict"),
    Http(413),
    Http(200),
    WrongShape({"message_id": None}),
    Drop("before"),
    Drop("middle"),
]
# Nothing can be shown in a chat that is another one now.
MOVED = Refuse(400, "Bad Request: group chat was upgraded", {"migrate_to_chat_id": -100999})


@pytest.mark.parametrize(
    ("fault", "shown"),
    [*((f, True) for f in NO_WAY_OUT), *((f, False) for f in [*NO_WAY_OUT, MOVED])],
)
async def test_every_way_out_ends_in_the_chat_or_in_a_file(tg, desk, dm, fault, shown, caplog):
    progress = await begin(desk, dm)
    tg.fail("sendMessage", fault, times=None)
    if not shown:
        tg.fail("editMessageText", Refuse(403, "Forbidden"), times=None)
    ref = await send_final(desk, dm, replace=progress)
    if shown:
        assert ref == progress
        assert final().text in texts(dm)
        assert desk.saved == []
    else:
        assert ref is None
        (path,) = desk.saved
        assert path.read_text() == "done · codex · 2s\n\nthe **answer**\n"
        assert str(path) in caplog.text
        tg.accept("live-button")
    assert len(tg.calls("sendMessage")) <= 6


async def test_f13_after_ten_minutes_without_a_network_an_answer_is_saved(tg, tmp_path, dm):
    async with opened(tg, tmp_path, speed=3000) as desk:
        with tg.offline():
            started = time.monotonic()
            assert await send_final(desk, dm) is None
            assert time.monotonic() - started > 500 / 3000
        assert len(desk.saved) == 1


async def test_an_answer_that_is_one_too_many_is_saved(tg, tmp_path, dm):
    block = tg.fail("sendMessage", Block())
    async with (
        BotClient(tg.token, api_url=tg.url) as bot,
        Outbox(rates=NO_LIMITS, max_pending=1) as outbox,
        anyio.create_task_group() as group,
    ):
        desk = Desk(TelegramTransport(bot, outbox, answers=tmp_path), outbox, tmp_path, [])
        group.start_soon(send_final, desk, dm, final("first"))
        await tg.until(lambda: tg.calls("sendMessage"))
        group.start_soon(send_final, desk, dm, final("second"))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(send_final, desk, dm, final("third"))
        await anyio.wait_all_tasks_blocked()
        block.release()
    assert [text.splitlines()[-1] for text in texts(dm)] == ["first", "third"]
    assert [path.read_text().splitlines()[-1] for path in desk.saved] == ["second"]


async def test_a_bug_on_the_way_saves_the_answer(desk, dm, monkeypatch):
    async def fail(self, post):
        raise KeyError("bug")

    monkeypatch.setattr(BotClient, "send_message", fail)
    assert await send_final(desk, dm) is None
    assert len(desk.saved) == 1


async def test_f14_an_answer_that_is_under_way_at_the_end_is_saved(tg, tmp_path, dm):
    block = tg.fail("sendMessage", Block())
    async with opened(tg, tmp_path, speed=50) as desk, anyio.create_task_group() as group:
        group.start_soon(send_final, desk, dm)
        await tg.until(lambda: tg.calls("sendMessage"))
        await desk.transport.close()
    assert len(desk.saved) == 1
    block.release()


async def test_answers_of_one_second_are_saved_side_by_side(tmp_path):
    paths = [save_answer(tmp_path / "a", -5, f"answer {n}") for n in range(20)]
    assert [path.read_text() for path in paths] == [f"answer {n}\n" for n in range(20)]
    assert len(set(paths)) == 20


async def test_where_nothing_can_be_saved_it_is_said(tg, tmp_path, dm, caplog):
    (tmp_path / "answers").write_text("in the way")
    dm.block_bot()
    async with opened(tg, tmp_path) as desk:
        assert await send_final(desk, dm) is None
    assert "answer.lost" in caplog.text


async def test_without_a_folder_it_is_said_that_an_answer_is_lost(dm, caplog):
    async with BotClient("1:a", api_url="http://127.0.0.1:9") as bot, Outbox() as outbox:
        await outbox.close()
        ref = await TelegramTransport(bot, outbox).send(channel_id=dm.id, message=final())
    assert ref is None
    assert "answer.lost" in caplog.text


async def test_progress_and_replies_are_not_saved(desk, dm):
    dm.block_bot()
    assert await begin(desk, dm) is None
    assert await desk.transport.send(channel_id=dm.id, message=RenderedMessage("reply")) is None
    assert desk.saved == []


async def test_a_lost_follow_up_saves_the_whole_answer_once(tg, desk, dm):
    tg.fail("sendMessage", Refuse(403, "Forbidden"), times=2, nth=2)
    message = final("x" * 9000, presenter=TelegramPresenter(overflow="split"))
    assert await send_final(desk, dm, message)
    (path,) = desk.saved
    assert "x" * 9000 in path.read_text()


# -- the end -------------------------------------------------------------------------------------------


async def test_f14_answers_are_delivered_while_closing_and_saved_if_that_fails(tg, tmp_path, dm):
    bob = tg.private(tg.user(2, "Bob"))
    async with opened(tg, tmp_path, speed=5) as desk:
        progress = await begin(desk, dm)
        stuck = tg.fail("sendMessage", Flood(100), chat=bob)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: send_final(desk, dm, replace=progress))
            group.start_soon(lambda: send_final(desk, bob, final("stuck")))
            await tg.until(lambda: stuck.fired)
            group.cancel_scope.cancel()
        await desk.transport.close()
        assert await send_final(desk, dm, final("late")) is None
    assert texts(dm) == [final().text]
    assert sorted(path.read_text().splitlines()[-1] for path in desk.saved) == ["late", "stuck"]


async def test_f14_an_edit_that_nobody_waits_for_any_more_is_saved_if_it_fails(tg, desk, dm):
    progress = await begin(desk, dm)
    block = tg.fail("editMessageText", Block())
    with anyio.move_on_after(0.05):
        await desk.transport.edit(ref=progress, message=final("the end"))
    dm.delete(dm.messages[0])
    block.release()
    await tg.until(lambda: desk.saved)


async def test_an_edit_that_fails_while_its_caller_gives_up_is_saved(desk, dm):
    progress = await begin(desk, dm)
    dm.delete(dm.messages[0])
    write = desk.transport.editing
    scope = anyio.CancelScope()

    def editing(*args):
        operation = write(*args)
        action = operation.action

        async def act():
            result = await action()
            scope.cancel()  # the outcome comes before the cancellation gets there
            return result

        operation.action = act
        return operation

    desk.transport.editing = editing
    with scope:
        await desk.transport.edit(ref=progress, message=final("the end"))
    assert scope.cancelled_caught
    assert [path.read_text().splitlines()[-1] for path in desk.saved] == ["the end"]


# -- long answers --------------------------------------------------------------------------------------

SPLIT = TelegramPresenter(overflow="split")
SECTION = (
    "## Part\n\nSome **bold** text with `code`.\n\n- item\n  - nested\n\n```py\nx = 1\n```\n\n"
)


def bodies(room):
    return "\n\n".join(text.partition("\n\n")[2] for text in texts(room))


@pytest.mark.parametrize("anew", [True, False])
async def test_all_of_a_long_answer_arrives(tg, desk, dm, anew):
    answer = "\n\n".join(f"paragraph **{n}** of many" for n in range(500))
    prompt = dm.send("do it")
    progress = await begin(desk, dm, prompt)
    message = final(answer, presenter=SPLIT)
    assert "whole" in message.extra
    if anew:
        options = to(prompt, replace=progress)
        assert await desk.transport.send(channel_id=dm.id, message=message, options=options)
    else:
        assert await desk.transport.edit(ref=progress, message=message) == progress
    assert bodies(dm) == answer.replace("**", "")
    shown = [view for view in dm.visible() if view.by == "bot"]
    assert {(view.reply_to, view.buttons) for view in shown} == {(prompt.id, ())}
    assert all(view.entities for view in shown)


async def test_a_long_answer_is_trimmed(desk, dm):
    link = "[word](https://example.com/a/long/way/to/get/there) "
    assert await send_final(desk, dm, final(link * 600))
    assert bodies(dm) == ("word " * 600).rstrip()
    assert await send_final(desk, dm, final("x" * 20_000))
    assert texts(dm)[-1].endswith("\n\n" + "x" * 3499 + "…")


async def test_the_beginning_of_a_long_answer_is_a_message_in_itself():
    for presenter in (PRESENTER, SPLIT):
        message = final(SECTION * 500, presenter=presenter)
        assert errors(message.text, message.extra["entities"]) == []
        assert message.text.startswith("done · codex · 2s\n\nPart\n\nSome bold")
        assert message.text.endswith("…")


async def test_a_long_answer_is_sent_though_nobody_waits_any_more(tg, desk, dm):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await send_final(desk, dm, final("x" * 20_000, presenter=SPLIT))
    assert scope.cancelled_caught
    await tg.until(lambda: bodies(dm).replace("\n", "") == "x" * 20_000)


async def test_a_long_answer_that_cannot_be_rendered_arrives_as_it_is(desk, dm, caplog):
    message = final("one **two** " * 1000)

    def fail():
        raise KeyError("bug")

    message.extra["whole"] = fail
    assert await send_final(desk, dm, message)
    assert "".join(texts(dm)).replace(" ", "").endswith("one**two**" * 1000)
    assert "telegram.render_failed" in caplog.text


async def test_a_long_answer_holds_nobody_up(desk, dm):
    final("x")  # loads the parser
    answer = SECTION * (100_000 // len(SECTION))
    ticks, spent = [], []

    async def tick():
        while True:
            ticks.append(anyio.current_time())
            await anyio.sleep(0.002)

    started = time.thread_time()
    message = final(answer, presenter=SPLIT)
    at_once = time.thread_time() - started
    whole = message.extra["whole"]

    def render():
        begun, so_far = time.thread_time(), len(ticks)
        whole()
        spent.append((time.thread_time() - begun, len(ticks) - so_far))
        return RenderedMessage("short", {"entities": []})

    message.extra["whole"] = render
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await send_final(desk, dm, message)
        group.cancel_scope.cancel()
    ((in_the_thread, meanwhile),) = spent
    assert at_once < in_the_thread / 2
    assert meanwhile > 3


# -- the presenter -------------------------------------------------------------------------------------


def test_buttons_and_endings():
    cancel = [[{"text": "cancel", "callback_data": "takopi:cancel"}]]
    for label in ("starting", "working", "queued"):
        message = PRESENTER.render_progress(state(3), elapsed_s=61, label=label)
        assert message.extra["reply_markup"] == {"inline_keyboard": cancel}
        assert message.extra["progress"] is True
        assert message.text.startswith(f"{label} · codex · 1m 01s · step 3\n\n✓ echo 0\n✓ echo 1")
    for message in (
        PRESENTER.render_progress(state(3), elapsed_s=61, label="`cancelled`"),
        final(),
        final(status="error"),
    ):
        assert message.extra["reply_markup"] == {"inline_keyboard": []}
        assert "progress" not in message.extra


@pytest.mark.parametrize("size", [3600, 9000])
def test_a_long_answer_is_trimmed_or_split(size):
    trimmed, split = final("x" * size), final("x" * size, presenter=SPLIT)
    assert split.extra["answer"] == trimmed.extra["answer"] == f"done · codex · 2s\n\n{'x' * size}"
    for message in (trimmed, split) if size > 4000 else (trimmed,):
        assert message.text.endswith("\n\n" + "x" * 3499 + "…")
    trimmed, split = (m.extra.get("whole", lambda m=m: m)() for m in (trimmed, split))
    assert trimmed.text.endswith("x…")
    assert "followups" not in trimmed.extra
    assert len(split.extra["followups"]) == size // 3500


def test_f33_a_late_error_is_loud():
    assert final("boom", status="error", elapsed_s=31).extra["loud"] is True
    for quiet in (
        final("boom", status="error", elapsed_s=30),
        final("fine", elapsed_s=99),
        final("boom", status="error", elapsed_s=99, presenter=TelegramPresenter(loud_after_s=None)),
    ):
        assert "loud" not in quiet.extra


async def test_f33_a_late_error_is_a_new_message_with_sound(desk, dm):
    prompt = dm.send("do it")
    progress = await begin(desk, dm, prompt)
    ref = await desk.transport.edit(
        ref=progress, message=final("boom", status="error", elapsed_s=31)
    )
    (_, shown) = dm.visible()
    assert (shown.id, shown.silent, shown.reply_to) == (ref.message_id, False, prompt.id)
    early = await begin(desk, dm, prompt)
    await desk.transport.edit(ref=early, message=final("boom", status="error", elapsed_s=3))
    assert dm.visible()[-1].id == early.message_id
    assert dm.visible()[-1].silent


def test_f34_the_elapsed_time_moves_slower_in_groups():
    assert (heartbeat_s(5), heartbeat_s(-100)) == (15.0, 30.0)


# -- runs ----------------------------------------------------------------------------------------------


async def run(
    desk, room, script, *, prompt=None, final_notify=True, presenter=PRESENTER, **options
):
    prompt = prompt or room.send("do it")
    cfg = ExecBridgeConfig(desk.transport, presenter, final_notify, refresh_s=None)
    runner = ScriptRunner(script, engine="codex", resume_value="s1")
    incoming = IncomingMessage(room.id, prompt.id, prompt.text)
    await handle_message(cfg, runner=runner, incoming=incoming, resume_token=None, **options)


def echo(number):
    action = Action(f"a{number}", "command", f"echo {number}")
    return Emit(ActionEvent("codex", action, "completed", True))


async def test_a_run_ends_in_one_message(tg, desk, dm):
    await run(desk, dm, [echo(1), Sleep(0.02), echo(2), Return("all done")])
    (_, shown) = dm.visible()
    assert shown.text.startswith("done · codex · 0s · step 2\n\nall done\n\ncodex resume s1")
    assert len(tg.calls("sendMessage")) == 2


async def test_without_sound_the_answer_takes_the_place_of_the_progress(tg, desk, dm):
    await run(desk, dm, [Return("x" * 10_000)], final_notify=False)
    (_, shown) = dm.visible()
    assert shown.text.startswith("done · codex")
    assert len(tg.calls("sendMessage")) == 1


async def test_f34_a_silent_run_moves_on_with_its_heartbeat(tg, desk, dm):
    now, beats = [0.0], []

    async def sleep(seconds):
        beats.append(seconds)
        now[0] += seconds
        await anyio.sleep(0.02 if len(beats) < 4 else 9)

    prompt = dm.send("do it")
    cfg = ExecBridgeConfig(desk.transport, PRESENTER, True, refresh_s=heartbeat_s(dm.id))
    await handle_message(
        cfg,
        runner=ScriptRunner([Sleep(0.3), Return("ok")], engine="codex", resume_value="s1"),
        incoming=IncomingMessage(dm.id, prompt.id, "x"),
        resume_token=ResumeToken("codex", "s1"),
        clock=lambda: now[0],
        sleep=sleep,
    )
    assert set(beats) == {15.0}
    shown = [call.params.values["text"].split("\n")[0] for call in tg.calls("editMessageText")]
    assert {f"working · codex · {elapsed}" for elapsed in ("30s", "45s", "1m 00s")} & set(shown)


async def test_f11_runs_in_flood_mode_cause_no_rate_limit(tg, tmp_path):
    scale = 0.02
    tg.api.limiter.mode = "enforce"
    rooms = [tg.private(tg.user(n, f"User {n}")) for n in range(1, 4)]
    alice = tg.user(1)
    rooms += [tg.group(f"g{n}", admins=[alice, tg.bot]) for n in range(2)]
    script = [*(step for n in range(100) for step in (echo(n), Sleep(0.002))), Return("ok")]
    async with opened(tg, tmp_path, rates=Rates(), speed=1 / scale) as desk:
        async with anyio.create_task_group() as group:
            for room in rooms:
                prompt = room.send("do it", by=alice if room.id < 0 else None)
                group.start_soon(lambda r=room, p=prompt: run(desk, r, script, prompt=p))
        assert not tg.api.limiter.log
        for room in rooms:
            (only,) = texts(room)
            assert only.startswith("done · codex")


async def test_a_user_who_deletes_the_progress_gets_the_answer_all_the_same(tg, desk, dm):
    async with anyio.create_task_group() as group:
        script = [echo(1), Sleep(0.1), echo(2), Sleep(0.05), Return("here it is")]
        group.start_soon(lambda: run(desk, dm, script, final_notify=False))
        await tg.until(lambda: texts(dm))
        dm.delete(dm.messages[-1])
    (shown,) = texts(dm)
    assert "here it is" in shown
    assert len(tg.calls("editMessageText")) <= 4


async def test_a_rate_limited_edit_gives_way_to_the_answer(tg, tmp_path, dm):
    async with opened(tg, tmp_path, speed=1) as desk:
        progress = await begin(desk, dm)
        flood = tg.fail("editMessageText", Flood(0.3))
        await desk.transport.edit(ref=progress, message=working("stale"), wait=False)
        await tg.until(lambda: flood.fired)
        await send_final(desk, dm, replace=progress)
    calls = [call.method for call in tg.calls()]
    assert calls == ["sendMessage", "editMessageText", "sendMessage", "deleteMessage"]
    assert texts(dm) == [final().text]


async def test_a_group_that_moves_during_the_run_gets_the_answer(tg, desk):
    alice = tg.user(1, "Alice")
    old = tg.group("team", kind="group", admins=[alice], members=[tg.bot])
    prompt = old.send("do it", by=alice)
    async with anyio.create_task_group() as group:
        script = [Sleep(0.1), Return("after the move")]
        group.start_soon(lambda: run(desk, old, script, prompt=prompt))
        await tg.until(lambda: texts(old))
        new = old.upgrade(by=alice)
    assert "after the move" in texts(new)[0]
    tg.accept("live-button")  # nobody can write to the old group any more


class Noting(TelegramPresenter):
    """Knows which answers there were."""

    def __init__(self):
        super().__init__(overflow="split")
        self.answers = []

    def render_final(self, state, *, elapsed_s, status, answer):
        self.answers.append(answer)
        return super().render_final(state, elapsed_s=elapsed_s, status=status, answer=answer)


@pytest.mark.parametrize("end", ["late", "closed early", "cancelled early"])
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_fails_every_answer_is_in_the_chat_or_in_a_file(tg, tmp_path, seed, end):
    pick, presenter = random.Random(seed), Noting()
    trouble = [
        Http(502), Drop("unread"), Drop("before"), Flood(0.01), Refuse(403, "Forbidden"),
        Refuse(400, "Bad Request: message thread not found"), Refuse(400, "Bad Request: odd"),
        Refuse(400, "Bad Request: message to be replied not found"), Garbage(),
    ]  # fmt: skip
    tg.accept("live-button", "early-after-429")
    for _ in range(25):
        method = pick.choice(["sendMessage", "sendMessage", "editMessageText", "deleteMessage"])
        tg.fail(method, pick.choice(trouble), nth=pick.randrange(1, 12))
    rooms = [tg.private(tg.user(n, f"User {n}")) for n in range(1, 5)]
    async with opened(tg, tmp_path) as desk, anyio.create_task_group() as group:
        for number in range(16):
            answer = f"answer-{number}. {'word ' * pick.choice([0, 0, 1500])} end-{number}."
            script = [echo(1), Sleep(pick.random() / 50), echo(2), Return(answer)]
            options = {"final_notify": pick.random() < 0.7, "presenter": presenter}
            room = pick.choice(rooms)
            group.start_soon(lambda s=script, r=room, o=options: run(desk, r, s, **o))
        if end != "late":
            await tg.until(lambda: len(presenter.answers) >= 8)
        if end == "closed early":
            await desk.transport.close()
        elif end == "cancelled early":
            group.cancel_scope.cancel()
    everything = "\n".join([*(t for room in rooms for t in texts(room))])
    everything += "\n".join(path.read_text() for path in desk.saved)
    assert len(presenter.answers) >= (16 if end == "late" else 8)
    for answer in presenter.answers:
        first, *_, last = answer.split()
        assert first in everything
        assert last in everything


class Model:
    """What a chat must show in the end: the last edit of every message that is left."""

    def __init__(self, seed, desk, api):
        self.random = random.Random(seed)
        self.desk = desk
        self.driver = Driver(api)
        self.rooms = [self.driver.private(self.driver.user(n)) for n in range(1, 5)]
        self.expected = {}
        self.numbers = count()

    def fail(self, method):
        faults = [Http(502), Http(500), Flood(0)]
        if method != "sendMessage":  # doing these twice shows the same
            faults += [Drop("after"), Garbage()]
        fault = self.random.choice(faults)
        self.driver.fail(method, fault, nth=self.random.randrange(1, 8))

    def message(self):
        text = f"message {next(self.numbers)}"
        progress = self.random.random() < 0.5
        return RenderedMessage(text, {"progress": True} if progress else {})

    async def step(self):
        transport, pick = self.desk.transport, self.random
        message, ref = self.message(), pick.choice([None, *self.expected])
        action = pick.choice(["send", "edit", "edit", "later", "later", "replace", "delete"])
        if ref is None or action == "send":
            room = pick.choice(self.rooms)
            sent = await transport.send(channel_id=room.id, message=RenderedMessage(message.text))
            self.expected[sent] = message.text
        elif action == "replace":
            options = SendOptions(replace=ref)
            sent = await transport.send(
                channel_id=ref.channel_id, message=RenderedMessage(message.text), options=options
            )
            del self.expected[ref]
            self.expected[sent] = message.text
        elif action == "delete":
            assert await transport.delete(ref=ref)
            del self.expected[ref]
        else:
            await transport.edit(ref=ref, message=message, wait=action == "edit")
            self.expected[ref] = message.text

    def shown(self):
        return {
            MessageRef(room.id, shown.id): shown.text
            for room in self.rooms
            for shown in room.messages
        }


@pytest.mark.parametrize("seed", range(20))
async def test_in_the_end_a_chat_shows_what_it_was_told_last(tmp_path, seed):
    async def sleep(seconds):
        await anyio.sleep(seconds / 1000)

    api = FakeBotApi()
    bot = BotClient(api.token, transport=mock_transport(api))
    clock = {"clock": lambda: time.monotonic() * 1000, "sleep": sleep}
    async with bot, Outbox(rates=NO_LIMITS, **clock) as outbox:
        desk = Desk(TelegramTransport(bot, outbox), outbox, tmp_path, [])
        model = Model(seed, desk, api)
        for method in ("sendMessage", "editMessageText", "deleteMessage"):
            for _ in range(3):  # as often as anything is tried again
                model.fail(method)
        for _ in range(30):
            await model.step()
        await model.driver.until(lambda: not outbox.pending and not outbox._active)
    assert model.shown() == model.expected
