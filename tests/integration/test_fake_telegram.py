"""The fake Telegram server, asked over HTTP: what it refuses, what it shows, how it fails on demand."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_telegram import (
    Block,
    Delay,
    Driver,
    Drop,
    FakeBotApi,
    FakeTelegram,
    Flood,
    Garbage,
    Http,
    Member,
    Options,
    Refuse,
    WrongShape,
)
from tests.fake_telegram.clock import Clock
from tests.fake_telegram.fixtures import telegram  # noqa: F401
from tests.fake_telegram.limits import Limiter
from tests.fake_telegram.mock import mock_transport
from tests.fake_telegram.rules import check_message, normal_form, units

CANCEL = {"inline_keyboard": [[{"text": "cancel", "callback_data": "takopi:cancel"}]]}


class Bot:
    """A client that hides nothing."""

    def __init__(self, tg, token=None):
        url = f"{tg.url}/bot{token or tg.token}/"
        self.http = httpx.Client(base_url=url, timeout=5, verify=False)  # spares a slow start

    def post(self, method, **params):
        return self.http.post(method, json=params)

    def __call__(self, method, **params):
        """The result of a call that works."""
        reply = self.post(method, **params).json()
        assert reply["ok"], reply
        return reply["result"]

    def error(self, method, **params):
        """(code, description) of a call that does not."""
        response = self.post(method, **params)
        reply = response.json()
        assert not reply["ok"], reply
        assert response.status_code == reply["error_code"]
        return reply["error_code"], reply["description"].removeprefix("Bad Request: ")

    def updates(self, **params):
        return self("getUpdates", **params)

    def send(self, room, text="text", **params):
        return self("sendMessage", chat_id=room.id, text=text, **params)["message_id"]


@pytest.fixture
def start():
    """Starts servers with these options, each with its bot."""
    with contextlib.ExitStack() as stack:

        def start(*, time_scale=0.02, limits="off", server=None, **options):
            api = FakeBotApi(time_scale, limits, Options(**options))
            tg = stack.enter_context(FakeTelegram(api, **(server or {})))
            bot = Bot(tg)
            stack.enter_context(bot.http)
            return tg, bot

        yield start


@pytest.fixture
def tg_bot(start):
    return start()


@pytest.fixture
def tg(tg_bot):
    return tg_bot[0]


@pytest.fixture
def bot(tg_bot):
    return tg_bot[1]


@pytest.fixture
def alice(tg):
    return tg.user(11, "Alice")


@pytest.fixture
def dm(tg, alice):
    return tg.private(alice)


@pytest.fixture
def forum(tg, alice):
    return tg.forum("team", admins=[alice, tg.bot])


@contextlib.contextmanager
def in_background(work):
    """Runs ``work`` meanwhile; gives the list that its result will be in."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    try:
        yield results
    finally:
        thread.join(5)
    assert not thread.is_alive()


def polls(tg):
    """Whether a poll waits right now."""
    return tg.api.queue.waiting is not None


# Requests


def test_a_method_is_found_whatever_its_case_by_post_and_get(tg, bot):
    assert bot("GETME")["username"] == "fake_bot"
    assert bot.http.get("getme").json()["result"] == bot("getMe")
    assert {call.method for call in tg.calls()} == {"getMe"}


@pytest.mark.parametrize(
    ("path", "code", "description"),
    [
        ("/bot1:other/getMe", 401, "Unauthorized"),
        ("/botnonsense/getMe", 404, "Not Found"),
        ("/bot/getMe", 404, "Not Found"),
        ("/elsewhere", 404, "Not Found"),
        ("/file/bot1:other/documents/file_1", 401, "Unauthorized"),
    ],
)
def test_a_wrong_token_or_path_is_refused(tg, bot, path, code, description):
    reply = bot.http.post(tg.url + path, json={})
    assert (reply.status_code, reply.json()["description"]) == (code, description)
    assert reply.json() == {"ok": False, "error_code": code, "description": description}


def test_a_revoked_token_is_unauthorized(tg, bot):
    bot("getMe")
    tg.api.revoked = True
    assert bot.error("getMe") == (401, "Unauthorized")


def test_an_unknown_method_or_parameter_is_a_violation(tg, bot, dm):
    assert bot.error("makeCoffee") == (404, "Not Found")
    bot.send(dm, sugar=2)
    assert tg.violations == [
        "unknown-method: makeCoffee",
        "unknown-parameter: sendMessage with sugar",
    ]
    tg.accept("unknown-method", "unknown-parameter")
    assert tg.violations == []


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"chat_id": "11", "text": "hi", "reply_markup": CANCEL}},
        {"data": {"chat_id": 11, "text": "hi", "reply_markup": json.dumps(CANCEL)}},
        {"files": {k: (None, v) for k, v in {"chat_id": "11", "text": "hi"}.items()}},
        {
            "content": iter([b'{"chat_id": 11, ', b'"text": "hi"}']),
            "headers": {"Content-Type": "application/json"},
        },
    ],
    ids=["json", "form", "multipart", "chunked"],
)
def test_every_encoding_of_a_body_is_understood(dm, bot, body):
    assert bot.http.post("sendMessage", **body).json()["result"]["text"] == "hi"
    assert [message.text for message in dm.messages] == ["hi"]


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(bot, content):
    reply = bot.http.post("getMe", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400


# Texts


def entity(kind, offset, length, **more):
    return {"type": kind, "offset": offset, "length": length, **more}


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("x" * 4096, []),
        ("🐙" * 2048, [entity("bold", 0, 4096)]),
        ("x" * 4096 + " \n", []),
        ("bold", [entity("bold", 0, 4), entity("italic", 1, 2)]),
        ("code", [entity("pre", 0, 4, language="py"), entity("code", 0, 4)]),
        ("see", [entity("text_link", 0, 3, url="tg://user?id=1")]),
        ("see", [entity("text_link", 0, 3, url="https://x.y/z")]),
    ],
)
def test_a_good_text_is_taken(bot, tg, dm, text, entities):
    bot.send(dm, text, entities=entities)
    assert dm.messages[-1].text == text.rstrip()
    assert tg.violations == []


@pytest.mark.parametrize(
    ("text", "entities", "description"),
    [
        ("", [], "message text is empty"),
        (" \n\t", [], "message text is empty"),
        ("x" * 4097, [], "message is too long"),
        ("🐙" * 2049, [], "message is too long"),
        ("x", [entity("bold", 0, 2)], "can't parse entities"),
        ("x", [entity("bold", -1, 1)], "can't parse entities"),
        ("x", [entity("bold", 0, 0)], "can't parse entities"),
        ("x", [entity("bold", "0", 1)], "can't parse entities"),
        ("x", [entity("loud", 0, 1)], "can't parse entities"),
        ("x", ["bold"], "can't parse entities"),
        ("x", {"type": "bold"}, "can't parse entities"),
        ("🐙x", [entity("bold", 0, 1)], "can't parse entities"),
        ("🐙x", [entity("bold", 1, 2)], "can't parse entities"),
        ("abcd", [entity("bold", 0, 3), entity("italic", 2, 2)], "can't parse entities"),
        ("abcd", [entity("code", 0, 4), entity("bold", 1, 2)], "can't parse entities"),
        ("abcd", [entity("bold", 0, 4), entity("code", 0, 4)], "can't parse entities"),
        ("abcd", [entity("blockquote", 0, 4), entity("blockquote", 1, 2)], "can't parse entities"),
        ("see", [entity("text_link", 0, 3, url="foo/bar.py")], "can't parse entities"),
        ("see", [entity("text_link", 0, 3, url="http://")], "can't parse entities"),
        ("see", [entity("text_link", 0, 3)], "can't parse entities"),
        ("see", [entity("pre", 0, 3, language=1)], "can't parse entities"),
    ],
)
def test_a_bad_text_is_refused_and_a_violation(bot, tg, dm, text, entities, description):
    code, found = bot.error("sendMessage", chat_id=dm.id, text=text, entities=entities)
    assert (code, found.partition(":")[0]) == (400, description)
    assert dm.messages == []
    assert tg.violations[0].startswith("bad-message: ")


