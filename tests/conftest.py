"""Shared test settings."""

import logging
from weakref import WeakValueDictionary

import pytest

from takopi import logs
from takopi.engines import base


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Commands that are called in this process set up logging for all of it."""
    logger = logging.getLogger("takopi")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    pipeline = logs._pipeline
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)
    logs._pipeline = pipeline


@pytest.fixture(autouse=True)
def sessions_of_its_own(monkeypatch):
    """A run that another test left behind must not hold the lock of a session of the same name."""
    monkeypatch.setattr(base, "_locks", WeakValueDictionary())
