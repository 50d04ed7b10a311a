"""The daemon takes the descriptors that it may have."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from vswitch import daemon


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """The limits of this process, put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_shells_soft_limit_is_raised(limits):
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    daemon.allow_descriptors()
    soft, after = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (soft, after) == (min(hard, daemon.DESCRIPTORS) if hard >= 0 else daemon.DESCRIPTORS, hard)


def test_a_limit_that_suffices_stays(limits, monkeypatch):
    monkeypatch.setattr(daemon, "DESCRIPTORS", 512)
    daemon.allow_descriptors()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


def test_a_sandbox_that_forbids_it_is_no_fault(limits, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(daemon, "DESCRIPTORS", limits[0] + 1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits[0], resource.RLIM_INFINITY))
    try:
        daemon.allow_descriptors()
    finally:
        monkeypatch.undo()
