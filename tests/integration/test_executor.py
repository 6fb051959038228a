"""Commands of plugins: what they are given, what they post, and the runs that they start."""

import asyncio
import logging
import sys
import threading
from dataclasses import replace
from functools import partial

import anyio
import psutil
import pytest

from takopi.bridge.commands import (
    CommandResult,
    RunRequest,
    RunResult,
    get_command,
    split_args,
)
from takopi.bridge.delivery import MessageRef, RenderedMessage
from takopi.bridge.executor import BridgeExecutor, CommandPlace, run_command
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.markdown import MarkdownPresenter
from takopi.bridge.router import AutoRouter, RunnerEntry, unavailable_entry
from takopi.bridge.runtime import TransportRuntime
from takopi.bridge.scheduler import ThreadScheduler
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.engines.base import EngineRunOptions, get_run_options, session_lock
from takopi.errors import RunnerUnavailableError
from takopi.logs import _bound, bind_run_context
from takopi.model import (
    Action,
    ActionEvent,
    CompletedEvent,
    ResumeToken,
    RunContext,
    StartedEvent,
)
from takopi.paths import get_run_base_dir, set_run_base_dir
from takopi.plugins import COMMAND_GROUP
from takopi.testing import Emit, Fault, Raise, RecordingTransport, Return, ScriptRunner, Wait
from tests.support.distributions import new_site
from tests.support.fake import INIT, fake_runner

pytestmark = pytest.mark.anyio

