"""Old import paths: published plugins import more than `takopi.api`, from modules that have moved.

An old path is a module made on demand, with the same objects as today's; nothing is imported before
a name is asked for. Paths that are modules of takopi today have their old names themselves. Names
that nothing is behind can be imported, since plugins do so at their head, and refuse to be used.
"""

from __future__ import annotations

from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, NoReturn

from takopi.errors import PluginError

# Old path -> today's module, or `module:object` -> names
MOVED: dict[str, dict[str, str]] = {
    "takopi.backends": {"takopi.engines.backend": "EngineBackend EngineConfig SetupIssue"},
    "takopi.backends_helpers": {"takopi.engines.backend": "install_issue"},
    "takopi.commands": {
        "takopi.bridge.commands": "CommandBackend CommandContext CommandExecutor CommandResult"
        " RunMode RunRequest RunResult get_command list_command_ids"
    },
    "takopi.config_watch": {"takopi.bridge.reload": "ConfigReload watch_config"},
    "takopi.context": {"takopi.model": "RunContext"},
    "takopi.directives": {
        "takopi.bridge.directives": "ParsedDirectives parse_directives",
        "takopi.errors": "DirectiveError",
    },
    "takopi.logging": {
        "takopi.logs": "bind_run_context clear_context get_logger log_pipeline setup_logging"
        " suppress_logs"
    },
    "takopi.markdown": {
        "takopi.bridge.markdown": "MarkdownFormatter MarkdownParts MarkdownPresenter"
        " assemble_markdown_parts format_elapsed render_event_cli"
    },
    "takopi.presenter": {"takopi.bridge.delivery": "Presenter"},
    "takopi.progress": {"takopi.bridge.progress": "ActionState ProgressState ProgressTracker"},
    "takopi.router": {
        "takopi.bridge.router": "AutoRouter EngineStatus RunnerEntry",
        "takopi.errors": "RunnerUnavailableError",
    },
    "takopi.runner": {
        "takopi.engines.base": "Runner",
        "takopi.engines.python": "JsonlRunState JsonlSubprocessRunner",
        "takopi.engines.sessions": "BaseRunner ResumeTokenMixin",
    },
    "takopi.runner_bridge": {
        "takopi.bridge.handle": "ExecBridgeConfig IncomingMessage RunningTask RunningTasks"
        " handle_message"
    },
    "takopi.runners.mock": {
        "takopi.testing.runners": "Advance Emit MockRunner Raise Return ScriptRunner Sleep Wait"
    },
    "takopi.runners.run_options": {
        "takopi.engines.base": "EngineRunOptions apply_run_options get_run_options"
    },
    "takopi.scheduler": {"takopi.bridge.scheduler": "ThreadJob ThreadScheduler"},
    "takopi.settings": {
        "takopi.config": "HOME_CONFIG_PATH load_settings load_settings_if_exists require_telegram"
        " validate_settings_data"
    },
    "takopi.telegram.onboarding": {"takopi.telegram.backend:BACKEND": "check_setup"},
    "takopi.transport": {
        "takopi.bridge.delivery": "ChannelId MessageId MessageRef RenderedMessage SendOptions"
        " ThreadId Transport"
    },
    "takopi.transport_runtime": {
        "takopi.bridge.runtime": "ContextSource ResolvedMessage ResolvedRunner TransportRuntime"
    },
    "takopi.transports": {
        "takopi.bridge.transport": "SetupResult TransportBackend get_transport list_transports"
    },
    "takopi.utils.git": {
        "takopi.git": "git_is_worktree git_ok git_run git_stdout resolve_default_base"
        " resolve_main_worktree_root"
    },
    "takopi.utils.json_state": {"takopi.json_state": "atomic_write_json"},
    "takopi.utils.paths": {
        "takopi.paths": "get_run_base_dir relativize_command relativize_path reset_run_base_dir"
        " set_run_base_dir"
    },
    "takopi.utils.streams": {"takopi.engines.streams": "drain_stderr iter_bytes_lines iter_jsonl"},
    "takopi.utils.subprocess": {
        "takopi.engines.subprocesses": "kill_process manage_subprocess terminate_process"
    },
}
# Old path -> names -> why they are not there, and what to do
MISSING: dict[str, dict[str, str]] = {
    "takopi.telegram.files": {
        "ZipTooLargeError default_upload_name deny_reason file_usage format_bytes"
        " normalize_relative_path parse_file_command parse_file_prompt resolve_path_within_root"
        " write_bytes_atomic zip_directory": "this version of takopi transfers no files; switch file"
        " transfer off in the plugin that asked for it"
    },
    "takopi.telegram.onboarding": {
        "render_setup_guide": "takopi shows what is missing by itself; give it the issues as the"
        " result of `check_setup`"
    },
}
PATHS = MOVED.keys() | MISSING.keys()
PACKAGES = {path.rpartition(".")[0] for path in PATHS} - {"takopi", "takopi.telegram"}


def find_spec(name: str) -> ModuleSpec | None:
    """The spec of an old path, None for anything else."""
    if name not in PATHS and name not in PACKAGES:
        return None
    return ModuleSpec(name, _Loader(), origin=__name__, is_package=name in PACKAGES)


class _Loader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        path = module.__name__
        moved, missing = MOVED.get(path, {}), MISSING.get(path, {})
        homes = {name: home for home, names in moved.items() for name in names.split()}
        reasons = {name: reason for names, reason in missing.items() for name in names.split()}

        def lookup(name: str) -> Any:
            if name in homes:
                return getattr(resolve_name(homes[name]), name)
            if name in reasons:
                # Kept: an exception must stay the same class.
                return vars(module).setdefault(name, _refusal(path, name, reasons[name]))
            raise AttributeError(f"module {path!r} has no attribute {name!r}")

        names = sorted({*homes, *reasons})
        module.__doc__ = "An old path" + (f" of {', '.join(moved)}." if moved else ".")
        vars(module).update(
            __all__=names,
            __getattr__=lookup,
            __dir__=lambda: sorted({*vars(module), *names}),
        )


def _refusal(path: str, name: str, reason: str) -> Any:
    """What stands for a name that nothing is behind: an exception nobody raises, or a function."""
    if name.endswith("Error"):
        return type(name, (RuntimeError,), {"__module__": path})

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise PluginError(f"`{path}.{name}` is not there: {reason}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__module__ = path
    return refuse
