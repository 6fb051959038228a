"""Looking at the files of one directory, never outside it, and never more than a bounded amount."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from takopi.demo.kinds import file_test
from takopi.demo.markdown import code, count, size

SKIPPED_FOLDERS = frozenset(
    {
        *(".git", ".hg", ".svn", "node_modules", "site-packages", "__pycache__", ".cache", ".idea"),
        *(".venv", "venv", ".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache"),
    }
)
_MAX_ENTRIES = 20_000  # of one folder
_MAX_MATCHES = 200  # kept; all are counted
_MAX_LINE = 1_000  # characters of a line that are looked at one by one


class Limits(NamedTuple):
    """How much one question may look at."""

    files: int = 5_000
    file_bytes: int = 1 << 20
    total_bytes: int = 32 << 20


class FileProblem(Exception):
    """A path that cannot be used; the message is meant for people."""


class MissingFile(FileProblem):
    """There is no such file or directory."""


class FoundFile(NamedTuple):
    """A regular file: its path relative to the root, and its bytes."""

    path: str
    size: int


class Listing(NamedTuple):
    """What a walk found; ``seen`` counts other kinds too, ``capped`` says that there is more."""

    files: list[FoundFile]
    seen: int = 1
    folders: int = 0
    links: int = 0
    unreadable: int = 0
    capped: bool = False


class FileText(NamedTuple):
    """A file's text; ``partial``: only its beginning, ``damaged``: it is not valid UTF-8."""

    text: str
    size: int
    partial: bool
    damaged: bool

    def lines(self) -> list[str]:
        """Its lines, without a last one that is empty."""
        lines = self.text.split("\n")
        return lines if lines[-1] else lines[:-1]


class Match(NamedTuple):
    """A line that was searched for; ``line`` counts from 1."""

    path: str
    line: int
    text: str


class Scan(NamedTuple):
    """What reading many files gave; ``skipped`` are binary, huge or unreadable ones."""

    lines: dict[str, int]
    matches: list[Match]
    total: int
    skipped: int
    capped: bool


