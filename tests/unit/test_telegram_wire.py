"""Answers of the Bot API as values, and messages as its parameters."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.telegram.wire import (
    BadRequest,
    BotUser,
    Conflict,
    Failure,
    Forbidden,
    Gone,
    Membership,
    Migrated,
    Ok,
    Post,
    RateLimited,
    ReplyTargetGone,
    SentMessage,
    ThreadGone,
    TopicUnchanged,
    Transient,
    Unauthorized,
    Unchanged,
    adapt,
    decode,
    read_bot,
    read_chat,
    read_file_path,
    read_membership,
    read_sent,
    read_topic,
    read_true,
    read_updates,
)

MESSAGE = {"message_id": 7, "chat": {"id": -5, "type": "supergroup"}, "date": 1}


KEYS = ["ok", "result", "error_code", "description", "parameters", "retry_after", "message_id"]


def refusal(code, description="", **parameters):
    envelope = {"ok": False, "error_code": code, "description": description}
    return json.dumps({**envelope, "parameters": parameters} if parameters else envelope).encode()


def answer(result):
    return json.dumps({"ok": True, "result": result}).encode()


@pytest.mark.parametrize(
    ("code", "description", "expected"),
    [
        (400, "Bad Request: message is not modified: specified new …", Unchanged()),
        (400, "Bad Request: message to edit not found", Gone()),
        (400, "Bad Request: message to delete not found", Gone()),
        (400, "Bad Request: message can't be edited", Gone()),
        (400, "Bad Request: message to be replied not found", ReplyTargetGone()),
        (400, "Bad Request: replied message not found", ReplyTargetGone()),
        (400, "Bad Request: message thread not found", ThreadGone()),
        (400, "Bad Request: TOPIC_DELETED", ThreadGone()),
        (400, "Bad Request: TOPIC_ID_INVALID", ThreadGone()),
        (400, "Bad Request: TOPIC_NOT_MODIFIED", TopicUnchanged()),
        (400, "BAD REQUEST: MESSAGE IS NOT MODIFIED", Unchanged()),
        (400, "Bad Request: chat not found", BadRequest("Bad Request: chat not found")),
        (401, "Unauthorized", Unauthorized("Unauthorized")),
        (404, "Not Found", Unauthorized("Not Found")),
        (403, "Forbidden: bot was blocked", Forbidden("Forbidden: bot was blocked")),
        (409, "Conflict: terminated", Conflict("Conflict: terminated")),
        (413, "Request Entity Too Large", BadRequest("Request Entity Too Large")),
        (500, "Internal Server Error", Transient("Internal Server Error")),
        (502, "Bad Gateway", Transient("Bad Gateway")),
        (504, "Gateway Timeout", Transient("Gateway Timeout", maybe_done=True)),
    ],
)
def test_f05_every_refusal_has_a_type(code, description, expected):
    assert decode(code, refusal(code, description), read_true) == expected


def test_f05_a_group_that_moved_says_where_to():
    body = refusal(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-100123)
    assert decode(400, body, read_true) == Migrated(-100123)


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [
        (429, refusal(429, "Too Many Requests", retry_after=3), 3.0),
        (429, refusal(429, "Too Many Requests", retry_after=0.25), 0.25),
        (200, refusal(429, "Too Many Requests", retry_after=7), 7.0),
        (429, refusal(429, "Too Many Requests"), 5.0),
        (429, refusal(429, "Too Many Requests", retry_after="3"), 5.0),
        (429, refusal(429, "Too Many Requests", retry_after=True), 5.0),
        (429, refusal(429, "Too Many Requests", retry_after=-3), 0.0),
        (429, b'{"ok": false, "error_code": 429, "parameters": {"retry_after": NaN}}', 5.0),
        (429, refusal(429, "Too Many Requests", retry_after=10**400), 5.0),
        (429, refusal(429, "Too Many Requests", retry_after=10**9), 1e9),
        (429, b'{"ok": false, "error_code": 429, "parameters": []}', 5.0),
        (429, b"Too Many Requests", 5.0),
        (429, b"", 5.0),
        (429, b"[]", 5.0),
    ],
)
def test_too_many_requests_say_how_long_to_wait(status, body, seconds):
    assert decode(status, body, read_true) == RateLimited(seconds)


@pytest.mark.parametrize(
    ("status", "body", "maybe_done"),
    [
        (500, b"oops", False),
        (502, b"<html><body>Bad Gateway</body></html>", False),
        (504, b"<html></html>", True),
        (302, b"", False),
        (403, b"<html>login</html>", False),
        (200, b"\x00\xffnot json", True),
        (200, b"[1, 2]", True),
        (200, b'{"result": 1}', True),
        (200, b'{"ok": "yes", "result": 1}', True),
        (200, b"[" * 100_000, True),
        (500, answer(MESSAGE), False),
        (200, answer({"chat": {"id": 1}}), True),
        (200, answer(True), True),
        (200, answer(None), True),
        (200, answer({**MESSAGE, "message_id": "7"}), True),
        (200, answer({**MESSAGE, "message_id": True}), True),
    ],
)
def test_what_is_no_answer_of_the_bot_api_is_transient(status, body, maybe_done):
    result = decode(status, body, read_sent)
    assert isinstance(result, Transient)
    assert result.maybe_done is maybe_done


def test_a_request_that_is_too_large_for_a_proxy_is_not_sent_again():
    assert isinstance(decode(413, b"<html>too large</html>", read_true), BadRequest)


NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400)])


@settings(deadline=None, max_examples=150)
@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(KEYS),
                    inner,
                    max_size=5,
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from([read_sent, read_bot, read_chat, read_membership, read_topic, read_file_path]),
)
def test_no_answer_raises(status, body, read):
    result = decode(status, body, read)
    assert isinstance(result, Ok | Failure)
    if isinstance(result, RateLimited):
        assert 0 <= result.seconds < float("inf")


# -- results that are read -------------------------------------------------------------------------


def test_a_sent_message_is_read():
    assert decode(200, answer(MESSAGE), read_sent) == Ok(SentMessage(-5, 7))


def test_f08_only_a_topic_message_has_a_thread():
    threaded = {**MESSAGE, "message_thread_id": 3}
    assert read_sent(threaded) == SentMessage(-5, 7, None)
    assert read_sent({**threaded, "is_topic_message": True}) == SentMessage(-5, 7, 3)


def test_other_results_are_read():
    assert read_bot({"id": 1, "username": "b", "x": 1}) == BotUser(1, "b", None)
    assert read_chat({"id": -1, "type": "supergroup", "is_forum": True}).is_forum
    assert read_membership({"status": "left", "user": {}}) == Membership("left")
    assert read_membership({"status": "administrator", "can_manage_topics": True}) == Membership(
        "administrator", True
    )
    assert read_topic({"message_thread_id": 9, "name": "n"}) == 9
    assert read_file_path({"file_id": "f", "file_path": "a/b"}) == "a/b"
    assert read_updates([1, {"update_id": 2}, None]) == [1, {"update_id": 2}, None]


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (read_membership, {"user": {}}),
        (read_file_path, {"file_id": "f"}),
        (read_updates, {}),
        (read_topic, []),
        (read_bot, {"id": None}),
        (read_sent, {"message_id": 1, "chat": None}),
    ],
)
def test_a_result_of_another_shape_is_refused(read, value):
    with pytest.raises(ValueError, match=r"that (is|are) no|without|no number"):
        read(value)


# -- what is sent ------------------------------------------------------------------------------------


def test_a_message_is_sent_with_what_it_has_and_nothing_else():
    assert Post(chat_id=5, text="hi").to_send() == {
        "chat_id": 5,
        "text": "hi",
        "disable_notification": False,
        "link_preview_options": {"is_disabled": True},
    }


def test_f07_a_reply_is_sent_also_without_its_target():
    sent = Post(chat_id=5, text="hi", reply_to=3, thread_id=4, silent=True).to_send()
    assert sent["reply_parameters"] == {"message_id": 3, "allow_sending_without_reply": True}
    assert "reply_to_message_id" not in sent
    assert sent["message_thread_id"] == 4
    assert sent["disable_notification"] is True


def test_an_edit_has_neither_reply_nor_thread():
    post = Post(chat_id=5, text="hi", reply_to=3, thread_id=4, markup={"inline_keyboard": []})
    assert post.to_edit(9) == {
        "chat_id": 5,
        "message_id": 9,
        "text": "hi",
        "link_preview_options": {"is_disabled": True},
        "reply_markup": {"inline_keyboard": []},
    }


FULL = Post(
    chat_id=5,
    text="hi",
    entities=({"type": "bold", "offset": 0, "length": 2},),
    markup={"inline_keyboard": []},
    reply_to=3,
    thread_id=4,
)


def test_f07_without_its_target_a_message_is_no_reply():
    simpler = adapt(FULL, ReplyTargetGone())
    assert simpler.reply_to is None
    assert simpler.entities == FULL.entities
    assert adapt(simpler, ReplyTargetGone()) is None


def test_f08_without_its_topic_a_message_goes_to_the_chat():
    simpler = adapt(FULL, ThreadGone())
    assert (simpler.thread_id, simpler.reply_to) == (None, 3)
    assert adapt(simpler, ThreadGone()) is None


def test_f39_refused_entities_leave_plain_text_then_everything_else_goes():
    plain = adapt(FULL, BadRequest("Bad Request: can't parse entities: …"))
    assert (plain.text, plain.entities, plain.markup) == ("hi", (), FULL.markup)
    bare = adapt(plain, BadRequest("Bad Request: BUTTON_DATA_INVALID"))
    assert bare == Post(chat_id=5, text="hi", thread_id=4)
    assert adapt(bare, BadRequest("Bad Request: whatever")) is None


def test_a_text_that_is_too_long_for_the_server_is_halved_until_it_is_short():
    post = Post(chat_id=5, text="🐙" * 2000)
    lengths = []
    while (post := adapt(post, BadRequest("Bad Request: message is too long"))) is not None:
        assert post.text.endswith("…")
        lengths.append(len(post.text))
    assert lengths == [1001, 501, 251]


REFUSALS = [
    ReplyTargetGone(),
    ThreadGone(),
    BadRequest("Bad Request: message is too long"),
    BadRequest("Bad Request: can't parse entities"),
    BadRequest("Bad Request: chat not found"),
]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(REFUSALS), min_size=20, max_size=20), st.text(max_size=60))
def test_simpler_forms_come_to_an_end_and_only_what_is_too_long_is_cut(refusals, text):
    post, steps = replace(FULL, text=text * 90), 0
    for refused in refusals:
        simpler = adapt(post, refused)
        if simpler is None:
            continue
        steps += 1
        if simpler.text != post.text:
            assert refused == REFUSALS[2]
            assert post.text.startswith(simpler.text.removesuffix("…"))
        post = simpler
    assert steps < 12


@pytest.mark.parametrize(
    "failure", [Forbidden(), Unauthorized(), Transient(), RateLimited(1), Gone(), Conflict()]
)
def test_nothing_simpler_helps_against_other_failures(failure):
    assert adapt(FULL, failure) is None
