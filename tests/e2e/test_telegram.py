"""The real `takopi` process as a Telegram bot: what people in the chat see of their runs."""

import re

import pytest

from tests.e2e.telegram_scene import scene
from tests.e2e.telegram_stage import final_answers, token_in

pytestmark = pytest.mark.slow


@scene()
def test_a_text_becomes_progress_and_then_one_answer_with_sound(bot, dm):
    asked = dm.send("step ls; wait more; step pwd; wait go; say hello **you**")
    working = bot.shows("▸ ls", "working · acme")
    assert working.buttons == ["cancel"]
    assert working.view.silent
    assert working.view.reply_to == asked.id
    bot.let("more")
    bot.until(lambda: "▸ pwd" in working.text)
    bot.let("go")
    final = bot.says("hello you")
    assert final.text.startswith("done · acme · ")
    assert (final.view.reply_to, final.view.silent, final.buttons) == (asked.id, False, [])
    bot.until(lambda: working.deleted)
    shown = [edit.text for edit in working.history]
    assert shown[0].startswith("starting · acme · 0s")
    assert "▸ pwd" not in shown[1]
    assert len(bot.tg.calls("sendMessage", dm)) == 3  # hello, progress, answer
    assert len(bot.runs) == 1


@scene()
def test_a_reply_to_an_answer_goes_on_with_its_session(bot, dm):
    dm.send("say one")
    first = bot.answers("one")
    dm.send("say two", reply_to=first)
    second = bot.answers("two", after=first.id)
    assert [session for session, _ in bot.runs] == ["-", token_in(first)]
    assert token_in(second) == token_in(first)


@scene(long=True)
def test_runs_of_one_session_never_overlap_and_keep_their_order(bot, dm):
    dm.send("step ls; wait go; say 0")
    working = bot.shows("▸ ls")
    for number in range(1, 4):
        dm.send(f"sleep 0.2; say {number}", reply_to=working)
    bot.shows("queued")
    bot.let("go")
    first = bot.answers("0")
    dm.send("sleep 0.2; say 4", reply_to=first)
    dm.send(f"acme-cli --resume {token_in(first)}\nsleep 0.2; say 5")
    bot.answers("5")
    bot.until(lambda: len(final_answers(dm)) == 6)
    assert final_answers(dm) == list("012345")
    assert {token_in(m) for m in dm.messages if m.text.startswith("done")} == {token_in(first)}
    assert [what for what, *_ in bot.log] == ["begin", "end"] * 6


@scene(long=True)
def test_f34_the_elapsed_time_of_a_silent_run_moves_on(bot, dm):
    dm.send("step ls; wait go; say at last")
    shown = bot.shows("▸ ls", "working · acme · ")
    bot.until(lambda: "· acme · 30s" in shown.text or "· acme · 31s" in shown.text)
    times = [edit.at for edit in shown.history[2:]]
    assert len(times) == 2
    assert times[1] - times[0] > 14.9
    bot.let("go")
    bot.answers("at last")


@scene()
def test_a_run_is_cancelled_by_its_button(bot, dm):
    dm.send("step ls; sleep 60; say never")
    shown = bot.shows("▸ ls")
    press = dm.press(shown)
    bot.becomes(shown, "cancelled")
    assert press.answer["text"] == "cancelling..."
    assert "--resume" in shown.text
    again = bot.tg.push("callback_query", callback(dm, shown, "again"))
    assert again
    bot.until(lambda: len(bot.tg.calls("answerCallbackQuery")) == 2)


def callback(room, shown, query_id):
    """The press of a button that is not there any more: an old client shows it all the same."""
    return {
        "id": query_id,
        "from": room.chat.user.to_api(),
        "chat_instance": "1",
        "message": shown.message.to_api(),
        "data": "takopi:cancel",
    }


@scene()
def test_a_run_is_cancelled_by_a_command_in_reply_and_the_other_goes_on(bot, dm):
    dm.send("step first; wait go; say one")
    first = bot.shows("▸ first")
    dm.send("step second; wait go; say two")
    bot.shows("▸ second")
    dm.send("/cancel", reply_to=first)
    bot.becomes(first, "cancelled")
    bot.let("go")
    bot.answers("two")
    assert final_answers(dm) == ["two"]


