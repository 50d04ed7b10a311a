"""The running switch over fakes: the one door of change, devices that change by themselves, reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec
import pytest
import pytest_asyncio
from vswitch.config import edit
from vswitch.config.apply import ApplyError
from vswitch.config.errors import ConfigError
from vswitch.config.model import Bridge, Config, Port, StaticMac
from vswitch.config.model import Switch as Settings
from vswitch.observe.report import FdbEntry
from vswitch.ports.device import UP, State
from vswitch.switch import Switch

from tests.fake_plane import FakeMachine, FakeMetrics, FakePlane

replace = msgspec.structs.replace
MAC = "52:54:00:00:00:0a"
CONFIG = Config(
    bridge=(Bridge(name="br0"),),
    port=(
        Port(name="a", kind="tap", bridge="br0", access=10),
        Port(name="nic", kind="netdev", bridge="br0", trunk=(10, "20-22"), native=1),
    ),
    fdb=(StaticMac(bridge="br0", mac=MAC, port="a", vlan=10),),
)
GONE = State("missing", "the device was deleted")


class World:
    """A switch over fakes, started with CONFIG."""

    def __init__(self) -> None:
        self.plane = FakePlane()
        self.machine = FakeMachine(self.plane)
        self.switch = Switch(self.plane, None, open_device=self.machine.open_device)

    def state(self, name: str) -> tuple[str, str | None]:
        (report,) = [port for port in self.switch.show().ports if port.name == name]
        return report.state, report.reason

    async def until(self, true: Callable[[], bool]) -> None:
        """Let the loop run until it is so."""
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0)

    async def until_state(self, name: str, state: str) -> None:
        await self.until(lambda: self.state(name)[0] == state)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.switch.start(CONFIG, "f.toml")
    yield world
    await world.switch.stop()
    assert world.machine.open == []
    assert world.plane.ports == {}


# The one door


async def test_run_time_commands_are_configurations(world: World):
    lines = await world.switch.apply(edit.add_port(world.switch.config, Port(name="b", kind="tap")), source="control")
    assert lines == ["add port b (tap), on no bridge"]
    assert world.machine.device("b")
    report = world.switch.show()
    assert (report.generation, report.config_file) == (2, "control")


async def test_a_dry_run_changes_nothing(world: World):
    before = world.switch.show()
    assert await world.switch.apply(Config(), source="f.toml", dry_run=True) == [
        f"remove static {MAC} vlan 10 on br0 behind a",
        "remove port a (tap)",
        "remove port nic (netdev)",
        "remove bridge br0",
    ]
    after = world.switch.show()
    assert (after.generation, after.ports, world.switch.config) == (before.generation, before.ports, CONFIG)


async def test_what_is_wrong_in_itself_is_refused(world: World):
    with pytest.raises(ConfigError, match='f.toml: port\\[2\\] \\("b"\\).access: 0: a VLAN id is 1 to 4094'):
        bad = Port(name="b", kind="tap", access=0)
        await world.switch.apply(replace(CONFIG, port=(*CONFIG.port, bad)), source="f.toml")


@pytest.mark.parametrize("dry_run", [False, True])
async def test_what_takes_a_restart_is_refused(world: World, dry_run: bool):
    wanted = replace(CONFIG, switch=Settings(workers=2), port=(), fdb=())
    with pytest.raises(ApplyError) as caught:
        await world.switch.apply(wanted, source="f.toml", dry_run=dry_run)
    assert caught.value.problems == ["f.toml: switch.workers: 2: takes a restart of the daemon; it runs with 1"]
    assert world.switch.config == CONFIG


async def test_a_failed_attempt_shows(world: World):
    world.machine.absent = {"b"}
    with pytest.raises(ApplyError):
        await world.switch.apply(edit.add_port(CONFIG, Port(name="b", kind="tap")), source="control")
    assert world.switch.show().apply_failed
    await world.switch.apply(CONFIG, source="f.toml")
    assert not world.switch.show().apply_failed


async def test_an_attempt_under_way_has_not_failed(world: World):
    opening, go_on = asyncio.Event(), asyncio.Event()
    open_device = world.machine.open_device

    async def slowly(port: Port, *rest: object) -> object:
        opening.set()
        await go_on.wait()
        return await open_device(port, *rest)

    world.switch._open_device = slowly
    asked = asyncio.create_task(world.switch.apply(edit.add_port(CONFIG, Port(name="b", kind="tap")), source="control"))
    await opening.wait()
    assert not world.switch.show().apply_failed
    go_on.set()
    await asked


async def test_a_change_outlives_who_asked_for_it(world: World):
    asked = asyncio.create_task(world.switch.apply(Config(), source="control"))
    await asyncio.sleep(0)
    asked.cancel()
    await world.until(lambda: world.switch.config == Config())
    assert asked.cancelled()


async def test_changes_are_made_one_at_a_time(world: World):
    wanted = [edit.add_port(CONFIG, Port(name=f"p{number}", kind="tap")) for number in range(5)]
    await asyncio.gather(*(world.switch.apply(config, source="control") for config in wanted))
    assert world.switch.config == wanted[-1]
    assert sorted(device.name for device in world.machine.open) == ["a", "nic", "p4"]


async def test_an_edit_is_of_the_configuration_of_its_turn(world: World):
    names = [f"p{number}" for number in range(5)]
    file = replace(CONFIG, bridge=(*CONFIG.bridge, Bridge(name="br1")))
    edits = [partial(edit.add_port, port=Port(name=name, kind="tap")) for name in names]
    await asyncio.gather(
        world.switch.apply(file, source="f.toml"), *(world.switch.change(change, source="control") for change in edits)
    )
    assert world.switch.config.find_bridge("br1")
    assert {port.name for port in world.switch.config.port} == {"a", "nic", *names}


async def test_what_waits_when_the_switch_stops_is_refused(world: World):
    asked = [asyncio.create_task(world.switch.apply(CONFIG, source=f"{number}")) for number in range(3)]
    await asyncio.sleep(0)
    await world.switch.stop()
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(error) for error in done[1:]] == ["1: the switch is stopping", "2: the switch is stopping"]


async def test_followers_hear_of_every_configuration(world: World):
    heard: list[Config] = []
    world.switch.on_config(heard.append)
    loud = replace(CONFIG, switch=Settings(log_level="debug"))
    await world.switch.apply(loud, source="f.toml")
    with pytest.raises(ApplyError):
        await world.switch.apply(replace(CONFIG, switch=Settings(workers=2)), source="f.toml")
    assert heard == [loud]


async def test_a_start_that_fails_opens_nothing():
    world = World()
    world.machine.absent = {"nic"}
    with pytest.raises(ApplyError) as caught:
        await world.switch.start(CONFIG, "f.toml")
    assert caught.value.problems == ['f.toml: port[1] ("nic").name: "nic": no such device']
    assert world.machine.open == []
    await world.switch.stop()


async def test_stopping_tells_devices_so():
    world = World()
    await world.switch.start(CONFIG, "f.toml")
    device = world.machine.device("a")
    await world.switch.stop()
    assert device.stopping


# Devices that change by themselves


async def test_a_device_without_carrier_is_published_down(world: World):
    device = world.machine.device("nic")
    device.become(State("no carrier", "nothing at the other end"))
    await world.until(lambda: not world.plane.ports["nic"].up)
    assert world.plane.ports["nic"].fds == ()
    assert world.state("nic") == ("no carrier", "nothing at the other end")
    device.become(UP)
    await world.until(lambda: world.plane.ports["nic"].up)
    assert world.plane.ports["nic"].fds == device.fds


async def test_another_mtu_is_published(world: World):
    device = world.machine.device("nic")
    device.mtu = 9000
    device.become(UP)
    await world.until(lambda: world.plane.ports["nic"].mtu == 9000)
    assert world.switch.show().ports[1].mtu == 9000


@pytest.fixture
def short_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vswitch.caretaker.HOUSEKEEPING_S", 0.001)


async def test_a_nic_takes_itself_back(short_seconds: None, world: World):
    device, other = world.machine.device("nic"), world.machine.device("a")
    device.become(GONE)
    await world.until(lambda: not world.plane.ports["nic"].up)
    assert world.state("nic") == GONE
    ages = world.plane.ages
    await world.until(lambda: world.plane.ages > ages + 3)
    device.become(UP)
    await world.until(lambda: world.plane.ports["nic"].up)
    assert world.machine.device("nic") is device
    assert world.machine.device("a") is other


async def test_a_device_of_our_own_is_made_again(short_seconds: None, world: World, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    lost = world.machine.device("a")
    lost.become(GONE)
    await world.until(lambda: lost.closed and world.state("a")[0] == "up")
    assert world.plane.ports["a"].fds == world.machine.device("a").fds
    assert "port a: its device has been made again" in caplog.text


async def test_a_device_that_cannot_be_made_again_says_why_and_is_tried_again(short_seconds: None, world: World):
    world.machine.absent = {"a"}
    world.machine.device("a").become(GONE)
    await world.until(lambda: world.state("a") == ("missing", "name: a: no such device"))
    assert (world.plane.ports["a"].up, world.plane.ports["a"].fds) == (False, ())
    world.machine.absent.clear()
    await world.until(lambda: world.plane.ports["a"].up)


async def lose_a(world: World) -> None:
    """Have a port without a device, with nobody trying to get one but whoever changes the configuration."""
    world.machine.absent = {"a"}
    world.machine.device("a").become(GONE)
    await world.switch.apply(CONFIG, source="f.toml")
    await world.until(lambda: world.state("a") == ("missing", "name: a: no such device"))


async def test_a_missing_port_may_change_and_go(world: World):
    await lose_a(world)
    changed = edit.change_port(CONFIG, "a", isolated=True)
    await world.switch.apply(changed, source="control")
    assert world.plane.ports["a"].isolated
    assert world.state("a")[0] == "missing"
    await world.switch.apply(edit.del_port(changed, "a"), source="control")
    assert sorted(world.plane.ports) == ["nic"]


async def test_any_change_tries_missing_ports_again(world: World):
    await lose_a(world)
    world.machine.absent.clear()
    await world.switch.apply(CONFIG, source="f.toml")
    await world.until_state("a", "up")


async def test_a_publication_that_fails_does_not_end_the_care(world: World, caplog: pytest.LogCaptureFixture):
    world.plane.refuse = 1
    world.machine.device("nic").become(State("down"))
    await world.until(lambda: "the switch could not follow it" in caplog.text)
    world.machine.device("nic").become(State("no carrier"))
    await world.until(lambda: not world.plane.ports["nic"].up)


# Reports


async def test_show(world: World):
    world.switch.serve_metrics(FakeMetrics("127.0.0.1:9478"))
    report = world.switch.show()
    assert (report.loop, report.config_file, report.generation) == ("asyncio", "f.toml", 1)
    assert report.metrics_listen == "127.0.0.1:9478"
    a, nic = report.ports
    assert (a.kind, a.bridge, a.vlan, a.mtu, a.queues) == ("tap", "br0", "access 10", 1500, 1)
    assert (a.state, a.reason) == ("up", None)
    assert a.offloads == ["csum", "tso4"]
    assert nic.vlan == "trunk 10,20-22 native 1"
    (bridge,) = report.bridges
    assert (bridge.ports, bridge.macs, bridge.moves) == (["a", "nic"], 1, 3)
    (worker,) = report.workers
    assert (worker.frames, worker.busy_share < 1e-3) == (2, True)


async def test_stats(world: World):
    a, nic = world.switch.stats()
    number = world.plane.port_ids.get("a")
    assert (a.name, a.bridge, a.rx_frames, a.tx_bytes) == ("a", "br0", number, number + 3)
    assert (a.drops, a.kernel_drops) == ({"runt": 1}, 9)
    assert (nic.name, world.switch.drop_reasons) == ("nic", ("runt", "no_route"))


async def test_the_fdb(world: World):
    bridge, nic = world.plane.bridge_ids.get("br0"), world.plane.port_ids.get("nic")
    world.plane.learned = {(bridge, "52:54:00:00:00:0b", 10): nic, (bridge, "52:54:00:00:00:0c", 20): nic}
    entries = world.switch.fdb("br0")
    assert entries == world.switch.fdb(None)
    assert entries[0] == FdbEntry(mac=MAC, vlan=10, port="a", age_s=0.0, static=True)
    assert [entry.port for entry in entries] == ["a", "nic", "nic"]
    assert await world.switch.fdb_del("br0", "52:54:00:00:00:0b", 10)
    assert not await world.switch.fdb_del("br0", "52:54:00:00:00:0b", 10)
    assert await world.switch.fdb_flush("br0", port="nic", vlan=10) == 0
    assert await world.switch.fdb_flush("br0") == 1
    with pytest.raises(KeyError):
        world.switch.fdb("br9")
