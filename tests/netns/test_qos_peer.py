"""The same tree for the switch and for the kernel, under the same load at the same time: the shares agree.

The kernel's tree is on a veth, towards a namespace that nobody else has to do with; ours on a tap.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab import Lab, require_root
from tests.qoshost import Counted, QosHost, counted, flood, placed

OURS, KERNELS = "10.0.0.9", "10.1.0.9"
MBIT = 1_000_000
DEEP = 1000  # a second's worth, so that a load that is held up now and then leaves no queue empty
DPORT = "filter add parent 1: protocol ip prio 1 u32 match ip dport {minor} 0xffff flowid 1:{minor}"
TREES = {
    "guarantees": {
        10: "rate 2mbit ceil 2mbit",
        20: "rate 4mbit ceil 4mbit",
        30: "rate 8mbit ceil 8mbit",
    },
    "excess by quantum": {
        10: "rate 1mbit ceil 20mbit quantum 9000",
        20: "rate 2mbit ceil 20mbit quantum 6000",
        30: "rate 3mbit ceil 20mbit quantum 3000",
    },
    "excess to the more urgent": {
        10: "rate 2mbit ceil 20mbit prio 1",
        20: "rate 2mbit ceil 12mbit prio 0",
        30: "rate 2mbit ceil 20mbit prio 1",
    },
}


class Peers:
    """Both, and a namespace that sends to either."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = QosHost(lab, "h")
        sender, server = self.host.guest("a", "10.0.0.1/24"), self.host.guest("s", f"{OURS}/24")
        self.port = server.name
        self.host.start()
        self.sender = sender.netns
        far = lab.namespace("k")
        self.veth, end = lab.veth("near", "far", near_netns=self.sender, far_netns=far)
        lab.address(self.veth, "10.1.0.1/24", netns=self.sender)
        lab.address(end, f"{KERNELS}/24", netns=far)

    def tc(self, *lines: str) -> None:
        self.host.tc(self.port, *lines)
        for line in lines:
            self._kernel(line)

    def _kernel(self, line: str) -> str:
        return self.lab.run("tc", *placed(line, self.veth), netns=self.sender).stdout

    def counted(self) -> tuple[dict[str, Counted], dict[str, Counted]]:
        kernels = {}
        for kind in ("qdisc", "class"):
            kernels |= counted(self._kernel(f"-s {kind} show"))
        return self.host.counted(self.port), kernels

    def sent(self, *handles: str, most: int) -> tuple[list[int], list[int]]:
        """Bytes by handle while both are backlogged and the first of ours sends so many: ours, the kernel's."""
        before = self.counted()
        self.host.wait_for_bytes(self.port, "1:", most)
        after = self.counted()
        ours, kernels = ([late[handle].sent - early[handle].sent for handle in handles]
                         for early, late in zip(before, after, strict=True))  # fmt: skip
        return ours, kernels


@pytest.fixture(scope="module")
def shared_peers() -> Iterator[Peers]:
    require_root()
    if shutil.which("tc") is None:
        pytest.skip("needs iproute2's tc")
    with Lab() as lab:
        yield Peers(lab)


@pytest.fixture
def peers(shared_peers: Peers) -> Iterator[Peers]:
    yield shared_peers
    shared_peers.tc("qdisc del root")
    shared_peers.host.wait_for_rest()


def to_both(minors: list[int], peers: Peers) -> ExitStack:
    """A flood to each port at either end."""
    with ExitStack() as stack:
        for minor in minors:
            for address in (OURS, KERNELS):
                stack.enter_context(flood(peers.sender, address, minor))
        return stack.pop_all()


@pytest.mark.parametrize("name", TREES)
def test_classes_of_htb(peers: Peers, name: str) -> None:
    classes = TREES[name]
    peers.tc("qdisc add root handle 1: htb default 10", "class add parent 1: classid 1:1 htb rate 20mbit")
    for minor, words in classes.items():
        peers.tc(f"class add parent 1:1 classid 1:{minor} htb {words}", DPORT.format(minor=minor))
        peers.tc(f"qdisc add parent 1:{minor} handle {minor}: pfifo limit {DEEP}")
    with to_both([*classes], peers):
        for minor in classes:
            peers.host.wait_for_waiting(peers.port, f"{minor}:", DEEP // 2)
        ours, kernels = peers.sent(*[f"1:{minor}" for minor in classes], most=5 * MBIT)
    assert shares(ours) == pytest.approx(shares(kernels), rel=0.15), (ours, kernels)


def test_tbf(peers: Peers) -> None:
    peers.tc("qdisc add root handle 1: tbf rate 10mbit burst 16kb latency 800ms")
    with to_both([9], peers):
        peers.host.wait_for_waiting(peers.port, "1:", DEEP // 2)
        [ours], [kernels] = peers.sent("1:", most=4 * MBIT)
    assert ours == pytest.approx(kernels, rel=0.25)


def shares(sent: list[int]) -> list[float]:
    return [some / sum(sent) for some in sent]
