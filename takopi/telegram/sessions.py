"""Chat mode: which session the next message of somebody goes on with, in memory and on disk.

::

    {"version": 2, "cwd": "/home/me/code",
     "chats": {"-100123:42": {"sessions": {"<engine>": {
        "resume": "…", "folder": "/home/me/site", "project": "site", "branch": null}}}}}

A key is a chat's id, in a topic that of the topic, and the sender's id or `chat` in private chats;
where the sender is not known there is none. An entry without a folder, as all of version 1 are, is
gone on with anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from takopi.bridge.delivery import MessageRef
from takopi.bridge.vocabulary import RunRequest, Scope, Session
from takopi.config.projects import ProjectsConfig
from takopi.logs import get_logger
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.telegram.state_store import JsonStateStore

FILE_NAME = "telegram_chat_sessions_state.json"
_VERSION = 2

logger = get_logger(__name__)


class _Stored(msgspec.Struct, omit_defaults=True):
    resume: str
    folder: str | None = None
    project: str | None = None
    branch: str | None = None


class _Chat(msgspec.Struct):
    sessions: dict[str, _Stored] = msgspec.field(default_factory=dict)


class _State(msgspec.Struct):
    version: int = _VERSION
    cwd: str | None = None
    chats: dict[str, _Chat] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Live:
    """A run that goes on, and its session; None if it waits for that of another one.

    ``number`` counts the messages that asked for a run.
    """

    place: tuple[str, EngineId]
    number: int
    session: Session | None = None


class NoMemory:
    """Stateless mode, where only replies go on with a session: a `Memory` without any."""

    def has_place_for(self, at: MessageRef) -> bool:
        """Nobody's sessions are kept."""
        return False

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

    ``cwd``       sessions of another working directory of takopi are forgotten
    ``projects``  as configured now: a session of another folder is not gone on with
    """

    def __init__(
        self, config_path: Path, cwd: Path, projects: Callable[[], ProjectsConfig]
    ) -> None:
        super().__init__(
            config_path.with_name(FILE_NAME),
            version=_VERSION,
            state_type=_State,
            state_factory=_State,
            log_prefix="chat_sessions",
            logger=logger,
        )
        self._cwd = str(cwd.resolve())
        self._projects = projects
        # By the message that asked; a session is on disk once its run has told it.
        self._live: dict[MessageRef, _Live] = {}
        self._numbers = count(1)
        self._told: dict[tuple[str, EngineId], int] = {}  # whose session is on disk
        readable = self._reload()
        if readable and self._state.cwd != self._cwd:
            if self._state.cwd is not None:
                self._state.chats.clear()
            self._state.cwd = self._cwd
            self._save()

    def has_place_for(self, at: MessageRef) -> bool:
        """Whether there can be sessions for the sender of a message."""
        return _key(at) is not None

    def scope(self, at: MessageRef) -> Scope:
        """The sessions that a message may go on with, by engine."""
        key = _key(at)
        if key is None:
            return Scope()
        self._reload()
        chat = self._state.chats.get(key)
        stored = chat.sessions if chat is not None else {}
        sessions = {
            engine: session
            for engine, each in stored.items()
            if (session := self._session(engine, each)) is not None
        }
        for live in sorted(self._live.values(), key=lambda each: each.number):
            if live.place[0] == key and live.session is not None:  # the last one counts
                sessions[live.place[1]] = live.session
        return Scope(sessions=sessions)

    def started(self, request: RunRequest, token: ResumeToken | None, *, opens: bool) -> None:
        """From now on its session is gone on with, even if it has no token yet."""
        place = _place(request)
        if place is not None:
            session = Session(token, request.asked, request.context)
            known = session if opens or token is not None else None
            self._live[request.asked] = _Live(place, next(self._numbers), known)

    def learned(self, request: RunRequest, token: ResumeToken) -> None:
        """A session that was not left meanwhile is kept, unless one that was asked for later is."""
        live = self._live.get(request.asked)
        if live is None:
            return
        session = Session(token, request.asked, request.context)
        self._live[request.asked] = replace(live, session=session)
        if live.number >= self._told.get(live.place, 0):
            self._told[live.place] = live.number
            self._store(live.place, session, token)

    def ended(self, request: RunRequest, heir: RunRequest | None) -> None:
        """What opened no session is not gone on with."""
        live = self._live.pop(request.asked, None)
        if live is None or live.session is None or live.session.token is not None or heir is None:
            return
        follower = self._live.get(heir.asked)
        if follower is not None:
            session = Session(run=heir.asked, context=heir.context)
            self._live[heir.asked] = replace(follower, session=session)

    def forget(self, at: MessageRef) -> None:
        """The next message begins a new session."""
        key = _key(at)
        if key is None:
            return
        self._live = {asked: each for asked, each in self._live.items() if each.place[0] != key}
        readable = self._reload()
        if self._state.chats.pop(key, None) is not None and readable:
            self._save()

    def _session(self, engine: EngineId, stored: _Stored) -> Session | None:
        """What an entry says, if it is one and its folder is still that of its project."""
        if not stored.resume.strip():
            return None
        token = ResumeToken(engine, stored.resume)
        if not (stored.folder or "").strip():
            return Session(token, anywhere=True)
        project = (stored.project or "").strip() or None
        context = RunContext(project, (stored.branch or "").strip() or None) if project else None
        if stored.folder != self._folder(context):
            return None
        return Session(token, context=context)

    def _folder(self, context: RunContext | None) -> str | None:
        """Where runs of a context work, or the project of their branch is; None for nowhere."""
        if context is None or context.project is None:
            return self._cwd
        project = self._projects().projects.get(context.project.lower())
        return str(project.path) if project is not None else None

    def _store(self, place: tuple[str, EngineId], session: Session, token: ResumeToken) -> None:
        key, engine = place
        context = session.context or RunContext()
        folder = self._folder(context)
        if folder is None:
            return  # the project was removed meanwhile
        entry = _Stored(token.value, folder, context.project, context.branch)
        readable = self._reload()
        sessions = self._state.chats.setdefault(key, _Chat()).sessions
        if sessions.get(engine) != entry:
            sessions[engine] = entry
            self._state.cwd = self._cwd
            if readable:
                self._save()

    def _reload(self) -> bool:
        """Read what others wrote. If it cannot be read it must not be overwritten."""
        try:
            self._reload_locked_if_needed()
        except OSError as error:
            logger.warning("chat_sessions.load_failed", error=str(error))
            return False
        return True

    def _save(self) -> None:
        try:
            self._save_locked()
        except OSError as error:
            logger.warning("chat_sessions.save_failed", error=str(error))

    def _upgrade(self, data: dict[str, Any], version: object) -> dict[str, Any] | None:
        return data if version == 1 else None


def _place(request: RunRequest) -> tuple[str, EngineId] | None:
    key = _key(request.asked)
    return (key, request.engine) if key is not None else None


def _key(at: MessageRef) -> str | None:
    """Whose sessions those of a message are."""
    topic = f":{at.thread_id}" if at.thread_id is not None else ""
    chat, sender = at.channel_id, at.sender_id
    if isinstance(chat, int) and chat > 0:
        return f"{chat}{topic}:chat"
    return f"{chat}{topic}:{sender}" if sender is not None else None
