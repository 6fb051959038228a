"""Telegram as a transport: ``transport = "telegram"``, which is the default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from takopi.bridge.transport import SetupResult
from takopi.config import config_path as active_config_path
from takopi.config import load_config
from takopi.config.store import exists
from takopi.engines.backend import EngineBackend, SetupIssue, install_issue
from takopi.engines.executables import find_executable
from takopi.errors import ConfigError

if TYPE_CHECKING:
    from takopi.bridge.runtime import TransportRuntime

_STEPS = (
    "   1. write /newbot to @BotFather, it answers with a token:",
    "      [dim]$ takopi config set transports.telegram.bot_token TOKEN[/]",
    "   2. write /start to the new bot, then let takopi see from which chat:",
    "      [dim]$ takopi chat-id[/]",
    "   3. let takopi answer there:",
    "      [dim]$ takopi config set transports.telegram.chat_id NUMBER[/]",
)


class TelegramBackend:
    """Chats with a bot of your own."""

    id = "telegram"
    description = "Chat with a Telegram bot of your own"

    def check_setup(
        self, engine_backend: EngineBackend, *, transport_override: str | None = None
    ) -> SetupResult:
        """The engine or the chat's settings can be missing. Asks nobody on the network."""
        path = active_config_path()
        command = engine_backend.cli_cmd or engine_backend.id
        issues = []
        if find_executable(command, os.environ) is None:
            issues.append(install_issue(command, engine_backend.install_cmd))
        try:
            load_config(path).settings.transport_config(self.id, config_path=path)
        except ConfigError:
            new = transport_override not in (None, self.id) or not exists(path)
            title = "create a config" if new else f"configure {self.id}"
            issues.append(SetupIssue(title, _STEPS, needs_config=True))
        return SetupResult(issues, path)

    def interactive_setup(self, *, force: bool) -> bool:
        """Ask for the token and the chat, and write them down."""
        from takopi.telegram.setup import set_up

        return set_up(active_config_path(), force=force)

    def lock_token(self, *, transport_config: Any, _config_path: Path) -> str | None:
        """Two of one bot would take each other's updates."""
        token: str = transport_config.bot_token
        return token

    def build_and_run(
        self,
        *,
        transport_config: Any,
        config_path: Path,
        runtime: TransportRuntime,
        final_notify: bool,
        default_engine_override: str | None,
    ) -> None:
        """Serve the chats until the program is told to end."""
        import anyio

        from takopi.telegram.loop import BotOptions, run_bot

        options = BotOptions(
            transport_config, config_path, runtime, final_notify, default_engine_override
        )
        anyio.run(run_bot, options)

    def doctor_checks(
        self, *, transport_config: Any, config_path: Path
    ) -> Iterator[tuple[str, str, str, str | None]]:
        """Rows of `takopi doctor`: label, state, detail, advice. Asks the Bot API."""
        from takopi.telegram.checks import checks

        yield from checks(transport_config, config_path)


BACKEND = TelegramBackend()
