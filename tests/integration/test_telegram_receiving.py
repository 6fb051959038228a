"""From a server that behaves like Telegram to prompts: poller, intake and gather together."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest

from takopi.errors import ConfigError
from takopi.telegram.client import BotClient
from takopi.telegram.gather import Gather
from takopi.telegram.mentions import BotIdentity, invokes
from takopi.telegram.polling import Poller
from takopi.telegram.updates import Access, Callback, InboundMessage, Intake
from tests.fake_telegram import FakeBotApi, FakeTelegram, Flood, Http, Options

pytestmark = pytest.mark.anyio

WINDOW_S = 0.3


class Receiver:
    """The road from the server to a prompt."""

    def __init__(self, tg, bot, *rooms):
        self.intake = Intake(lambda: Access(frozenset(room.id for room in rooms)))
        self.messages, self.callbacks, self.prompts, self.albums = [], [], [], []
        self.naps = []
        self.poller = Poller(bot, sleep=self.nap)
        self.gather = Gather(
            forward_coalesce_s=WINDOW_S,
            media_group_debounce_s=WINDOW_S,
            on_prompt=self.prompts.append,
            on_album=self.albums.append,
        )

    @property
    def texts(self):
        return [prompt.prompt(prompt.text) for prompt in self.prompts]

    async def nap(self, seconds):
        self.naps.append(seconds)
        await anyio.sleep(0.01)

    async def handle(self, raw):
        found = self.intake.take(raw)
        if isinstance(found, Callback):
            self.callbacks.append(found)
        elif isinstance(found, InboundMessage):
            self.messages.append(found)
            if found.album_id is not None:
                self.gather.add_album_part(found)
            elif found.is_forward:
                self.gather.add_forward(found)
            else:
                self.gather.add_prompt(found)


@asynccontextmanager
async def receiving(tg, *rooms):
    async with BotClient(tg.token, api_url=tg.url) as bot:
        receiver = Receiver(tg, bot, *rooms)
        async with anyio.create_task_group() as group:
            group.start_soon(receiver.gather.run)
            group.start_soon(receiver.poller.run, receiver.handle)
            yield receiver
            group.cancel_scope.cancel()


@pytest.fixture
def tg():
    with FakeTelegram() as found:
        yield found
        assert found.violations == []


@pytest.fixture
def ann(tg):
    return tg.user(42, "Ann")


@pytest.fixture
def dm(tg, ann):
    return tg.private(ann)


async def test_f17_what_was_sent_meanwhile_is_drained_and_counted(tg, ann, dm):
    stranger = tg.private(tg.user(43, "Ben"))
    for text in "abc":
        dm.send(text)
    stranger.send("let me in")
    async with BotClient(tg.token, api_url=tg.url) as bot:
        receiver = Receiver(tg, bot, dm)
        assert await receiver.poller.drain(receiver.intake.is_wanted_message) == 3
        dm.send("now")
        async with anyio.create_task_group() as group:
            group.start_soon(receiver.poller.run, receiver.handle)
            await tg.until(lambda: receiver.messages)
            group.cancel_scope.cancel()
    assert [message.text for message in receiver.messages] == ["now"]


@pytest.mark.parametrize("one_by_one", [False, True], ids=["one batch", "batch by batch"])
@pytest.mark.parametrize("legacy", [False, True], ids=["forward_origin", "forward_date too"])
async def test_f10_a_comment_and_its_forwards_are_one_prompt(one_by_one, legacy):
    with FakeTelegram(FakeBotApi(options=Options(legacy_forward_fields=legacy))) as tg:
        dm = tg.private(tg.user(42, "Ann"))
        if one_by_one:
            tg.one_by_one()
        async with receiving(tg, dm) as r:
            with tg.held():
                dm.forward(["a", "b", "c"], comment="summarize")
            await tg.until(lambda: r.prompts)
            await anyio.sleep(WINDOW_S)
            assert r.texts == ["summarize\n\na\n\nb\n\nc"]


async def test_f24_a_long_text_is_one_prompt_and_two_quick_ones_are_two(tg, dm):
    text = "word " * 2000
    async with receiving(tg, dm) as r:
        dm.send_long(text)
        await tg.until(lambda: r.prompts)
        assert r.texts[0].replace("\n", "").split() == text.split()
        with tg.held():
            dm.send("first")
            dm.send("second")
        await tg.until(lambda: len(r.prompts) == 3)
        assert r.texts[1:] == ["first", "second"]


async def test_an_album_comes_as_one(tg, dm):
    async with receiving(tg, dm) as r:
        dm.album([("1.jpg", b"1"), ("2.jpg", b"2")], caption="look")
        await tg.until(lambda: r.albums)
        assert [[part.text for part in album] for album in r.albums] == [["look", ""]]


async def test_f09_a_poisoned_update_between_two_prompts_harms_neither(tg, ann, dm):
    async with receiving(tg, dm) as r:
        with tg.held():
            dm.send("before")
            tg.push("message", {"message_id": "x", "chat": {"id": dm.id}, "text": "poison"})
            tg.push("callback_query", None)
            dm.send("after")
        await tg.until(lambda: len(r.prompts) == 2)
        assert r.texts == ["before", "after"]
        assert r.naps == []


async def test_f18_a_redelivered_message_is_one_prompt(tg, dm):
    async with receiving(tg, dm) as r:
        with tg.held():
            sent = dm.send("hello")
            tg.repeat(sent)
            tg.repeat(sent)
            dm.send("next")
        await tg.until(lambda: len(r.prompts) == 2)
        assert r.texts == ["hello", "next"]


async def test_f08_a_thread_of_an_ordinary_group_is_none_but_a_topic_is(tg, ann):
    group, forum = tg.group(members=[ann]), tg.forum("api", members=[ann])
    async with receiving(tg, group, forum) as r:
        root = group.send("question", by=ann)
        group.send("answer", by=ann, reply_to=root)
        topic = forum.topic("bugs")
        topic.send("hi", by=ann)
        await tg.until(lambda: len(r.messages) == 3)
        assert [m.thread_id for m in r.messages] == [None, None, topic.id]
        assert r.messages[1].reply_to.text == "question"


async def test_the_implicit_reply_of_a_topic_invokes_nobody():
    with FakeTelegram(FakeBotApi(options=Options(implicit_topic_reply=True))) as tg:
        ann = tg.user(42, "Ann")
        forum = tg.forum(members=[ann])
        topic = forum.topic("bugs")  # opened by the bot
        me = BotIdentity(tg.bot.id, tg.bot.username)
        async with receiving(tg, forum) as r:
            topic.send("just talking", by=ann)
            topic.send(f"hey @{tg.bot.username.upper()}", by=ann)
            await tg.until(lambda: len(r.messages) == 2)
            assert [invokes(m, me, frozenset()) for m in r.messages] == [False, True]


async def test_f16_trouble_costs_time_but_no_message(tg, dm, caplog):
    tg.fail("getUpdates", Http(502), times=2)
    tg.fail("getUpdates", Flood(7.5), times=1)
    async with receiving(tg, dm) as r:
        dm.send("hello")
        await tg.until(lambda: r.prompts)
        with tg.rival():
            await tg.until(lambda: 10.0 in r.naps)
            dm.send("while another one polls")
        await tg.until(lambda: len(r.prompts) == 2)
    assert r.naps[2] == 7.5
    assert "another program fetches the updates of this bot" in caplog.text
    assert tg.token not in caplog.text


async def test_f16_a_revoked_token_ends_it(tg, dm):
    async with BotClient(tg.token, api_url=tg.url) as bot:
        receiver = Receiver(tg, bot, dm)
        tg.api.revoked = True
        for step in (
            receiver.poller.drain(receiver.intake.is_wanted_message),
            receiver.poller.run(receiver.handle),
        ):
            with pytest.raises(ConfigError, match="telegram does not accept the bot token"):
                await asyncio.wait_for(step, 3)
