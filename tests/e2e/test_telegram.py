"""The real `takopi` process as a Telegram bot: what people in the chat see, whatever goes wrong."""

import re
import signal
import time

import pytest

from tests.e2e.telegram_stage import Stage
from tests.fake_telegram import Drop, FakeTelegram, Flood

pytestmark = pytest.mark.slow
WAIT_S = 20  # the machine may be busy


@pytest.fixture
def tg():
    with FakeTelegram(lifetime_s=120) as server:
        yield server
        server.check()


@pytest.fixture
def dm(tg):
    return tg.private(tg.user(1, "Alice"))


@pytest.fixture
def bot(tmp_path, tg, dm):
    stage = Stage(tmp_path, tg, dm)
    stage.start()
    yield stage
    stage.end()


def bot_says(room, text, after=0):
    return room.bot_message(text, after=after, timeout=WAIT_S)


def progress(room, label, after=0):
    """The progress message of a run, once it shows this label and a button."""

    def find():
        shown = room.find(startswith=label, after=after)
        return shown if shown and shown.buttons else None

    return room.driver.wait_for(find, WAIT_S)


def answer(room, text, after=0):
    """The answer with this text, once it is there."""
    return room.bot_message(f"\n\n{text}\n", startswith="done", after=after, timeout=WAIT_S)


def token_in(shown):
    return re.search(r"--resume (\S+)", shown.text).group(1)


def final_answers(room):
    return [m.text.split("\n\n")[1] for m in room.messages if m.text.startswith("done · ")]


def test_a_text_becomes_progress_and_then_one_answer_with_sound(bot, dm):
    asked = dm.send("step ls; wait go; say hello **you**")
    working = bot.tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    assert working.text.startswith("working · acme")
    assert working.buttons == ["cancel"]
    assert working.view.silent
    assert working.view.reply_to == asked.id
    bot.let("go")
    final = bot_says(dm, "hello you")
    assert final.text.startswith("done · acme · ")
    assert (final.view.reply_to, final.view.silent, final.buttons) == (asked.id, False, [])
    bot.tg.wait_for(lambda: working.deleted, WAIT_S)
    assert [call.method for call in bot.tg.calls("editMessageText", dm)]
    assert len(bot.runs) == 1


def test_a_reply_to_an_answer_goes_on_with_its_session(bot, dm):
    dm.send("say one")
    first = answer(dm, "one")
    dm.send("say two", reply_to=first)
    second = answer(dm, "two", after=first.id)
    assert [session for session, _ in bot.runs] == ["-", token_in(first)]
    assert token_in(second) == token_in(first)


def test_a_run_is_cancelled_by_its_button(bot, dm):
    dm.send("step ls; sleep 60; say never")
    shown = bot.tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    press = dm.press(shown)
    bot.tg.wait_for(lambda: shown.text.startswith("cancelled"), WAIT_S)
    assert press.answer["text"] == "cancelling..."
    assert shown.buttons == []
    assert "--resume" in shown.text
    again = bot.tg.push("callback_query", callback(dm, shown, "again"))
    assert again
    calls = lambda: bot.tg.calls("answerCallbackQuery")  # noqa: E731
    bot.tg.wait_for(lambda: len(calls()) == 2, WAIT_S)


def callback(room, shown, query_id):
    """The press of a button that is not there any more: an old client shows it all the same."""
    return {
        "id": query_id,
        "from": room.chat.user.to_api(),
        "chat_instance": "1",
        "message": shown.message.to_api(),
        "data": "takopi:cancel",
    }


def test_a_run_is_cancelled_by_a_command_in_reply_and_the_other_goes_on(bot, dm):
    dm.send("step first; wait go; say one")
    first = bot.tg.wait_for(lambda: dm.find("▸ first"), WAIT_S)
    dm.send("step second; wait go; say two")
    bot.tg.wait_for(lambda: dm.find("▸ second"), WAIT_S)
    dm.send("/cancel", reply_to=first)
    bot.tg.wait_for(lambda: first.text.startswith("cancelled"), WAIT_S)
    bot.let("go")
    answer(dm, "two")
    assert final_answers(dm) == ["two"]


def test_a_queued_message_is_taken_back_and_never_runs(bot, dm):
    dm.send("step first; wait go; say one")
    first = bot.tg.wait_for(lambda: dm.find("▸ first"), WAIT_S)
    dm.send("say two", reply_to=first)
    queued = progress(dm, "queued")
    press = dm.press(queued)
    bot.tg.wait_for(lambda: queued.text.startswith("cancelled"), WAIT_S)
    assert press.answer["text"] == "dropped from queue."
    dm.send("say three", reply_to=first)
    other = progress(dm, "queued", after=queued.id)
    dm.send("/cancel", reply_to=other)
    bot.tg.wait_for(lambda: other.text.startswith("cancelled"), WAIT_S)
    bot.let("go")
    answer(dm, "one")
    assert [prompt for _, prompt in bot.runs] == ["step first; wait go; say one"]


