"""The client against a Bot API server on loopback: every method, and everything that goes wrong."""

import asyncio
import logging
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from takopi.errors import ConfigError
from takopi.telegram.client import BotClient, Document, TelegramClient
from takopi.telegram.outbox import Outbox, Rates
from takopi.telegram.wire import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Ok,
    Post,
    RateLimited,
    SentMessage,
    ThreadGone,
    Transient,
    Unauthorized,
    Unchanged,
)
from tests.fake_telegram import (
    Block,
    Delay,
    Drop,
    Flood,
    Garbage,
    Http,
    Member,
    Refuse,
    WrongShape,
)
from tests.fake_telegram.fixtures import telegram  # noqa: F401 - a fixture

pytestmark = pytest.mark.anyio


@pytest.fixture(name="tg")
def fixture_tg(telegram, caplog):  # noqa: F811
    # Whatever httpx and httpcore say is looked through for the token, too.
    caplog.set_level(logging.DEBUG)
    return telegram


@pytest.fixture
async def bot(tg):
    async with BotClient(tg.token, api_url=tg.url) as bot:
        yield bot


@pytest.fixture
def dm(tg):
    return tg.private(tg.user(1, "Alice"))


def post(room, text="hi", **options):
    return Post(chat_id=room.id, text=text, **options)


# -- methods -------------------------------------------------------------------------------------------


async def test_a_message_is_sent_edited_and_deleted(tg, bot, dm):
    prompt = dm.send("hello")
    bold = ({"type": "bold", "offset": 0, "length": 2},)
    buttons = {"inline_keyboard": [[{"text": "cancel", "callback_data": "x"}]]}
    sent = await bot.send_message(
        post(dm, entities=bold, markup=buttons, reply_to=prompt.id, silent=True)
    )
    assert sent == Ok(SentMessage(dm.id, prompt.id + 1))
    (_, shown) = dm.visible()
    assert (shown.entities, shown.buttons, shown.reply_to, shown.silent) == (
        bold,
        ("cancel",),
        prompt.id,
        True,
    )
    assert isinstance(await bot.edit_message_text(post(dm, "new"), sent.result.message_id), Ok)
    assert (dm.visible()[1].text, dm.visible()[1].buttons) == ("new", ())
    assert await bot.delete_message(dm.id, sent.result.message_id) == Ok(True)
    assert [m.text for m in dm.visible()] == ["hello"]


async def test_links_are_not_previewed(tg, bot, dm):
    sent = await bot.send_message(post(dm, "http://x.y"))
    await bot.edit_message_text(post(dm, "http://x.z"), sent.result.message_id)
    for call in tg.calls():
        assert call.params.nested("link_preview_options") == {"is_disabled": True}


async def test_a_file_is_sent_and_another_fetched(tg, bot, dm):
    prompt = dm.document("a.txt", b"from alice")
    document = Document(chat_id=dm.id, name='né"w.txt', data=b"\x00\xff", reply_to=prompt.id)
    assert isinstance(await bot.send_document(document), Ok)
    (call,) = tg.calls("sendDocument")
    assert call.params.values["disable_notification"] == "false"
    shown = dm.messages[-1].message
    assert (shown.media, shown.reply_to, shown.silent) == ("document", prompt.id, False)
    path = await bot.get_file(prompt.message.extra["document"]["file_id"])
    assert await bot.download_file(path.result) == Ok(b"from alice")


async def test_a_file_name_that_is_no_unicode_is_sent(bot, dm):
    document = Document(chat_id=dm.id, name="a\udcff.txt", data=b"x", caption="c\udcff")
    assert isinstance(await bot.send_document(document), Ok)


async def test_a_file_that_is_larger_than_asked_for_is_not_loaded(bot, dm):
    file = dm.document("a.txt", b"x" * 5000).message.extra["document"]
    path = await bot.get_file(file["file_id"])
    assert isinstance(await bot.download_file(path.result, max_bytes=4999), BadRequest)
    assert isinstance(await bot.download_file(path.result, max_bytes=5000), Ok)


async def test_half_a_character_does_not_stop_a_message(bot, dm):
    assert isinstance(await bot.send_message(post(dm, "a \ud83d b")), Ok)
    assert dm.visible()[0].text == "a ? b"


async def test_the_bot_knows_itself_and_sets_its_menu(tg, bot):
    me = (await bot.get_me()).result
    assert (me.id, me.username) == (tg.bot.id, tg.bot.username)
    assert await bot.set_my_commands([("new", "start a new thread")]) == Ok(True)
    assert tg.commands() == [{"command": "new", "description": "start a new thread"}]


