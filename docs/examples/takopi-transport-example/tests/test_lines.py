"""The chat, line by line. Engines play scripts, so nothing needs to be installed."""

import io
import re
from collections.abc import Callable

import anyio
import pytest
from takopi_transport_example.backend import BACKEND
from takopi_transport_example.chat import Chat
from takopi_transport_example.transport import LineTransport

from takopi.api import Runner, TransportBackend
from takopi.testing import Raise, Return, ScriptRunner, Wait, runtime_of

NUMBER = re.compile(r"^#(\d+) (.*)")


class Room:
    """A chat and what it printed."""

    def __init__(self, *runners: Runner, **missing: str) -> None:
        self.runtime = runtime_of(*runners, missing=missing)
        self.out = io.StringIO()

    def play(self, script: Callable[["Room"], object]) -> str:
        """Everything that is printed while ``await script(room)`` goes on, and until all runs end."""

        async def main() -> None:
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    self.chat = Chat(self.runtime, LineTransport(self.out), group)
                    await script(self)

        anyio.run(main)
        return self.out.getvalue()

    async def say(self, line: str, until: str) -> int:
        """Write a line, wait until a message holds a text, and give the number of the message."""
        seen = len(self.out.getvalue())
        await self.chat.receive(line)
        while True:
            for printed in self.out.getvalue()[seen:].splitlines():
                if (found := NUMBER.match(printed)) and until in found[2]:
                    return int(found[1])
            await anyio.sleep(0.01)


def says(*lines: str) -> Callable[[Room], object]:
    """A script of lines, each with what to wait for: ``line | text``."""

    async def script(room: Room) -> None:
        for line in lines:
            await room.say(*line.split(" | "))

    return script


def test_it_is_a_transport() -> None:
    assert isinstance(BACKEND, TransportBackend)


def test_a_message_is_run_and_answered() -> None:
    runner = ScriptRunner([Return("four")], engine="acme", resume_value="s1")
    shown = Room(runner).play(says("two and two? | done"))
    assert runner.calls == [("two and two?", None)]
    assert shown.startswith("#1 starting · acme · 0s\n")
    assert shown.endswith("#2 replaces #1: done · acme · 0s\n\n  four\n\n  `acme resume s1`\n")


def test_a_reply_goes_on_with_the_session() -> None:
    runner = ScriptRunner([Return("yes")], engine="acme", resume_value="s1")
    shown = Room(runner).play(says("one | done", ">2 two | done"))
    assert [(prompt, token and token.value) for prompt, token in runner.calls] == [
        ("one", None),
        ("two", "s1"),
    ]
    assert "#3 queued · acme" in shown


def test_a_reply_to_a_run_waits_for_it_and_can_be_taken_back() -> None:
    going_on = anyio.Event()
    runner = ScriptRunner([Wait(going_on), Return("yes")], engine="acme", resume_value="s1")

    async def script(room: Room) -> None:
        first = await room.say("one", until="starting")
        await room.say(f">{first} two", until="queued")
        third = await room.say(f">{first} three", until="queued")
        await room.say(f">{third} /cancel", until="`cancelled`")
        going_on.set()

    Room(runner).play(script)
    assert [prompt for prompt, _ in runner.calls] == ["one", "two"]


def test_a_run_can_be_cancelled() -> None:
    runner = ScriptRunner([Wait(anyio.Event())], engine="acme")

    async def script(room: Room) -> None:
        first = await room.say("one", until="starting")
        await room.say(f">{first} /cancel", until="`cancelled`")

    Room(runner).play(script)


def test_what_goes_wrong_is_answered() -> None:
    broken = ScriptRunner([Raise(RuntimeError("out of luck"))], engine="acme")
    room = Room(broken, zulu="zulu is not installed")
    shown = room.play(says("one | error", "/zulu two | error", "/cancel | nothing to cancel"))
    assert "out of luck" in shown
    assert "zulu is not installed" in shown


@pytest.mark.parametrize("line", ["", "  ", ">3 "])
def test_nothing_is_no_message(line: str) -> None:
    runner = ScriptRunner([Return("yes")], engine="acme")

    async def script(room: Room) -> None:
        await room.chat.receive(line)

    assert Room(runner).play(script) == ""