def test_a_parse_mode_is_one_of_three(bot, dm):
    bot.send(dm, parse_mode="HTML")
    assert bot.error("sendMessage", chat_id=dm.id, text="x", parse_mode="BBCode")[0] == 400


def test_half_a_surrogate_pair_is_refused():
    assert check_message("\ud83d", [], None) == "Bad Request: strings must be encoded in UTF-8"


def test_white_space_at_the_end_is_cut_with_the_entities_in_it(bot, dm):
    spans = [entity("bold", 2, 3), entity("italic", 4, 1)]
    sent = bot("sendMessage", chat_id=dm.id, text="🐙bo \n", entities=spans)
    assert sent["text"] == "🐙bo"
    assert sent["entities"] == [entity("bold", 2, 2)]


SPANS = st.builds(
    entity,
    st.sampled_from(["bold", "italic", "code", "blockquote"]),
    st.integers(0, 6),
    st.integers(1, 6),
)


@settings(deadline=None, max_examples=200)
@given(st.text("a🐙 \n", min_size=1, max_size=6), st.lists(SPANS, max_size=3))
def test_what_is_stored_would_be_taken_again_unchanged(text, spans):
    if check_message(text, spans, None) is None:
        stored = normal_form(text, spans)
        assert check_message(*stored, None) is None
        assert normal_form(*stored) == stored


def test_entities_above_a_hundred_are_ignored(bot, dm):
    spans = [entity("bold", place, 1) for place in range(120)]
    assert len(bot("sendMessage", chat_id=dm.id, text="x" * 120, entities=spans)["entities"]) == 100


def test_code_over_exactly_a_pre_is_refused_on_request(start):
    tg, bot = start(strict_code=True)
    dm = tg.private(tg.user(11))
    spans = [entity("pre", 0, 4), entity("code", 0, 4)]
    assert bot.error("sendMessage", chat_id=dm.id, text="code", entities=spans)[0] == 400


def test_what_telegram_would_change_silently_is_a_violation_on_request(start):
    tg, bot = start(strict_text=True)
    bot.send(tg.private(tg.user(11)), "text ")
    assert [text.partition(":")[0] for text in tg.violations] == ["lossy-text"]


@pytest.mark.parametrize("data", ["", "x" * 65, "€" * 22])
def test_callback_data_has_1_to_64_bytes(bot, tg, dm, data):
    markup = {"inline_keyboard": [[{"text": "go", "callback_data": data}]]}
    found = bot.error("sendMessage", chat_id=dm.id, text="x", reply_markup=markup)
    assert found == (400, "BUTTON_DATA_INVALID")
    markup = {"inline_keyboard": [[{"text": "go", "callback_data": "€" * 21 + "x"}]]}
    bot.send(dm, reply_markup=markup)


@pytest.mark.parametrize(
    "markup",
    [[], {}, {"inline_keyboard": [{}]}, {"inline_keyboard": [[{"text": "x"}]]}, "{"],
)
def test_a_malformed_keyboard_is_refused(bot, dm, markup):
    code, _ = bot.error("sendMessage", chat_id=dm.id, text="x", reply_markup=markup)
    assert code == 400


# Editing and deleting


def test_an_edit_is_seen_and_remembered(bot, dm):
    number = bot.send(dm, "one", reply_markup=CANCEL)
    bot("editMessageText", chat_id=dm.id, message_id=number, text="two")
    shown = dm.messages[-1]
    assert (shown.text, shown.buttons) == ("two", [])  # an edit without keyboard takes it away
    assert [edit.text for edit in shown.history] == ["one", "two"]
    assert shown.history[0].at < shown.history[1].at


def test_f6_an_edit_that_changes_nothing_is_refused(bot, dm):
    spans = [entity("bold", 0, 3)]
    number = bot.send(dm, "one", entities=spans, reply_markup=CANCEL)
    same = {"chat_id": dm.id, "message_id": number, "text": "one \n", "entities": spans}
    code, description = bot.error("editMessageText", **same, reply_markup=CANCEL)
    assert (code, description.partition(":")[0]) == (400, "message is not modified")
    bot("editMessageText", **same)  # the keyboard differs
    assert "not modified" in bot.error("editMessageText", **same)[1]
    empty = {"inline_keyboard": []}
    assert "not modified" in bot.error("editMessageText", **same, reply_markup=empty)[1]
    bot("editMessageText", **same | {"entities": []})  # the entities differ


def test_only_the_bots_own_messages_that_exist_are_edited(bot, dm):
    user_sent = dm.send("hello")
    number = bot.send(dm)
    text = {"chat_id": dm.id, "text": "new"}
    assert bot.error("editMessageText", message_id=user_sent.id, **text)[1] == (
        "message can't be edited"
    )
    dm.delete(dm.messages[-1])
    for missing in (number, 99):
        assert bot.error("editMessageText", message_id=missing, **text) == (
            400,
            "message to edit not found",
        )


def test_a_keyboard_is_changed_or_taken_away(bot, dm):
    number = bot.send(dm, reply_markup=CANCEL)
    edit = {"chat_id": dm.id, "message_id": number}
    assert "reply_markup" not in bot("editMessageReplyMarkup", **edit)
    assert bot.error("editMessageReplyMarkup", **edit)[1].startswith("message is not modified")
    bot("editMessageReplyMarkup", **edit, reply_markup=CANCEL)
    assert dm.visible()[0].buttons == ("cancel",)
    foreign = {"chat_id": dm.id, "message_id": dm.send("mine").id}
    assert bot.error("editMessageReplyMarkup", **foreign) == (400, "message can't be edited")
    missing = {"chat_id": dm.id, "message_id": 99}
    assert bot.error("editMessageReplyMarkup", **missing) == (400, "message to edit not found")
    bot("editMessageReplyMarkup", **edit)


def test_a_message_is_deleted_once(bot, dm):
    number = bot.send(dm)
    assert bot("deleteMessage", chat_id=dm.id, message_id=number) is True
    assert dm.messages == []
    assert bot.error("deleteMessage", chat_id=dm.id, message_id=number) == (
        400,
        "message to delete not found",
    )


def test_foreign_messages_of_a_group_are_deleted_by_admins_only(tg, bot, alice):
    group = tg.group(admins=[alice])
    sent = group.send("hello", by=alice)
    request = {"chat_id": group.id, "message_id": sent.id}
    assert bot.error("deleteMessage", **request) == (400, "message can't be deleted")
    group.set_member(tg.bot, Member("administrator"))
    bot("deleteMessage", **request)
    assert sent.deleted


def test_messages_grow_too_old_to_be_deleted_on_request(start):
    tg, bot = start(delete_age_limit_s=48 * 3600)
    dm = tg.private(tg.user(11))
    number = bot.send(dm)
    tg.api.clock.advance(48 * 3600 + 10)
    request = {"chat_id": dm.id, "message_id": number}
    assert bot.error("deleteMessage", **request) == (400, "message can't be deleted")


