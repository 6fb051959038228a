"""What belongs together comes out as one, once, and nothing gets lost. Time is virtual."""

import heapq
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.telegram.gather import Gather, Gathered
from takopi.telegram.updates import Attachment, InboundMessage, RepliedTo, Voice

pytestmark = pytest.mark.anyio

CHAT, ANN, BEN = -100, 42, 43
LONG = "x" * 3900


async def settle():
    """Let every task run until it waits; `anyio.wait_all_tasks_blocked` sleeps in between."""
    for _ in range(6):
        await checkpoint()


@dataclass
class Time:
    """A clock that stands still until it is told to go on."""

    now: float = 100.0
    _sleepers: list = field(default_factory=list)
    _order: object = field(default_factory=itertools.count)

    def clock(self):
        return self.now

    async def sleep(self, delay):
        woken = anyio.Event()
        heapq.heappush(self._sleepers, (self.now + delay, next(self._order), woken))
        await woken.wait()

    async def pass_by(self, delay):
        """Wake who sleeps, in order, each at its time."""
        until = self.now + delay
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.now, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            await settle()
        self.now = until


class Bench:
    def __init__(self, window_s=1.0, debounce_s=1.0):
        self.time, self.prompts, self.albums = Time(), [], []
        self.at = []  # when each prompt came out
        self.gather = Gather(
            forward_coalesce_s=window_s,
            media_group_debounce_s=debounce_s,
            on_prompt=self.on_prompt,
            on_album=self.albums.append,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )

    def on_prompt(self, prompt):
        self.prompts.append(prompt)
        self.at.append(self.time.now)
        if prompt.text == "boom":
            raise RuntimeError("boom")

    @property
    def texts(self):
        return [prompt.prompt(prompt.text) for prompt in self.prompts]

    async def wait(self, delay):
        await self.time.pass_by(delay)


@asynccontextmanager
async def bench(**given):
    found = Bench(**given)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(found.gather.run)
            yield found
            group.cancel_scope.cancel()


IDS = itertools.count(1)


def said(text, *, message_id=None, sender=ANN, chat=CHAT, **fields):
    return InboundMessage(chat, message_id or next(IDS), text, sender_id=sender, **fields)


def forwarded(text, **fields):
    return said(text, is_forward=True, **fields)


# -- prompts and their forwards ----------------------------------------------------------------


async def test_a_comment_and_its_forwards_become_one_prompt():
    async with bench() as b:
        b.gather.add_prompt(said("/codex summarize these"))
        for text in "abc":
            assert b.gather.add_forward(forwarded(text))
        await b.wait(0.99)
        assert b.prompts == []
        await b.wait(0.02)
        (prompt,) = b.prompts
        assert prompt.text == "/codex summarize these"
        assert prompt.message.text == "/codex summarize these"
        assert prompt.prompt("summarize these") == "summarize these\n\na\n\nb\n\nc"
        await b.wait(10)
        assert len(b.prompts) == 1


async def test_without_own_words_the_prompt_is_the_forwards():
    async with bench() as b:
        b.gather.add_prompt(said("/codex"))
        b.gather.add_forward(forwarded("a"))
        b.gather.add_forward(forwarded("b"))
        await b.wait(2)
        assert b.prompts[0].prompt("") == "a\n\nb"


async def test_forwards_are_put_in_the_order_of_their_message_ids():
    async with bench() as b:
        b.gather.add_prompt(said("sum", message_id=1))
        for number in (4, 2, 3):
            b.gather.add_forward(forwarded(str(number), message_id=number))
        await b.wait(2)
        assert b.texts == ["sum\n\n2\n\n3\n\n4"]


async def test_forwards_alone_are_nothing():
    async with bench() as b:
        assert not b.gather.add_forward(forwarded("a"))
        await b.wait(5)
        b.gather.add_prompt(said("later"))
        await b.wait(5)
        assert b.texts == ["later"]


async def test_a_forward_after_the_window_is_ignored():
    async with bench() as b:
        b.gather.add_prompt(said("alone"))
        await b.wait(1.01)
        assert not b.gather.add_forward(forwarded("late"))
        await b.wait(5)
        assert b.texts == ["alone"]


