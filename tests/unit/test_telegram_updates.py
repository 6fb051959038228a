"""Updates: what is read of them, who is let in, and that each is handled once."""

import logging
import string
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.telegram.updates import (
    Access,
    Attachment,
    Callback,
    Ignored,
    InboundMessage,
    Intake,
    RepliedTo,
    Voice,
    parse_update,
    update_id_of,
)

CHAT, USER = -100, 42
OPEN = Access(frozenset({CHAT}))
ABSENT = object()  # of a field: not given


def message(message_id=10, chat=CHAT, sender=USER, **fields):
    found = {
        "message_id": message_id,
        "date": 1_700_000_000,
        "chat": {"id": chat, "type": "private" if chat > 0 else "supergroup"},
        "from": {"id": sender, "is_bot": False, "username": "ann"},
        "text": "hello",
        **fields,
    }
    if sender is None:
        del found["from"]
    return {key: value for key, value in found.items() if value is not ABSENT}


def update(update_id=1, **fields):
    return {"update_id": update_id, "message": message(**fields)}


def button(update_id=1, chat=CHAT, sender=USER, **fields):
    query = {
        "id": "77",
        "from": {"id": sender, "is_bot": False},
        "message": {"message_id": 10, "chat": {"id": chat, "type": "supergroup"}, "date": 0},
        "data": "takopi:cancel",
        **fields,
    }
    return {"update_id": update_id, "callback_query": query}


def media(**fields):
    """An update without text."""
    return update(text=ABSENT, **fields)


# -- messages ----------------------------------------------------------------------------------


def test_a_message_is_read():
    raw = update(update_id=5)
    found = parse_update(raw)
    assert found == InboundMessage(
        chat_id=CHAT,
        message_id=10,
        text="hello",
        update_id=5,
        chat_type="supergroup",
        sender_id=USER,
        sender_username="ann",
        date=1_700_000_000,
    )
    assert found.raw is raw["message"]


def test_what_somebody_wrote_is_not_shown_with_the_raw_message():
    assert "1700000000, 'chat'" not in repr(parse_update(update()))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": "a", "caption": "b"}, "a"),
        ({"text": ABSENT, "caption": "b", "video": {"file_id": "v"}}, "b"),
        ({"text": ABSENT, "video": {"file_id": "v"}}, ""),
    ],
)
def test_the_text_is_the_text_else_the_caption_else_nothing(fields, text):
    assert parse_update(update(**fields)).text == text


DOCUMENT = {"file_id": "d", "file_name": "a.txt", "mime_type": "text/plain", "file_size": 7}
VIDEO = {"file_id": "v", "file_name": "a.mp4", "mime_type": "video/mp4", "file_size": 8}
PHOTO = [{"file_id": "p", "file_size": 9, "width": 1, "height": 1}]
STICKER = {"file_id": "s", "file_size": 3, "emoji": "x"}


@pytest.mark.parametrize(
    ("fields", "attachment"),
    [
        (
            {"document": DOCUMENT, "video": VIDEO, "photo": PHOTO},
            Attachment("d", "document", "a.txt", "text/plain", 7),
        ),
        ({"video": VIDEO, "photo": PHOTO}, Attachment("v", "video", "a.mp4", "video/mp4", 8)),
        ({"photo": PHOTO}, Attachment("p", "photo", size_bytes=9)),
        (
            {"photo": PHOTO, "sticker": STICKER, "caption": "/file"},
            Attachment("p", "photo", size_bytes=9),
        ),
    ],
)
def test_the_attachment_is_the_document_else_the_video_else_the_photo(fields, attachment):
    assert parse_update(media(**fields)).attachment == attachment


def test_a_sticker_with_a_file_command_is_an_attachment():
    found = parse_update(media(sticker=STICKER, caption="/file put x.webp"))
    assert found.attachment == Attachment("s", "sticker", size_bytes=3)


def test_a_sticker_alone_is_dropped():
    assert parse_update(media(sticker=STICKER)) == Ignored("empty")


def test_a_sticker_with_other_words_is_none():
    assert parse_update(media(sticker=STICKER, caption="put /file")).attachment is None