# Replies and threads


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "never there"])
def test_f7_a_reply_needs_its_target_unless_it_says_otherwise(bot, dm, gone):
    asked = dm.send("question")
    assert bot("sendMessage", chat_id=dm.id, text="x", reply_parameters={"message_id": asked.id})[
        "reply_to_message"
    ]["text"] == ("question")
    if gone:
        dm.delete(asked)
    target = asked.id if gone else 99
    for reply in (
        {"reply_parameters": {"message_id": target}},
        {"reply_to_message_id": target},
    ):
        found = bot.error("sendMessage", chat_id=dm.id, text="x", **reply)
        assert found == (400, "message to be replied not found")
    for lenient in (
        {"reply_parameters": {"message_id": target, "allow_sending_without_reply": True}},
        {"reply_to_message_id": target, "allow_sending_without_reply": True},
    ):
        sent = bot("sendMessage", chat_id=dm.id, text="alone", **lenient)
        assert "reply_to_message" not in sent


def test_the_old_reply_parameter_can_be_forbidden(start):
    tg, bot = start(strict_reply=True)
    dm = tg.private(tg.user(11))
    target = dm.send("question").id
    assert bot.error("sendMessage", chat_id=dm.id, text="x", reply_to_message_id=target)[0] == 400
    assert tg.violations[0].startswith("unknown-parameter: ")


def test_a_reply_shows_its_target_but_no_further_one(bot, dm):
    first = dm.send("one")
    second = bot.send(dm, "two", reply_parameters={"message_id": first.id})
    dm.send("three", reply_to=second)
    shown = bot.updates()[-1]["message"]["reply_to_message"]
    assert shown["text"] == "two"
    assert shown["from"]["is_bot"]
    assert "reply_to_message" not in shown
    dm.delete(first)
    edited = bot("editMessageText", chat_id=dm.id, message_id=second, text="changed")
    assert "reply_to_message" not in edited


def test_a_topic_message_says_that_it_is_one(bot, forum, alice):
    topic = forum.topic("api")
    topic.send("hello", by=alice)
    got = bot.updates()[-1]["message"]
    assert (got["message_thread_id"], got["is_topic_message"]) == (topic.id, True)
    assert "reply_to_message" not in got
    sent = bot("sendMessage", chat_id=forum.id, text="x", message_thread_id=topic.id)
    assert (sent["message_thread_id"], sent["is_topic_message"]) == (topic.id, True)
    forum.send("general", by=alice)
    assert not {"message_thread_id", "is_topic_message"} & bot.updates()[-1]["message"].keys()


def test_a_topic_message_replies_to_the_root_on_request(start):
    tg, bot = start(implicit_topic_reply=True)
    alice = tg.user(11)
    topic = tg.forum(admins=[alice, tg.bot]).topic("api")
    topic.send("hello", by=alice)
    root = bot.updates()[-1]["message"]["reply_to_message"]
    assert root["message_id"] == topic.id
    assert root["from"]["id"] == tg.bot.id
    assert root["forum_topic_created"]["name"] == "api"


def test_f8_a_reply_in_an_ordinary_supergroup_has_a_thread_that_is_no_topic(tg, bot, alice):
    group = tg.group(members=[alice])
    root = group.send("root", by=alice)
    answer = group.send("answer", by=alice, reply_to=root)
    group.send("more", by=alice, reply_to=answer)
    for update in bot.updates()[1:]:
        assert update["message"]["message_thread_id"] == root.id
        assert "is_topic_message" not in update["message"]
    found = bot.error("sendMessage", chat_id=group.id, text="x", message_thread_id=root.id)
    assert found == (400, "message thread not found")
    assert tg.violations[0].startswith("thread-outside-topics: ")


def test_a_thread_must_be_an_open_topic(tg, bot, forum, alice):
    topic = forum.topic("api")
    inside = topic.send("hello", by=alice)
    request = {"chat_id": forum.id, "text": "x"}
    assert bot.error("sendMessage", **request, message_thread_id=1) == (
        400,
        "message thread not found",
    )
    forum.set_member(tg.bot, Member("member"))
    topic.close()
    assert bot.error("sendMessage", **request, message_thread_id=topic.id) == (400, "TOPIC_CLOSED")
    topic.delete()
    assert bot.error("sendMessage", **request, message_thread_id=topic.id) == (
        400,
        "message thread not found",
    )
    assert inside.deleted
    assert tg.violations == []


def test_topics_are_created_and_renamed_by_those_who_may(tg, bot, forum, alice):
    chat = {"chat_id": forum.id}
    made = bot("createForumTopic", **chat, name="api")
    thread = {"message_thread_id": made["message_thread_id"]}
    assert made["name"] == "api"
    assert bot.error("editForumTopic", **chat, **thread, name="api") == (400, "TOPIC_NOT_MODIFIED")
    assert bot("editForumTopic", **chat, **thread, name="web") is True
    assert bot.error("editForumTopic", **chat, message_thread_id=99, name="x") == (
        400,
        "message thread not found",
    )
    for name in ("", "x" * 129):
        assert bot.error("createForumTopic", **chat, name=name)[0] == 400
    topic = forum.topic("gone")
    topic.delete()
    assert bot.error("editForumTopic", **chat, message_thread_id=topic.id, name="x") == (
        400,
        "TOPIC_ID_INVALID",
    )
    forum.set_member(tg.bot, Member("administrator", can_manage_topics=False))
    assert bot.error("createForumTopic", **chat, name="x") == (
        400,
        "not enough rights to create a topic",
    )
    dm = tg.private(alice)
    assert bot.error("createForumTopic", chat_id=dm.id, name="x") == (
        400,
        "the chat is not a forum",
    )
    assert bot.updates() == []  # a bot does not hear of what it did


def test_the_same_topic_name_is_accepted_on_request(start):
    tg, bot = start(same_topic_name_fails=False)
    topic = tg.forum(admins=[tg.user(1), tg.bot]).topic("api")
    request = {"chat_id": topic.room.id, "message_thread_id": topic.id, "name": "api"}
    assert bot("editForumTopic", **request) is True


# Chats


def test_chats_that_the_bot_cannot_write_to(tg, bot, alice, dm):
    group = tg.group(kind="group", members=[alice])
    hello = {"text": "x"}
    for unknown in (99, "@nobody"):
        assert bot.error("sendMessage", chat_id=unknown, **hello) == (400, "chat not found")
    assert bot.error("sendMessage", **hello) == (400, "chat_id is empty")
    assert bot.error("sendMessage", chat_id=[], **hello)[0] == 400
    dm.block_bot()
    dm.send("nobody hears this")
    assert bot.updates() == []
    assert bot.error("sendMessage", chat_id=dm.id, **hello) == (
        403,
        "Forbidden: bot was blocked by the user",
    )
    group.set_member(tg.bot, Member("kicked"))
    assert bot.error("sendMessage", chat_id=group.id, **hello) == (
        403,
        "Forbidden: bot was kicked from the group chat",
    )
    group.set_member(tg.bot, Member("left"))
    assert bot.error("getChat", chat_id=group.id)[0] == 403


def test_an_upgraded_group_names_its_new_id(tg, bot, alice):
    group = tg.group(kind="group", members=[alice])
    group.send("before", by=alice)
    new = group.upgrade(by=alice)
    reply = bot.post("sendMessage", chat_id=group.id, text="x").json()
    assert reply["error_code"] == 400
    assert reply["parameters"] == {"migrate_to_chat_id": new.id}
    bot.send(new, "here")
    assert [message.text for message in new.messages] == ["here"]
    keys = [update["message"].keys() for update in bot.updates()]
    assert "migrate_to_chat_id" in keys[1]
    assert "migrate_from_chat_id" in keys[2]


