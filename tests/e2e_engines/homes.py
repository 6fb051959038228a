"""An empty home for each CLI: its configuration, and the complete environment to start it with.

Nothing is inherited, so no real key, proxy or setting can leak in. What a CLI needs to talk to the
fake server, and to send no telemetry and fetch no updates, was seen in its documentation and runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "e2e-key"  # no service knows it
MARK = "E2E_RUN"  # variable that tells the processes of one engine's runs from all others
_MODEL = "e2e-model"


@dataclass(frozen=True)
class Home:
    """Where an engine runs: ``root`` is its HOME, ``project`` its working directory."""

    root: Path
    env: Mapping[str, str]

    @property
    def project(self) -> Path:
        return self.root / "project"


@dataclass(frozen=True)
class _Plan:
    """What one CLI needs beside the common environment."""

    configure: Callable[[Path, str], None]
    env: Callable[[Path, str], Mapping[str, str]]
    takopi: str = ""  # its table in takopi.toml


def make_home(
    urls: Mapping[str, str], root: Path, path: Sequence[Path], mark: str, *, takopi: str = ""
) -> Home:
    """Write a home below ``root`` in which each engine of ``urls`` finds its server.

    ``path`` goes first on PATH. ``takopi`` is what takopi.toml says beside the engines' tables.
    """
    scratch = root / "scratch"
    for folder in (root / "project", scratch):
        folder.mkdir(parents=True, exist_ok=True)
    _write(root / "project" / "README.md", "# A small project\n")
    env: dict[str, str] = {}
    for engine, url in urls.items():
        plan = _PLANS[engine]
        plan.configure(root, url)
        env |= plan.env(root, url)
        if plan.takopi:
            takopi += f"\n[{engine}]\n{plan.takopi}\n"
    if takopi:
        _write(root / ".takopi" / "takopi.toml", takopi)
    proxy = next(iter(urls.values()))
    common = {
        "HOME": str(root),
        "USER": "user",
        "LOGNAME": "user",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "TMPDIR": str(scratch),
        "PATH": os.pathsep.join([*map(str, path), "/usr/local/bin", "/usr/bin", "/bin"]),
        "XDG_CONFIG_HOME": str(root / ".config"),
        "XDG_DATA_HOME": str(root / ".local/share"),
        "XDG_STATE_HOME": str(root / ".local/state"),
        "XDG_CACHE_HOME": str(root / ".cache"),
        # The server refuses to be a proxy, and remembers for whom it was asked.
        "HTTPS_PROXY": proxy,
        "HTTP_PROXY": proxy,
        "NO_PROXY": "127.0.0.1,localhost",
        "DO_NOT_TRACK": "1",
        MARK: mark,
    }
    return Home(root, common | env)


def engines() -> list[str]:
    """The engines that can be run."""
    return list(_PLANS)


def _write(file: Path, content: str | Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    file.write_text(text, encoding="utf-8")


def _codex(root: Path, url: str) -> None:
    # A model the CLI knows: for others it warns, and offers other tools.
    _write(
        root / ".codex" / "config.toml",
        f"""\
