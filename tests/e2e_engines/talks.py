"""A conversation about one engine as its person in the chat sees it, and what must come of it.

Each check says something more in the same chat; they are played in the order of `TALK_CHECKS`. Later
ones reply to what earlier ones got.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from takopi.adapters.resume import ResumeFormat
from tests.e2e_engines.bot import BRANCH, NOTE, NOTES, PROJECT, Bot
from tests.e2e_engines.checks import (
    SILENT_ABOUT_RUNNING_COMMANDS,
    SILENT_ABOUT_RUNNING_SESSIONS,
    WAIT,
    AbandonedError,
    Findings,
)
from tests.e2e_engines.fake_llm import FakeLlm, Turn
from tests.fake_telegram import Room, Shown

T = TypeVar("T")

_CANCEL_S = 10.0  # from the press of the button to the end of the last process
_READ_NOTE = f"cat {NOTE}"
_ALIVE = ("starting", "working", "queued")
_HEADER = re.compile(r"(?P<label>\w+) · (?P<engine>\w+) · [\dhms ]+?(?: · step \d+)?")
_UNMAPPED = re.compile(r"no rule matches a line of the stream: (.*?) +\[takopi")  # in the log
_QUESTION, _ANSWER = "What is the answer?", "The answer is **forty-two**: 42 ✓"
_SHOWN_ANSWER = _ANSWER.replace("*", "")


@dataclass
class Talk:
    """One person's chat with the bot. ``other`` is the talk whose engine is asked in between."""

    engine: str
    room: Room
    llm: FakeLlm
    bot: Bot
    resume: ResumeFormat
    is_default: bool
    limit_s: float
    other: Talk | None = None
    first: Shown | None = None  # the first answer: replied to again and again
    ends: list[int] = field(default_factory=list)  # the last message of each run that was judged

    # What the person does

    def ask(self, text: str, turns: Sequence[Turn]) -> Shown:
        """Start something new; an engine that is not the default is named."""
        self.llm.play(turns)
        return self.room.send(text if self.is_default else f"/{self.engine} {text}")

    def reply(self, to: Shown | None, text: str, turns: Sequence[Turn]) -> Shown:
        """Go on with an earlier message's session."""
        if to is None:  # it never came, and that was said
            raise AbandonedError
        self.llm.play(turns)
        return self.room.send(text, reply_to=to)

    def until(self, look: Callable[[], T | None], limit_s: float | None = None) -> T | None:
        """What ``look`` finds as soon as it does; None when it never does, or takopi ended."""
        try:
            self.room.driver.wait_for(lambda: look() or not self.bot.runs, limit_s or self.limit_s)
        except AssertionError:
            return None
        return look()

    def working(self) -> Shown | None:
        """The progress message of a command that waits, once it shows the command."""
        find = self.room.find
        if self.engine not in SILENT_ABOUT_RUNNING_COMMANDS:
            return self.until(lambda: find(WAIT, startswith="working"))
        self.bot.wait_for_commands(1, self.limit_s)
        return self.until(lambda: find(startswith="working") or find(startswith="starting"))

    def working_or_abandon(self, found: Findings) -> Shown:
        """The same; a check that has nothing without it ends here."""
        shown = self.working()
        if shown is None:
            found.problems.append(f"no progress message shows the step\n{self.room.transcript()}")
            raise AbandonedError
        return shown

    def token(self, shown: Shown | None) -> str | None:
        """The session that a message's resume line names."""
        return self.resume.extract(shown.text) if shown is not None else None

    # What the person sees

    def answer(self, asked: Shown, text: str, found: Findings, *, by: Talk | None = None) -> Shown:
        """Wait for the answer to a message and judge it. Raises `AbandonedError` if none comes."""
        shown = self._end(asked, "done", found, by or self)
        body = self._body(shown)
        found.expect(body == text, f"the answer is {body!r}, not {text!r}")
        found.expect(not shown.view.silent, "the answer comes without sound")
        found.expect((by or self).token(shown), f"no resume line in {shown.text!r}")
        self._judge_progress(asked, shown, found)
        return shown

    def error(self, asked: Shown, reason: str, found: Findings) -> None:
        """Wait for the error that comes of a message and judge it."""
        shown = self._end(asked, "error", found, self)
        found.expect(reason in shown.text, f"the error does not say why: {shown.text!r}")
        self._judge_progress(asked, shown, found)

    def expect_stopped(self, shown: Shown, label: str, found: Findings) -> None:
        """A progress message has become the end of a run that was stopped."""
        self.ends.append(shown.id)
        found.expect(shown.text.startswith(label), f"`{label}` is expected: {shown.text!r}")
        found.expect(shown.buttons == [], "the button stays")

    def _end(self, asked: Shown, label: str, found: Findings, by: Talk) -> Shown:
        shown = self.until(lambda: self._last_of(asked))
        if shown is None:
            found.problems.append(f"nothing came of {asked.text!r}\n{self.room.transcript()}")
            raise AbandonedError
        self.ends.append(shown.id)
        head = _HEADER.fullmatch(shown.text.split("\n")[0])
        heads = (head["label"], head["engine"]) if head else None
        expected = (label, by.engine)
        found.expect(heads == expected, f"`{label} · {by.engine}` is expected: {shown.text!r}")
        found.expect(f"ctx: {PROJECT}" in shown.text, f"no context line in {shown.text!r}")
        found.expect(shown.buttons == [], "buttons stay when the run is over")
        return shown

    def _last_of(self, asked: Shown) -> Shown | None:
        """The message that ends the run of a prompt."""
        for shown in self.room.messages:
            label = shown.text.partition(" · ")[0]
            if shown.view.by == "bot" and shown.view.reply_to == asked.id and label not in _ALIVE:
                return shown
        return None

    @staticmethod
    def _body(shown: Shown) -> str:
        return "\n\n".join(shown.text.split("\n\n")[1:-1])

    def _judge_progress(self, asked: Shown, end: Shown, found: Findings) -> None:
        """Before the end there was one progress message, silent and with a button; it is gone."""
        sent = list(self.room.chat.messages.values())
        before = [
            Shown(self.room, m)
            for m in sent
            if m.by_bot and m.reply_to == asked.id and m.id != end.id
        ]
        found.expect(len(before) == 1, f"{len(before)} messages before the answer, not 1")
        for shown in before:
            self.until(partial(getattr, shown, "deleted"), 10.0)
            found.expect(shown.deleted, f"the progress message stays: {shown.text!r}")
            first = shown.history[0]
            begun = first.text.partition(" · ")[0]
            found.expect(begun in _ALIVE, f"the first message is {first.text!r}")
            found.expect(first.markup, "the progress message has no button")
            found.expect(shown.view.silent, "the progress message comes with sound")

    # What must be true whenever nothing runs

    def settle(self, found: Findings) -> None:
        """Nothing is lost, doubled, left running or left unanswered, and no rule was violated."""
        driver = self.room.driver
        self.until(lambda: driver.is_idle(0.3), 10.0)
        found.expect(self.bot.runs, "takopi does not run any more")
        found.problems += self.bot.left()
        self._judge_log(found)
        shown = [each for each in self.room.messages if each.view.by == "bot"]
        ends = [each.id for each in shown if _HEADER.match(each.text)]
        expected = sorted(self.ends)
        wrong = f"the ends of runs are {ends}, not {expected}\n{self.room.transcript()}"
        found.expect(ends == expected, wrong)
        self.ends = ends  # what is wrong here is said once
        violations = driver.violations
        found.problems += [*violations, *driver.leftovers()]
        too_fast = driver.api.limiter.log
        found.problems += [f"too fast for Telegram: {excess}" for excess in too_fast]
        too_fast.clear()
        driver.api.violations.clear()

    def _judge_log(self, found: Findings) -> None:
        text = self.bot.new_log()
        found.expect("Traceback" not in text, f"takopi crashed: {text[-2000:].strip()}")
        found.expect(self.room.driver.token not in text, "the bot's token is in takopi's log")
        for shape in _UNMAPPED.findall(text):
            found.unmapped[shape] = found.unmapped.get(shape, 0) + 1


