"""Polling: nothing is handled twice or skipped, and failures cost time, not updates."""

import logging

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.errors import ConfigError
from takopi.telegram.polling import Poller
from takopi.telegram.updates import Access, InboundMessage, Intake
from takopi.telegram.wire import BadRequest, Conflict, Ok, RateLimited, Transient, Unauthorized

pytestmark = pytest.mark.anyio

CHAT, USER = -100, 42


def update(update_id, message_id=None, sender=USER):
    return {
        "update_id": update_id,
        "message": {
            "message_id": message_id or update_id,
            "chat": {"id": CHAT, "type": "supergroup"},
            "from": {"id": sender},
            "text": f"message {update_id}",
        },
    }


class Script:
    """A source that gives one answer after the other, then none."""

    def __init__(self, *answers):
        self.answers, self.calls, self.done = list(answers), [], anyio.Event()

    async def get_updates(self, offset, timeout_s, allowed):
        self.calls.append((offset, timeout_s, tuple(allowed)))
        await checkpoint()
        if not self.answers:
            self.done.set()
            await anyio.sleep_forever()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def offsets(self):
        return [offset for offset, _, _ in self.calls]


class Sleeps(list):
    """Sleeps that are over at once."""

    async def __call__(self, delay):
        self.append(delay)
        await checkpoint()


def longest(low, high):
    return high


async def run(*answers, handle=None, jitter=longest):
    """Poll until the answers are used up: the source, what was handled, and the sleeps."""
    source, handled, sleeps = Script(*answers), [], Sleeps()

    async def note(raw):
        handled.append(raw)
        if handle is not None:
            await handle(raw, source)

    poller = Poller(source, sleep=sleeps, jitter=jitter)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run, note)
            await source.done.wait()
            group.cancel_scope.cancel()
    return source, handled, sleeps


def everything(raw):
    return True


# -- what came in while nobody was here --------------------------------------------------------


async def test_the_backlog_is_thrown_away_batch_by_batch():
    source = Script(Ok([update(5), update(6)]), Ok([update(9)]), Ok([]))
    assert await Poller(source).drain(everything) == 3
    assert source.calls == [
        (None, 0, ("message", "callback_query")),
        (7, 0, ("message", "callback_query")),
        (10, 0, ("message", "callback_query")),
    ]


async def test_polling_goes_on_after_what_was_drained():
    source, handled = Script(Ok([update(5)]), Ok([]), Ok([update(6)])), []

    async def handle(raw):
        handled.append(raw["update_id"])

    poller = Poller(source)
    await poller.drain(everything)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run, handle)
            await source.done.wait()
            group.cancel_scope.cancel()
    assert handled == [6]
    assert source.calls[2:] == [
        (6, 50, ("message", "callback_query")),
        (7, 50, ("message", "callback_query")),
    ]