def test_a_run_is_cancelled_before_its_engine_says_anything(bot, dm):
    dm.send("hang")
    shown = progress(dm, "starting")
    dm.press(shown)
    bot.tg.wait_for(lambda: shown.text.startswith("cancelled"), WAIT_S)
    assert shown.buttons == []


def test_f47_cancel_without_a_reply_ends_the_only_run(bot, dm):
    dm.send("/cancel")
    bot_says(dm, "reply to the progress message to cancel.")
    dm.send("step ls; sleep 60")
    shown = bot.tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    dm.send("/Cancel")
    bot.tg.wait_for(lambda: shown.text.startswith("cancelled"), WAIT_S)


def test_two_chats_work_at_once_and_strangers_are_not_heard(tmp_path, tg, dm):
    bob, eve = tg.private(tg.user(2, "Bob")), tg.private(tg.user(3, "Eve"))
    stage = Stage(tmp_path, tg, dm)
    stage.configure(table="allowed_user_ids = [1, 2]")
    stage.start()
    dm.send("step ls; wait go; say for alice")
    tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    eve.send("say secrets")
    bob.send("say for bob")
    answer(bob, "for bob")
    stage.let("go")
    answer(dm, "for alice")
    assert len(stage.runs) == 2
    assert len(eve.messages) == 1
    stage.end()


def test_an_engine_that_crashes_ends_in_an_error_and_the_chat_goes_on(bot, dm):
    dm.send("step ls; crash")
    failed = bot_says(dm, "the engine fell over")
    assert failed.text.startswith("error · acme")
    assert failed.buttons == []
    dm.send("say fine")
    answer(dm, "fine")


def test_a_storm_of_429_delays_the_answer_and_loses_nothing(bot, dm):
    bot.tg.fail("*Message*", Flood(0.5), times=4, chat=dm)
    dm.send("step a; step b; say calm")
    answer(dm, "calm")
    assert final_answers(dm) == ["calm"]
    assert len(bot.runs) == 1
    bot.tg.wait_for(lambda: not dm.find(startswith="working"), WAIT_S)


def test_an_answer_survives_a_network_that_is_cut(bot, dm):
    dm.send("step ls; wait go; say worth it")
    bot.tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    with bot.tg.offline():
        bot.let("go")
        time.sleep(1.5)
    answer(dm, "worth it")
    bot.tg.wait_for(lambda: not dm.find(startswith="working"), WAIT_S)
    dm.send("say still here")
    answer(dm, "still here")
    assert final_answers(dm) == ["worth it", "still here"]


def test_an_answer_whose_receipt_is_lost_comes_twice_at_most(bot, dm):
    bot.tg.fail("sendMessage", Drop("after"), times=1, when=lambda p: "done" in p.values["text"])
    dm.send("say once or twice")
    answer(dm, "once or twice")
    bot.tg.wait_for(lambda: not dm.find(startswith="starting"), WAIT_S)
    assert len(bot.runs) == 1
    assert len(final_answers(dm)) <= 2


def test_a_killed_takopi_leaves_no_run_that_looks_alive(bot, dm):
    dm.send("step ls; sleep 60; say never")
    running = bot.tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    dm.send("say later", reply_to=running)
    queued = progress(dm, "queued")
    bot.kill()
    dm.send("say while you were away")
    bot.start()
    hello = bot_says(dm, "takopi is ready", after=queued.id)
    assert "skipped: 1 message received while offline" in hello.text
    assert "interrupted: 2 runs when takopi ended" in hello.text
    for shown in (running, queued):
        bot.tg.wait_for(lambda shown=shown: shown.text.startswith("interrupted"), WAIT_S)
        assert shown.buttons == []
    assert "--resume s0-" in running.text  # so that it can be gone on with
    dm.send("say back")
    answer(dm, "back")
    assert [prompt for _, prompt in bot.runs] == ["step ls; sleep 60; say never", "say back"]
    assert bot.stop() == 128 + signal.SIGTERM
    bot.start()
    hello = bot_says(dm, "takopi is ready", after=hello.id)
    assert "interrupted" not in hello.text
    assert "skipped" not in hello.text


def test_f43_a_signal_ends_runs_with_a_message_and_frees_the_lock(bot, dm):
    dm.send("step ls; sleep 60")
    running = bot.tg.wait_for(lambda: dm.find("▸ ls"), WAIT_S)
    dm.send("say later", reply_to=running)
    queued = progress(dm, "queued")
    assert bot.stop(signal.SIGINT) == 130
    assert running.text.startswith("interrupted")
    assert running.buttons == []
    assert "--resume" in running.text
    assert queued.text.startswith("interrupted")
    assert queued.buttons == []
    assert not list(bot.config.parent.glob("*.lock"))