async def test_chats_members_and_topics(tg, bot):
    alice = tg.user(1, "Alice")
    bob = tg.user(2, "Bob")
    forum = tg.forum("team", admins=[alice, tg.bot])
    chat = (await bot.get_chat(forum.id)).result
    assert (chat.type, chat.title, chat.is_forum) == ("supergroup", "team", True)
    assert (await bot.get_chat_member(forum.id, tg.bot.id)).result.can_manage_topics
    assert (await bot.get_chat_member(forum.id, bob.id)).result.status == "left"
    thread = (await bot.create_forum_topic(forum.id, "api")).result
    sent = await bot.send_message(post(forum, thread_id=thread))
    assert sent.result.thread_id == thread
    assert await bot.edit_forum_topic(forum.id, thread, "web") == Ok(True)
    assert isinstance(await bot.send_message(post(forum, thread_id=thread + 9)), ThreadGone)


async def test_a_button_is_answered(tg, bot, dm):
    buttons = {"inline_keyboard": [[{"text": "cancel", "callback_data": "x"}]]}
    sent = (await bot.send_message(post(dm, markup=buttons))).result
    query = dm.messages[-1].press("cancel")
    assert await bot.answer_callback_query(query.id, "cancelling...") == Ok(True)
    assert query.answer == {"text": "cancelling...", "show_alert": False}
    await bot.edit_message_text(post(dm, "done"), sent.message_id)


async def test_updates_come_as_they_are(tg, bot, dm):
    dm.send("one")
    tg.push("message", "garbage")
    updates = (await bot.get_updates(None, 0)).result
    assert [update["message"] for update in updates][1] == "garbage"
    assert (await bot.get_updates(updates[-1]["update_id"] + 1, 1)).result == []
    assert tg.calls("getUpdates")[0].params.nested("allowed_updates") == [
        "message",
        "callback_query",
    ]


# -- failures ------------------------------------------------------------------------------------------


async def test_f05_failures_have_types(tg, bot, dm):
    prompt = dm.send("hello")
    sent = (await bot.send_message(post(dm))).result.message_id
    assert await bot.edit_message_text(post(dm), 999) == Gone()
    assert await bot.edit_message_text(post(dm), prompt.id) == Gone()
    assert await bot.delete_message(dm.id, 999) == Gone()
    assert isinstance(await bot.send_message(Post(chat_id=999, text="hi")), BadRequest)
    dm.block_bot()
    assert isinstance(await bot.send_message(post(dm)), Forbidden)
    dm.block_bot(False)
    with tg.rival():
        assert isinstance(await bot.get_updates(None, 1), Conflict)
    async with BotClient("123456:wrong_token_wrong_token", api_url=tg.url) as stranger:
        assert isinstance(await stranger.get_me(), Unauthorized)
    assert await bot.edit_message_text(post(dm), sent) == Unchanged()


async def test_f06_an_unchanged_edit_is_told_from_a_failure(bot, dm):
    sent = (await bot.send_message(post(dm))).result.message_id
    assert await bot.edit_message_text(post(dm), sent) == Unchanged()


async def test_f07_a_reply_to_nothing_arrives(bot, dm):
    prompt = dm.send("hello")
    dm.delete(prompt)
    assert isinstance(await bot.send_message(post(dm, reply_to=prompt.id)), Ok)
    assert dm.visible()[0].reply_to is None


async def test_f05_a_group_that_moved_is_found_again(tg, bot, caplog):
    alice = tg.user(1, "Alice")
    old = tg.group("team", kind="group", admins=[alice], members=[tg.bot])
    prompt = old.send("hello", by=alice)
    before = (await bot.send_message(post(old, "before"))).result
    new = old.upgrade(by=alice)
    sent = await bot.send_message(post(old, "after", reply_to=prompt.id, thread_id=5))
    assert sent.result.chat_id == new.id
    assert [(m.text, m.reply_to) for m in new.visible()] == [("after", None)]
    assert isinstance(await bot.send_message(post(old, "again")), Ok)
    assert len(tg.calls("sendMessage", chat=old)) == 2  # it was asked once only
    # A message of the new chat may have the number of one of the old.
    assert await bot.edit_message_text(post(old), before.message_id) == Gone()
    assert await bot.delete_message(old.id, before.message_id) == Gone()
    assert "telegram.chat_migrated" in caplog.text
    assert str(new.id) in caplog.text


@pytest.mark.parametrize(
    ("fault", "maybe_done"),
    [
        (Drop("before"), True),
        (Drop("after"), True),
        (Drop("middle"), True),
        (Garbage(), True),
        (WrongShape(True), True),
        (Http(502), False),
        (Http(500), False),
        (Http(504), True),
    ],
)
async def test_trouble_on_the_way_says_whether_it_may_have_been_done(
    tg, bot, dm, fault, maybe_done
):
    tg.fail("sendMessage", fault)
    result = await bot.send_message(post(dm))
    assert isinstance(result, Transient)
    assert result.maybe_done is maybe_done
    assert isinstance(await bot.send_message(post(dm)), Ok)


