"""The fake Bot API behind an httpx transport: no socket, for the tests of the wire client itself."""

from __future__ import annotations

from urllib.parse import unquote

import anyio
import httpx

from tests.fake_telegram.api import FakeBotApi, Request
from tests.fake_telegram.faults import Drop

MOMENT_S = 0.002


def mock_transport(api: FakeBotApi) -> httpx.AsyncBaseTransport:
    """A transport whose every request is answered by ``api``; faults become httpx's errors."""

    async def handle(request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path)
        if api.unreachable:
            raise httpx.ConnectError("the fake network is down", request=request)
        if api.drops_unread(path):
            raise httpx.ReadError("the fake connection was reset", request=request)
        steps = api.handle(
            Request(
                path,
                request.url.query.decode(),
                request.headers.get("Content-Type", ""),
                request.headers.get("Authorization", ""),
                await request.aread(),
            )
        )
        try:
            while True:
                with api.changed:
                    next(steps)
                await anyio.sleep(MOMENT_S)
        except StopIteration as end:
            outcome = end.value
        finally:
            with api.changed:
                steps.close()  # the client may have been cancelled
        if isinstance(outcome, Drop) or outcome.cut:
            raise httpx.ReadError("the fake connection was reset", request=request)
        headers = {"Content-Type": outcome.content_type}
        return httpx.Response(outcome.status, content=outcome.body, headers=headers)

    return httpx.MockTransport(handle)
