"""Queues of a switch's ports, over fakes: by tc, by the file, kept, saved, given to the data plane."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from vswitch.config.apply import ApplyError
from vswitch.config.errors import ConfigError
from vswitch.config.load import parse
from vswitch.config.save import dumps
from vswitch.qos.view import Kind, PolicerView
from vswitch.switch import Switch

from tests.fake_plane import FakeMachine, FakePlane

BASE = """
[[bridge]]
name = "br0"
[[port]]
name = "a"
kind = "tap"
bridge = "br0"
{a}
[[port]]
name = "b"
kind = "tap"
bridge = "br0"
{b}
"""
TREE = """tc = [
    "qdisc add root handle 1: htb default 12",
    "class add parent 1: classid 1:12 htb rate {rate}",
    "qdisc add parent 1:12 handle 40: sfq perturb 10",
]"""


class World:
    """A switch over fakes with two ports."""

    def __init__(self) -> None:
        self.plane = FakePlane()
        self.machine = FakeMachine(self.plane)
        self.switch = Switch(self.plane, None, open_device=self.machine.open_device)

    async def apply(self, a: str = "", b: str = "", **more) -> list[str]:
        return await self.switch.apply(parse(BASE.format(a=a, b=b), "f.toml"), source="f.toml", **more)

    async def tc(self, line: str) -> str:
        reply = await self.switch.tc(line.split())
        assert not reply.code, reply.stderr
        return reply.stdout

    def told(self, port: str):
        return self.plane.qdiscs[self.plane.port_ids.get(port)]

    def kinds(self, port: str) -> list[Kind]:
        tree, _ = self.told(port)
        return [qdisc.kind for qdisc in tree.qdiscs]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.switch.start(parse(BASE.format(a="", b=""), "f.toml"), "f.toml")
    yield world
    await world.switch.stop()
    assert all(told == (None, ()) for told in world.plane.qdiscs.values())


@pytest.mark.asyncio
async def test_tc_reaches_the_data_plane(world: World) -> None:
    await world.tc("qdisc add dev a root handle 1: htb default 1")
    await world.tc("class add dev a parent 1: classid 1:1 htb rate 1mbit")
    assert world.kinds("a") == [Kind.HTB, Kind.PFIFO]
    assert "Sent" in await world.tc("-s class show dev a")
    assert world.plane.queued == [world.plane.port_ids.get("a")] * 2  # and nothing of b


@pytest.mark.asyncio
async def test_what_tc_refuses_publishes_nothing(world: World) -> None:
    published = len(world.plane.history)
    reply = await world.switch.tc(["qdisc", "add", "dev", "c", "root", "htb"])
    assert (reply.code, reply.stderr) == (1, 'Cannot find device "c"\n')
    assert len(world.plane.history) == published


@pytest.mark.asyncio
async def test_what_the_data_plane_refuses_is_not_there(world: World) -> None:
    world.plane.refuse = 1
    reply = await world.switch.tc("qdisc add dev a root pfifo".split())
    assert (reply.code, reply.stderr) == (2, "Error: no memory for it.\n")
    assert await world.tc("qdisc show dev a") == "qdisc noqueue 0: root refcnt 2 \n"
    await world.tc("qdisc add dev b root pfifo")
    assert world.told("a") == (None, ())


@pytest.mark.asyncio
async def test_what_was_made_at_run_time_survives_other_changes(world: World) -> None:
    await world.tc("qdisc add dev a root pfifo limit 5")
    before, told = world.told("a"), len(world.plane.queued)
    await world.apply(a="hairpin = true")
    assert world.told("a") is before and len(world.plane.queued) == told


@pytest.mark.asyncio
async def test_queues_go_with_their_port(world: World) -> None:
    await world.tc("qdisc add dev b root pfifo limit 5")
    id = world.plane.port_ids.get("b")
    await world.switch.apply(parse(BASE.format(a="", b="").rpartition("[[port]]")[0], "f.toml"), source="f.toml")
    assert world.plane.qdiscs[id] == (None, ())
    await world.apply()
    assert "noqueue" in await world.tc("qdisc show dev b")


@pytest.mark.asyncio
async def test_limit_is_a_tree_and_policers(world: World) -> None:
    lines = await world.apply(a='limit = { egress = "100mbit", ingress = "50mbit" }')
    assert lines == ['change port a (tap): limit none -> { egress = "100mbit", ingress = "50mbit" }']
    assert world.kinds("a") == [Kind.HTB, Kind.FQ_CODEL]
    tree, policers = world.told("a")
    assert tree.qdiscs[0].classes[0].rate.rate == 12_500_000
    assert policers == (PolicerView(None, 6_250_000, 625_000, 0, 0, None),)


@pytest.mark.asyncio
async def test_limits_of_vlans_come_before_the_ports(world: World) -> None:
    await world.apply(a="""limit = { ingress = { rate = "8mbit", frames = 1000, mark = 7, vlans = [
        { vlan = 10, frames = 500, frame_burst = 9 }, { vlan = 20, rate = "800kbit", burst = "3kb" } ] } }""")
    assert world.told("a") == (None, (
        PolicerView(10, 0, 0, 500, 9, None), PolicerView(20, 100_000, 3072, 0, 0, None),
        PolicerView(None, 1_000_000, 100_000, 1000, 100, 7),
    ))  # fmt: skip


@pytest.mark.asyncio
async def test_a_section_that_stays_resets_nothing(world: World) -> None:
    await world.apply(a=TREE.format(rate="1mbit"))
    before = world.told("a")
    assert await world.apply(a=TREE.format(rate="1mbit")) == []
    await world.apply(a=TREE.format(rate="1mbit") + "\nhairpin = true")
    assert world.told("a") is before


@pytest.mark.asyncio
async def test_a_section_that_changes_keeps_what_goes_on(world: World) -> None:
    await world.apply(a=TREE.format(rate="1mbit"))
    before, _ = world.told("a")
    (line,) = await world.apply(a=TREE.format(rate="2mbit"))
    assert '+ "class add parent 1: classid 1:12 htb rate 2mbit"' in line
    after, _ = world.told("a")
    assert after.qdiscs[0].classes[0].rate.rate == 250_000
    assert [qdisc.serial for qdisc in after.qdiscs] == [qdisc.serial for qdisc in before.qdiscs]
    assert after.qdiscs[0].classes[0].serial == before.qdiscs[0].classes[0].serial


@pytest.mark.asyncio
async def test_the_file_wins_over_what_tc_has_made_of_its_section(world: World) -> None:
    await world.apply(a=TREE.format(rate="1mbit"))
    await world.tc("class change dev a classid 1:12 htb rate 9mbit")
    assert await world.apply(a=TREE.format(rate="1mbit"), dry_run=True) == ["queues of port a as its section has them"]
    await world.apply(a=TREE.format(rate="1mbit"))
    assert "rate 1Mbit" in await world.tc("class show dev a")


@pytest.mark.asyncio
async def test_a_section_that_goes_leaves_the_queues_and_an_empty_one_takes_them(world: World) -> None:
    await world.apply(a=TREE.format(rate="1mbit"))
    await world.apply()
    assert "htb 1:" in await world.tc("qdisc show dev a")
    await world.apply(a="tc = []")
    assert world.told("a") == (None, ())


@pytest.mark.asyncio
async def test_an_apply_that_fails_puts_the_queues_back(world: World) -> None:
    await world.tc("qdisc add dev a root pfifo limit 5")
    before = world.told("a")
    world.plane.refuse = 1
    with pytest.raises(ApplyError):
        await world.apply(a=TREE.format(rate="1mbit"))
    assert world.told("a") == before


@pytest.mark.asyncio
async def test_what_tc_has_made_is_saved(world: World) -> None:
    await world.apply(b='limit = { egress = "1mbit" }')
    await world.tc("qdisc add dev a root handle 1: tbf rate 1mbit burst 10k latency 50ms")
    text = dumps(world.switch.saved())
    assert 'tc = ["qdisc add root handle 1: tbf rate 125000bps burst 10240b limit 16490b"]' in text
    assert 'limit = { egress = "1mbit" }' in text
    before = world.told("a"), world.told("b")
    await world.switch.apply(parse(text, "saved"), source="saved")
    assert (world.told("a"), world.told("b")) == before


REFUSED = (
    ('limit = { egress = "fast" }', 'port[0] ("a").limit.egress: "fast": a rate above zero as tc reads it'),
    ('limit = { egress = "0" }', 'port[0] ("a").limit.egress: "0": a rate above zero as tc reads it'),
    ('limit = { ingress = { rate = "1mbit", burst = "x" } }', 'port[0] ("a").limit.ingress.burst: "x": a size above zero'),
    ("limit = { ingress = {} }", 'port[0] ("a").limit.ingress: rate, frames or both'),
    ("limit = { ingress = { frames = 0 } }", 'port[0] ("a").limit.ingress.frames: 0: 1 to 1000000000 frames a second'),
    ('limit = { ingress = { vlans = [{ vlan = 4095, rate = "1mbit" }] } }',
     'port[0] ("a").limit.ingress.vlans[0].vlan: 4095: 1 to 4094'),
    ('limit = { egres = "1mbit" }', 'port[0] ("a").limit.egres: unknown key; did you mean "egress"?'),
    ('limit = { egress = "1mbit" }\ntc = []', 'port[0] ("a").limit: limit or tc, not both'),
    ('tc = ["qdisc add root htb", "qdisc add root htb"]',
     'port[0] ("a").tc[1]: "qdisc add root htb": Error: Exclusivity flag on, cannot modify.'),
    ('tc = ["qdisc add dev b root htb"]',
     'port[0] ("a").tc[0]: "qdisc add dev b root htb": Error: "dev" is the port of the section; leave it out'),
    ('tc = ["qdisc show"]', 'port[0] ("a").tc[0]: "qdisc show": Command "show" is unknown'),
    ("tc = ['qdisc add \"root']", 'port[0] ("a").tc[0]: "qdisc add \\"root": a line of tc: No closing quotation'),
    ('tc = "qdisc"', 'port[0] ("a").tc: "qdisc": a list'),
)  # fmt: skip


@pytest.mark.parametrize(("section", "words"), REFUSED)
def test_a_section_that_is_wrong_is_refused_by_its_place(section: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(BASE.format(a=section, b=""), "f.toml")
    (line,) = caught.value.problems
    assert line.startswith(f"f.toml: {words}")
