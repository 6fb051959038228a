"""pytest fixtures: import `telegram` into a test module, or name this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_telegram.server import FakeTelegram


@pytest.fixture
def telegram(caplog: pytest.LogCaptureFixture) -> Iterator[FakeTelegram]:
    """A running server, which at the end complains about everything a client should not have done."""
    with FakeTelegram() as tg:
        yield tg
        tg.check()
    for record in caplog.get_records("call"):
        text = f"{record.getMessage()} {record.exc_info or ''}"
        assert tg.token not in text, f"the bot token is in the log: {record.name}"