def test_members_and_their_rights(tg, bot, alice):
    bob, stranger = tg.user(12, "Bob"), tg.user(13, "Eve")
    group = tg.forum(admins=[alice, tg.bot], members=[bob])

    def member(user_id):
        return bot("getChatMember", chat_id=group.id, user_id=user_id)

    assert member(alice.id)["status"] == "creator"
    assert member(bob.id)["status"] == "member"
    assert member(stranger.id)["status"] == "left"
    assert member(tg.bot.id)["status"] == "administrator"
    assert member(tg.bot.id)["can_manage_topics"] is True
    assert bot.error("getChatMember", chat_id=group.id, user_id=99) == (400, "user not found")
    chat = bot("getChat", chat_id=group.id)
    assert (chat["type"], chat["is_forum"], chat["title"]) == ("supergroup", True, "team")
    assert tg.private(bob) == tg.private(bob)


# Buttons, commands, small things


def test_a_pressed_button_is_answered_within_its_time(tg, bot, dm, alice):
    bot.send(dm, reply_markup=CANCEL)
    pressed = alice.press(dm.messages[-1], "cancel")
    query = bot.updates()[-1]["callback_query"]
    assert (query["data"], query["from"]["id"]) == ("takopi:cancel", alice.id)
    assert query["message"]["reply_markup"] == CANCEL
    assert tg.unanswered_callbacks() == [pressed]
    long = bot.error("answerCallbackQuery", callback_query_id=query["id"], text="x" * 201)
    assert long == (400, "MESSAGE_TOO_LONG")
    assert bot("answerCallbackQuery", callback_query_id=query["id"], text="cancelling...") is True
    assert pressed.answer["text"] == "cancelling..."
    assert tg.unanswered_callbacks() == []
    assert bot.error("answerCallbackQuery", callback_query_id="99")[0] == 400
    pressed = dm.messages[-1].press()
    tg.api.clock.advance(16)
    code, description = bot.error("answerCallbackQuery", callback_query_id=pressed.id)
    assert (code, description.partition(" and ")[0]) == (400, "query is too old")


def test_the_message_of_a_button_may_be_gone(bot, dm):
    bot.send(dm, reply_markup=CANCEL)
    shown = dm.messages[-1]
    dm.delete(shown)
    shown.press("cancel")
    assert bot.updates()[-1]["callback_query"]["message"]["date"] == 0


def test_a_button_that_is_not_there_cannot_be_pressed(bot, dm):
    bot.send(dm, reply_markup=CANCEL)
    with pytest.raises(AssertionError, match="no single button 'stop'"):
        dm.messages[-1].press("stop")


def test_what_is_left_over_is_told_at_the_end(tg, bot, dm):
    bot.send(dm, reply_markup=CANCEL)
    dm.messages[-1].press()
    assert [text.partition(":")[0] for text in tg.leftovers()] == [
        "unanswered-callback",
        "live-button",
    ]
    with pytest.raises(AssertionError, match="live-button"):
        tg.check()
    tg.accept("unanswered-callback", "live-button")
    tg.check()


def test_the_command_menu_is_kept_per_scope(tg, bot):
    menu = [{"command": "new", "description": "start a new thread"}]
    bot("setMyCommands", commands=menu)
    assert bot("getMyCommands") == menu
    assert tg.commands() == menu
    assert bot("getMyCommands", scope={"type": "all_group_chats"}) == []


@pytest.mark.parametrize(
    ("menu", "description"),
    [
        ([{"command": "New", "description": "x"}], "BOT_COMMAND_INVALID"),
        ([{"command": "x" * 33, "description": "x"}], "BOT_COMMAND_INVALID"),
        ([{"command": "new", "description": ""}], "BOT_COMMAND_DESCRIPTION_INVALID"),
        ([{"command": "new", "description": "x" * 257}], "BOT_COMMAND_DESCRIPTION_INVALID"),
        ([{"command": "new", "description": "x"}] * 101, "BOT_COMMANDS_TOO_MUCH"),
        (None, "expected an Array of BotCommand"),
    ],
)
def test_a_bad_command_menu_is_refused(bot, menu, description):
    assert bot.error("setMyCommands", commands=menu) == (400, description)


def test_chat_actions_and_reactions(bot, dm):
    sent = dm.send("hello")
    assert bot("sendChatAction", chat_id=dm.id, action="typing") is True
    assert bot.error("sendChatAction", chat_id=dm.id, action="dancing")[0] == 400
    eyes = [{"type": "emoji", "emoji": "👀"}]
    assert bot("setMessageReaction", chat_id=dm.id, message_id=sent.id, reaction=eyes) is True
    assert sent.message.reactions == eyes
    request = {"chat_id": dm.id, "message_id": sent.id}
    assert bot.error("setMessageReaction", **request, reaction=eyes * 2)[0] == 400
    assert bot.error("setMessageReaction", **request, reaction=[{"type": "paid"}])[0] == 400
    assert bot.error("setMessageReaction", chat_id=dm.id, message_id=99, reaction=eyes)[0] == 400


# Files


def send_document(bot, room, name="a.txt", data=b"data", **fields):
    files = {"document": (name, data)}
    return bot.http.post("sendDocument", data={"chat_id": room.id, **fields}, files=files).json()


def test_a_document_arrives_as_it_was_sent(bot, tg, dm):
    data = bytes(range(256)) * 3 + b"\r\n--nearly a boundary\r\n"
    target = dm.send("please").id
    reply = json.dumps({"message_id": target})
    sent = send_document(
        bot,
        dm,
        "größe ünd.bin",
        data,
        caption="here",
        disable_notification="true",
        reply_parameters=reply,
    )["result"]
    assert sent["document"]["file_name"] == "größe ünd.bin"
    assert sent["document"]["file_size"] == len(data)
    assert (sent["caption"], sent["reply_to_message"]["message_id"]) == ("here", target)
    assert tg.api.state.files[sent["document"]["file_id"]].data == data
    assert dm.visible()[-1].media == "document"
    assert dm.visible()[-1].silent
    again = bot("sendDocument", chat_id=dm.id, document=sent["document"]["file_id"])
    assert again["document"] == sent["document"]
    assert bot.error(
        "editMessageText", chat_id=dm.id, message_id=again["message_id"], text="x"
    ) == (
        400,
        "there is no text in the message to edit",
    )


def test_a_document_has_limits(start):
    tg, bot = start(upload_limit_bytes=1000)
    dm = tg.private(tg.user(11))
    assert send_document(bot, dm, data=b"x" * 1000)["ok"]
    assert send_document(bot, dm, data=b"x" * 1001)["error_code"] == 413
    assert send_document(bot, dm, data=b"")["error_code"] == 400
    assert send_document(bot, dm, caption="x" * 1024)["ok"]
    too_long = send_document(bot, dm, caption="x" * 1025)
    assert too_long["description"] == "Bad Request: message caption is too long"
    assert bot.error("sendDocument", chat_id=dm.id)[0] == 400


def test_a_file_of_a_user_is_downloaded(tg, bot, dm):
    dm.document("a b.txt", b"\x00content", caption="/file put x")
    message = bot.updates()[-1]["message"]
    assert message["caption_entities"] == [entity("bot_command", 0, 5)]
    found = bot("getFile", file_id=message["document"]["file_id"])
    assert found["file_path"].endswith(".txt")
    url = f"{tg.url}/file/bot{tg.token}/{found['file_path']}"
    assert bot.http.get(url).content == b"\x00content"
    assert bot.http.get(url + "x").json()["error_code"] == 404
    tg.api.clock.advance(3601)
    assert bot.http.get(url).status_code == 404
    assert bot.error("getFile", file_id="unknown")[0] == 400


def test_a_file_above_20_mib_cannot_be_fetched(bot, dm):
    dm.document("big.bin", b"x", size=20 * 1024 * 1024 + 1)
    document = bot.updates()[-1]["message"]["document"]
    assert document["file_size"] > 20 * 1024 * 1024
    assert bot.error("getFile", file_id=document["file_id"]) == (400, "file is too big")