async def test_a_blank_forward_or_one_of_nobody_is_ignored():
    async with bench() as b:
        b.gather.add_prompt(said("sum"))
        assert not b.gather.add_forward(forwarded(" \n"))
        assert not b.gather.add_forward(forwarded("a", sender=None))
        await b.wait(2)
        assert b.texts == ["sum"]


@pytest.mark.parametrize(
    "other", [{"sender": BEN}, {"chat": -101}, {"thread_id": 5}], ids=["sender", "chat", "thread"]
)
async def test_senders_chats_and_threads_are_kept_apart(other):
    async with bench() as b:
        b.gather.add_prompt(said("mine"))
        assert not b.gather.add_forward(forwarded("theirs", **other))
        b.gather.add_prompt(said("other", **other))
        await b.wait(2)
        assert b.texts == ["mine", "other"]


async def test_a_new_session_discards_the_prompt_that_waits():
    async with bench() as b:
        b.gather.add_prompt(said("old"))
        b.gather.add_prompt(said("other", sender=BEN))
        assert b.gather.discard(said("/new")).text == "old"
        assert b.gather.discard(said("/new")) is None
        assert b.gather.discard(said("/new", sender=None)) is None
        await b.wait(2)
        assert b.texts == ["other"]


async def test_a_prompt_that_is_discarded_at_once_leaves_the_timers_running():
    async with bench() as b:
        await b.wait(1)
        b.gather.add_prompt(said("old"))
        b.gather.discard(said("/new"))
        await b.wait(1)
        b.gather.add_prompt(said("new"))
        await b.wait(2)
        assert b.texts == ["new"]


async def test_each_prompt_comes_at_its_own_time():
    async with bench() as b:
        start = b.time.now
        b.gather.add_prompt(said("first"))
        await b.wait(0.5)
        b.gather.add_prompt(said("second", sender=BEN))
        await b.wait(0.4)
        b.gather.add_forward(forwarded("a"))
        await b.wait(5)
        assert b.texts == ["second", "first\n\na"]
        assert b.at == [pytest.approx(start + 1.5), pytest.approx(start + 1.9)]


async def test_nothing_waits_for_an_unknown_sender():
    async with bench() as b:
        b.gather.add_prompt(said("a", sender=None))
        b.gather.add_prompt(said("b", sender=None))
        assert b.texts == ["a", "b"]


async def test_nothing_waits_with_a_window_of_zero():
    async with bench(window_s=0) as b:
        b.gather.add_prompt(said(LONG))
        b.gather.add_prompt(said("b"))
        assert b.texts == [LONG, "b"]
        assert not b.gather.add_forward(forwarded("c"))


async def test_the_receiver_may_fail(caplog):
    async with bench() as b:
        b.gather.add_prompt(said("boom"))
        await b.wait(2)
        b.gather.add_prompt(said("next"))
        await b.wait(2)
        assert b.texts == ["boom", "next"]
    assert "gather.deliver_failed" in caplog.text


async def test_f23_every_forward_restarts_the_window():
    async with bench() as b:
        start = b.time.now
        b.gather.add_prompt(said("sum"))
        for text in "abcde":
            await b.wait(0.9)
            assert b.gather.add_forward(forwarded(text))
        await b.wait(0.9)
        assert b.prompts == []
        await b.wait(0.2)
        assert b.texts == ["sum\n\na\n\nb\n\nc\n\nd\n\ne"]
        assert b.at == [pytest.approx(start + 4.5 + 1.0)]


async def test_f24_a_second_prompt_sends_the_first_on_its_way():
    async with bench() as b:
        b.gather.add_prompt(said("first"))
        b.gather.add_forward(forwarded("a"))
        await b.wait(0.5)
        b.gather.add_prompt(said("second"))
        assert b.texts == ["first\n\na"]
        b.gather.add_forward(forwarded("b"))
        await b.wait(0.9)
        assert len(b.texts) == 1
        await b.wait(0.2)
        assert b.texts == ["first\n\na", "second\n\nb"]


