import random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from takopi.engines.turns import Turns, turns_of_loop

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Bench:
    """Workers with a clock of their own, and what they did in which turn of the loop."""

    def __init__(self, turn_s=1.0):
        self.clock = Clock()
        self.turns = Turns(turn_s, self.clock)
        self.loop_turn = 0
        self.worked = []
        self.spent = {}

    async def count(self):
        while True:
            self.loop_turn += 1
            await checkpoint()

    async def work(self, name, *pieces):
        for piece in pieces:
            ends = await self.turns.begin()
            assert ends > self.clock()
            self.worked.append(name)
            self.spent[self.loop_turn] = self.spent.get(self.loop_turn, 0.0) + piece
            self.clock.now += piece
            self.turns.end()


@pytest.fixture
async def bench():
    made = Bench()
    async with anyio.create_task_group() as group:
        group.start_soon(made.count)
        await checkpoint()
        yield made
        group.cancel_scope.cancel()


async def test_who_is_alone_is_not_held_up(bench):
    begun = bench.loop_turn
    await bench.work("a", 0.3, 0.3, 0.3)
    assert bench.loop_turn == begun


async def test_small_pieces_of_many_fit_into_one_turn(bench):
    async with anyio.create_task_group() as group:
        for name in "abcd":
            group.start_soon(bench.work, name, 0.2)
    assert len(bench.spent) == 1


async def test_a_used_up_turn_is_the_last_until_the_loop_comes_round(bench):
    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(bench.work, name, 1.0, 1.0, 1.0)
    # Nobody was there when the first asked again.
    assert "".join(bench.worked) == "a" + "abc" * 2 + "bc"
    # What is counted as one turn may hold the end of one and the beginning of the next.
    assert max(bench.spent.values()) <= 2.0


async def test_what_is_left_of_a_turn_is_said(bench):
    assert await bench.turns.begin() == bench.clock() + 1.0
    bench.clock.now += 0.75
    bench.turns.end()
    assert await bench.turns.begin() == bench.clock() + 0.25
    bench.turns.end()


async def test_newcomers_stand_behind_those_who_wait(bench):
    async with anyio.create_task_group() as group:
        group.start_soon(bench.work, "a", 1.0)
        group.start_soon(bench.work, "b", 0.1)
        await checkpoint()
        group.start_soon(bench.work, "c", 0.1)
    assert bench.worked == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(30))
async def test_whoever_leaves_holds_up_nobody(bench, seed):
    rng = random.Random(seed)
    scopes = [anyio.CancelScope() for _ in range(12)]
    ended = []

    async def worker(name):
        with scopes[name]:
            for _ in range(5):
                await bench.work(name, rng.choice([0.1, 0.6, 1.5]))
                if rng.random() < 0.2:
                    await checkpoint()
        ended.append(name)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for name in range(12):
                group.start_soon(worker, name)
            for _ in range(8):
                for _ in range(rng.randrange(4)):
                    await checkpoint()
                rng.choice(scopes).cancel()
    assert sorted(ended) == list(range(12))
    # Nobody begins when the turn is used up; who is at it may go on beyond its end.
    assert max(bench.spent.values(), default=0.0) < 2 * (1.0 + 1.5)


async def test_everybody_on_a_loop_shares_its_turns():
    assert turns_of_loop() is turns_of_loop()