def test_a_voice_note_is_transcribed(tg, bot, dm):
    dm.voice("run the tests")
    found = bot("getFile", file_id=bot.updates()[-1]["message"]["voice"]["file_id"])
    audio = bot.http.get(f"{tg.url}/file/bot{tg.token}/{found['file_path']}").content
    url = f"{tg.url}/v1/audio/transcriptions"

    def transcribe(audio, key="Bearer k", model="m"):
        files = {"file": ("voice.ogg", audio)}
        headers = {"Authorization": key}
        return bot.http.post(url, files=files, data={"model": model}, headers=headers)

    assert transcribe(audio).json() == {"text": "run the tests"}
    assert transcribe(audio, key="").status_code == 401
    assert transcribe(audio, model="").status_code == 400
    assert transcribe(b"noise").status_code == 400
    tg.fail("audio/*", Http(503))
    assert transcribe(audio).status_code == 503


# What users do


def test_an_update_has_the_documented_keys(bot, dm, alice):
    dm.send("/new@fake_bot go @alice_b")
    update = bot.updates()[0]
    message = update["message"]
    assert update.keys() == {"update_id", "message"}
    assert message.keys() == {"message_id", "from", "chat", "date", "text", "entities"}
    assert message["from"].keys() == {"id", "is_bot", "first_name", "username"}
    assert message["chat"] == {
        "id": alice.id,
        "type": "private",
        "first_name": "Alice",
        "username": "alice",
    }
    assert message["entities"] == [entity("bot_command", 0, 13), entity("mention", 17, 8)]
    assert abs(message["date"] - time.time()) < 5


SENT = {"message_id", "from", "chat", "date"}
FILE = {"file_id", "file_unique_id", "file_size"}
GROUP = {"id", "type", "title"}


def test_updates_of_every_kind_have_the_documented_keys(start):
    tg, bot = start(implicit_topic_reply=True)
    alice = tg.user(11, "Alice")
    dm, group = tg.private(alice), tg.group(members=[alice])
    forum = tg.forum(admins=[tg.bot, alice])
    bot.send(dm, reply_markup=CANCEL)
    dm.messages[-1].press(by=alice)
    group.send("/go@fake_bot", by=alice)
    topic = forum.topic("work")
    topic.send("in a topic", by=alice)
    dm.forward(["text"])
    dm.album([("a.jpg", b"a"), ("b.jpg", b"b")])
    dm.voice()
    dm.document("a.txt", b"a", caption="look")
    button, command, in_topic, forward, photo, _, voice, document = bot.updates()

    query = button["callback_query"]
    assert query.keys() == {"id", "from", "message", "chat_instance", "data"}
    assert query["message"].keys() == SENT | {"text", "reply_markup"}
    assert command["message"].keys() == SENT | {"text", "entities"}
    assert command["message"]["chat"].keys() == GROUP
    message = in_topic["message"]
    topical = {"message_thread_id", "is_topic_message"}
    assert message.keys() == SENT | topical | {"text", "reply_to_message"}
    assert message["chat"].keys() == GROUP | {"is_forum"}
    assert message["reply_to_message"].keys() == SENT | topical | {"forum_topic_created"}
    assert forward["message"].keys() == SENT | {"text", "forward_origin"}
    assert photo["message"].keys() == SENT | {"photo", "media_group_id"}
    assert photo["message"]["photo"][-1].keys() == FILE | {"width", "height"}
    assert voice["message"].keys() == SENT | {"voice"}
    assert voice["message"]["voice"].keys() == FILE | {"duration", "mime_type"}
    assert document["message"].keys() == SENT | {"document", "caption"}
    assert document["message"]["document"].keys() == FILE | {"file_name", "mime_type"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("🐙 /go", [("bot_command", 3, 3)]),
        ("a@b.c /usr/bin x/y", []),
        ("hello @fake_bot", [("mention", 6, 9)]),
        ("@botany, @fake_bot!", [("mention", 0, 7), ("mention", 9, 9)]),
    ],
)
def test_commands_and_mentions_are_marked(bot, dm, text, found):
    dm.send(text)
    entities = bot.updates()[-1]["message"].get("entities", [])
    assert [(e["type"], e["offset"], e["length"]) for e in entities] == found


def test_f10_a_forward_names_its_origin(start):
    for legacy in (False, True):
        tg, bot = start(legacy_forward_fields=legacy)
        dm, other = tg.private(tg.user(11)), tg.private(tg.user(12, "Bob"))
        note = other.send("note")
        dm.forward(["of a stranger", note], comment="summarize")
        comment, stranger, known = (update["message"] for update in bot.updates()[1:])
        assert comment["text"] == "summarize"
        assert "forward_origin" not in comment
        assert stranger["forward_origin"]["type"] == "hidden_user"
        assert known["forward_origin"]["sender_user"]["first_name"] == "Bob"
        assert ("forward_date" in known) is ("forward_sender_name" in stranger) is legacy


def test_an_album_is_several_messages_with_one_id(bot, dm):
    dm.album([("a.jpg", b"a"), ("b.jpg", b"bb")], caption="look")
    first, second = (update["message"] for update in bot.updates())
    assert first["media_group_id"] == second["media_group_id"]
    assert first["caption"] == "look"
    assert "caption" not in second
    assert [size["file_size"] for size in second["photo"]] == [5, 2]


def test_a_long_text_is_cut_by_the_users_client(bot, dm):
    text = "🐙" * 3000
    dm.send_long(text)
    parts = [update["message"]["text"] for update in bot.updates()]
    assert "".join(parts) == text
    assert [units(part) for part in parts] == [4096, 1904]


def test_an_edited_message_is_an_update_of_its_own(bot, dm, alice):
    sent = alice.send(dm, "hello")
    alice.edit(sent, "goodbye")
    assert [list(update)[1] for update in bot.updates()] == ["message", "edited_message"]
    assert bot.updates()[1]["edited_message"]["text"] == "goodbye"


def test_bots_do_not_hear_each_other(tg, bot, alice):
    group = tg.group(members=[alice])
    group.send("beep", by=tg.user(77, "Other", bot=True))
    bot.send(group, "mine")
    assert bot.updates() == []
    group.send("anonymous", anonymous=True)
    message = bot.updates()[0]["message"]
    assert message["from"]["id"] == 1087968824
    assert message["sender_chat"]["id"] == group.id


def test_privacy_hides_what_is_not_meant_for_the_bot(start):
    tg, bot = start(privacy=True)
    alice = tg.user(11, "Alice")
    group = tg.group(members=[alice])
    answer = bot.send(group, "answer")
    for text in ("hello", "/go", "/go@fake_bot", "/go@other_bot", "hi @fake_bot", "hi @fake_bots"):
        group.send(text, by=alice)
    group.send("a reply", by=alice, reply_to=answer)
    seen = [update["message"]["text"] for update in bot.updates()]
    assert seen == ["/go", "/go@fake_bot", "hi @fake_bot", "a reply"]
    assert bot("getMe")["can_read_all_group_messages"] is False
    group.set_member(tg.bot, Member("administrator"))
    group.send("admins hear all", by=alice)
    assert bot.updates()[-1]["message"]["text"] == "admins hear all"


# Updates


def test_updates_stay_until_an_offset_confirms_them(bot, dm):
    dm.send("one")
    dm.send("two")
    first, second = bot.updates()
    assert second["update_id"] == first["update_id"] + 1
    assert bot.updates() == [first, second]
    assert bot.updates(offset=second["update_id"]) == [second]
    assert bot.updates() == [second]
    dm.send("three")
    third = bot.updates(offset=-1)[0]
    assert bot.updates() == [third]
    assert bot.updates(offset=third["update_id"] + 1) == []


