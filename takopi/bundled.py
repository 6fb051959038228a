"""Files shipped with takopi: built-in adapters and schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def bundled(kind: Literal["adapters", "schemas"]) -> Path:
    """The folder of a kind of shipped file: inside the installed package, else in the checkout."""
    package = Path(__file__).parent
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind
