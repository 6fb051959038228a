"""What tests of engines, chats and plugins need: runners that play a script, a chat that records."""

from takopi.testing.runners import (
    Advance,
    Emit,
    MockRunner,
    Raise,
    Return,
    ScriptRunner,
    Sleep,
    Wait,
)
from takopi.testing.transports import Edited, Fault, RecordingTransport, Sent

__all__ = [
    "Advance",
    "Edited",
    "Emit",
    "Fault",
    "MockRunner",
    "Raise",
    "RecordingTransport",
    "Return",
    "ScriptRunner",
    "Sent",
    "Sleep",
    "Wait",
]
