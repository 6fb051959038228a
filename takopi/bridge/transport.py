"""What a chat is to takopi before it delivers anything: finding, checking and starting it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from takopi.engines.backend import EngineBackend, SetupIssue
from takopi.plugins import TRANSPORT_GROUP, backend_validator, list_ids, load_backend

if TYPE_CHECKING:
    from takopi.bridge.runtime import TransportRuntime


@dataclass(frozen=True, slots=True)
class SetupResult:
    """What is missing before a transport can start, and the configuration file looked at."""

    issues: list[SetupIssue]
    config_path: Path

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return not self.issues


@runtime_checkable
class TransportBackend(Protocol):
    """A chat, as an entry point gives it. Call `lock_token` and `interactive_setup` by the functions
    below: published plugins differ in how they declare them.
    """

    id: str
    description: str

    def check_setup(
        self, engine_backend: EngineBackend, *, transport_override: str | None = None
    ) -> SetupResult:
        """What is missing. No side effects beyond migrating the configuration."""
        ...

    def interactive_setup(self, *, force: bool) -> Awaitable[bool] | bool:
        """Ask the user what is missing; False when that was broken off.

        Without ``force`` an existing configuration is good enough.
        """
        ...

    def lock_token(self, *, transport_config: Any, _config_path: Path) -> str | None:
        """The secret that identifies the account; only its digest is stored."""
        ...

    def build_and_run(
        self,
        *,
        transport_config: Any,
        config_path: Path,
        runtime: TransportRuntime,
        final_notify: bool,
        default_engine_override: str | None,
    ) -> None:
        """Run an event loop of its own until the end."""
        ...


_VALIDATOR = backend_validator(TransportBackend, "a")


def list_transports(*, allowlist: Iterable[str] | None = None) -> list[str]:
    """The ids of all transports, sorted; none is imported."""
    return list_ids(TRANSPORT_GROUP, allowlist=allowlist)


def get_transport(transport_id: str, *, allowlist: Iterable[str] | None = None) -> TransportBackend:
    """The transport with that id. Raises `ConfigError`."""
    loaded = load_backend(TRANSPORT_GROUP, transport_id, allowlist=allowlist, validator=_VALIDATOR)
    return cast("TransportBackend", loaded)


def lock_token(
    backend: TransportBackend, *, transport_config: Any, config_path: Path
) -> str | None:
    """A transport's lock token.

    Real plugins call the path ``_config_path``; those made from the documentation ``config_path``.
    """
    parameters = inspect.signature(backend.lock_token).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    names = [n for n in ("_config_path", "config_path") if n in parameters or takes_any]
    call: Any = backend.lock_token
    token = call(transport_config=transport_config, **dict.fromkeys(names[:1], config_path))
    return cast("str | None", token)


def interactive_setup(backend: TransportBackend, *, force: bool) -> bool:
    """Run a transport's set-up, plain function or coroutine; call it outside of any event loop."""
    import anyio

    answer = backend.interactive_setup(force=force)
    if not inspect.isawaitable(answer):
        return bool(answer)

    async def wait() -> bool:
        return bool(await answer)

    return anyio.run(wait)


def needs_config(issue: SetupIssue, transport_id: str) -> bool:
    """Whether the set-up of the transport would resolve an issue."""
    return issue.needs_config or issue.title in ("create a config", f"configure {transport_id}")