@pytest.mark.parametrize(
    ("sizes", "best"),
    [
        ([("a", 100, 1, 1), ("b", 1000, 1, 1)], "b"),
        ([("b", 1000, 1, 1), ("a", 100, 99, 99)], "b"),
        ([("a", None, 10, 10), ("b", None, 20, 20)], "b"),
        ([("a", None, 30, 30), ("b", 800, 1, 1)], "a"),
        ([("a", 5, 1, 1), ("b", 5, 9, 9)], "a"),
        ([("a", None, None, None), ("b", None, 1, 1)], "b"),
    ],
)
def test_the_largest_photo_is_the_best_and_the_first_of_equals(sizes, best):
    keys = ("file_id", "file_size", "width", "height")
    photo = [
        {key: value for key, value in zip(keys, size, strict=True) if value is not None}
        for size in sizes
    ]
    assert parse_update(media(photo=photo)).attachment.file_id == best


def test_a_voice_note_may_have_a_caption():
    voice = {"file_id": "o", "mime_type": "audio/ogg", "file_size": 99, "duration": 3}
    found = parse_update(media(voice=voice, caption="listen"))
    assert found.voice == Voice("o", "audio/ogg", 99, 3)
    assert found.text == "listen"
    assert parse_update(media(voice=voice)).attachment is None


@pytest.mark.parametrize("text", [ABSENT, "", " \n"])
def test_a_message_with_nothing_in_it_is_dropped(text):
    assert parse_update(update(text=text, new_chat_title="x")) == Ignored("empty")


def test_a_reply_is_read():
    reply = {
        "message_id": 9,
        "text": "working",
        "from": {"id": 7, "is_bot": True, "username": "takopi_bot"},
        "document": DOCUMENT,
    }
    assert parse_update(update(reply_to_message=reply)).reply_to == RepliedTo(
        9, "working", 7, True, "takopi_bot", Attachment("d", "document", "a.txt", "text/plain", 7)
    )


def test_the_reply_to_the_root_of_a_topic_is_none():
    root = {"message_id": 163, "text": "api", "from": {"id": 7, "is_bot": True}}
    found = parse_update(
        update(message_thread_id=163, is_topic_message=True, reply_to_message=root)
    )
    assert (found.thread_id, found.reply_to) == (163, None)


def test_a_reply_within_a_topic_is_one():
    found = parse_update(
        update(message_thread_id=163, is_topic_message=True, reply_to_message={"message_id": 170})
    )
    assert (found.thread_id, found.reply_to) == (163, RepliedTo(170))


def test_f08_a_reply_thread_of_an_ordinary_group_is_no_topic():
    found = parse_update(
        update(message_thread_id=163, reply_to_message={"message_id": 163, "text": "question"})
    )
    assert found.thread_id is None
    assert found.reply_to == RepliedTo(163, "question")


@pytest.mark.parametrize(
    ("chat", "private"),
    [
        ({"id": 42, "type": "private"}, True),
        ({"id": 42, "type": "group"}, False),
        ({"id": 42}, True),
        ({"id": -42}, False),
    ],
)
def test_a_chat_is_private_by_its_type_else_by_its_id(chat, private):
    assert parse_update({"message": {"message_id": 1, "chat": chat, "text": "x"}}).is_private is (
        private
    )


def test_a_sender_may_be_missing():
    assert parse_update(update(sender=None)).sender_id is None


def test_a_forum_and_an_album_are_recognised():
    chat = {"id": CHAT, "type": "supergroup", "is_forum": True}
    found = parse_update(media(photo=PHOTO, media_group_id="g1"))
    assert found.album_id == "g1"
    raw = update()
    raw["message"]["chat"] = chat
    assert parse_update(raw).is_forum is True


@pytest.mark.parametrize(
    "fields",
    [
        {"forward_origin": {"type": "user", "date": 1, "sender_user": {"id": 3}}},
        {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "x"}},
        {"forward_date": 1, "forward_sender_name": "x"},
        {"forward_from": {"id": 3}},
        {"forward_from_chat": {"id": -3}, "forward_from_message_id": 4},
        {"is_automatic_forward": True},
    ],
)
def test_f10_forwards_are_recognised_on_new_and_old_servers(fields):
    assert parse_update(update(**fields)).is_forward


def test_f10_the_date_is_read_and_other_messages_are_no_forwards():
    found = parse_update(update(is_automatic_forward=False))
    assert found.date == 1_700_000_000
    assert not found.is_forward


# -- buttons -----------------------------------------------------------------------------------


def test_a_button_is_read():
    assert parse_update(button(update_id=3)) == Callback("77", CHAT, 10, "takopi:cancel", 3, USER)


def test_a_button_without_data_is_read():
    raw = button()
    del raw["callback_query"]["data"]
    assert parse_update(raw).data is None


@pytest.mark.parametrize("gone", [None, ABSENT])
def test_a_button_without_message_is_dropped(gone):
    raw = button(message=gone)
    if gone is ABSENT:
        del raw["callback_query"]["message"]
    assert parse_update(raw) == Ignored("detached")