async def test_f24_a_long_text_that_the_client_cut_is_one_prompt():
    async with bench() as b:
        first, second = said(LONG), said(LONG)
        b.gather.add_prompt(first)
        await b.wait(0.9)
        b.gather.add_prompt(second)
        await b.wait(0.9)
        b.gather.add_prompt(said("the end"))
        b.gather.add_forward(forwarded("a"))
        await b.wait(0.9)
        assert b.prompts == []
        await b.wait(0.2)
        assert b.texts == [f"{LONG}\n{LONG}\nthe end\n\na"]
        assert b.prompts[0].message == first


@pytest.mark.parametrize(
    ("text", "joined"), [("x" * 3899, False), ("x" * 3900, True), ("🐙" * 1950, True)]
)
async def test_f24_length_is_counted_in_utf16_units(text, joined):
    async with bench() as b:
        b.gather.add_prompt(said(text))
        b.gather.add_prompt(said("rest"))
        await b.wait(2)
        assert b.texts == ([f"{text}\nrest"] if joined else [text, "rest"])


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "/codex rest"},
        {"text": "rest", "reply_to": RepliedTo(3)},
        {"text": "rest", "voice": Voice("v")},
        {"text": "rest", "attachment": Attachment("d", "document")},
    ],
    ids=["command", "reply", "voice", "attachment"],
)
async def test_f24_what_is_no_plain_text_continues_nothing(fields):
    async with bench() as b:
        b.gather.add_prompt(said(LONG))
        b.gather.add_prompt(said(**fields))
        await b.wait(2)
        assert b.texts == [LONG, fields["text"]]


async def test_f24_a_piece_of_a_long_text_is_known_before_it_is_added():
    async with bench() as b:
        assert not b.gather.continues(said("rest"))
        b.gather.add_prompt(said(f"@bot {LONG}"))
        assert b.gather.continues(said("rest"))
        assert not b.gather.continues(said("/new"))
        assert not b.gather.continues(said("rest", sender=BEN))
        assert not b.gather.continues(said("rest", sender=None))


async def test_f24_a_text_after_the_forwards_is_a_new_prompt():
    async with bench() as b:
        b.gather.add_prompt(said(LONG))
        b.gather.add_forward(forwarded("a"))
        b.gather.add_prompt(said("next"))
        await b.wait(2)
        assert b.texts == [f"{LONG}\n\na", "next"]


async def test_f25_a_reply_does_not_wait_but_what_waited_goes_first():
    async with bench() as b:
        b.gather.add_prompt(said("first"))
        b.gather.add_prompt(said("reply", reply_to=RepliedTo(3)))
        assert b.texts == ["first", "reply"]
        assert not b.gather.add_forward(forwarded("a"))
        await b.wait(2)
        assert len(b.prompts) == 2


async def test_f25_a_long_reply_waits_for_its_other_pieces():
    async with bench() as b:
        b.gather.add_prompt(said(LONG, reply_to=RepliedTo(3)))
        b.gather.add_prompt(said("rest"))
        await b.wait(2)
        assert b.texts == [f"{LONG}\nrest"]
        assert b.prompts[0].message.reply_to == RepliedTo(3)


async def test_a_prompt_that_can_have_no_companions_goes_at_once_and_in_order():
    async with bench() as b:
        b.gather.add_prompt(said(LONG))
        b.gather.add_prompt(said("now"), at_once=True)
        assert b.texts == [LONG, "now"]


# -- albums ------------------------------------------------------------------------------------


def part(message_id, album="g", **fields):
    photo = Attachment(f"p{message_id}", "photo")
    return said("", message_id=message_id, album_id=album, attachment=photo, **fields)


async def test_an_album_comes_when_no_part_came_for_a_while_in_order():
    async with bench() as b:
        for number in (3, 1, 2):
            b.gather.add_album_part(part(number))
            await b.wait(0.9)
        assert b.albums == []
        await b.wait(0.2)
        assert [[each.message_id for each in album] for album in b.albums] == [[1, 2, 3]]
        await b.wait(5)
        assert len(b.albums) == 1


