"""What one message may do to the others: nothing, but for the sessions that they go on with."""

import itertools
import tempfile
from pathlib import Path
from unittest import mock

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge.delivery import MessageRef
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.vocabulary import Inbound, Prompt
from takopi.config.projects import ProjectsConfig
from takopi.model import CompletedEvent, ResumeToken, StartedEvent
from takopi.telegram.conversation import Conversation
from takopi.telegram.presenter import TelegramPresenter
from takopi.telegram.sessions import ChatSessions, NoMemory
from takopi.testing import RecordingTransport, Return, ScriptRunner, runtime_of

pytestmark = pytest.mark.anyio
AT = MessageRef(5, 1, thread_id=7, sender_id=9)


class BrokenMemory(NoMemory):
    def scope(self, at):
        raise OSError("the disk is on fire")


async def talk(memory, act, on_session=lambda run, token: None):
    """What is posted when ``act`` is done with a conversation."""
    transport = RecordingTransport()
    runtime = runtime_of(ScriptRunner([Return("hello")], engine="acme", resume_value="s1"))
    async with anyio.create_task_group() as tasks:
        conversation = Conversation(
            ExecBridgeConfig(transport, TelegramPresenter(), final_notify=True, refresh_s=None),
            runtime,
            tasks=tasks,
            memory=memory,
            calls=None,
            on_session=on_session,
        )
        act(conversation)
    return transport.sends


def say(text):
    inbound = Inbound(AT, text)
    return lambda talk: talk.spawn(lambda: talk.act(Prompt(inbound), inbound), AT)


async def test_f19_what_fails_is_said_in_reply_and_stops_nobody():
    def act(talk):
        say("one")(talk)
        say("two")(talk)

    sent = await talk(BrokenMemory(), act)
    assert [call.message.text for call in sent] == ["error:\nthe disk is on fire"] * 2
    assert {call.options.reply_to for call in sent} == {AT}
    assert {call.options.thread_id for call in sent} == {7}


async def test_f19_a_run_goes_on_when_its_session_cannot_be_noted():
    def broken(run, token):
        raise RuntimeError("no")

    sent = await talk(NoMemory(), say("hi"), broken)
    assert "hello" in sent[-1].message.text


async def test_a_session_is_noted_with_the_message_that_shows_its_run():
    noted = []
    await talk(NoMemory(), say("hi"), lambda run, token: noted.append((run.shown, token.value)))
    assert [token for _, token in noted] == ["s1"]
    assert noted[0][0].channel_id == 5


async def test_f19_an_apology_that_cannot_be_sent_stops_nobody(caplog):
    def broken(number):
        raise RuntimeError("no chat today")

    def act(talk):
        talk._cfg.transport.send_faults = broken
        say("one")(talk)

    await talk(BrokenMemory(), act)
    assert "bot.handler_failed" in caplog.text
    assert "bot.apology_failed" in caplog.text


async def test_f19_a_handler_that_cancels_itself_stops_nobody():
    async def odd():
        raise anyio.get_cancelled_exc_class()

    def act(talk):
        talk.spawn(odd, AT)
        say("two")(talk)

    sent = await talk(NoMemory(), act)
    assert sent[0].message.text.startswith("error:")
    assert "hello" in sent[-1].message.text


# -- chat mode, whatever happens when -----------------------------------------------------------


class Held:
    """One run of an engine that does nothing by itself."""

    def __init__(self, prompt, resume):
        self.prompt, self.token = prompt, resume
        self.tell, self.end = anyio.Event(), anyio.Event()
        self.dies = False


class HeldEngine(ScriptRunner):
    def __init__(self):
        super().__init__((), engine="acme")
        self.runs, self.active = [], []
        self._numbers = itertools.count(1)

    async def run(self, prompt, resume):
        run = Held(prompt, resume)
        self.runs.append(run)
        self.active.append(run)
        try:
            await run.tell.wait()
            if run.dies:
                raise RuntimeError("fell over")
            run.token = resume or ResumeToken("acme", f"s{next(self._numbers)}")
            yield StartedEvent("acme", run.token)
            await run.end.wait()
            yield CompletedEvent("acme", True, "done", run.token)
        finally:
            self.active.remove(run)


async def nowhere(context):
    return None