model = "gpt-5.5"
model_provider = "e2e"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[model_providers.e2e]
name = "e2e"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "E2E_API_KEY"
request_max_retries = 1
stream_max_retries = 1
[analytics]
enabled = false
""",
    )


def _gemini(root: Path, url: str) -> None:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False},
    }
    _write(root / ".gemini" / "settings.json", settings)


def _qwen(root: Path, url: str) -> None:
    settings = {
        "security": {"auth": {"selectedType": "openai"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False},
    }
    _write(root / ".qwen" / "settings.json", settings)


def _opencode_config(url: str) -> dict[str, Any]:
    model = {
        "name": _MODEL,
        "tool_call": True,
        "limit": {"context": 200_000, "output": 8_192},
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "e2e",
        "options": {"baseURL": f"{url}/v1", "apiKey": KEY},
        "models": {_MODEL: model},
    }
    return {
        "model": f"e2e/{_MODEL}",
        "small_model": f"e2e/{_MODEL}",
        "autoupdate": False,
        "share": "disabled",
        "enabled_providers": ["e2e"],
        "provider": {"e2e": provider},
    }


def _opencode(root: Path, url: str) -> None:
    _write(root / ".config" / "opencode" / "opencode.json", _opencode_config(url))


def _kilo(root: Path, url: str) -> None:
    _write(root / ".config" / "kilo" / "kilo.json", _opencode_config(url))


def _pi(root: Path, url: str) -> None:
    model = {
        "id": _MODEL,
        "name": _MODEL,
        "reasoning": False,
        "input": ["text"],
        "contextWindow": 200_000,
        "maxTokens": 8_192,
        "cost": {"input": 1, "output": 2, "cacheRead": 0, "cacheWrite": 0},
    }
    provider = {"baseUrl": f"{url}/v1", "api": "openai-completions", "apiKey": KEY}
    folder = root / ".pi" / "agent"
    _write(folder / "models.json", {"providers": {"e2e": {**provider, "models": [model]}}})
    settings = {"defaultProvider": "e2e", "defaultModel": _MODEL, "enableInstallTelemetry": False}
    _write(folder / "settings.json", settings)


def _kimi(root: Path, url: str) -> None:
    _write(
        root / ".kimi-code" / "config.toml",
        f"""\
default_model = "e2e"
telemetry = false
[providers.e2e]
type = "openai"
base_url = "{url}/v1"
api_key = "{KEY}"
[models.e2e]
provider = "e2e"
model = "{_MODEL}"
max_context_size = 200000
capabilities = ["tool_use"]
""",
    )


def _vibe(root: Path, url: str) -> None:
    _write(
        root / ".vibe" / "config.toml",
        f"""\
active_model = "e2e"
enable_telemetry = false
enable_update_checks = false
[[providers]]
name = "e2e"
api_base = "{url}/v1"
api_key_env_var = "E2E_API_KEY"
api_style = "openai"
backend = "generic"
[[models]]
name = "{_MODEL}"
provider = "e2e"
alias = "e2e"
""",
    )


def _nothing(root: Path, url: str) -> None:
    pass


_PLANS: dict[str, _Plan] = {
    "codex": _Plan(
        _codex, lambda root, url: {"CODEX_HOME": str(root / ".codex"), "E2E_API_KEY": KEY}
    ),
    "claude": _Plan(
        _nothing,
        lambda root, url: {
            "CLAUDE_CONFIG_DIR": str(root / ".claude"),
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        },
        'use_api_billing = true\nmodel = "claude-sonnet-4-5"',
    ),
    "gemini": _Plan(
        _gemini,
        lambda root, url: {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url},
        'model = "gemini-2.5-pro"',  # choosing one by itself costs it a minute
    ),
    "opencode": _Plan(
        _opencode,
        lambda root, url: {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_SHARE": "1",
        },
    ),
    "pi": _Plan(
        _pi,
        lambda root, url: {
            "PI_CODING_AGENT_DIR": str(root / ".pi" / "agent"),
            "PI_OFFLINE": "1",
            "PI_TELEMETRY": "0",
            "PI_SKIP_VERSION_CHECK": "1",
        },
    ),
    "copilot": _Plan(
        _nothing,
        lambda root, url: {
            "COPILOT_OFFLINE": "true",
            "COPILOT_PROVIDER_BASE_URL": f"{url}/v1",
            "COPILOT_PROVIDER_API_KEY": KEY,
            "COPILOT_MODEL": _MODEL,
            "COPILOT_AUTO_UPDATE": "false",
        },
    ),
    "kimi": _Plan(_kimi, lambda root, url: {"KIMI_DISABLE_TELEMETRY": "1"}),
    "vibe": _Plan(_vibe, lambda root, url: {"E2E_API_KEY": KEY, "MISTRAL_API_KEY": KEY}),
    "kilo": _Plan(
        _kilo,
        lambda root, url: {
            "KILO_TELEMETRY_LEVEL": "off",
            "KILO_DISABLE_AUTOUPDATE": "1",
            "KILO_DISABLE_MODELS_FETCH": "1",
        },
    ),
    "qwen": _Plan(
        _qwen,
        lambda root, url: {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_MODEL": _MODEL,
        },
    ),
}
