"""What the Bot API accepts as a message: pure checks and the normal form that it stores.

Offsets and lengths count UTF-16 code units. Descriptions are those commonly seen; clients may rely on
their classification only. Source: Bot API reference, "MessageEntity" and "Formatting options".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.support import telegram_rules

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
ENTITY_LIMIT = 100
CALLBACK_DATA_LIMIT_BYTES = 64

PARSE_MODES = ("HTML", "Markdown", "MarkdownV2")
_BUTTON_ACTIONS = (
    *("url", "callback_data", "web_app", "login_url", "copy_text", "callback_game", "pay"),
    *("switch_inline_query", "switch_inline_query_current_chat"),
    "switch_inline_query_chosen_chat",
)

Entity = dict[str, Any]


def units(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def check_message(text: str, entities: Sequence[Any] | None, parse_mode: str | None) -> str | None:
    """Why sendMessage refuses this text, as its error description; None when it takes it."""
    return _check(text, entities, parse_mode, "message text is empty", "message is too long")


def check_caption(text: str, entities: Sequence[Any] | None, parse_mode: str | None) -> str | None:
    """The same for the caption of a file, which may be empty."""
    return _check(text, entities, parse_mode, None, "message caption is too long")


def _check(
    text: str,
    entities: Sequence[Any] | None,
    parse_mode: str | None,
    empty: str | None,
    long: str,
) -> str | None:
    limit = TEXT_LIMIT if empty else CAPTION_LIMIT
    reason = None
    if re.search("[\ud800-\udfff]", text):
        reason = "strings must be encoded in UTF-8"
    elif empty and not text.strip():
        reason = empty
    elif units(text.rstrip()) > limit:
        reason = long
    elif parse_mode is not None and parse_mode not in PARSE_MODES:
        reason = "unsupported parse_mode"
    elif trouble := check_entities(text, entities or ()):
        reason = f"can't parse entities: {trouble}"
    return reason and f"Bad Request: {reason}"


def check_entities(text: str, entities: Sequence[Any], *, strict_code: bool = False) -> str | None:
    """The first thing wrong with the entities; ``strict_code`` also refuses `code` over a `pre`."""
    if not isinstance(entities, list | tuple):
        return "expected an Array of MessageEntity"
    if not all(isinstance(entity, dict) for entity in entities):
        return "expected an Object"
    found = telegram_rules.errors(  # type: ignore[no-untyped-call]
        text, entities, strict_code=strict_code
    )
    return next((trouble for trouble in found if not trouble.startswith("message ")), None)


def normal_form(text: str, entities: Sequence[Entity] | None) -> tuple[str, list[Entity]]:
    """Text and entities as they are stored: no white space at the end, at most 100 entities."""
    text = text.rstrip()
    length = units(text)
    kept = []
    for entity in list(entities or ())[:ENTITY_LIMIT]:
        size = min(entity["length"], length - entity["offset"])
        if size > 0:
            kept.append({**entity, "length": size})
    return text, sorted(kept, key=lambda entity: (entity["offset"], -entity["length"]))


def check_markup(markup: Any) -> str | None:
    """Why the Bot API refuses an inline keyboard; None when it takes it."""
    if markup is None:
        return None
    rows = markup.get("inline_keyboard") if isinstance(markup, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return "Bad Request: object expected as reply markup"
    for button in (button for row in rows for button in row):
        if trouble := _check_button(button):
            return f"Bad Request: {trouble}"
    return None


def _check_button(button: Any) -> str | None:
    if not isinstance(button, dict) or not isinstance(button.get("text"), str):
        return 'can\'t parse inline keyboard button: Field "text" must be of type String'
    if not button["text"].strip():
        return "inline keyboard button text must be non-empty"
    actions = [action for action in _BUTTON_ACTIONS if action in button]
    if len(actions) != 1:
        return (
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
        )
    data = button.get("callback_data", "x")
    if not isinstance(data, str) or not 1 <= len(data.encode()) <= CALLBACK_DATA_LIMIT_BYTES:
        return "BUTTON_DATA_INVALID"
    return None


def found_entities(text: str) -> list[Entity]:
    """The commands and mentions that Telegram itself marks in what a user types."""
    found = []
    for match in re.finditer(r"(?<![\w/@])(/\w{1,64}(?:@\w{3,32})?|@\w{3,32})(?![\w/])", text):
        kind = "bot_command" if match[1].startswith("/") else "mention"
        offset = units(text[: match.start(1)])
        found.append({"type": kind, "offset": offset, "length": units(match[1])})
    return found
