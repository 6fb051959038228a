"""A model server that says what a script tells it to: loopback, standard library, no key needed.

    with FakeLlm([Turn(command="ls"), Turn(text="Two files.")]) as llm:
        ...  # a CLI whose base URL is llm.url
        assert llm.unused == 0

A turn names a shell command, not a tool: which tool runs commands, and what its arguments are called,
is found among the tools that the request offers. It is a proxy as well, one that refuses every host
but itself and remembers who was asked for: CLIs that are told to use it reach nothing else.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from tests.e2e_engines.dialects import (
    Call,
    Reply,
    Tool,
    dialect_of,
    document,
    error_body,
    frames,
    offered_tools,
    wants_stream,
)

SIDE_TEXT = "Side answer"  # for requests without tools: titles, summaries, classifiers
EXHAUSTED = "The script has no more turns."

# What the tool that runs a shell command is called, and its argument.
_SHELL_TOOLS = ("exec_command", "shell_command", "run_shell_command", "bash", "shell", "terminal")
_COMMAND_ARGUMENTS = ("command", "cmd")


class NoShellError(LookupError):
    """The request offers no tool that runs a shell command."""


@dataclass(frozen=True)
class Turn:
    """One answer of the model: ``error`` (an HTTP status, with ``text``), or text and a command."""

    text: str | None = None
    command: str | None = None
    delay_s: float = 0.0
    error: int | None = None
    repeat: bool = False  # answer every further request with it, those without tools as well


@dataclass(frozen=True)
class Request:
    """A model request as it came in; ``answer`` is what was done with it."""

    path: str
    dialect: str
    text: str
    tools: tuple[str, ...]
    answer: str


@dataclass
class _Script:
    turns: Sequence[Turn]
    used: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, *, tools: bool) -> Turn:
        with self.lock:
            turn = self.turns[self.used] if self.used < len(self.turns) else None
            if not tools and not (turn is not None and turn.repeat):
                return Turn(text=SIDE_TEXT)
            if turn is None:
                return Turn(text=EXHAUSTED)
            self.used += not turn.repeat
            return turn


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A CLI that has been ended closes nothing."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakeLlm:
    """The server; a new script can be played at any time. Use it as a context manager."""

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self.requests: list[Request] = []
        self.outside: list[str] = []  # hosts that were asked for through the proxy
        self.unknown: list[str] = []  # "METHOD path" of what no dialect knows
        self._script = _Script(turns)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def play(self, turns: Sequence[Turn]) -> None:
        """Start a new script, with an empty record."""
        self._script = _Script(turns)
        self.requests.clear()

    @property
    def unused(self) -> int:
        """How many turns nobody asked for."""
        script = self._script
        return sum(not turn.repeat for turn in script.turns) - script.used

    def seen(self, *texts: str) -> bool:
        """Whether one request that offers tools holds all of the texts, as JSON writes them."""
        forms = [(text, json.dumps(text, ensure_ascii=False)[1:-1]) for text in texts]
        return any(
            all(text in request.text or escaped in request.text for text, escaped in forms)
            for request in self.requests
            if request.tools
        )

    def take(self, path: str, dialect: str, body: Mapping[str, Any], text: str) -> Turn | Reply:
        """The next turn for a request: an error as it is, all else as a reply."""
        tools = offered_tools(dialect, body)
        turn = self._script.take(tools=bool(tools))
        result: Turn | Reply = turn
        answer = f"error {turn.error}"
        if turn.error is None:
            try:
                call = _shell_call(tools, turn.command) if turn.command is not None else None
                result = Reply(turn.text, call)
                answer = call.tool.name if call else repr(turn.text)
            except NoShellError as error:
                answer = str(error)
                result = Reply(answer)
        names = tuple(tool.name for tool in tools)
        self.requests.append(Request(path, dialect, text, names, answer))
        time.sleep(turn.delay_s)
        return result


def _shell_call(tools: Sequence[Tool], command: str) -> Call:
    """A call of the tool that runs commands, with every argument it requires."""
    by_name = {tool.name.lower(): tool for tool in reversed(tools)}
    for name in _SHELL_TOOLS:
        tool = by_name.get(name)
        argument = _command_argument(tool) if tool is not None else None
        if tool is not None and argument is not None:
            return Call(tool, _arguments(tool.schema, argument, command))
    raise NoShellError(f"no shell tool among {', '.join(sorted(by_name))}")


def _command_argument(tool: Tool) -> str | None:
    known = tool.schema.get("properties") or {}
    return next((name for name in _COMMAND_ARGUMENTS if name in known), None)


def _arguments(schema: Mapping[str, Any], argument: str, command: str) -> dict[str, Any]:
    known = schema["properties"]
    takes_list = str(known[argument].get("type")).lower() == "array"
    values: dict[str, Any] = {argument: ["bash", "-c", command] if takes_list else command}
    if "yield_time_ms" in known:  # or a slow command is put into the background after a while
        values["yield_time_ms"] = 30_000
    for name in schema.get("required") or []:
        if name not in values:
            values[name] = _some_value(known.get(name) or {})
    return values


def _some_value(schema: Mapping[str, Any]) -> Any:
    """A value that an argument's schema allows."""
    if schema.get("enum"):
        return schema["enum"][0]
    kinds = {"boolean": False, "integer": 30, "number": 30, "array": [], "object": {}}
    return kinds.get(str(schema.get("type")).lower(), "Run a command")


