"""Prepare, publish, retire: all or nothing, nobody else disturbed, nothing closed that a worker may read."""

from __future__ import annotations

import msgspec
import pytest
from vswitch.config.apply import Applier, ApplyError
from vswitch.config.model import Bridge, Config, Metrics, Port, StaticMac
from vswitch.config.plan import diff

from tests.fake_plane import FakeMachine, FakeMetrics, FakePlane

replace = msgspec.structs.replace
MAC = "52:54:00:00:00:0a"


def tap(name: str, **fields: object) -> Port:
    return Port(**{"name": name, "kind": "tap", "bridge": "br0", **fields})


def config(*ports: Port, fdb: tuple[StaticMac, ...] = (), **fields: object) -> Config:
    return Config(bridge=(Bridge(name="br0"), Bridge(name="br1")), port=ports, fdb=fdb, **fields)


class World:
    """An applier over fakes."""

    def __init__(self) -> None:
        self.plane = FakePlane()
        self.machine = FakeMachine(self.plane)
        self.applier = Applier(self.plane, self.machine.open_device)
        self.applier.metrics = self.metrics = FakeMetrics("127.0.0.1:9478")

    async def apply(self, new: Config) -> None:
        await self.applier.apply(new, diff(self.applier.picture.config, new), "f.toml")

    async def refused(self, new: Config) -> list[str]:
        """Apply what must fail, and hold it to "nothing changed"; the lines."""
        before = self.state()
        with pytest.raises(ApplyError) as caught:
            await self.apply(new)
        assert self.state() == before
        return caught.value.problems

    def state(self) -> object:
        """All that a failed change must leave as it was."""
        ports = {name: (view.id, view.bridge, view.vlan, view.mtu) for name, view in self.plane.ports.items()}
        open_devices = sorted(device.name for device in self.machine.open)
        ids = [sorted(self.plane.port_ids), sorted(self.plane.bridge_ids)]
        return self.applier.picture.config, ports, open_devices, ids, self.plane.static, self.metrics.address


@pytest.fixture
def world() -> World:
    return World()


async def test_ports_come_and_go(world: World):
    await world.apply(config(tap("a"), tap("b", bridge="br1", access=10), tap("c", bridge=None)))
    view = world.plane.ports["b"]
    assert (view.kind, view.fds, view.vlan.access, view.up) == ("tap", world.machine.device("b").fds, 10, True)
    assert world.plane.ports["c"].bridge is None
    await world.apply(config(tap("a")))
    assert [device.name for device in world.machine.open] == ["a"]
    assert world.plane.port_ids.get("b") is None
    await world.apply(Config())
    assert (world.machine.open, world.plane.ports, world.plane.bridges) == ([], {}, {})
    assert list(world.plane.bridge_ids) == []


async def test_what_does_not_change_keeps_its_device_and_is_in_every_picture(world: World):
    await world.apply(config(tap("a"), tap("b")))
    kept = world.machine.device("a")
    for change in (tap("b", access=5), tap("b", bridge="br1"), tap("b", netns="A"), tap("c")):
        await world.apply(config(tap("a"), change))
    assert world.machine.device("a") is kept and not kept.closed
    assert all("a" in names for names in world.plane.history)


async def test_a_warm_change_keeps_the_device(world: World):
    await world.apply(config(tap("a")))
    device = world.machine.device("a")
    await world.apply(config(tap("a", trunk=(10, "20-21"), native=1, isolated=True, mtu=9000, mac_limit=5)))
    assert world.machine.device("a") is device
    view = world.plane.ports["a"]
    assert (view.vlan.trunk, view.vlan.native) == (frozenset({10, 20, 21}), 1)
    assert (view.isolated, view.mtu, view.mac_limit) == (True, 9000, 5)


async def test_a_replaced_port_keeps_its_id(world: World):
    await world.apply(config(tap("a")))
    device, number = world.machine.device("a"), world.plane.port_ids.get("a")
    await world.apply(config(tap("a", netns="A")))
    assert device.closed and world.machine.device("a").netns == "A"
    assert world.plane.port_ids.get("a") == number


async def test_every_device_that_is_not_there_is_named(world: World):
    await world.apply(config(tap("a")))
    world.machine.absent = {"b", "d"}
    lines = await world.refused(config(tap("a"), tap("b"), tap("c"), tap("d")))
    assert lines == [
        'f.toml: port[1] ("b").name: "b": no such device',
        'f.toml: port[3] ("d").name: "d": no such device',
    ]


async def test_a_port_is_not_interrupted_for_a_change_that_has_failed_already(world: World):
    await world.apply(config(tap("a"), tap("b")))
    replaced = world.machine.device("b")
    world.machine.absent = {"new"}
    lines = await world.refused(config(tap("a"), tap("b", netns="A"), tap("new")))
    assert lines == ['f.toml: port[2] ("new").name: "new": no such device']
    assert world.machine.device("b") is replaced


async def test_a_failed_replacement_puts_the_old_device_back(world: World):
    await world.apply(config(tap("a"), tap("b")))
    kept, lost = world.machine.device("a"), world.machine.device("b")
    real = world.machine.open_device

    async def only_without_netns(port: Port):
        world.machine.absent = {"b"} if port.netns else set()
        return await real(port)

    world.applier.open_device = only_without_netns
    lines = await world.refused(config(tap("a"), tap("b", netns="A")))
    assert lines == ['f.toml: port[1] ("b").name: "b": no such device']
    assert lost.closed and world.machine.device("b") is not lost
    assert world.plane.ports["b"].fds == world.machine.device("b").fds
    assert world.machine.device("a") is kept


