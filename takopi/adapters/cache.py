"""Remembers what compiling an adapter file showed, so that listing engines need not do it again.

A note per file lies in ``$XDG_CACHE_HOME/takopi/adapters`` (else ``~/.cache``): its verdict, and the
digests of everything it was made of. It is only shown: whoever runs an engine compiles its file. A
note that is missing, old, broken or not this user's own is made anew; one that cannot be written is
not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import msgspec

from takopi import __version__

_MAX_BYTES = 64 * 1024

Parent: TypeAlias = tuple[str, str | None]
"""The id that an ``extends`` names, and the text it meant; None if there was no such adapter."""


class Verdict(msgspec.Struct, frozen=True):
    """What a listing shows of an adapter file.

    ``errors``   how many; with any there is no adapter, and nothing else is known
    ``command``  the executable's name, None where an expression computes it
    """

    errors: int
    name: str | None = None
    command: str | None = None
    install: str | None = None
    tested: str | None = None
    version_args: tuple[str, ...] = ()


class _Note(msgspec.Struct, frozen=True):
    takopi: str
    text: str
    parents: list[tuple[str, str | None]]
    verdict: Verdict


class VerdictCache:
    """The notes of one user, in ``folder``; None: nothing is remembered."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, path: Path, text: str, parent: Callable[[str], str | None]) -> Verdict | None:
        """The verdict on the file at ``path``, if it was made of this text and these parents.

        ``parent`` is asked for the texts of the same ids in the same order.
        """
        note = self._read(path)
        if note is None or note.takopi != _takopi() or note.text != _digest(text):
            return None
        same = all(_digest(parent(engine)) == known for engine, known in note.parents)
        return note.verdict if same else None

    def save(self, path: Path, text: str, parents: Sequence[Parent], verdict: Verdict) -> None:
        """Remember a verdict and what it was made of."""
        target = self._file(path)
        if target is None:
            return
        digests = [(engine, _digest(found)) for engine, found in parents]
        note = _Note(_takopi(), _digest(text) or "", digests, verdict)
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(os.open(draft, flags, 0o600), "wb") as out:
                out.write(msgspec.json.encode(note))
            draft.replace(target)

    def _file(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{path.stem[:32]}-{(_digest(str(path)) or '')[:16]}.json"

    def _read(self, path: Path) -> _Note | None:
        file = self._file(path)
        if file is None:
            return None
        try:
            with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
                if not (_own(os.fstat(source.fileno())) and _own(os.stat(file.parent))):
                    return None
                return msgspec.json.decode(source.read(_MAX_BYTES), type=_Note)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def user_cache() -> VerdictCache:
    """The cache of the user who runs takopi."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache"
    except RuntimeError:  # no home
        return VerdictCache(None)
    return VerdictCache(base / "takopi" / "adapters")


def _own(facts: os.stat_result) -> bool:
    """Whether nobody but this user can have written it."""
    return facts.st_uid == os.geteuid() and not facts.st_mode & 0o022


def _digest(text: str | None) -> str | None:
    if text is None:
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def _takopi() -> str:
    """What a verdict depends on besides the file: takopi, as installed or as it is being edited."""
    facts = [__version__, sys.version]
    with os.scandir(Path(__file__).parent) as files:
        for file in sorted(files, key=lambda f: f.name):
            if file.name.endswith((".py", ".yaml")):
                seen = file.stat()
                facts.append(f"{file.name} {seen.st_size} {seen.st_mtime_ns}")
    return _digest("\n".join(facts)) or ""
