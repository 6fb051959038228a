"""The bot as a process of its own: many chats under load with Telegram's limits in force; and idle.

The server is the fake Bot API of the tests. It refuses what is too fast, and its own limiter says
afterwards when it would first have taken each answer.
"""

from __future__ import annotations

import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from bench.measure import Row
from tests.fake_telegram import Call, FakeBotApi, FakeTelegram, Person, Room, Shown
from tests.fake_telegram.calls import METHODS
from tests.fake_telegram.clock import Clock
from tests.fake_telegram.limits import Limiter

_LATE_S = 2.0
_IDLE_MB = 45.0
_MB = 1_000_000
_LOOK_S = 0.02
_PATIENCE_S = 60.0  # without a single answer
_STEP_S = 0.25

# Its prompt: a number and how many steps. It notes when it is about to write its last line.
_ENGINE = """\
#!{python} -SE
import json, os, sys, time
number, steps = sys.argv[1].split()
def out(**event):
    print(json.dumps(event), flush=True)
out(type="session", id="session-" + number)
for step in range(int(steps)):
    time.sleep({pause})
    out(type="step", id=str(step), title=f"pytest -q tests/test_{{step}}.py -x")
ended = time.monotonic()
out(type="end", answer=f"answer-{{number}}.")
with open(os.path.join(os.environ["HOME"], "ends", number), "w") as file:
    file.write(repr(ended))
"""
_ADAPTER = """\
adapter: 1
id: bench
command: bench-cli
args: ["${run().prompt}"]
resume: null
session: {match: {type: session}, id: id}
events:
  - match: {type: step}
    action: {id: id, kind: command, phase: completed, title: title}
  - match: {type: end}
    complete: {answer: answer}
"""


@dataclass(frozen=True)
class _Size:
    private: int
    groups: int
    at_once: int
    runs: int
    steps: tuple[int, int]
    idle_s: float


_FULL = _Size(private=60, groups=40, at_once=20, runs=300, steps=(8, 32), idle_s=10)
_QUICK = _Size(private=2, groups=1, at_once=3, runs=3, steps=(1, 3), idle_s=0.2)


def measure(quick: bool) -> list[Row]:
    """Every row of the bot."""
    size = _QUICK if quick else _FULL
    return [*_load(size), *_idle(size.idle_s)]


# -- the stage -----------------------------------------------------------------------------------


@contextmanager
def _server() -> Iterator[FakeTelegram]:
    """A server with real time and real limits, for as long as it takes."""
    api = FakeBotApi(time_scale=1, limits="enforce")
    with FakeTelegram(api, max_requests=sys.maxsize, lifetime_s=math.inf) as tg:
        yield tg
        tg.check()


@dataclass(frozen=True)
class _Place:
    """A chat, and the person who writes in it."""

    room: Room
    person: Person


def _places(tg: FakeTelegram, private: int, groups: int) -> list[_Place]:
    people = [tg.user(1_000 + i, f"User {i}") for i in range(private + groups)]
    alone, together = people[:private], people[private:]
    return [
        *(_Place(tg.private(person), person) for person in alone),
        *(_Place(tg.group(f"team {p.id}", members=[p]), p) for p in together),
    ]


def _furnish(home: Path, tg: FakeTelegram, places: Sequence[_Place]) -> None:
    """A home with an engine and a configuration; the first place is the main chat."""
    for name in ("project", "bin", "ends", ".takopi/adapters"):
        (home / name).mkdir(parents=True)
    script = home / "bin/bench-cli"
    script.write_text(_ENGINE.format(python=sys.executable, pause=_STEP_S))
    script.chmod(0o755)
    (home / ".takopi/adapters/bench.yaml").write_text(_ADAPTER)
    groups = [place.room.id for place in places if place.room.id < 0]
    projects = "".join(
        f'[projects.team{number}]\npath = "{home / "project"}"\nchat_id = {chat_id}\n'
        for number, chat_id in enumerate(groups)
    )
    (home / ".takopi/takopi.toml").write_text(
        'default_engine = "bench"\ntransport = "telegram"\n'
        f'[transports.telegram]\nbot_token = "{tg.token}"\nchat_id = {places[0].room.id}\n'
        f'api_url = "{tg.url}"\nforward_coalesce_s = 0\n'
        f"allowed_user_ids = {[place.person.id for place in places]}\n{projects}"
    )