# -- what cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (None, "no object"),
        ([1], "no object"),
        ({"update_id": 1, "message": None}, "no usable `message`"),
        ({"update_id": 1, "message": {"text": "x"}}, "no usable `message.chat.id`"),
        (update(message_id="10"), "no usable `message.message_id`"),
        (update(message_id=True), "no usable `message.message_id`"),
        (button(id=5), "no usable `callback_query.id`"),
        (button(message={}), "no usable `callback_query.message.chat.id`"),
    ],
)
def test_f09_an_update_that_cannot_be_decoded_says_what_is_missing(raw, detail):
    assert parse_update(raw) == Ignored("undecodable", detail)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("from", "ann"),
        ("date", "today"),
        ("caption", 5),
        ("message_thread_id", "7"),
        ("reply_to_message", [1]),
        ("reply_to_message", {"text": "no id"}),
        ("document", "file"),
        ("document", {"file_id": 5}),
        ("photo", {}),
        ("photo", [None, {}, {"file_id": 3}]),
        ("voice", True),
        ("media_group_id", 12),
        ("is_topic_message", "yes"),
    ],
)
def test_f09_a_field_of_the_wrong_type_is_a_missing_field(field, value):
    found = parse_update(update(**{field: value}))
    sender = (None, None) if field == "from" else (USER, "ann")
    assert found == InboundMessage(
        CHAT,
        10,
        "hello",
        1,
        "supergroup",
        sender_id=sender[0],
        sender_username=sender[1],
        date=None if field == "date" else 1_700_000_000,
    )


def test_an_update_of_another_kind_is_dropped():
    assert parse_update({"update_id": 1, "edited_message": message()}) == Ignored("unsupported")


def test_f09_a_bad_update_is_logged_without_its_text_and_those_around_it_are_handled(caplog):
    caplog.set_level(logging.DEBUG)
    intake = Intake(lambda: OPEN)
    batch = [
        update(1, message_id=1),
        update(2, message_id="2", text="my secret"),
        update(3, message_id=3),
    ]
    assert [type(intake.take(raw)) for raw in batch] == [InboundMessage, Ignored, InboundMessage]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "update_id=2" in record.getMessage()
    assert "message.message_id" in record.getMessage()
    assert "my secret" not in caplog.text


