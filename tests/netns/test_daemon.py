"""vswitchd as a process: its start, its signals, its words to systemd, and what it refuses.

Each daemon runs in a namespace of the test's own, so that its taps are nobody else's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.lab import Lab, Running, exists, inside, wait_for
from tests.manager import Manager

VSWITCHD = (sys.executable, "-m", "vswitch.daemon")
VSWITCHCTL = str(Path(sys.executable).with_name("vswitchctl"))
START_LIMIT_S = 20.0
STOP_LIMIT_S = 2.0  # what is promised, with a hundred ports too

PORT = """
[[port]]
name = "{name}"
bridge = "br0"
kind = "tap"
"""
OF_NOBODY = """
create = true
owner = "no-such-user"
"""


class Site:
    """A namespace, a configuration file in it, and the daemons that read it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.netns = lab.namespace("sw")
        self.run_dir = lab.path("run")
        self.file = lab.path("vswitch.toml")
        self.manager = Manager(str(lab.path("notify")))
        self.write("tapA", "tapB")

    def write(self, *ports: str, listen: str = "", more: str = "") -> None:
        """Write the file: bridge br0 with these taps."""
        self.file.write_text(
            f'[switch]\nrun_dir = "{self.run_dir}"\n[metrics]\nlisten = "{listen}"\n[[bridge]]\nname = "br0"\n'
            + "".join(PORT.format(name=name) for name in ports)
            + more
        )

    def start(self, **environ: str) -> Running:
        """Start the daemon; it need not be ready yet."""
        env = os.environ | self.manager.environ | environ
        return self.lab.start(*VSWITCHD, "--config", str(self.file), netns=self.netns, env=env)

    def ready(self, **environ: str) -> Running:
        """Start the daemon and wait for its READY."""
        daemon = self.start(**environ)
        wait_for(lambda: self.control.exists() or not daemon.alive(), START_LIMIT_S, "the daemon to start")
        assert daemon.alive(), daemon.text()
        self.status = self.manager.until("READY")["STATUS"]
        return daemon

    def refused(self, *wrapper: str) -> str:
        """Run a daemon that must not start; the one line that it says."""
        done = self.lab.run(*wrapper, *VSWITCHD, "--config", str(self.file), netns=self.netns, check=False)
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.run_dir / "control.sock"

    def has(self, device: str) -> bool:
        """Whether the device is there."""
        return exists(device, netns=self.netns)


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    place = Site(lab)
    with closing(place.manager):
        yield place


def test_ready_means_applied(site: Site) -> None:
    site.ready()
    assert site.control.exists()
    assert site.has("tapA") and site.has("tapB")
    assert site.status.startswith("1 bridges, ")
    assert "2 ports up" in site.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_nothing_stays(site: Site, number: signal.Signals) -> None:
    daemon = site.ready()
    assert daemon.stop(number) == 0, daemon.text()
    assert site.manager.until("STOPPING") == {"STOPPING": "1"}
    assert not site.control.exists()
    assert not site.has("tapA") and not site.has("tapB")
    assert "Traceback" not in daemon.text()


def test_a_hundred_ports_are_gone_within_the_limit(site: Site) -> None:
    names = [f"tap{number}" for number in range(100)]
    site.write(*names)
    daemon = site.ready()
    assert daemon.stop(limit_s=STOP_LIMIT_S) == 0, daemon.text()
    assert not any(site.has(name) for name in names)


def test_a_signal_during_the_start_leaves_nothing(site: Site) -> None:
    names = [f"tap{i}" for i in range(40)]
    site.write(*names)
    daemon = site.start()
    wait_for(lambda: site.has(names[0]) or not daemon.alive(), START_LIMIT_S, "the first port")
    assert daemon.stop() == 0, daemon.text()
    assert "Traceback" not in daemon.text()
    assert not any(site.has(name) for name in names)
    assert not site.control.exists()


