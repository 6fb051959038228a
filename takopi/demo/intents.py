"""From an English prompt to what is wanted: pure, forgiving, and never an error.

A prompt is flattened to one line, politeness and punctuation are taken off, and the first group of
phrases that fits wins. What fits nothing is ``unknown``; the engine answers it with an overview.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from takopi.demo.kinds import is_known_kind
from takopi.demo.phrases import (
    bare,
    clean,
    fits,
    is_file_name,
    scope,
    split_scope,
    unquote,
    without_articles,
)

MAX_SLEEP_S = 3_600.0
LOOKS = frozenset(
    {"list", "count_files", "count_lines", "search", "definition", "read", "summary", "biggest"}
)

_VERB = r"(?:show|read|open|print|cat|display|view|see|give|look at|head)(?: me)?"
_ORDINALS = {
    **dict.fromkeys(("first", "1st"), 1),
    **dict.fromkeys(("second", "2nd"), 2),
    **dict.fromkeys(("third", "3rd"), 3),
    **dict.fromkeys(("fourth", "4th"), 4),
    **dict.fromkeys(("fifth", "5th"), 5),
    "last": -1,
}
_AUXILIARY = (
    r"(?:\s+(?:are|is|do|does|did|can|exist|exists|we|you|i|it|this|there|here|have|has|see|in total|"
    r"total|altogether)\b)*"
)
_FILES = r"(?:files?|folders?|director(?:y|ies)|dirs?)"
_NARROWING = frozenset({"list", "search", "read"})
_ASKING = rf"(?:{_VERB}|list|ls|dir|tree|search|find|grep|look|what|which|where|who)\b.*"


class Intent(NamedTuple):
    """What is wanted. ``path`` is where ("" is everywhere), ``files`` which kind of files.

    ``kind`` is one of `LOOKS`, which look at files; ``again``, ``narrow``, ``pick``, which need an
    earlier question; or ``history``, ``help``, ``fail``, ``crash``, ``sleep``, ``unknown``.
    ``number``: which result to pick (-1 is the last), how many lines or files to show, seconds.
    """

    kind: str
    query: str = ""
    path: str = ""
    files: str = ""
    number: float = 0


def parse_intent(prompt: str) -> Intent:
    """What ``prompt`` asks for, taken by itself."""
    text = bare(clean(prompt))
    return _parse(text) or _follow(text) or Intent("unknown")


def resolve(intent: Intent, last: Intent | None, is_place: Callable[[str], bool]) -> Intent | None:
    """A follow-up in the light of the last question; None when there is nothing to follow.

    ``is_place`` says whether a path exists, so that "and tests?" can be told from "and TODO?".
    """
    if intent.kind == "again":
        return last
    if intent.kind != "narrow":
        return intent
    word = intent.path or intent.query
    if last is None or last.kind == "summary":
        return Intent("read", path=word) if is_place(word) else None
    if is_place(word):
        return last._replace(path=word)
    if intent.files and last.kind not in {"read", "definition"}:
        return last._replace(files=intent.files)
    if last.kind in {"search", "definition"} and not intent.path:
        return last._replace(query=word)
    if intent.path or is_file_name(word):
        return last._replace(path=word)
    return Intent("search", query=word, path="" if last.kind == "read" else last.path)


def _parse(text: str) -> Intent | None:
    for parse in (_trial, _talk, _summary, _biggest, _count, _where_is, _list, _search, _read):
        intent = parse(text)
        if intent is not None:
            return intent
    return None


def _trial(text: str) -> Intent | None:
    """Prompts that are there to try out takopi itself."""
    found = fits(r"(fail|crash)(?: on purpose| deliberately| now)?", text)
    if found:
        return Intent(found[1].lower())
    found = fits(r"(?:sleep|wait)(?: for)?(?: (\d{1,6}(?:\.\d{1,3})?) ?([smh])?[a-z]*)?", text)
    if found:
        unit = {"m": 60, "h": 3600}.get((found[2] or "s").lower(), 1)
        return Intent("sleep", number=min(float(found[1] or 10) * unit, MAX_SLEEP_S))
    return None


def _talk(text: str) -> Intent | None:
    """Prompts about the conversation: help, what was asked, again, "show the first one"."""
    if fits(
        r"-{0,2}h(?:elp)?|help me|usage|commands|(?:show me )?what (?:can )?(?:you|i) (?:can )?(?:do|ask)(?: here)?",
        text,
    ):
        return Intent("help")
    if fits(
        r"(?:(?:do|run|try) (?:it|that) )?(?:again|once more)|repeat(?: it| that)?|re(?:do|run|try)",
        text,
    ):
        return Intent("again")
    if fits(
        r"history|what (?:questions )?(?:did|have|had) (?:i|we) (?:just |already )?ask(?:ed)?\b.*"
        r"|what (?:was|were) my .*questions?|(?:show |list )?my (?:last )?questions?",
        text,
    ):
        return Intent("history")
    picked = fits(
        rf"(?:{_VERB} )?(?:the |#|number |no\.? )?(?P<n>{'|'.join(_ORDINALS)}|\d{{1,4}})"
        r"(?: (?:one|file|result|match|hit|of them))?",
        text,
    )
    if picked:
        word = picked["n"].lower()
        return Intent("pick", number=_ORDINALS.get(word) or int(word))
    return None


def _summary(text: str) -> Intent | None:
    """The project as a whole; "summarize README.md" is reading a file."""
    found = fits(
        r"(?:summari[sz]e|describe|explain|(?:give me |show me )?(?:an? |the )?(?:short |quick )?"
        r"(?:summary|overview)(?: of)?)(?: (?P<what>.+))?",
        text,
    )
    if found:
        where = scope(found["what"] or "here")
        return None if where is None else _read_or_summary(where[0])
    asked = fits(
        r"what(?:'s| is| does|'re| are) (?:this|it|the project|the repo|that)\b.{0,60}"
        r"|about|(?:tell me |what is it )?about (?:this|the|it)\b.{0,40}"
        r"|what am i looking at|what (?:kind|sort) of project is (?:this|it)",
        text,
    )
    return Intent("summary") if asked else None


def _read_or_summary(path: str) -> Intent:
    return Intent("read", path=path) if path else Intent("summary")


def _biggest(text: str) -> Intent | None:
    head, where, files = split_scope(text)
    found = fits(
        r"(?:.{0,40}?\b)?(?:(?P<a>\d{1,3}) )?(?:biggest|largest|longest|heaviest)"
        rf"(?: (?P<b>\d{{1,3}}))?(?: (?P<kind>\S+))??(?: {_FILES}| ones?)?{_AUXILIARY}",
        head,
    )
    if not found:
        return None
    number = int(found["a"] or found["b"] or 5)
    kind = found["kind"] or files
    return Intent("biggest", path=where, files=kind, number=min(max(number, 1), 20))


def _count(text: str) -> Intent | None:
    found = fits(
        r"(?:how many|count(?: up)?|(?:(?:what is |what's )?the )?(?:total )?number of|(?=lines|loc))\s*"
        r"(?P<what>.+)",
        text,
    )
    if not found:
        return None
    owner = fits(
        r"(?P<what>.+?) (?:does|do) (?P<where>\S+)(?: (?:have|contain|got))?", found["what"]
    )
    if owner and not fits(r"we|i|you|it|this", owner["where"]):
        what, (where, files) = owner["what"], scope(owner["where"]) or ("", "")
    else:
        what, where, files = split_scope(found["what"])
    what = without_articles(re.sub(rf"{_AUXILIARY}$", "", what, flags=re.IGNORECASE))
    counted = fits(r"(?:(?P<a>\S+) )?(?:lines?|loc)(?: (?:of|from) (?P<b>.+))?", what)
    if counted:
        path, kind = scope(counted["b"] or counted["a"] or "here") or ("", "")
        if path and not is_file_name(path):  # "Python lines", "lines of c"
            path, kind = "", path
        return Intent("count_lines", path=path or where, files=kind or files)
    counted = fits(rf"(?:(?P<kind>.+) )?{_FILES}", what)
    if counted:
        return Intent("count_files", path=where, files=unquote(counted["kind"] or files))
    return Intent("search", query=_query(what), path=where, files=files) if what else None


def _where_is(text: str) -> Intent | None:
    found = fits(
        r"(?:where|in (?:which|what) files?) (?:is|are|do|does|did|can i find) (?:we |i |you )?"
        r"(?P<what>.+?)(?P<how> (?:defined|declared|implemented|mentioned|used|called|referenced))?",
        text,
    ) or fits(r"(?:find |show )?(?:me )?(?:the )?(?P<how>definition) of (?P<what>.+)", text)
    if not found:
        return None
    uses = fits(r"(?:use|call|mention|import) (.+)", found["what"])
    what = without_articles(uses[1] if uses else found["what"])
    if not uses and not found["how"] and is_file_name(unquote(what)):
        return Intent("list", files=unquote(what))
    what = re.sub(r"^(?:function|class|method|variable|constant) ", "", what, flags=re.IGNORECASE)
    how = (found["how"] or "").strip().lower()
    mentions = uses or how in {"mentioned", "used", "called", "referenced"}
    return Intent("search" if mentions else "definition", query=unquote(what))


def _list(text: str) -> Intent | None:
    if fits(
        r"(?:ls|dir|tree)(?: -\w+)*|everything|(?:list|show(?: me)?) (?:it|everything|all)|what(?:'s| is| do (?:we|you) have)(?: in)? here",
        text,
    ):
        return Intent("list")
    head, where, files = split_scope(text)
    found = fits(
        r"(?:(?:list|show|give|print|display|find|what|which|see|get|name)(?: me)? )?"
        rf"(?:(?:all|the|of|my|every|other|any) )*(?:(?P<kind>\S+) )??(?:{_FILES}|contents?)"
        rf"(?: (?:named|called|matching) (?P<name>.+?))?{_AUXILIARY}",
        head,
    )
    if found and not fits(r"list|show|find|what|which", found["kind"] or ""):
        kind = unquote(found["name"] or found["kind"] or files)
        return Intent("list", path=where, files=kind)
    if fits(
        r"what(?:'s| is| do (?:you|we) (?:have|see))?|list|show(?: me)? (?:all|everything)", head
    ):
        if is_file_name(where) and not where.endswith("/"):
            return Intent("read", path=where)
        return Intent("list", path=where, files=files) if head != text else None
    found = fits(r"(?:ls|dir|tree|list)(?: -\w+)* (?P<what>\S+(?: folder| directory)?)", text)
    place = scope(found["what"]) if found and not _marker(found["what"]) else None
    return Intent("list", path=place[0], files=place[1]) if place else None


def _marker(text: str) -> str:
    found = fits(r"(TODO|FIXME|HACK|XXX)'?s?(?: (?:comments?|notes?|markers?))?", text)
    return found[1] if found else ""


def _query(text: str) -> str:
    """The text to search for in "all the TODOs" or "the word `foo`"."""
    plain = without_articles(text)
    plain = re.sub(
        r"^(?:(?:occurrences?|mentions?|uses?|usages?|references?|instances?)\s+(?:of|to)\s+)?"
        r"(?:the\s+)?(?:(?:words?|text|string|phrase|term)\s+)?",
        "",
        plain,
        flags=re.IGNORECASE,
    )
    return unquote(_marker(plain) or plain)


def _search(text: str) -> Intent | None:
    head, where, files = split_scope(text)
    asked = fits(
        r"(?:(?:show|list|give|get|what|are there|is there)(?: me)? )?(?:(?:all|any|the|open) )*"
        rf"(?P<what>(?:TODO|FIXME|HACK|XXX)\S*(?: \w+)?){_AUXILIARY}",
        head,
    )
    if asked and _marker(asked["what"]):
        return Intent("search", query=_marker(asked["what"]), path=where, files=files)
    asking = (
        r"(?:(?:which|what) files? (?:mentions?|contains?|uses?|has|have|includes?)"
        r"|who (?:uses|calls|mentions)|search|grep|find|look for|scan for)"
        r"(?: (?:in|through|inside|the|all|these|my) ?(?:the |all )?(?:files|code|project|directory))?"
        r"(?: for)?(?: (?:all |the |every )?(?:files?|lines?) (?:with|containing|that \w+))?\s+(?P<what>.+)"
    )
    turned = fits(r"(?:search|grep|look|find) (?:in|inside|through) (\S+) for (?P<what>.+)", text)
    found = turned or fits(asking, text)
    if not found:
        return None
    if turned:
        where, files = scope(turned[1]) or ("", "")
        return Intent("search", query=_query(turned["what"]), path=where, files=files)
    inner = fits(asking, head)
    if inner is None or unquote(found["what"]) != found["what"]:
        return Intent("search", query=_query(found["what"]))
    name = unquote(without_articles(inner["what"]))
    if fits(r"find .+", text) and (is_file_name(name) or "*" in name):
        return Intent("list", path=where, files=name)
    return Intent("search", query=_query(inner["what"]), path=where, files=files)


def _read(text: str) -> Intent | None:
    found = fits(
        rf"(?:(?:{_VERB}|what does|what's in|what is in|contents? of)\s+)"
        r"(?:(?:the )?(?:(?:first|top) (?P<number>\d{1,3}) lines|contents?) (?:of|in|from) )?"
        r"(?P<where>.+?)(?: (?:say|contain|look like))?",
        text,
    )
    if found:
        place = scope(found["where"])
        if place and place[0]:
            return Intent("read", path=place[0], number=int(found["number"] or 0))
        return None if place is None else Intent("list", files=place[1])
    only = unquote(text)
    return Intent("read", path=only) if is_file_name(only) else None


def _follow(text: str) -> Intent | None:
    """A prompt that only makes sense after another one: "and in tests?", "what about FIXME"."""
    found = fits(
        r"(?:and|what about|how about|but|only|same|also|or)\s+(?:(?:also|only|just|for)\s+)*(?P<rest>.+)",
        text,
    )
    rest = found["rest"] if found else text
    whole = _parse(rest) if found else None
    if whole is not None and (whole.kind not in _NARROWING or fits(_ASKING, rest)):
        return whole
    head, path, files = split_scope(rest)
    if not head and (path or files):
        return Intent("narrow", query=files, path=path, files=files)
    if not found:
        return None
    path, files = scope(_marker(rest) or rest) or (unquote(rest), "")
    word = path or files or rest
    return Intent("narrow", query=word, files=files or (word if is_known_kind(word) else ""))