@contextmanager
def _takopi(home: Path, tg: FakeTelegram, main: Room) -> Iterator[psutil.Popen]:
    """The real program, from its first message on; it must end well and log no failure."""
    log = home / "stderr"
    bins = [home / "bin", Path(sys.executable).parent, "/usr/local/bin", "/usr/bin", "/bin"]
    with log.open("wb") as stderr:
        process = psutil.Popen(
            [sys.executable, "-m", "takopi"],
            env={"HOME": str(home), "PATH": os.pathsep.join(map(str, bins)), "LANG": "C.UTF-8"},
            cwd=home / "project",
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        tg.wait_for(lambda: main.find("takopi is ready") or process.poll() is not None, 60)
        _check_runs(process)
        yield process
        # Whatever is still to be tidied up may wait for its chat's turn.
        tg.wait_for(lambda: not tg.leftovers(), 30)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    except Exception as error:
        error.add_note(_tail(log))
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 128 + signal.SIGTERM or "Traceback" in log.read_text(errors="replace"):
        raise RuntimeError(f"takopi ended with {process.returncode}\n{_tail(log)}")


def _check_runs(process: psutil.Popen) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"takopi ended with {process.returncode}")


def _tail(log: Path) -> str:
    return "the end of its log:\n" + log.read_text(errors="replace")[-2000:]


# -- load ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    place: _Place
    message: Shown


@dataclass
class _Load:
    """Keeps ``size.at_once`` runs going, each in a chat that has none, until all are answered."""

    tg: FakeTelegram
    places: list[_Place]
    size: _Size
    process: psutil.Popen
    asked: dict[int, _Asked] = field(default_factory=dict)
    finals: dict[int, Call] = field(default_factory=dict)
    peak: int = 0
    _seen: int = 0
    _open: list[Call] = field(default_factory=list)

    def run(self) -> None:
        random_ = random.Random(1)
        idle = list(self.places)
        last = time.monotonic()
        while len(self.finals) < self.size.runs:
            while len(self.asked) < self.size.runs and self._active < self.size.at_once:
                self._ask(idle.pop(random_.randrange(len(idle))), random_)
            time.sleep(_LOOK_S)
            _check_runs(self.process)
            self.peak = max(self.peak, self.process.memory_info().rss)
            for number in self._answered():
                idle.append(self.asked[number].place)
                last = time.monotonic()
            if time.monotonic() - last > _PATIENCE_S:
                raise RuntimeError(f"no answer for {_PATIENCE_S:.0f} s\n{self.tg.report()}")

    @property
    def _active(self) -> int:
        return len(self.asked) - len(self.finals)

    def _ask(self, place: _Place, random_: random.Random) -> None:
        number = len(self.asked)
        text = f"{number} {random_.randint(*self.size.steps)}"
        self.asked[number] = _Asked(place, place.room.send(text, by=place.person))

    def _answered(self) -> Iterator[int]:
        """The runs whose answers have come in since the last look."""
        with self.tg.api.changed:
            self._open += self.tg.api.calls[self._seen :]
            self._seen = len(self.tg.api.calls)
        over = [call for call in self._open if call.replied is not None]
        self._open = [call for call in self._open if call.replied is None]
        for call in over:
            number = _answer_in(str(call.params.values.get("text", "")))
            if number is None or call.status != 200:
                continue
            if number in self.finals:
                raise RuntimeError(f"the answer of run {number} was written twice: {call}")
            self.finals[number] = call
            yield number

    def check(self) -> int:
        """How many answers the chats show. Raises if not one for each, in its place."""
        shown = [
            (number, room.id, message.view.reply_to)
            for room in self.tg.rooms
            for message in room.messages
            if (number := _answer_in(message.text)) is not None
        ]
        expected = [(n, a.place.room.id, a.message.id) for n, a in self.asked.items()]
        if sorted(shown) != sorted(expected):
            raise RuntimeError(f"answers shown: {sorted(shown)}, expected: {sorted(expected)}")
        return len(shown)


def _answer_in(text: str) -> int | None:
    found = re.search(r"\banswer-(\d+)\.", text)
    return int(found[1]) if found else None


