"""What is done about a message: tables of effects, and where each choice came from."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge.delivery import MessageRef
from takopi.bridge.plan import plan
from takopi.bridge.router import AutoRouter, RunnerEntry
from takopi.bridge.runtime import RuntimeSpec
from takopi.bridge.vocabulary import (
    ActiveRun,
    Cancel,
    CancelRun,
    Command,
    EndChat,
    FollowRun,
    ForgetSessions,
    Help,
    Ignore,
    Inbound,
    NewSession,
    Prompt,
    QueueRun,
    Quit,
    Reply,
    RunCommand,
    RunRequest,
    Scope,
    Session,
    Snapshot,
    StartRun,
    Unusable,
    Why,
    Words,
)
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.engines.jsonl import AdapterRunner
from takopi.model import ResumeToken, RunContext
from tests.support.adapters import adapter_from


def entry(engine, line, status="ok"):
    runner = AdapterRunner(
        adapter_from(f"id: {engine}\ncommand: {engine}\nresume: {{line: '{line}'}}")
    )
    return RunnerEntry(engine, runner, status)


def project(alias, **more):
    return ProjectConfig(alias, Path("/srv") / alias, Path(".worktrees"), **more)


ROUTER = AutoRouter(
    [
        entry("claude", "claude --resume ${token}"),
        entry("codex", "codex resume ${token}"),
        entry("pi", "pi ${token}", "missing_cli"),
    ],
    "claude",
)
PROJECTS = {"z80": project("Z80", default_engine="codex"), "other": project("other")}
SPEC = RuntimeSpec(ROUTER, ProjectsConfig(PROJECTS))
AT = MessageRef("chat", 9, sender_id="me")
SHOWN = MessageRef("chat", "out-1")
Z80 = RunContext("z80")


def said(text, **more):
    return Inbound(AT, text, **more)


def effects(text, *, inbound=None, **more):
    return plan(Prompt(inbound or said(text)), Snapshot(spec=SPEC, **more))


def request(text, prompt, engine, context, why):
    return RunRequest(said(text), prompt, engine, context, Why(*why))


def token(engine, value="s1"):
    return ResumeToken(engine, value)


def run(number=1, engine="codex", **more):
    return ActiveRun(MessageRef("chat", number, sender_id="me"), engine, **more)


# -- engine and context


@pytest.mark.parametrize(
    ("text", "more", "engine", "context", "sources"),
    [
        ("hi", {}, "claude", None, ("global", "none")),
        ("/codex hi", {}, "codex", None, ("directive", "none")),
        ("/z80 hi", {}, "codex", Z80, ("project", "directives")),
        ("/z80 /claude hi", {}, "claude", Z80, ("directive", "directives")),
        ("/z80 @x hi", {}, "codex", RunContext("z80", "x"), ("project", "directives")),
        ("hi", {"ambient": Z80}, "codex", Z80, ("project", "ambient")),
        ("hi", {"chat": Scope("codex")}, "codex", None, ("chat", "none")),
        ("hi", {"ambient": Z80, "chat": Scope("claude")}, "claude", Z80, ("chat", "ambient")),
        (
            "hi",
            {"topic": Scope("codex"), "chat": Scope("claude")},
            "codex",
            None,
            ("topic", "none"),
        ),
        ("/pi hi", {"topic": Scope("codex")}, "pi", None, ("directive", "none")),
    ],
)
def test_a_choice_knows_where_it_came_from(text, more, engine, context, sources):
    wanted = request(text, "hi", engine, context, (*sources, "new"))
    assert effects(text, **more) == (StartRun(wanted),)


def test_directives_that_contradict_each_other_are_an_error():
    assert effects("/codex /claude hi") == (Reply(AT, "error:\nmultiple engine directives"),)


def test_a_stored_engine_that_is_gone_is_an_error():
    text = "error:\nengine 'gone' is unavailable: engine not configured"
    assert effects("hi", chat=Scope("gone")) == (Reply(AT, text),)


# -- session


def test_a_resume_line_beats_everything():
    text = "/claude codex\ncodex resume s9"
    wanted = request(text, "codex\ncodex resume s9", "codex", None, ("resume", "none", "text"))
    sessions = {"claude": Session(token("claude")), "codex": Session(token("codex", "s2"))}
    found = effects(text, chat=Scope("claude", sessions), topic=Scope("claude", sessions))
    assert found == (QueueRun(wanted, token("codex", "s9")),)


def test_the_footer_of_a_reply_is_next():
    inbound = said("go on", reply_text="done\n\n`ctx: z80 @x`\n`codex resume s3`")
    (found,) = effects(
        "", inbound=inbound, chat=Scope("claude", {"claude": Session(token("claude"))})
    )
    assert found.token == token("codex", "s3")
    assert found.request.context == RunContext("z80", "x")
    assert found.request.why == Why("resume", "reply_ctx", "reply")


def test_a_reply_to_a_run_goes_on_in_its_session_and_place():
    inbound = said("/claude more", reply_to=SHOWN, reply_text="working · codex · 3s")
    why = Why("resume", "reply_ctx", "run")
    wanted = RunRequest(inbound, "more", "codex", Z80, why)
    known = run(shown=SHOWN, resume=token("codex"), context=Z80)
    assert effects("", inbound=inbound, runs=(known,)) == (QueueRun(wanted, token("codex")),)
    unknown = run(shown=SHOWN, context=Z80)
    found = effects("", inbound=inbound, runs=(run(2), unknown))
    assert found == (FollowRun(wanted, unknown.asked, else_new=False),)


def test_the_topic_s_session_beats_the_chat_s():
    chat = Scope(None, {"claude": Session(token("claude", "chat"))})
    topic = Scope(None, {"claude": Session(token("claude", "topic"))})
    (found,) = effects("hi", chat=chat, topic=topic)
    assert (found.token.value, found.request.why.session) == ("topic", "topic")
    (found,) = effects("hi", chat=chat)
    assert (found.token.value, found.request.why.session) == ("chat", "chat")


def test_each_engine_has_its_own_session():
    chat = Scope("codex", {"codex": Session(token("codex"))})
    assert isinstance(effects("hi", chat=chat)[0], QueueRun)
    assert isinstance(effects("/claude hi", chat=chat)[0], StartRun)


def test_a_session_is_left_for_another_place():
    here = Scope(None, {"codex": Session(token("codex"), context=Z80)})
    assert isinstance(effects("hi", chat=here, ambient=Z80)[0], QueueRun)
    assert isinstance(effects("/z80 @x hi", chat=here, ambient=Z80)[0], StartRun)
    anywhere = Scope(None, {"codex": Session(token("codex"), anywhere=True)})
    assert isinstance(effects("/z80 @x hi", chat=anywhere)[0], QueueRun)


def test_f30_a_message_waits_for_the_run_that_opens_the_session():
    opening = run(5, "claude")
    chat = Scope("claude", {"claude": Session(run=opening.asked)})
    wanted = request("hi", "hi", "claude", None, ("chat", "none", "chat"))
    assert effects("hi", chat=chat, runs=(opening,)) == (
        FollowRun(wanted, opening.asked, else_new=True),
    )
    assert isinstance(effects("hi", chat=chat)[0], StartRun)  # it has ended without one


def test_new_forgets_and_begins_with_the_defaults():
    chat = Scope("codex", {"claude": Session(token("claude"), context=Z80)})
    snapshot = Snapshot(spec=SPEC, chat=chat, ambient=Z80)
    forget, reply = plan(NewSession(said("/new")), snapshot)
    assert forget == ForgetSessions(AT)
    assert reply == Reply(AT, "the next message begins a new session")
    forget, start = plan(NewSession(said("/new hi"), "hi"), snapshot)
    assert forget == ForgetSessions(AT)
    assert start.request == RunRequest(
        said("hi"), "hi", "claude", None, Why("global", "none", "new")
    )


# -- cancel


def cancelled(*runs, number=None, numbered=False, **inbound):
    found = plan(
        Cancel(said("/cancel", **inbound), number),
        Snapshot(spec=SPEC, runs=runs, numbered=numbered),
    )
    assert len(found) == 1
    return found[0].asked.message_id if isinstance(found[0], CancelRun) else found[0].text


OTHER = MessageRef("chat", "out-2")
NO_RUN = "nothing is currently running for that message."
HOW = "reply to the progress message to cancel."


@pytest.mark.parametrize(
    ("runs", "inbound", "expected"),
    [
        ((), {}, HOW),
        ((), {"reply_to": SHOWN}, NO_RUN),
        ((), {"reply_text": "who knows"}, NO_RUN),
        ((run(1, shown=OTHER), run(2, shown=SHOWN)), {"reply_to": SHOWN}, 2),
        ((run(1, shown=SHOWN, queued=True),), {"reply_to": SHOWN}, 1),
        ((run(1, shown=OTHER),), {"reply_to": SHOWN}, NO_RUN),
        ((run(1), run(2)), {}, HOW),
    ],
)
def test_cancel_ends_the_run_that_is_replied_to(runs, inbound, expected):
    assert cancelled(*runs, **inbound) == expected


def test_f47_the_only_run_of_a_sender_needs_no_reply():
    others = ActiveRun(MessageRef("chat", 3, sender_id="you"), "codex")
    elsewhere = ActiveRun(MessageRef("room", 4, sender_id="me"), "codex")
    in_a_thread = ActiveRun(MessageRef("chat", 5, thread_id=1, sender_id="me"), "codex")
    assert cancelled(run(2), others, elsewhere, in_a_thread) == 2
    assert cancelled(others, elsewhere, in_a_thread) == HOW


@pytest.mark.parametrize(
    ("runs", "number", "expected"),
    [
        ((), None, "nothing is running"),
        ((run(1),), None, 1),
        ((run(1), run(2, queued=True)), None, 1),
        ((run(1, queued=True),), None, 1),
        ((run(1), run(2, queued=True)), "2", 2),
        ((run(1),), "7", "no run has the number 7; running: #1 codex"),
        ((), "7", "no run has the number 7; nothing is running"),
        (
            (run(1), run(2, "pi"), run(3, queued=True)),
            None,
            "running: #1 codex, #2 pi, #3 codex (queued); say which one: `/cancel 3`",
        ),
    ],
)
def test_cancel_by_number_where_runs_have_numbers(runs, number, expected):
    assert cancelled(*runs, number=number, numbered=True) == expected


def test_numbers_mean_nothing_elsewhere():
    assert cancelled(run(1), run(2), number="2") == HOW


# -- the rest


def test_small_intents():
    snapshot = Snapshot(spec=SPEC)
    command = Command(said("/deploy x"), "deploy", "x")
    assert plan(Ignore("empty"), snapshot) == ()
    assert plan(Quit(), snapshot) == (EndChat(),)
    assert plan(command, snapshot) == (RunCommand(command),)
    unusable = Unusable(said("/topic"), "topic", "say something else")
    text = "error:\n`/topic` is no command here; say something else"
    assert plan(unusable, snapshot) == (Reply(AT, text),)


def test_help_names_what_there_is():
    words = Words(commands={"new": ": begin again"}, plugins=frozenset(["deploy"]))
    (reply,) = plan(Help(said("/help")), Snapshot(spec=SPEC, words=words))
    for expected in ("`/new`: begin again", "`/claude`, `/codex`\n", "`/z80`", "`/deploy`"):
        assert expected in reply.text
    assert "/pi" not in reply.text  # it cannot run


PIECES = st.sampled_from(
    ["/codex", "/claude", "/z80", "@x", "hi", "\n", "codex resume s1", "claude --resume s2", "/new"]
)
SCOPES = st.builds(
    Scope,
    st.sampled_from([None, "claude", "codex"]),
    st.dictionaries(
        st.sampled_from(["claude", "codex"]),
        st.builds(
            Session,
            st.sampled_from([None, token("codex"), token("claude")]),
            st.sampled_from([None, run(1).asked, run(2).asked]),
            st.sampled_from([None, Z80]),
            st.booleans(),
        ),
    ),
)


@given(
    st.lists(PIECES).map(" ".join),
    SCOPES,
    SCOPES,
    st.sampled_from([(), (run(1),)]),
    st.sampled_from([None, Z80]),
)
@settings(deadline=None, max_examples=300)
def test_a_prompt_becomes_one_run_or_one_reply(text, topic, chat, runs, ambient):
    snapshot = Snapshot(spec=SPEC, topic=topic, chat=chat, runs=runs, ambient=ambient)
    found = plan(Prompt(said(text)), snapshot)
    assert found == plan(Prompt(said(text)), snapshot)
    (effect,) = found
    assert isinstance(effect, StartRun | QueueRun | FollowRun | Reply)
    if ROUTER.extract_resume(text) is not None and not isinstance(effect, Reply):
        assert effect.token == ROUTER.extract_resume(effect.request.prompt)
        assert effect.request.engine == effect.token.engine
