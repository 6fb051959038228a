"""Whom a message is for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.telegram.mentions import (
    BotIdentity,
    Command,
    effective_mode,
    invokes,
    is_for_another_bot,
    is_mentioned,
    parse_command,
    without_mention,
)
from takopi.telegram.updates import Attachment, InboundMessage, RepliedTo, Voice, parse_update

BOT = BotIdentity(id=7, username="My_Bot")
NAMELESS = BotIdentity(id=7)
UNKNOWN = BotIdentity()
WORDS = {"codex", "proj", "agent", "new", "ping"}


def asks(text="", bot=BOT, **fields):
    return invokes(InboundMessage(-100, 1, text, **fields), bot, WORDS)


# -- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/new", Command("new")),
        ("/New", Command("new")),
        (" \n/new  now\nplease ", Command("new", None, "now\nplease")),
        ("/cancel@My_Bot rest", Command("cancel", "my_bot", "rest")),
        ("/my-proj fix", Command("my-proj", None, "fix")),
        ("/new@", Command("new")),
        ("/", None),
        ("/ new", None),
        ("/usr/bin is full", None),
        ("//", None),
        ("new /new", None),
        ("", None),
    ],
)
def test_a_command_is_the_first_word(text, command):
    assert parse_command(text) == command


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("/new@other_bot", True),
        ("/codex@other_bot hi", True),
        ("/whatever@other_bot", True),
        ("/new@my_bot", False),
        ("/new@MY_BOT", False),
        ("/new", False),
        ("/new@", False),
        ("hello @other_bot", False),
        ("hello /new@other_bot", False),
        ("/package@1.2 is broken", False),
        ("/package@v1 is broken", False),
    ],
)
def test_f21_a_command_for_another_bot_is_not_ours(text, other):
    assert is_for_another_bot(text, BOT) is other


@pytest.mark.parametrize("bot", [NAMELESS, UNKNOWN])
def test_f21_as_long_as_our_name_is_not_known_every_command_is_ours(bot):
    assert not is_for_another_bot("/new@other_bot", bot)


def test_f21_a_command_for_another_bot_invokes_nobody_whatever_else_it_says():
    assert not asks("/codex@other_bot hi")
    assert not asks("/codex@other_bot ask @my_bot", reply_to=RepliedTo(3, sender_id=7))


# -- mentions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("hello @my_bot", True),
        ("@My_Bot", True),
        ("@my_bot: hi", True),
        ("(@MY_BOT)", True),
        ("🐙@my_bot🐙", True),
        ("a\n@my_bot\nb", True),
        ("@my_botany", False),
        ("@my_bot2 and @my_bot_", False),
        ("me@my_bot", False),
        ("é@my_boté", False),
        ("my_bot", False),
        ("", False),
    ],
)
def test_f31_a_mention_is_a_whole_word(text, mentioned):
    assert is_mentioned(text, BOT) is mentioned


def test_f31_a_name_is_no_pattern():
    assert not is_mentioned("@myxbot", BotIdentity(username="my.bot"))


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("@my_bot fix it", "fix it"),
        ("@My_Bot, fix it", "fix it"),
        ("@my_bot: /codex fix it", "/codex fix it"),
        (" @my_bot\nfix it", "fix it"),
        ("fix it @my_bot", "fix it"),
        ("fix @my_bot it", "fix it"),
        ("hey @my_bot, fix it", "hey, fix it"),
        ("@my_bot @my_bot fix", "fix"),
        ("fix\n  @my_bot it", "fix\n  it"),
        ("a @my_bot\nb", "a\nb"),
        ("@my_bot", ""),
        ("ask @my_botany", "ask @my_botany"),
        ("  untouched  ", "  untouched  "),
        ("/codex@my_bot hi", "/codex@my_bot hi"),
    ],
)
def test_f31_the_mention_is_taken_out_of_the_prompt(text, prompt):
    assert without_mention(text, BOT) == prompt


def test_f31_nothing_is_taken_out_for_a_bot_without_name():
    assert without_mention("@my_bot fix", NAMELESS) == "@my_bot fix"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["@my_bot", "@my_botany", " ", "\n", "fix", ",", "é", "@"])))
def test_f31_nothing_but_the_mention_is_taken_out(pieces):
    text = "".join(pieces)
    rest = without_mention(text, BOT)
    if not is_mentioned(text, BOT):
        assert rest == text
    elif not text.lstrip().lower().startswith("@my_bot"):
        # Letters are kept in their order; only blanks and the name go.
        assert "".join(rest.split()) == "".join(
            word for word in _without_name(text).split() if word
        )


def _without_name(text):
    """Character by character, the name where nothing touches it."""
    name, out, at = "@my_bot", "", 0
    while at < len(text):
        end = at + len(name)
        before, after = text[at - 1 : at], text[end : end + 1]
        alone = not (before.isalnum() or before == "_") and not (after.isalnum() or after == "_")
        if text[at:end] == name and alone:
            at = end
        else:
            out, at = out + text[at], at + 1
    return out


# -- the trigger mode --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["/codex hi", "/Codex hi", "/proj hi", "/agent", "/ping"])
def test_a_known_first_word_invokes(text):
    assert asks(text)


@pytest.mark.parametrize("text", ["/wat", "hello", "hello /codex", "/wat@other_bot", "@codex hi"])
def test_other_words_do_not(text):
    assert not asks(text)


def test_a_mention_invokes():
    assert asks("hello @my_bot")


def test_a_command_addressed_to_us_invokes_even_if_it_is_not_known():
    assert asks("/wat@my_bot")


def test_a_reply_to_our_message_invokes():
    assert asks("go on", reply_to=RepliedTo(3, sender_id=7, sender_is_bot=True))


def test_f31_a_reply_to_another_bot_does_not():
    reply = RepliedTo(3, sender_id=8, sender_is_bot=True, sender_username="other_bot")
    assert not asks("go on", reply_to=reply)
    assert not asks("go on", bot=BotIdentity(username="my_bot"), reply_to=reply)


def test_a_bot_whose_id_is_not_known_is_recognised_by_its_name():
    reply = RepliedTo(3, sender_id=7, sender_is_bot=True, sender_username="MY_BOT")
    assert asks("go on", bot=BotIdentity(username="my_bot"), reply_to=reply)


def test_a_bot_that_knows_nothing_of_itself_takes_replies_to_any_bot():
    assert asks("go on", bot=UNKNOWN, reply_to=RepliedTo(3, sender_id=8, sender_is_bot=True))
    assert not asks("go on", bot=UNKNOWN, reply_to=RepliedTo(3, sender_id=8))


def test_the_implicit_reply_to_a_topic_that_the_bot_made_does_not():
    found = parse_update(
        {
            "message": {
                "message_id": 200,
                "chat": {"id": -100, "type": "supergroup"},
                "text": "hello",
                "message_thread_id": 163,
                "is_topic_message": True,
                "reply_to_message": {"message_id": 163, "from": {"id": 7, "is_bot": True}},
            }
        }
    )
    assert not invokes(found, BOT, WORDS)


def test_a_voice_note_or_document_alone_does_not():
    assert not asks(voice=Voice("v"))
    assert not asks(attachment=Attachment("d", "document"))
    assert asks("@my_bot", attachment=Attachment("d", "document"))


@pytest.mark.parametrize(
    ("topic", "chat", "mode"),
    [
        (None, None, "all"),
        (None, "mentions", "mentions"),
        ("mentions", None, "mentions"),
        ("mentions", "all", "mentions"),
    ],
)
def test_the_mode_of_a_topic_comes_before_that_of_its_chat(topic, chat, mode):
    assert effective_mode(topic, chat) == mode


def test_f04_all_in_a_topic_overrides_the_mentions_of_its_chat():
    assert effective_mode("all", "mentions") == "all"
