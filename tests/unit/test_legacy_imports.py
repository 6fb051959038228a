"""Published plugins import more than `takopi.api`: every path and name they use still works."""

import ast
import importlib
import importlib.util
import inspect
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import takopi
from takopi import legacy
from takopi.errors import PluginError
from takopi.model import RunContext

ROOT = Path(takopi.__file__).parent

# What published plugins import, and what older documentation names.
PATHS = {
    "takopi.backends": "EngineBackend EngineConfig SetupIssue",
    "takopi.backends_helpers": "install_issue",
    "takopi.commands": "CommandContext CommandExecutor CommandResult RunMode RunRequest RunResult"
    " get_command list_command_ids",
    "takopi.config": "ConfigError HOME_CONFIG_PATH ProjectConfig ProjectsConfig read_config"
    " write_config dump_toml ensure_table",
    "takopi.config_watch": "ConfigReload watch_config",
    "takopi.context": "RunContext",
    "takopi.directives": "DirectiveError parse_directives",
    "takopi.engines": "list_backends get_backend list_backend_ids",
    "takopi.events": "EventFactory",
    "takopi.ids": "RESERVED_CHAT_COMMANDS RESERVED_COMMAND_IDS",
    "takopi.lockfile": "acquire_lock LockHandle LockInfo LockError token_fingerprint",
    "takopi.logging": "get_logger bind_run_context clear_context suppress_logs",
    "takopi.markdown": "MarkdownFormatter MarkdownParts assemble_markdown_parts"
    " MarkdownPresenter render_event_cli format_elapsed",
    "takopi.model": "EngineId ResumeToken CompletedEvent TakopiEvent",
    "takopi.plugins": "COMMAND_GROUP list_ids",
    "takopi.presenter": "Presenter",
    "takopi.progress": "ProgressState ActionState",
    "takopi.router": "RunnerUnavailableError AutoRouter RunnerEntry",
    "takopi.runner": "Runner BaseRunner JsonlSubprocessRunner ResumeTokenMixin",
    "takopi.runner_bridge": "ExecBridgeConfig IncomingMessage RunningTask RunningTasks"
    " handle_message",
    "takopi.runners.mock": "ScriptRunner Return MockRunner Emit Advance Sleep Wait Raise",
    "takopi.runners.run_options": "EngineRunOptions apply_run_options",
    "takopi.scheduler": "ThreadJob ThreadScheduler",
    "takopi.settings": "HOME_CONFIG_PATH load_settings",
    "takopi.telegram.client": "BotClient TelegramClient",
    "takopi.telegram.files": "ZipTooLargeError default_upload_name deny_reason file_usage"
    " format_bytes normalize_relative_path parse_file_command parse_file_prompt"
    " resolve_path_within_root write_bytes_atomic zip_directory",
    "takopi.telegram.onboarding": "check_setup render_setup_guide",
    "takopi.telegram.render": "render_markdown split_markdown_body prepare_telegram trim_body",
    "takopi.telegram.state_store": "JsonStateStore",
    "takopi.transport": "MessageRef RenderedMessage SendOptions",
    "takopi.transport_runtime": "TransportRuntime",
    "takopi.transports": "SetupResult TransportBackend get_transport list_transports",
    "takopi.utils.git": "git_stdout resolve_main_worktree_root",
    "takopi.utils.json_state": "atomic_write_json",
    "takopi.utils.paths": "get_run_base_dir set_run_base_dir reset_run_base_dir relativize_path"
    " relativize_command",
    "takopi.utils.streams": "iter_bytes_lines iter_jsonl drain_stderr",
    "takopi.utils.subprocess": "manage_subprocess terminate_process kill_process",
}


@pytest.mark.parametrize(("path", "names"), PATHS.items())
def test_an_old_path_has_its_names(path, names):
    module = importlib.import_module(path)
    assert module.__name__ == path
    for name in names.split():
        assert getattr(module, name) is not None


@pytest.mark.parametrize("path", PATHS)
def test_an_old_path_works_in_a_fresh_interpreter(path):
    names = ", ".join(PATHS[path].split())
    code = f"import {path} as module\nfrom {path} import {names}\nprint(module.__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == (path, "")


@pytest.mark.parametrize("path", legacy.MOVED)
def test_an_old_name_is_todays_object(path):
    old = importlib.import_module(path)
    for home, names in legacy.MOVED[path].items():
        for name in names.split():
            assert getattr(old, name) == getattr(pkgutil.resolve_name(home), name)


def test_every_old_path_is_one_that_plugins_use():
    assert PATHS.keys() >= legacy.PATHS
    for path, names in legacy.MISSING.items():
        assert set(" ".join(names).split()) <= set(PATHS[path].split())


def test_no_old_path_hides_a_module_of_today():
    for path in legacy.PATHS | legacy.PACKAGES:
        place = ROOT.joinpath(*path.split(".")[1:])
        assert not place.with_suffix(".py").exists(), path
        assert not (place / "__init__.py").exists(), path


def test_moved_names_are_defined_where_the_table_says():
    """And are no accident of somebody's imports."""
    for home in {home for moved in legacy.MOVED.values() for home in moved}:
        wanted = {name for moved in legacy.MOVED.values() for name in moved.get(home, "").split()}
        if home == "takopi.config" or ":" in home:
            continue  # its names come from its modules, by design; or are an object's
        file = Path(importlib.util.find_spec(home).origin)
        defined = set()
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    defined.add(node.name)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    defined.add(name)
        assert wanted <= defined, home


