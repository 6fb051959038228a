"""The Bot API without a socket: one call in, one answer out. The fronts are `server` and `mock`."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from tests.fake_telegram.calls import METHODS, Call, Context, Options
from tests.fake_telegram.clock import Clock
from tests.fake_telegram.faults import Answer, Block, Delay, Drop, Faults, Flood, Rule, flood_error
from tests.fake_telegram.limits import Limiter, Mode
from tests.fake_telegram.methods import poll_result
from tests.fake_telegram.params import ApiError, Params, decode_params
from tests.fake_telegram.state import Json, State, User
from tests.fake_telegram.updates import Poll, UpdateQueue

BOT = User(7000000001, "Fake", "fake_bot", is_bot=True)
TOKEN = "7000000001:AAFakeTokenForTests-0123456789abcdefgh"

DOWNLOAD = "file/download"
TRANSCRIPTION = "audio/transcriptions"

Steps = Generator[None, None, Answer | Drop]
"""Yields while it has to wait; the front resumes it whenever something changed or a moment passed."""


@dataclass(frozen=True)
class Request:
    """A request as its front read it; ``path`` is decoded, ``alive`` tells whether the client waits."""

    path: str
    query: str = ""
    content_type: str = ""
    authorization: str = ""
    body: bytes = b""
    alive: Callable[[], bool] = lambda: True


@dataclass
class FakeBotApi:
    """State, rules and record behind the methods.

    Not thread-safe by itself: whoever touches it holds ``changed``, and notifies it after a change.
    """

    time_scale: float = 0.02
    limits: Mode = "off"
    options: Options = field(default_factory=Options)
    bot: User = BOT
    token: str = TOKEN
    revoked: bool = False
    unreachable: bool = False  # there is no network
    closes_idle: bool = False  # no connection is kept alive

    def __post_init__(self) -> None:
        self.clock = Clock(self.time_scale)
        self.limiter = Limiter(self.clock, self.limits)
        self.state = State(self.bot)
        self.queue = UpdateQueue(self.clock, next_id=secrets.randbelow(900_000_000) + 1)
        self.faults = Faults()
        self.transcripts: dict[bytes, str] = {}  # by the bytes of the recording
        self.numbers = count(1)  # for ids that say nothing
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.changed = threading.Condition(threading.RLock())
        self.context = Context(
            self.state, self.queue, self.clock, self.options, self.violations.append
        )
        self._quiet_until: dict[int, tuple[float, str]] = {}  # announced by a 429

    def drops_unread(self, path: str) -> bool:
        """Whether the connection is reset before the body of this request is read."""
        target = _target(path)
        return target is not None and self.faults.take(canonical(target.method), None) is not None

    def handle(self, request: Request) -> Steps:
        """Handle one request, faults included."""
        target = _target(request.path)
        if target is None:
            return Answer.error(ApiError(404, "Not Found"))
        try:
            self._check_token(target.token)
            params = decode_params(request.query, request.content_type, request.body)
        except ApiError as error:
            return Answer.error(error)
        params.values |= target.values
        if target.method == TRANSCRIPTION:
            params.values["authorization"] = request.authorization
        return (yield from self._call(target.method, params, request.alive))

    def _check_token(self, token: str | None) -> None:
        if token is None:
            return
        if not re.fullmatch(r"\d+:[\w-]+", token):
            raise ApiError(404, "Not Found")
        if token != self.token or self.revoked:
            raise ApiError(401, "Unauthorized")

    def _call(self, method: str, params: Params, alive: Callable[[], bool]) -> Steps:
        call = Call(len(self.calls) + 1, time.monotonic(), canonical(method), params, alive)
        self.calls.append(call)
        rule = self.faults.take(call.method, params)
        call.fault = type(rule.action).__name__ if rule else None
        self._check_pace(call)
        try:
            answer = yield from self._outcome(call, rule)
        finally:  # also when the front gives up
            call.replied = time.monotonic()
            self.changed.notify_all()
        call.status = answer.status if isinstance(answer, Answer) else None
        return answer

    def _outcome(self, call: Call, rule: Rule | None) -> Steps:
        if rule is None:
            return (yield from self._perform(call))
        action = rule.action
        if isinstance(action, Drop):
            if action.when == "before":
                return action
            done = yield from self._perform(call)
            if action.when == "middle" and isinstance(done, Answer):
                return replace(done, cut=True)
            return action
        if isinstance(action, Delay | Block):
            if rule.phase == "before":
                yield from _wait(rule)
            answer = yield from self._perform(call)
            if rule.phase == "after":
                yield from _wait(rule)
            return answer
        if rule.phase == "after":
            yield from self._perform(call)
        if isinstance(action, Flood) and action.shape in ("json", "ok-200"):
            self._expect_silence(call, action.retry_after)
        return action.answer()

    def _perform(self, call: Call) -> Steps:
        if face := {DOWNLOAD: self._download, TRANSCRIPTION: self._transcribe}.get(call.method):
            return face(call)
        known = METHODS.get(call.method)
        if known is None:
            self.violations.append(f"unknown-method: {call.method}")
            return Answer.error(ApiError(404, "Not Found"))
        if strange := call.params.names() - known.parameters:
            names = ", ".join(sorted(strange))
            self.violations.append(f"unknown-parameter: {call.method} with {names}")
        try:
            if known.counted:
                self._limit(call)
            result = known.run(self.context, call)
            if isinstance(result, Poll):
                result = yield from self._wait_for_updates(result)
            return Answer.json({"ok": True, "result": result})
        except ApiError as error:
            call.error = error.description
            return Answer.error(error)
        finally:
            self.changed.notify_all()

    def _wait_for_updates(self, poll: Poll) -> Generator[None, None, list[Json]]:
        try:
            while (updates := poll_result(self.context, poll)) is None:
                yield
            return updates
        finally:
            self.queue.leave(poll)

    def _download(self, call: Call) -> Answer:
        path, now = call.params.values["path"], self.clock.now()
        for file in self.state.files.values():
            if file.path == path and now < file.path_until:
                return Answer(200, file.data, "application/octet-stream")
        return Answer.error(ApiError(404, "Not Found"))

    def _transcribe(self, call: Call) -> Answer:
        """Speech to text, as services that are compatible with OpenAI's offer it."""
        params = call.params
        call.authorization = params.values.pop("authorization")
        if not re.fullmatch(r"Bearer \S+", call.authorization):
            return _service_error(401, "you didn't provide an API key")
        audio = params.files.get("file")
        if audio is None or not params.values.get("model"):
            return _service_error(400, "file and model are required")
        text = self.transcripts.get(audio.data)
        if text is None:
            return _service_error(400, "the audio file could not be decoded")
        return Answer.json({"text": text})

    def _limit(self, call: Call) -> None:
        wait_s = None if call.chat is None else self.limiter.take(call.chat, call.method)
        if wait_s is not None:
            told = self.clock.announced(wait_s)
            self._expect_silence(call, told)
            raise flood_error(told, {"retry_after": told})

    def _expect_silence(self, call: Call, seconds: float) -> None:
        """Remember that the client was told to leave a chat alone for a while."""
        if call.chat is not None:
            self._quiet_until[call.chat] = (time.monotonic() + seconds, call.method)

    def _check_pace(self, call: Call) -> None:
        known = METHODS.get(call.method)
        if known is None or not known.counted or call.chat is None:
            return
        until, refused = self._quiet_until.get(call.chat, (0.0, ""))
        early_s = until - call.arrived
        if early_s > 0.005:
            self.violations.append(
                f"early-after-429: {call.method} to {call.chat}, {early_s:.3f} s before the end of the"
                f" wait that {refused} was told"
            )


@dataclass(frozen=True)
class _Target:
    method: str
    token: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def _target(path: str) -> _Target | None:
    """What a path asks for; None when there is no such thing."""
    if path == "/v1/audio/transcriptions":
        return _Target(TRANSCRIPTION)
    if found := re.fullmatch(r"/file/bot([^/]*)/(.+)", path):
        return _Target(DOWNLOAD, found[1], {"path": found[2]})
    if found := re.fullmatch(r"/bot([^/]*)/(\w+)/?", path):
        return _Target(found[2], found[1])
    return None


def _service_error(status: int, message: str) -> Answer:
    return Answer.json({"error": {"message": message}}, status)


def canonical(method: str) -> str:
    """The method's name as documented: the Bot API does not care about its case."""
    return next((name for name in METHODS if name.lower() == method.lower()), method)


def _wait(rule: Rule) -> Generator[None, None, None]:
    seconds = rule.action.seconds if isinstance(rule.action, Delay) else float("inf")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not rule.released:
        yield
