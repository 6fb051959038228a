"""Long polling: what came in while we were away, then every update as it comes.

An update's offset is moved on before the update is handled, so that one nobody can handle is never
fetched again.
Source: https://core.telegram.org/bots/api#getupdates
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import anyio

from takopi.errors import ConfigError
from takopi.lockfile import lock_holder, token_fingerprint
from takopi.logs import get_logger
from takopi.telegram.updates import ALLOWED_UPDATES, update_id_of
from takopi.telegram.wire import Conflict, Ok, RateLimited, Result, Unauthorized

POLL_TIMEOUT_S = 50
BACKOFF_MIN_S = 2.0
BACKOFF_MAX_S = 30.0
CONFLICT_WAIT_S = 10.0
DELETE_WEBHOOK = (
    "open https://api.telegram.org/bot<token>/deleteWebhook in a browser, with the bot's token for"
    " <token> (and your `api_url` if you set one) to delete it; if nobody you know has set it, get a"
    " new token from @BotFather with /revoke"
)
"""What to do about a webhook."""

_WEBHOOK_SET = "a webhook is set for this bot: its messages go to a server, and not to takopi"

logger = get_logger(__name__)


class UpdateSource(Protocol):
    """Where updates come from."""

    async def get_updates(
        self, offset: int | None, timeout_s: int, allowed: Sequence[str]
    ) -> Result[list[Any]]:
        """Updates as they came; ``allowed`` are the kinds that are wanted."""
        ...


class Poller:
    """Fetches updates; the only one to do so. Knows nothing of what is in them but their ids."""

    def __init__(
        self,
        source: UpdateSource,
        *,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._source = source
        self._sleep = sleep
        self._jitter = jitter
        self._offset: int | None = None
        self._failures = 0  # in a row
        self._reported: object = None  # the kind of the last one

    async def drain(self, is_wanted: Callable[[object], bool]) -> int:
        """Throw away what came in while nobody was here; how many messages of it were wanted.

        Tried until all of it is seen: what is old must never be run. Raises `ConfigError` for a token that is not accepted, and for a webhook.
        """
        messages = 0
        while True:
            outcome = await self._fetch(0)
            if _is_webhook(outcome):  # nothing runs yet, and it does not go away by itself
                raise ConfigError(f"{_WEBHOOK_SET}; {DELETE_WEBHOOK}")
            updates = _updates(outcome)
            if updates is None:
                await self._wait(outcome)
                continue
            self._note_success()
            if not updates:
                return messages
            for raw in updates:
                self._advance(raw)
                messages += is_wanted(raw)

    async def run(self, handle: Callable[[object], Awaitable[None]]) -> None:
        """Hand on every update, in order, until cancelled.

        ``handle`` is awaited before the next one: what is slow belongs into a task of its own. An
        exception of it is logged. Raises `ConfigError` for a token that is not accepted; a webhook is
        waited for to be deleted, as runs may be under way.
        """
        while True:
            outcome = await self._fetch(POLL_TIMEOUT_S)
            updates = _updates(outcome)
            if updates is None:
                await self._wait(outcome)
                continue
            self._note_success()
            for raw in updates:
                self._advance(raw)
                try:
                    await handle(raw)
                except Exception:
                    logger.exception("polling.handler_failed", update_id=update_id_of(raw))

    def _note_success(self) -> None:
        if self._failures:
            logger.info("polling.recovered", failures=self._failures)
            self._failures = 0
            self._reported = None

    def _advance(self, raw: object) -> None:
        update_id = update_id_of(raw)
        if update_id is not None:
            # Not the highest so far: after a quiet week the ids go on anywhere.
            self._offset = update_id + 1

    async def _fetch(self, timeout_s: int) -> Result[list[Any]] | None:
        try:
            outcome = await self._source.get_updates(self._offset, timeout_s, ALLOWED_UPDATES)
        except Exception:
            logger.exception("polling.source_failed")
            return None
        if isinstance(outcome, Unauthorized):
            raise ConfigError(
                f"telegram does not accept the bot token ({outcome.description or 'unauthorized'});"
                " ask @BotFather for the current one and set `transports.telegram.bot_token`,"
                " and check `api_url` beside it if you set that"
            )
        return outcome

    async def _wait(self, outcome: Result[list[Any]] | None) -> None:
        """Sleep for as long as a failure asks for."""
        if isinstance(outcome, RateLimited):
            delay_s = max(outcome.seconds, 0.0)
        elif isinstance(outcome, Conflict):
            delay_s = CONFLICT_WAIT_S
        else:
            most = min(BACKOFF_MIN_S * 2 ** min(self._failures, 10), BACKOFF_MAX_S)
            delay_s = self._jitter(BACKOFF_MIN_S, most)
        self._report(outcome, delay_s)
        self._failures += 1
        await self._sleep(delay_s)

    def _report(self, outcome: Result[list[Any]] | None, delay_s: float) -> None:
        """Log a failure; more of the same kind only in the debug log."""
        kind = (type(outcome), _is_webhook(outcome))
        log = logger.debug if kind == self._reported else logger.warning
        self._reported = kind
        if isinstance(outcome, Conflict):
            hint = "another program fetches the updates of this bot; stop it"
            if _is_webhook(outcome):
                hint = f"{_WEBHOOK_SET}; {DELETE_WEBHOOK}"
            log("polling.conflict", hint=hint, delay_s=delay_s, description=outcome.description)
        else:
            log("polling.failed", delay_s=round(delay_s, 1), reason=type(outcome).__name__)


def poller_of(token: str) -> int | None:
    """The takopi on this computer that has a bot, whatever file it was started with.

    Raises `OSError` if that cannot be told.
    """
    try:
        locks = Path.home() / ".takopi" / "locks"
    except RuntimeError:  # nobody knows where the home directory is: no takopi could lock there
        return None
    return lock_holder(locks / f"{token_fingerprint(token)}")


def _is_webhook(outcome: Result[list[Any]] | None) -> bool:
    """Whether updates cannot be fetched as they go elsewhere; else a conflict is another poller.

    Telegram says "can't use getUpdates method while webhook is active", and "terminated by
    setWebhook request" to a poll that waits.
    """
    return isinstance(outcome, Conflict) and "webhook" in outcome.description.lower()


def _updates(outcome: Result[list[Any]] | None) -> list[Any] | None:
    """The batch; None for a failure, and for a batch that would come again for ever."""
    if not isinstance(outcome, Ok):
        return None
    updates = outcome.result
    if updates and all(update_id_of(raw) is None for raw in updates):
        return None
    return updates
