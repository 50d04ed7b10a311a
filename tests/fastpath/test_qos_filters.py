"""Filters: what keys look at, which of them is first, and runs of one shape, which are found by hash."""

from __future__ import annotations

import random

import pytest

from tests.qos_model import Packet
from vswitch._fastpath._probe_qos import QosProbe
from vswitch.qos.view import Base, ClassView, FifoView, FilterView, HtbView, KeyView, Kind, QdiscView, Shape, TreeView

ANY = 0xFFFFFFFF
RATE = Shape(10**9)


def tree(filters: list[FilterView], minors: int) -> TreeView:
    """An htb with so many leaf classes, from 1:1 on; class 1:ffff takes what no filter does."""
    classes = [ClassView(100 + n, 0x10000 | minor, None, 1 + n, RATE, RATE, 10**6, 10**6, 0, 10**5)
               for n, minor in enumerate([*range(1, minors + 1), 0xFFFF])]
    leaves = [QdiscView(10**6 + n, 0, Kind.PFIFO, FifoView(1000)) for n in range(len(classes))]
    root = QdiscView(1, 0x10000, Kind.HTB, HtbView(0xFFFF, 1000), classes=tuple(classes), filters=tuple(filters))
    return TreeView((root, *leaves))


def chosen(probe: QosProbe, view: TreeView, frame: bytes, **meta: int) -> int:
    """The minor number of the class that a frame comes to."""
    before = {cls.class_id: probe.stats(cls.serial).packets for cls in view.qdiscs[0].classes}
    assert probe.offer(frame, 10**12, **meta) is None
    probe.serve(10**12)
    after = {cls.class_id: probe.stats(cls.serial).packets for cls in view.qdiscs[0].classes}
    return next(class_id for class_id, n in after.items() if n > before[class_id]) & 0xFFFF


def word(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 4], "big")


FRAME = Packet(1, payload=20, tos=0x10).frame()
CASES = [
    ("the protocol", KeyView(Base.NETWORK, 8, word(FRAME, 22), 0x00FF0000), {}, True),
    ("another protocol", KeyView(Base.NETWORK, 8, 0x00110000 ^ word(FRAME, 22), 0x00FF0000), {}, False),
    ("the ports", KeyView(Base.TRANSPORT, 0, word(FRAME, 34), ANY), {}, True),
    ("the end of the source MAC and the EtherType", KeyView(Base.NETWORK, -4, word(FRAME, 10), ANY), {}, True),
    ("the destination MAC", KeyView(Base.NETWORK, -14, word(FRAME, 0), ANY), {}, True),
    ("before the frame", KeyView(Base.NETWORK, -15, 0, 0), {}, False),
    ("beyond its end", KeyView(Base.NETWORK, 2000, 0, 0), {}, False),
    ("a mark", KeyView(Base.MARK, 0, 7, ANY), {"mark": 7}, True),
    ("another mark", KeyView(Base.MARK, 0, 7, ANY), {"mark": 8}, False),
    ("the EtherType", KeyView(Base.PROTOCOL, 0, 0x0800, 0xFFFF), {}, True),
    ("the VLAN", KeyView(Base.VLAN, 0, 10, 0xFFF), {"vid": 10}, True),
    ("another VLAN", KeyView(Base.VLAN, 0, 11, 0xFFF), {"vid": 10}, False),
]


@pytest.mark.parametrize(("key", "meta", "matches"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_keys(key: KeyView, meta: dict[str, int], matches: bool) -> None:
    view = tree([FilterView((key,), 0x10001)], 1)
    assert chosen(QosProbe(view), view, FRAME, **meta) == (1 if matches else 0xFFFF)


def test_the_first_one_that_matches_decides() -> None:
    mark = (KeyView(Base.MARK, 0, 7, ANY),)
    view = tree([FilterView(mark, 0x10002), FilterView(mark, 0x10001), FilterView((), 0x10003)], 3)
    probe = QosProbe(view)
    assert chosen(probe, view, FRAME, mark=7) == 2
    assert chosen(probe, view, FRAME, mark=8) == 3


def test_runs_do_what_one_after_another_would() -> None:
    """Shapes in a row, values twice, values that nobody has, and filters of other shapes in front and behind."""
    rng = random.Random(4)
    filters = [FilterView((KeyView(Base.MARK, 0, 5, ANY),), 0x10001)]
    values = [rng.randrange(40) for _ in range(60)]
    filters += [FilterView((KeyView(Base.MARK, 0, value, 0xFF), KeyView(Base.PROTOCOL, 0, 0x0800, 0xFFFF)),
                           0x10002 + number) for number, value in enumerate(values)]
    filters += [FilterView((KeyView(Base.MARK, 0, 0x100, 0x100),), 0x10000 | 70)]
    view = tree(filters, 70)
    probe = QosProbe(view)
    for mark in (*range(45), 0x105, 0x12C, 0x1FF, 0x2FF):
        if mark == 5:
            expected = 1
        elif mark & 0xFF in values:
            expected = 2 + values.index(mark & 0xFF)
        else:
            expected = 70 if mark & 0x100 else 0xFFFF
        assert chosen(probe, view, FRAME, mark=mark) == expected, mark
