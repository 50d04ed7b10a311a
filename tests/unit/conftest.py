"""Which event loops a test module's async tests run on: those of its `LOOP_FACTORIES`, else asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A module that says so runs each of its async tests once a loop, since the daemon runs on either."""
    module = getattr(item, "module", None)
    return getattr(module, "LOOP_FACTORIES", {"asyncio": asyncio.new_event_loop})