@pytest.mark.parametrize(
    "failure",
    [
        Transient("down"),
        Conflict(),
        RateLimited(3),
        BadRequest(),
        OSError("no network"),
        Ok([{"message": {}}]),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_after_a_failure_the_rest_of_the_backlog_is_thrown_away_too(failure):
    source, naps = Script(Ok([update(5)]), failure, failure, Ok([update(6)]), Ok([])), []

    async def sleep(seconds):
        naps.append(seconds)

    poller = Poller(source, sleep=sleep)
    assert await poller.drain(everything) == 2
    assert source.offsets == [None, 6, 6, 6, 7]
    assert len(naps) == 2
    assert min(naps) >= 2


async def test_f17_messages_of_allowed_senders_are_counted():
    access = Access(frozenset({CHAT}), frozenset({USER}))
    intake = Intake(lambda: access)
    batch = [update(1), update(2, sender=41), {"update_id": 3, "message": "garbage"}, update(4)]
    assert await Poller(Script(Ok(batch), Ok([]))).drain(intake.is_wanted_message) == 2


async def test_f17_nothing_missed_is_nothing_counted():
    assert await Poller(Script(Ok([]))).drain(everything) == 0


# -- polling -----------------------------------------------------------------------------------


async def test_updates_are_handled_in_order_and_confirmed_by_the_next_request():
    source, handled, sleeps = await run(Ok([update(5), update(6)]), Ok([]), Ok([update(8)]))
    assert [raw["update_id"] for raw in handled] == [5, 6, 8]
    assert source.calls[0] == (None, 50, ("message", "callback_query"))
    assert source.offsets == [None, 7, 7, 9]
    assert sleeps == []


async def test_the_offset_moves_on_before_an_update_is_handled():
    async def fail(raw, source):
        raise RuntimeError("boom")

    source, handled, _ = await run(Ok([update(5), update(6)]), handle=fail)
    assert [raw["update_id"] for raw in handled] == [5, 6]
    assert source.offsets == [None, 7]


async def test_a_handler_that_fails_is_logged_and_the_next_update_is_handled(caplog):
    async def fail(raw, source):
        if raw["update_id"] == 5:
            raise RuntimeError("boom")

    _, handled, sleeps = await run(Ok([update(5), update(6)]), handle=fail)
    assert (len(handled), sleeps) == (2, [])
    assert "polling.handler_failed update_id=5" in caplog.text


async def test_f09_an_update_that_cannot_be_decoded_is_confirmed_with_the_others():
    intake = Intake(lambda: Access(frozenset({CHAT})))
    poison = {"update_id": 6, "message": {"message_id": "six"}}
    source, handled, _ = await run(Ok([update(5), poison, "garbage", update(7), poison]))
    assert source.offsets == [None, 7]
    taken = [intake.take(raw) for raw in handled]
    assert [found.update_id for found in taken if isinstance(found, InboundMessage)] == [5, 7]


async def test_f09_updates_without_any_id_are_not_fetched_again_and_again_without_a_pause():
    _, handled, sleeps = await run(Ok([{"message": {}}, None]), Ok([update(1)]))
    assert [raw["update_id"] for raw in handled] == [1]
    assert sleeps == [2.0]


async def test_ids_may_start_again_anywhere():
    source, _, _ = await run(Ok([update(900)]), Ok([update(17)]), Ok([update(18)]))
    assert source.offsets == [None, 901, 18, 19]


# -- failures ----------------------------------------------------------------------------------


async def test_f16_waits_grow_from_2_to_30_seconds_and_start_again_after_a_success():
    down = [Transient("down")] * 6
    _, handled, sleeps = await run(*down, Ok([update(1)]), Transient("down"))
    assert sleeps == [2, 4, 8, 16, 30, 30, 2]
    assert len(handled) == 1


async def test_f16_waits_have_jitter_between_2_seconds_and_the_longest():
    asked = []

    def middle(low, high):
        asked.append((low, high))
        return (low + high) / 2

    _, _, sleeps = await run(*[Transient("down")] * 4, jitter=middle)
    assert asked == [(2, 2), (2, 4), (2, 8), (2, 16)]
    assert sleeps == [2, 3, 5, 9]


async def test_f16_a_long_outage_ends_in_nothing_but_waits():
    _, _, sleeps = await run(*[Transient("down")] * 2000)
    assert len(sleeps) == 2000
    assert max(sleeps) == 30


async def test_f16_a_refused_token_ends_it_with_a_clear_error():
    for poll in (Poller.drain, Poller.run):
        source = Script(Unauthorized("Unauthorized"))
        with pytest.raises(ConfigError) as error:
            await poll(Poller(source), everything)
        assert str(error.value).startswith(
            "telegram does not accept the bot token (Unauthorized); ask @BotFather"
        )
        assert len(source.calls) == 1


async def test_f16_a_conflict_waits_10_seconds_and_says_so_once(caplog):
    caplog.set_level(logging.INFO)
    _, handled, sleeps = await run(*[Conflict("terminated by other")] * 3, Ok([update(1)]))
    assert sleeps == [10, 10, 10]
    assert len(handled) == 1
    assert caplog.text.count("another program fetches the updates of this bot") == 1
    assert "polling.recovered failures=3" in caplog.text


WEBHOOK = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the"
    " webhook first"
)
RIVAL = (
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is"
    " running"
)


async def test_f59_takopi_does_not_start_while_a_webhook_takes_its_messages():
    source = Script(Conflict(WEBHOOK))
    with pytest.raises(ConfigError) as error:
        await Poller(source).drain(everything)
    said = str(error.value)
    assert said.startswith("a webhook is set for this bot")
    assert "api.telegram.org/bot<token>/deleteWebhook" in said
    assert len(source.calls) == 1


async def test_f59_another_poller_is_waited_out_at_the_start():
    naps = []

    async def sleep(seconds):
        naps.append(seconds)

    source = Script(Conflict(RIVAL), Ok([]))
    assert await Poller(source, sleep=sleep).drain(everything) == 0
    assert naps == [10]


@pytest.mark.parametrize("said", [WEBHOOK, "Conflict: terminated by setWebhook request"])
async def test_f59_a_webhook_that_comes_later_is_told_once_and_waited_out(caplog, said):
    caplog.set_level(logging.INFO)
    _, handled, sleeps = await run(*[Conflict(said)] * 3, Ok([update(1)]))
    assert sleeps == [10, 10, 10]
    assert len(handled) == 1
    assert caplog.text.count("a webhook is set for this bot") == 1
    assert caplog.text.count("bot<token>/deleteWebhook") == 1
    assert "another program" not in caplog.text


async def test_f59_another_poller_and_a_webhook_are_told_apart_also_one_after_the_other(caplog):
    await run(Conflict(RIVAL), Conflict(WEBHOOK), Conflict(WEBHOOK), Conflict(RIVAL))
    told = ["webhook" if "a webhook is set" in r.getMessage() else "other" for r in caplog.records]
    assert told == ["other", "webhook", "other"]


async def test_f16_another_kind_of_failure_is_logged_again(caplog):
    await run(Transient("down"), Transient("down"), Conflict(), Transient("down"))
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "polling.failed",
        "polling.conflict",
        "polling.failed",
    ]


