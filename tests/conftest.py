"""What all tests share: a laboratory of namespaces and devices, gone with its test; and which event loops tests run on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.lab import Lab, require_root

if TYPE_CHECKING:
    from vswitch.ports import Links


# A change is judged by the same examples each time; `make test PYTEST_ARGS=--hypothesis-profile=explore` looks for new ones.
settings.register_profile("explore", derandomize=False)
settings.register_profile("steady", derandomize=True, database=None)
settings.load_profile("steady")


def pytest_configure() -> None:
    """Let an ended test run (SIGTERM) clean up as an interrupted one does: it has devices to take down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A module with `LOOP_FACTORIES` runs each of its async tests once a loop, since the daemon runs on either."""
    module = getattr(item, "module", None)
    return getattr(module, "LOOP_FACTORIES", {"asyncio": asyncio.new_event_loop})


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A `Lab` of the test's own; the test is skipped, with the reason, where devices cannot be made."""
    require_root()
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture
async def links(lab: Lab) -> AsyncIterator[Links]:
    """The links service of the daemon, running; it stops before the lab's devices go."""
    from vswitch.ports import Links  # it loads the fast path, which many tests do without

    service = Links()
    await service.start()
    yield service
    await service.stop()
