"""What all tests share: a laboratory of namespaces and devices, made on first use and gone with its test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root


def pytest_configure() -> None:
    """Let an ended test run (SIGTERM) clean up as an interrupted one does: it has devices to take down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A `Lab` of the test's own; the test is skipped, with the reason, where devices cannot be made."""
    require_root()
    with Lab() as laboratory:
        yield laboratory
