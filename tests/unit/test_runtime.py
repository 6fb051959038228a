"""What a transport asks: messages, engines, projects and directories as configured now."""

from pathlib import Path

import pytest

from takopi.bridge.directives import ParsedDirectives
from takopi.bridge.router import AutoRouter, RunnerEntry, unavailable_entry
from takopi.bridge.runtime import (
    ResolvedMessage,
    ResolvedRunner,
    RuntimeSpec,
    TransportRuntime,
    choose_context,
    choose_engine,
)
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.engines.jsonl import AdapterRunner
from takopi.errors import ConfigError, DirectiveError, RunnerUnavailableError
from takopi.model import ResumeToken, RunContext
from tests.support.adapters import adapter_from


def runner(engine, line):
    return AdapterRunner(
        adapter_from(f"id: {engine}\ncommand: {engine}\nresume: {{line: '{line}'}}")
    )


CLAUDE = RunnerEntry("claude", runner("claude", "claude --resume ${token}"))
CODEX = RunnerEntry("codex", runner("codex", "codex resume ${token}"), "bad_config", "bad table")
KILO = RunnerEntry("kilo", runner("kilo", "kilo ${token}"), "missing_cli", "kilo not found on PATH")
PI = unavailable_entry("pi", "Invalid `pi.model`")
ROUTER = AutoRouter([CLAUDE, CODEX, KILO, PI], "claude")


def project(alias, **more):
    return ProjectConfig(alias, Path("/srv") / alias, Path(".worktrees"), **more)


PROJECTS = {
    "proj": project("Proj", default_engine="codex"),
    "other": project("other"),
    "bound": project("bound", chat_id=-100),
    "room": project("room", chat_id="!room:example.org"),
}
CHATS = {-100: "bound", "!room:example.org": "room"}


def runtime_of(*, default_project=None, **more):
    return TransportRuntime(
        router=ROUTER, projects=ProjectsConfig(PROJECTS, default_project, CHATS), **more
    )


RUNTIME = runtime_of()


# -- precedence


FEAT = RunContext("proj", "feat")


@pytest.mark.parametrize(
    ("reply", "project", "branch", "ambient", "default", "context", "source"),
    [
        # a reply's line stands alone
        (RunContext("other", "b"), None, None, None, None, RunContext("other", "b"), "reply_ctx"),
        (RunContext("other"), "proj", "x", FEAT, "bound", RunContext("other"), "reply_ctx"),
        # directives, completed by what is around
        (None, "proj", None, None, None, RunContext("proj"), "directives"),
        (None, "proj", "b", None, "bound", RunContext("proj", "b"), "directives"),
        (None, None, "b", None, "bound", RunContext("bound", "b"), "directives"),
        (None, None, "b", FEAT, "bound", RunContext("proj", "b"), "directives"),
        (None, None, "b", RunContext(None, "x"), "bound", RunContext("bound", "b"), "directives"),
        (None, "proj", None, FEAT, "bound", RunContext("proj", "feat"), "directives"),
        (None, "other", None, FEAT, "bound", RunContext("other"), "directives"),
        (None, "proj", "main", FEAT, None, RunContext("proj", "main"), "directives"),
        (None, None, "b", None, None, RunContext(None, "b"), "directives"),
        # the topic's or chat's
        (None, None, None, FEAT, "bound", FEAT, "ambient"),
        (None, None, None, RunContext("proj"), None, RunContext("proj"), "ambient"),
        # the default
        (None, None, None, None, "bound", RunContext("bound"), "default_project"),
        (None, None, None, RunContext(), "bound", RunContext("bound"), "default_project"),
        (None, None, None, RunContext(None, "x"), "bound", RunContext("bound"), "default_project"),
        # nothing
        (None, None, None, None, None, None, "none"),
        (None, None, None, RunContext(None, "x"), None, None, "none"),
    ],
)
def test_the_context_of_a_message(reply, project, branch, ambient, default, context, source):
    chosen = choose_context(
        reply=reply,
        directives=ParsedDirectives("x", project=project, branch=branch),
        ambient=ambient,
        default_project=default,
    )
    assert chosen == (context, source)


