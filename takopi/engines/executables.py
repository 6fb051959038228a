"""Finds an engine's executable and says how to get it when it is missing."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from takopi.adapters.adapter import Adapter
from takopi.errors import RunError


def find_executable(command: str, environ: Mapping[str, str]) -> str | None:
    """The path of ``command``: on PATH, then beside takopi's own scripts (also outside its environment).

    It is absolute, because an engine starts in a project's folder: what lies there must not run
    instead of what was found from here.
    """
    expanded = os.path.expanduser(command)
    found = shutil.which(expanded, path=environ.get("PATH", os.defpath))
    if found is None and os.sep not in expanded:
        folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
        if sys.argv[0] not in ("", "-c", "-m"):
            folders.append(str(Path(sys.argv[0]).resolve().parent))
        found = shutil.which(expanded, path=os.pathsep.join(folders))
    return os.path.abspath(found) if found is not None else None


def require_executable(adapter: Adapter, command: str, environ: Mapping[str, str]) -> str:
    """Like `find_executable`; raises `RunError` that says how to install it."""
    found = find_executable(command, environ)
    if found is not None:
        return found
    expanded = os.path.expanduser(command)
    if os.sep in command and os.path.isdir(expanded):
        raise RunError(f"`{command}` of {adapter.name} is a folder, not a program")
    inert = shutil.which(expanded, mode=os.F_OK, path=environ.get("PATH", os.defpath))
    if inert is not None:
        raise RunError(
            f"`{inert}` of {adapter.name} is not an executable file; if it is a program: "
            f"`chmod +x {inert}`"
        )
    if command != adapter.spec.command and "${" not in adapter.spec.command:
        raise RunError(
            f"`{command}` was not found; correct `command` in the [{adapter.id}] table of takopi.toml"
        )
    how = f"install it with `{adapter.spec.install}`" if adapter.spec.install else "install it"
    raise RunError(
        f"`{command}` was not found; {how}, or set `command` in the [{adapter.id}] table of takopi.toml"
    )
