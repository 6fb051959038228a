"""Kinds of files by what people call them: a language, a suffix, a pattern, a part of the name."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable

LANGUAGES: dict[str, tuple[str, ...]] = {
    "python": (".py", ".pyi"),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".tsx", ".mts"),
    "markdown": (".md", ".markdown"),
    "yaml": (".yaml", ".yml"),
    "json": (".json", ".jsonl"),
    "toml": (".toml",),
    "html": (".html", ".htm"),
    "css": (".css", ".scss"),
    "rust": (".rs",),
    "go": (".go",),
    "java": (".java",),
    "kotlin": (".kt", ".kts"),
    "swift": (".swift",),
    "c": (".c", ".h"),
    "c++": (".cpp", ".cc", ".cxx", ".hpp", ".hh"),
    "c#": (".cs",),
    "ruby": (".rb",),
    "php": (".php",),
    "shell": (".sh", ".bash", ".zsh"),
    "sql": (".sql",),
    "text": (".txt", ".rst"),
}
_NAMES = {suffix: name for name, suffixes in LANGUAGES.items() for suffix in suffixes}
_ALIASES = {
    **{suffix[1:]: name for suffix, name in _NAMES.items()},
    "golang": "go",
    "cpp": "c++",
    "csharp": "c#",
    "bash": "shell",
}


def language(path: str) -> str:
    """The language of a file by its suffix, or ``""``."""
    return _NAMES.get(os.path.splitext(path)[1].lower(), "")


def is_known_kind(word: str) -> bool:
    """Whether ``word`` names a kind of file: a language, a suffix or a pattern."""
    low = word.lower()
    return low in LANGUAGES or low in _ALIASES or low in _NAMES or "*" in low


def file_test(word: str) -> Callable[[str], bool]:
    """The test a path must pass to be one of the "``word`` files"; any word is a part of a name."""
    low = word.lower()
    if not low:
        return lambda path: True
    if "*" in low:
        return lambda path: (
            fnmatch.fnmatchcase(os.path.basename(path).lower(), low)
            or fnmatch.fnmatchcase(path.lower(), low)
        )
    name = _ALIASES.get(low, low)
    if name in LANGUAGES:
        return lambda path: path.lower().endswith(LANGUAGES[name])
    if low.startswith("."):
        return lambda path: path.lower().endswith(low)
    if low in {"code", "source"}:
        return lambda path: language(path) not in {"", "markdown", "text", "json"}
    return lambda path: low in os.path.basename(path).lower()
