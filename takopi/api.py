"""Everything that plugins may use: a stable list, described in docs/reference/plugin-api.md.

What takes long to import is imported when it is asked for: most plugins need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from takopi.bridge.commands import (
    CommandBackend,
    CommandContext,
    CommandExecutor,
    CommandResult,
    RunMode,
    RunRequest,
    RunResult,
    get_command,
    list_command_ids,
)
from takopi.bridge.delivery import MessageRef, Presenter, RenderedMessage, SendOptions, Transport
from takopi.bridge.executor import CommandPlace, run_command
from takopi.bridge.handle import (
    ExecBridgeConfig,
    IncomingMessage,
    RunningTask,
    RunningTasks,
    handle_message,
)
from takopi.bridge.markdown import (
    MarkdownFormatter,
    MarkdownParts,
    MarkdownPresenter,
    assemble_markdown_parts,
)
from takopi.bridge.progress import ActionState, ProgressState, ProgressTracker
from takopi.bridge.runtime import ContextSource, ResolvedMessage, ResolvedRunner, TransportRuntime
from takopi.bridge.scheduler import ThreadJob, ThreadScheduler
from takopi.bridge.transport import (
    SetupResult,
    TransportBackend,
    get_transport,
    list_transports,
)
from takopi.config import dump_toml, ensure_table, load_settings, read_config, write_config
from takopi.engines.backend import EngineBackend, EngineConfig, SetupIssue, install_issue
from takopi.engines.base import EngineRunOptions, Runner, apply_run_options, get_run_options
from takopi.engines.sessions import BaseRunner, ResumeTokenMixin
from takopi.errors import ConfigError, DirectiveError, RunnerUnavailableError
from takopi.events import EventFactory
from takopi.ids import RESERVED_COMMAND_IDS, is_valid_id
from takopi.logs import bind_run_context, clear_context, get_logger, suppress_logs
from takopi.model import (
    Action,
    ActionEvent,
    ActionKind,
    CompletedEvent,
    EngineId,
    ResumeToken,
    RunContext,
    StartedEvent,
    TakopiEvent,
)
from takopi.paths import get_run_base_dir, reset_run_base_dir, set_run_base_dir

if TYPE_CHECKING:
    from pathlib import Path

    from takopi.bridge.reload import ConfigReload, watch_config
    from takopi.engines.python import JsonlSubprocessRunner
    from takopi.engines.registry import list_backends

    HOME_CONFIG_PATH: Path

TAKOPI_PLUGIN_API_VERSION = 1

__all__ = [
    "HOME_CONFIG_PATH",
    "RESERVED_COMMAND_IDS",
    "TAKOPI_PLUGIN_API_VERSION",
    "Action",
    "ActionEvent",
    "ActionKind",
    "ActionState",
    "BaseRunner",
    "CommandBackend",
    "CommandContext",
    "CommandExecutor",
    "CommandPlace",
    "CommandResult",
    "CompletedEvent",
    "ConfigError",
    "ConfigReload",
    "ContextSource",
    "DirectiveError",
    "EngineBackend",
    "EngineConfig",
    "EngineId",
    "EngineRunOptions",
    "EventFactory",
    "ExecBridgeConfig",
    "IncomingMessage",
    "JsonlSubprocessRunner",
    "MarkdownFormatter",
    "MarkdownParts",
    "MarkdownPresenter",
    "MessageRef",
    "Presenter",
    "ProgressState",
    "ProgressTracker",
    "RenderedMessage",
    "ResolvedMessage",
    "ResolvedRunner",
    "ResumeToken",
    "ResumeTokenMixin",
    "RunContext",
    "RunMode",
    "RunRequest",
    "RunResult",
    "Runner",
    "RunnerUnavailableError",
    "RunningTask",
    "RunningTasks",
    "SendOptions",
    "SetupIssue",
    "SetupResult",
    "StartedEvent",
    "TakopiEvent",
    "ThreadJob",
    "ThreadScheduler",
    "Transport",
    "TransportBackend",
    "TransportRuntime",
    "apply_run_options",
    "assemble_markdown_parts",
    "bind_run_context",
    "clear_context",
    "dump_toml",
    "ensure_table",
    "get_command",
    "get_logger",
    "get_run_base_dir",
    "get_run_options",
    "get_transport",
    "handle_message",
    "install_issue",
    "is_valid_id",
    "list_backends",
    "list_command_ids",
    "list_transports",
    "load_settings",
    "read_config",
    "reset_run_base_dir",
    "run_command",
    "set_run_base_dir",
    "suppress_logs",
    "watch_config",
    "write_config",
]

_LATER = {
    "ConfigReload": "takopi.bridge.reload",
    "HOME_CONFIG_PATH": "takopi.config",
    "JsonlSubprocessRunner": "takopi.engines.python",
    "list_backends": "takopi.engines.registry",
    "watch_config": "takopi.bridge.reload",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