class Workspace:
    """One directory and what has been read of it so far."""

    def __init__(self, root: str, limits: Limits | None = None) -> None:
        self.root = os.path.realpath(root)
        self.limits = limits or Limits()
        self.files_seen = 0

    def locate(self, path: str) -> str:
        """``path`` relative to the root, links resolved; `FileProblem` if it is not inside it."""
        if not path or "\0" in path:
            raise FileProblem(f"{code(path)} is not a path")
        if path.startswith(("/", "~", "\\")) or path[1:3] == ":\\":
            raise FileProblem(
                f"{code(path)} is an absolute path: only the working directory is read"
            )
        plain = os.path.normpath(path)
        if plain == ".." or plain.startswith("../"):
            raise FileProblem(f"{code(path)} is outside the working directory")
        try:
            real = os.path.realpath(os.path.join(self.root, plain), strict=True)
        except (OSError, ValueError) as error:  # ValueError: not encodable
            raise _problem(path, error) from None
        inside = os.path.relpath(real, self.root)
        if inside == ".." or inside.startswith("../"):
            raise FileProblem(f"{code(path)} is a link that leads out of the working directory")
        folder = next((part for part in inside.split("/") if part in SKIPPED_FOLDERS), None)
        if folder:
            raise FileProblem(f"{code(path)}: {code(folder)} is never looked into")
        return inside

    def exists(self, path: str) -> bool:
        """Whether ``path`` is something inside the root that may be looked at."""
        try:
            self.locate(path)
        except FileProblem:
            return False
        return True

    def is_folder(self, path: str) -> bool:
        """Whether ``path``, as given by `locate`, is a directory."""
        return os.path.isdir(os.path.join(self.root, path))

    def walk(self, start: str = ".", kind: str = "") -> Listing:
        """The files of ``kind`` below ``start`` (or that file), by path; links are not followed."""
        inside = self.locate(start)
        if not self.is_folder(inside):
            return Listing([FoundFile(inside, self._stat(inside).st_size)])
        wanted = file_test(kind)
        files: list[FoundFile] = []
        folders = links = unreadable = seen = 0
        capped = False
        queue = deque(["" if inside == "." else inside])
        while queue and not capped:
            folder = queue.popleft()
            entries = self._entries(folder)
            if entries is None:
                unreadable += 1
                continue
            if any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            folders += 1
            capped = len(entries) >= _MAX_ENTRIES
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    links += 1
                elif entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED_FOLDERS and not entry.name.startswith("."):
                        queue.append(path)
                elif entry.is_file(follow_symlinks=False):
                    if seen >= self.limits.files:
                        capped = True
                        break
                    seen += 1
                    if wanted(path):
                        files.append(FoundFile(path, _entry_size(entry)))
            capped = capped or folders >= self.limits.files
        self.files_seen = max(self.files_seen, seen)
        return Listing(sorted(files), seen, max(folders - 1, 0), links, unreadable, capped)

    def read(self, path: str) -> FileText:
        """The text of one file, at most the first ``file_bytes`` of it."""
        inside = self.locate(path)
        data, total = self._bytes(inside)
        self.files_seen = max(self.files_seen, 1)
        if b"\0" in data[:8192]:
            raise FileProblem(f"{code(inside)} is a binary file ({size(total)})")
        partial = total > len(data)
        if partial:
            data = data[: data.rfind(b"\n") + 1] or data
        try:
            text, damaged = data.decode("utf-8-sig"), False
        except UnicodeDecodeError:
            text, damaged = data.decode("utf-8-sig", "replace"), True
        return FileText(text.replace("\r\n", "\n"), total, partial, damaged)

    def scan(self, files: Iterable[FoundFile], wanted: Callable[[str], bool] | None = None) -> Scan:
        """Count the lines of text files and keep those that ``wanted`` accepts."""
        lines: dict[str, int] = {}
        matches: list[Match] = []
        total = skipped = read = 0
        capped = False
        for file in files:
            if file.size > self.limits.file_bytes:
                skipped += 1
                continue
            if read + file.size > self.limits.total_bytes:
                capped = True
                break
            try:
                text = self.read(file.path)
            except FileProblem:
                skipped += 1
                continue
            read += text.size
            lines[file.path] = len(text.lines())
            for number, line in _matching(text, wanted):
                total += 1
                if len(matches) < _MAX_MATCHES:
                    matches.append(Match(file.path, number, line))
        return Scan(lines, matches, total, skipped, capped)

    def _entries(self, folder: str) -> list[os.DirEntry[str]] | None:
        try:
            with os.scandir(os.path.join(self.root, folder)) as entries:
                return sorted(islice(entries, _MAX_ENTRIES), key=lambda entry: entry.name)
        except OSError:
            return None

    def _stat(self, inside: str) -> os.stat_result:
        try:
            return os.stat(os.path.join(self.root, inside), follow_symlinks=False)
        except OSError as error:
            raise _problem(inside, error) from None

    def _bytes(self, inside: str) -> tuple[bytes, int]:
        """A regular file's first bytes and its size; a pipe or a device is never opened for long."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            if not stat.S_ISREG(self._stat(inside).st_mode):
                kind = "a directory" if self.is_folder(inside) else "not a regular file"
                raise FileProblem(f"{code(inside)} is {kind}")
            with open(os.open(os.path.join(self.root, inside), flags), "rb") as file:
                data = file.read(self.limits.file_bytes) or b""  # None: it would block
                return data, max(len(data), os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise _problem(inside, error) from None


def describe_limits(listing: Listing, scan: Scan | None = None) -> list[str]:
    """What a reader must know about what was *not* looked at."""
    notes = []
    if listing.capped:
        notes.append(f"There is more: I stopped after {count(listing.seen, 'file')}.")
    if scan and scan.capped:
        notes.append(f"I stopped reading after {count(len(scan.lines), 'file')}, enough for once.")
    if scan and scan.skipped:
        notes.append(f"{count(scan.skipped, 'file')} skipped: binary, too large or unreadable.")
    if listing.unreadable:
        plural = "directory" if listing.unreadable == 1 else "directories"
        notes.append(f"{listing.unreadable} {plural} could not be opened.")
    if listing.links:
        notes.append(f"{count(listing.links, 'link')} not followed.")
    return notes


def _matching(text: FileText, wanted: Callable[[str], bool] | None) -> Iterator[tuple[int, str]]:
    if wanted is None or not wanted(text.text):
        return
    for number, line in enumerate(text.lines(), 1):
        if wanted(line):
            yield number, line[:_MAX_LINE]


def _entry_size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def _problem(path: str, error: OSError | ValueError) -> FileProblem:
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return MissingFile(f"{code(path)}: no such file")
    return FileProblem(f"{code(path)}: {(error.strerror or type(error).__name__).lower()}")