@pytest.mark.parametrize(
    ("error", "maybe_done"),
    [
        (httpx.ConnectError("x"), False),
        (httpx.ConnectTimeout("x"), False),
        (httpx.PoolTimeout("x"), False),
        (httpx.WriteError("x"), False),
        (httpx.WriteTimeout("x"), True),
        (httpx.ReadError("x"), True),
        (httpx.ReadTimeout("x"), True),
        (httpx.RemoteProtocolError("x"), True),
        (httpx.DecodingError("x"), True),
        (httpx.InvalidURL("x"), True),
        (ConnectionResetError("x"), True),
        (TimeoutError("x"), True),
    ],
)
async def test_f13_what_was_not_written_can_be_sent_again(error, maybe_done):
    def fail(request):
        raise error

    async with BotClient("1:abc", transport=httpx.MockTransport(fail)) as bot:
        result = await bot.send_message(Post(chat_id=1, text="hi"))
        assert isinstance(result, Transient)
        assert result.maybe_done is maybe_done
        assert isinstance(await bot.download_file("a/b"), Transient)


@pytest.mark.parametrize("status", [204, 206, 302, 500])
async def test_a_download_that_is_no_file_is_a_failure(status):
    def answer(request):
        return httpx.Response(status, json={"ok": True, "result": True})

    async with BotClient("1:abc", transport=httpx.MockTransport(answer)) as bot:
        assert isinstance(await bot.download_file("a/b"), Transient)


async def test_without_a_network_nothing_was_done(tg, bot, dm):
    with tg.offline():
        result = await bot.send_message(post(dm))
    assert isinstance(result, Transient)
    assert not result.maybe_done
    assert isinstance(await bot.send_message(post(dm)), Ok)


async def test_a_server_that_says_nothing_is_not_waited_for(tg, dm):
    tg.fail("sendMessage", Delay(0.5))
    async with BotClient(tg.token, api_url=tg.url, timeout_s=0.1) as bot:
        result = await bot.send_message(post(dm))
    assert isinstance(result, Transient)
    assert result.maybe_done


async def test_too_many_requests(tg, bot, dm):
    tg.fail("sendMessage", Flood(0.03))
    tg.fail("sendMessage", Flood(0.03, "text"))
    assert await bot.send_message(post(dm)) == RateLimited(0.03)
    await anyio.sleep(0.04)
    assert await bot.send_message(post(dm)) == RateLimited(5)


@pytest.mark.parametrize(("shape", "seconds"), [("json", 3), ("text", 5), ("missing", 5)])
async def test_a_download_waits_as_long_as_it_is_told(tg, dm, shape, seconds):
    slept = []

    async def sleep(time_s):
        slept.append(time_s)

    file = dm.document("a.txt", b"content").message.extra["document"]
    async with BotClient(tg.token, api_url=tg.url, sleep=sleep) as bot:
        path = (await bot.get_file(file["file_id"])).result
        rule = tg.fail("*", Flood(3, shape))
        assert await bot.download_file(path) == Ok(b"content")
    assert slept == [seconds]
    assert rule.fired == 1


async def test_a_file_that_is_gone(bot):
    assert not isinstance(await bot.download_file("documents/none"), Ok)
    assert isinstance(await bot.get_file("nothing"), BadRequest)


# -- the token -----------------------------------------------------------------------------------------


async def test_the_token_is_in_no_log_line_whatever_goes_wrong(tg, bot, dm, caplog, capfd):
    for fault in (Http(500), Http(502, f"<html>{tg.token}</html>"), Drop("after"), Garbage()):
        tg.fail("getMe", fault)
        result = await bot.get_me()
        assert tg.token not in repr(result)
    tg.fail("getMe", Refuse(400, f"Bad Request: {tg.token}"))
    await bot.get_me()
    with tg.offline():
        await bot.get_me()
        await bot.download_file("documents/none")
    assert "HTTP Request: POST" in caplog.text  # httpx does log
    assert "telegram.request_failed" in caplog.text
    assert tg.token not in caplog.text
    assert tg.token.partition(":")[2] not in caplog.text


async def test_the_token_is_in_no_exception_of_httpx(tg, monkeypatch):
    seen = []

    def refuse(request):
        seen.append(request.url)
        raise httpx.ConnectError("no", request=None)

    async with BotClient(tg.token, transport=httpx.MockTransport(refuse)) as bot:
        with pytest.raises(httpx.ConnectError) as caught:
            await bot._http.post("https://api.telegram.org/getMe")
    assert tg.token in str(seen[0])
    assert tg.token not in str(caught.value.request.url)


