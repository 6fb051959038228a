"""The outbox under a clock that jumps: order, pace, retries, and what closing does to them."""

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import combinations

import anyio
import pytest

from takopi.telegram.outbox import DELETE, EDIT, SEND, Dropped, Operation, Outbox, Rates
from takopi.telegram.wire import BadRequest, Ok, RateLimited, Transient

pytestmark = pytest.mark.anyio

NO_LIMITS = Rates(0, 0, 0)
PRIVATE, OTHER, GROUP = 1, 2, -100
SUPERSEDED, CLOSED = Dropped("superseded"), Dropped("closed")


class JumpingLoop(asyncio.SelectorEventLoop):
    """Whenever everybody waits, it is suddenly as late as the first of them waits for."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        while self._scheduled and self._scheduled[0]._cancelled:
            self._scheduled[0]._scheduled = False
            asyncio.base_events.heapq.heappop(self._scheduled)
            self._timer_cancelled_count -= 1
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when)
        super()._run_once()


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": JumpingLoop}


@dataclass
class Server:
    """Takes what is done, and answers as it was told to: ``answers`` by name, else `Ok`."""

    answers: dict = field(default_factory=dict)
    took_s: float = 0.0
    log: list = field(default_factory=list)

    def op(self, name, lane=PRIVATE, **options):
        async def act():
            self.log.append((round(anyio.current_time(), 3), name))
            if self.took_s:
                await anyio.sleep(self.took_s)
            answers = self.answers.get(name)
            answer = answers.pop(0) if answers else Ok(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Operation(lane, act, **options)

    def send(self, name, lane=PRIVATE, **options):
        return self.op(name, lane, **{"priority": SEND, **options})

    def edit(self, name, message, lane=PRIVATE, **options):
        key = ("edit", message)
        return self.op(name, lane, key=key, priority=EDIT, repeatable=True, **options)

    def delete(self, name, message, lane=PRIVATE, **options):
        key = ("delete", message)
        return self.op(name, lane, key=key, priority=DELETE, repeatable=True, **options)

    @property
    def names(self):
        return [name for _, name in self.log]


@asynccontextmanager
async def opened(**options):
    others = asyncio.all_tasks()
    options.setdefault("rates", NO_LIMITS)
    async with Outbox(clock=anyio.current_time, **options) as outbox:
        yield outbox
    assert outbox.pending == 0
    assert asyncio.all_tasks() == others


async def test_the_clock_jumps():
    before = anyio.current_time()
    await anyio.sleep(3600)
    assert anyio.current_time() == before + 3600


# -- the examples of the specification ---------------------------------------------------------------


async def test_an_edit_in_flight_is_followed_by_the_latest_one_only():
    server = Server(took_s=1)
    async with opened() as outbox:
        first = outbox.submit(server.edit("1", 9))
        await anyio.sleep(0.5)
        second, third = outbox.submit(server.edit("2", 9)), outbox.submit(server.edit("3", 9))
        assert await second.wait() == SUPERSEDED
        assert await third.wait() == Ok("3")
        assert await first.wait() == Ok("1")
    assert server.names == ["1", "3"]


async def test_a_send_overtakes_a_pending_edit():
    server = Server()
    async with opened() as outbox:
        edit, send = outbox.submit(server.edit("edit", 9)), outbox.submit(server.send("send"))
        await edit.wait()
        assert await send.wait() == Ok("send")
    assert server.names == ["send", "edit"]


async def test_a_delete_takes_the_place_of_a_pending_edit():
    server = Server()
    async with opened() as outbox:
        edit = outbox.submit(server.edit("edit", 9))
        outbox.drop(PRIVATE, ("edit", 9))
        delete = outbox.submit(server.delete("delete", 9))
        assert await edit.wait() == SUPERSEDED
        await delete.wait()
    assert server.names == ["delete"]


async def test_a_rate_limited_edit_is_made_again():
    server = Server({"edit": [RateLimited(0)]})
    async with opened() as outbox:
        assert await outbox.submit(server.edit("edit", 9)).wait() == Ok("edit")
    assert server.names == ["edit", "edit"]


async def test_a_rate_limited_edit_gives_way_to_a_newer_one():
    server = Server({"1": [RateLimited(2)]}, took_s=1)
    async with opened() as outbox:
        first = outbox.submit(server.edit("1", 9))
        await anyio.sleep(0.5)
        second = outbox.submit(server.edit("2", 9))
        assert await second.wait() == Ok("2")
        assert await first.wait() == SUPERSEDED
    assert server.log == [(0, "1"), (3, "2")]


async def test_f11_a_rate_limit_holds_up_its_own_chat_only():
    server = Server({"a": [RateLimited(60)]})
    async with opened() as outbox:
        for op in (server.send("a", GROUP), server.send("b", PRIVATE), server.send("a2", GROUP)):
            outbox.submit(op)
        await anyio.sleep(61)
    assert server.log == [(0, "a"), (0, "b"), (60, "a"), (60, "a2")]


def at(pauses):
    """So many pauses of a group after the beginning."""
    return pytest.approx(pauses * 60 / 19, abs=0.002)


async def test_f11_every_chat_has_its_own_pace():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        for name in ("g1", "g2", "g3"):
            outbox.submit(server.send(name, GROUP))
        for name in ("p1", "p2", "p3"):
            outbox.submit(server.send(name, PRIVATE))
        outbox.submit(server.op("pressed", "answerCallbackQuery", paced=False))
        await anyio.sleep(20)
    assert sorted(server.log) == [
        *[(0, "g1"), (0, "p1"), (0, "pressed"), (1, "p2"), (2, "p3")],
        *[(at(1), "g2"), (at(2), "g3")],
    ]


async def test_f11_all_chats_share_a_budget():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        for chat in range(1, 101):
            outbox.submit(server.send(f"first {chat}", chat))
            outbox.submit(server.send(f"second {chat}", chat))
        await anyio.sleep(30)
    times = sorted(at for at, _ in server.log)
    assert len(times) == 200
    assert all(later - earlier >= 0.999 for earlier, later in zip(times, times[30:], strict=False))
    assert times[-1] < 10


async def test_f11_an_answer_goes_before_the_progress_of_other_chats():
    server, crowd = Server(), range(1, 301)
    async with opened(rates=Rates()) as outbox:
        for chat in crowd:
            outbox.submit(server.edit(f"progress {chat}", 9, chat))
        await anyio.sleep(0.1)
        answers = [server.send(f"answer {chat}", chat, essential=True) for chat in (1000, 1001)]
        for op in answers:
            outbox.submit(op)
        for op in answers:
            assert isinstance(await op.wait(), Ok)
        assert anyio.current_time() == 1.0  # the first thirty had gone by then
        await anyio.sleep(20)
    times = sorted(at for at, _ in server.log)
    assert all(later - earlier >= 0.999 for earlier, later in zip(times, times[30:], strict=False))
    assert {f"progress {chat}" for chat in crowd} <= set(server.names)
    assert times[-1] <= 10.1  # nobody waits for a place that was given away


async def test_f11_thousands_of_edits_in_one_chat_delay_nobody_in_another():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        for message in range(5000):
            outbox.submit(server.edit(f"e{message}", message, PRIVATE))
        await anyio.sleep(10)
        assert await outbox.submit(server.send("answer", OTHER, essential=True)).wait() == Ok(
            "answer"
        )
        assert anyio.current_time() == 10
        # In its own chat it is the next one.
        await outbox.submit(server.send("own", PRIVATE, essential=True)).wait()
        assert anyio.current_time() == 11


async def test_f11_an_answer_in_a_group_skips_the_pause_and_the_next_one_makes_up_for_it():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        outbox.submit(server.edit("progress", 9, GROUP))
        await anyio.sleep(1)
        outbox.submit(server.edit("more", 9, GROUP))
        for name in ("one", "two", "three"):
            outbox.submit(server.send(name, GROUP, essential=True))
        await anyio.sleep(20)
    assert server.log == [
        *[(0, "progress"), (1, "one"), (at(1), "two"), (at(2), "three"), (at(4), "more")]
    ]


async def test_f11_a_group_gets_no_more_than_twenty_a_minute():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        for number in range(50):
            outbox.submit(server.send(f"{number}", GROUP, essential=number % 3 > 0))
        await anyio.sleep(300)
    times = [at for at, _ in server.log]
    assert len(times) == 50
    assert all(later - at > 59.99 for at, later in zip(times, times[20:], strict=False))


async def test_f11_nothing_skips_the_pause_in_a_private_chat():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        outbox.submit(server.edit("progress", 9))
        await anyio.sleep(0.5)
        outbox.submit(server.send("answer", essential=True))
        await anyio.sleep(5)
    assert server.log == [(0, "progress"), (1, "answer")]


async def test_f11_a_place_in_the_budget_is_not_kept_for_what_must_wait_longer():
    server = Server()
    async with opened(rates=Rates(total_per_s=2)) as outbox:
        outbox.submit(server.edit("progress", 9, GROUP))
        outbox.submit(server.send("other"))
        await anyio.sleep(0.5)
        outbox.submit(server.edit("final", 9, GROUP, essential=True))  # gets the place at 1.0
        await anyio.sleep(0.1)
        outbox.submit(server.send("notice", GROUP))  # goes first, and not before 3.0
        await anyio.sleep(2.3)
        for chat in (11, 12):
            outbox.submit(server.send(f"to {chat}", chat))
        await anyio.sleep(5)
    assert server.log[2:5] == [(2.9, "to 11"), (2.9, "to 12"), (3.9, "notice")]


async def test_f11_a_rate_limit_without_a_chat_holds_up_its_method_only():
    server = Server({"me": [RateLimited(9)]})
    async with opened(rates=Rates()) as outbox:
        outbox.submit(server.op("me", "getMe", paced=False))
        outbox.submit(server.op("menu", "setMyCommands", paced=False))
        outbox.submit(server.send("hi"))
        await anyio.sleep(10)
    assert server.log == [(0, "me"), (0, "menu"), (0, "hi"), (9, "me")]


async def test_f12_questions_do_not_wait_for_a_pause_and_cause_none():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        outbox.submit(server.send("1", GROUP))
        await anyio.sleep(0.1)
        outbox.submit(server.send("2", GROUP))
        for number in range(50):
            outbox.submit(server.op(f"q{number}", "answerCallbackQuery", paced=False))
        await anyio.sleep(5)
    assert server.log[0] == (0, "1")
    assert server.log[1:51] == [(0.1, f"q{number}") for number in range(50)]
    assert server.log[51] == (at(1), "2")


async def test_a_slow_call_delays_nobody_in_other_chats():
    server, slow = Server(), Server(took_s=100)
    async with opened(rates=Rates()) as outbox:
        outbox.submit(slow.send("slow", GROUP))
        outbox.submit(server.send("quick", PRIVATE))
        outbox.submit(server.op("pressed", "answerCallbackQuery", paced=False))
        await anyio.sleep(101)
    assert server.log == [(0, "quick"), (0, "pressed")]


async def test_the_place_in_the_queue_is_kept_by_what_replaces_it():
    server = Server()
    async with opened() as outbox:
        for op in (server.edit("a1", "a"), server.edit("b1", "b"), server.edit("a2", "a")):
            outbox.submit(op)
    assert server.names == []  # closed before anything could begin
    async with opened() as outbox:
        ops = [server.edit("a1", "a"), server.edit("b1", "b"), server.edit("a2", "a")]
        for op in ops:
            outbox.submit(op)
        for op in ops:
            await op.wait()
    assert server.names == ["a2", "b1"]


async def test_sends_keep_their_order_also_when_one_has_to_be_tried_again():
    server = Server({"1": [RateLimited(5), Transient("network"), Transient("network")]})
    async with opened() as outbox:
        for name in "123":
            outbox.submit(server.send(name, essential=True))
        await anyio.sleep(60)
    assert server.log == [(0, "1"), (5, "1"), (6, "1"), (8, "1"), (8, "2"), (8, "3")]


# -- failures ------------------------------------------------------------------------------------------


async def test_f13_an_answer_is_tried_for_ten_minutes_with_growing_pauses():
    server = Server({"answer": [Transient("no network")] * 100})
    async with opened() as outbox:
        outcome = await outbox.submit(server.send("answer", essential=True)).wait()
        assert outcome == Transient("no network")
    times = [at for at, _ in server.log]
    assert times[:8] == [0, 1, 3, 7, 15, 31, 61, 91]
    assert 560 < times[-1] <= 600


async def test_f13_what_may_have_been_done_is_repeated_once():
    uncertain = Transient("timeout", maybe_done=True)
    server = Server({"answer": [uncertain, Transient("refused"), uncertain, uncertain]})
    async with opened() as outbox:
        assert await outbox.submit(server.send("answer", essential=True)).wait() == uncertain
    assert [at for at, _ in server.log] == [0, 1, 3]


async def test_f13_what_can_be_repeated_is():
    uncertain = Transient("timeout", maybe_done=True)
    server = Server({"end": [uncertain] * 5})
    async with opened() as outbox:
        assert await outbox.submit(server.edit("end", 9, essential=True)).wait() == Ok("end")


async def test_f13_what_is_not_essential_is_not_tried_for_long():
    trouble = Transient("no network")
    server = Server({"edit": [trouble] * 9, "send": [Transient("timeout", maybe_done=True)] * 9})
    async with opened() as outbox:
        edit, send = outbox.submit(server.edit("edit", 9)), outbox.submit(server.send("send"))
        assert await send.wait() == Transient("timeout", maybe_done=True)
        assert await edit.wait() == trouble
    assert server.names == ["send", *["edit"] * 4]


async def test_f13_a_failed_edit_gives_way_to_a_newer_one():
    server = Server({"1": [Transient("no network")]}, took_s=1)
    async with opened() as outbox:
        first = outbox.submit(server.edit("1", 9))
        await anyio.sleep(0.5)
        assert await outbox.submit(server.edit("2", 9)).wait() == Ok("2")
        assert await first.wait() == SUPERSEDED
    assert server.names == ["1", "2"]


async def test_an_answer_does_not_wait_for_an_edit_that_is_tried_again():
    server = Server({"edit": [Transient("no network")] * 3})
    async with opened() as outbox:
        outbox.submit(server.edit("edit", 9))
        await anyio.sleep(1.5)
        assert await outbox.submit(server.send("answer", essential=True)).wait() == Ok("answer")
        assert anyio.current_time() == 1.5


async def test_a_final_edit_is_not_replaced_by_progress():
    server = Server()
    async with opened() as outbox:
        final = outbox.submit(server.edit("final", 9, essential=True))
        assert await outbox.submit(server.edit("late", 9)).wait() == SUPERSEDED
        assert await final.wait() == Ok("final")
    assert server.names == ["final"]


@pytest.mark.parametrize("trouble", [RateLimited(3), Transient("no network")])
async def test_a_final_edit_that_is_tried_again_goes_before_newer_progress(trouble):
    server = Server({"final": [trouble]}, took_s=1)
    async with opened() as outbox:
        final = outbox.submit(server.edit("final", 9, essential=True))
        await anyio.sleep(0.5)
        late = outbox.submit(server.edit("late", 9))
        assert await final.wait() == Ok("final")
        assert await late.wait() == SUPERSEDED
    assert server.names == ["final", "final"]


@pytest.mark.parametrize("trouble", [RateLimited(3), Transient("no network")])
async def test_what_was_dropped_while_under_way_is_not_tried_again(trouble):
    server = Server({"edit": [trouble]}, took_s=1)
    async with opened() as outbox:
        edit = outbox.submit(server.edit("edit", 9))
        await anyio.sleep(0.5)
        outbox.drop(PRIVATE, ("edit", 9))
        assert await edit.wait() == SUPERSEDED
    assert server.names == ["edit"]


async def test_a_server_that_says_zero_again_and_again_is_not_flooded():
    server = Server({"answer": [RateLimited(0)] * 8})
    async with opened() as outbox:
        assert await outbox.submit(server.send("answer", essential=True)).wait() == Ok("answer")
        assert anyio.current_time() >= 30
    assert len(server.log) == 9


async def test_progress_gives_up_where_the_server_wants_none():
    server = Server({"edit": [RateLimited(1)] * 50})
    async with opened() as outbox:
        assert await outbox.submit(server.edit("edit", 9)).wait() == RateLimited(1)
    assert len(server.log) == 5


async def test_a_definite_refusal_is_the_answer():
    server = Server({"send": [BadRequest("chat not found")]})
    async with opened() as outbox:
        outcome = await outbox.submit(server.send("send", essential=True)).wait()
        assert outcome == BadRequest("chat not found")
        assert await outbox.submit(server.send("next")).wait() == Ok("next")


async def test_a_bug_in_an_operation_stops_nothing_else():
    server = Server({"bug": [KeyError("bug")]})
    async with opened() as outbox:
        assert await outbox.submit(server.send("bug")).wait() == Dropped("failed")
        assert await outbox.submit(server.send("next")).wait() == Ok("next")


async def test_a_bug_in_a_callback_stops_nothing_else():
    def fail(outcome):
        raise KeyError("bug")

    server = Server()
    async with opened() as outbox:
        assert await outbox.submit(server.send("a", on_done=fail)).wait() == Ok("a")
        assert await outbox.submit(server.send("b")).wait() == Ok("b")


async def test_whoever_gives_up_waiting_stops_nothing():
    server = Server({"answer": [RateLimited(10)]})
    async with opened() as outbox:
        op = outbox.submit(server.send("answer", essential=True))
        with anyio.move_on_after(1):
            await op.wait()
        assert op.outcome is None
        assert await op.wait() == Ok("answer")


# -- the end -------------------------------------------------------------------------------------------


async def test_f14_closing_lets_answers_go_and_drops_the_rest():
    server = Server()
    async with opened(rates=Rates()) as outbox:
        answers = [outbox.submit(server.send(f"answer {n}", essential=True)) for n in range(3)]
        edit = outbox.submit(server.edit("edit", 9))
        chat = outbox.submit(server.send("chat", OTHER))
        await outbox.close()
        assert [await op.wait() for op in answers] == [Ok(f"answer {n}") for n in range(3)]
        assert await edit.wait() == CLOSED
        assert await chat.wait() == CLOSED
        assert anyio.current_time() == 2


async def test_f14_closing_takes_five_seconds_at_most():
    server = Server({"limited": [RateLimited(3600)]}, took_s=0.01)
    hanging = Server(took_s=500)
    async with opened(rates=Rates()) as outbox:
        limited = outbox.submit(server.send("limited", GROUP, essential=True))
        waiting = outbox.submit(server.send("waiting", GROUP, essential=True))
        hung = outbox.submit(hanging.send("hung", OTHER, essential=True))
        await anyio.sleep(1)
        await outbox.close()
        assert anyio.current_time() == 6
        for op in (limited, waiting, hung):
            assert await op.wait() == CLOSED


async def test_f14_closing_waits_for_nothing_that_is_not_essential():
    server = Server({"edit": [RateLimited(60)]})
    async with opened() as outbox:
        edit = outbox.submit(server.edit("edit", 9))
        await anyio.sleep(1)
        await outbox.close()
        assert await edit.wait() == CLOSED
        assert anyio.current_time() == 1


async def test_f14_what_completes_an_answer_is_taken_while_closing():
    server = Server()
    async with opened(rates=Rates()) as outbox:

        def then(outcome):
            outbox.submit(server.delete("delete", 9), follows=True)

        outbox.submit(server.send("other", essential=True))
        outbox.submit(server.send("answer", essential=True, on_done=then))
        await outbox.close()
    assert server.log == [(0, "other"), (1, "answer"), (2, "delete")]


async def test_what_comes_after_the_end_is_dropped_at_once():
    server = Server()
    outbox = Outbox(rates=NO_LIMITS)
    assert await outbox.submit(server.send("early")).wait() == CLOSED
    async with opened() as outbox:
        await outbox.close()
        await outbox.close()
        op = server.send("late", essential=True)
        assert await outbox.submit(op, follows=True).wait() == CLOSED
    assert server.names == []


async def test_f15_anybody_may_close_it():
    server = Server()
    async with opened() as outbox, anyio.create_task_group() as group:
        outbox.submit(server.send("answer", essential=True))
        group.start_soon(outbox.close)
        group.start_soon(outbox.close)
    assert server.names == ["answer"]


async def test_f15_when_the_owner_is_cancelled_answers_still_go():
    server = Server({"answer": [RateLimited(2)]})
    async with anyio.create_task_group() as group:

        async def own():
            async with opened(rates=Rates()) as outbox:
                outbox.submit(server.send("first", essential=True))
                outbox.submit(server.send("answer", essential=True))
                await anyio.sleep_forever()

        group.start_soon(own)
        await anyio.sleep(0.5)
        group.cancel_scope.cancel()
    assert server.log == [(0, "first"), (1, "answer"), (3, "answer")]


async def test_f15_an_error_of_the_owner_ends_it_too():
    server = Server()

    async def own():
        async with opened() as outbox:
            outbox.submit(server.send("answer", essential=True))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await own()
    assert server.names == ["answer"]


# -- bounds --------------------------------------------------------------------------------------------


async def test_what_waits_is_bounded_and_answers_are_dropped_last():
    server = Server({"stuck": [RateLimited(3000)]})
    async with opened(max_pending=10) as outbox:
        answers = [outbox.submit(server.send("stuck", essential=True))]
        await anyio.sleep(1)
        edits = [outbox.submit(server.edit(f"e{n}", n)) for n in range(8)]
        answers += [outbox.submit(server.send(f"a{n}", essential=True)) for n in range(10)]
        assert outbox.pending == 10
        assert all(op.outcome == Dropped("full") for op in (*edits, answers[0]))
        assert all(op.outcome is None for op in answers[1:])


async def test_lanes_of_quiet_chats_are_forgotten():
    server = Server()
    async with opened(rates=Rates(1, 1, 0)) as outbox:
        for chat in range(1, 2001):
            await outbox.submit(server.send("hi", chat)).wait()
            await anyio.sleep(1)
        assert len(outbox._lanes) < 300


# -- everything at once --------------------------------------------------------------------------------


class Crowd:
    """A random day of many chats, and what must be true of it afterwards."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.chats = [*range(1, 6), *range(-105, -100), *([] if seed else range(-190, -101))]
        self.ops = []
        self.done = []  # (chat, started, name) of every call
        self.busy = set()
        self.quiet_until = {}
        self.rates = Rates(self.random.choice([1, 5, 0]), 20 / 60, self.random.choice([3, 30]))

    def act(self, chat, name):
        async def act():
            now = anyio.current_time()
            assert chat not in self.busy, "two operations at once in one chat"
            assert now >= self.quiet_until.get(chat, 0), "too early after a rate limit"
            self.busy.add(chat)
            try:
                await anyio.sleep(self.random.choice([0, 0.05, 0.3, 4]))
            finally:
                self.busy.discard(chat)
            chance = self.random.random()
            if chance < 0.08:
                seconds = self.random.choice([0, 1, 20])
                self.quiet_until[chat] = anyio.current_time() + seconds
                return RateLimited(seconds)
            self.done.append((chat, now, name))
            if chance < 0.16:
                return Transient("trouble")
            return Ok(name)

        return act

    def submit(self, outbox):
        pick, number = self.random, len(self.ops)
        chat = pick.choice(self.chats)
        kind = pick.choice(["answer", "send", "edit", "edit", "edit", "final edit", "delete"])
        message = pick.randrange(3)
        op = Operation(chat, self.act(chat, number))
        op.essential = kind in ("answer", "final edit")
        if "edit" in kind:
            op.key, op.priority, op.repeatable = ("edit", message), EDIT, True
        elif kind == "delete":
            op.key, op.priority, op.repeatable = ("delete", message), DELETE, True
        finished = []
        op.on_done = finished.append
        self.ops.append((kind, chat, message, op, finished))
        outbox.submit(op)

    async def live(self):
        closing = self.random.random() < 0.5
        async with opened(rates=self.rates, close_s=5.0) as outbox:
            for _ in range(250):
                self.submit(outbox)
                if self.random.random() < 0.3:
                    await anyio.sleep(self.random.choice([0, 0.02, 0.5, 3]))
            if not closing:
                for *_, op, _ in self.ops:
                    await op.wait()
        return closing

    def judge(self, closing):
        sent = {}
        for kind, chat, message, op, finished in self.ops:
            assert finished == [op.outcome], "everybody gets one answer"
            if kind == "answer" and not closing:
                assert isinstance(op.outcome, Ok), "an answer is not lost"
            if "edit" in kind:
                sent.setdefault((chat, message), []).append((kind, op))
        for edits in sent.values() if not closing else ():
            finals = [op for kind, op in edits if kind == "final edit"]
            if finals:
                assert isinstance(finals[-1].outcome, Ok), "the latest final edit wins"
            assert not isinstance(edits[-1][1].outcome, Dropped) or finals
        self.judge_order()
        self.judge_pace()

    def judge_order(self):
        answers = {n for n, (kind, *_) in enumerate(self.ops) if kind == "answer"}
        for chat in self.chats:
            seen = [name for c, _, name in self.done if c == chat and name in answers]
            assert seen == sorted(seen), "answers keep their order"

    def judge_pace(self):
        for chat in self.chats:
            times = [at for c, at, _ in self.done if c == chat]
            pause, ahead = self.rates.interval_s(chat), self.rates.ahead_s(chat)
            for (i, a), (j, b) in combinations(enumerate(times), 2):
                assert b - a >= (j - i) * pause - ahead - 1e-6
        times, size = sorted(at for _, at, _ in self.done), self.rates.total_per_s
        assert all(b - a >= 0.998 for a, b in zip(times, times[size:], strict=False))


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_nothing_essential_is_lost_or_too_fast(seed):
    crowd = Crowd(seed)
    crowd.judge(await crowd.live())