def check_answer(talk: Talk, found: Findings) -> None:
    """A prompt, an answer: progress without sound, then one message with sound and a resume line."""
    asked = talk.ask(_QUESTION, [Turn(text=_ANSWER)])
    talk.first = shown = talk.answer(asked, _SHOWN_ANSWER, found)
    found.expect("bold" in [each["type"] for each in shown.entities], "the answer is not formatted")
    found.expect(talk.llm.seen(_QUESTION), "the model was not asked")
    found.expect(not talk.llm.seen(asked.text) or talk.is_default, "the model saw the directive")


def check_steps(talk: Talk, found: Findings) -> None:
    """A shell command in the project: progress shows it while it runs and when it has."""
    turns = [
        Turn(text="I will look.", command=f"{WAIT}; {_READ_NOTE}"),
        Turn(text="I have seen it.", delay_s=2.5),  # time to show that the step is done
    ]
    asked = talk.ask("Look at the note, please.", turns)
    shown = talk.working_or_abandon(found)
    talk.bot.let_go_on()
    end = talk.answer(asked, "I have seen it.", found)
    found.expect("· step " in end.text, f"the answer counts no step: {end.text!r}")
    found.expect(talk.llm.seen(NOTES["main"]), "the model did not see the project's note")
    revisions = [edit.text for edit in shown.history]
    done = any("✓" in text and WAIT in text for text in revisions)
    found.expect(done, f"no revision shows the step as done: {revisions}")


