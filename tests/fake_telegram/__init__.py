"""A Telegram Bot API server for tests: strict, scriptable from the user's side, with failures on demand."""

from tests.fake_telegram.api import BOT, TOKEN, FakeBotApi
from tests.fake_telegram.calls import Call, Options
from tests.fake_telegram.chats import Room, Shown, Thread, View
from tests.fake_telegram.driver import Driver, Person
from tests.fake_telegram.faults import (
    Block,
    Delay,
    Drop,
    Flood,
    Garbage,
    Http,
    Refuse,
    Rule,
    WrongShape,
)
from tests.fake_telegram.server import FakeTelegram
from tests.fake_telegram.state import Member, User

__all__ = [
    "BOT",
    "TOKEN",
    "Block",
    "Call",
    "Delay",
    "Driver",
    "Drop",
    "FakeBotApi",
    "FakeTelegram",
    "Flood",
    "Garbage",
    "Http",
    "Member",
    "Options",
    "Person",
    "Refuse",
    "Room",
    "Rule",
    "Shown",
    "Thread",
    "User",
    "View",
    "WrongShape",
]
