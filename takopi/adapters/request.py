"""From a run's request to the exact command line: argv, stdin and environment."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from takopi.adapters.adapter import Adapter, Argument
from takopi.adapters.code import Value
from takopi.adapters.jmes import is_true
from takopi.adapters.options import EngineOptions
from takopi.adapters.scope import Scope
from takopi.adapters.template import as_text
from takopi.config.environment import PREFIX
from takopi.errors import RunError
from takopi.logs import known_secrets

logger = logging.getLogger(__name__)

# Linux refuses one argument of 128 KiB or more (MAX_ARG_STRLEN, its NUL included), whatever the total.
MAX_ARGUMENT_BYTES = 128 * 1024 - 1


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one run is asked to do. ``resume`` is a token of this engine, or None for a new session."""

    prompt: str
    resume: str | None = None
    cwd: str = "."
    model: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What to start. ``command`` is looked up by the process layer."""

    command: str
    args: tuple[str, ...]
    stdin: bytes | None
    env: dict[str, str]
    run: dict[str, Any] = field(repr=False)  # what run() returns in this run's expressions


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What engines inherit of takopi's own environment.

    Not its settings, nor any other variable of its own that holds a known secret.
    """
    return {k: v for k, v in environ.items() if not _is_private(k.upper(), v)}


def _is_private(name: str, value: str) -> bool:
    if name.startswith(PREFIX):
        return True
    return name.startswith("TAKOPI_") and any(secret in value for secret in known_secrets())


def run_values(
    adapter: Adapter,
    request: RunRequest,
    options: EngineOptions,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What ``run()`` returns: the request, its options, and the session asked for or created."""
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "resume": request.resume,
        "session": request.resume,
        "model": request.model or options.values.get("model"),
        "reasoning": request.reasoning or options.values.get("reasoning"),
        "cwd": request.cwd,
        "engine": adapter.id,
    }
    if request.resume is None:
        plan = adapter.session
        if plan is None:
            values["session"] = str(uuid4())  # private: it keeps runs apart and is never shown
        elif plan.create is not None:
            created = plan.create.evaluate(
                {}, Scope(run=values, options=options.values, environ=environ)
            )
            values["session"] = as_text(created) or None
    return values


def build_command(
    adapter: Adapter, request: RunRequest, options: EngineOptions, environ: Mapping[str, str]
) -> CommandLine:
    """The command line of one run. Raises `RunError` for an argument no process can take."""
    clean = inherited(environ)
    values = run_values(adapter, request, options, clean)
    scope = Scope(run=values, options=options.values, environ=clean)
    args = tuple(_arguments(adapter.args, scope))
    command = options.command or _scalar(adapter.command, scope)
    for arg in (command, *args):
        _check_argument(adapter, arg, request.prompt)
    stdin = None
    if adapter.stdin is not None:
        payload = adapter.stdin.evaluate({}, scope)
        # A lone surrogate (half an emoji) must not cost the prompt.
        stdin = None if payload is None else as_text(payload).encode("utf-8", "replace")
    return CommandLine(command, args, stdin, _environment(adapter, options, scope, clean), values)


def _scalar(value: Value, scope: Scope) -> str:
    return as_text(value.evaluate({}, scope))


def _arguments(arguments: Iterable[Argument], scope: Scope) -> Iterable[str]:
    for argument in arguments:
        if argument.value is None:
            if argument.condition is not None and is_true(argument.condition.evaluate({}, scope)):
                yield from _arguments(argument.then, scope)
            continue
        value = argument.value.evaluate({}, scope)
        yield from (
            _argument(v) for v in (value if isinstance(value, list) else [value]) if v is not None
        )


def _argument(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def _check_argument(adapter: Adapter, text: str, prompt: str) -> None:
    if "\0" in text:
        if "\0" in prompt:
            what, advice = f"the prompt for {adapter.name}", "remove it"
        else:
            what, advice = f"an argument for {adapter.name}", f"see [{adapter.id}] in takopi.toml"
        raise RunError(f"{what} holds a NUL character, which no command line can carry; {advice}")
    size = len(text.encode("utf-8", "surrogateescape"))
    if size > MAX_ARGUMENT_BYTES:
        if len(prompt) < size // 8:
            raise RunError(
                f"an argument for {adapter.name} has {size // 1024} KiB, and the system allows "
                f"{MAX_ARGUMENT_BYTES // 1024} KiB; see [{adapter.id}] in takopi.toml"
            )
        raise RunError(
            f"the prompt is too long for {adapter.name}: it takes prompts as one argument, which the system "
            f"limits to {MAX_ARGUMENT_BYTES // 1024} KiB, and this one has {size // 1024} KiB; "
            "put the text into a file and ask about the file"
        )


def _environment(
    adapter: Adapter, options: EngineOptions, scope: Scope, environ: dict[str, str]
) -> dict[str, str]:
    env = dict(environ)
    plan = adapter.env
    for name, value in plan.set:
        result = value.evaluate({}, scope)
        if result is not None:
            env[name] = as_text(result)
    for name, value in plan.default:
        result = value.evaluate({}, scope)
        if result is not None:
            env.setdefault(name, as_text(result))
    for value in plan.unset:
        env.pop(_scalar(value, scope), None)
    env.update(options.env)
    allowed = inherited(env)
    for name in sorted(env.keys() - allowed.keys()):
        logger.warning("%s: engines never get takopi's own `%s`; remove it", adapter.id, name)
    return allowed