LEVELS = ["directive", "topic", "chat", "project"]


def test_the_engine_of_a_message_is_the_first_that_anything_names():
    token = ResumeToken("e_resume", "x")
    names = {level: f"e_{level}" for level in LEVELS}
    assert choose_engine(default="e", resume=token, **names) == ("e_resume", "resume")
    while names:
        first = next(iter(names))
        assert choose_engine(default="e", **names) == (f"e_{first}", first)
        del names[first]
    assert choose_engine(default="e") == ("e", "global")


# -- messages


@pytest.mark.parametrize(
    ("text", "context", "source"),
    [
        ("hello", FEAT, "ambient"),
        ("@hotfix x", RunContext("proj", "hotfix"), "directives"),
        ("/other x", RunContext("other"), "directives"),
        ("/proj x", FEAT, "directives"),
        ("/proj @main x", RunContext("proj", "main"), "directives"),
        ("/codex x", FEAT, "ambient"),
    ],
)
def test_a_message_in_a_bound_topic(text, context, source):
    found = RUNTIME.resolve_message(text=text, reply_text=None, ambient_context=FEAT)
    assert (found.context, found.context_source) == (context, source)


def test_a_plain_message_comes_back_as_it_is():
    text = "  do\n\n  this  "
    assert RUNTIME.resolve_message(text=text, reply_text=None) == ResolvedMessage(
        prompt=text,
        resume_token=None,
        engine_override=None,
        context=None,
        context_source="none",
    )


def test_a_message_with_everything():
    found = RUNTIME.resolve_message(
        text="/codex /proj @b do\nit\n`claude --resume x`", reply_text="codex resume y"
    )
    assert found == ResolvedMessage(
        prompt="do\nit\n`claude --resume x`",
        resume_token=ResumeToken("claude", "x"),
        engine_override="codex",
        context=RunContext("proj", "b"),
        context_source="directives",
    )


def test_a_reply_keeps_its_context_and_takes_only_the_engine_directive():
    found = RUNTIME.resolve_message(
        text="/codex /other @b x",
        reply_text="done\n\nok\n\n`ctx: Proj @feat`\n`claude --resume y`",
        ambient_context=RunContext("bound"),
        chat_id=-100,
    )
    assert found == ResolvedMessage(
        prompt="x",
        resume_token=ResumeToken("claude", "y"),
        engine_override="codex",
        context=FEAT,
        context_source="reply_ctx",
    )


@pytest.mark.parametrize(
    ("chat_id", "default", "context"),
    [
        (-100, None, RunContext("bound")),
        (-100, "other", RunContext("bound")),
        (7, "other", RunContext("other")),
        (None, "other", RunContext("other")),
        (7, None, None),
    ],
)
def test_the_chats_project_replaces_the_default_one(chat_id, default, context):
    runtime = runtime_of(default_project=default)
    found = runtime.resolve_message(text="x", reply_text=None, chat_id=chat_id)
    source = "none" if context is None else "default_project"
    assert (found.context, found.context_source) == (context, source)


def test_p8_chats_may_have_text_ids():
    found = RUNTIME.resolve_message(text="@b x", reply_text=None, chat_id="!room:example.org")
    assert found.context == RunContext("room", "b")
    assert RUNTIME.default_context_for_chat("!room:example.org") == RunContext("room")
    assert RUNTIME.default_context_for_chat("-100") == RunContext("bound"), "numbers as text"
    assert RUNTIME.default_context_for_chat("C100") is None
    assert RUNTIME.project_chat_ids() == (-100, "!room:example.org")


@pytest.mark.parametrize(
    ("text", "more", "prompt", "context"),
    [
        ("@someone hi", {}, "@someone hi", None),
        ("@someone /codex hi", {}, "@someone /codex hi", None),
        ("@someone hi", {"ambient_context": RunContext(None, "x")}, "@someone hi", None),
        ("@b hi", {"ambient_context": RunContext("proj")}, "hi", RunContext("proj", "b")),
        ("@b hi", {"chat_id": -100}, "hi", RunContext("bound", "b")),
        ("@b /other hi", {}, "hi", RunContext("other", "b")),
    ],
)
def test_s10_a_name_is_a_branch_where_a_project_applies(text, more, prompt, context):
    found = RUNTIME.resolve_message(text=text, reply_text=None, **more)
    assert (found.prompt, found.context) == (prompt, context)


