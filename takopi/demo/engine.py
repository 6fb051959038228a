"""One question, answered: the steps it takes, the events they print, the Markdown at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from takopi.demo import answers
from takopi.demo.files import FileProblem, FileText, Listing, Match, MissingFile, Scan, Workspace
from takopi.demo.intents import LOOKS, Intent, parse_intent, resolve
from takopi.demo.markdown import clip, code, count
from takopi.demo.phrases import MAX_PROMPT, is_file_name
from takopi.demo.sessions import Result, Session, SessionStore
from takopi.demo.stream import Stream

T = TypeVar("T")

_MAX_RESULTS = 50
_AROUND = 8  # lines before and after a line that was found


class Crash(Exception):
    """The prompt asked for a crash: no closing line."""


class _Failure(Exception):
    """The prompt asked for a failed run."""


class Reply(NamedTuple):
    """An answer, and what it listed."""

    text: str
    results: tuple[Result, ...] = ()


class Engine:
    """Answers questions of one session about one directory."""

    def __init__(
        self,
        store: SessionStore,
        session: Session,
        workspace: Workspace,
        stream: Stream,
        *,
        delay_s: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._session = session
        self._workspace = workspace
        self._stream = stream
        self._delay_s = delay_s
        self._sleep = sleep
        self._clock = clock
        self._steps = 0

    def ask(self, prompt: str) -> bool:
        """Answer ``prompt``; False if the run failed. The session is saved before and after."""
        began = self._clock()
        self._steps = self._workspace.files_seen = 0
        session = self._session
        resumed, moved = bool(session.turns), session.cwd != self._workspace.root
        session.begin(prompt)
        unsaved = self._save()
        self._emit("session", id=session.id, cwd=self._workspace.root, resumed=resumed)
        if unsaved:
            self._emit("warning", text=f"This session cannot be continued later: {unsaved}")
        if moved:
            self._emit(
                "warning", text=f"This session began in {code(session.cwd)}, another directory."
            )
            session.cwd, session.last, session.results = self._workspace.root, None, []
        if len(prompt) > MAX_PROMPT:
            self._emit(
                "warning", text=f"Only the first {MAX_PROMPT:,} characters of the prompt count."
            )
        try:
            answer = self._answer(prompt)
        except _Failure as failure:
            session.finish(f"failed: {failure}")
            self._save()
            self._emit("failed", error=str(failure), stats=self._stats(began))
            return False
        session.finish(answer)
        self._save()
        self._emit("answer", text=answer)
        self._emit("done", stats=self._stats(began))
        return True

    def _stats(self, began: float) -> dict[str, int]:
        elapsed = int((self._clock() - began) * 1000)
        return {"files": self._workspace.files_seen, "steps": self._steps, "ms": elapsed}

    def _save(self) -> str:
        """Save the session; what went wrong, or nothing."""
        try:
            self._store.save(self._session)
        except OSError as error:
            return f"{(error.strerror or 'unknown reason').lower()} ({self._store.folder})"
        return ""

    def _emit(self, name: str, **fields: Any) -> None:
        self._stream.emit({"event": name, **fields})

    def _think(self, text: str) -> None:
        self._emit("thought", text=text)
        if self._delay_s:
            self._sleep(self._delay_s)

    def _step(
        self, name: str, work: Callable[[str], T], summary: Callable[[T], str], **given: Any
    ) -> T:
        """Run ``work`` between a begin and an end line; a `FileProblem` is a failed step."""
        self._steps += 1
        step = f"s{self._steps}"
        self._emit("step.begin", step=step, tool={"name": name, "input": given})
        if self._delay_s:
            self._sleep(self._delay_s)
        try:
            result = work(step)
        except FileProblem as problem:
            self._emit("step.end", step=step, ok=False, error=str(problem))
            raise
        self._emit("step.end", step=step, ok=True, summary=summary(result))
        return result

    # Steps -----------------------------------------------------------------------------------

    def _list_files(self, path: str, kind: str = "") -> Listing:
        given = {"path": path or ".", **({"files": kind} if kind else {})}
        return self._step(
            "list_files",
            lambda step: self._workspace.walk(path or ".", kind),
            lambda found: count(len(found.files), "file"),
            **given,
        )

    def _count_lines(self, listing: Listing, path: str) -> Scan:
        return self._step(
            "count_lines",
            lambda step: self._workspace.scan(listing.files),
            lambda scan: count(sum(scan.lines.values()), "line"),
            path=path or ".",
        )

    def _search_text(self, intent: Intent, wanted: Callable[[str], bool]) -> tuple[Listing, Scan]:
        def work(step: str) -> tuple[Listing, Scan]:
            listing = self._workspace.walk(intent.path or ".", intent.files)
            return listing, self._workspace.scan(listing.files, wanted)

        return self._step(
            "search_text",
            work,
            lambda found: count(found[1].total, "match"),
            query=clip(intent.query, 200),
            path=intent.path or ".",
            **({"files": intent.files} if intent.files else {}),
        )

    def _read_file(self, path: str) -> FileText:
        text = self._step(
            "read_file",
            lambda step: self._workspace.read(path),
            lambda text: count(len(text.lines()), "line"),
            path=path,
        )
        if text.damaged:
            self._emit(
                "warning", text=f"{code(path)} is not valid UTF-8; some characters are lost."
            )
        return text

    # Answers ---------------------------------------------------------------------------------

    def _answer(self, prompt: str) -> str:
        session = self._session
        asked = parse_intent(prompt)
        intent = resolve(asked, session.last, self._workspace.exists)
        if intent is None:
            intent = Intent("lost")
        if intent.kind == "read" and self._is_folder(intent.path):
            intent = Intent("list", path=intent.path)
        if intent.kind == "pick":
            return self._pick(int(intent.number))
        if intent.kind in LOOKS:
            try:
                reply = self._look(intent)
            except FileProblem as problem:
                reply = Reply(answers.problem(str(problem)))
            session.last = intent
            session.results = list(reply.results[:_MAX_RESULTS])
            return reply.text
        return self._talk(intent)

    def _is_folder(self, path: str) -> bool:
        return self._workspace.exists(path) and self._workspace.is_folder(path)

    def _talk(self, intent: Intent) -> str:
        if intent.kind == "fail":
            raise _Failure("this run failed on purpose, because the prompt asked for it")
        if intent.kind == "sleep":
            self._wait(intent.number)
            return f"Waited {intent.number:g} seconds."
        if intent.kind == "history":
            return answers.history([turn.prompt for turn in self._session.turns[:-1]])
        if intent.kind == "help":
            return answers.HELP
        if intent.kind == "crash":
            self._think("About to crash, because the prompt asked for it.")
            self._step("wait", self._crash, str, seconds=0)
        if intent.kind == "lost":
            return answers.LOST
        self._think("I do not understand the question; here is what I can tell.")
        listing = self._list_files("")
        self._session.results = [Result(file.path) for file in listing.files[:_MAX_RESULTS]]
        return answers.unknown(listing)

    @staticmethod
    def _crash(step: str) -> None:
        raise Crash

    def _wait(self, seconds: float) -> None:
        def work(step: str) -> None:
            left = seconds
            while left > 0:
                self._sleep(min(left, 1.0))
                left -= 1.0
                if left > 0:
                    self._emit(
                        "step.update", step=step, summary=f"{seconds - left:g} of {seconds:g} s"
                    )

        given = int(seconds) if seconds == int(seconds) else seconds
        self._step("wait", work, lambda _: f"{seconds:g} s", seconds=given)

    def _pick(self, number: int) -> str:
        results = self._session.results
        if not results:
            return answers.NOTHING_TO_PICK
        if number == 0 or number > len(results):
            return f"The last answer listed only {count(len(results), 'thing')}."
        result = results[number - 1 if number > 0 else number]
        try:
            text = self._read_file(result.path)
        except FileProblem as problem:
            return answers.problem(str(problem))
        first = max(result.line - _AROUND, 1)
        return answers.file(
            result.path, text, first=first, most=2 * _AROUND + 1 if result.line else 0
        )

    def _look(self, intent: Intent) -> Reply:
        """Answer an intent of `LOOKS`; raises `FileProblem` if a needed path cannot be used."""
        if intent.kind == "search":
            return self._search(intent)
        if intent.kind == "definition":
            return self._definition(intent)
        if intent.kind == "read":
            return self._read(intent)
        if intent.kind == "summary":
            return self._summary()
        listing = self._list_files(intent.path, intent.files)
        results = tuple(Result(file.path) for file in listing.files)
        if intent.kind == "list":
            return Reply(answers.listing(intent, listing), results)
        if intent.kind == "count_files":
            return Reply(answers.file_count(intent, listing), results)
        if intent.kind == "biggest":
            biggest = sorted(listing.files, key=lambda file: (-file.size, file.path))
            biggest = biggest[: int(intent.number) or 5]
            text = answers.biggest(intent, listing, biggest)
            return Reply(text, tuple(Result(file.path) for file in biggest))
        scan = self._count_lines(listing, intent.path)
        most = sorted(scan.lines, key=lambda path: (-scan.lines[path], path))
        return Reply(
            answers.line_count(intent, listing, scan), tuple(Result(path) for path in most)
        )

    def _search(self, intent: Intent) -> Reply:
        self._think(f"Looking for {code(intent.query)}{answers.where(intent)}.")
        needle = intent.query
        if needle != needle.lower():
            listing, scan = self._search_text(intent, lambda text: needle in text)
        else:
            listing, scan = self._search_text(intent, lambda text: needle in text.lower())
        return Reply(answers.matches(intent, listing, scan), _results(scan.matches))

    def _definition(self, intent: Intent) -> Reply:
        self._think(f"Looking for where {code(intent.query)} is defined.")
        defines = _definition_of(intent.query[:100])
        _, scan = self._search_text(intent, lambda text: defines.search(text) is not None)
        if scan.matches:
            best = scan.matches[0]
            text = self._read_file(best.path)
            body = answers.file(best.path, text, first=best.line, most=_AROUND)
            return Reply(answers.definitions(intent, scan, body), _results(scan.matches))
        self._think("No definition; looking for any mention.")
        return self._search(intent._replace(kind="search"))

    def _read(self, intent: Intent) -> Reply:
        try:
            text = self._read_file(intent.path)
        except MissingFile as problem:
            return self._read_similar(intent, str(problem))
        path = self._workspace.locate(intent.path)
        return Reply(answers.file(path, text, most=int(intent.number)), (Result(path),))

    def _read_similar(self, intent: Intent, problem: str) -> Reply:
        """A name that does not exist: read the one file it can mean, or name the candidates."""
        listing = self._list_files("")
        exact, close = answers.similar_files(intent.path, listing)
        if len(exact) == 1:
            self._think(f"{code(exact[0])} must be meant.")
            text = self._read_file(exact[0])
            return Reply(answers.file(exact[0], text, most=int(intent.number)), (Result(exact[0]),))
        names = exact or close
        text_search = "" if is_file_name(intent.path) else intent.path
        return Reply(
            answers.missing(problem, names, text_search), tuple(Result(name) for name in names)
        )

    def _summary(self) -> Reply:
        self._think("Reading what there is to get an overview.")
        listing = self._list_files("")
        readme = answers.readme_of(listing)
        about = ""
        if readme:
            try:
                about = self._read_file(readme).text
            except FileProblem:
                readme = ""  # the failed step says why
        scan = self._count_lines(listing, "")
        text = answers.summary(self._workspace.root, listing, scan, readme, about)
        return Reply(text, tuple(Result(file.path) for file in listing.files))


def _results(matches: list[Match]) -> tuple[Result, ...]:
    return tuple(Result(match.path, match.line) for match in matches)


def _definition_of(name: str) -> re.Pattern[str]:
    """Finds a line that defines ``name`` in most languages; linear in the text's length."""
    word = re.escape(name)
    words = (
        "def|class|function|func|fun|fn|sub|struct|enum|union|interface|trait|type|record|module|"
        "namespace|macro|const|let|var|val|#define"
    )
    return re.compile(
        rf"(?:^|[^\w.])(?:{words})[ \t]+(?:\([^()\n]{{0,60}}\)[ \t]*)?{word}(?!\w)"
        rf"|^[ \t]{{0,40}}{word}[ \t]*(?::[^=\n]{{0,60}})?=(?!=)",
        re.MULTILINE,
    )
