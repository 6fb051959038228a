"""The fake Bot API on a loopback port, in threads of its own.

    with FakeTelegram() as tg:
        alice = tg.user(1, "Alice")
        dm = tg.private(alice)
        ...  # point a client, or a whole program, at tg.url with tg.token
        dm.send("hello")
        answer = dm.bot_message(startswith="done")
        tg.check()

Faces: /bot<token>/<method>, /file/bot<token>/<path> and /v1/audio/transcriptions.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.fake_telegram.api import FakeBotApi, Request
from tests.fake_telegram.chats import Room
from tests.fake_telegram.driver import Driver
from tests.fake_telegram.faults import Answer, Drop

MOMENT_S = 0.02  # how long a waiting call sleeps before it looks whether its client is still there


class FakeTelegram(Driver):
    """The server and the people in front of it. Use it as a context manager.

    It refuses everything after ``max_requests`` requests or ``lifetime_s`` seconds, so that a client
    which runs wild ends its test.
    """

    def __init__(
        self,
        api: FakeBotApi | None = None,
        *,
        port: int = 0,
        max_requests: int = 5000,
        lifetime_s: float = 60,
    ) -> None:
        super().__init__(api or FakeBotApi())
        self.requests = 0
        self._max_requests = max_requests
        self._closes_at = time.monotonic() + lifetime_s
        self._closing = False
        self._connections: set[socket.socket] = set()
        self._handler = type("Handler", (_Handler,), {"owner": self})
        self._servers = [_Server(("127.0.0.1", port), self._handler)]
        self._thread: threading.Thread | None = None
        self.port: int = self._servers[0].server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        with self.api.changed:
            self._closing = True
            for rule in self.api.faults.rules:
                rule.release()
        self.stop_listening()
        for server in self._servers:
            server.server_close()  # waits for the threads of its connections

    def listen(self) -> None:
        self._servers.append(_Server(("127.0.0.1", self.port), self._handler))
        self._serve()

    def _serve(self) -> None:
        run = self._servers[-1].serve_forever
        self._thread = threading.Thread(target=run, args=(0.02,), daemon=True)
        self._thread.start()

    def stop_listening(self) -> None:
        self._servers[-1].shutdown()
        if self._thread is not None:
            self._thread.join()
        self._servers[-1].socket.close()
        with self.api.changed:
            for connection in self._connections:
                # Only ends it: the thread that owns it closes it.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.api.changed.notify_all()

    def environment(self, room: Room) -> dict[str, str]:
        """Variables that point a takopi process at this server, with ``room`` as its main chat."""
        settings = {"API_URL": self.url, "BOT_TOKEN": self.token, "CHAT_ID": str(room.id)}
        return {f"TAKOPI__TRANSPORTS__TELEGRAM__{name}": text for name, text in settings.items()}

    # For the handlers

    def admits(self) -> bool:
        """Count a request; whether it may be answered at all."""
        self.requests += 1
        excess = f"{self._max_requests} requests" * (self.requests > self._max_requests)
        excess = excess or "its time" * (time.monotonic() > self._closes_at)
        if excess:
            self.api.violations.append(f"runaway: the server closed after {excess}")
        return not (excess or self.api.unreachable)

    def opened(self, connection: socket.socket) -> None:
        with self.api.changed:
            self._connections.add(connection)
            if self._closing or self.api.unreachable:  # it came at the last moment
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def closed(self, connection: socket.socket) -> None:
        with self.api.changed:
            self._connections.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    owner: FakeTelegram

    def setup(self) -> None:
        super().setup()
        self.owner.opened(self.connection)

    def finish(self) -> None:
        self.owner.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_GET

    def _handle(self) -> None:
        api = self.owner.api
        url = urlsplit(self.path)
        path = unquote(url.path)
        with api.changed:
            refused = not self.owner.admits() or api.drops_unread(path)
        if refused:
            self._reset()
            return
        request = Request(
            path,
            url.query,
            self.headers.get("Content-Type", ""),
            self.headers.get("Authorization", ""),
            self._body(),
            self._alive,
        )
        with api.changed:
            steps = api.handle(request)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    outcome: Answer | Drop = end.value
                    break
                api.changed.wait(MOMENT_S)
        if isinstance(outcome, Drop):
            self._reset()
        else:
            self._send(outcome)

    def _alive(self) -> bool:
        """Whether the client has not hung up."""
        try:
            if not select.select([self.connection], [], [], 0)[0]:
                return True
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.owner.api.closes_idle:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        body = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
        self.wfile.write(body)
        if answer.cut:
            self._reset()

    def _reset(self) -> None:
        """End the connection with a reset, as a lost network does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
