"""The real `takopi` process as a Telegram bot: network, server and people do as they please."""

import time

import pytest

from tests.e2e.telegram_scene import scene
from tests.e2e.telegram_stage import final_answers
from tests.fake_telegram import Drop, Flood, Http

pytestmark = pytest.mark.slow


@scene()
def test_a_storm_of_429_delays_the_answer_and_loses_nothing(bot, dm):
    bot.tg.fail("*Message*", Flood(0.5), times=4, chat=dm)
    bot.tg.fail("getUpdates", Flood(0.5), times=2)
    bot.tg.fail("sendMessage", Flood(0.5), times=2, when=lambda p: "done" in p.values["text"])
    dm.send("step a; step b; say calm")
    bot.answers("calm")
    assert final_answers(dm) == ["calm"]
    assert len(bot.runs) == 1
    bot.until(lambda: not dm.find(startswith="working"))


@scene()
def test_a_chat_that_is_flooded_delays_no_other(bot, dm):
    group = bot.tg.group(members=[bot.tg.user(1)])
    bot.configure(table=f'[projects.site]\npath = "../project"\nchat_id = {group.id}')
    bot.stop()
    bot.start()
    flood = bot.tg.fail("*Message*", Flood(30), chat=group, times=1)
    group.send("say slow", by=bot.tg.user(1))
    bot.until(lambda: flood.fired)
    dm.send("say quick")
    bot.answers("quick")
    assert group.find("slow") is None


@scene(long=True)
def test_an_answer_survives_a_network_that_is_cut_for_half_a_minute(bot, dm):
    dm.send("step ls; wait go; say worth it")
    bot.shows("▸ ls")
    with bot.tg.offline():
        bot.let("go")
        time.sleep(30)
    dm.send("say still here")
    bot.until(lambda: dm.find("still here"), 80)
    bot.answers("worth it")
    bot.until(lambda: not dm.find(startswith="working"))
    assert sorted(final_answers(dm)) == ["still here", "worth it"]


@scene()
def test_a_server_that_is_restarted_during_a_run_and_a_poll_changes_nothing(bot, dm):
    dm.send("step before; wait one; step meanwhile; wait two; step after; wait three; say done")
    shown = bot.shows("▸ before")
    with bot.tg.offline():
        bot.let("one")
        asked = dm.send("say meanwhile")  # while nobody polls
        time.sleep(1)
    bot.let("two")
    bot.until(lambda: "▸ meanwhile" in shown.text and "▸ after" in shown.text)
    assert bot.answers("meanwhile").view.reply_to == asked.id
    bot.let("three")
    bot.answers("done")
    bot.until(lambda: bot.tg.api.queue.waiting and bot.tg.is_idle(0.5))
    with bot.tg.offline():  # during a long poll
        time.sleep(0.5)
    dm.send("say again")
    bot.answers("again")
    assert final_answers(dm) == ["meanwhile", "done", "again"]


@scene()
@pytest.mark.parametrize(
    "fault",
    [Http(502), Drop("unread")],
    ids=["502", "drop"],
)
def test_an_answer_that_was_not_accepted_is_sent_again(bot, dm, fault):
    dm.send("step ls; wait go; say for sure")
    bot.shows("▸ ls")
    final = {} if fault == Drop("unread") else {"when": lambda p: "done" in p.values["text"]}
    rule = bot.tg.fail("sendMessage", fault, times=1, **final)
    bot.let("go")
    bot.answers("for sure")
    assert rule.fired == 1
    bot.until(lambda: not dm.find(startswith="working"))
    assert final_answers(dm) == ["for sure"]


@scene()
def test_an_answer_whose_receipt_is_lost_comes_twice_at_most(bot, dm):
    final = lambda p: "done" in p.values["text"]  # noqa: E731
    rule = bot.tg.fail("sendMessage", Drop("after"), times=1, when=final)
    asked = dm.send("say once or twice")
    bot.until(lambda: rule.fired)
    bot.until(lambda: not dm.find(startswith="starting") and not dm.find(startswith="working"))
    assert len(bot.runs) == 1
    assert 1 <= len(final_answers(dm)) <= 2
    assert {m.view.reply_to for m in dm.messages if m.text.startswith("done")} == {asked.id}


@scene()
def test_f7_an_answer_arrives_when_its_prompt_was_deleted(bot, dm):
    asked = dm.send("step ls; wait go; say to nobody")
    working = bot.shows("▸ ls")
    dm.delete(asked)
    bot.let("go")
    assert bot.answers("to nobody").view.reply_to is None
    bot.until(lambda: working.deleted)


@scene()
def test_an_answer_arrives_when_its_progress_was_deleted(bot, dm):
    dm.send("step ls; wait more; step pwd; wait go; say all the same")
    working = bot.shows("▸ ls")
    dm.delete(working)
    bot.let("more")
    bot.until(lambda: any(call.error for call in bot.tg.calls("editMessageText")))
    bot.let("go")
    bot.answers("all the same")
    assert final_answers(dm) == ["all the same"]
    assert sum(call.error is not None for call in bot.tg.calls("editMessageText")) == 1


@scene(started=False)
def test_an_answer_moves_with_a_group_that_is_upgraded(bot, dm):
    bob = bot.tg.user(2, "Bob")
    group = bot.room = bot.tg.group(kind="group", admins=[bob], members=[bot.tg.bot])
    bot.configure()
    bot.start()
    group.send("step ls; wait go; say moved", by=bob)
    bot.shows("▸ ls")
    new = group.upgrade(by=bob)
    bot.let("go")
    bot.answers("moved", new)
    assert "telegram.chat_migrated" in bot.stderr
    bot.tg.accept("live-button")  # in the old chat, where nobody can write any more


@scene()
def test_a_bad_update_is_skipped_and_the_next_is_handled(bot, dm):
    with bot.tg.held():
        bot.tg.push("message", {"message_id": "x", "chat": 5})
        bot.tg.push("something_new", {"a": 1})
        asked = dm.send("say after")
    bot.answers("after")
    again = bot.tg.repeat(asked)
    bot.until(
        lambda: any(c.params.integer("offset") == again + 1 for c in bot.tg.calls("getUpdates"))
    )
    dm.send("say later")
    bot.answers("later")
    assert [prompt for _, prompt in bot.runs] == ["say after", "say later"]


@scene(long=True)
def test_f16_a_rival_is_told_about_and_outlived(bot, dm):
    with bot.tg.rival():
        bot.until(lambda: bot.tg.api.queue.conflicts)
        dm.send("say i am back")
    bot.answers("i am back")
    assert "another program fetches the updates of this bot" in bot.stderr
