"""Sessions on disk: one JSON file each, private to the user, replaced atomically."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from takopi.demo.intents import LOOKS, Intent
from takopi.demo.markdown import clip, code

MAX_TURNS = 50
_MAX_KEPT = 4_000  # characters of a prompt or an answer
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class SessionError(Exception):
    """A session that cannot be opened; the message is meant for people."""


class Turn(NamedTuple):
    """A question and its answer; ``answer`` is empty when the run was cut short."""

    prompt: str
    answer: str


class Result(NamedTuple):
    """Something an answer listed, so that "show the first one" can open it; ``line`` 0 is none."""

    path: str
    line: int = 0


class Session:
    """One conversation: its directory, its turns, and what follow-ups refer to."""

    def __init__(self, session_id: str, cwd: str) -> None:
        self.id = session_id
        self.cwd = cwd
        self.turns: list[Turn] = []
        self.last: Intent | None = None
        self.results: list[Result] = []

    def begin(self, prompt: str) -> None:
        """Remember that ``prompt`` was asked; the oldest turns are forgotten."""
        self.turns = [*self.turns[1 - MAX_TURNS :], Turn(prompt[:_MAX_KEPT], "")]

    def finish(self, answer: str) -> None:
        """Remember the answer to the last prompt."""
        self.turns[-1] = self.turns[-1]._replace(answer=answer[:_MAX_KEPT])


class SessionStore:
    """The folder that holds the sessions."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> SessionStore:
        """``$TAKOPI_DEMO_HOME``, else ``takopi-demo`` in the user's folder for state."""
        home = environ.get("TAKOPI_DEMO_HOME")
        state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return cls(os.path.abspath(home or os.path.join(state, "takopi-demo")))

    def new(self, cwd: str) -> Session:
        """A session with a fresh id; nothing is written yet."""
        return Session("demo-" + "".join(_ALPHABET[byte % 36] for byte in os.urandom(10)), cwd)

    def load(self, session_id: str) -> Session:
        """The session of that id; `SessionError` if there is none or its file is damaged."""
        missing = f"no session {code(session_id)}; start a new one with `takopi-demo ask PROMPT`"
        if not _ID.fullmatch(session_id):
            raise SessionError(missing)
        path = self._path(session_id)
        try:
            with open(path, encoding="utf-8") as file:
                return _decode(session_id, json.load(file))
        except FileNotFoundError:
            raise SessionError(missing) from None
        except OSError as error:
            reason = (error.strerror or "unreadable").lower()
            raise SessionError(
                f"session `{session_id}` cannot be read: {reason} ({path})"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SessionError(
                f"session `{session_id}` is damaged: delete {path} and start a new one"
            ) from None

    def save(self, session: Session) -> None:
        """Write ``session``; readers see the old file or the new one. Raises `OSError`."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        path = self._path(session.id)
        temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(_encode(session), file)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _path(self, session_id: str) -> str:
        return os.path.join(self.folder, f"{session_id}.json")


def render_transcript(session: Session) -> str:
    """What was said so far, for a terminal."""
    if not session.turns:
        return "(nothing was asked yet)\n"
    said = []
    for turn in session.turns:
        answer = turn.answer or "(no answer: the run was cut short)"
        said.append(f"> {clip(turn.prompt, 400) or '(empty)'}\n\n{answer}\n")
    return "\n".join(said)


def _encode(session: Session) -> dict[str, Any]:
    return {
        "cwd": session.cwd,
        "turns": [turn._asdict() for turn in session.turns],
        "last": session.last and session.last._asdict(),
        "results": [result._asdict() for result in session.results],
    }


def _decode(session_id: str, data: Any) -> Session:
    """The session in a JSON value; ValueError, KeyError or TypeError if it is not one."""
    session = Session(session_id, _typed(data["cwd"], str))
    session.turns = [
        Turn(_typed(t["prompt"], str), _typed(t["answer"], str)) for t in data["turns"]
    ]
    session.results = [
        Result(_typed(r["path"], str), _typed(r["line"], int)) for r in data["results"]
    ]
    if data["last"] is not None:
        last = Intent(**data["last"])
        for value in last[:4]:
            _typed(value, str)
        _typed(last.number, int | float)
        session.last = last if last.kind in LOOKS else None
    return session


def _typed(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(type(value).__name__)
    return value
