"""The real `takopi` process as a Telegram bot: it is ended or killed at any moment, and comes back.

Whenever that is, each prompt has one answer or one `interrupted`, and no button stays alive.
"""

import random
import signal
import time

import pytest

from tests.e2e.telegram_scene import scene
from tests.e2e.telegram_stage import final_answers, token_in
from tests.fake_telegram import Block, Flood

pytestmark = pytest.mark.slow


@scene(long=True)
def test_a_killed_takopi_leaves_no_run_that_looks_alive(bot, dm):
    dm.send("step ls; sleep 60; say never")
    running = bot.shows("▸ ls")
    dm.send("say later", reply_to=running)
    queued = bot.shows("", "queued")
    time.sleep(0.5)  # for takopi to take note
    bot.kill()
    dm.send("say while you were away")
    hello = bot.start()
    assert "skipped: 1 message received while offline" in hello
    assert "interrupted: 2 runs when takopi ended" in hello
    for shown in (running, queued):
        bot.becomes(shown, "interrupted")
    assert "--resume s0-" in running.text  # so that it can be gone on with
    dm.send("say back")
    bot.answers("back")
    assert [prompt for _, prompt in bot.runs] == ["step ls; sleep 60; say never", "say back"]
    assert bot.stop() == 128 + signal.SIGTERM
    hello = bot.start()
    assert "interrupted" not in hello
    assert "skipped" not in hello


@scene()
def test_the_engine_of_a_killed_takopi_does_not_run_on_beside_the_next(bot, dm):
    dm.send("step ls; sleep 15; say one")
    running = bot.shows("▸ ls")
    time.sleep(0.5)  # for takopi to take note
    bot.kill()
    bot.start()
    bot.becomes(running, "interrupted")
    dm.send("sleep 1; say two", reply_to=running)
    bot.answers("two")
    assert [(what, prompt) for what, _, prompt, _ in bot.log] == [
        ("begin", "step ls; sleep 15; say one"),
        ("begin", "sleep 1; say two"),
        ("end", "sleep 1; say two"),
    ]
    assert "ended_left_over" in bot.stderr
    assert not list(bot.config.parent.glob("running_engines/*"))


@scene()
def test_f43_a_signal_ends_runs_with_a_message_and_frees_the_lock(bot, dm):
    dm.send("step ls; sleep 60")
    running = bot.shows("▸ ls")
    dm.send("say later", reply_to=running)
    queued = bot.shows("", "queued")
    time.sleep(0.5)  # for takopi to take note
    assert bot.stop(signal.SIGINT) == 130
    assert running.text.startswith("interrupted")
    assert "--resume" in running.text
    assert queued.text.startswith("interrupted")
    assert running.buttons == queued.buttons == []
    assert not list(bot.config.parent.glob("*.lock"))


@scene()
def test_f14_a_signal_is_obeyed_during_a_long_wait_that_a_429_asks_for(bot, dm):
    dm.send("step ls; sleep 60")
    running = bot.shows("▸ ls")
    flood = bot.tg.fail("*Message*", Flood(60), times=None)
    dm.press(running)
    bot.until(lambda: flood.fired)
    began = time.monotonic()
    assert bot.stop(signal.SIGINT) == 130
    assert time.monotonic() - began < 15  # 6 s, and what a busy machine takes
    flood.release()
    bot.tg.accept("early-after-429")  # the next takopi knows of no wait
    bot.start()
    bot.becomes(running, "interrupted")


# Each gets a prompt under way up to some moment.


def unseen(bot, dm):
    bot.tg.api.queue.held = True
    dm.send("say hi")


def fetched(bot, dm):
    """It waits for what may belong to it, and is confirmed."""
    dm.send("step ls; sleep 1; say hi")
    bot.until(lambda: not bot.tg.api.queue.entries)


