"""The bot in this process, before a server that behaves like Telegram: what is done about each message."""

import itertools
from contextlib import asynccontextmanager

import anyio
import pytest

from takopi import plugins
from takopi.config import TelegramSettings
from takopi.model import CompletedEvent, ResumeToken, StartedEvent
from takopi.telegram.client import BotClient
from takopi.telegram.conversation import Conversation
from takopi.telegram.loop import Bot, BotOptions
from takopi.telegram.outbox import Outbox, Rates
from takopi.testing import ScriptRunner, runtime_of
from tests.fake_telegram import Block, FakeTelegram
from tests.support.distributions import new_site

pytestmark = pytest.mark.anyio

ANN, BEN = 42, 43
WAIT_S = 30
NO_LIMITS = Rates(0, 0, 0)


class Engine(ScriptRunner):
    """Its runs wait where a test says so: `late` before they know their session, `held` before the end."""

    def __init__(self, name):
        super().__init__((), engine=name)
        self.late, self.held, self.broken, self.mute = {}, {}, set(), set()
        self._numbers = itertools.count(1)

    async def run(self, prompt, resume):
        self.calls.append((prompt, resume.value if resume else None))
        if prompt in self.late:
            await self.late[prompt].wait()
        if prompt in self.broken:
            raise RuntimeError("no such session")
        token = resume or ResumeToken(self.engine, f"{self.engine}-{next(self._numbers)}")
        yield StartedEvent(self.engine, token)
        if prompt in self.held:
            await self.held[prompt].wait()
        if prompt in self.mute:
            return
        yield CompletedEvent(self.engine, True, f"did: {prompt}", token)

    @property
    def prompts(self):
        return [prompt for prompt, _ in self.calls]


class Desk:
    """A running bot and all around it."""

    def __init__(self, tg, folder):
        self.tg, self.folder = tg, folder
        self.engine, self.other = Engine("acme"), Engine("other")
        self.runtime = runtime_of(self.engine, self.other, missing={"gone": "install gone"})
        self.dm = tg.private(tg.user(ANN, "Ann"))

    async def until(self, predicate):
        return await self.tg.until(predicate, WAIT_S)

    async def says(self, text, room=None):
        """The message of the bot with this text."""
        return await self.until(lambda: (room or self.dm).find(text))

    async def settles(self, seconds=0.15):
        """Nothing is asked of the server, and nothing runs, for a while."""
        await self.until(lambda: self.tg.is_idle(seconds))

    @asynccontextmanager
    async def running(self, **table):
        (self.folder / "takopi.toml").touch()
        defaults = {"bot_token": self.tg.token, "chat_id": self.dm.id, "forward_coalesce_s": 0.0}
        settings = TelegramSettings(**{**defaults, "api_url": self.tg.url, **table})
        before = len(self.tg.calls("sendMessage"))
        options = BotOptions(settings, self.folder / "takopi.toml", self.runtime)
        async with (
            BotClient(self.tg.token, api_url=self.tg.url) as client,
            Outbox(rates=NO_LIMITS, close_s=0.5) as outbox,
            anyio.create_task_group() as group,
        ):
            group.start_soon(Bot(options, client, outbox).main)
            await self.until(lambda: len(self.tg.calls("sendMessage")) > before)
            yield self
            group.cancel_scope.cancel()


@pytest.fixture
def tg():
    with FakeTelegram() as found:
        yield found
        assert found.violations == []


async def no_versions(config_path):
    return {}