def test_a_batch_holds_at_most_a_hundred(bot, dm):
    for number in range(105):
        dm.send(str(number))
    batch = bot.updates()
    assert len(batch) == len(bot.updates(limit=1000)) == 100
    assert len(bot.updates(limit=3)) == 3
    assert len(bot.updates(offset=batch[-1]["update_id"] + 1)) == 5


def test_updates_disappear_after_a_day(tg, bot, dm):
    dm.send("old")
    tg.api.clock.advance(23 * 3600)
    dm.send("new")
    assert len(bot.updates()) == 2
    tg.api.clock.advance(2 * 3600)
    assert [update["message"]["text"] for update in bot.updates()] == ["new"]


def test_allowed_updates_hold_for_what_comes_later(bot, dm):
    sent = dm.send("hello")
    dm.edit(sent, "before")
    assert len(bot.updates(allowed_updates=["message"])) == 2
    dm.edit(sent, "after")
    assert len(bot.updates()) == 2
    dm.send("more")
    assert len(bot.updates()) == 3
    bot.updates(allowed_updates=[])  # the default again
    dm.edit(sent, "again")
    assert len(bot.updates()) == 4


def test_a_long_poll_returns_with_the_next_message(tg, bot, dm):
    with in_background(lambda: (bot.updates(timeout=50), time.monotonic())) as results:
        tg.wait_for(lambda: polls(tg))
        sent_at = time.monotonic()
        dm.send("hello")
    updates, returned_at = results[0]
    assert updates[0]["message"]["text"] == "hello"
    assert returned_at - sent_at < 2


def test_a_long_poll_ends_empty_after_its_scaled_time(start):
    _, bot = start(time_scale=0.005)
    began = time.monotonic()
    assert bot.updates(timeout=50) == []
    assert 0.25 <= time.monotonic() - began < 3


def test_a_client_that_hangs_up_confirms_nothing(tg, bot, dm):
    bot("getMe")
    with pytest.raises(httpx.ReadTimeout):
        bot.http.post("getUpdates", json={"timeout": 5000}, timeout=0.05)
    tg.wait_for(lambda: not polls(tg))
    dm.send("hello")
    assert len(bot.updates()) == 1


@pytest.mark.parametrize("loser", ["waiting", "new"])
def test_f16_of_two_polls_one_is_told_of_a_conflict(start, loser):
    tg, bot = start(poll_loser=loser)
    dm = tg.private(tg.user(11))
    with Bot(tg).http as other, in_background(lambda: bot.post("getUpdates", timeout=50)) as first:
        tg.wait_for(lambda: polls(tg))
        with in_background(lambda: other.post("getUpdates", json={"timeout": 50})) as second:
            tg.wait_for(lambda: tg.api.queue.conflicts)
            tg.wait_for(lambda: polls(tg))
            dm.send("hello")
    refused, served = (first, second) if loser == "waiting" else (second, first)
    assert refused[0].status_code == 409
    assert "terminated by other getUpdates request" in refused[0].json()["description"]
    assert served[0].json()["result"][0]["message"]["text"] == "hello"


def test_a_rival_ends_the_poll_and_every_next_one_until_it_leaves(tg, bot):
    with in_background(lambda: bot.post("getUpdates", timeout=50)) as waiting:
        tg.wait_for(lambda: polls(tg))
        with tg.rival():
            tg.wait_for(lambda: waiting)
            assert waiting[0].status_code == 409
            assert bot.error("getUpdates")[0] == 409
        assert not polls(tg)
    assert bot.updates() == []


def test_a_webhook_excludes_polling(tg, bot, dm):
    dm.send("hello")
    bot("setWebhook", url="https://example.org/hook")
    info = bot("getWebhookInfo")
    assert (info["url"], info["pending_update_count"]) == ("https://example.org/hook", 1)
    code, description = bot.error("getUpdates")
    assert (code, "webhook is active" in description) == (409, True)
    bot("deleteWebhook")
    assert len(bot.updates()) == 1


def test_a_webhook_ends_the_poll_that_waits_and_needs_https(tg, bot):
    with in_background(lambda: bot.error("getUpdates", timeout=50)) as waiting:
        tg.wait_for(lambda: polls(tg))
        assert "HTTPS" in bot.error("setWebhook", url="http://example.org/hook")[1]
        bot("setWebhook", url="https://example.org/hook")
    assert waiting == [(409, "Conflict: terminated by setWebhook request")]
    bot("setWebhook", url="")
    assert bot.updates() == []


def test_the_driver_decides_where_a_batch_ends(tg, bot, dm):
    with in_background(lambda: bot.updates(timeout=100)) as results:
        tg.wait_for(lambda: polls(tg))
        with tg.held():
            dm.send("one")
            time.sleep(0.03)
            dm.send("two")
    assert len(results[0]) == 2
    tg.one_by_one()
    assert len(bot.updates()) == 1


def test_f9_f18_updates_can_be_poisonous_or_repeated(tg, bot, dm):
    sent = dm.send("hello")
    poison = {"message_id": "not a number"}
    poison_id = tg.push("message", poison)
    first = bot.updates()[0]["update_id"]
    assert bot.updates()[1] == {"update_id": poison_id, "message": poison}
    assert bot.updates(offset=poison_id + 1) == []
    assert tg.repeat(sent, same_id=first) == first
    again = bot.updates(offset=poison_id + 1)
    assert [update["update_id"] for update in again] == [first]
    assert bot.updates(offset=poison_id + 1) == []  # once
    assert tg.repeat(sent) == poison_id + 1


# Faults