async def test_albums_and_chats_are_kept_apart():
    async with bench() as b:
        for found in (part(1), part(2, "h"), part(3, chat=-101), part(4)):
            b.gather.add_album_part(found)
        await b.wait(2)
        assert sorted([each.message_id for each in album] for album in b.albums) == [
            [1, 4],
            [2],
            [3],
        ]


@pytest.mark.parametrize("given", [{"debounce_s": 0}, {}], ids=["window of zero", "no album id"])
async def test_a_part_that_waits_for_nothing_comes_at_once(given):
    async with bench(**given) as b:
        b.gather.add_album_part(part(1, "g" if given else None))
        assert [len(album) for album in b.albums] == [1]


async def test_albums_and_prompts_have_windows_of_their_own():
    async with bench(window_s=5, debounce_s=1) as b:
        b.gather.add_prompt(said("slow"))
        b.gather.add_album_part(part(1))
        await b.wait(1.1)
        assert (len(b.albums), len(b.prompts)) == (1, 0)
        await b.wait(4)
        assert (len(b.albums), len(b.prompts)) == (1, 1)


# -- the end -----------------------------------------------------------------------------------


async def test_closing_gives_what_still_waits_and_then_nothing_waits():
    async with bench() as b:
        b.gather.add_prompt(said("a"))
        b.gather.add_prompt(said("b", sender=BEN))
        b.gather.add_forward(forwarded("c"))
        b.gather.add_album_part(part(9))
        prompts, albums = b.gather.close()
        assert {prompt.prompt(prompt.text) for prompt in prompts} == {"b", "a\n\nc"}
        assert len(prompts) == 2
        assert [[each.message_id for each in album] for album in albums] == [[9]]
        await b.wait(5)
        assert (b.prompts, b.albums) == ([], [])
        assert b.gather.close() == ([], [])
        b.gather.add_prompt(said("late"))
        b.gather.add_album_part(part(10))
        assert (b.texts, len(b.albums)) == (["late"], 1)


async def test_what_arrives_before_the_timers_run_is_delivered_too():
    found = Bench()
    found.gather.add_prompt(said("early"))
    async with anyio.create_task_group() as group:
        group.start_soon(found.gather.run)
        await found.wait(2)
        group.cancel_scope.cancel()
    assert found.texts == ["early"]


def test_it_can_be_made_outside_of_an_event_loop():
    gather = Gather(
        forward_coalesce_s=1,
        media_group_debounce_s=1,
        on_prompt=lambda _: None,
        on_album=lambda _: None,
    )
    assert gather.close() == ([], [])


async def test_real_time_passes_too():
    prompt, album = anyio.Event(), anyio.Event()
    gather = Gather(
        forward_coalesce_s=0.02,
        media_group_debounce_s=0.02,
        on_prompt=lambda _: prompt.set(),
        on_album=lambda _: album.set(),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(gather.run)
        gather.add_prompt(said("a"))
        gather.add_album_part(part(2))
        assert not prompt.is_set()
        with anyio.fail_after(3):
            await prompt.wait()
            await album.wait()
        group.cancel_scope.cancel()


# -- whatever comes, whenever ------------------------------------------------------------------

ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from(["prompt", "prompt", "forward", "forward", "long", "reply", "album"]),
        st.sampled_from([ANN, BEN, None]),
        st.sampled_from([0.0, 0.3, 0.9, 1.0, 1.5]),  # then time passes
        st.integers(0, 3),  # message ids arrive a little out of order
    ),
    max_size=14,
)


@settings(max_examples=120, deadline=None)
@given(ARRIVALS, st.booleans())
def test_every_prompt_comes_out_once_with_its_forwards_in_order(arrivals, closed_early):
    anyio.run(_play, arrivals, closed_early)


@settings(max_examples=120, deadline=None)
@given(ARRIVALS)
def test_f23_f24_f25_what_comes_out_when_is_what_the_rules_say(arrivals):
    anyio.run(_compare, [each for each in arrivals if each[0] != "album"])


