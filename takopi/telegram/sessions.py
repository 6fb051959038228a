"""Chat mode: which session the next message of somebody goes on with, in memory and on disk.

::

    {"version": 2, "cwd": "/home/me/code",
     "chats": {"-100123:42": {"sessions": {"<engine>": {"resume": "…", "project": "site", "branch": null}}}}}

A key is a chat's id, in a topic that of the topic, and the sender's id or `chat` in private chats. An
entry of version 1 has no place: its session is gone on with anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from takopi.bridge.delivery import MessageRef
from takopi.bridge.vocabulary import RunRequest, Scope, Session
from takopi.logs import get_logger
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.telegram.state_store import JsonStateStore

FILE_NAME = "telegram_chat_sessions_state.json"
_VERSION = 2

logger = get_logger(__name__)


class _Stored(msgspec.Struct, omit_defaults=True):
    resume: str
    project: str | None = None
    branch: str | None = None
    anywhere: bool = False


class _Chat(msgspec.Struct):
    sessions: dict[str, _Stored] = msgspec.field(default_factory=dict)


class _State(msgspec.Struct):
    version: int = _VERSION
    cwd: str | None = None
    chats: dict[str, _Chat] = msgspec.field(default_factory=dict)


class NoMemory:
    """Stateless mode, where only replies go on with a session: a `Memory` without any."""

    def scope(self, at: MessageRef) -> Scope:
        """Nothing."""
        return Scope()

    def started(self, request: RunRequest, token: ResumeToken | None, *, opens: bool) -> None:
        """Not noted."""

    def learned(self, request: RunRequest, token: ResumeToken) -> None:
        """Not noted."""

    def ended(self, request: RunRequest, heir: RunRequest | None) -> None:
        """Not noted."""

    def forget(self, at: MessageRef) -> None:
        """There is nothing."""


class ChatSessions(JsonStateStore[_State]):
    """Chat mode's `Memory`: sessions by chat, sender and engine. No method suspends or raises.

    ``cwd``: sessions of another working directory of takopi are forgotten.
    """

    def __init__(self, config_path: Path, cwd: Path) -> None:
        super().__init__(
            config_path.with_name(FILE_NAME),
            version=_VERSION,
            state_type=_State,
            state_factory=_State,
            log_prefix="chat_sessions",
            logger=logger,
        )
        self._cwd = str(cwd.resolve())
        # Sessions of runs that go on: those on disk have a token.
        self._live: dict[tuple[str, EngineId], Session] = {}
        try:
            self._reload_locked_if_needed()
            if self._state.cwd != self._cwd:
                if self._state.cwd is not None:
                    self._state.chats.clear()
                self._state.cwd = self._cwd
                self._save_locked()
        except OSError as error:
            logger.warning("chat_sessions.load_failed", error=str(error))

    def scope(self, at: MessageRef) -> Scope:
        """The sessions that a message may go on with, by engine."""
        key = _key(at)
        self._reload()
        chat = self._state.chats.get(key)
        stored = chat.sessions if chat is not None else {}
        sessions = {engine: _session(engine, each) for engine, each in stored.items()}
        live = {engine: each for (of, engine), each in self._live.items() if of == key}
        return Scope(sessions={**sessions, **live})

    def started(self, request: RunRequest, token: ResumeToken | None, *, opens: bool) -> None:
        """What was asked last is gone on with."""
        if opens or token is not None:
            self._live[_place(request)] = Session(token, request.asked, request.context)
        if token is not None:
            self._store(request, token)

    def learned(self, request: RunRequest, token: ResumeToken) -> None:
        """A session that was not left meanwhile has a token."""
        session = self._live.get(_place(request))
        if session is not None and session.run == request.asked:
            self._live[_place(request)] = Session(token, request.asked, request.context)
            self._store(request, token)

    def ended(self, request: RunRequest, heir: RunRequest | None) -> None:
        """What opened no session is not gone on with."""
        place = _place(request)
        session = self._live.get(place)
        if session is None or session.run != request.asked:
            return
        if heir is not None and session.token is None:
            self._live[place] = Session(run=heir.asked, context=heir.context)
        else:
            del self._live[place]

    def forget(self, at: MessageRef) -> None:
        """The next message begins a new session."""
        key = _key(at)
        self._live = {place: each for place, each in self._live.items() if place[0] != key}
        self._reload()
        if self._state.chats.pop(key, None) is not None:
            self._save()

    def _store(self, request: RunRequest, token: ResumeToken) -> None:
        key, engine = _place(request)
        context = request.context or RunContext()
        entry = _Stored(token.value, context.project, context.branch)
        self._reload()
        sessions = self._state.chats.setdefault(key, _Chat()).sessions
        if sessions.get(engine) != entry:
            sessions[engine] = entry
            self._state.cwd = self._cwd
            self._save()

    def _reload(self) -> None:
        try:
            self._reload_locked_if_needed()
        except OSError as error:
            logger.warning("chat_sessions.load_failed", error=str(error))

    def _save(self) -> None:
        try:
            self._save_locked()
        except OSError as error:
            logger.warning("chat_sessions.save_failed", error=str(error))

    def _upgrade(self, data: dict[str, Any], version: object) -> dict[str, Any] | None:
        if version != 1:
            return None
        for chat in _tables(data.get("chats")):
            for session in _tables(chat.get("sessions")):
                session["anywhere"] = True
        return data


def _tables(value: object) -> list[dict[str, Any]]:
    found = value.values() if isinstance(value, Mapping) else ()
    return [each for each in found if isinstance(each, dict)]


def _session(engine: EngineId, stored: _Stored) -> Session:
    place = None
    if stored.project is not None:
        place = RunContext(stored.project, stored.branch)
    return Session(ResumeToken(engine, stored.resume), None, place, stored.anywhere)


def _place(request: RunRequest) -> tuple[str, EngineId]:
    return _key(request.asked), request.engine


def _key(at: MessageRef) -> str:
    topic = f":{at.thread_id}" if at.thread_id is not None else ""
    chat, sender = at.channel_id, at.sender_id
    is_private = isinstance(chat, int) and chat > 0
    return f"{chat}{topic}:{'chat' if is_private or sender is None else sender}"