def hold(bot, dm, method, label="", phase="before", prompt="step ls; sleep 0.3; say hi"):
    """Hold the first call of a method whose text begins with a label, for ever."""
    wanted = lambda p: str(p.values.get("text", "")).startswith(label)  # noqa: E731
    rule = bot.tg.fail(method, Block(), phase=phase, when=wanted)
    dm.send(prompt)
    bot.until(lambda: rule.fired)


def progress_not_posted(bot, dm):
    hold(bot, dm, "sendMessage")


def progress_not_acknowledged(bot, dm):
    """Nobody knows which message it is."""
    hold(bot, dm, "sendMessage", phase="after")
    bot.shows("", "starting")


def progress_posted(bot, dm):
    dm.send("step ls; sleep 1; say hi")
    await_receipt(bot, "starting")


def await_receipt(bot, label):
    """Wait until takopi was told that a message was posted, and has taken note."""

    def is_told():
        calls = bot.tg.calls("sendMessage")
        return any(c.status == 200 and c.params.values["text"].startswith(label) for c in calls)

    bot.until(is_told)
    time.sleep(0.2)


def session_known(bot, dm):
    dm.send("step ls; sleep 9; say hi")
    bot.shows("▸ ls")


def edit_not_shown(bot, dm):
    hold(bot, dm, "editMessageText", prompt="step ls; sleep 9; say hi")


def edit_not_acknowledged(bot, dm):
    hold(bot, dm, "editMessageText", phase="after", prompt="step ls; sleep 9; say hi")


def answer_not_posted(bot, dm):
    hold(bot, dm, "sendMessage", "done")


def answer_posted(bot, dm):
    dm.send("step ls; sleep 0.3; say hi")
    await_receipt(bot, "done")


def progress_not_deleted(bot, dm):
    hold(bot, dm, "deleteMessage")


def progress_deleted(bot, dm):
    hold(bot, dm, "deleteMessage", phase="after")


def answer_not_shown(bot, dm):
    hold(bot, dm, "editMessageText", "done")


def answer_shown(bot, dm):
    hold(bot, dm, "editMessageText", "done", phase="after")


MOMENTS = [
    *(unseen, fetched, progress_not_posted, progress_not_acknowledged, progress_posted),
    *(session_known, edit_not_shown, edit_not_acknowledged, answer_not_posted, answer_posted),
    *(progress_not_deleted, progress_deleted, answer_not_shown, answer_shown),
]
IN_PLACE = (answer_not_shown, answer_shown)  # the progress message becomes the answer


@scene(started=False)
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_whenever_takopi_is_killed_a_prompt_has_one_answer_or_one_interrupted(bot, dm, moment):
    bot.configure(patience_s=3 if moment is fetched else 0.05)
    bot.start(*["--no-final-notify"] * (moment in IN_PLACE))
    moment(bot, dm)
    bot.kill()
    bot.tg.api.queue.held = False
    runs = bot.runs
    hello = bot.start()
    prompt = next(m for m in dm.messages if not m.message.by_bot)
    settle(bot)
    skipped = "skipped: 1 message" in hello
    assert (outcomes(dm, prompt) == []) if skipped else (len(outcomes(dm, prompt)) == 1)
    assert skipped == (moment is unseen)
    assert bot.runs == runs  # nothing old runs by itself


def settle(bot):
    """Wait until takopi has nothing to do any more: no call for longer than it rests after one."""

    def rests():
        calls = [call.arrived for call in bot.tg.calls() if call.method != "getUpdates"]
        return calls[-1] < time.monotonic() - 3

    bot.until(rests)


def outcomes(dm, prompt):
    """What became of a prompt, as its chat shows it; else there is only progress without a button."""
    replies = [m for m in dm.messages if m.view.reply_to == prompt.id]
    assert not any(m.buttons for m in replies), dm.transcript()
    shown = [m.text.split(maxsplit=1)[0].rstrip(":") for m in replies]
    assert set(shown) <= {"done", "interrupted", "starting", "queued"}, dm.transcript()
    return [each for each in shown if each in ("done", "interrupted")]


