"""Failures on demand: rules that say which call goes wrong, and how.

    rule = tg.fail("sendMessage", Drop("after"), times=1, chat=dm)

"After" means that the call had its effect and only the answer is lost: what tells a safe retry from a
duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from tests.fake_telegram.params import ApiError, Params

Phase = Literal["before", "after"]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; one that is ``cut`` ends halfway through its body, with a reset."""

    status: int
    body: bytes
    content_type: str = "application/json"
    cut: bool = False

    @classmethod
    def json(cls, document: object, status: int = 200) -> Answer:
        return cls(status, json.dumps(document).encode())

    @classmethod
    def error(cls, error: ApiError, status: int | None = None) -> Answer:
        document = {"ok": False, "error_code": error.code, "description": error.description}
        if error.parameters:
            document["parameters"] = error.parameters
        return cls.json(document, status or error.code)


class Answering(Protocol):
    """A fault that consists of another answer."""

    def answer(self) -> Answer: ...


@dataclass(frozen=True)
class Flood:
    """429. Fractions of a second are allowed, so that tests stay fast."""

    retry_after: float
    shape: Literal["json", "text", "ok-200", "missing", "string"] = "json"

    def answer(self) -> Answer:
        told: dict[str, Any] = {"retry_after": self.retry_after}
        if self.shape == "string":
            told = {"retry_after": str(self.retry_after)}
        error = flood_error(self.retry_after, {} if self.shape == "missing" else told)
        if self.shape == "text":
            return Answer(429, error.description.encode(), "text/plain")
        return Answer.error(error, 200 if self.shape == "ok-200" else 429)


@dataclass(frozen=True)
class Refuse:
    """Any error of the Bot API."""

    code: int
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def answer(self) -> Answer:
        return Answer.error(ApiError(self.code, self.description, self.parameters))


@dataclass(frozen=True)
class Http:
    """What a proxy in front of the Bot API says: not JSON."""

    status: int
    body: str = "<html><body><h1>Bad Gateway</h1></body></html>"

    def answer(self) -> Answer:
        return Answer(self.status, self.body.encode(), "text/html")


@dataclass(frozen=True)
class Garbage:
    """Status 200 with a body that is not what it should be."""

    body: bytes = b"\x00\xffnot json"

    def answer(self) -> Answer:
        return Answer(200, self.body)


@dataclass(frozen=True)
class WrongShape:
    """``ok`` with a result that the method never gives."""

    result: object

    def answer(self) -> Answer:
        return Answer.json({"ok": True, "result": self.result})


@dataclass(frozen=True)
class Drop:
    """The connection is reset.

    `unread`: before the body is read; `before` and `after` the effect; `middle`: the effect happened, and
    the reset comes halfway through the answer's body.
    """

    when: Literal["unread", "before", "after", "middle"] = "after"


@dataclass(frozen=True)
class Delay:
    """The answer takes this many real seconds longer."""

    seconds: float


@dataclass(frozen=True)
class Block:
    """The call waits until the rule is released."""


Action = Flood | Refuse | Http | Garbage | WrongShape | Drop | Delay | Block


@dataclass
class Rule:
    """``nth``: the first matching call that goes wrong, from 1; ``times``: how many (None: all)."""

    method: str
    action: Action
    times: int | None = 1
    phase: Phase = "before"
    chat: int | None = None
    nth: int = 1
    when: Callable[[Params], bool] | None = None
    released: bool = False
    seen: int = 0
    fired: int = 0

    def release(self) -> None:
        """End the rule, and let the calls that it blocks go on."""
        self.released = True

    def takes(self, method: str, params: Params | None) -> bool:
        """Whether this call goes wrong; without ``params``, before its body was read."""
        unread = isinstance(self.action, Drop) and self.action.when == "unread"
        if self.released or unread != (params is None):
            return False
        if not fnmatchcase(method.lower(), self.method.lower()):
            return False
        if params is not None:
            if self.chat is not None and str(params.values.get("chat_id")) != str(self.chat):
                return False
            if self.when is not None and not self.when(params):
                return False
        self.seen += 1
        due = self.seen >= self.nth and (self.times is None or self.fired < self.times)
        self.fired += due
        return due


@dataclass
class Faults:
    """The rules in force; the first that takes a call decides."""

    rules: list[Rule] = field(default_factory=list)

    def take(self, method: str, params: Params | None) -> Rule | None:
        return next((rule for rule in self.rules if rule.takes(method, params)), None)


def flood_error(retry_after: float, parameters: Mapping[str, Any]) -> ApiError:
    return ApiError(429, f"Too Many Requests: retry after {retry_after:g}", parameters)