def _load(size: _Size) -> list[Row]:
    with TemporaryDirectory() as folder, _server() as tg:
        home = Path(folder)
        places = _places(tg, size.private, size.groups)
        _furnish(home, tg, places)
        with _takopi(home, tg, places[0].room) as process:
            load = _Load(tg, places, size, process)
            before, waited_before = sum(process.cpu_times()[:2]), _waited_s(process.pid)
            load.run()
            spent = sum(process.cpu_times()[:2]) - before
            waited = _waited_s(process.pid) - waited_before
        shown = load.check()
        ends = {n: float((home / "ends" / str(n)).read_text()) for n in load.asked}
        excesses = len(tg.api.limiter.log)
    late = lateness(tg.calls(), [(ends[n], call) for n, call in load.finals.items()])
    kinds = {"private chats": True, "groups": False}
    rows = [
        Row("calls that were too fast for Telegram", excesses, "", 0),
        Row("answers shown exactly once, of each run", shown / size.runs, "", 1, at_least=True),
        *_spread("an answer, later than allowed", list(late.values()), _LATE_S),
    ]
    for kind, is_private in kinds.items():
        chosen = [late[c.seq] for c in load.finals.values() if ((c.chat or 0) > 0) == is_private]
        rows += _spread(f"the same in {kind}", chosen, None) if chosen else []
    return [
        *rows,
        Row("CPU of takopi, per run", spent / size.runs * 1e3, "ms"),
        Row("its wait for a core, per run", waited / size.runs * 1e3, "ms"),
        Row(f"{size.at_once} runs in {len(places)} chats, resident peak", load.peak / _MB, "MB"),
    ]


def _waited_s(pid: int) -> float:
    """How long a process could have run but had no core, in seconds; 0 where nobody tells."""
    told = Path(f"/proc/{pid}/schedstat")  # Linux: on a core, waiting for one, both in ns
    return int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0


def _spread(what: str, values: list[float], target: float | None) -> list[Row]:
    ordered = sorted(values)
    found = {"p50": median(ordered), "p99": ordered[int(len(ordered) * 0.99)], "max": ordered[-1]}
    return [Row(f"{what}, {name}", value, "s", target) for name, value in found.items()]


# -- what was allowed ------------------------------------------------------------------------------


def lateness(calls: Sequence[Call], finals: Sequence[tuple[float, Call]]) -> dict[int, float]:
    """Seconds, by the call's number, between when each final could have come in and when it did.

    ``finals`` come with the moment when there was something to send. A final could have come in from
    the first moment after it at which the server's own limiter, having counted all that really came
    in until then, would have taken one more call to that chat.
    """
    moment = 0.0
    limiter = Limiter(Clock(source=lambda: moment), "enforce")
    waiting, late = list(finals), {}
    before = -math.inf
    for call in sorted((c for c in calls if _counts(c)), key=lambda c: c.arrived):
        for due in [due for due in waiting if due[0] <= call.arrived]:
            ready, final = due
            assert final.chat is not None
            moment = max(ready, before)
            # Nothing comes in between `moment` and this call, so that buckets only fill up.
            possible = moment + (deepcopy(limiter).take(final.chat, final.method) or 0.0)
            if possible <= call.arrived or final is call:
                late[final.seq] = max(final.arrived - possible, 0.0)
                waiting.remove(due)
        moment = before = call.arrived
        assert call.chat is not None
        limiter.take(call.chat, call.method)
    return late


def _counts(call: Call) -> bool:
    known = METHODS.get(call.method)
    return known is not None and known.counted and call.chat is not None


# -- idle ----------------------------------------------------------------------------------------


def _idle(seconds: float) -> list[Row]:
    with TemporaryDirectory() as folder, _server() as tg:
        places = _places(tg, 1, 0)
        _furnish(Path(folder), tg, places)
        with _takopi(Path(folder), tg, places[0].room) as process:
            time.sleep(seconds)
            used = process.memory_full_info()
    after = f"idle, {seconds:g} s after its first message"
    return [
        Row(f"{after}: resident", used.rss / _MB, "MB", _IDLE_MB),
        Row(f"{after}: private", used.uss / _MB, "MB"),
    ]