async def test_f16_a_failure_after_a_success_is_logged_again(caplog):
    await run(Conflict(), Ok([]), Conflict())
    assert caplog.text.count("polling.conflict") == 2


async def test_a_rate_limit_is_waited_for_as_long_as_it_says():
    _, handled, sleeps = await run(RateLimited(3.5), RateLimited(0), Ok([update(1)]))
    assert sleeps == [3.5, 0]
    assert len(handled) == 1


async def test_a_source_that_raises_is_a_failure_like_any_other(caplog):
    _, handled, sleeps = await run(OSError("no network"), BadRequest("?"), Ok([update(1)]))
    assert sleeps == [2, 4]
    assert len(handled) == 1
    assert "polling.source_failed" in caplog.text


async def test_f16_a_slow_step_in_a_task_of_its_own_delays_no_cancel():
    transcribed, cancelled = anyio.Event(), anyio.Event()
    source = Script(Ok([update(1)]), Ok([update(2)]))

    async def transcribe():
        await cancelled.wait()  # cancelled while this is still going on
        transcribed.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:

            async def handle(raw):
                if raw["update_id"] == 1:
                    group.start_soon(transcribe)
                else:
                    assert not transcribed.is_set()
                    cancelled.set()

            group.start_soon(Poller(source).run, handle)
            await transcribed.wait()
            group.cancel_scope.cancel()


# -- a server with a mind of its own -----------------------------------------------------------


class Server:
    """getUpdates as the Bot API has it: an offset confirms, what is not confirmed comes again."""

    def __init__(self, plan):
        self.plan, self.queue, self.next_id, self.done = list(plan), [], 1, anyio.Event()
        self.sent = []

    async def get_updates(self, offset, timeout_s, allowed):
        await checkpoint()
        if offset is not None:
            self.queue = [raw for raw in self.queue if raw["update_id"] >= offset]
        if not self.plan and not self.queue:
            self.done.set()
            await anyio.sleep_forever()
        return self.answer(self.plan.pop(0) if self.plan else "all")

    def answer(self, step):
        match step:
            case "down":
                return Transient("down")
            case "redeliver" if self.sent:
                self.push(self.sent[-1])
            case "poison":
                self.queue.append({"update_id": self.next_id, "message": {"message_id": "x"}})
                self.next_id += 1
            case int(count):
                for _ in range(count):
                    self.sent.append(len(self.sent) + 1)
                    self.push(self.sent[-1])
        return Ok(self.queue[:2])

    def push(self, message_id):
        self.queue.append(update(self.next_id, message_id))
        self.next_id += 1


STEPS = st.lists(st.sampled_from(["down", "redeliver", "poison"]) | st.integers(0, 4), max_size=12)


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(0, 3))
def test_whatever_the_server_does_every_message_is_handled_once_and_in_order(plan, failing):
    anyio.run(_poll_all, plan, failing)


async def _poll_all(plan, failing):
    server, handled = Server(plan), []
    intake = Intake(lambda: Access(frozenset({CHAT})))

    async def handle(raw):
        found = intake.take(raw)
        if isinstance(found, InboundMessage):
            handled.append(found.message_id)
            if failing and found.message_id % failing == 0:
                raise RuntimeError("boom")

    logging.disable(logging.CRITICAL)
    try:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(Poller(server, sleep=Sleeps()).run, handle)
                await server.done.wait()
                group.cancel_scope.cancel()
    finally:
        logging.disable(logging.NOTSET)
    assert handled == server.sent