@pytest.fixture
def desk(tg, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("takopi.telegram.loop.engine_versions", no_versions)  # takes a while
    return Desk(tg, tmp_path)


async def test_a_prompt_runs(desk):
    async with desk.running():
        desk.dm.send("hello")
        await desk.says("did: hello")
        assert desk.engine.calls == [("hello", None)]


def install(site, name, *lines):
    """A plugin with one command, which does this."""
    head = ["import asyncio", "from takopi.api import CommandResult, RunRequest", "class Backend:"]
    head += [f"    id = description = {name!r}", "    async def handle(self, ctx):"]
    text = "\n".join([*head, *(f"        {line}" for line in lines), "backend = Backend()\n"])
    entry = {"takopi.command_backends": {name: f"{name}:backend"}}
    site.install(name, entry, modules={name: text})


# -- forwards and mentions ---------------------------------------------------------------------


async def test_a_forwarded_resume_line_resumes_nothing(desk):
    async with desk.running(forward_coalesce_s=0.2):
        desk.dm.send("one")
        answer = await desk.says("did: one")
        with desk.tg.held():
            desk.dm.forward([answer], comment="summarize")
        await desk.until(lambda: len(desk.engine.calls) == 2)
        prompt, session = desk.engine.calls[1]
        assert session is None
        assert prompt.startswith("summarize\n\ndone")


async def test_a_forward_has_no_directives_even_if_the_comment_is_a_mention_only(desk):
    async with desk.running(forward_coalesce_s=0.2):
        name = desk.tg.bot.username
        with desk.tg.held():
            desk.dm.forward([f"/other fix @{name} now"], comment=f"@{name}")
        await desk.until(lambda: desk.engine.calls)
        assert desk.engine.prompts == [f"/other fix @{name} now"]
        assert desk.other.calls == []


async def test_a_mention_and_nothing_else_runs_nothing(desk):
    async with desk.running(forward_coalesce_s=0.05):
        desk.dm.send(f"@{desk.tg.bot.username}")
        desk.dm.send("hello")
        await desk.says("did: hello")
        assert desk.engine.prompts == ["hello"]


# -- commands in captions ----------------------------------------------------------------------


@pytest.mark.parametrize("send", ["voice", "document"])
async def test_cancel_counts_in_a_caption_too(desk, send):
    desk.engine.held["work"] = anyio.Event()
    async with desk.running():
        desk.dm.send("work")
        shown = await desk.says("working · acme")
        if send == "voice":
            desk.dm.file("voice", b"OggS", caption="/cancel", reply_to=shown)
        else:
            desk.dm.document("a.txt", b"a", caption="/Cancel please", reply_to=shown)
        await desk.says("cancelled")
        assert not desk.dm.find("not there yet")


async def test_new_counts_in_a_caption_too(desk):
    async with desk.running():
        desk.dm.document("a.txt", b"a", caption="/new")
        await desk.says("nothing to clear: sessions are not stored in stateless mode.")


async def test_a_forwarded_caption_is_no_command(desk):
    desk.engine.held["work"] = anyio.Event()
    async with desk.running():
        desk.dm.send("work")
        shown = await desk.says("working · acme")
        about = {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Eve"}}
        desk.dm.file("document", b"a", name="a.txt", caption="/cancel", about=about)
        await desk.says("not there yet")
        assert shown.buttons == ["cancel"]
        desk.engine.held["work"].set()
        await desk.says("did: work")


# -- races -------------------------------------------------------------------------------------


async def test_a_reply_to_progress_that_is_only_just_posted_goes_on_with_its_run(desk):
    desk.engine.held["one"] = anyio.Event()
    async with desk.running():
        slow = desk.tg.fail("sendMessage", Block(), phase="after")
        desk.dm.send("one")
        shown = await desk.says("starting · acme")
        desk.dm.send("two", reply_to=shown)
        await anyio.sleep(0.3)
        slow.release()
        await desk.says("queued · acme")
        desk.engine.held["one"].set()
        await desk.says("did: two")
        assert desk.engine.calls == [("one", None), ("two", "acme-1")]


async def test_a_reply_to_a_run_whose_answer_is_on_its_way_goes_on_with_its_session(desk):
    desk.engine.held["one"] = anyio.Event()
    async with desk.running():
        desk.dm.send("one")
        shown = await desk.until(lambda: desk.dm.find("acme resume acme-1"))
        slow = desk.tg.fail("sendMessage", Block())
        desk.engine.held["one"].set()
        await desk.until(lambda: slow.fired)
        desk.dm.send("two", reply_to=shown)
        await desk.until(lambda: len(desk.tg.calls("sendMessage")) >= 3)
        slow.release()
        await desk.says("did: two")
        assert desk.engine.calls == [("one", None), ("two", "acme-1")]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("/gone do it", "install gone"),
        ("dies", "no such session"),
        ("says nothing", "runner finished without a completed event"),
    ],
)
async def test_f32_whatever_happens_a_run_ends_in_an_error_without_a_button(desk, prompt, reason):
    desk.engine.broken.add("dies")
    desk.engine.mute.add("says nothing")
    async with desk.running():
        desk.dm.send(prompt)
        shown = await desk.says(reason)
        assert shown.text.startswith("error · ")
        await desk.settles()
        assert not any(message.buttons for message in desk.dm.messages if not message.deleted)
        desk.dm.send("hello")
        await desk.says("did: hello")


