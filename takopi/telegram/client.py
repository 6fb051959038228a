"""The Bot API over HTTP: one method per call, a typed result for whatever comes back.

`BotClient` asks at once; `TelegramClient` is how everything but messages goes through the outbox.
The token is put into the address only below httpx, so that neither its log lines nor its errors
ever hold it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

from takopi.errors import ConfigError
from takopi.logs import add_secret, get_logger, redact
from takopi.telegram.outbox import Operation, Outbox, Outcome, Sleep
from takopi.telegram.wire import (
    BadRequest,
    BotUser,
    ChatId,
    ChatInfo,
    Failure,
    Gone,
    Json,
    Membership,
    Migrated,
    Ok,
    Post,
    RateLimited,
    Result,
    SentMessage,
    TopicUnchanged,
    Transient,
    Unchanged,
    decode,
    read_bot,
    read_chat,
    read_file_path,
    read_membership,
    read_sent,
    read_topic,
    read_true,
    read_updates,
    read_webhook,
    reply_parameters,
    without_none,
)

T = TypeVar("T")

DEFAULT_API_URL = "https://api.telegram.org"
UPDATE_KINDS = ("message", "callback_query")
MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024
"""What the Bot API gives a bot at most."""

_TIMEOUT_S = 120.0
_CONNECT_S = 10.0
_POLL_MARGIN_S = 30.0
_CALLBACK_S = 15.0  # a button waits no longer for its answer
_CONNECTIONS = 200  # one per chat and a few more: nothing waits for a free one

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file to send."""

    chat_id: ChatId
    name: str
    data: bytes
    caption: str | None = None
    reply_to: int | None = None
    thread_id: int | None = None