def check_resume(talk: Talk, found: Findings) -> None:
    """A reply to the answer goes on with its session."""
    _go_on(talk, talk.first, "Once more?", "Still forty-two.", [_QUESTION, _ANSWER], found)


def check_queue(talk: Talk, found: Findings) -> None:
    """A reply to a progress message waits for the run's end, and then goes on with its session."""
    command = f"{WAIT}; {_READ_NOTE}"
    turns = [Turn(command=command), Turn(text="I looked."), Turn(text="I looked again.")]
    first = talk.ask("Look, and take your time.", turns)
    shown = talk.working_or_abandon(found)
    second = talk.room.send("And then?", reply_to=shown)
    if talk.engine not in SILENT_ABOUT_RUNNING_SESSIONS:
        queued = talk.until(lambda: talk.room.find(startswith="queued", after=second.id))
        found.expect(queued, f"nothing is queued\n{talk.room.transcript()}")
    talk.bot.let_go_on()
    before = talk.answer(first, "I looked.", found)
    after = talk.answer(second, "I looked again.", found)
    told = ("Look, and take your time.", "I looked.", "And then?")
    _expect_session(talk, before, after, told, found)


def check_branch(talk: Talk, found: Findings) -> None:
    """A branch gets a worktree of its own; a reply to its answer goes on there."""
    turns = [Turn(command=_READ_NOTE), Turn(text="Another note.")]
    asked = talk.ask(f"@{BRANCH} Look at the note there.", turns)
    first = talk.answer(asked, "Another note.", found)
    found.expect(f"ctx: {PROJECT} @{BRANCH}" in first.text, f"no branch in {first.text!r}")
    found.expect(talk.llm.seen(NOTES[BRANCH]), "the model did not see the branch's note")
    turns = [Turn(command=_READ_NOTE), Turn(text="The same.")]
    asked = talk.reply(first, "Look again.", turns)
    second = talk.answer(asked, "The same.", found)
    _expect_session(talk, first, second, ("Look at the note there.", NOTES[BRANCH]), found)
    found.expect(not talk.llm.seen(NOTES["main"]), "the reply ran in the project's own folder")


def check_switch(talk: Talk, found: Findings) -> None:
    """A directive gives one prompt to another engine; a reply to an old answer goes to its own."""
    other = talk.other
    if other is None:
        return
    other.llm.play([Turn(text="I am another.")])
    asked = talk.room.send(f"/{other.engine} Who are you?")
    talk.answer(asked, "I am another.", found, by=other)
    found.expect(other.llm.seen("Who are you?"), "the other engine's model was not asked")
    _go_on(talk, talk.first, "And you?", "I am the first.", [_QUESTION], found)


def check_cancel(talk: Talk, found: Findings) -> None:
    """The button ends a run and all its processes; a reply to what it left goes on with it."""
    turns = [Turn(text="I will wait.", command=WAIT), Turn(text="I never say this.")]
    talk.ask("Wait for a minute.", turns)
    shown = talk.working_or_abandon(found)
    press = talk.room.press(shown)
    talk.until(lambda: shown.text.startswith("cancelled · "), _CANCEL_S)
    talk.expect_stopped(shown, "cancelled", found)
    said = (press.answer or {}).get("text")
    found.expect(said == "cancelling...", f"the button says {said!r}")
    found.problems += talk.bot.left()
    if talk.engine not in SILENT_ABOUT_RUNNING_SESSIONS:
        _go_on(talk, shown, "Do not wait.", "I do not.", ["Wait for a minute."], found)