async def test_f47_cancel_takes_back_a_prompt_that_still_waits_for_its_forwards(desk):
    async with desk.running(forward_coalesce_s=0.5):
        with desk.tg.held():
            desk.dm.send("one")
            desk.dm.send("/cancel")
        desk.dm.send("two")
        await desk.says("did: two")
        assert desk.engine.prompts == ["two"]


async def test_f19_a_command_that_cancels_itself_stops_nobody(desk, tmp_path, monkeypatch):
    for site in new_site(tmp_path, monkeypatch):
        install(
            site,
            "odd",
            "task = asyncio.ensure_future(asyncio.sleep(60))",
            "task.cancel()",
            "await task",
        )
        async with desk.running():
            desk.dm.send("/odd")
            await desk.says("cancelled")
            desk.dm.send("hello")
            await desk.says("did: hello")


async def test_a_plugin_that_was_installed_meanwhile_is_known_at_its_first_use(
    desk, tmp_path, monkeypatch
):
    for site in new_site(tmp_path, monkeypatch):
        async with desk.running():
            desk.dm.send("/ping")
            await desk.says("did: /ping")  # as long as it is no command it may be the engine's
            with monkeypatch.context() as patch:
                patch.setattr(plugins, "refresh", lambda: None)  # nobody says that it is there
                install(site, "ping", "return CommandResult(text=f'pong {ctx.args_text}')")
            desk.dm.send("/ping again")
            await desk.says("pong again")


async def test_f19_a_message_that_cannot_even_be_routed_is_answered(desk, monkeypatch):
    intent = Conversation.intent

    def fail(self, inbound):
        if "boom" in inbound.text:
            raise OSError("out of paper")
        return intent(self, inbound)

    monkeypatch.setattr(Conversation, "intent", fail)
    async with desk.running():
        desk.dm.send("boom")
        await desk.says("error:\nout of paper")
        desk.dm.send("hello")
        await desk.says("did: hello")


# -- commands and buttons ----------------------------------------------------------------------


NOTHING = "nothing is currently running for that message."


async def test_cancel_in_every_state(desk):
    desk.engine.held["one"] = anyio.Event()
    async with desk.running():
        own = desk.dm.send("/CANCEL@" + desk.tg.bot.username)
        await desk.says("reply to the progress message to cancel.")
        desk.dm.send("/cancel\nnow", reply_to=own)
        refused = await desk.says(NOTHING)
        desk.dm.send("/cancel", reply_to=refused)
        await desk.until(lambda: len([m for m in desk.dm.messages if m.text == NOTHING]) == 2)
        desk.dm.send("one")
        running = await desk.says("working · acme")
        desk.dm.send("two", reply_to=running)
        queued = await desk.says("queued · acme")
        said = len(desk.dm.messages)
        desk.dm.send("/cancel", reply_to=queued)
        await desk.until(lambda: queued.text.startswith("cancelled"))
        desk.dm.send("/cancel@other_bot", reply_to=running)  # F-21
        desk.dm.send("/cancel\tplease", reply_to=running)  # F-45
        await desk.until(lambda: running.text.startswith("cancelled"))
        assert len(desk.dm.messages) == said + 3, "nothing is replied"
        assert [queued.buttons, running.buttons] == [[], []]
        desk.dm.send("/cancelled")
        await desk.says("did: /cancelled")
        assert desk.engine.prompts == ["one", "/cancelled"]


async def test_a_button_is_answered_whatever_it_is(desk):
    async with desk.running():
        desk.dm.send("one")
        answer = await desk.says("did: one")
        for data in ("takopi:cancel", "something else", None):
            query = {"id": f"q-{data}", "from": desk.dm.chat.user.to_api(), "chat_instance": "1"}
            query |= {"message": answer.message.to_api(), "data": data}
            desk.tg.push("callback_query", query)
        await desk.until(lambda: len(desk.tg.calls("answerCallbackQuery")) == 3)
        calls = [call.params.values for call in desk.tg.calls("answerCallbackQuery")]
        said = {each["callback_query_id"]: each.get("text") for each in calls}
        assert said == {"q-takopi:cancel": NOTHING, "q-something else": None, "q-None": None}


async def test_what_is_edited_later_runs_once(desk):
    async with desk.running():
        sent = desk.dm.send("one")
        await desk.says("did: one")
        desk.dm.edit(sent, "two")
        desk.tg.push("edited_message", sent.message.to_api())
        desk.tg.push("channel_post", sent.message.to_api() | {"message_id": 999})
        desk.dm.send("three")
        await desk.says("did: three")
        assert desk.engine.prompts == ["one", "three"]


