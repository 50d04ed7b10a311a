"""Changes while the traffic runs: what does not change loses nothing, what cannot be had changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.lab import Lab, exists, wait_for
from tests.stream import Stream
from tests.switchboard import BROADCAST, ethernet
from tests.switchhost import LIMIT_S, Guest, SwitchHost
from tests.wire import Wire

QUEUE_FRAMES = 5000  # room for a quarter of a second, so that a busy machine does not look like a fault


@pytest.fixture
def host(lab: Lab) -> SwitchHost:
    return SwitchHost(lab, "h")


def cable(host: SwitchHost, stem: str, **keys: object) -> Guest:
    """Have a netdev port on a veth to a namespace; returns the far end."""
    netns = host.lab.namespace(f"{stem}n")
    near, far = host.lab.veth(stem, f"{stem}p", near_netns=host.netns, far_netns=netns)
    host.port(near, kind="netdev", **keys)
    return Guest(far, netns)


def meet(first: Wire, second: Wire) -> None:
    """Have two wires learned by the switch."""
    for here, there in ((first, second), (second, first)):
        hello = ethernet(BROADCAST, here.mac, payload=b"hello")
        here.send(hello)
        assert there.next() == hello


# Traffic that goes on


def port_commands(host: SwitchHost) -> None:
    """A port comes, changes and goes, by commands."""
    tap = host.lab.name("cmd")
    host.ctl("port", "add", tap, "--bridge", "br0", "--access", "30")
    host.ctl("port", "set", tap, "--trunk", "30,40", "--isolated")
    host.ctl("port", "set", tap, "--mtu", "9000", "--storm", "broadcast=10")
    host.ctl("port", "del", tap)


def files(host: SwitchHost) -> None:
    """Ports of both kinds come, change, are opened anew and go, by files."""
    elsewhere = host.lab.namespace("e")
    names = [host.port(host.lab.name(f"f{i}"), access=30) for i in range(5)]
    cable(host, "fc", trunk=[30])
    host.apply()
    for name in names[:3]:
        host.ports[name] |= {"access": 40, "isolated": True, "mac_limit": 1}
    host.ports[names[3]] |= {"netns": elsewhere}
    del host.ports[names[4]]
    host.apply()
    for name in (*names[:4], host.lab.name("fc")):
        del host.ports[name]
    host.apply()


def refusals(host: SwitchHost) -> None:
    """A change that fails half-way, with a port that has made way already."""
    host.port(moved := host.lab.name("mv"))
    host.apply()
    host.ports[moved]["netns"] = host.lab.namespace("e")
    host.port(host.lab.name("ok"))
    host.port("nosuch0", kind="netdev")
    host.write()
    host.refused("apply", str(host.file))
    for name in (moved, host.lab.name("ok"), "nosuch0"):
        del host.ports[name]
    host.apply()


def bridges(host: SwitchHost) -> None:
    """Another bridge comes and goes, and this one's ageing changes."""
    host.ctl("bridge", "add", "br1", "--ageing", "10")
    host.ctl("port", "add", host.lab.name("b1"), "--bridge", "br1")
    host.ctl("bridge", "set", "br0", "--ageing", "600")
    host.ctl("bridge", "del", "br1", "--force")
    host.ctl("port", "del", host.lab.name("b1"))


def signals(host: SwitchHost) -> None:
    """SIGHUP with nothing new, and with a file that is broken."""
    for text in (host.text(), host.text() + '[[port]]\nname = "x"\nkind = "tap"\naccess = 4095\n'):
        host.file.write_text(text)
        before = host.daemon.text()
        host.daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: host.daemon.text() != before, LIMIT_S, "the daemon to have read its file")


CHANGES = [port_commands, files, refusals, bridges, signals]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", ["tap", "netdev"])
def test_what_does_not_change_loses_no_frame(host: SwitchHost, kind: str, change: Callable[[SwitchHost], None]) -> None:
    ends = [host.guest(f"g{i}") if kind == "tap" else cable(host, f"g{i}") for i in range(2)]
    host.start()
    for end in ends:
        host.lab.ip("link", "set", end.name, "txqueuelen", str(QUEUE_FRAMES), netns=end.netns)
    sender, receiver = map(host.wire, ends)
    meet(sender, receiver)
    with Stream(sender, receiver) as stream:
        stream.goes_on()
        change(host)
        stream.goes_on()
    assert stream.lost() == []


# Changes that cannot be had


def picture(host: SwitchHost) -> tuple[object, ...]:
    """What a refused change must leave as it was."""
    show = host.get("show")
    known = [(entry["mac"], entry["port"]) for entry in host.get("fdb?bridge=br0")]
    links = host.lab.run("ip", "-o", "link", netns=host.netns).stdout
    return show["generation"], show["ports"], known, host.get("stats"), links


