"""Warnings of takopi's modules as lines on stderr."""

from takopi.logs import show_warnings

__all__ = ["show_warnings"]