def test_s10_a_default_project_and_a_replys_project_apply_too():
    found = runtime_of(default_project="other").resolve_message(text="@b hi", reply_text=None)
    assert (found.prompt, found.context) == ("hi", RunContext("other", "b"))
    found = RUNTIME.resolve_message(text="@b hi", reply_text="ctx: proj")
    assert (found.prompt, found.context) == ("hi", RunContext("proj"))


def test_s11_an_answer_that_quotes_a_context_breaks_no_reply():
    reply = "done · codex · 7s\n\nIt looks like this:\n\nctx: nosuch\n\ncodex resume y"
    found = RUNTIME.resolve_message(text="x", reply_text=reply)
    assert (found.context, found.context_source) == (None, "none")
    assert found.resume_token == ResumeToken("codex", "y")


def test_s11_an_unknown_project_in_the_footer_is_refused():
    with pytest.raises(DirectiveError, match="unknown project 'nosuch' in ctx line; start a new"):
        RUNTIME.resolve_message(text="x", reply_text="done\n\nok\n\nctx: nosuch\ncodex resume y")


def test_s11_somebody_elses_message_has_no_footer():
    found = RUNTIME.resolve_message(
        text="x", reply_text="ctx: nosuch\ncodex resume y", reply_from_bot=False
    )
    assert (found.context, found.resume_token) == (None, ResumeToken("codex", "y"))


def test_s11_a_footer_that_a_chat_ran_together_with_the_answer_still_counts():
    reply = "done\nall is\nwell\nctx: Proj @feat\ncodex resume y"
    found = RUNTIME.resolve_message(text="x", reply_text=reply)
    assert (found.context, found.resume_token) == (FEAT, ResumeToken("codex", "y"))


def test_c18_a_command_that_the_answer_mentions_takes_no_reply_away():
    reply = "Or run\nclaude --resume other\n\ncodex resume mine"
    found = RUNTIME.resolve_message(text="x", reply_text=reply)
    assert found.resume_token == ResumeToken("codex", "mine")


def test_directives_that_contradict_each_other_are_refused():
    with pytest.raises(DirectiveError, match="multiple engine directives"):
        RUNTIME.resolve_message(text="/codex /claude x", reply_text=None)


# -- engines


def test_engines_by_status():
    assert RUNTIME.default_engine == "claude"
    assert RUNTIME.engine_ids == ("claude", "codex", "kilo", "pi")
    assert RUNTIME.available_engine_ids() == ("claude", "codex")
    assert RUNTIME.missing_engine_ids() == ("kilo",)
    assert RUNTIME.engine_ids_with_status("ok") == ("claude",)
    assert RUNTIME.engine_ids_with_status("bad_config") == ("codex",)
    assert RUNTIME.engine_ids_with_status("load_error") == ("pi",)


@pytest.mark.parametrize(
    ("override", "context", "engine"),
    [
        ("kilo", FEAT, "kilo"),
        (None, FEAT, "codex"),
        (None, RunContext("other"), "claude"),
        (None, RunContext("gone"), "claude"),
        (None, RunContext(None, "b"), "claude"),
        (None, None, "claude"),
        ("nosuch", None, "nosuch"),
    ],
)
def test_the_engine_without_a_token(override, context, engine):
    assert RUNTIME.resolve_engine(engine_override=override, context=context) == engine


def test_the_engine_of_a_project():
    assert RUNTIME.project_default_engine(FEAT) == "codex"
    assert RUNTIME.project_default_engine(RunContext("other")) is None
    assert RUNTIME.project_default_engine(None) is None


