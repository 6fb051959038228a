"""Warnings of takopi's modules as lines on stderr."""

from __future__ import annotations

import logging
import sys

from takopi.ansi import strip_ansi


class _StderrLines(logging.Handler):
    """``warning: …`` on whatever stderr is at the moment (a live display replaces it)."""

    def emit(self, record: logging.LogRecord) -> None:
        text = strip_ansi(record.getMessage())  # it may quote what an engine printed
        print(f"{record.levelname.lower()}: {text}", file=sys.stderr, flush=True)


def show_warnings() -> None:
    """Print warnings from here on. Calling it again changes nothing."""
    root = logging.getLogger("takopi")
    if not root.handlers:
        root.addHandler(_StderrLines(logging.WARNING))
        root.propagate = False
