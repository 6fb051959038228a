"""The standard streams, whatever the caller has made of them: closed, full, or without UTF-8."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def prepare_streams() -> None:
    """Make the standard streams safe to use.

    A closed one becomes the null device; else the next file that is opened would get its number,
    and output would go there. Characters that an encoding does not have become ``?``.
    """
    for name in ("stdin", "stdout", "stderr"):  # in this order: the lowest free number is given out
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_interactive() -> bool:
    """Whether there is somebody to ask: a terminal at both ends, and nobody forbade it."""
    terminals = (sys.stdin, sys.stdout)
    return not os.environ.get("TAKOPI_NO_INTERACTIVE") and all(t.isatty() for t in terminals)


def is_full(error: Exception) -> bool:
    """Whether the device behind an output stream takes no more. Errors of files name the file."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM


def abandon_output() -> None:
    """Forget what the streams still hold, or the interpreter complains about it while it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()  # one of the two may still work
        with suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())
