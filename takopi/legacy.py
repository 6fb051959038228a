"""Old import paths: published plugins import more than `takopi.api`, from modules that have moved.

An old path is a module made on demand, with the same objects as today's; nothing is imported before
a name is asked for. Paths that are modules of takopi today have their old names themselves.
"""

from __future__ import annotations

from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Old path -> today's module -> names
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
PACKAGES = {path.rpartition(".")[0] for path in MOVED} - {"takopi"}


def find_spec(name: str) -> ModuleSpec | None:
    """The spec of an old path, None for anything else."""
    if name not in MOVED and name not in PACKAGES:
        return None
    return ModuleSpec(name, _Loader(), origin=__name__, is_package=name in PACKAGES)


class _Loader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        path = module.__name__
        moved = MOVED.get(path, {})
        homes = {name: home for home, names in moved.items() for name in names.split()}

        def lookup(name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module {path!r} has no attribute {name!r}")
            return getattr(import_module(homes[name]), name)

        module.__doc__ = "An old path of " + (", ".join(moved) or "some modules") + "."
        vars(module).update(
            __all__=sorted(homes),
            __getattr__=lookup,
            __dir__=lambda: sorted({*vars(module), *homes}),
        )