def _handler(llm: FakeLlm) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        owner = llm

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FakeLlm

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.owner.outside.append(self.path)
        self._send(403, {"error": {"message": "this proxy leads nowhere"}})

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        if path.endswith("/models"):
            models = [{"id": "e2e-model", "object": "model", "created": 1, "owned_by": "e2e"}]
            self._send(200, {"object": "list", "data": models, "has_more": False})
        else:
            self._unknown(path)

    def do_POST(self) -> None:
        raw = self._body().decode("utf-8", "replace")
        path = self._path()
        if path is None:
            return
        try:
            body = json.loads(raw or "{}")
        except ValueError:
            body = None
        dialect = dialect_of(path)
        if path.endswith(("/count_tokens", ":countTokens")):
            self._send(200, {"input_tokens": 100, "totalTokens": 100})
        elif dialect is None or not isinstance(body, dict):
            self._unknown(path)
        else:
            self._answer(path, dialect, body, raw)

    def _answer(self, path: str, dialect: str, body: dict[str, Any], raw: str) -> None:
        reply = self.owner.take(path, dialect, body, raw)
        if isinstance(reply, Turn):
            status = reply.error or 500
            self._send(status, error_body(dialect, status, reply.text or "refused"))
            return
        model = str(body.get("model") or "e2e-model")
        if not wants_stream(dialect, path, body):
            self._send(200, document(dialect, reply, model))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for name, data in frames(dialect, reply, model):
                head = f"event: {name}\n" if name else ""
                self.wfile.write(f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode())
            if dialect == "chat":
                self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass  # the CLI has been ended

    def _path(self) -> str | None:
        """The path asked for; None after refusing a request for another host."""
        url = urlsplit(self.path)
        if url.netloc and f"http://{url.netloc}" != self.owner.url:
            self.owner.outside.append(url.netloc)
            self._send(403, {"error": {"message": "this proxy leads nowhere"}})
            return None
        return url.path.rstrip("/")

    def _unknown(self, path: str) -> None:
        self.owner.unknown.append(f"{self.command} {path}")
        self._send(404, {"error": {"message": f"no such path {path}", "type": "not_found_error"}})

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            data = b"".join(self._chunks())
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        coding = (self.headers.get("Content-Encoding") or "").lower()
        if coding == "gzip":
            return gzip.decompress(data)
        return zlib.decompress(data) if coding == "deflate" else data

    def _chunks(self) -> list[bytes]:
        chunks: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return chunks

    def _send(self, status: int, data: Mapping[str, Any]) -> None:
        raw = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)
