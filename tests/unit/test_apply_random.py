"""Any way from one configuration to another, with any failure on it: either all of it has happened, or nothing.

The fakes watch all the while that nothing is closed under a worker's hands, and that no closed descriptor is published.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from vswitch.config.apply import Applier
from vswitch.config.check import carries, checked
from vswitch.config.errors import ApplyError
from vswitch.config.model import Bridge, Config, Port, StaticMac
from vswitch.config.picture import Picture, bridge_views, port_views
from vswitch.config.plan import diff

from tests.fake_plane import FakeMachine, FakePlane

BRIDGES = ("br0", "br1")
PORTS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Attempt:
    """A configuration to be had, and what goes wrong on the way."""

    config: Config
    absent: frozenset[str]
    refuse_publication: int
    refuse_adjustment: bool
    full: bool


@st.composite
def configs(draw: st.DrawFn) -> Config:
    bridges = draw(st.lists(st.sampled_from(BRIDGES), unique=True))
    names = draw(st.lists(st.sampled_from(PORTS), unique=True))
    homes = st.sampled_from([None, *bridges])
    ports = tuple(draw(ports_named(name, homes)) for name in names)
    fdb = (
        StaticMac(bridge=port.bridge, mac=f"52:54:00:00:00:{number:02x}", port=port.name, vlan=10)
        for number, port in enumerate(ports)
        if port.bridge and carries(port, 10)
    )
    limits = st.integers(1, 2)
    table = tuple(Bridge(name=name, mac_limit=draw(limits)) for name in bridges)
    return checked(Config(bridge=table, port=ports, fdb=tuple(fdb) if draw(st.booleans()) else ()))


def ports_named(name: str, homes: st.SearchStrategy[str | None]) -> st.SearchStrategy[Port]:
    return st.builds(
        Port,
        name=st.just(name),
        kind=st.just("tap"),
        bridge=homes,
        access=st.none() | st.integers(10, 11),
        mtu=st.none() | st.integers(1400, 1401),
        netns=st.none() | st.just("A"),
    )


ATTEMPTS = st.builds(
    Attempt,
    config=configs(),
    absent=st.frozensets(st.sampled_from(PORTS), max_size=1),
    refuse_publication=st.sampled_from([0, 0, 0, 1]),
    refuse_adjustment=st.booleans(),
    full=st.booleans(),
)


class World:
    def __init__(self) -> None:
        self.plane = FakePlane()
        self.machine = FakeMachine(self.plane)
        self.applier = Applier(self.plane, self.machine.open_device)

    async def apply(self, config: Config) -> None:
        await self.applier.apply(config, diff(self.applier.picture.config, config), "f.toml")

    async def attempt(self, attempt: Attempt) -> None:
        before = self.applier.picture
        self.machine.absent = set(attempt.absent)
        self.machine.refuse_adjust = attempt.refuse_adjustment
        self.plane.refuse, self.plane.full = attempt.refuse_publication, attempt.full
        try:
            await self.apply(attempt.config)
        except ApplyError:
            assert self.applier.picture.config == before.config
        else:
            assert self.applier.picture.config == attempt.config
        self.undisturbed(before)
        self.plane.refuse, self.plane.full, self.machine.refuse_adjust = 0, False, False

    def undisturbed(self, before: Picture) -> None:
        """Ports that are the same before and after kept their devices, unless they were to be replaced."""
        now = self.applier.picture
        for name in before.devices.keys() & now.devices.keys():
            if now.config is not before.config and before.port(name) == now.port(name):
                assert now.devices[name] is before.devices[name]

    def consistent(self) -> None:
        """What the workers know, what is open and what is configured are the same thing."""
        picture = self.applier.picture
        config = picture.config
        names = {port.name for port in config.port}
        assert {device.name for device in self.machine.open} == set(picture.devices)
        assert set(picture.devices) | set(picture.missing) == names
        assert not set(picture.devices) & set(picture.missing)
        assert {name for name, _ in self.plane.port_ids} == names
        assert {name for name, _ in self.plane.bridge_ids} == {bridge.name for bridge in config.bridge}
        assert list(self.plane.ports.values()) == list(port_views(picture, self.plane))
        assert list(self.plane.bridges.values()) == list(bridge_views(config, self.plane))
        for port in config.port:
            if port.name in picture.devices and port.mtu:
                assert picture.devices[port.name].mtu == port.mtu

    def statics(self) -> set[tuple[int, str, int, int]]:
        return {(*key, port) for key, port in self.plane.static.items()}

    def wanted_statics(self) -> set[tuple[int, str, int, int]]:
        bridges, ports = dict(self.plane.bridge_ids), dict(self.plane.port_ids)
        entries = self.applier.picture.config.fdb
        return {(bridges[e.bridge], e.mac, e.vlan, ports[e.port]) for e in entries}


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(ATTEMPTS, max_size=6), configs())
def test_all_or_nothing(attempts: list[Attempt], last: Config):
    async def story() -> None:
        world = World()
        for attempt in attempts:
            await world.attempt(attempt)
            world.consistent()
            if not attempt.full:
                assert world.statics() == world.wanted_statics()
        world.machine.absent = set()
        await world.apply(last)
        world.consistent()
        await world.apply(Config())
        world.consistent()

    asyncio.run(story())