# JSON-like values, often with the keys that are read.
KEYS = st.one_of(
    st.sampled_from(
        [
            "update_id",
            "message",
            "callback_query",
            "id",
            "chat",
            "from",
            "type",
            "text",
            "caption",
            "message_id",
            "photo",
            "voice",
            "document",
            "sticker",
            "file_id",
            "file_size",
            "reply_to_message",
            "message_thread_id",
            "data",
            "is_topic_message",
            "media_group_id",
            "forward_origin",
        ]
    ),
    st.text(string.ascii_lowercase, max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**13) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
MESSAGES = st.dictionaries(KEYS, JSON, max_size=5).map(
    lambda extra: {"message_id": 1, "chat": {"id": 1}, "text": "x", **extra}
)
UPDATES = JSON | st.fixed_dictionaries(
    {"update_id": JSON},
    optional={"message": JSON | MESSAGES, "callback_query": JSON, "edited_message": JSON},
)


@settings(max_examples=300, deadline=None)
@given(UPDATES)
def test_f09_reading_never_fails(raw):
    found = parse_update(raw)
    assert isinstance(found, InboundMessage | Callback | Ignored)
    if isinstance(found, InboundMessage):
        assert found.text.strip() or found.attachment or found.voice
        assert type(found.chat_id) is type(found.message_id) is int
    assert type(update_id_of(raw)) in (int, type(None))
    assert isinstance(Intake(lambda: OPEN).take(raw), InboundMessage | Callback | Ignored)


# -- who is let in -----------------------------------------------------------------------------


def admitted(raw, access):
    return Intake(lambda: access).take(raw)


def test_a_chat_that_is_not_ours_is_dropped():
    assert admitted(update(chat=-200), OPEN) == Ignored("chat")
    assert admitted(button(chat=-200), OPEN) == Ignored("chat")


def test_a_users_private_chat_is_ours():
    access = Access(frozenset({CHAT}), frozenset({USER}))
    assert isinstance(admitted(update(chat=USER, sender=USER), access), InboundMessage)
    assert admitted(update(chat=43, sender=USER), access) == Ignored("chat")


@pytest.mark.parametrize("make", [update, button])
def test_a_sender_that_is_missing_or_not_listed_is_dropped(make):
    access = Access(frozenset({CHAT}), frozenset({USER}))
    assert admitted(make(sender=41), access) == Ignored("sender")
    assert not isinstance(admitted(make(sender=USER), access), Ignored)
    nobody = make()
    (nobody.get("message") or nobody["callback_query"]).pop("from")
    assert admitted(nobody, access) == Ignored("sender")


def test_without_a_list_of_senders_everybody_is_let_in():
    assert isinstance(admitted(update(sender=None), OPEN), InboundMessage)


def test_a_changed_configuration_counts_at_once():
    access = [OPEN]
    intake = Intake(lambda: access[0])
    assert intake.take(update(1, message_id=1, chat=-300)) == Ignored("chat")
    access[0] = Access(frozenset({CHAT, -300}))
    assert isinstance(intake.take(update(2, message_id=2, chat=-300)), InboundMessage)


# -- once --------------------------------------------------------------------------------------


def test_a_repeated_update_is_dropped_even_if_its_content_differs():
    intake = Intake(lambda: OPEN)
    assert isinstance(intake.take(update(1, message_id=1)), InboundMessage)
    assert intake.take(update(1, message_id=2)) == Ignored("duplicate", "update")
    assert intake.take(button(1)) == Ignored("duplicate", "update")


def test_f18_a_message_under_a_new_update_id_is_dropped_and_the_first_one_counts():
    intake = Intake(lambda: OPEN)
    first = intake.take(update(1, reply_to_message={"message_id": 4, "text": "done"}))
    assert first.reply_to == RepliedTo(4, "done")
    assert intake.take(update(2)) == Ignored("duplicate", "message")


def test_f18_the_same_message_id_in_another_chat_is_another_message():
    intake = Intake(lambda: Access(frozenset({CHAT, -101})))
    assert isinstance(intake.take(update(1, chat=CHAT)), InboundMessage)
    assert isinstance(intake.take(update(2, chat=-101)), InboundMessage)


def test_a_button_may_be_pressed_twice():
    intake = Intake(lambda: OPEN)
    assert isinstance(intake.take(button(1)), Callback)
    assert isinstance(intake.take(button(2, id="78")), Callback)


def test_the_last_4096_updates_and_2048_messages_are_remembered():
    intake = Intake(lambda: OPEN)
    for number in range(4097):
        intake.take(update(number, message_id=number))
    assert intake.take(update(1, message_id=9001)) == Ignored("duplicate", "update")
    assert isinstance(intake.take(update(0, message_id=9000)), InboundMessage)
    recent, old = 4096 - 2046, 4096 - 2048
    assert intake.take(update(9002, message_id=recent)) == Ignored("duplicate", "message")
    assert isinstance(intake.take(update(9003, message_id=old)), InboundMessage)


def test_messages_of_strangers_push_none_of_ours_out_of_memory():
    intake = Intake(lambda: OPEN)
    intake.take(update(0, message_id=1))
    for number in range(1, 3000):
        intake.take(update(number, chat=-200, message_id=number))
    assert intake.take(update(5000, message_id=1)) == Ignored("duplicate", "message")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.sampled_from([CHAT, -101]))),
)
def test_f18_no_new_message_is_ever_dropped_and_none_comes_twice(arrivals):
    intake = Intake(lambda: Access(frozenset({CHAT, -101})))
    seen_updates, seen_messages = set(), set()
    for update_id, message_id, chat in arrivals:
        taken = intake.take(update(update_id, message_id=message_id, chat=chat))
        is_new = update_id not in seen_updates and (chat, message_id) not in seen_messages
        assert isinstance(taken, InboundMessage) is is_new
        if update_id not in seen_updates:
            seen_messages.add((chat, message_id))
        seen_updates.add(update_id)


# -- counting what was missed ------------------------------------------------------------------


def test_f17_a_message_of_an_allowed_sender_is_worth_counting_and_counting_remembers_nothing():
    access = Access(frozenset({CHAT}), frozenset({USER}))
    intake = Intake(lambda: access)
    assert intake.is_wanted_message(update(1))
    assert not intake.is_wanted_message(update(2, sender=41))
    assert not intake.is_wanted_message(update(3, chat=-200))
    assert not intake.is_wanted_message(media(new_chat_title="x"))
    assert not intake.is_wanted_message(button(4))
    assert not intake.is_wanted_message("garbage")
    assert isinstance(intake.take(update(1)), InboundMessage)


def test_messages_compare_without_what_they_were_read_from():
    found = parse_update(update())
    assert found == replace(found, raw={})
