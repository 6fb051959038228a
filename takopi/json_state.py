"""Small state files: JSON that is replaced as a whole, so that a reader never sees half of it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def atomic_write_json(
    path: Path | str, payload: Any, *, indent: int | None = 2, sort_keys: bool = True
) -> None:
    """Put ``payload`` into ``path``, at once and so that it outlives a power cut.

    Missing folders are made; a link is followed; a new file can be read by its owner only. If it fails
    (TypeError or ValueError for what JSON cannot say, OSError) the old file is as it was.
    """
    # ASCII, because half a character could not be encoded.
    text = json.dumps(payload, indent=indent, sort_keys=sort_keys) + "\n"
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=".tmp", dir=target.parent
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last; some file systems cannot, and the file is complete all the same."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
