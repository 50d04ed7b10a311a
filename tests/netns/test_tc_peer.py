"""The same words to the kernel's tc on a veth and to ours: what is printed, what is refused and with what code.

What this kernel has not (sfq, prio, fq_codel, fw, flower, actions) is not asked. Where the real tc is different for a
reason, `told_alike` says so: references of a device's queues, marks of a bug in Debian's iproute2, usage texts.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root
from tests.tc_ports import TcPorts

HTB = (
    "qdisc add dev {dev} root handle 1: htb default 12",
    "class add dev {dev} parent 1: classid 1:1 htb rate 100kbps ceil 100kbps",
    "class add dev {dev} parent 1:1 classid 1:10 htb rate 30kbps ceil 100kbps",
    "class add dev {dev} parent 1:1 classid 1:11 htb rate 10kbps ceil 100kbps burst 15k cburst 3000",
    "class add dev {dev} parent 1:1 classid 1:12 htb rate 60kbps ceil 100kbps prio 9 quantum 7777",
    "class add dev {dev} parent 1: classid 1:2 htb rate 2gbit", "class add dev {dev} root classid 1:3 htb rate 40gbit",
    "class add dev {dev} parent 1: classid 1:4 htb rate 1gbit overhead 10 mpu 64 mtu 9000",
    "qdisc add dev {dev} parent 1:10 handle 20: pfifo limit 5", "qdisc add dev {dev} parent 1:11 handle 30: bfifo",
    "filter add dev {dev} protocol ip parent 1:0 prio 1 u32 match ip src 1.2.3.4 match ip dport 80 0xffff flowid 1:10",
    "filter add dev {dev} protocol ip parent 1:0 prio 1 u32 match ip src 1.2.3.4 flowid 1:11",
    "filter add dev {dev} parent 1: u32 match ether dst 02:00:00:00:00:01 match u8 1 1 at 3 flowid 1:1",
    "filter add dev {dev} parent 1: protocol ipv6 u32 match ip6 dst 2001:db8::/33 match ip6 dport 80 0xffff flowid 1:1",
)  # fmt: skip
TBF = ("qdisc add dev {dev} root handle 1: tbf rate 20000 burst 1500 overhead 300 mpu 64 limit 1000 peakrate 30000 mtu 1510",)
SHOWN = (
    "qdisc show dev {dev}", "-s qdisc show dev {dev}", "-d qdisc show dev {dev}", "class show dev {dev}",
    "-d class show dev {dev}", "class show dev {dev} qdisc 1:", "class show dev {dev} parent 1:1", "filter show dev {dev}",
    "filter show dev {dev} parent 1: prio 1", "-p filter show dev {dev}", "-j filter show dev {dev}",
    "qdisc show dev {dev} invisible", "qdisc show dev {dev} parent 1:10", "qdisc show dev {dev} root",
)  # fmt: skip
BEFORE = {"htb": HTB, "tbf": TBF, "tbf latency": ("qdisc add dev {dev} root tbf rate 1gbit burst 1m latency 33ms",),
          "pfifo_fast": ("qdisc add dev {dev} root pfifo_fast",), "bfifo": ("qdisc add dev {dev} root handle ffff: bfifo",),
          "ingress": ("qdisc add dev {dev} ingress",), "clsact": ("qdisc add dev {dev} clsact",), "nothing": ()}  # fmt: skip
REFUSED = (
    "qdisc add dev {dev} root handle 1: htb", "qdisc add dev {dev} root handle 2: htb", "qdisc add dev {dev} parent 1:77 pfifo",
    "qdisc change dev {dev} root handle 1: htb default 5", "qdisc add dev {dev} parent 5:1 pfifo", "qdisc add dev {dev}",
    "qdisc replace dev {dev} parent 1:11 handle 20: pfifo", "qdisc add dev {dev} parent 20: pfifo", "qdisc add root htb",
    "qdisc change dev {dev} parent 1:12 pfifo", "qdisc change dev {dev} handle 55: pfifo limit 9", "qdisc add dev {dev} dev x",
    "qdisc del dev {dev} root handle 4:", "qdisc del dev {dev} parent 7:1", "qdisc del dev {dev} parent 1:12", "qdisc foo",
    "qdisc add dev {dev} root handle 10000: pfifo", "qdisc add dev {dev} root nosuch", "qdisc add dev", "-x", "foo",
    "class add dev {dev} parent 1: classid 1:10 htb rate 1mbit", "class add dev {dev} parent 1: classid 1:9 htb",
    "class add dev {dev} parent 2: classid 1:6 htb rate 1mbit", "class add dev {dev} parent 2: classid 2:6 htb rate 1mbit",
    "class del dev {dev} classid 1:1", "class del dev {dev} classid 1:98", "class add dev {dev} parent 1: htb rate 1mbit",
    "class change dev {dev} classid 1:99 htb rate 2mbit", "class add dev {dev} handle 1:2", "class show foo",
    "filter add dev {dev} parent 9: u32 match u32 0 0", "filter add dev {dev} parent 1:55 u32 match u32 0 0",
    "filter add dev {dev} prio 1 protocol ipv6 u32 match u32 0 0", "filter add dev {dev} prio 1 protocol ip u32 flowid 1:5",
    "filter add dev {dev} prio 1 protocol ip handle 800::800 u32 match u32 0 0", "filter del dev {dev} pref 6 u32",
    "filter del dev {dev} protocol ip pref 1 handle 800::805 u32", "filter del dev {dev} parent 1: protocol ip",
    "filter add dev {dev} u32 match foo 1 2", "filter add dev {dev} u32 match ip sport 80", "filter add dev {dev} nosuch",
    "filter add dev {dev} parent 20: u32 match u32 0 0", "filter change dev {dev} protocol ip u32 match u32 0 0",
)  # fmt: skip


class Pair:
    """A veth with the kernel's tc, and a port of the same name with ours."""

    def __init__(self, lab: Lab) -> None:
        self.netns = lab.namespace("peer")
        self.dev, _ = lab.veth("near", "far", near_netns=self.netns, far_netns=self.netns)
        self.ports = TcPorts(self.dev)

    def said(self, line: str) -> tuple[tuple[int, str], tuple[int, str]]:
        words = shlex.split(line.format(dev=self.dev))
        real = subprocess.run(["ip", "netns", "exec", self.netns, "tc", *words], capture_output=True, text=True, timeout=30)
        ours = self.ports.tc(shlex.join(words))
        return (real.returncode, told_alike(real.stdout + real.stderr)), (ours.code, told_alike(ours.stdout + ours.stderr))


def told_alike(text: str) -> str:
    text = text.replace("*flowid", "flowid")  # Debian's iproute2 6.1; neither older nor newer ones have the star
    text = re.sub(r"refcnt \d+", "refcnt N", text)
    text = re.sub(r"\b[89a-f][0-9a-f]{3}:", "NNNN:", text)  # the kernel counts over all devices
    return re.sub(r"direct_packets_stat \d+", "direct_packets_stat N", text.partition("Usage")[0])


@pytest.fixture
def pair() -> Iterator[Pair]:
    require_root(tun=False)
    if shutil.which("tc") is None:
        pytest.skip("needs iproute2's tc")
    with Lab() as lab:
        yield Pair(lab)


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_shown(pair: Pair, name: str) -> None:
    for line in BEFORE[name]:
        real, ours = pair.said(line)
        assert real == ours and not real[0], line
    for line in SHOWN:
        real, ours = pair.said(line)
        assert ours == real, line


def test_what_is_refused(pair: Pair) -> None:
    for line in HTB:
        pair.said(line)
    for line in REFUSED:
        real, ours = pair.said(line)
        assert ours == real and real[0], line
