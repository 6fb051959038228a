"""The small parts of English prompts: politeness, quotes, articles, and where to look."""

from __future__ import annotations

import re

from takopi.demo.kinds import LANGUAGES, is_known_kind

MAX_PROMPT = 2_000  # characters of a prompt that are looked at

_POLITE = (
    r"(?:please|pls|hey|hi|hello|ok(?:ay)?|so|now|then|well|great|thanks|thank you|just|takopi|"
    r"(?:can|could|would|will) you|tell me|do you know|let's|let us|"
    r"i(?:'d| would)? (?:want|like|need)(?: you)? to)\b[,.!:]*\s+"
)
_THANKS = r"(?<=\S)[\s,]+(?:please|pls|thanks|thank you|for me)$"
_PUNCTUATION = r"\s*[?!;,:]+$|(?<=[\w`\"')*])\.+$"
_QUOTED = r"""`+ ?(.+?) ?`+|"(.+)"|'(.+)'|“(.+)”|‘(.+)’|«(.+)»"""
_ARTICLES = r"(?:(?:all|any|every|each|the|my|this|that|our|a|an|of|me)\s+)+"
_ANYWHERE = (
    r"here|there|it|this|that|them|total|everything|everywhere|all|files?|lines|(?:the )?code|"
    r"(?:(?:current|whole|entire|working) )?(?:project|repo|repository|code|code ?base|workspace|"
    r"directory|folder|tree|dir)|\."
)
_FOLDER_WORD = r"\s+(?:directory|folder|dir|package|module|subdirectory|file)$"
_FILE_NAME = (
    r"\S*/\S*|~\S*|\.\.|[\w.+-]*\.[A-Za-z]\w{0,9}|readme|license|makefile|dockerfile|changelog"
)


def fits(pattern: str, text: str) -> re.Match[str] | None:
    """``pattern`` on the whole of ``text``, any case."""
    return re.fullmatch(pattern, text, re.IGNORECASE)


def clean(prompt: str) -> str:
    """The part of a prompt that is looked at, on one line, without control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", prompt[:MAX_PROMPT]).split())


def bare(text: str) -> str:
    """``text`` without the politeness around it and the punctuation behind it."""
    before = None
    while text != before:
        before = text
        for pattern in (_PUNCTUATION, _THANKS, rf"^{_POLITE}"):
            text = re.sub(pattern, "", text, count=1, flags=re.IGNORECASE).strip()
    return text


def unquote(text: str) -> str:
    """``text`` without the quotes around it."""
    found = fits(_QUOTED, text.strip())
    return next(part for part in found.groups() if part) if found else text.strip()


def without_articles(text: str) -> str:
    """``text`` without "all the", "any", "my" in front."""
    return re.sub(rf"^{_ARTICLES}", "", text, flags=re.IGNORECASE)


def is_file_name(text: str) -> bool:
    """Whether ``text`` looks like a path: it has a slash or a suffix, or is a well-known name."""
    return fits(_FILE_NAME, text) is not None


def scope(text: str) -> tuple[str, str] | None:
    """What follows "in": a path and a kind of files, both "" for everywhere; None if neither."""
    inner = unquote(text)
    if inner != text.strip():
        return inner, ""
    plain = without_articles(inner)
    if fits(_ANYWHERE, plain):
        return "", ""
    kind = fits(r"(\S+) (?:files?|code|sources?)", plain)
    if kind:
        return "", unquote(kind[1])
    if "*" in plain or (plain.lower() in LANGUAGES and len(plain) > 2):
        return "", plain
    if plain.startswith(".") and is_known_kind(plain):
        return "", plain
    place = unquote(re.sub(_FOLDER_WORD, "", plain, flags=re.IGNORECASE))
    return None if " " in place or not place else (place, "")


def split_scope(text: str, words: str = "in|inside|under|within|below") -> tuple[str, str, str]:
    """``text`` before its last "in …", then that path and kind of files."""
    pattern = rf"(?:^|\s)(?:{words})\s+(?=\S)"
    for found in reversed(list(re.finditer(pattern, text, re.IGNORECASE))):
        where = scope(text[found.end() :])
        if where is not None:
            return text[: found.start()].strip(), *where
    return text, "", ""