@pytest.mark.parametrize(
    ("action", "status", "body"),
    [
        (Http(502), 502, b"<html"),
        (Garbage(), 200, b"\x00\xff"),
        (Garbage(b"[]"), 200, b"[]"),
        (WrongShape({"id": 1}), 200, b'{"ok": true, "result": {"id": 1}}'),
        (Refuse(400, "Bad Request: chat not found"), 400, b'{"ok": false'),
        (Flood(0.5), 429, b'{"ok": false, "error_code": 429'),
        (Flood(0.5, "ok-200"), 200, b'{"ok": false, "error_code": 429'),
        (Flood(0.5, "text"), 429, b"Too Many Requests: retry after 0.5"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_answer_is_replaced_once(tg, bot, dm, action, status, body, phase):
    tg.fail("sendMessage", action, phase=phase)
    reply = bot.post("sendMessage", chat_id=dm.id, text="x")
    assert reply.status_code == status
    assert reply.content.startswith(body)
    assert len(dm.messages) == (phase == "after")
    assert tg.calls()[-1].fault == type(action).__name__
    assert bot.post("getMe").status_code == 200


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [("json", {"retry_after": 0.2}), ("string", {"retry_after": "0.2"}), ("missing", None)],
)
def test_a_flood_wait_is_told_in_several_shapes(tg, bot, dm, shape, parameters):
    tg.fail("send*", Flood(0.2, shape))
    reply = bot.post("sendMessage", chat_id=dm.id, text="x").json()
    assert reply.get("parameters") == parameters


@pytest.mark.parametrize(
    ("when", "happened"), [("unread", 0), ("before", 0), ("after", 1), ("middle", 1)]
)
def test_a_connection_is_dropped(tg, bot, dm, when, happened):
    tg.fail("sendMessage", Drop(when))
    # While it still writes, the client learns of the reset in one of two ways.
    errors = (httpx.ReadError, httpx.RemoteProtocolError) if when == "unread" else httpx.ReadError
    with pytest.raises(errors):
        bot.post("sendMessage", chat_id=dm.id, text="x" * 2000)
    assert len(dm.messages) == happened
    bot.send(dm)


def test_a_rule_chooses_its_calls(tg, bot, dm, forum):
    tg.fail("SENDmessage", Http(500), chat=dm, nth=2, times=2)
    bad = tg.fail(
        "sendMessage", Http(504), when=lambda params: params.text("text") == "bad", times=None
    )

    def send(room, text):
        return bot.post("sendMessage", chat_id=room.id, text=text).status_code

    assert [send(forum, "x") for _ in range(3)] == [200, 200, 200]
    assert [send(dm, "x") for _ in range(4)] == [200, 500, 500, 200]
    assert [send(dm, "bad") for _ in range(3)] == [504, 504, 504]
    bad.release()
    assert send(dm, "bad") == 200


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_call_is_delayed(tg, bot, dm, phase):
    tg.fail("sendMessage", Delay(0.2), phase=phase)
    bot.send(dm)
    call = tg.calls("sendMessage")[0]
    assert call.replied - call.arrived >= 0.2
    sent_after = dm.messages[0].history[0].at - call.arrived
    assert (sent_after >= 0.2) is (phase == "before")


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_call_is_held_until_its_rule_is_released(tg, bot, dm, phase):
    rule = tg.fail("sendMessage", Block(), times=None, phase=phase)
    with in_background(lambda: bot.send(dm, "late")) as sent:
        tg.wait_for(lambda: rule.fired)
        with Bot(tg).http as other:
            other.post("getMe", json={})  # nobody else is held
        assert len(dm.messages) == (phase == "after")
        assert sent == []
        rule.release()
    assert [message.text for message in dm.messages] == ["late"]
    bot.send(dm)  # and the rule is over


def test_without_network_nothing_is_answered(tg, bot, dm):
    with in_background(lambda: _outcome(bot, "getUpdates", timeout=5000)) as poll:
        tg.wait_for(lambda: polls(tg))
        with tg.offline():
            tg.wait_for(lambda: poll)
            assert poll == ["dropped"]
            with pytest.raises(httpx.ConnectError):
                bot.post("getMe")
    assert _outcome(bot, "getMe") == 200
    assert [call.method for call in tg.calls()] == ["getUpdates", "getMe"]


def _outcome(bot, method, **params):
    try:
        return bot.post(method, **params).status_code
    except httpx.TransportError:
        return "dropped"


def test_connections_are_kept_alive_unless_told_otherwise(tg, bot):
    bot("getMe")
    assert "Connection" not in bot.post("getMe").headers
    tg.api.closes_idle = True
    assert bot.post("getMe").headers["Connection"] == "close"
    bot("getMe")


def test_f11_writing_during_a_flood_wait_is_a_violation(tg, bot, dm, forum):
    tg.fail("sendMessage", Flood(60), chat=dm)
    assert bot.error("sendMessage", chat_id=dm.id, text="x")[0] == 429
    bot.send(forum)  # the wait is for one chat
    bot("getChat", chat_id=dm.id)  # and for messages
    assert tg.violations == []
    bot.send(dm)
    assert tg.violations[0].startswith(f"early-after-429: sendMessage to {dm.id}")


def test_writing_after_a_flood_wait_is_fine(tg, bot, dm):
    tg.fail("sendMessage", Flood(0.05))
    bot.error("sendMessage", chat_id=dm.id, text="x")
    time.sleep(0.05)
    bot.send(dm)
    assert tg.violations == []


# Limits


@pytest.fixture
def paced():
    """A limiter with a clock that only moves when told."""
    clock = Clock(source=lambda: 0.0)
    return Limiter(clock, "enforce"), clock


def test_a_private_chat_takes_one_message_a_second_after_a_burst(paced):
    limiter, clock = paced
    assert [limiter.take(1, "sendMessage") for _ in range(3)] == [None] * 3
    assert limiter.take(1, "sendMessage") == pytest.approx(1, abs=0.01)
    clock.advance(1)
    for _ in range(20):
        assert limiter.take(1, "sendMessage") is None
        clock.advance(1)


def test_a_group_takes_twenty_a_minute(paced):
    limiter, clock = paced
    assert [limiter.take(-1, "sendMessage") for _ in range(20)] == [None] * 20
    assert limiter.take(-1, "sendMessage") == pytest.approx(3, abs=0.01)
    clock.advance(60)
    for _ in range(40):
        assert limiter.take(-1, "sendMessage") is None
        clock.advance(3)


def test_all_chats_together_take_thirty_a_second(paced):
    limiter, _ = paced
    taken = [limiter.take(chat, "sendMessage") for chat in range(1, 32)]
    assert taken[:30] == [None] * 30
    assert taken[30] is not None


def test_impatience_makes_the_wait_longer(paced):
    limiter, clock = paced
    for _ in range(3):
        limiter.take(1, "sendMessage")
    waits = [limiter.take(1, "sendMessage") for _ in range(5)]
    assert [round(wait) for wait in waits] == [1, 2, 4, 8, 8]
    clock.advance(7)
    assert limiter.take(1, "sendMessage") is not None
    clock.advance(8)
    assert limiter.take(1, "sendMessage") is None
    assert len(limiter.log) == 6


def test_the_limiter_may_only_watch(start):
    tg, bot = start(limits="log")
    dm = tg.private(tg.user(11))
    for _ in range(10):
        bot.send(dm)
    assert len(dm.messages) == 10
    assert tg.api.limiter.log[0].chat == dm.id


def test_flooding_is_answered_with_a_scaled_wait_that_is_enough(start):
    tg, bot = start(limits="enforce", time_scale=0.2)
    dm = tg.private(tg.user(11))
    while (reply := bot.post("sendMessage", chat_id=dm.id, text="x")).status_code == 200:
        pass
    assert len(dm.messages) >= 3
    parameters = reply.json()["parameters"]
    assert 0 < parameters["retry_after"] <= 0.2
    bot("getChat", chat_id=dm.id)  # reading is free
    time.sleep(parameters["retry_after"])
    bot.send(dm)


def test_f11_going_on_while_flooded_is_a_violation(start):
    tg, bot = start(limits="enforce", time_scale=10)
    dm = tg.private(tg.user(11))
    outcomes = [bot.post("sendMessage", chat_id=dm.id, text="x").status_code for _ in range(5)]
    assert outcomes == [200, 200, 200, 429, 429]
    assert [text.partition(":")[0] for text in tg.violations] == ["early-after-429"]


def test_unscaled_waits_are_whole_seconds(start):
    tg, bot = start(limits="enforce", time_scale=1)
    dm = tg.private(tg.user(11))
    for _ in range(3):
        bot.send(dm)
    reply = bot.post("sendMessage", chat_id=dm.id, text="x").json()
    assert reply["parameters"] == {"retry_after": 1}
    assert reply["description"] == "Too Many Requests: retry after 1"


# Watching


def test_every_call_is_recorded_with_its_times(tg, bot, dm):
    bot.send(dm, "one")
    time.sleep(0.02)
    bot.send(dm, "two")
    bot.error("sendMessage", chat_id=dm.id, text="")
    calls = tg.calls("sendMessage", chat=dm)
    assert [call.status for call in calls] == [200, 200, 400]
    assert [call.effect for call in calls] == ["message 1 sent", "message 2 sent", None]
    assert all(call.arrived <= call.replied for call in calls)
    assert tg.spacing(dm)[0] >= 0.02
    assert '"text": "two"' in str(calls[1])


def test_the_chat_is_seen_as_people_see_it(tg, bot, dm, alice):
    asked = alice.send(dm, "question")
    number = bot.send(
        dm,
        "answer",
        reply_parameters={"message_id": asked.id},
        reply_markup=CANCEL,
        disable_notification=True,
    )
    seen = dm.visible()[-1]
    assert (seen.by, seen.text, seen.buttons, seen.reply_to, seen.silent) == (
        "bot",
        "answer",
        ("cancel",),
        asked.id,
        True,
    )
    assert str(seen) == "   2 bot (to 1): answer [cancel]"
    assert dm.find("answer").id == dm.find(startswith="ans").id == number
    assert dm.find("question") is None  # not the bot's
    assert dm.find("answer", after=number) is None
    assert tg.report().startswith("Alice (11)\n   1 Alice: question\n   2 bot")


def test_waiting_ends_with_the_event_or_shows_the_chat(tg, bot, dm):
    with in_background(lambda: (time.sleep(0.05), bot.send(dm, "done"))):
        assert dm.bot_message(startswith="done").text == "done"
    with pytest.raises(AssertionError, match="1 bot: done") as failure:
        dm.bot_message("never", timeout=0.05)
    assert "#1 sendMessage" in str(failure.value)


def test_idle_means_that_only_polls_are_asked_for(tg, bot, dm):
    with in_background(lambda: bot.updates(timeout=10)):
        tg.wait_for(lambda: polls(tg))
        bot.send(dm)
        assert not tg.is_idle(seconds=60)
        tg.wait_for(tg.is_idle)


@pytest.mark.anyio
async def test_async_code_waits_without_blocking_its_loop(tg, dm):
    with pytest.raises(RuntimeError, match="until"):
        dm.bot_message("x")
    async with httpx.AsyncClient(base_url=f"{tg.url}/bot{tg.token}/") as client:

        async def answer():
            updates = (await client.post("getUpdates", json={"timeout": 100})).json()["result"]
            text = updates[0]["message"]["text"].upper()
            await client.post("sendMessage", json={"chat_id": dm.id, "text": text})

        async with anyio.create_task_group() as group:
            group.start_soon(answer)
            dm.send("hello")
            assert (await tg.until(lambda: dm.find("HELLO"))).text == "HELLO"
    with pytest.raises(AssertionError, match="nothing of the kind"):
        await tg.until(lambda: False, timeout=0.02)


def test_a_client_that_runs_wild_is_cut_off(start):
    tg, bot = start(server={"max_requests": 3})
    outcomes = [_outcome(bot, "getMe") for _ in range(5)]
    assert outcomes == [200, 200, 200, "dropped", "dropped"]
    assert tg.violations[0] == "runaway: the server closed after 3 requests"
    tg, bot = start(server={"lifetime_s": 0})
    assert _outcome(bot, "getMe") == "dropped"


def test_many_clients_at_once_lose_nothing(start):
    tg, _ = start(time_scale=1)
    dm = tg.private(tg.user(11))

    def work():
        with Bot(tg).http as http:
            for _ in range(20):
                http.post("sendMessage", json={"chat_id": dm.id, "text": "x"}).raise_for_status()

    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(in_background(work))
    assert [message.id for message in dm.messages] == list(range(1, 81))
    assert [call.seq for call in tg.calls()] == list(range(1, 81))
    assert all(one.arrived <= other.arrived for one, other in pairwise(tg.calls()))


def test_nothing_is_left_after_the_server_ends():
    before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        with FakeTelegram() as tg:
            rule = tg.fail("sendMessage", Block(), times=None)
            idle, waiting, blocked = (Bot(tg) for _ in range(3))
            for bot in (idle, waiting, blocked):
                stack.enter_context(bot.http)
            idle("getMe")
            poll = stack.enter_context(
                in_background(lambda: _outcome(waiting, "getUpdates", timeout=5000))
            )
            stack.enter_context(in_background(lambda: _outcome(blocked, "sendMessage")))
            tg.wait_for(lambda: polls(tg) and rule.fired)
            began = time.monotonic()
        assert time.monotonic() - began < 1
    assert poll == ["dropped"]
    assert set(threading.enumerate()) == before


def test_the_fixture_has_a_server_that_runs(telegram):  # noqa: F811
    dm = telegram.private(telegram.user(11))
    found = telegram.environment(dm)
    url = found["TAKOPI__TRANSPORTS__TELEGRAM__API_URL"]
    token = found["TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN"]
    request = {"chat_id": found["TAKOPI__TRANSPORTS__TELEGRAM__CHAT_ID"], "text": "hi"}
    httpx.post(f"{url}/bot{token}/sendMessage", json=request).raise_for_status()
    assert [message.text for message in dm.messages] == ["hi"]


def test_the_fixture_fails_tests_whose_client_behaves_badly(tmp_path):
    (tmp_path / "test_bad.py").write_text(
        "import logging\n"
        "import httpx\n"
        "from tests.fake_telegram.fixtures import telegram\n"
        "def test_violation(telegram):\n"
        "    url = f'{telegram.url}/bot{telegram.token}/makeCoffee'\n"
        "    httpx.post(url, json={})\n"
        "def test_token(telegram):\n"
        "    logging.getLogger('x').warning('token is %s', telegram.token)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert "2 passed, 2 errors" in done.stdout
    assert "unknown-method: makeCoffee" in done.stdout
    assert "the bot token is in the log: x" in done.stdout


# Without a socket, and by hand


@pytest.mark.anyio
async def test_the_same_server_without_a_socket():
    tg = Driver(FakeBotApi())
    dm = tg.private(tg.user(11, "Alice"))
    transport = mock_transport(tg.api)
    base = f"https://api.example.org/bot{tg.token}/"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:

        async def send():
            return await client.post("sendMessage", json={"chat_id": dm.id, "text": "hi"})

        assert (await send()).json()["result"]["message_id"] == 1
        assert (await client.post("getUpdates", json={"timeout": 1})).json()["result"] == []
        with anyio.move_on_after(0.02):
            await client.post("getUpdates", json={"timeout": 5000})
        assert not polls(tg)  # a client that was cancelled does not wait
        assert tg.is_idle(0)
        tg.fail("sendMessage", Drop("after"))
        with pytest.raises(httpx.ReadError):
            await send()
        tg.fail("sendMessage", Drop("unread"))
        with pytest.raises(httpx.ReadError):
            await send()
        tg.fail("sendMessage", Http(502))
        assert (await send()).status_code == 502
        with tg.offline(), pytest.raises(httpx.ConnectError):
            await send()
    assert len(dm.messages) == 2


def test_a_person_talks_to_a_bot_in_the_terminal(tmp_path):
    (tmp_path / "note.txt").write_text("note")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_telegram", "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"HOME": str(tmp_path)},
    )
    with process:
        settings = dict(process.stdout.readline().strip().split(" = ") for _ in range(3))
        url = f"{settings['api_url']}/bot{settings['bot_token']}/"
        chat = int(settings["chat_id"])

        def type_line(line):
            process.stdin.write(line + "\n")
            process.stdin.flush()

        with httpx.Client(base_url=url, timeout=5) as http:
            type_line("hello")
            poll = http.post("getUpdates", json={"timeout": 5}).json()["result"]
            assert poll[0]["message"]["text"] == "hello"
            message = {"chat_id": chat, "text": "hi there", "reply_markup": CANCEL}
            number = http.post("sendMessage", json=message).json()["result"]["message_id"]
            offset = poll[0]["update_id"] + 1
            type_line(f":press {number}")
            poll = http.post("getUpdates", json={"timeout": 5, "offset": offset}).json()["result"]
            query = poll[0]["callback_query"]["id"]
            answer = {"callback_query_id": query, "text": "cancelling..."}
            http.post("answerCallbackQuery", json=answer)
            type_line(f":file {tmp_path}/note.txt look")
            type_line(":reply 99 nobody")
            type_line(":dance")
            type_line(":wrong")
            output, _ = process.communicate(":quit\n", timeout=5)
    assert "\n+    2 bot: hi there [cancel]\n" in output
    assert "the button says: 'cancelling...'" in output
    assert "\nerror: no message '99'; :chat shows the numbers\n" in output
    assert "\nerror: no command :dance; :help lists them\n" in output
    assert "\nnothing\n" in output
    assert process.returncode == 0
