"""Telegram's rules for a text and its entities, as the Bot API documents them.

`errors` gives what a server refuses, `losses` what it changes without a word: a good message has
neither.
"""

from __future__ import annotations

import re
from itertools import combinations
from urllib.parse import urlsplit

MAX_TEXT = 4096
MAX_ENTITIES = 100
CODE = {"code", "pre"}
QUOTES = {"blockquote", "expandable_blockquote"}
# These may lie in each other and in anything but code.
STYLES = {"bold", "italic", "underline", "strikethrough", "spoiler"}
# A server finds these by itself; a client may say them too.
FOUND = {"mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number"}
TYPES = CODE | QUOTES | STYLES | FOUND | {"text_link", "text_mention", "custom_emoji"}

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\u2028-\u202e]")


def utf16(text):
    """The text's UTF-16 units, one item each; raises for half a surrogate pair."""
    data = text.encode("utf-16-le")
    return [data[i : i + 2] for i in range(0, len(data), 2)]


def covered(text, entity):
    """What an entity is about."""
    units = utf16(text)[entity["offset"] : entity["offset"] + entity["length"]]
    return b"".join(units).decode("utf-16-le")


def errors(text, entities, *, strict_code=True):
    """Why a server refuses a message.

    Without ``strict_code`` a ``code`` over exactly the range of a ``pre`` is let through.
    """
    try:
        units = utf16(text)
    except UnicodeEncodeError:
        return ["text is not Unicode"]
    wrong = [] if text.strip() else ["message text is empty"]
    if len(units) > MAX_TEXT:
        wrong.append("message is too long")
    if len(entities) > 1000:
        wrong.append("too many entities")
    for entity in entities:
        wrong += [f"{problem}: {entity}" for problem in _entity_errors(units, entity)]
    if not wrong:
        ordered = sorted(entities[:MAX_ENTITIES], key=lambda e: (e["offset"], -e["length"]))
        for outer, inner in combinations(ordered, 2):
            if inner["offset"] < outer["offset"] + outer["length"]:
                problem = _pair_error(outer, inner, strict_code)
                wrong += [f"{problem}: {outer} and {inner}"] if problem else []
    return wrong


def losses(text, entities):
    """What a server would change in a message that it accepts."""
    lost = []
    if text != text.rstrip():
        lost.append("white space at the end is cut")
    if text != text.lstrip() and not any(e["offset"] == 0 and e["type"] == "pre" for e in entities):
        lost.append("white space at the start is cut")
    if CONTROL.search(text):
        lost.append("control characters are cut")
    if len(entities) > MAX_ENTITIES:
        lost.append("entities above the limit are dropped")
    indented = {e["offset"] for e in entities if e["type"] == "pre"}
    for entity in entities:
        inside = covered(text, entity)
        lead = inside != inside.lstrip() and entity["offset"] not in indented
        if lead or inside != inside.rstrip():
            lost.append(f"white space at the ends is not formatted: {entity}")
    for outer, inner in combinations(entities, 2):
        same = {e["type"] for e in (outer, inner)}
        if len(same) == 1 and _overlap(outer, inner):
            lost.append(f"formatted twice: {outer} and {inner}")
    return lost


def check(text, entities):
    """Assert that a message arrives as it was sent."""
    assert errors(text, entities) == []
    assert losses(text, entities) == []


def _entity_errors(units, entity):
    offset, length, kind = entity.get("offset"), entity.get("length"), entity.get("type")
    known = {"offset", "length", "type"}
    if not (type(offset) is type(length) is int) or offset < 0 or length < 1:
        yield "bad offset or length"
    elif offset + length > len(units):
        yield "entity ends after the text"
    elif any(_is_low_half(units, place) for place in (offset, offset + length)):
        yield "entity cuts a character in two"
    if kind not in TYPES:
        yield "unknown type"
    if kind == "text_link":
        known.add("url")
        if not _is_good_url(entity.get("url")):
            yield "bad URL"
    if kind == "pre":
        known.add("language")
        language = entity.get("language", "none")
        if not isinstance(language, str) or not language or re.search(r"\s", language):
            yield "bad language"
    if kind in ("text_mention", "custom_emoji"):
        known |= {"user", "custom_emoji_id"}
    if entity.keys() - known:
        yield "unknown field"


def _is_low_half(units, place):
    return place < len(units) and 0xDC <= units[place][1] <= 0xDF


def _is_good_url(url):
    if not isinstance(url, str) or not url or re.search(r"[\s\x00-\x1f]", url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) if parts.scheme in ("http", "https") else parts.scheme == "tg"
    except ValueError:
        return False


def _overlap(one, other):
    first, second = sorted((one, other), key=lambda e: e["offset"])
    return second["offset"] < first["offset"] + first["length"]


def _pair_error(outer, inner, strict_code):
    kinds = outer["type"], inner["type"]
    if inner["offset"] + inner["length"] > outer["offset"] + outer["length"]:
        return "partial overlap"
    same = (inner["offset"], inner["length"]) == (outer["offset"], outer["length"])
    if set(kinds) == CODE and same and not strict_code:
        return None
    if same and kinds[1] in QUOTES:
        kinds = kinds[1], kinds[0]
    if kinds[0] in CODE:
        return "something in code"
    if kinds[1] in CODE and kinds[0] not in QUOTES:
        return "code in something"
    if kinds[0] in QUOTES:
        return "quote in a quote" if kinds[1] in QUOTES else None
    if kinds[1] in QUOTES:
        return None if kinds[0] in STYLES else "quote in something"
    if not STYLES & set(kinds):
        return "entities that cannot contain each other"
    return None
