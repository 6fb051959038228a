"""What to do about a message. Pure: all precedence is here and in the choices of `runtime`.

An engine: of the resume token > directive > topic > chat > project > default. A session: of the text
> of what it replies to > of the run it replies to > the topic's > the chat's > a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from takopi.bridge.runtime import ResolvedMessage, TransportRuntime, choose_engine
from takopi.bridge.vocabulary import (
    ActiveRun,
    Cancel,
    CancelRun,
    Command,
    Effect,
    EndChat,
    FollowRun,
    ForgetSessions,
    Help,
    Ignore,
    Inbound,
    Intent,
    NewSession,
    Prompt,
    QueueRun,
    Quit,
    Reply,
    RunCommand,
    RunRequest,
    Scope,
    Session,
    SessionSource,
    Snapshot,
    StartRun,
    Unusable,
    Why,
    number_of,
)
from takopi.errors import DirectiveError, RunnerUnavailableError
from takopi.model import EngineId, ResumeToken, RunContext


def plan(intent: Intent, snapshot: Snapshot) -> tuple[Effect, ...]:
    """What to do, in this order."""
    match intent:
        case Ignore():
            return ()
        case Prompt(inbound):
            return _plan_prompt(inbound, snapshot)
        case NewSession(inbound, text):
            return _plan_new(inbound, text, snapshot)
        case Cancel(inbound, number):
            return _plan_cancel(inbound, number, snapshot)
        case Command():
            return (RunCommand(intent),)
        case Unusable(inbound, word, advice):
            return (Reply(inbound.at, f"error:\n`/{word}` is no command here; {advice}"),)
        case Help(inbound):
            return (Reply(inbound.at, _help(snapshot)),)
        case Quit():
            return (EndChat(),)


def error_reply(error: Exception) -> str:
    """An error as the chat shows it."""
    return f"error:\n{error}"


# -- runs ------------------------------------------------------------------------------------------


def _plan_prompt(inbound: Inbound, snapshot: Snapshot) -> tuple[Effect, ...]:
    runtime = snapshot.spec.to_runtime(config_path=None)
    try:
        resolved = runtime.resolve_message(
            text=inbound.text,
            reply_text=inbound.reply_text,
            ambient_context=snapshot.ambient,
            chat_id=inbound.at.channel_id,
            reply_from_bot=inbound.reply_from_bot,
        )
    except DirectiveError as error:
        return (Reply(inbound.at, error_reply(error)),)
    if resolved.resume_token is not None:
        in_text = snapshot.spec.router.extract_resume(resolved.prompt) is not None
        source: SessionSource = "text" if in_text else "reply"
        request = _request(inbound, resolved, runtime, snapshot, resolved.resume_token, source)
        return _queue(request, resolved.resume_token)
    answered = _shown_at(inbound, snapshot)
    if answered is not None:
        return _plan_reply_to(answered, inbound, resolved)
    request = _request(inbound, resolved, runtime, snapshot, None, "new")
    if request.engine not in snapshot.spec.router.engine_ids:
        unknown = RunnerUnavailableError(request.engine, "engine not configured")
        return (Reply(inbound.at, error_reply(unknown)),)
    return _plan_session(request, snapshot)


def _request(
    inbound: Inbound,
    resolved: ResolvedMessage,
    runtime: TransportRuntime,
    snapshot: Snapshot,
    token: ResumeToken | None,
    source: SessionSource,
) -> RunRequest:
    engine = choose_engine(
        default=runtime.default_engine,
        resume=token,
        directive=resolved.engine_override,
        topic=snapshot.topic.engine,
        chat=snapshot.chat.engine,
        project=runtime.project_default_engine(resolved.context),
    )
    why = Why(engine.source, resolved.context_source, source)
    return RunRequest(inbound, resolved.prompt, engine.engine, resolved.context, why)


def _plan_reply_to(
    run: ActiveRun, inbound: Inbound, resolved: ResolvedMessage
) -> tuple[Effect, ...]:
    """A reply to a run that goes on: next in its session, and in its place."""
    why = Why("resume", "reply_ctx", "run")
    request = RunRequest(inbound, resolved.prompt, run.engine, run.context, why)
    if run.resume is not None:
        return _queue(request, run.resume)
    return (FollowRun(request, run.asked, else_new=False),)


def _plan_session(request: RunRequest, snapshot: Snapshot) -> tuple[Effect, ...]:
    """Go on with what the topic, or the chat, did with this engine in this place; else begin."""
    scopes: tuple[tuple[Scope, SessionSource], ...] = (
        (snapshot.topic, "topic"),
        (snapshot.chat, "chat"),
    )
    for scope, source in scopes:
        session = _session(scope, request.engine, request.context)
        if session is None:
            continue
        chosen = replace(request, why=replace(request.why, session=source))
        if session.token is not None:
            return _queue(chosen, session.token)
        if session.run is not None and any(run.asked == session.run for run in snapshot.runs):
            return (FollowRun(chosen, session.run, else_new=True),)
    return (StartRun(request),)


def _session(scope: Scope, engine: EngineId, context: RunContext | None) -> Session | None:
    session = scope.sessions.get(engine)
    if session is None or not (session.anywhere or session.context == context):
        return None
    return session


def _queue(request: RunRequest, token: ResumeToken) -> tuple[Effect, ...]:
    return (QueueRun(request, token),)


def _plan_new(inbound: Inbound, text: str, snapshot: Snapshot) -> tuple[Effect, ...]:
    forget = ForgetSessions(inbound.at)
    if not text:
        return (forget, Reply(inbound.at, "the next message begins a new session"))
    fresh = replace(snapshot, ambient=None, topic=Scope(), chat=Scope())
    return (forget, *_plan_prompt(replace(inbound, text=text), fresh))


# -- the rest --------------------------------------------------------------------------------------


def _plan_cancel(inbound: Inbound, number: str | None, snapshot: Snapshot) -> tuple[Effect, ...]:
    known = {run.asked for run in snapshot.runs}  # a command among them stands for its runs
    here = [run for run in snapshot.runs if _same_place(run, inbound) and run.command not in known]
    if snapshot.numbered and number is not None:
        called = [run for run in here if str(number_of(run.asked)) == number]
        if called:
            return (CancelRun(called[0].asked),)
        return (Reply(inbound.at, f"no run has the number {number}; {_list_runs(here)}"),)
    if inbound.reply_to is not None or inbound.reply_text is not None:
        answered = _shown_at(inbound, snapshot)
        if answered is not None:
            return (CancelRun(answered.asked),)
        return (Reply(inbound.at, "nothing is currently running for that message."),)
    own = [run for run in here if run.asked.sender_id == inbound.at.sender_id]
    running = [run for run in own if not run.queued]
    if snapshot.numbered and len(running) == 1:
        own = running  # those that wait for it go on
    if len(own) == 1:
        return (CancelRun(own[0].asked),)
    if snapshot.numbered:
        advice = f"; say which one: `/cancel {number_of(own[-1].asked)}`" if own else ""
        return (Reply(inbound.at, _list_runs(own) + advice),)
    return (Reply(inbound.at, "reply to the progress message to cancel."),)


def _same_place(run: ActiveRun, inbound: Inbound) -> bool:
    here, there = inbound.at, run.asked
    return (here.channel_id, here.thread_id) == (there.channel_id, there.thread_id)


def _shown_at(inbound: Inbound, snapshot: Snapshot) -> ActiveRun | None:
    """The run whose progress message is replied to."""
    target = inbound.reply_to
    return next((run for run in snapshot.runs if target is not None and run.shown == target), None)


def _list_runs(runs: Iterable[ActiveRun]) -> str:
    said = [f"#{number_of(run.asked)} {run.engine}{' (queued)' * run.queued}" for run in runs]
    return "running: " + ", ".join(said) if said else "nothing is running"


def _help(snapshot: Snapshot) -> str:
    spec = snapshot.spec
    available = ", ".join(f"`/{entry.engine}`" for entry in spec.router.available_entries)
    lines = [f"- `/{word}`{text}" for word, text in snapshot.words.commands.items()]
    lines.append(f"- engines that can run: {available}")
    if spec.projects.projects:
        aliases = ", ".join(f"`/{key}`" for key in spec.projects.projects)
        lines.append(f"- projects: {aliases}, and `@branch` of one")
    if snapshot.words.plugins:
        lines.append(
            "- plugins: " + ", ".join(f"`/{each}`" for each in sorted(snapshot.words.plugins))
        )
    lines.append("- a resume line goes on with its session")
    return "\n".join(lines)
