"""Answers as short Markdown that reads well on a phone: facts first, then a list."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from takopi.demo.files import FileText, FoundFile, Listing, Match, Scan, describe_limits
from takopi.demo.intents import Intent
from takopi.demo.kinds import language
from takopi.demo.markdown import block, clip, code, count, size

_MOST = 15  # entries of a list
_MOST_LINES = 40  # of a file

EXAMPLES = """\
- list files · how many Python files are there?
- how many lines of code? · biggest files
- search for TODO · where is main defined?
- read README.md · what is this project?"""

HELP = f"""\
I am the demo engine: I answer questions about the files of this directory, offline and without an \
account. Ask things like:

{EXAMPLES}

Follow-ups work too: "and in tests?", "show the first one", "again", "what did I ask?"

To try out takopi itself: "sleep 30" (then cancel it), "fail" and "crash"."""

LOST = (
    'There is no earlier question that this could refer to. Try "list files" or "search for TODO".'
)
NOTHING_TO_PICK = 'The last answer listed nothing. Try "list files", then "show the first one".'


def where(intent: Intent) -> str:
    """`` in `src`, `python` files only``, or nothing."""
    place = f" in {code(intent.path)}" if intent.path not in {"", "."} else ""
    return place + (f", {code(intent.files)} files only" if intent.files else "")


def problem(message: str) -> str:
    """An answer for something that could not be looked at."""
    return f"That did not work: {message}."


def history(prompts: Sequence[str]) -> str:
    """What was asked in this session."""
    if not prompts:
        return "This is your first question."
    shown = list(enumerate(prompts, 1))[-_MOST:]
    lines = [f"{number}. {clip(prompt, 120) or '(nothing)'}" for number, prompt in shown]
    return "\n".join([f"You asked {count(len(prompts), 'question')} before this one:", "", *lines])


def unknown(found: Listing) -> str:
    """What the engine can do, and what lies here; for a prompt it does not understand."""
    here = listing(Intent("list"), found, most=6)
    return (
        f"I am only a small demo engine and did not understand that. I can:\n\n{EXAMPLES}\n\n{here}"
    )


def listing(intent: Intent, found: Listing, most: int = _MOST) -> str:
    """The files that were found, by path."""
    if not found.files:
        return _notes(_nothing(intent), found)
    folders = f", {count(found.folders, 'directory')}" if found.folders else ""
    head = f"**{count(len(found.files), 'file')}**{where(intent)}"
    head += folders if not intent.path and not intent.files else ""
    lines = [f"- {code(file.path)} · {size(file.size)}" for file in found.files]
    return _notes(f"{head}\n\n{_shorten(lines, most)}", found)


def _nothing(intent: Intent) -> str:
    if intent.files:
        return f"No {code(intent.files)} files{where(intent._replace(files=''))}."
    return (
        "There are no files here." if not where(intent) else f"There are no files{where(intent)}."
    )


def file_count(intent: Intent, found: Listing) -> str:
    """How many files there are, by language."""
    if not found.files:
        return _notes(_nothing(intent), found)
    total = sum(file.size for file in found.files)
    head = f"**{count(len(found.files), 'file')}**{where(intent)}, {size(total)} in all"
    kinds = Counter(language(file.path) or "other" for file in found.files)
    lines = [f"- {name}: {number:,}" for name, number in _ranked(kinds)]
    body = f"\n\n{_shorten(lines, 8)}" if len(kinds) > 1 else ""
    return _notes(f"{head}{body}", found)


def line_count(intent: Intent, found: Listing, scan: Scan) -> str:
    """How many lines there are, and where most of them are."""
    total = sum(scan.lines.values())
    if not scan.lines:
        return _notes(_nothing(intent), found, scan)
    head = f"**{count(total, 'line')}** in {count(len(scan.lines), 'file')}{where(intent)}"
    if list(scan.lines) == [intent.path]:
        return _notes(f"**{count(total, 'line')}** in {code(intent.path)}", found, scan)
    lines = [f"- {code(path)} · {number:,}" for path, number in _ranked(scan.lines)]
    return _notes(f"{head}\n\n{_shorten(lines, 8)}", found, scan)


def _ranked(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))


def biggest(intent: Intent, found: Listing, files: Sequence[FoundFile]) -> str:
    """The biggest files, biggest first."""
    if not files:
        return _notes(_nothing(intent), found)
    lines = [f"{n}. {code(file.path)} · {size(file.size)}" for n, file in enumerate(files, 1)]
    head = f"Biggest of {count(len(found.files), 'file')}{where(intent)}:"
    return _notes("\n".join([head, "", *lines]), found)


def matches(intent: Intent, found: Listing, scan: Scan) -> str:
    """The lines that were found."""
    query = code(intent.query, 60)
    if not scan.matches:
        looked = count(len(scan.lines), "file")
        return _notes(
            f"{query} is not mentioned{where(intent)}; I looked at {looked}.", found, scan
        )
    files = count(len({match.path for match in scan.matches}), "file")
    head = f"**{count(scan.total, 'match')}** for {query} in {files}{where(intent)}"
    return _notes(f"{head}\n\n{_match_list(scan.matches, scan.total)}", found, scan)


def definitions(intent: Intent, scan: Scan, body: str) -> str:
    """Where something is defined, with the lines of the first place."""
    if scan.total == 1:
        return f"{code(intent.query, 60)} is defined here:\n\n{body}"
    rest = _match_list(scan.matches[1:], scan.total - 1)
    return f"{code(intent.query, 60)} is defined in {scan.total:,} places:\n\n{body}\n\n{rest}"


def _match_list(found: Sequence[Match], total: int) -> str:
    lines = [f"- {code(f'{m.path}:{m.line}')} {code(m.text.strip(), 80)}" for m in found]
    return _shorten(lines, 12, total)


def file(path: str, text: FileText, *, first: int = 1, most: int = 0) -> str:
    """``most`` lines of a file from line ``first`` on, as a code block."""
    lines = text.lines()
    if not lines:
        return f"{code(path)} is empty."
    shown = lines[first - 1 : first - 1 + min(most or _MOST_LINES, 200)]
    if not shown:
        return f"{code(path)} has only {count(len(lines), 'line')} now."
    if len(shown) == len(lines) and not text.partial:
        head = f"{code(path)} · {count(len(lines), 'line')}"
    else:
        total = f"{len(lines):,}{'+' if text.partial else ''}"
        head = f"{code(path)} · lines {first:,}-{first + len(shown) - 1:,} of {total}"
    return f"{head}\n\n{block(shown, language(path).replace('+', 'p').replace('#', 's'))}"


def missing(message: str, names: Sequence[str], text: str) -> str:
    """An answer for a file that does not exist, with the names that come close."""
    answer = problem(message)
    if names:
        answer += "\n\nDid you mean one of these?\n\n" + _shorten(
            [f"- {code(n)}" for n in names], 5
        )
    if text:
        answer += f'\n\nTo look for the text instead, ask "search for {clip(text, 40)}".'
    return answer


def similar_files(name: str, found: Listing) -> tuple[list[str], list[str]]:
    """Paths that ``name`` can mean (same name, any case, suffix left out), and close ones."""
    wanted = os.path.basename(name.rstrip("/")).lower()
    paths = [file.path for file in found.files]
    names = {path: os.path.basename(path).lower() for path in paths}
    exact = [path for path in paths if names[path] == wanted]
    exact = exact or [path for path in paths if os.path.splitext(names[path])[0] == wanted]
    if exact:
        return exact, []
    from difflib import get_close_matches  # rarely needed, and slow to import

    close = get_close_matches(wanted[:100], sorted(set(names.values()))[:2_000], n=3, cutoff=0.6)
    return [], [path for path in paths if names[path] in close]


def readme_of(found: Listing) -> str:
    """The README at the top, or ``""``."""
    names = (file.path for file in found.files)
    return next(
        (name for name in names if name.lower().startswith("readme") and "/" not in name), ""
    )


def summary(root: str, found: Listing, scan: Scan, readme: str, about: str) -> str:
    """What kind of project this is: its README's first words, and numbers."""
    name = os.path.basename(root) or root
    if not found.files:
        return _notes(f"{code(name)} is empty.", found)
    kinds = Counter(language(file.path) or "other" for file in found.files)
    most = ", ".join(f"{number:,} {kind}" for kind, number in _ranked(kinds)[:4])
    files = count(len(found.files), "file")
    lines = count(sum(scan.lines.values()), "line")
    parts = [f"**{clip(name, 60)}**: {files}, {lines} ({most})"]
    title, words = _opening(about)
    if title or words:
        quoted = [f"> {part}" for part in (f"**{title}**" if title else "", words) if part]
        parts.append("\n".join([f"Its {code(readme)} says:", "", *quoted]))
    folders = Counter(file.path.split("/")[0] + "/" for file in found.files if "/" in file.path)
    if folders:
        entries = [f"- {code(folder)} · {count(n, 'file')}" for folder, n in _ranked(folders)]
        parts.append(_shorten(entries, 6))
    return _notes("\n\n".join(parts), found, scan)


def _opening(about: str) -> tuple[str, str]:
    """A README's title and its first paragraph of prose."""
    title = ""
    words: list[str] = []
    for line in about[:8_000].split("\n"):
        plain = line.strip()
        if plain.startswith("#") and not title and not words:
            title = clip(plain.lstrip("#"), 80)
        elif plain and plain[0] not in "#=-<[!|`>":
            words.append(plain)
        elif words:
            break
    return title, clip(" ".join(words), 280)


def _shorten(lines: Sequence[str], most: int, total: int = 0) -> str:
    rest = max(total, len(lines)) - most
    if rest <= 1 and len(lines) <= most + 1:
        return "\n".join(lines)
    return "\n".join([*lines[:most], f"- … and {rest:,} more"])


def _notes(text: str, found: Listing, scan: Scan | None = None) -> str:
    notes = describe_limits(found, scan)
    return f"{text}\n\n_{' '.join(notes)}_" if notes else text
