"""sd_notify against a real datagram socket, by path and in the abstract namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manager import Manager
from vswitch.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@vswitch-test-{os.getpid()}"
    end = Manager(address)
    yield end
    end.close()


def test_says_what_systemd_reads(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    notifier.ready("3 ports")
    assert manager.message() == {"READY": "1", "STATUS": "3 ports"}
    notifier.status("4 ports")
    assert manager.message() == {"STATUS": "4 ports"}
    notifier.alive()
    assert manager.message() == {"WATCHDOG": "1"}
    notifier.stopping()
    assert manager.message() == {"STOPPING": "1"}


def test_a_reload_carries_its_time(manager: Manager) -> None:
    Notifier(manager.environ).reloading()
    message = manager.message()
    assert message["RELOADING"] == "1"
    assert int(message["MONOTONIC_USEC"]) > 0


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket", "@no-such-socket"])
def test_nobody_listening_is_no_failure(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready("alone")


def test_no_variable_is_no_failure() -> None:
    Notifier({}).stopping()


def test_a_full_queue_does_not_block(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    for _ in range(1000):
        notifier.alive()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog_s == seconds