class Chat:
    """Somebody in a private chat in chat mode, who has begun ``epoch`` times anew."""

    def __init__(self, tasks, folder):
        self.engine, self.transport = HeldEngine(), RecordingTransport(first_message_id=1000)
        runtime = runtime_of(self.engine)
        runtime.resolve_run_cwd_async = nowhere  # in this thread, so that all comes to rest
        self.memory = ChatSessions(folder / "takopi.toml", folder, ProjectsConfig)
        self.talk = Conversation(
            ExecBridgeConfig(self.transport, TelegramPresenter(), True, refresh_s=None),
            runtime,
            tasks=tasks,
            memory=self.memory,
            calls=None,
            on_session=lambda run, token: None,
        )
        self.epoch = 0
        self.asked, self.taken_back = [], set()
        self.replies = {}
        self._ids = itertools.count(1)

    def write(self, text, reply_to=None):
        inbound = Inbound(MessageRef(5, next(self._ids), sender_id=5), text, reply_to)
        intent = self.talk.intent(inbound)
        self.talk.spawn(lambda: self.talk.act(intent, inbound), inbound.at)
        return inbound.at

    def do(self, what, which):
        runs = self.engine.active
        run = runs[which % len(runs)] if runs else None
        if what == "say":
            text = f"{len(self.asked)} {self.epoch}"
            self.asked.append((self.write(text), text))
        elif what == "reply":
            shown = [each for each in self.talk.runs if each.shown is not None]
            if shown:
                chosen = shown[which % len(shown)]
                text = f"{len(self.asked)} {self.epoch} reply"
                self.replies[text] = dict(self.asked)[chosen.asked]
                self.asked.append((self.write(text, chosen.shown), text))
        elif what == "new":
            self.epoch += 1
            self.write("/new")
        elif what == "cancel":
            shown = [each for each in self.talk.runs if each.shown is not None]
            if shown:
                chosen = shown[which % len(shown)]
                self.taken_back.add(chosen.asked)
                self.write("/cancel", chosen.shown)
        elif run is not None:
            run.dies = run.dies or (what == "die" and not run.tell.is_set())
            run.tell.set()
            if what == "end":
                run.end.set()

    async def settle(self):
        for _ in range(30):
            await checkpoint()

    def check(self):
        known = [run.token for run in self.engine.active if run.token is not None]
        assert len(known) == len(set(known)), "two runs of a session at once"
        nameless = [epoch_of(run) for run in self.engine.active if run.token is None]
        assert len(nameless) == len(set(nameless)), "two runs open a session (F-30)"
        for run in self.engine.active:
            assert run.token is not None or run.prompt not in self.replies, (
                "a reply opens a session"
            )
        for epoch in range(self.epoch + 1) if not self.replies else ():
            own = [run for run in self.engine.runs if epoch_of(run) == epoch]
            assert len({run.token for run in own if run.token is not None}) <= 1
            assert [number_of(run) for run in own] == sorted(number_of(run) for run in own)

    def check_end(self, folder):
        prompts = [run.prompt for run in self.engine.runs]
        assert len(prompts) == len(set(prompts)), "a prompt ran twice"
        never = {text for _, text in self.asked} - set(prompts)
        never -= {text for at, text in self.asked if at in self.taken_back}
        assert self.talk.runs == ()
        sessions = {run.prompt: run.token for run in self.engine.runs}
        for text, target in self.replies.items():
            if text in sessions:
                assert target not in sessions or sessions[text] == sessions[target]
            elif sessions.get(target) is None:
                never.discard(text)  # it was said why
        assert not never, "one was lost"
        shown = self.transport.messages.values()
        assert not any(message.extra.get("progress") for message in shown), "a button is left"
        if self.replies:
            return
        told = {run.token for run in self.engine.runs if epoch_of(run) == self.epoch} - {None}
        stored = ChatSessions(folder / "takopi.toml", folder, ProjectsConfig).scope(
            MessageRef(5, 0)
        )
        assert {session.token for session in stored.sessions.values()} == told


def number_of(run):
    return int(run.prompt.split()[0])


def epoch_of(run):
    return int(run.prompt.split()[1])


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "say", "tell", "end", "die", "cancel", "new"]),
        st.integers(0, 3),
        st.booleans(),  # whether everything comes to rest before the next one
    ),
    max_size=16,
)


@settings(max_examples=50, deadline=None)
@given(ACTS, st.sets(st.integers(0, 15), max_size=4))
def test_a_reply_runs_in_the_session_of_its_run_or_is_told_why_not(acts, replies):
    acts = [("reply", *rest) if n in replies else (do, *rest) for n, (do, *rest) in enumerate(acts)]
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(_play, acts, Path(folder))


@settings(max_examples=50, deadline=None)
@given(ACTS)
def test_f30_between_two_beginnings_there_is_one_session_and_every_prompt_runs_in_order(acts):
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(_play, acts, Path(folder))


async def _play(acts, folder):
    with mock.patch("takopi.telegram.conversation._APPEAR_S", 0), anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            chat = Chat(tasks, folder)
            for what, which, rests in acts:
                if what == "reply":  # while its run ends it may be to either
                    await chat.settle()
                chat.do(what, which)
                if rests:
                    await chat.settle()
                chat.check()
            quiet = 0
            while quiet < 3:
                await chat.settle()
                chat.check()
                quiet = 0 if chat.engine.active else quiet + 1
                chat.do("end", 0)
            chat.check_end(folder)