def test_a_changed_configuration_is_told_and_counts_at_once(tmp_path, tg, dm):
    stage = Stage(tmp_path, tg, dm)
    stage.configure("watch_config = true")
    stage.start()
    stage.configure('watch_config = true\n[projects.site]\npath = "../project"')
    bot_says(dm, "config reloaded")
    tg.wait_for(lambda: any(each["command"] == "site" for each in tg.commands()), WAIT_S)
    dm.send("/site say in it")
    assert "ctx: site" in answer(dm, "in it").text
    stage.configure("watch_config = maybe")
    bot_says(dm, "config reload failed")
    stage.configure("watch_config = true", "message_overflow = 'split'")
    bot_says(dm, "restart takopi for transports.telegram.message_overflow")
    stage.end()


def test_a_bad_update_is_skipped_and_the_next_is_handled(bot, dm):
    with bot.tg.held():
        bot.tg.push("message", {"message_id": "x", "chat": 5})
        bot.tg.push("something_new", {"a": 1})
        asked = dm.send("say after")
    answer(dm, "after")
    bot.tg.repeat(asked)
    time.sleep(0.5)
    assert len(bot.runs) == 1


def test_f20_reserved_words_never_become_prompts(bot, dm):
    for words, answer in [
        ("/new", "nothing to clear: sessions are not stored in stateless mode."),
        ("/model set x", "/model is not there yet."),
        ("/doctor", "run takopi doctor on the computer"),
        ("/help", "a plain message goes to acme"),
        ("/start", "a plain message goes to acme"),
        ("/cancel@other_bot", None),
    ]:
        last = dm.send(words)
        if answer is not None:
            bot_says(dm, answer, after=last.id)
    dm.document("notes.txt", b"x", caption="read this")
    bot_says(dm, "file transfer is not there yet.")
    assert bot.runs == []
    dm.send("/wat is this")
    bot_says(dm, "echo: /wat is this")


def test_chat_mode_goes_on_with_the_session_also_after_a_restart(tmp_path, tg, dm):
    stage = Stage(tmp_path, tg, dm)
    stage.configure(table='session_mode = "chat"\nshow_resume_line = false')
    stage.start()
    dm.send("say one")
    dm.send("say two")  # before the first has a session
    bot_says(dm, "two")
    session = stage.runs[1][0]
    assert stage.runs[0][0] == "-"
    assert session != "-"
    assert "--resume" not in dm.transcript()
    stage.stop()
    stage.start()
    dm.send("say three")
    bot_says(dm, "three")
    dm.send("/new")
    bot_says(dm, "cleared stored sessions for this chat.")
    dm.send("say four")
    bot_says(dm, "four")
    assert [each for each, _ in stage.runs] == ["-", session, session, "-"]
    stage.end()


def test_two_takopis_with_one_bot_are_refused(bot):
    again = Stage.run(bot.home)
    assert again.returncode == 1
    assert "already running" in again.stderr


def test_a_token_that_is_not_accepted_ends_with_an_error(tmp_path, tg, dm):
    stage = Stage(tmp_path, tg, dm)
    tg.api.revoked = True
    done = Stage.run(stage.home)
    assert done.returncode == 1
    assert "does not accept the bot token" in done.stderr
    assert "Traceback" not in done.stderr
    assert tg.token not in done.stderr


def test_in_a_topic_of_a_group_answers_stay_there_and_forwards_belong_to_their_comment(
    tmp_path, tg
):
    bob = tg.user(2, "Bob")
    group = tg.forum(admins=[tg.bot, bob])
    stage = Stage(tmp_path, tg, group)
    stage.start()
    assert f"access: anyone in {group.id}" in group.find("takopi is ready").text
    topic = group.topic("work", by=bob)
    topic.send("@fake_bot say in the topic", by=bob)
    final = answer(group, "in the topic")
    assert final.view.thread == topic.id
    topic.send("/new@other_bot", by=bob)
    with tg.held():
        group.forward(["one", "two"], comment="look:", by=bob)
    bot_says(group, "echo: look:\n\none\n\ntwo")
    assert [prompt for _, prompt in stage.runs] == ["say in the topic", "look:\n\none\n\ntwo"]
    stage.end()


def test_a_message_that_contradicts_itself_gets_an_error_and_stops_nobody(bot, dm):
    with bot.tg.held():
        wrong = dm.send("/acme /other say both")
        dm.send("say fine")
    assert "multiple engine directives" in bot_says(dm, "error:", after=wrong.id).text
    answer(dm, "fine")
    assert [prompt for _, prompt in bot.runs] == ["say fine"]
