"""The real `takopi` process as a Telegram bot: its settings, sessions that it remembers, its start."""

import pytest

from tests.e2e.telegram_scene import scene

pytestmark = pytest.mark.slow

WATCHED = "watch_config = true"


@scene(top=WATCHED, long=True)
def test_a_changed_configuration_is_told_and_counts_at_once(bot, dm):
    bot.configure(f'{WATCHED}\n[projects.site]\npath = "../project"')
    bot.says("config reloaded")
    bot.until(lambda: any(each["command"] == "site" for each in bot.tg.commands()))
    dm.send("/site say in it")
    assert "ctx: site" in bot.answers("in it").text
    bot.configure("watch_config = maybe")
    bot.says("config reload failed")
    bot.configure(WATCHED, "message_overflow = 'split'")
    bot.says("restart takopi for transports.telegram.message_overflow")


@scene(top=WATCHED)
def test_a_run_is_not_disturbed_by_a_reload(bot, dm):
    dm.send("step before; wait go; step after; wait on; say of acme")
    working = bot.shows("▸ before")
    dm.send("say queued", reply_to=working)
    bot.shows("", "queued")
    bot.config.write_text(bot.config.read_text().replace("acme", "other"))
    reloaded = bot.says("config reloaded")
    bot.let("go")
    bot.until(lambda: "▸ after" in working.text)
    dm.send("say of other")
    assert bot.answers("of other").text.startswith("done · other · ")
    bot.let("on")
    assert bot.answers("of acme").text.startswith("done · acme · ")
    assert bot.answers("queued", after=reloaded.id).text.startswith("done · acme · ")


@scene(started=False, long=True)
def test_chat_mode_goes_on_with_the_session_also_after_a_restart(bot, dm):
    bot.configure(table='session_mode = "chat"\nshow_resume_line = false')
    bot.start()
    dm.send("sleep 0.5; late; say one")
    dm.send("say two")  # before the first has a session
    bot.says("two")
    session = bot.runs[1][0]
    assert bot.runs[0][0] == "-"
    assert session != "-"
    assert "--resume" not in dm.transcript()
    bot.stop()
    bot.start()
    dm.send("say three")
    bot.says("three")
    dm.send("/new")
    bot.says("cleared stored sessions for this chat.")
    dm.send("say four")
    bot.says("four")
    assert [each for each, _ in bot.runs] == ["-", session, session, "-"]


@scene()
def test_two_takopis_with_one_bot_are_refused(bot, dm):
    again = bot.run(bot.home)
    assert again.returncode == 1
    assert "already running" in again.stderr


@scene(started=False)
def test_a_token_that_is_not_accepted_ends_with_an_error(bot, dm):
    bot.tg.api.revoked = True
    done = bot.run(bot.home)
    assert done.returncode == 1
    assert "does not accept the bot token" in done.stderr
    assert "Traceback" not in done.stderr
    assert bot.tg.token not in done.stderr