@pytest.fixture
def settled(host: SwitchHost) -> SwitchHost:
    """A running switch that has learned two guests."""
    ends = [host.guest(f"g{i}") for i in range(2)]
    host.start()
    meet(*map(host.wire, ends))
    return host


def test_a_change_that_fails_half_way_leaves_nothing(settled: SwitchHost) -> None:
    before = picture(settled)
    good = settled.port(settled.lab.name("ok"))
    settled.port("nosuch0", kind="netdev")
    settled.write()
    said = settled.refused("apply", str(settled.file))
    assert said.count("\n") == 1 and f'{settled.file}: port[3] ("nosuch0").name: "nosuch0": no such device' in said
    assert picture(settled) == before
    assert not exists(good, netns=settled.netns)
    assert settled.get("show")["apply_failed"]


def test_a_port_that_made_way_comes_back(host: SwitchHost) -> None:
    moved = host.guest("m", "10.0.0.1/24")
    host.guest("p", "10.0.0.2/24")
    host.start()
    assert host.lab.ping("10.0.0.2", netns=moved.netns, limit_s=LIMIT_S)
    host.ports[moved.name]["netns"] = "nosuch"
    host.write()
    assert '"nosuch": no such network namespace' in host.refused("apply", str(host.file))
    assert host.shown(moved.name)["state"] == "up"
    host.lab.address(moved.name, "10.0.0.1/24", netns=moved.netns)  # another device by the same name, with its own MAC
    assert host.lab.ping("10.0.0.2", netns=moved.netns, limit_s=LIMIT_S)


def test_a_broken_file_at_sighup_leaves_the_old(settled: SwitchHost) -> None:
    before, said = picture(settled), settled.daemon.text()
    settled.file.write_text(settled.text() + "[[port]\n")
    settled.daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: settled.daemon.text() != said, LIMIT_S, "the daemon to complain")
    assert str(settled.file) in settled.daemon.text().removeprefix(said)
    assert picture(settled) == before
    assert settled.get("show")["apply_failed"]


# Devices that do as they please


def test_a_device_that_vanishes_is_missed_and_taken_back(host: SwitchHost) -> None:
    guest, far = host.guest("g", "10.0.0.1/24"), cable(host, "c")
    host.start()
    near = host.lab.name("c")
    host.lab.address(far.name, "10.0.0.2/24", netns=far.netns)
    for _ in range(2):
        assert host.lab.ping("10.0.0.1", netns=far.netns, limit_s=LIMIT_S)
        host.lab.ip("link", "del", near, netns=host.netns)
        assert "no device of that name" in host.wait_for_state(near, "missing")["reason"]
        assert host.stats(near)["rx_frames"] > 0, "a missing port keeps its counters"
        host.lab.veth("c", "cp", near_netns=host.netns, far_netns=far.netns)
        host.lab.address(far.name, "10.0.0.2/24", netns=far.netns)
        host.wait_for_state(near, "up")


def test_mtu_and_carrier_are_followed(host: SwitchHost) -> None:
    far = cable(host, "c")
    host.start()
    near = host.lab.name("c")
    host.lab.ip("link", "set", near, "mtu", "1400", netns=host.netns)
    wait_for(lambda: host.shown(near)["mtu"] == 1400, LIMIT_S, "the MTU to be reported")
    host.lab.ip("link", "set", far.name, "down", netns=far.netns)
    host.wait_for_state(near, "no carrier")
    host.lab.ip("link", "set", near, "down", netns=host.netns)
    host.wait_for_state(near, "down")
    host.lab.ip("link", "set", far.name, "up", netns=far.netns)
    host.lab.ip("link", "set", near, "up", netns=host.netns)
    host.wait_for_state(near, "up")


def test_a_tap_that_is_moved_and_renamed_by_hand_goes_on(host: SwitchHost) -> None:
    lab, peer = host.lab, host.guest("p", "10.0.0.2/24")
    tap = host.port(lab.name("t"))
    host.start()
    for number, place in enumerate([lab.namespace("x"), lab.namespace("y")]):
        lab.ip("link", "set", tap, "netns", place, netns=lab.name("x") if number else host.netns)
        lab.address(tap, "10.0.0.1/24", netns=place)
        host.wait_for_state(tap, "up")
        assert lab.ping("10.0.0.2", netns=place, limit_s=LIMIT_S)
    lab.ip("link", "set", tap, "down", netns=place)
    host.wait_for_state(tap, "down")
    lab.ip("link", "set", tap, "name", "inside0", netns=place)
    lab.ip("link", "set", "inside0", "up", netns=place)
    host.wait_for_state(tap, "up")
    assert lab.ping("10.0.0.1", netns=peer.netns, limit_s=LIMIT_S)
    assert host.ctl("port", "del", tap)
    assert not exists("inside0", netns=place)
