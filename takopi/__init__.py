"""takopi puts coding agents into a chat; every engine is one YAML file."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

# What the metadata says, as a test sees to: asking it takes 35 ms, which every command would wait for.
__version__ = "1.0.0"


class _OldPaths:
    """Finds modules by the paths that published plugins know; asked last, for what is not there."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("takopi."):
            return None
        from takopi.legacy import find_spec

        return find_spec(name)


sys.meta_path.append(_OldPaths)
