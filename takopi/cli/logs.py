"""Warnings of takopi's modules as lines on stderr."""

from __future__ import annotations

import logging
import sys


class _StderrLines(logging.Handler):
    """``warning: …`` on whatever stderr is at the moment (a live display replaces it)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr, flush=True)


def show_warnings() -> None:
    """Print warnings from here on. Calling it again changes nothing."""
    root = logging.getLogger("takopi")
    if not root.handlers:
        root.addHandler(_StderrLines(logging.WARNING))
        root.propagate = False