@pytest.mark.parametrize("base", ["", "/some/path", "/file"])
async def test_f01_the_address_is_configurable(base):
    seen = []

    def answer(request):
        seen.append(str(request.url))
        return httpx.Response(200, json={"ok": True, "result": {"id": 1}})

    transport = httpx.MockTransport(answer)
    async with BotClient("1:abc", api_url=f"http://h:81{base}/", transport=transport) as bot:
        await bot.get_me()
        await bot.download_file("photos/a b.jpg")
    assert seen == [
        f"http://h:81{base}/bot1:abc/getMe",
        f"http://h:81{base}/file/bot1:abc/photos/a%20b.jpg",
    ]


async def test_f01_the_default_address_is_telegrams():
    seen = []

    def answer(request):
        seen.append(str(request.url))
        return httpx.Response(200, json={"ok": True, "result": {"id": 1}})

    async with BotClient("1:abc", transport=httpx.MockTransport(answer)) as bot:
        await bot.get_me()
    assert seen == ["https://api.telegram.org/bot1:abc/getMe"]


@pytest.mark.parametrize(
    "url",
    ["", "api.telegram.org", "ftp://h", "http://", "http://u:secret@h", "http://h:x", "http://h?a"],
)
def test_f01_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match="api_url") as caught:
        BotClient("1:abc", api_url=url)
    assert "secret" not in str(caught.value)


# -- proxies -------------------------------------------------------------------------------------------


@asynccontextmanager
async def proxy():
    lines = []

    async def serve(reader, writer):
        lines.append((await reader.readline()).decode())
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"ok": true, "result": {"id": 7}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines


async def test_the_proxy_of_the_environment_is_used(monkeypatch):
    async with proxy() as (url, lines):
        monkeypatch.setenv("http_proxy", url)
        async with BotClient("1:abc", api_url="http://bot-api.invalid") as bot:
            assert (await bot.get_me()).result.id == 7
    assert lines == ["POST http://bot-api.invalid/bot1:abc/getMe HTTP/1.1\r\n"]


async def test_the_environment_can_exempt_the_server_from_the_proxy(tg, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with BotClient(tg.token, api_url=tg.url) as bot:
        assert isinstance(await bot.get_me(), Ok)


def test_a_proxy_that_cannot_be_used_is_an_error_without_its_password(monkeypatch):
    monkeypatch.setenv("https_proxy", "gopher://user:secret@proxy")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        BotClient("1:abc")
    assert "secret" not in str(caught.value)


# -- through the outbox --------------------------------------------------------------------------------


async def test_the_other_calls_go_through_the_outbox(tg, bot):
    alice = tg.user(1, "Alice")
    forum = tg.forum("team", admins=[alice, tg.bot])
    forum.set_member(tg.bot, Member("administrator", can_manage_topics=True))
    async with Outbox(rates=Rates(0, 0, 0)) as outbox:
        client = TelegramClient(bot, outbox)
        assert (await client.get_me()).result.id == tg.bot.id
        assert (await client.get_chat(forum.id)).result.is_forum
        assert (await client.get_chat_member(forum.id, 1)).result.status == "creator"
        assert await client.set_my_commands([("new", "start a new thread")]) == Ok(True)
        thread = (await client.create_forum_topic(forum.id, "api")).result
        assert await client.edit_forum_topic(forum.id, thread, "web") == Ok(True)
        document = Document(chat_id=forum.id, name="a", data=b"x", thread_id=thread)
        assert isinstance(await client.send_document(document), Ok)
        tg.fail("answerCallbackQuery", Refuse(400, "Bad Request: query is too old"))
        assert isinstance(await client.answer_callback_query("1", "late"), BadRequest)


async def test_f12_a_button_is_answered_while_its_chat_has_to_wait(tg, bot, dm):
    buttons = {"inline_keyboard": [[{"text": "cancel", "callback_data": "x"}]]}
    sent = (await bot.send_message(post(dm, markup=buttons))).result
    async with Outbox(rates=Rates(0.5, 0.1, 30)) as outbox:
        client = TelegramClient(bot, outbox)
        block = tg.fail("sendDocument", Block())
        async with anyio.create_task_group() as group:
            group.start_soon(client.send_document, Document(chat_id=dm.id, name="a", data=b"x"))
            await tg.until(lambda: tg.calls("sendDocument"))
            query = dm.messages[0].press("cancel")
            with anyio.fail_after(2):
                assert await client.answer_callback_query(query.id) == Ok(True)
            block.release()
    await bot.edit_message_text(post(dm, "done"), sent.message_id)