def check_error(talk: Talk, found: Findings) -> None:
    """The model's server refuses: the chat is told, in its words."""
    reason = "the server has no wish to answer"
    asked = talk.ask("Say something.", [Turn(error=400, text=reason, repeat=True)])
    talk.error(asked, reason, found)


def check_together(talks: Sequence[Talk], found: Mapping[str, Findings]) -> None:
    """Several engines work at the same time, each in its own chat."""
    begun = _begin(talks, "Look together.", f"{WAIT}; {_READ_NOTE}", "I am {}.", found)
    talks[0].bot.let_go_on()
    for talk, (asked, _) in zip(talks, begun, strict=True):
        mine = found[talk.engine]
        with suppress(AbandonedError):
            talk.answer(asked, f"I am {talk.engine}.", mine)
            mine.expect(talk.llm.seen(NOTES["main"]), "the model did not see the project's note")


def check_restart(talks: Sequence[Talk], found: Mapping[str, Findings]) -> None:
    """SIGTERM ends runs with a word; after a new start, replies to it and to old answers go on."""
    bot = talks[0].bot
    begun = _begin(talks, "Wait for the end.", WAIT, "I never say this.", found)
    wrong = [*bot.stop(), *bot.start()]
    for talk, (_, shown) in zip(talks, begun, strict=True):
        mine = found[talk.engine]
        mine.problems += wrong
        with suppress(AbandonedError):
            if shown is not None:
                talk.expect_stopped(shown, "interrupted", mine)
                if talk.engine not in SILENT_ABOUT_RUNNING_SESSIONS:
                    _go_on(talk, shown, "Did you wait?", "I did.", ["Wait for the end."], mine)
            _go_on(talk, talk.first, "Do you remember?", "I do.", [_QUESTION, _ANSWER], mine)


TalkCheck = Callable[[Talk, Findings], None]
GroupCheck = Callable[[Sequence[Talk], Mapping[str, Findings]], None]
TALK_CHECKS: dict[str, TalkCheck] = {
    "answer": check_answer,
    "steps": check_steps,
    "resume": check_resume,
    "queue": check_queue,
    "branch": check_branch,
    "switch": check_switch,
    "cancel": check_cancel,
    "error": check_error,
}
GROUP_CHECKS: dict[str, GroupCheck] = {"together": check_together, "restart": check_restart}


def _begin(
    talks: Sequence[Talk], prompt: str, command: str, text: str, found: Mapping[str, Findings]
) -> list[tuple[Shown, Shown | None]]:
    """Start a run with a command that waits in every chat: its prompt and its progress message.

    ``text`` is the answer, `{}` in it the engine.
    """
    asked = [
        talk.ask(prompt, [Turn(command=command), Turn(text=text.format(talk.engine))])
        for talk in talks
    ]
    shown = [talk.working() for talk in talks]
    for talk, progress in zip(talks, shown, strict=True):
        unseen = f"no progress message shows the step\n{talk.room.transcript()}"
        found[talk.engine].expect(progress, unseen)
    at_once = len(talks[0].bot.wait_for_commands(len(talks)))
    for talk in talks:
        wrong = f"{at_once} commands ran at once, not {len(talks)}"
        found[talk.engine].expect(at_once == len(talks), wrong)
    return list(zip(asked, shown, strict=True))


def _go_on(
    talk: Talk,
    old: Shown | None,
    prompt: str,
    text: str,
    told: Sequence[str],
    found: Findings,
) -> None:
    """Reply to a message: the answer comes, with the same session, and the model knows the rest."""
    # Twice: some first have the model end what they were stopped in.
    asked = talk.reply(old, prompt, [Turn(text=text)] * 2)
    shown = talk.answer(asked, text, found)
    _expect_session(talk, old, shown, [*told, prompt], found)


def _expect_session(
    talk: Talk, before: Shown | None, after: Shown, told: Sequence[str], found: Findings
) -> None:
    """A run went on with the session of an earlier message: same resume line, and the model knows."""
    old, new = talk.token(before), talk.token(after)
    found.expect(old == new, f"the session changed: {old} became {new}")
    found.expect(talk.llm.seen(*told), f"the model was not told all of {list(told)}")