@pytest.mark.parametrize(
    ("token", "override", "found"),
    [
        (None, None, ResolvedRunner("claude", CLAUDE.runner, True)),
        (None, "codex", ResolvedRunner("codex", CODEX.runner, True, "bad table")),
        (ResumeToken("codex", "x"), "claude", ResolvedRunner("codex", CODEX.runner, True, "bad table")),
        (None, "kilo", ResolvedRunner("kilo", KILO.runner, False, "kilo not found on PATH")),
        (ResumeToken("kilo", "x"), None, ResolvedRunner("kilo", KILO.runner, False, "kilo not found on PATH")),
    ],
)  # fmt: skip
def test_the_runner_of_a_message(token, override, found):
    assert RUNTIME.resolve_runner(resume_token=token, engine_override=override) == found


def test_s17_a_directive_finds_an_engine_that_could_not_be_loaded():
    message = RUNTIME.resolve_message(text="/pi hi", reply_text=None)
    assert (message.prompt, message.engine_override) == ("hi", "pi")
    found = RUNTIME.resolve_runner(resume_token=None, engine_override="pi")
    assert (found.available, found.issue) == (False, "Invalid `pi.model`")
    with pytest.raises(RunnerUnavailableError) as error:
        found.runner.run("hi", None)
    assert str(error.value) == "engine 'pi' is unavailable: Invalid `pi.model`"


@pytest.mark.parametrize(
    ("token", "override"), [(ResumeToken("gone", "x"), "claude"), (None, "gone")]
)
def test_an_unknown_engine_has_no_runner(token, override):
    with pytest.raises(RunnerUnavailableError) as error:
        RUNTIME.resolve_runner(resume_token=token, engine_override=override)
    assert str(error.value) == "engine 'gone' is unavailable: engine not configured"


def test_resume_lines_of_all_engines_are_known():
    assert RUNTIME.is_resume_line("`codex resume x`")
    assert RUNTIME.is_resume_line("kilo x")
    assert not RUNTIME.is_resume_line("hello")


# -- projects


def test_projects():
    assert RUNTIME.project_aliases() == ("Proj", "other", "bound", "room")
    assert RUNTIME.normalize_project_key("PROJ") == "proj"
    assert RUNTIME.normalize_project_key("gone") is None
    assert RUNTIME.project_alias_for_key("proj") == "Proj"
    assert RUNTIME.project_alias_for_key("gone") == "gone"
    assert RUNTIME.default_project is None
    assert runtime_of(default_project="proj").default_project == "proj"
    assert RUNTIME.default_context_for_chat(-100) == RunContext("bound")
    assert RUNTIME.default_context_for_chat(7) is None
    assert RUNTIME.default_context_for_chat(None) is None
    assert RUNTIME.format_context_line(FEAT) == "`ctx: Proj @feat`"
    assert RUNTIME.format_context_line(None) is None


@pytest.fixture
def on_disk(tmp_path):
    """A runtime with one project, and the project's folder."""
    folder = tmp_path / "proj"
    folder.mkdir()
    projects = ProjectsConfig({"proj": ProjectConfig("Proj", folder, Path(".worktrees"))})
    return TransportRuntime(router=ROUTER, projects=projects), folder


def test_the_directory_of_a_context(on_disk):
    runtime, folder = on_disk
    assert runtime.resolve_run_cwd(RunContext("proj")) == folder
    assert runtime.resolve_run_cwd(None) is None
    with pytest.raises(ConfigError, match="unknown project 'gone'"):
        runtime.resolve_run_cwd(RunContext("gone"))


@pytest.mark.anyio
async def test_p9_the_directory_of_a_context_without_blocking(on_disk):
    runtime, folder = on_disk
    assert await runtime.resolve_run_cwd_async(RunContext("proj")) == folder
    assert await runtime.resolve_run_cwd_async(None) is None
    with pytest.raises(ConfigError, match="unknown project 'gone'"):
        await runtime.resolve_run_cwd_async(RunContext("gone"))


# -- configuration