def test_sighup_applies_the_file_again(site: Site) -> None:
    daemon = site.ready()
    site.write("tapA", "tapC")
    daemon.process.send_signal(signal.SIGHUP)
    assert int(site.manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
    site.manager.until("READY")
    assert site.has("tapA") and site.has("tapC") and not site.has("tapB")


def test_sighup_with_a_fault_changes_nothing(site: Site) -> None:
    daemon = site.ready()
    before = daemon.text()
    site.write("tapA", more=PORT.format(name="tapC") + "access = 4095\n")
    daemon.process.send_signal(signal.SIGHUP)
    site.manager.until("RELOADING")
    site.manager.until("READY")
    said = daemon.text().removeprefix(before)
    assert said.count("\n") == 1, said
    assert "access" in said and "4095" in said
    assert site.has("tapA") and site.has("tapB") and not site.has("tapC")


def test_sighup_with_a_device_that_fails_changes_nothing(site: Site) -> None:
    daemon = site.ready()
    site.write("tapA", "tapC", more=PORT.format(name="nosuch0").replace('"tap"', '"netdev"') + OF_NOBODY)
    daemon.process.send_signal(signal.SIGHUP)
    site.manager.until("RELOADING")
    site.manager.until("READY")
    assert f'not reloaded: {site.file}: port[2] ("nosuch0").owner: "no-such-user": no such user' in daemon.text()
    assert site.has("tapB") and not site.has("tapC") and not site.has("nosuch0")


def test_the_watchdog_is_fed(site: Site) -> None:
    daemon = site.ready(WATCHDOG_USEC="200000")
    for _ in range(3):
        assert site.manager.until("WATCHDOG") == {"WATCHDOG": "1"}
    assert "has not moved" not in daemon.text()  # a worker


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_either_loop_serves(site: Site, loop: str) -> None:
    site.ready(VSWITCH_LOOP=loop)
    shown = site.lab.run(VSWITCHCTL, "--run-dir", str(site.run_dir), "-o", "json", "show").stdout
    assert json.loads(shown)["loop"] == loop


def test_a_second_daemon_is_refused(site: Site) -> None:
    daemon = site.ready()
    said = site.refused()
    assert said.startswith(f"{site.file}: switch.run_dir: ")
    assert f"(process {daemon.pid})" in said
    assert daemon.alive() and site.control.exists() and site.has("tapA")


def test_a_daemon_that_was_killed_can_be_started_again(site: Site) -> None:
    daemon = site.ready()
    daemon.stop(signal.SIGKILL)
    assert site.control.exists()
    site.ready()


def test_a_faulty_file_is_one_line(site: Site) -> None:
    site.write("tapA", more="access = 4095\n")
    said = site.refused()
    assert said.startswith(f"{site.file}: port[0]") and "4095" in said
    assert not site.has("tapA") and not site.run_dir.exists()


def test_no_file_is_one_line(site: Site) -> None:
    site.file.unlink()
    assert site.refused() == f"{site.file}: cannot be read: No such file or directory\n"


def test_a_taken_metrics_address_is_one_line(site: Site) -> None:
    with inside(site.netns), socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        site.write("tapA", listen=address)
        assert f'metrics.listen: "{address}": ' in site.refused()
    assert not site.has("tapA") and not site.control.exists()


@pytest.mark.parametrize("what", ["directory", "file", "socket"])
def test_what_is_in_the_sockets_place_is_refused_and_stays(site: Site, what: str) -> None:
    site.run_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        if what == "socket":
            other.bind(str(site.control))
            other.listen()
        elif what == "file":
            site.control.touch()
        else:
            site.control.mkdir()
        before = site.control.lstat().st_ino
        said = site.refused()
    words = "is in use by another program" if what == "socket" else "is there, and is no socket"
    assert said.startswith(f'{site.file}: switch.run_dir: "{site.run_dir}": control.sock in it {words}; ')
    assert site.control.lstat().st_ino == before
    assert not site.has("tapA")


def test_a_socket_that_cannot_be_made_takes_all_back(site: Site) -> None:
    (site.run_dir / "control.new" / "x").mkdir(parents=True)
    done = site.lab.run(*VSWITCHD, "--config", str(site.file), netns=site.netns, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{site.file}: control socket {site.control}: Is a directory"
    assert not site.has("tapA")


def test_no_privilege_is_one_line(site: Site) -> None:
    site.write("tapA")
    said = site.refused("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
    assert "takes CAP_NET_ADMIN" in said
    assert not site.has("tapA")


def test_check_judges_and_ends(site: Site) -> None:
    done = site.lab.run(*VSWITCHD, "--config", str(site.file), "--check")
    assert done.stdout == f"{site.file}: 1 bridges, 2 ports: no fault found\n"
    assert not site.run_dir.exists()


@pytest.mark.parametrize("arguments", [(), ("--config",), ("--config", "x", "--nonsense")])
def test_wrong_arguments_end_with_two(lab: Lab, arguments: tuple[str, ...]) -> None:
    assert lab.run(*VSWITCHD, *arguments, check=False).returncode == 2


FAULTY = """
import sys
from vswitch import daemon, switch

async def fail(self, *_, **__):
    raise RuntimeError("a fault of ours")

start = switch.Switch.start
async def then_fail(self, *arguments):
    await start(self, *arguments)
    switch.Switch.apply = fail

switch.Switch.start = then_fail
sys.exit(daemon.main())
"""


def test_a_fault_in_a_reload_does_not_end_the_switch(site: Site) -> None:
    daemon = site.lab.start(
        sys.executable, "-c", FAULTY, "--config", str(site.file), netns=site.netns, env=os.environ | site.manager.environ
    )
    site.manager.until("READY")
    daemon.process.send_signal(signal.SIGHUP)
    site.manager.until("RELOADING")
    site.manager.until("READY")
    assert "RuntimeError: a fault of ours" in daemon.text()
    assert daemon.alive() and site.has("tapA")