MESSAGE = MessageRef(-100, 7, raw={"from": "chat"}, thread_id=3, sender_id=42)
PLUGIN = """
class Greet:
    id = "greet"
    description = "says hello"
    async def handle(self, ctx):
        return await HANDLER(ctx)
BACKEND = Greet()
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    yield from new_site(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
async def nothing_is_left():
    yield
    left = [str(task) for task in asyncio.all_tasks() if "TestRunner" not in str(task)]
    assert left == []


def engine(name="acme", *steps, session="s1", **more):
    return ScriptRunner(
        steps or [Return(f"{name} says so")], engine=name, resume_value=session, **more
    )


class Probe(ScriptRunner):
    """Remembers the context variables of its runs, and gives every run a session of its own."""

    def __init__(self, engine="acme", steps=None, meanwhile=None):
        super().__init__(steps or [Return("done")], engine=engine)
        self.meanwhile = meanwhile
        self.seen = []

    async def run(self, prompt, resume):
        self.seen.append((get_run_base_dir(), get_run_options(), dict(_bound.get())))
        if self.meanwhile is not None:
            await self.meanwhile(prompt)
        async for event in super().run(prompt, resume):
            yield event


class Chat:
    """A place to write commands in: acme is the default engine, zulu the one of the project."""

    def __init__(self, tmp_path, *entries, plugin_configs=None, **more):
        for name in ("z80", "other"):
            (tmp_path / name).mkdir(exist_ok=True)
        trees = tmp_path / "trees"
        projects = {
            "z80": ProjectConfig("Z80", tmp_path / "z80", trees, default_engine="zulu"),
            "other": ProjectConfig("other", tmp_path / "other", trees),
        }
        known = [e if isinstance(e, RunnerEntry) else RunnerEntry(e.engine, e) for e in entries]
        for name in ("acme", "zulu"):
            if name not in [entry.engine for entry in known]:
                known.append(RunnerEntry(name, engine(name)))
        self.runtime = TransportRuntime(
            router=AutoRouter(known, "acme"),
            projects=ProjectsConfig(projects, None, more.pop("chats", {})),
            config_path=tmp_path / "takopi.toml",
            plugin_configs=plugin_configs,
        )
        self.transport = RecordingTransport()
        self.tasks = {}
        cfg = ExecBridgeConfig(self.transport, MarkdownPresenter(), True, None)
        self.place = CommandPlace(
            cfg=cfg, runtime=self.runtime, message=MESSAGE, running_tasks=self.tasks, **more
        )
        self.executor = BridgeExecutor(self.place)

    async def run(self, prompt="do it", mode="capture", **more):
        with anyio.fail_after(10):
            return await self.executor.run_one(RunRequest(prompt, **more), mode=mode)

    async def command(self, site, handler, *, args_text="", **more):
        """Let ``handler`` be the command, and use it."""
        if not site.imports:
            site.install(
                "greet",
                {COMMAND_GROUP: {"greet": "greet_plugin:BACKEND"}},
                modules={"greet_plugin": PLUGIN},
            )
            get_command("greet")
        sys.modules["greet_plugin"].HANDLER = handler
        text = f"/greet {args_text}"
        with anyio.fail_after(10):
            await run_command(self.place, "greet", text=text, args_text=args_text, **more)

    @property
    def texts(self):
        return self.transport.texts


# -- messages


async def test_a_message_is_posted_in_reply_to_the_command(tmp_path):
    chat = Chat(tmp_path)
    ref = await chat.executor.send("hello")
    (sent,) = chat.transport.sends
    assert (sent.ref, sent.message) == (ref, RenderedMessage("hello"))
    assert (sent.ref.channel_id, sent.options.thread_id) == (-100, 3)
    assert sent.options.reply_to == MESSAGE
    assert sent.options.notify is True


async def test_a_message_may_reply_to_another_silently(tmp_path):
    chat = Chat(tmp_path)
    message = RenderedMessage("hello", {"entities": [1]})
    await chat.executor.send(message, reply_to=MessageRef(-100, 5), notify=False)
    (sent,) = chat.transport.sends
    assert sent.message == message
    assert (sent.options.reply_to, sent.options.notify) == (MessageRef(-100, 5), False)


async def test_a_chat_that_fails_does_not_raise(tmp_path):
    chat = Chat(tmp_path)
    chat.transport.send_faults = lambda number: Fault(error=OSError("down"))
    assert await chat.executor.send("hello") is None


# -- emit and capture


async def test_an_emitted_run_is_posted_like_a_users(tmp_path):
    chat = Chat(tmp_path)
    result = await chat.run(mode="emit")
    progress, final = chat.transport.sends
    assert (progress.options.notify, final.options.notify) == (False, True)
    assert final.options.replace == progress.ref
    assert {sent.options.reply_to for sent in (progress, final)} == {MESSAGE}
    assert {sent.options.thread_id for sent in (progress, final)} == {3}
    assert chat.texts == ["done · acme · 0s\n\nacme says so\n\n`acme resume s1`"]
    assert result == RunResult("acme", None, True, "acme says so", ResumeToken("acme", "s1"), None)


async def test_p5_a_captured_run_posts_nothing_and_tells_all(tmp_path):
    chat = Chat(tmp_path)
    result = await chat.run()
    assert chat.transport.attempts == {"send": 0, "edit": 0}
    assert result.message.text == "done · acme · 0s\n\nacme says so\n\n`acme resume s1`"
    assert (result.ok, result.answer, result.error) == (True, "acme says so", None)
    assert result.resume == ResumeToken("acme", "s1")


async def test_p5_results_of_foreign_executors_need_not_tell():
    assert RunResult("acme", None) == RunResult("acme", None, None, None, None, None)


TOKEN = ResumeToken("acme", "s1")
FAILING = [
    ([Raise(RuntimeError("boom"))], "error · acme · 0s\n\nboom", None, "boom"),
    (
        [Emit(CompletedEvent("acme", False, "half", TOKEN, "no quota"))],
        "error · acme · 0s\n\nhalf\n\nno quota",
        "half",
        "no quota",
    ),
]


@pytest.mark.parametrize("mode", ["emit", "capture"])
@pytest.mark.parametrize(("steps", "text", "answer", "error"), FAILING, ids=["raises", "says so"])
async def test_an_engine_that_fails_does_not_raise(tmp_path, mode, steps, text, answer, error):
    chat = Chat(tmp_path, engine("acme", *steps))
    result = await chat.run(mode=mode)
    shown = f"{text}\n\n`acme resume s1`"
    assert chat.texts == ([shown] if mode == "emit" else [])
    assert result.message == (RenderedMessage(shown) if mode == "capture" else None)
    assert (result.ok, result.answer, result.error) == (False, answer, error)
    assert result.resume == TOKEN


async def test_an_engine_that_ends_without_a_result_has_failed(tmp_path):
    class Silent(ScriptRunner):
        async def run(self, prompt, resume):
            yield StartedEvent("acme", TOKEN)

    chat = Chat(tmp_path, Silent([], engine="acme"))
    result = await chat.run()
    assert (result.ok, result.error) == (False, "runner finished without a completed event")
    assert result.error in result.message.text


async def test_an_engine_that_fails_before_its_first_event_has_failed(tmp_path):
    class Broken(ScriptRunner):
        def run(self, prompt, resume):
            raise RunnerUnavailableError("acme", "gone")

    result = await Chat(tmp_path, Broken([], engine="acme")).run()
    assert (result.ok, result.error) == (False, "engine 'acme' is unavailable: gone")
    assert result.error in result.message.text


@pytest.mark.parametrize("mode", ["emit", "capture"])
@pytest.mark.parametrize("issue", ["acme not found on PATH", None])
async def test_an_engine_that_is_not_available_is_an_error_at_once(tmp_path, mode, issue):
    chat = Chat(tmp_path, unavailable_entry("acme", issue))
    result = await chat.run(mode=mode, context=RunContext("z80"), engine="acme")
    reason = issue or "engine unavailable"
    text = f"error · acme · 0s\n\nerror:\n{reason}\n\n`ctx: Z80`"
    assert chat.texts == ([text] if mode == "emit" else [])
    assert result.message == (RenderedMessage(text) if mode == "capture" else None)
    assert (result.engine, result.ok, result.error) == ("acme", False, reason)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"engine": "nope"}, "engine 'nope' is unavailable: engine not configured"),
        ({"resume": ResumeToken("nope", "1")}, "engine 'nope' is unavailable"),
        ({"context": RunContext("lost")}, "lost"),
    ],
)
@pytest.mark.parametrize("mode", ["emit", "capture"])
async def test_a_run_that_cannot_begin_is_an_error(tmp_path, mode, request_, error):
    chat = Chat(tmp_path)
    result = await chat.run(mode=mode, **request_)
    assert result.ok is False
    assert error in result.error
    shown = chat.texts if mode == "emit" else [result.message.text]
    assert shown == [f"error:\n{result.error}"]
    assert result.engine == ("nope" if "lost" not in error else "acme")


async def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown mode 'silent'; expected 'emit' or 'capture'"):
        await Chat(tmp_path).run(mode="silent")


# -- which engine, where


async def chosen(chat, **request):
    return (await chat.run(**request)).engine


def chat_default(name):
    async def default_engine(context):
        return name

    return default_engine


Z80 = RunContext("z80")


@pytest.mark.parametrize(
    ("chat_engine", "request_", "engine_id"),
    [
        (None, {}, "acme"),
        (None, {"context": Z80}, "zulu"),
        ("extra", {"context": Z80}, "extra"),
        ("extra", {"engine": "acme", "context": Z80}, "acme"),
        ("extra", {"engine": "acme", "resume": ResumeToken("zulu", "s1")}, "zulu"),
    ],
    ids=["global", "project", "chat", "request", "token"],
)
async def test_the_engine_of_a_run(tmp_path, chat_engine, request_, engine_id):
    chat = Chat(tmp_path, engine("extra"), default_engine=chat_default(chat_engine))
    assert await chosen(chat, **request_) == engine_id


async def test_a_chat_default_that_fails_is_an_error_rendering(tmp_path):
    async def default_engine(context):
        raise OSError("disk gone")

    result = await Chat(tmp_path, default_engine=default_engine).run()
    assert (result.ok, result.error) == (False, "disk gone")


@pytest.mark.parametrize(
    ("more", "asked", "line"),
    [
        ({"chats": {-100: "z80"}}, None, "`ctx: Z80`"),
        ({"context": Z80}, None, "`ctx: Z80`"),
        ({}, Z80, "`ctx: Z80`"),
        ({}, None, None),
    ],
    ids=["bound", "ambient", "request", "none"],
)
async def test_the_context_of_a_run(tmp_path, more, asked, line):
    probe = Probe("zulu")
    chat = Chat(tmp_path, probe, **more)
    result = await chat.run(engine="zulu", context=asked)
    shown = [text for text in result.message.text.splitlines() if "ctx:" in text]
    assert [text.strip() for text in shown] == ([line] if line else [])
    folder, _, bound = probe.seen[0]
    assert folder == (tmp_path / "z80" if line else None)
    assert (bound["engine"], bound["mode"], bound["message_id"]) == ("zulu", "capture", 7)


async def test_f56_a_topics_context_beats_the_project_of_the_chat(tmp_path):
    chat = Chat(tmp_path, context=Z80, chats={-100: "other"})
    assert "`ctx: Z80`" in (await chat.run()).message.text
    chat = Chat(tmp_path, chats={-100: "other"})
    assert "`ctx: other`" in (await chat.run()).message.text


async def test_the_chats_options_apply(tmp_path):
    async def run_options(name):
        return EngineRunOptions(model=f"{name}-large")

    probe = Probe()
    await Chat(tmp_path, probe, run_options=run_options).run()
    assert probe.seen[0][1] == EngineRunOptions(model="acme-large")


async def test_the_chat_may_hide_resume_lines(tmp_path):
    class Hidden:
        def __init__(self, runner):
            self.engine, self.run = runner.engine, runner.run
            self.is_resume_line, self.extract_resume = runner.is_resume_line, runner.extract_resume

        def format_resume(self, token):
            return ""

    result = await Chat(tmp_path, wrap_runner=Hidden).run()
    assert result.message.text == "done · acme · 0s\n\nacme says so"
    assert result.resume == TOKEN


async def test_p6_a_request_may_go_on_with_a_session(tmp_path):
    runner = engine("acme", session="another")
    result = await Chat(tmp_path, runner).run("go on", resume=TOKEN)
    assert runner.calls == [("go on", TOKEN)]
    assert result.resume == TOKEN


async def test_resume_lines_are_no_part_of_the_prompt(tmp_path):
    runner = engine("acme")
    await Chat(tmp_path, runner).run("fix\n`zulu resume s9`\nit")
    assert runner.calls == [("fix\nit", None)]


# -- sessions


@pytest.mark.parametrize("mode", ["emit", "capture"])
async def test_a_sessions_next_message_waits_for_the_run(tmp_path, mode):
    gate, order = anyio.Event(), []
    runner = engine("acme", Wait(gate), Return("first"))
    async with anyio.create_task_group() as group:

        async def run_job(job):
            order.append(job.text)

        scheduler = ThreadScheduler(task_group=group, run_job=run_job)
        known = anyio.Event()

        async def on_thread_known(token, done):
            await scheduler.note_thread_known(token, done)
            known.set()

        chat = Chat(tmp_path, runner, on_thread_known=on_thread_known)

        async def run():
            await chat.run(mode=mode)

        group.start_soon(run)
        await known.wait()
        await scheduler.enqueue_resume(-100, 8, "second", TOKEN)
        await anyio.sleep(0.02)
        assert order == []
        gate.set()
    assert order == ["second"]


# -- many


@pytest.mark.parametrize("parallel", [False, True])
async def test_results_are_in_the_order_of_the_requests(tmp_path, parallel):
    ended = {prompt: anyio.Event() for prompt in "abc"}
    awaited = {"a": "c", "c": "b"} if parallel else {"b": "a", "c": "b"}
    order = []

    class Echo(ScriptRunner):
        async def run(self, prompt, resume):
            if prompt in awaited:
                await ended[awaited[prompt]].wait()
            order.append(prompt)
            ended[prompt].set()
            yield CompletedEvent("acme", True, f"did {prompt}", resume)

    chat = Chat(tmp_path, Echo([], engine="acme"))
    with anyio.fail_after(10):
        results = await chat.executor.run_many(
            [RunRequest(prompt) for prompt in "abc"], mode="capture", parallel=parallel
        )
    assert "".join(order) == ("bca" if parallel else "abc")
    assert [result.answer for result in results] == ["did a", "did b", "did c"]


async def test_runs_that_are_not_parallel_wait_for_each_other(tmp_path):
    class Counting(ScriptRunner):
        now = most = 0

        async def run(self, prompt, resume):
            self.now += 1
            self.most = max(self.most, self.now)
            await anyio.sleep(0.05)
            self.now -= 1
            yield CompletedEvent("acme", True, "done", resume)

    runner = Counting([], engine="acme")
    requests = [RunRequest("x")] * 3
    await Chat(tmp_path, runner).executor.run_many(requests, mode="capture")
    assert runner.most == 1


async def test_no_requests_have_no_results(tmp_path):
    assert await Chat(tmp_path).executor.run_many([], parallel=True) == []


async def test_parallel_results_belong_to_their_requests(tmp_path):
    names = [f"e{i}" for i in range(5)]
    chat = Chat(tmp_path, *(engine(name, session=name) for name in names))
    requests = [RunRequest("x", engine=name) for name in names]
    results = await chat.executor.run_many(requests, mode="capture", parallel=True)
    assert [(r.engine, r.answer) for r in results] == [(n, f"{n} says so") for n in names]


async def test_one_that_fails_leaves_the_others_alone(tmp_path):
    chat = Chat(tmp_path, engine("acme", Raise(OSError("boom"))))
    requests = [RunRequest("x", engine=name) for name in ("acme", "nope", "zulu")]
    results = await chat.executor.run_many(requests, mode="capture", parallel=True)
    assert [result.ok for result in results] == [False, False, True]


@pytest.mark.parametrize("mode", ["emit", "capture"])
async def test_p7_the_callers_context_stays_as_it_was(tmp_path, mode):
    bind_run_context(command="greet")
    set_run_base_dir(tmp_path)
    probe = Probe()
    await Chat(tmp_path, probe).run(mode=mode)
    assert probe.seen[0][0] is None
    assert _bound.get() == {"command": "greet"}
    assert get_run_base_dir() == tmp_path
    assert get_run_options() is None


# -- commands


async def test_a_command_is_given_everything(tmp_path, site):
    seen = []

    async def handler(ctx):
        seen.append(ctx)

    chat = Chat(tmp_path, plugin_configs={"greet": {"names": ["Ada"]}})
    reply = MessageRef(-100, 5)
    await chat.command(
        site, handler, args_text="one 'two words'\nthree", reply_to=reply, reply_text="before"
    )
    (ctx,) = seen
    assert (ctx.command, ctx.text) == ("greet", "/greet one 'two words'\nthree")
    assert (ctx.args_text, ctx.args) == (
        "one 'two words'\nthree",
        ("one", "two words", "three"),
    )
    assert ctx.message is MESSAGE
    assert (ctx.message.thread_id, ctx.message.sender_id) == (3, 42)
    assert (ctx.reply_to, ctx.reply_text) == (reply, "before")
    assert ctx.config_path == tmp_path / "takopi.toml"
    assert ctx.plugin_config == {"names": ["Ada"]}
    assert ctx.runtime is chat.runtime
    assert chat.transport.sends == []
    assert chat.tasks == {}


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", ()),
        ("a  b", ("a", "b")),
        ('say "hello world"', ("say", "hello world")),
        ("don't do it", ("don't", "do", "it")),
    ],
)
async def test_arguments_are_split_like_a_shells(text, args):
    assert split_args(text) == args


async def test_a_commands_result_is_posted(tmp_path, site):
    async def handler(ctx):
        return CommandResult("*hello*", notify=False, reply_to=MessageRef(-100, 5))

    chat = Chat(tmp_path)
    await chat.command(site, handler)
    (sent,) = chat.transport.sends
    assert sent.message == RenderedMessage("*hello*")
    assert (sent.options.reply_to, sent.options.notify) == (MessageRef(-100, 5), False)


class Nasty(Exception):
    def __str__(self):
        return ""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("boom"), "error:\nboom"),
        (Nasty(), "error:\nNasty"),
        (SystemExit("bye"), "error:\nbye"),
        (ExceptionGroup("two", [OSError("a"), OSError("b")]), "error:\na\nb"),
        (BaseExceptionGroup("two", [SystemExit("a"), OSError("b")]), "error:\na\nb"),
        (GeneratorExit("odd"), "error:\nodd"),
    ],
)
async def test_a_command_that_fails_says_so(tmp_path, site, caplog, error, text):
    async def handler(ctx):
        raise error

    chat = Chat(tmp_path)
    with caplog.at_level(logging.ERROR, logger="takopi"):
        await chat.command(site, handler)
    assert chat.texts == [text]
    assert chat.transport.sends[0].options.notify is True
    assert chat.tasks == {}


async def test_a_command_that_cancels_itself_harms_nobody(tmp_path, site):
    async def handler(ctx):
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    chat = Chat(tmp_path)
    await chat.command(site, handler)
    assert chat.texts == ["cancelled"]
    assert chat.tasks == {}


async def test_a_command_that_leaves_a_scope_open_harms_nobody(tmp_path, site):
    async def handler(ctx):
        anyio.CancelScope().__enter__()
        return CommandResult("done")

    chat = Chat(tmp_path)
    await chat.command(site, handler)
    assert chat.texts == ["done"]
    assert chat.tasks == {}


async def test_a_command_may_go_on_in_the_background(tmp_path, site):
    gate, background = anyio.Event(), []

    async def later(ctx):
        await gate.wait()
        result = await ctx.executor.run_one(RunRequest("x"))
        await ctx.executor.send(f"later: {result.answer}")

    async def handler(ctx):
        background.append(asyncio.create_task(later(ctx)))
        return CommandResult("begun")

    chat = Chat(tmp_path)
    await chat.command(site, handler)
    assert chat.texts == ["begun"]
    gate.set()
    with anyio.fail_after(10):
        await background[0]
    assert chat.texts[-1] == "later: acme says so"
    assert chat.texts[1].startswith("done · acme")
    assert chat.tasks == {}


@pytest.mark.parametrize("fault", [Fault(error=OSError("down")), Fault(refuse=True)])
@pytest.mark.parametrize("fails", [True, False])
async def test_a_chat_that_takes_no_answer_harms_nobody(tmp_path, site, fault, fails):
    async def handler(ctx):
        if fails:
            raise ValueError("boom")
        return CommandResult("hello")

    chat = Chat(tmp_path)
    chat.transport.send_faults = lambda number: fault
    await chat.command(site, handler)
    assert chat.transport.attempts["send"] == 1
    assert chat.tasks == {}


async def test_an_answer_that_is_none_is_an_error(tmp_path, site):
    async def handler(ctx):
        return "hello"

    chat = Chat(tmp_path)
    await chat.command(site, handler)
    assert chat.texts == ["error:\n'str' object has no attribute 'text'"]


async def test_a_table_that_is_none_stops_the_command(tmp_path, site):
    async def handler(ctx):
        raise AssertionError("called")

    chat = Chat(tmp_path, plugin_configs={"greet": 3})
    await chat.command(site, handler)
    path = tmp_path / "takopi.toml"
    assert chat.texts == [f"error:\nInvalid `plugins.greet` in {path}; expected a table."]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("nobody", "error:\nUnknown command 'nobody'."),
        ("cancel", "error:\nCommand id 'cancel' is reserved."),
    ],
)
async def test_a_command_that_is_not_there_says_so(tmp_path, site, command, text):
    chat = Chat(tmp_path)
    await run_command(chat.place, command, text=f"/{command}", args_text="")
    assert chat.texts == [text]


async def test_the_import_of_a_command_holds_nobody_up_and_can_be_cancelled(tmp_path, site):
    gate = tmp_path / "gate"
    wait = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.005)\n"
    site.install(
        "slow",
        {COMMAND_GROUP: {"greet": "slow_plugin:BACKEND"}},
        modules={"slow_plugin": wait + PLUGIN},
    )
    chat = Chat(tmp_path)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(run_command, chat.place, "greet", text="", args_text=""))
            with anyio.fail_after(10):
                await until(lambda: MESSAGE in chat.tasks and site.imports)
                chat.tasks[MESSAGE].cancel_requested.set()
                await until(lambda: chat.texts)
    finally:
        gate.touch()
    assert chat.texts == ["cancelled"]
    assert chat.tasks == {}


# -- cancelling


async def until(happened):
    while not happened():  # noqa: ASYNC110 (nobody tells)
        await anyio.sleep(0.001)


async def start(chat, site, handler):
    """A command under way; its task."""
    task = asyncio.create_task(chat.command(site, handler))
    with anyio.fail_after(10):
        await until(lambda: MESSAGE in chat.tasks)
    return task


@pytest.mark.parametrize("mode", ["emit", "capture"])
async def test_p6_runs_are_cancelled_together_with_their_command(tmp_path, site, mode):
    started, results = [], []

    async def meanwhile(prompt):
        started.append(prompt)

    probe = Probe(steps=[Wait(anyio.Event())], meanwhile=meanwhile)

    async def handler(ctx):
        requests = [RunRequest("a"), RunRequest("b")]
        results.extend(await ctx.executor.run_many(requests, mode=mode, parallel=True))

    chat = Chat(tmp_path, probe)
    call = await start(chat, site, handler)
    with anyio.fail_after(10):
        await until(lambda: len(started) == 2)
        chat.tasks[MESSAGE].cancel_requested.set()
        await call
    assert results == []
    assert chat.tasks == {}
    shown = [text.split(" · ")[0] for text in chat.texts]
    assert shown == (["`cancelled`"] * 2 if mode == "emit" else []) + ["cancelled"]
    assert chat.transport.sends[-1].options.notify is False


async def test_p6_the_process_of_a_captured_run_ends_with_the_command(tmp_path, site):
    pid = tmp_path / "pid"
    runner = fake_runner(tmp_path, ["spawn", 60, str(pid)], INIT, ["sleep", 60])

    async def handler(ctx):
        await ctx.executor.run_one(RunRequest("x"), mode="capture")

    chat = Chat(tmp_path, runner)
    call = await start(chat, site, handler)
    with anyio.fail_after(10):
        await until(pid.exists)
        child = psutil.Process(int(pid.read_text()))
        chat.tasks[MESSAGE].cancel_requested.set()
        await call
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_an_emitted_run_is_cancelled_alone_by_its_message(tmp_path, site):
    results = []

    async def handler(ctx):
        results.append(await ctx.executor.run_one(RunRequest("x")))
        return CommandResult("the command goes on")

    chat = Chat(tmp_path, engine("acme", Wait(anyio.Event())))
    call = await start(chat, site, handler)
    with anyio.fail_after(10):
        await until(lambda: len(chat.tasks) == 2 and chat.tasks[progress(chat)].resume)
        chat.tasks[progress(chat)].cancel_requested.set()
        await call
    assert results == [RunResult("acme", None, False, None, TOKEN, "cancelled")]
    assert chat.texts[-1] == "the command goes on"
    assert chat.tasks == {}


@pytest.mark.parametrize("mode", ["emit", "capture"])
async def test_what_a_cancelled_run_dies_of_is_nobody_s_concern(tmp_path, site, mode):
    results = []

    class Sore(ScriptRunner):
        async def run(self, prompt, resume):
            yield StartedEvent("acme", TOKEN)
            try:
                await anyio.sleep(60)
            finally:
                raise RuntimeError("not even cleaned up")

    async def handler(ctx):
        results.append(await ctx.executor.run_one(RunRequest("x"), mode=mode))

    chat = Chat(tmp_path, Sore([], engine="acme"))
    known = anyio.Event()

    async def on_thread_known(token, done):
        known.set()

    chat.place = replace(chat.place, on_thread_known=on_thread_known)
    call = await start(chat, site, handler)
    with anyio.fail_after(10):
        await known.wait()
        if mode == "emit":
            chat.tasks[progress(chat)].cancel_requested.set()
            await call
            assert (results[0].ok, results[0].error) == (False, "cancelled")
        else:
            chat.tasks[MESSAGE].cancel_requested.set()
            await call
            assert chat.texts == ["cancelled"]


def progress(chat):
    return next(ref for ref in chat.tasks if ref != MESSAGE)


async def test_a_command_that_ends_with_the_program_leaves_nothing(tmp_path, site):
    begun = anyio.Event()

    async def meanwhile(prompt):
        begun.set()

    async def handler(ctx):
        await ctx.executor.run_one(RunRequest("x"))

    chat = Chat(tmp_path, Probe(steps=[Wait(anyio.Event())], meanwhile=meanwhile))
    call = await start(chat, site, handler)
    with anyio.fail_after(10):
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert chat.tasks == {}
    assert [text.split(" · ")[0] for text in chat.texts] == ["`interrupted`"]


async def test_a_cancelled_captured_run_frees_its_session(tmp_path, site):
    async def handler(ctx):
        await ctx.executor.run_one(RunRequest("x", resume=TOKEN), mode="capture")

    runner = engine("acme", Wait(anyio.Event()))
    chat = Chat(tmp_path, runner)
    call = await start(chat, site, handler)
    with anyio.fail_after(10):
        await until(lambda: runner.calls)
        chat.tasks[MESSAGE].cancel_requested.set()
        await call
        async with session_lock(TOKEN):
            pass


async def test_a_folder_is_prepared_off_the_event_loop(tmp_path, monkeypatch):
    """Preparing a worktree may take git some time."""
    from takopi.bridge import workspace

    threads = []
    original = workspace.resolve_run_cwd

    def resolve(*args):
        threads.append(threading.current_thread())
        return original(*args)

    monkeypatch.setattr(workspace, "resolve_run_cwd", resolve)
    await Chat(tmp_path).run(context=Z80)
    assert threads
    assert threading.main_thread() not in threads


async def test_steps_do_not_replace_the_answer(tmp_path):
    step = ActionEvent("acme", Action("1", "note", "a step"), "completed", True)
    runner = engine("acme", Emit(step), Return("the answer"))
    result = await Chat(tmp_path, runner).run()
    assert result.answer == "the answer"
    assert "a step" not in result.message.text
