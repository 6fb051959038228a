"""One takopi per configuration and per bot.

Two lock files are taken: ``takopi.lock`` beside the configuration, and, where the transport has a
token, ``~/.takopi/locks/<fingerprint>.lock``, so that two configurations with one bot token cannot
both poll. Each holds ``{"pid": …, "token_fingerprint": …}``, but what counts is the operating
system's advisory lock on it: it is taken atomically and ends with its process. So a file that
nobody has locked is stale, whatever its pid says, with two exceptions: a live process that can be
shown (in ``/proc``) to be a takopi older than the file, because old versions wrote it without locking;
and a filesystem that has no locks, where a live pid has to do.

A file that is locked for *another* bot's token is replaced by a new one, as it always was: the lock of
the token keeps the bots apart. All decisions are made under a short lock on the directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from takopi.errors import LockError
from takopi.logs import get_logger

logger = get_logger(__name__)

_MAX_BYTES = 64 * 1024
_GUARD_S = 5.0
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


@dataclass(frozen=True, slots=True)
class LockInfo:
    """What a lock file says; None for what it does not say usably."""

    pid: int | None = None
    token_fingerprint: str | None = None


@dataclass(slots=True)
class _Held:
    path: Path
    fd: int


class LockHandle:
    """A lock that is held until `release`, or until the process ends."""

    def __init__(self, held: list[_Held]) -> None:
        self._held = held
        self._pid = os.getpid()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The lock files."""
        return tuple(held.path for held in self._held)

    def release(self) -> None:
        """Give the lock back and delete its files, if they are still ours. Never raises."""
        while self._held:
            _release(self._held.pop(), ours=os.getpid() == self._pid)

    def __enter__(self) -> LockHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def token_fingerprint(token: str | None) -> str | None:
    """Ten hex digits that stand for a token; None for none."""
    if not token:
        return None
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def acquire_lock(*, config_path: Path, token_fingerprint: str | None = None) -> LockHandle:
    """Become the one takopi of this configuration and of this token.

    Raises `LockError`: ``already running`` (state ``running``) or ``lock failed`` (state ``failed``).
    """
    held: list[_Held] = []
    path = config_path
    try:
        path = _lock_path(config_path)
        held.append(_take(path, token_fingerprint))
        if token_fingerprint is not None:
            of_token = _take_token(token_fingerprint)
            held += [of_token] if of_token is not None else []
    except (OSError, RuntimeError, ValueError) as error:
        LockHandle(held).release()
        if isinstance(error, LockError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise LockError(f"lock failed: {reason}", path=path, state="failed") from error
    return LockHandle(held)


def lock_holder(config_path: Path) -> int | None:
    """The process that has the lock of a configuration, if one has. Raises `OSError`."""
    path = _lock_path(config_path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        with _guard(path.parent):  # nobody who wants it is refused because of this look
            locked = _lock(fd)
            pid = _parse(os.pread(fd, _MAX_BYTES, 0)).pid
            return pid if locked is False or _is_held(pid, fd, locked) else None
    finally:
        os.close(fd)


def _lock_path(config_path: Path) -> Path:
    return config_path.expanduser().resolve().with_suffix(".lock")


def read_lock(path: Path) -> LockInfo:
    """What the lock file says; nothing if it is missing or unreadable."""
    try:
        with path.open("rb") as file:
            return _parse(file.read(_MAX_BYTES))
    except OSError:
        return LockInfo()


def _take_token(fingerprint: str) -> _Held | None:
    """The lock of a token; None where the home directory cannot hold it."""
    try:
        folder = Path.home() / ".takopi" / "locks"
        return _take(folder / f"{fingerprint}.lock", fingerprint)
    except LockError:
        raise
    except (OSError, RuntimeError) as error:
        # The configuration may lie elsewhere, with a home that nobody can write to.
        logger.warning("lock.token.unavailable", error=str(error))
        return None


def _take(path: Path, fingerprint: str | None) -> _Held:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _guard(path.parent):
        held, locked = _open_and_lock(path)
        try:
            before = _parse(os.pread(held.fd, _MAX_BYTES, 0))
            other_bot = None not in (fingerprint, before.token_fingerprint) and (
                fingerprint != before.token_fingerprint
            )
            if locked is False and other_bot:
                os.unlink(path)
                os.close(held.fd)
                held.fd = _open(path)
                _lock(held.fd)
            elif not other_bot and (locked is False or _is_held(before.pid, held.fd, locked)):
                text = f"already running\nremove {_shown(path)} if stale"
                raise LockError(text, path=path, state="running")
            _write(held.fd, LockInfo(os.getpid(), fingerprint))
        except BaseException:
            os.close(held.fd)
            raise
    return held


def _open_and_lock(path: Path) -> tuple[_Held, bool | None]:
    while True:
        held = _Held(path, _open(path))
        try:
            locked = _lock(held.fd)
            if _is_file_of(held):  # else it was deleted in between, and another may be there by now
                return held, locked
        except BaseException:
            os.close(held.fd)
            raise
        os.close(held.fd)


def _open(path: Path) -> int:
    # Engines must not inherit it: a lock lives as long as any copy of its descriptor.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, 0o600)


def _lock(fd: int) -> bool | None:
    """Whether the lock was free and is ours now; None on a filesystem without locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Nobody else decides about the folder's lock files meanwhile, where directories can be locked."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ends = time.monotonic() + _GUARD_S
        while _lock(fd) is False:
            if time.monotonic() > ends:
                raise TimeoutError(errno.ETIMEDOUT, f"{folder} is locked by another program")
            time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _parse(data: bytes) -> LockInfo:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return LockInfo()
    if not isinstance(content, dict):
        return LockInfo()
    pid, fingerprint = content.get("pid"), content.get("token_fingerprint")
    return LockInfo(
        pid if type(pid) is int and pid > 0 else None,
        fingerprint if isinstance(fingerprint, str) else None,
    )


def _write(fd: int, info: LockInfo) -> None:
    content = {"pid": info.pid, "token_fingerprint": info.token_fingerprint}
    data = (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, data, 0)


def _is_held(pid: int | None, fd: int, locked: bool | None) -> bool:
    """Whether the pid in a file that nobody has locked is a reason to refuse."""
    if pid is None or not _is_alive(pid):
        return False
    if locked is None:
        return True
    return pid != os.getpid() and _is_older_takopi(pid, os.fstat(fd).st_mtime)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # permission denied: it is somebody else's
        return True
    return True


def _is_older_takopi(pid: int, written: float) -> bool:
    """Whether a process is a takopi that started before ``written``; False where that cannot be told."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        names = [os.path.basename(os.fsdecode(word)) for word in words[:4]]
        # The name in parentheses may hold anything; the start time is the 20th field after it.
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        lines = Path("/proc/stat").read_text(errors="replace").splitlines()
        boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        started = boot + int(stat[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return False
    return "takopi" in names and started <= written + 1.0  # the boot time has whole seconds


def _release(held: _Held, *, ours: bool) -> None:
    """``ours`` is false in a forked child, which may only let go of its copy."""
    try:
        if ours:
            with _guard(held.path.parent):
                # The pid matters where files cannot be locked.
                pid = _parse(os.pread(held.fd, _MAX_BYTES, 0)).pid
                if pid == os.getpid() and _is_file_of(held):
                    os.unlink(held.path)
            # Closing is not enough while a forked child has a copy of the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(held.fd, fcntl.LOCK_UN)
    except OSError as error:
        logger.warning("lock.release.failed", path=str(held.path), error=str(error))
    finally:
        os.close(held.fd)


def _is_file_of(held: _Held) -> bool:
    try:
        return os.path.samestat(os.stat(held.path, follow_symlinks=False), os.fstat(held.fd))
    except FileNotFoundError:
        return False


def _shown(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home().resolve())}"
    except (ValueError, RuntimeError):
        return str(path)