@scene()
def test_a_queued_message_is_taken_back_and_never_runs(bot, dm):
    dm.send("step first; wait go; say one")
    first = bot.shows("▸ first")
    dm.send("say two", reply_to=first)
    queued = bot.shows("", "queued")
    press = dm.press(queued)
    bot.becomes(queued, "cancelled")
    assert press.answer["text"] == "dropped from queue."
    dm.send("say three", reply_to=first)
    other = bot.shows("", "queued", after=queued.id)
    dm.send("/cancel", reply_to=other)
    bot.becomes(other, "cancelled")
    bot.let("go")
    bot.answers("one")
    assert [prompt for _, prompt in bot.runs] == ["step first; wait go; say one"]


@scene()
@pytest.mark.parametrize("prompt", ["hang", "sleep 60; late; say never"])
def test_a_run_is_cancelled_before_its_engine_says_anything(bot, dm, prompt):
    dm.send(prompt)
    shown = bot.shows("", "starting")
    dm.press(shown)
    bot.becomes(shown, "cancelled")


@scene()
def test_f47_cancel_without_a_reply_ends_the_only_run(bot, dm):
    dm.send("/cancel")
    bot.says("reply to the progress message to cancel.")
    dm.send("step ls; sleep 60")
    shown = bot.shows("▸ ls")
    dm.send("/Cancel")
    bot.becomes(shown, "cancelled")


@scene(started=False)
def test_two_chats_work_at_once_and_strangers_are_not_heard(bot, dm):
    bob, eve = (bot.tg.private(bot.tg.user(n, name)) for n, name in ((2, "Bob"), (3, "Eve")))
    bot.configure(table="allowed_user_ids = [1, 2]")
    bot.start()
    dm.send("step ls; wait go; say for alice")
    bot.shows("▸ ls")
    eve.send("say secrets")
    bob.send("say for bob")
    bot.answers("for bob", bob)
    bot.let("go")
    bot.answers("for alice")
    assert len(bot.runs) == 2
    assert len(eve.messages) == 1


@scene()
@pytest.mark.parametrize(
    ("end", "said"), [("crash", "the engine fell over"), ("leave", "without a result")]
)
def test_an_engine_that_ends_without_an_answer_is_an_error_and_the_chat_goes_on(bot, dm, end, said):
    dm.send(f"step ls; {end}")
    failed = bot.until(lambda: dm.find(said, startswith="error · acme"))
    assert failed.buttons == []
    dm.send("say fine")
    bot.answers("fine")


@scene(started=False)
def test_in_a_topic_of_a_group_answers_stay_there_and_forwards_belong_to_their_comment(bot, dm):
    bob = bot.tg.user(2, "Bob")
    group = bot.room = bot.tg.forum(admins=[bot.tg.bot, bob])
    bot.configure()
    assert f"access: anyone in {group.id}" in bot.start()
    topic = group.topic("work", by=bob)
    topic.send("@fake_bot say in the topic", by=bob)
    final = bot.answers("in the topic")
    assert final.view.thread == topic.id
    topic.send("/new@other_bot", by=bob)
    with bot.tg.held():
        group.forward(["one", "two"], comment="look:", by=bob)
    bot.says("echo: look:\n\none\n\ntwo")
    assert [prompt for _, prompt in bot.runs] == ["say in the topic", "look:\n\none\n\ntwo"]


@scene()
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
            bot.says(answer, after=last.id)
    dm.document("notes.txt", b"x", caption="read this")
    bot.says("file transfer is not there yet.")
    assert bot.runs == []
    dm.send("/wat is this")
    bot.says("echo: /wat is this")


@scene()
def test_a_message_that_contradicts_itself_gets_an_error_and_stops_nobody(bot, dm):
    with bot.tg.held():
        wrong = dm.send("/acme /other say both")
        dm.send("say fine")
    assert "multiple engine directives" in bot.says("error:", after=wrong.id).text
    bot.answers("fine")
    assert [prompt for _, prompt in bot.runs] == ["say fine"]