async def test_f05_a_group_that_became_a_supergroup_is_named_in_the_log(desk, caplog):
    group = desk.tg.group(kind="group", members=[desk.tg.user(ANN)])
    async with desk.running(chat_id=group.id):
        new = group.upgrade(by=desk.tg.user(ANN))
        await desk.until(lambda: "updates.chat_migrated" in caplog.text)
        assert f"new_chat_id={new.id}" in caplog.text


# -- chat mode ---------------------------------------------------------------------------------


async def test_chat_mode_goes_on_with_the_session_of_a_plugins_run(desk, tmp_path, monkeypatch):
    for site in new_site(tmp_path, monkeypatch):
        install(
            site,
            "ask",
            "await ctx.executor.run_one(RunRequest(prompt=ctx.args_text), mode='capture')",
        )
        async with desk.running(session_mode="chat"):
            desk.dm.send("/ask one")
            await desk.until(lambda: desk.engine.calls)
            desk.dm.send("two")
            await desk.says("did: two")
        async with desk.running(session_mode="chat"):
            desk.dm.send("three")
            await desk.says("did: three")
        assert desk.engine.calls == [("one", None), ("two", "acme-1"), ("three", "acme-1")]


async def test_in_a_group_everybody_has_a_session_of_their_own(desk):
    ann, ben = desk.tg.user(ANN), desk.tg.user(BEN, "Ben")
    group = desk.tg.group(members=[ann, ben])
    async with desk.running(chat_id=group.id, session_mode="chat"):
        group.send("one", by=ann)
        await desk.says("did: one", group)
        group.send("two", by=ben)
        await desk.says("did: two", group)
        group.send("three", by=ann)
        await desk.says("did: three", group)
    assert desk.engine.calls == [("one", None), ("two", None), ("three", "acme-1")]


async def test_f27_a_thread_that_is_no_topic_disables_no_session(desk):
    ann = desk.tg.user(ANN)
    group = desk.tg.group(members=[ann])
    async with desk.running(chat_id=group.id, session_mode="chat"):
        root = group.send("one", by=ann)
        await desk.says("did: one", group)
        reply = group.send("two", by=ann, reply_to=root)
        await desk.says("did: two", group)
        assert reply.message.to_api()["message_thread_id"]
    assert desk.engine.calls == [("one", None), ("two", "acme-1")]


async def test_f30_two_quick_prompts_are_one_session_and_new_begins_another_meanwhile(desk):
    for prompt in ("one", "three"):
        desk.engine.late[prompt] = anyio.Event()
    async with desk.running(session_mode="chat"):
        desk.dm.send("one")
        await desk.says("starting · acme")
        desk.dm.send("two")
        await desk.says("queued · acme")
        desk.dm.send("/new")
        await desk.says("cleared stored sessions for this chat.")
        desk.dm.send("three")
        await desk.until(lambda: len(desk.engine.calls) == 2)
        desk.engine.late["three"].set()
        await desk.says("did: three")
        desk.engine.late["one"].set()
        await desk.says("did: two")
        desk.dm.send("four")
        await desk.says("did: four")
    assert desk.engine.calls == [
        ("one", None),
        ("three", None),
        ("two", "acme-2"),
        ("four", "acme-1"),
    ]


async def test_a_message_of_nobody_in_a_group_waits_for_nothing_and_has_no_session(desk):
    group = desk.tg.group(members=[desk.tg.user(ANN)])
    async with desk.running(chat_id=group.id, session_mode="chat", forward_coalesce_s=60):
        for number, text in enumerate(("one", "two", "/new")):
            chat = {"id": group.id, "type": "supergroup", "title": "team"}
            about = {"message_id": 900 + number, "date": 1, "chat": chat, "text": text}
            desk.tg.push("message", about)
            if text != "/new":
                await desk.says(f"did: {text}", group)
        await desk.says("no stored sessions to clear for this chat.", group)
    assert desk.engine.calls == [("one", None), ("two", None)]


@pytest.mark.parametrize("problem", ["deleted", "broken", "a folder"])
async def test_a_state_file_in_trouble_stops_nobody(desk, problem):
    file = desk.folder / "telegram_chat_sessions_state.json"
    async with desk.running(session_mode="chat"):
        desk.dm.send("one")
        await desk.says("did: one")
        if problem == "broken":
            file.write_text("{")
        else:
            file.unlink()
        if problem == "a folder":
            file.mkdir()
        desk.dm.send("two")
        await desk.says("did: two")
        desk.dm.send("/new")
        await desk.says("cleared stored sessions for this chat.")