@scene(long=True)
def test_takopi_may_be_ended_and_killed_at_random_moments_again_and_again(bot, dm):
    chance = random.Random(20)
    told = []
    for number in range(8):
        prompt = dm.send(f"step ls; sleep 0.2; say {number}")
        time.sleep(chance.uniform(0, 3))
        at = time.monotonic()
        end = bot.kill if number % 4 else bot.stop
        end()
        told.append((prompt, at, bot.start()))
    settle(bot)
    for prompt, at, hello in told:
        shown = outcomes(dm, prompt)
        if not shown:
            assert "skipped: 1 message" in hello
        elif len(shown) > 1:  # see the next test
            answers = [m.history[0].at for m in dm.messages if m.text.startswith("done")]
            assert sorted(shown) == ["done", "interrupted"], dm.transcript()
            assert min(abs(answer - at) for answer in answers) < 0.3, dm.transcript()
    prompts = [prompt for _, prompt in bot.runs]
    assert len(prompts) == len(set(prompts))
    answers = final_answers(dm)
    assert len(answers) == len(set(answers))


@scene()
def test_an_answer_that_was_posted_as_takopi_was_killed_is_not_posted_again(bot, dm):
    """Nobody can know whether it is there: `interrupted` may be said, but no button is left."""
    hold(bot, dm, "sendMessage", "done", phase="after")
    bot.answers("hi")
    bot.kill()
    bot.start()
    settle(bot)
    assert final_answers(dm) == ["hi"]
    assert len(bot.runs) == 1


@scene()
def test_f17_a_takopi_that_starts_without_a_network_runs_nothing_old(bot, dm):
    dm.send("step ls; sleep 60; say never")
    running = bot.shows("▸ ls")
    time.sleep(0.5)  # for takopi to take note
    bot.kill()
    last = dm.send("say while you were away")
    with bot.tg.offline():
        bot.launch()
        bot.until(lambda: "polling.failed" in bot.stderr)
        dm.send("say as well")
    hello = bot.ready(last.id)
    assert "skipped: 2 messages received while offline" in hello
    assert "interrupted: 1 run when takopi ended" in hello
    bot.becomes(running, "interrupted")
    dm.send("say back")
    bot.answers("back")
    assert [prompt for _, prompt in bot.runs][1:] == ["say back"]


@scene(table='session_mode = "chat"')
def test_chat_mode_goes_on_with_a_session_that_a_kill_interrupted(bot, dm):
    dm.send("step ls; sleep 60; say never")
    running = bot.shows("▸ ls")
    bot.kill()
    bot.start()
    bot.becomes(running, "interrupted")
    dm.send("say back")
    bot.answers("back")
    assert bot.runs[1] == (token_in(running), "say back")


@scene()
def test_f14_a_signal_without_a_network_is_obeyed_and_the_answer_is_kept(bot, dm):
    dm.send("step ls; wait go; say precious")
    working = bot.shows("▸ ls")
    with bot.tg.offline():
        bot.let("go")
        bot.until(lambda: "runner.completed" in bot.stderr)
        began = time.monotonic()
        assert bot.stop() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 20  # 6 s, and what a busy machine takes
    (saved,) = (bot.config.parent / "answers").iterdir()
    assert "precious" in saved.read_text()
    assert f"path={saved}" in bot.stderr
    bot.start()
    bot.becomes(working, "interrupted")


@scene()
def test_a_killed_takopi_forgets_what_waited_in_a_queue_but_says_so(bot, dm):
    dm.send("step ls; wait go; say first")
    running = bot.shows("▸ ls")
    queue = []
    for number in range(3):
        queue.append(dm.send(f"say {number}", reply_to=running))
    bot.until(lambda: sum(m.text.startswith("queued") for m in dm.messages) == 3)
    bot.kill()
    bot.let("go")
    assert "interrupted: 4 runs" in bot.start()
    settle(bot)
    for prompt in queue:
        assert outcomes(dm, prompt) == ["interrupted"]
    assert len(bot.runs) == 1