async def _compare(arrivals):
    async with bench() as b:
        start, expected = b.time.now, Rules()
        for number, (kind, sender, pause, _) in enumerate(arrivals):
            text = f"{kind} {number}" + (LONG if kind == "long" else "")
            reply = {"reply_to": RepliedTo(1)} if kind == "reply" else {}
            message = said(text, sender=sender, message_id=number + 1, **reply)
            (b.gather.add_forward if kind == "forward" else b.gather.add_prompt)(message)
            expected.take(kind, sender, text, b.time.now - start)
            await b.wait(pause)
        await b.wait(5)
        expected.pass_by(b.time.now - start)
        came = [(round(at - start, 3), text) for at, text in zip(b.at, b.texts, strict=True)]
        assert sorted(came) == sorted(expected.out)


class Rules:
    """What should come out, told in another way: piles of text by sender, each with a deadline."""

    def __init__(self):
        self.piles, self.out = {}, []

    def take(self, kind, sender, text, now):
        self.pass_by(now)
        pile = self.piles.get(sender)
        if kind == "forward":
            if pile is not None:
                pile["forwards"].append(text)
                pile["due"] = now + 1
            return
        is_cut = pile is not None and LONG in "".join(pile["own"]) and not pile["forwards"]
        if is_cut and kind != "reply":
            pile["own"].append(text)
            pile["due"] = now + 1
            return
        if pile is not None:
            self.emit(sender, now)
        self.piles[sender] = {"own": [text], "forwards": [], "due": now + 1}
        if sender is None or kind == "reply":
            self.emit(sender, now)

    def pass_by(self, now):
        for sender in [each for each, pile in self.piles.items() if pile["due"] <= now]:
            self.emit(sender, self.piles[sender]["due"])

    def emit(self, sender, now):
        pile = self.piles.pop(sender)
        text = "\n\n".join(["\n".join(pile["own"]), *pile["forwards"]])
        self.out.append((round(now, 3), text))


async def _play(arrivals, closed_early):
    prompts, attached, parts = [], [], []
    async with bench() as b:
        for number, (kind, sender, pause, shift) in enumerate(arrivals):
            message = said(f"{kind} {number}", sender=sender, message_id=10 * (number - shift) + 9)
            if kind == "forward":
                if b.gather.add_forward(message):
                    attached.append(message)
            elif kind == "album":
                parts.append(part(message.message_id, f"g{number % 2}", sender=sender))
                b.gather.add_album_part(parts[-1])
            else:
                fields = {"reply_to": RepliedTo(1)} if kind == "reply" else {}
                text = message.text + (LONG if kind == "long" else "")
                message = said(text, sender=sender, message_id=message.message_id, **fields)
                prompts.append(message)
                b.gather.add_prompt(message)
            await b.wait(pause)
        if not closed_early:
            await b.wait(1.01)
        left_prompts, left_albums = b.gather.close()
        if not closed_early:
            assert (left_prompts, left_albums) == ([], [])
        out = b.prompts + left_prompts
        _check_prompts(out, prompts, attached)
        albums = [each for album in b.albums + left_albums for each in album]
        assert sorted(each.message_id for each in albums) == sorted(p.message_id for p in parts)
        for album in b.albums + left_albums:
            assert [p.message_id for p in album] == sorted(p.message_id for p in album)


def _check_prompts(out: list[Gathered], prompts, attached):
    came = [part for prompt in out for part in prompt.parts]
    assert sorted(part.text for part in came) == sorted(part.text for part in prompts)
    forwards = [each for prompt in out for each in prompt.forwards]
    assert sorted(each.text for each in forwards) == sorted(each.text for each in attached)
    for prompt in out:
        ids = [each.message_id for each in prompt.forwards]
        assert ids == sorted(ids)
        assert {each.sender_id for each in (*prompt.parts, *prompt.forwards)} == {
            prompt.message.sender_id
        }
    for sender in (ANN, BEN, None):  # and in the order in which they were written
        own = [p.text for p in prompts if p.sender_id == sender]
        assert [p.text for p in came if p.sender_id == sender] == own