@scene(started=False, api={"time_scale": 1, "limits": "enforce"}, long=True)
def test_f11_busy_runs_keep_the_pace_that_telegram_asks_for(bot, dm):
    people = [bot.tg.user(number, f"User {number}") for number in range(1, 5)]
    group = bot.tg.group(members=people)
    bot.configure(
        f'[projects.site]\npath = "../project"\nchat_id = {group.id}',
        "allowed_user_ids = [1, 2, 3, 4]",
    )
    bot.start()
    rooms = [*(bot.tg.private(person) for person in people), group]
    for room in rooms:
        steps = "; ".join(f"step {n}; sleep 0.01" for n in range(300))
        room.send(f"{steps}; say all of it", by=people[0] if room == group else None)
    for room in rooms:
        final = bot.answers("all of it", room)
        hello = room == dm
        own = lambda room=room: [m.id for m in room.messages if m.message.by_bot]  # noqa: E731
        bot.until(lambda hello=hello, own=own, final=final: own()[hello:] == [final.id])
        assert bot.tg.calls("editMessageText", room)
    assert bot.tg.api.limiter.log == []


@scene(started=False)
def test_f12_a_button_is_answered_during_a_groups_pause(bot, dm):
    bob = bot.tg.user(2, "Bob")
    group = bot.room = bot.tg.group(members=[bob])
    bot.configure()
    bot.start()
    group.send("step ls; sleep 60", by=bob)
    shown = bot.shows("▸ ls")
    press = shown.press(by=bob)
    bot.until(lambda: press.answer)
    assert shown.buttons == ["cancel"]  # the next edit may come only three seconds after the last
    bot.becomes(shown, "cancelled")


@scene(started=False)
def test_f8_f27_a_thread_that_is_no_topic_is_neither_sent_nor_a_session_of_its_own(bot, dm):
    bob = bot.tg.user(2, "Bob")
    group = bot.room = bot.tg.group(members=[bob])
    bot.configure(table='session_mode = "chat"')
    bot.start()
    asked = group.send("say one", by=bob)
    first = bot.answers("one")
    group.send("say two", reply_to=asked, by=bob)
    bot.answers("two")
    assert [session for session, _ in bot.runs] == ["-", token_in(first)]
    assert not any(
        "message_thread_id" in call.params.values for call in bot.tg.calls("sendMessage")
    )


@scene(started=False)
@pytest.mark.parametrize("batches", ["one", "each"])
def test_f10_f23_f24_what_belongs_together_is_one_run_and_what_does_not_is_two(bot, dm, batches):
    bot.configure(patience_s=1)
    bot.start()
    if batches == "each":
        bot.tg.one_by_one()
    dm.forward(["a", "b", "c"], comment="summarize")
    bot.until(lambda: len(bot.runs) == 1)
    dm.send("say one")
    dm.send("say two")
    bot.until(lambda: len(bot.runs) == 3)
    dm.send_long("x" * 5000)
    bot.until(lambda: len(bot.runs) == 4)
    prompts = [prompt for _, prompt in bot.runs]
    assert prompts[0] == "summarize\n\na\n\nb\n\nc"
    assert sorted(prompts[1:3]) == ["say one", "say two"]
    assert prompts[3].replace("\n", "") == "x" * 5000
    bot.until(lambda: len(final_answers(dm)) == 4)


@scene(started=False)
def test_answers_of_any_kind_are_accepted_at_once_and_can_be_gone_on_with(bot, dm):
    bot.configure(table='message_overflow = "split"')
    bot.start()
    table = "| a | b |\n|---|---|\n| 1 | 🐙🐙 |\n"
    links = " ".join(f"[l{n}](https://example.com/{n})" for n in range(150))
    answers = ["🐙" * 2000, table * 60, "```py\n" + "x = '👩‍👩‍👧'\n" * 500, links]
    (bot.home / "answer").write_text("\n\n".join(answers))
    dm.send("tell answer")
    bot.until(lambda: re.search(r"continued \((\d+)/\1\)", dm.messages[-1].text))
    assert all(call.status == 200 for call in bot.tg.calls("sendMessage", dm))
    assert all("--resume " in m.text for m in dm.messages if m.text.startswith("done"))
    assert sum(m.text.count("🐙") for m in dm.messages if m.text.startswith("done")) == 2000 + 120
