"""`tc -s` and the metrics say the same of queues with traffic in them: a real switch, its fast path, memory ports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.switchboard import ethernet, station
from vswitch.config.load import parse
from vswitch.dataplane import Dataplane
from vswitch.observe.collector import Snapshot
from vswitch.observe.metrics import render
from vswitch.switch import Switch

LIMIT_S = 10
CONFIG = """
[[bridge]]
name = "br0"
[[port]]
name = "a"
kind = "memory"
bridge = "br0"
[[port]]
name = "b"
kind = "memory"
bridge = "br0"
tc = [
    "qdisc add root handle 1: htb default 20",
    "class add parent 1: classid 1:1 htb rate 80kbit",
    "class add parent 1:1 classid 1:10 htb rate 8kbit ceil 80kbit burst 1500 cburst 1500",
    "class add parent 1:1 classid 1:20 htb rate 8kbit ceil 80kbit",
    "qdisc add parent 1:10 handle 10: pfifo limit 5",
    "qdisc add parent 1:20 handle 20: prio",
    "qdisc add parent 20:1 handle 30: tbf rate 8kbit burst 1500 latency 1s",
    "filter add parent 1: protocol all pref 1 u32 match u16 0x1000 0xffff at -2 flowid 1:10",
]
"""
SENT = 10
TAKEN = 0x1000  # the EtherType that the filter takes
TC_NAMES = {"bytes": "sent_bytes_total", "packets": "sent_packets_total", "drops": "dropped_frames_total",
            "overlimits": "overlimits_total", "requeues": "requeues_total", "backlog": "backlog_bytes", "qlen": "backlog_frames",
            "lended": "lends_total", "borrowed": "borrows_total"}  # fmt: skip

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scene:
    """A switch whose port b is slower than what port a has sent it."""

    def __init__(self) -> None:
        self.plane = Dataplane(workers=1, busy_poll_us=0)
        self.switch = Switch(self.plane, None)

    def rings(self, name: str) -> Any:
        return self.switch._applier.picture.devices[name].memory

    async def tc(self, words: str) -> Any:
        reply = await self.switch.tc(words.split())
        assert not reply.code, reply.stderr
        return json.loads(reply.stdout) if "-j" in words else None

    def scrape(self) -> Samples:
        text = render(Snapshot.take(self.switch, self.switch.census()), "", "").body.decode()
        return {(s.name, frozenset(s.labels.items())): s.value for family in parse_text(text) for s in family.samples}

    async def at_rest(self) -> tuple[list, list, Samples]:
        """What tc shows and a scrape between which nothing left."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                before = await self._shown()
                samples = self.scrape()
                if await self._shown() == before:
                    return *before, samples
                await asyncio.sleep(0)

    async def _shown(self) -> tuple[list, list]:
        return await self.tc("-s -j qdisc show dev b"), await self.tc("-s -j class show dev b")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    scene.plane.start()
    await scene.switch.start(parse(CONFIG, "f.toml"), "f.toml")
    yield scene
    await scene.switch.stop()
    await scene.plane.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.001)


async def test_tc_and_the_metrics_agree(scene: Scene) -> None:
    frames = [ethernet(station(2), station(1), ethertype=TAKEN, payload=bytes(900))] * SENT
    frames += [ethernet(station(2), station(1), payload=bytes(900))] * SENT
    scene.rings("a").inject(frames)
    await until(lambda: scene.plane.port_counters(scene.plane.port_ids.get("a")).rx_frames == len(frames))
    qdiscs, classes, samples = await scene.at_rest()
    assert {cls["handle"]: cls["class"] for cls in classes} == dict.fromkeys(("1:1", "1:10", "1:20"), "htb") | dict.fromkeys(
        ("20:1", "20:2", "20:3"), "prio") | {"30:1": "tbf"}  # fmt: skip
    for qdisc in qdiscs:
        compare(samples, "qdisc", qdisc, handle=qdisc["handle"])
    for cls in classes:
        if cls["class"] != "tbf":
            compare(samples, "class", cls["stats"], classid=cls["handle"])
    assert sample(samples, "class_dropped_frames_total", classid="1:10") > 0
    assert sample(samples, "class_backlog_frames", classid="1:20") > 0
    assert sample(samples, "class_rate_bytes_per_second", classid="1:10") == 1000
    assert sample(samples, "class_ceil_bytes_per_second", classid="1:10") == 10_000
    assert ("vswitch_qdisc_info", frozenset({"port": "b", "handle": "30:", "kind": "tbf", "parent": "20:1"}.items())) in samples


def compare(samples: Samples, what: str, shown: dict[str, Any], **label: str) -> None:
    common = shown.keys() & TC_NAMES.keys()
    assert {"bytes", "packets", "drops", "overlimits", "requeues", "backlog", "qlen"} <= common
    found = {key: sample(samples, f"{what}_{TC_NAMES[key]}", **label) for key in common}
    assert found == {key: shown[key] for key in common}, label


def sample(samples: Samples, name: str, **label: str) -> float:
    return samples[f"vswitch_{name}", frozenset({"port": "b", **label}.items())]


async def test_every_frame_that_left_has_its_delay(scene: Scene) -> None:
    """In its class, or in the band of prio, the tbf in it notwithstanding."""
    scene.rings("a").inject([ethernet(station(2), station(1), ethertype=TAKEN)] * 3)
    scene.rings("a").inject([ethernet(station(2), station(1))] * 4)
    got: list[bytes] = []
    await until(lambda: got.extend(scene.rings("b").collect()) or len(got) == 7)
    samples = scene.scrape()
    counted = {dict(labels)["classid"]: value for (name, labels), value in samples.items()
               if name == "vswitch_queue_delay_seconds_bucket" and ("le", "+Inf") in labels}  # fmt: skip
    assert counted == {"1:10": 3, "20:1": 0, "20:2": 4, "20:3": 0}


async def test_what_is_made_anew_begins_anew(scene: Scene) -> None:
    scene.rings("a").inject([ethernet(station(2), station(1), ethertype=TAKEN)])
    await until(lambda: scene.rings("b").collect())
    assert sample(scene.scrape(), "class_sent_packets_total", classid="1:10") == 1
    await scene.tc("qdisc del dev b root")
    assert not [labels for name, labels in scene.scrape() if "class" in name or "qdisc" in name or "queue_delay" in name]
    await scene.tc("qdisc add dev b root handle 1: tbf rate 1mbit burst 1500 latency 1s")
    samples = scene.scrape()
    assert sample(samples, "qdisc_sent_packets_total", handle="1:") == 0
    assert sample(samples, "qdisc_rate_bytes_per_second", handle="1:") == 125_000
    assert ("vswitch_queue_delay_seconds_bucket", frozenset({"port": "b", "classid": "root", "le": "+Inf"}.items())) in samples


async def test_memory_in_use_shows_and_goes(scene: Scene) -> None:
    scene.rings("a").inject([ethernet(station(2), station(1), payload=bytes(900))] * SENT)
    await until(lambda: scene.plane.queue_memory()[1])
    assert scene.scrape()["vswitch_queue_memory_bytes", frozenset()] > 0
    await scene.tc("qdisc del dev b root")
    await until(lambda: scene.plane.queue_memory()[:2] == (0, 0))
    assert scene.scrape()["vswitch_queue_memory_limit_bytes", frozenset()] == 64 << 20