async def test_a_device_lost_on_the_way_back_is_missing(world: World, caplog: pytest.LogCaptureFixture):
    await world.apply(config(tap("a"), tap("b")))
    world.machine.absent = {"b"}
    with pytest.raises(ApplyError):
        await world.apply(config(tap("a"), tap("b", netns="A")))
    assert world.applier.picture.missing == {"b": "name: b: no such device"}
    assert (world.plane.ports["b"].up, world.plane.ports["b"].fds) == (False, ())
    assert world.plane.ports["a"].up
    assert "port b is lost with the change that failed" in caplog.text


async def test_the_data_plane_refuses(world: World):
    await world.apply(config(tap("a")))
    world.plane.refuse = 1
    assert await world.refused(config(tap("a"), tap("b"))) == [
        "f.toml: the data plane cannot take it: no memory for it"
    ]


async def test_the_data_plane_refuses_to_let_go_of_a_port_to_be_replaced(world: World):
    await world.apply(config(tap("a"), tap("b")))
    replaced = world.machine.device("a")
    world.plane.refuse = 1
    assert await world.refused(config(tap("a", netns="A"), tap("b"))) == [
        "f.toml: the data plane cannot take it: no memory for it"
    ]
    assert world.machine.device("a") is replaced


async def test_no_more_ids(world: World):
    await world.apply(config(tap("a")))
    bridges = tuple(Bridge(name=f"x{number}") for number in range(9))
    (line,) = await world.refused(replace(config(tap("a")), bridge=(Bridge(name="br0"), Bridge(name="br1"), *bridges)))
    assert line == 'f.toml: bridge "x6": no room for x6: 8 bridges are the most'


async def test_an_adjustment_that_the_device_refuses(world: World):
    await world.apply(config(tap("a"), tap("b")))
    world.machine.refuse_adjust = True
    lines = await world.refused(config(tap("a"), tap("b", mtu=9000), tap("c")))
    assert lines == ['f.toml: port[1] ("b").mtu: 9000: the device takes 68 to 1500']


async def test_an_adjustment_is_taken_back(world: World):
    await world.apply(config(tap("a", mtu=1400)))
    world.plane.refuse = 1
    await world.refused(config(tap("a", mtu=9000)))
    assert world.machine.device("a").mtu == 1400


async def test_metrics_move_with_the_configuration(world: World):
    await world.apply(config(metrics=Metrics(listen="127.0.0.1:1")))
    assert world.metrics.address == "127.0.0.1:1"
    world.plane.refuse = 1
    await world.refused(config(tap("a"), metrics=Metrics(listen="")))
    world.metrics.busy = "127.0.0.1:2"
    lines = await world.refused(config(tap("a"), metrics=Metrics(listen="127.0.0.1:2")))
    assert lines == ["f.toml: metrics.listen: 127.0.0.1:2: in use"]


STATIC = StaticMac(bridge="br0", mac=MAC, port="a", vlan=3)


async def test_static_entries(world: World):
    await world.apply(config(tap("a"), tap("b"), fdb=(STATIC,)))
    a, b = world.plane.port_ids.get("a"), world.plane.port_ids.get("b")
    bridge = world.plane.bridge_ids.get("br0")
    assert world.plane.static == {(bridge, MAC, 3): a}
    await world.apply(config(tap("a"), tap("b"), fdb=(replace(STATIC, port="b"),)))
    assert world.plane.static == {(bridge, MAC, 3): b}
    await world.apply(config(tap("a"), tap("b")))
    assert world.plane.static == {}


async def test_static_entries_of_a_table_that_is_made_anew(world: World):
    await world.apply(config(tap("a"), fdb=(STATIC,)))
    world.plane.static.clear()  # as the data plane does with another mac_limit
    wanted = config(tap("a"), fdb=(STATIC,))
    await world.apply(replace(wanted, bridge=(Bridge(name="br0", mac_limit=9), Bridge(name="br1"))))
    assert len(world.plane.static) == 1


async def test_no_room_for_a_static_entry(world: World):
    await world.apply(config(tap("a"), fdb=(STATIC,)))
    world.plane.full = True
    with pytest.raises(ApplyError, match="f.toml: the data plane cannot take it: no room for 52:54:00:00:00:0b"):
        await world.apply(config(tap("a"), tap("b"), fdb=(STATIC, replace(STATIC, mac="52:54:00:00:00:0b"))))
    assert sorted(world.plane.ports) == ["a"]
    assert len(world.plane.static) == 1


async def test_a_fault_of_ours_leaves_nothing_behind(world: World):
    await world.apply(config(tap("a")))
    world.machine.broken = {"b"}
    with pytest.raises(RuntimeError):
        await world.apply(config(tap("a"), tap("b"), tap("c")))
    assert [device.name for device in world.machine.open] == ["a"]


async def test_a_device_that_will_not_close_does_not_keep_the_others(world: World, caplog: pytest.LogCaptureFixture):
    await world.apply(config(tap("a"), tap("b")))
    world.machine.refuse_close = True
    await world.apply(config())
    assert world.machine.open == []
    assert "port a: closing its device: the kernel is in a mood" in caplog.text


async def test_an_undo_that_fails_is_logged_and_the_rest_is_undone(world: World, caplog: pytest.LogCaptureFixture):
    await world.apply(config(tap("a")))
    world.plane.refuse = 3
    with pytest.raises(ApplyError, match="the data plane cannot take it"):
        await world.apply(config(tap("a"), tap("b")))
    assert "f.toml: not everything could be put back" in caplog.text
    assert [device.name for device in world.machine.open] == ["a"]
