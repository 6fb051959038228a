"""Shared test settings."""

import logging

import pytest

from takopi import logs


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
