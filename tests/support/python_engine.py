"""An engine written in Python whose CLI is the scripted one of `fake_cli`."""

import asyncio
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from takopi.engines.base import session_lock
from takopi.engines.python import JsonlSubprocessRunner, ResumeTokenMixin
from takopi.events import EventFactory
from takopi.model import ResumeToken, StartedEvent

CLI = Path(__file__).with_name("fake_cli.py")
ACME = EventFactory("acme")


def token(value="s1"):
    return ResumeToken("acme", value)


def line(kind, **more):
    """A step that prints a JSON line."""
    return ["print", json.dumps({"type": kind, **more})]


def init(session="s1"):
    return line("init", session=session)


def result(text="done", **more):
    return line("result", text=text, **more)


INIT = init()
STEP = line("step", id="1", title="working")


class Records:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def debug(self, event, **fields):
        self.lines.append(("debug", event, fields))

    def info(self, event, **fields):
        self.lines.append(("info", event, fields))

    def named(self, event):
        return [fields for _, name, fields in self.lines if name == event]

    def at(self, level):
        return [name for found, name, _ in self.lines if found == level]


@dataclass
class State:
    note_seq: int = 0
    seen: list = field(default_factory=list)


class AcmeRunner(ResumeTokenMixin, JsonlSubprocessRunner):
    """Plays a script: each event of the CLI's lines has a type that `translate` knows."""

    engine = "acme"
    resume_re = re.compile(r"(?im)^\s*`?acme\s+resume\s+(?P<token>[^`\s]+)`?\s*$")
    name = "script"

    def __init__(self, folder, *steps, name="script", **attributes):
        self.script = Path(folder) / f"{name}.json"
        self.script.write_text(json.dumps(steps), encoding="utf-8")
        self.logger = Records()
        self.states = []
        for key, value in attributes.items():
            setattr(self, key, value)

    def command(self):
        return sys.executable

    def build_args(self, prompt, resume, *, state):
        asked = ["--resume", resume.value] if resume is not None else []
        return ["-SE", str(CLI), str(self.script), *asked]

    def new_state(self, prompt, resume):
        self.states.append(State())
        return self.states[-1]

    def translate(self, data, *, state, resume, found_session):
        state.seen.append(data)
        kind = data.get("type")
        if kind == "init":
            engine = data.get("engine", "acme")
            return [StartedEvent(engine, ResumeToken(engine, data["session"]))]
        if kind == "step":
            return [
                ACME.action_completed(
                    action_id=data["id"], kind="tool", title=data["title"], ok=True
                )
            ]
        if kind == "result":
            error = data.get("error")
            more = {"resume": found_session, "error": error}
            return [ACME.completed(ok=error is None, answer=data["text"], **more)]
        if kind == "echo":
            return [ACME.completed_ok(answer=json.dumps(data))]
        if kind == "boom":
            raise ValueError("boom")
        return []

    @property
    def pid(self):
        """Of the process started last."""
        return self.logger.named("subprocess.spawn")[-1]["pid"]


async def collect(events, within_s=20.0):
    async with asyncio.timeout(within_s):
        return [event async for event in events]


async def assert_free(session):
    lock = session_lock(session)
    async with asyncio.timeout(1):
        await lock.acquire()
    lock.release()