class BotClient:
    """The Bot API of one bot: ``async with BotClient(token) as bot``.

    ``api_url``    where the server is, without the token. Raises `ConfigError` if it is no address
    ``transport``  takes the place of the network, in tests

    No method raises for what the network or the server does.
    """

    def __init__(
        self,
        token: str,
        *,
        api_url: str = DEFAULT_API_URL,
        timeout_s: float = _TIMEOUT_S,
        sleep: Sleep = anyio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        add_secret(token)
        self._api_url = _checked_url(api_url)
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._moved: dict[ChatId, int] = {}
        self._http = httpx.AsyncClient(
            transport=_WithToken(token, self._api_url, transport or _network(self._api_url)),
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        with anyio.CancelScope(shield=True):
            await self._http.aclose()

    # -- receiving -------------------------------------------------------------------------------

    async def get_updates(
        self, offset: int | None, timeout_s: int, allowed: Sequence[str] = UPDATE_KINDS
    ) -> Result[list[Any]]:
        """New updates as they came, after waiting up to ``timeout_s`` for the first."""
        parameters = without_none(timeout=timeout_s, offset=offset, allowed_updates=list(allowed))
        within_s = min(self._timeout_s, timeout_s + _POLL_MARGIN_S)
        return await self._call("getUpdates", parameters, read_updates, within_s)

    async def get_file(self, file_id: str) -> Result[str]:
        """The path of a file, for `download_file`. Waits while there are too many requests."""
        return await self._patiently(
            lambda: self._call("getFile", {"file_id": file_id}, read_file_path)
        )

    async def download_file(
        self, file_path: str, *, max_bytes: int = MAX_DOWNLOAD_BYTES
    ) -> Result[bytes]:
        """The content of a file; `BadRequest` if it is larger. Waits as `get_file` does."""
        return await self._patiently(lambda: self._download(file_path, max_bytes))

    # -- messages --------------------------------------------------------------------------------

    async def send_message(self, post: Post) -> Result[SentMessage]:
        """Post a message."""
        return await self._write("sendMessage", post.to_send(), read_sent)

    async def edit_message_text(self, post: Post, message_id: int) -> Result[SentMessage]:
        """Show another text, formatting and buttons in a message."""
        if post.chat_id in self._moved:
            return Gone()
        return await self._call("editMessageText", post.to_edit(message_id), read_sent)

    async def remove_buttons(self, chat_id: ChatId, message_id: int) -> Result[SentMessage]:
        """Leave a message without its keyboard; `Gone` if it is none of ours."""
        parameters = {"chat_id": chat_id, "message_id": message_id}
        return await self._call("editMessageReplyMarkup", parameters, read_sent)

    async def delete_message(self, chat_id: ChatId, message_id: int) -> Result[bool]:
        """Delete a message."""
        if chat_id in self._moved:
            return Gone()
        parameters = {"chat_id": chat_id, "message_id": message_id}
        return await self._call("deleteMessage", parameters, read_true)

    async def send_document(self, document: Document) -> Result[SentMessage]:
        """Post a file."""
        parameters = without_none(
            chat_id=document.chat_id,
            disable_notification=False,
            reply_parameters=reply_parameters(document.reply_to),
            message_thread_id=document.thread_id,
            caption=document.caption,
        )
        files = {"document": (_clean(document.name), document.data)}
        return await self._write("sendDocument", parameters, read_sent, files)

    async def answer_callback_query(
        self, query_id: str, text: str | None = None, *, show_alert: bool = False
    ) -> Result[bool]:
        """Stop a pressed button's spinner, and show a text if there is one."""
        parameters = without_none(
            callback_query_id=query_id, text=text, show_alert=show_alert or None
        )
        within_s = min(self._timeout_s, _CALLBACK_S)
        return await self._call("answerCallbackQuery", parameters, read_true, within_s)

    # -- the bot and its chats -------------------------------------------------------------------

    async def get_me(self) -> Result[BotUser]:
        """The bot itself."""
        return await self._call("getMe", {}, read_bot)

    async def get_webhook_info(self) -> Result[str]:
        """Where the bot's updates are sent, so that none can be fetched; empty if nowhere."""
        return await self._call("getWebhookInfo", {}, read_webhook)

    async def set_my_commands(
        self,
        commands: Sequence[tuple[str, str]],
        *,
        scope: Mapping[str, Any] | None = None,
        language_code: str | None = None,
    ) -> Result[bool]:
        """Set the command menu: pairs of command and description."""
        listed = [{"command": name, "description": text} for name, text in commands]
        parameters = without_none(commands=listed, scope=scope, language_code=language_code)
        return await self._call("setMyCommands", parameters, read_true)

    async def get_chat(self, chat_id: ChatId) -> Result[ChatInfo]:
        """What a chat is."""
        return await self._write("getChat", {"chat_id": chat_id}, read_chat)

    async def get_chat_member(self, chat_id: ChatId, user_id: int) -> Result[Membership]:
        """What somebody may do in a chat."""
        parameters = {"chat_id": chat_id, "user_id": user_id}
        return await self._write("getChatMember", parameters, read_membership)

    async def create_forum_topic(self, chat_id: ChatId, name: str) -> Result[int]:
        """Open a topic; gives its thread id."""
        parameters = {"chat_id": chat_id, "name": name}
        return await self._write("createForumTopic", parameters, read_topic)

    async def edit_forum_topic(self, chat_id: ChatId, thread_id: int, name: str) -> Result[bool]:
        """Rename a topic."""
        parameters = {"chat_id": chat_id, "message_thread_id": thread_id, "name": name}
        return await self._write("editForumTopic", parameters, read_true)

    # -- how -------------------------------------------------------------------------------------

    async def _write(
        self,
        method: str,
        parameters: Json,
        read: Callable[[Any], T],
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Result[T]:
        """A call to a chat, which may have a new id by now."""
        old_id = parameters["chat_id"]
        if old_id not in self._moved:
            result = await self._call(method, parameters, read, files=files)
            if not isinstance(result, Migrated):
                return result
            self._moved[old_id] = result.chat_id
            logger.warning(
                "telegram.chat_migrated",
                old_chat_id=old_id,
                new_chat_id=result.chat_id,
                help="put the new chat id into takopi.toml",
            )
        # Messages and topics have other ids in the new chat.
        stale = ("reply_parameters", "message_thread_id")
        moved = {key: value for key, value in parameters.items() if key not in stale}
        moved["chat_id"] = self._moved[old_id]
        return await self._call(method, moved, read, files=files)

    async def _call(
        self,
        method: str,
        parameters: Json,
        read: Callable[[Any], T],
        within_s: float | None = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Result[T]:
        url = f"{self._api_url}/{method}"
        if files is None:
            body: Json = {
                "content": _encode(parameters),
                "headers": {"Content-Type": "application/json"},
            }
        else:
            body = {"data": _form(parameters), "files": files}

        async def ask() -> Result[T]:
            response = await self._http.post(url, **body)
            return decode(response.status_code, response.content, read)

        result = await self._within(within_s, ask)
        if not isinstance(result, Ok):
            self._log(method, result)
        return result

    async def _download(self, file_path: str, max_bytes: int) -> Result[bytes]:
        async def fetch() -> Result[bytes]:
            url = f"{self._api_url}/file/{quote(file_path)}"
            async with self._http.stream("GET", url) as response:
                if response.status_code != 200:
                    content = await response.aread()
                    refused = decode(response.status_code, content, read_true)
                    if isinstance(refused, Ok):
                        return Transient(f"HTTP {response.status_code}")
                    return refused
                parts = bytearray()
                async for part in response.aiter_bytes():
                    parts += part
                    if len(parts) > max_bytes:
                        return BadRequest(f"the file is larger than {max_bytes} bytes")
                return Ok(bytes(parts))

        result = await self._within(None, fetch)
        if not isinstance(result, Ok):
            self._log("download", result)
        return result

    async def _within(
        self, seconds: float | None, ask: Callable[[], Awaitable[Result[T]]]
    ) -> Result[T]:
        """What ``ask`` gives, with everything that the network does as a result."""
        seconds = self._timeout_s if seconds is None else seconds
        try:
            with anyio.fail_after(seconds):
                return await ask()
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.WriteError,
        ) as error:
            return Transient(_describe(error))
        except httpx.HTTPError as error:
            return Transient(_describe(error), maybe_done=True)
        except TimeoutError:
            return Transient(f"no answer within {seconds:g} s", maybe_done=True)
        except (httpx.InvalidURL, httpx.StreamError, OSError) as error:
            return Transient(_describe(error), maybe_done=True)

    async def _patiently(self, ask: Callable[[], Awaitable[Result[T]]]) -> Result[T]:
        while isinstance(result := await ask(), RateLimited):
            await self._sleep(result.seconds)
        return result

    def _log(self, method: str, failure: Failure) -> None:
        expected = isinstance(failure, Unchanged | Gone | TopicUnchanged | RateLimited)
        (logger.debug if expected else logger.warning)(
            "telegram.request_failed",
            method=method,
            url=f"{self._api_url}/bot[REDACTED]/{method}",
            problem=type(failure).__name__,
            description=getattr(failure, "description", None),
        )


class TelegramClient:
    """The bot's calls in the outbox: those that write to a chat at its pace, the others at once.

    Messages that are text go through `TelegramTransport`.
    """

    def __init__(self, bot: BotClient, outbox: Outbox) -> None:
        self._bot = bot
        self._outbox = outbox

    async def send_document(self, document: Document) -> Outcome[SentMessage]:
        """Post a file."""
        send = Operation(
            document.chat_id, lambda: self._bot.send_document(document), essential=True
        )
        return await self._outbox.submit(send).wait()

    async def create_forum_topic(self, chat_id: ChatId, name: str) -> Outcome[int]:
        """Open a topic; gives its thread id."""
        create = Operation(chat_id, lambda: self._bot.create_forum_topic(chat_id, name))
        return await self._outbox.submit(create).wait()

    async def edit_forum_topic(self, chat_id: ChatId, thread_id: int, name: str) -> Outcome[bool]:
        """Rename a topic."""
        rename = Operation(chat_id, lambda: self._bot.edit_forum_topic(chat_id, thread_id, name))
        return await self._outbox.submit(rename).wait()

    async def answer_callback_query(
        self, query_id: str, text: str | None = None, *, show_alert: bool = False
    ) -> Outcome[bool]:
        """Stop a pressed button's spinner, and show a text if there is one."""
        return await self._at_once(
            "answerCallbackQuery",
            lambda: self._bot.answer_callback_query(query_id, text, show_alert=show_alert),
        )

    async def get_me(self) -> Outcome[BotUser]:
        """The bot itself."""
        return await self._at_once("getMe", self._bot.get_me)

    async def get_chat(self, chat_id: ChatId) -> Outcome[ChatInfo]:
        """What a chat is."""
        return await self._at_once("getChat", lambda: self._bot.get_chat(chat_id))

    async def get_chat_member(self, chat_id: ChatId, user_id: int) -> Outcome[Membership]:
        """What somebody may do in a chat."""
        return await self._at_once(
            "getChatMember", lambda: self._bot.get_chat_member(chat_id, user_id)
        )

    async def set_my_commands(self, commands: Sequence[tuple[str, str]]) -> Outcome[bool]:
        """Set the command menu: pairs of command and description."""
        return await self._at_once("setMyCommands", lambda: self._bot.set_my_commands(commands))

    async def _at_once(self, method: str, action: Callable[[], Awaitable[Result[T]]]) -> Outcome[T]:
        ask = Operation(method, action, paced=False, repeatable=True)
        return await self._outbox.submit(ask).wait()


class _WithToken(httpx.AsyncBaseTransport):
    """Puts the token into the path: ``/getMe`` → ``/bot<token>/getMe``, ``/file/x`` likewise."""

    def __init__(self, token: str, api_url: str, inner: httpx.AsyncBaseTransport) -> None:
        self._segment = f"/bot{quote(token, safe=':')}".encode()
        self._base = urlsplit(api_url).path.encode()
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to where it really goes."""
        path = request.url.raw_path.removeprefix(self._base)
        before = b"/file" if path.startswith(b"/file/") else b""
        whole = self._base + before + self._segment + path.removeprefix(before)
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                request.url.copy_with(raw_path=whole),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        """Close what is below."""
        await self._inner.aclose()


def _network(api_url: str) -> httpx.AsyncBaseTransport:
    """Connections, through the proxy of the environment if there is one for this server."""
    url = urlsplit(api_url)
    found = getproxies()
    proxy = found.get(url.scheme) or found.get("all")
    if proxy is not None and proxy_bypass(url.netloc):
        proxy = None
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=20)
    try:
        return httpx.AsyncHTTPTransport(proxy=proxy, limits=limits)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        if proxy is None:
            raise
        # Without what it says: the address of a proxy may hold a password.
        raise ConfigError(
            f"the proxy in the environment cannot be used ({type(error).__name__}): check"
            f" `{url.scheme.upper()}_PROXY` and `ALL_PROXY`, or put this server into `NO_PROXY`"
        ) from None


def _checked_url(api_url: str) -> str:
    """An address of a server without its last slash."""
    try:
        url = urlsplit(api_url)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        valid = None
    if not valid or url.query or url.fragment or url.username is not None:
        raise ConfigError(
            "`api_url` must be the address of a Bot API server, as `https://host` or"
            " `http://host:port/path`"
        )
    return api_url.rstrip("/")


def _encode(parameters: Json) -> bytes:
    # Half a character cannot be sent; its replacement is as long, so that entities still fit.
    return json.dumps(parameters, ensure_ascii=False).encode("utf-8", "replace")


def _form(parameters: Json) -> dict[str, str]:
    """Parameters as text fields: JSON, except for text itself."""
    return {
        key: _clean(value) if isinstance(value, str) else json.dumps(value)
        for key, value in parameters.items()
    }


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _describe(error: Exception) -> str:
    return redact(f"{type(error).__name__}: {error}".removesuffix(": "))
