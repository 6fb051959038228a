"""What tests of engines, chats and plugins need: runners that play a script, a chat that records,
a runtime around them, and the contract that every engine must keep.
"""

from takopi.testing.adapters import AdapterContract
from takopi.testing.checks import check_run, collect, run_problems
from takopi.testing.contract import EngineContract
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
from takopi.testing.runtimes import runtime_of
from takopi.testing.stage import Call, Play, Stage
from takopi.testing.transports import Edited, Fault, RecordingTransport, Sent

__all__ = [
    "AdapterContract",
    "Advance",
    "Call",
    "Edited",
    "Emit",
    "EngineContract",
    "Fault",
    "MockRunner",
    "Play",
    "Raise",
    "RecordingTransport",
    "Return",
    "ScriptRunner",
    "Sent",
    "Sleep",
    "Stage",
    "Wait",
    "check_run",
    "collect",
    "run_problems",
    "runtime_of",
]
