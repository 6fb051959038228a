"""The terminal as a transport: ``takopi chat``, or ``transport = "terminal"``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from takopi.bridge.transport import SetupResult
from takopi.config import config_path as active_config_path
from takopi.engines.backend import EngineBackend, install_issue
from takopi.engines.executables import find_executable

if TYPE_CHECKING:
    from takopi.bridge.runtime import TransportRuntime


class TerminalBackend:
    """A chat that needs neither an account nor a configuration."""

    id = "terminal"
    description = "Chat in this terminal"

    def check_setup(
        self, engine_backend: EngineBackend, *, transport_override: str | None = None
    ) -> SetupResult:
        """Only the engine can be missing."""
        command = engine_backend.cli_cmd or engine_backend.id
        found = find_executable(command, os.environ)
        issues = [] if found else [install_issue(command, engine_backend.install_cmd)]
        return SetupResult(issues, active_config_path())

    def interactive_setup(self, *, force: bool) -> bool:
        """There is nothing to ask."""
        return True

    def lock_token(self, *, transport_config: Any, _config_path: Path) -> str | None:
        """There is no account."""
        return None

    def build_and_run(
        self,
        *,
        transport_config: Any,
        config_path: Path,
        runtime: TransportRuntime,
        final_notify: bool,
        default_engine_override: str | None,
    ) -> None:
        """Chat until the end. Raises SystemExit after a signal."""
        from takopi.terminal.chat import ChatOptions, run_chat

        options = ChatOptions(
            config_path, ring=final_notify, default_engine_override=default_engine_override
        )
        if code := run_chat(runtime, options):
            raise SystemExit(code)


BACKEND = TerminalBackend()