def test_a_plugins_table_is_a_copy():
    tables = {"cron": {"jobs": [{"at": "noon"}]}}
    runtime = runtime_of(plugin_configs=tables)
    first = runtime.plugin_config("cron")
    assert first == {"jobs": [{"at": "noon"}]}
    first["jobs"][0]["at"] = "night"
    first["more"] = 1
    assert runtime.plugin_config("cron") == {"jobs": [{"at": "noon"}]}
    assert runtime.plugin_config("absent") == {}
    assert RUNTIME.plugin_config("cron") == {}


@pytest.mark.parametrize("value", ["x", 1, ["a"], None, True])
@pytest.mark.parametrize(
    ("path", "where"), [(Path("/c/takopi.toml"), "/c/takopi.toml"), (None, "<config>")]
)
def test_a_plugins_table_must_be_one(value, path, where):
    runtime = runtime_of(plugin_configs={"cron": value}, config_path=path)
    with pytest.raises(ConfigError) as error:
        runtime.plugin_config("cron")
    assert str(error.value) == f"Invalid `plugins.cron` in {where}; expected a table."


def test_the_allowlist_is_canonical():
    runtime = runtime_of(allowlist=["Takopi_Slack", " takopi.cron "])
    assert runtime.allowlist == {"takopi-slack", "takopi-cron"}
    assert RUNTIME.allowlist is None
    assert runtime_of(allowlist=[]).allowlist is None


def test_what_was_configured_besides():
    assert (RUNTIME.config_path, RUNTIME.watch_config) == (None, False)
    runtime = runtime_of(config_path=Path("/c/takopi.toml"), watch_config=True)
    assert (runtime.config_path, runtime.watch_config) == (Path("/c/takopi.toml"), True)


SPEC = RuntimeSpec(
    router=AutoRouter([CODEX], "codex"),
    projects=ProjectsConfig({"new": project("New")}, "new"),
    allowlist=["a_b"],
    plugin_configs={"cron": {"a": 1}},
    watch_config=True,
    sources=("some", "files"),
)


def assert_is_spec(runtime):
    assert runtime.engine_ids == ("codex",)
    assert runtime.default_engine == "codex"
    assert runtime.project_aliases() == ("New",)
    assert runtime.default_project == "new"
    assert runtime.allowlist == {"a-b"}
    assert runtime.plugin_config("cron") == {"a": 1}
    assert runtime.watch_config is True
    assert runtime.config_path == Path("/new.toml")
    assert runtime.spec is SPEC


def test_a_spec_makes_a_runtime():
    assert_is_spec(SPEC.to_runtime(config_path=Path("/new.toml")))


def test_a_spec_replaces_all_of_a_runtime():
    runtime = runtime_of(config_path=Path("/old.toml"))
    assert runtime.resolve_message(text="/proj x", reply_text=None).context == RunContext("proj")
    SPEC.apply(runtime, config_path=Path("/new.toml"))
    assert_is_spec(runtime)
    assert runtime.resolve_message(text="/proj x", reply_text=None).prompt == "/proj x"


def test_an_update_is_visible_through_the_same_object_and_keeps_nothing():
    runtime = runtime_of(
        default_project="other",
        allowlist=["x"],
        config_path=Path("/old.toml"),
        plugin_configs={"cron": {}},
        watch_config=True,
    )
    runtime.update(router=SPEC.router, projects=SPEC.projects)
    assert runtime.engine_ids == ("codex",)
    assert runtime.default_project == "new"
    assert (runtime.allowlist, runtime.config_path, runtime.watch_config) == (None, None, False)


def test_a_runtime_stays_what_it_was_when_an_update_is_wrong():
    runtime = runtime_of()
    with pytest.raises(TypeError):
        runtime.update(router=SPEC.router, nonsense=True)
    assert runtime.engine_ids == ROUTER.engine_ids


def test_plugins_find_projects_and_router_where_they_look_for_them():
    runtime = runtime_of()
    assert runtime._projects.resolve("PROJ").alias == "Proj"
    assert runtime._router.resolve_resume("codex resume x", None) == ResumeToken("codex", "x")
    SPEC.apply(runtime, config_path=None)
    assert (runtime._projects, runtime._router) == (SPEC.projects, SPEC.router)
