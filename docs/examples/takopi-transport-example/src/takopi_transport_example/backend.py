"""What takopi asks before it starts the chat. Imported only when this transport is chosen."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from takopi.api import (
    HOME_CONFIG_PATH,
    ConfigError,
    EngineBackend,
    SetupIssue,
    SetupResult,
    TransportRuntime,
    install_issue,
    load_settings,
)


class LinesBackend:
    """A chat on stdin and stdout."""

    id = "lines"
    description = "a line in is a message, for scripts and for reading"

    def check_setup(
        self, engine_backend: EngineBackend, *, transport_override: str | None = None
    ) -> SetupResult:
        """What is missing. Nothing is changed, and no account is asked."""
        issues = []
        path = Path(os.environ.get("TAKOPI_CONFIG") or HOME_CONFIG_PATH)
        if path.exists():  # this chat needs no configuration, but a broken one is no good
            try:
                load_settings(path)
            except ConfigError:
                # A title `configure <id>` lets takopi offer `interactive_setup`.
                issues.append(SetupIssue(f"configure {self.id}", (f"   {path}",)))
        command = engine_backend.cli_cmd or engine_backend.id
        # takopi also finds what is installed beside it.
        folders = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
        if shutil.which(command, path=os.pathsep.join(folders)) is None:
            issues.append(install_issue(command, engine_backend.install_cmd))
        return SetupResult(issues, path)

    async def interactive_setup(self, *, force: bool) -> bool:
        """Ask for a token and the like, and write it with `write_config`. Here is nothing to ask."""
        return True

    def lock_token(self, *, transport_config: Any, _config_path: Path) -> str | None:
        """The secret of the account, so that no two takopi serve the same one. Here is none."""
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
        """Serve the chat until stdin ends. The event loop is ours."""
        from takopi_transport_example.chat import run_chat

        run_chat(runtime, config_path, final_notify, default_engine_override)


BACKEND = LinesBackend()
