"""`takopi chat-id`: the number of a chat, from a message that is sent there."""

from __future__ import annotations

from pathlib import Path

from takopi.config import config_path, ensure_table, load_config, load_or_init_config, write_config
from takopi.config.settings import MAIN_TRANSPORT
from takopi.errors import EXIT_OK, ConfigError, TakopiError, UsageError
from takopi.logs import setup_logging
from takopi.telegram.setup import ask_token, capture_chat, configured_api_url


def chat_id_command(token: str | None, project: str | None) -> int:
    """Wait for a message, print its chat's number, and bind the chat to a project if one is named."""
    setup_logging()
    path = config_path()
    alias = _alias(project, path) if project is not None else None  # before anybody waits for it
    api_url = configured_api_url(path)
    known = token.strip() if token is not None else _configured_token(path)
    try:
        known = known or ask_token(api_url)
        if not known:
            raise TakopiError("no bot token; nothing was changed")
        chat_id = capture_chat(known, api_url, path).chat_id
    except EOFError:
        raise TakopiError("no chat was captured; nothing was changed") from None
    if alias is None:
        print(f"chat_id = {chat_id}")
        return EXIT_OK
    data, _ = load_or_init_config(path)
    projects = ensure_table(data, "projects", config_path=path)
    table = ensure_table(projects, alias, config_path=path, label=f"projects.{alias}")
    table["chat_id"] = chat_id
    write_config(data, path)
    print(f"updated projects.{alias}.chat_id = {chat_id}")
    return EXIT_OK


def _alias(wanted: str, path: Path) -> str:
    """The project as it is written in the file."""
    wanted = wanted.strip()
    if not wanted:
        raise UsageError("`--project` is blank; name one of the projects")
    data, _ = load_or_init_config(path)
    projects = data.get("projects")
    aliases = [str(alias) for alias in projects] if isinstance(projects, dict) else []
    if wanted in aliases:
        return wanted
    found = next((alias for alias in aliases if alias.lower() == wanted.lower()), None)
    if found is None:
        raise ConfigError(f"Unknown project '{wanted}'; run `takopi init {wanted}` first.")
    return found


def _configured_token(path: Path) -> str | None:
    """The token of the configuration, whatever else is missing there."""
    transports = load_config(path).data.get("transports")
    table = transports.get(MAIN_TRANSPORT) if isinstance(transports, dict) else None
    token = table.get("bot_token") if isinstance(table, dict) else None
    return token.strip() if isinstance(token, str) else None