def test_all_ways_to_import_give_the_same_module():
    import takopi.utils.git as first
    from takopi.utils import git as second

    assert first is second is sys.modules["takopi.utils.git"] is takopi.utils.git
    assert importlib.import_module("takopi.utils.git") is first


def test_a_module_of_today_comes_from_the_package():
    from takopi import config

    assert config is sys.modules["takopi.config"]
    assert Path(config.__file__).is_relative_to(ROOT)


def test_the_home_path_follows_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    from takopi.settings import HOME_CONFIG_PATH

    assert tmp_path / ".takopi" / "takopi.toml" == HOME_CONFIG_PATH


def test_a_star_import_brings_the_names():
    names = {}
    exec("from takopi.runner import *", names)
    assert set(names) - {"__builtins__"} == {
        "BaseRunner",
        "JsonlRunState",
        "JsonlSubprocessRunner",
        "ResumeTokenMixin",
        "Runner",
    }


def test_names_are_listed():
    import takopi.scheduler

    assert {"ThreadJob", "ThreadScheduler", "__name__"} <= set(dir(takopi.scheduler))


def test_an_unknown_name_is_an_import_error():
    with pytest.raises(ImportError, match=r"cannot import name 'Nothing' from 'takopi\.runner'"):
        from takopi.runner import Nothing  # noqa: F401


@pytest.mark.parametrize("path", ["takopi.nothing", "takopi.utils.nothing", "takopi.exec_bridge"])
def test_an_unknown_path_is_not_found(path):
    assert importlib.util.find_spec(path) is None
    with pytest.raises(ModuleNotFoundError, match=path):
        importlib.import_module(path)


def test_others_modules_are_none_of_our_business():
    finder = next(f for f in sys.meta_path if getattr(f, "__name__", "") == "_OldPaths")
    assert finder.find_spec("takopilot.runner") is None
    assert finder.find_spec("json.nothing") is None
    assert sys.meta_path[0] is not finder


def test_pickles_find_old_names():
    context = RunContext("z80", "main")
    old = pickle.dumps(context, protocol=0).replace(b"takopi.model", b"takopi.context")
    assert b"takopi.context" in old
    assert pickle.loads(old) == context


def test_nothing_is_paid_for_old_paths_that_nobody_uses():
    code = """
import sys
import takopi, takopi.cli.app
assert "takopi.legacy" not in sys.modules
import takopi.runner_bridge, takopi.utils.streams
assert "anyio" not in sys.modules
takopi.runner_bridge.handle_message
assert "anyio" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_old_signatures_take_what_plugins_pass():
    from takopi.directives import parse_directives
    from takopi.utils.json_state import atomic_write_json

    assert list(inspect.signature(parse_directives).parameters)[:3] == [
        "text",
        "engine_ids",
        "projects",
    ]
    inspect.signature(atomic_write_json).bind("state.json", {}, indent=2, sort_keys=True)


def test_directives_are_parsed_as_plugins_expect():
    from takopi.directives import parse_directives

    from takopi.config import ProjectsConfig

    found = parse_directives("/acme do it", engine_ids=("acme",), projects=ProjectsConfig())
    assert (found.prompt, found.engine, found.project, found.branch) == (
        "do it",
        "acme",
        None,
        None,
    )


def test_the_setup_check_of_telegram_is_that_of_its_backend(monkeypatch, tmp_path):
    from takopi.backends import EngineBackend
    from takopi.telegram.onboarding import check_setup

    monkeypatch.setenv("HOME", str(tmp_path))
    backend = EngineBackend("acme", lambda config, path: None, cli_cmd="acme-is-not-installed")
    result = check_setup(backend, transport_override=None)
    assert [issue.title for issue in result.issues] == [
        "install acme-is-not-installed",
        "create a config",
    ]


def test_names_with_nothing_behind_them_say_so_when_they_are_used():
    from takopi.telegram.files import ZipTooLargeError, zip_directory
    from takopi.telegram.onboarding import render_setup_guide

    message = (
        r"`takopi\.telegram\.files\.zip_directory` is not there: .* transfers no files; switch"
    )
    with pytest.raises(PluginError, match=message):
        zip_directory("root", "folder", deny_globs=())
    with pytest.raises(PluginError, match="takopi shows what is missing by itself"):
        render_setup_guide(None)
    assert issubclass(ZipTooLargeError, Exception)


def test_an_exception_with_nothing_behind_it_is_always_the_same():
    from takopi.telegram.files import ZipTooLargeError

    from takopi.telegram import files

    with pytest.raises(files.ZipTooLargeError):
        raise ZipTooLargeError("too large")
    assert "ZipTooLargeError" in files.__all__


def test_a_plugin_s_class_can_keep_its_state_in_a_store(tmp_path):
    """As published plugins subclass it."""
    import anyio
    import msgspec
    from takopi.logging import get_logger

    from takopi.telegram.state_store import JsonStateStore

    class Notes(msgspec.Struct):
        version: int = 1
        notes: list[str] = msgspec.field(default_factory=list)

    class Store(JsonStateStore[Notes]):
        def __init__(self, path):
            super().__init__(
                path,
                version=1,
                state_type=Notes,
                state_factory=Notes,
                log_prefix="notes",
                logger=get_logger(__name__),
            )

        async def add(self, text):
            async with self._lock:
                self._reload_locked_if_needed()
                self._state.notes.append(text)
                self._save_locked()
                return list(self._state.notes)

    assert anyio.run(Store(tmp_path / "notes.json").add, "one") == ["one"]
    assert anyio.run(Store(tmp_path / "notes.json").add, "two") == ["one", "two"]
