"""A host moves its NIC's address to a tap of its own by the scripts of docs/bridging.md, and loses nobody by it.

The host's NIC is one end of a veth; at the other are its router and, beyond it, somebody who is logged in by TCP. The
scripts run as they stand in the document, with this lab's names in place of its own.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.lab import Lab, exists, inside, wait_for
from tests.switchhost import BIN, LIMIT_S, SwitchHost
from tests.wire import transfer

HOST, ROUTER, BEYOND = "192.0.2.10", "192.0.2.1", "198.51.100.1"
DOCUMENT = Path(__file__).parents[2] / "docs" / "bridging.md"


class Move:
    """The host, its login, and the document's scripts."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.host = lab, SwitchHost(lab, "h")
        self.netns, self.far = self.host.netns, lab.namespace("r")
        self.nic, router = lab.veth("nic", "rtr", near_netns=self.netns, far_netns=self.far)
        self.tap = lab.name("own")
        lab.forget_device(self.tap, netns=self.netns)
        lab.address(self.nic, f"{HOST}/24", netns=self.netns)
        lab.ip("route", "add", "default", "via", ROUTER, netns=self.netns)
        lab.address(router, f"{ROUTER}/24", netns=self.far)
        lab.address("lo", f"{BEYOND}/32", netns=self.far)
        self.host.start()
        self.ends = self._login()

    def _login(self) -> tuple[socket.socket, socket.socket]:
        with inside(self.netns):
            listener = socket.create_server((HOST, 0))
        with listener:
            with inside(self.far):
                client = socket.create_connection(listener.getsockname(), LIMIT_S, source_address=(BEYOND, 0))
            server, _ = listener.accept()
        for end in (client, server):
            end.settimeout(LIMIT_S)
            self.lab.on_close(end.close)
        return client, server

    def script(self, name: str) -> str:
        """A script of the document, with our names."""
        (text,) = re.findall(rf"`/usr/local/sbin/{name}`:\n\n```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        ours = {"eth0": self.nic, "host0": self.tap, "/etc/vswitch/vswitch.toml": str(self.host.file)}
        for theirs, name in ours.items():
            text = text.replace(theirs, name)
        return text

    def run(self, name: str) -> None:
        """Run a script of the document as root on the host would."""
        tools = self.lab.path("bin")
        tools.mkdir(exist_ok=True)
        (tools / "systemctl").write_text(f'#!/bin/sh\ntest "$*" = "stop vswitch" && kill {self.host.daemon.pid}\n')
        (tools / "systemctl").chmod(0o755)
        path = f"{tools}:{BIN}:{os.environ['PATH']}"
        words = ["env", f"PATH={path}", f"VSWITCH_RUN_DIR={self.host.run_dir}", "sh", "-c", self.script(name)]
        self.lab.run(*words, netns=self.netns)

    def to_the_switch(self) -> None:
        """Write the document's ports into the file, and run its script."""
        mac = self.lab.run("cat", f"/sys/class/net/{self.nic}/address", netns=self.netns).stdout.strip()
        self.host.port(self.nic, kind="netdev", trunk=[10, 20], native=1)
        self.host.port(self.tap, access=1, mac=mac)
        self.host.write()
        self.run("host-to-switch")

    def assert_reached(self) -> None:
        """The login works, both ways, and so do the host's own ways out."""
        for one, other in (self.ends, self.ends[::-1]):
            one.sendall(b"still there?")
            assert other.recv(64) == b"still there?"
        assert self.lab.ping(BEYOND, netns=self.netns, limit_s=LIMIT_S)

    def addresses(self, device: str) -> list[str]:
        """A device's IPv4 addresses."""
        shown = self.lab.ip("-4", "-o", "address", "show", "dev", device, netns=self.netns)
        return re.findall(r"inet (\S+)", shown)


@pytest.fixture
def move(lab: Lab) -> Move:
    move = Move(lab)
    move.assert_reached()
    return move


def test_the_address_moves_and_the_login_stays(move: Move) -> None:
    move.to_the_switch()
    assert move.addresses(move.nic) == [] and move.addresses(move.tap) == [f"{HOST}/24"]
    move.assert_reached()
    transfer(4 << 20, HOST, sender=move.far, receiver=move.netns)
    transfer(4 << 20, BEYOND, sender=move.netns, receiver=move.far)
    assert move.host.shown(move.tap)["offloads"], "a tap made beforehand has offloads too"


def test_the_way_back(move: Move) -> None:
    move.to_the_switch()
    move.run("host-to-nic")
    assert not exists(move.tap, netns=move.netns)
    assert move.addresses(move.nic) == [f"{HOST}/24"]
    wait_for(lambda: not move.host.daemon.alive(), LIMIT_S, "the daemon to end")
    move.assert_reached()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_address_outlives_the_daemon(move: Move, number: signal.Signals) -> None:
    move.to_the_switch()
    move.host.daemon.stop(number)
    assert move.addresses(move.tap) == [f"{HOST}/24"]
    (move.host.run_dir / "control.sock").unlink(missing_ok=True)
    move.host.start()
    move.assert_reached()


def test_a_file_that_is_refused_leaves_the_host_where_it_is(move: Move) -> None:
    move.host.port("nosuch0", kind="netdev")
    with pytest.raises(pytest.fail.Exception, match="no such device"):
        move.to_the_switch()
    assert move.addresses(move.nic) == [f"{HOST}/24"]
    move.assert_reached()
