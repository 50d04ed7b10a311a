"""What the switch must reach and what would be worth reaching, as data.

Ratios are against a peer measured in the same rounds; `compare` says how the two are put
together. A `worth` against another peer than the `must` is a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Compare = Literal["value", "ratio", "difference"]
Summary = Literal["median", "best", "worst"]
SHAPER = "vswitch-tc"


@dataclass(frozen=True, slots=True)
class Series:
    """Names one series of samples: a metric of a contender."""

    metric: str
    contender: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """`subject`, compared with `against`, is at least (or at most) `must`, at best `worth`."""

    title: str
    subject: Series
    compare: Compare = "value"
    against: Series | None = None
    must: float | None = None
    worth: float | None = None
    at_most: bool = False
    summary: Summary = "median"
    unit: str = ""


def _beside(title: str, metric: str, peer: str, *, subject: str = "vswitch",
            must: float | None = None, worth: float | None = None,
            at_most: bool = False) -> Requirement:
    return Requirement(title, Series(metric, subject), "ratio", Series(metric, peer),
                       must, worth, at_most, unit="x")


def _at_most(title: str, metric: str, must: float, worth: float | None, unit: str,
             summary: Summary = "median") -> Requirement:
    return Requirement(title, Series(metric, "vswitch"), must=must, worth=worth, at_most=True,
                       summary=summary, unit=unit)


def _at_least(title: str, metric: str, must: float, worth: float, unit: str) -> Requirement:
    return Requirement(title, Series(metric, "vswitch"), must=must, worth=worth, summary="best",
                       unit=unit)


def _at_most_more(title: str, metric: str, than: str, must: float, worth: float) -> Requirement:
    return Requirement(title, Series(metric, "vswitch"), "difference", Series(than, "vswitch"),
                       must, worth, at_most=True, summary="best", unit="ns")


def _shaped(title: str, metric: str, must: float, worth: float) -> Requirement:
    return Requirement(title, Series(metric, SHAPER), must=must, worth=worth, at_most=True, unit="%")


REQUIREMENTS = (
    _beside("TCP, tap to tap / bare TAP relay", "tcp", "relay", must=0.95),
    _beside("TCP, tap to tap / Open vSwitch as installed", "tcp", "ovs", must=5),
    _beside("TCP, tap to tap / Open vSwitch with TSO", "tcp", "ovs-tso", must=1.1),
    _beside("TCP, tap to tap / Open vSwitch on its taps", "tcp", "ovs-tap", must=5),
    _beside("TCP, tap to tap / the same with TSO", "tcp", "ovs-tap-tso", must=1.1),
    _beside("TCP, tap to tap / kernel bridge", "tcp", "bridge", worth=1.0),
    _beside("TCP, netdev to netdev / bare AF_PACKET relay", "tcp-netdev", "packet",
            subject="vswitch-nd", must=0.97),
    _beside("TCP, netdev to netdev / kernel bridge", "tcp-netdev", "bridge",
            subject="vswitch-nd", worth=0.9),
    _beside("64 B frames, tap to tap / bare TAP relay", "frames", "relay", must=0.97, worth=1.3),
    _beside("ping every 1 ms / relay spinning 2 ms", "ping", "spin", must=1.2, at_most=True),
    _beside("ping every 1 ms / kernel bridge", "ping", "bridge", worth=1.3, at_most=True),
    _at_most("CPU of an idle switch, 100 ports", "idle-cpu", 1, 0.2, "% of a core"),
    _at_most("memory to memory, 1,000 MACs", "frame-1000", 60, 38, "ns", "best"),
    _at_most("the same, instructions a frame", "instructions", 450, 340, ""),
    _at_most_more("from 10 to 100,000 MACs", "frame-100000", "frame-10", 25, 13),
    _at_most_more("from 2 to 1,000 ports", "frame-ports-1000", "frame-ports-2", 25, 13),
    _at_most("two workers against one, a frame a worker", "two-workers", 1.25, 1.05, "x"),
    _at_most("start with 100 tap ports", "start", 2, 1, "s"),
    _at_most("stop with 100 tap ports", "stop", 2, 0.5, "s"),
    _at_most("resident memory, 100 ports", "memory", 100, 60, "MB"),
    _at_most("frames lost while ports come and go", "lost", 0, None, "", "worst"),
    _beside("TCP, tap to tap, 1,000 rules / the same without", "tcp-rules", "vswitch",
            subject="vswitch-rules", must=0.95),
    _beside("TCP, tap to tap, 1,000 rules / kernel bridge with them", "tcp-rules", "bridge-rules",
            subject="vswitch-rules", worth=1.0),
    _beside("TCP through MASQUERADE / kernel router", "tcp-nat", "kernel-nat",
            subject="vswitch-nat", must=0.7, worth=1.0),
    _at_most("all hooks, 1,000 connections", "hooks-bridged", 110, 60, "ns", "best"),
    _at_most("routed, with NAT", "hooks-nat", 125, 70, "ns", "best"),
    _at_most_more("from 0 to 10,000 rules", "rules-10000", "rules-0", 20, 5),
    _at_least("new connections, 10 rules", "new", 1000, 3000, "k/s"),
    _at_least("the same, the table full", "new-full", 700, 2000, "k/s"),
    _at_most("memory of a connection", "connection-bytes", 256, 128, "B"),
    _at_most_more("from 1,000 to 1,000,000 connections", "connections-1000000", "connections-1000",
                  60, 25),
    _at_most("iptables-restore of 10,000 rules", "restore", 1, 0.2, "s"),
    _at_most("frames lost meanwhile", "restore-lost", 0, None, "", "worst"),
    *(_shaped(f"{name.upper()}, TCP at {rate}: error of the rate", f"{name}-{rate}", 2, 0.5)
      for name in ("htb", "tbf") for rate in ("1mbit", "10mbit", "100mbit", "1gbit", "2gbit")),
    _shaped("HTB, excess by quantum: the worst class's error", "htb-share", 5, 1),
    _at_most_more("HTB, 10 classes, on top of switching", "htb-10", "htb-0", 60, 25),
    _at_most_more("HTB, 1,000 classes, on top of switching", "htb-1000", "htb-0", 200, 90),
    Requirement("HTB, ping beside a backlog - (kernel's + more of an idle one)", Series("htb-ping", SHAPER),
                "difference", Series("htb-ping-allowed", SHAPER), must=0, at_most=True, unit="us"),
    Requirement("HTB, ping beside a backlog - kernel's", Series("htb-ping", SHAPER), "difference",
                Series("htb-ping", "kernel-tc"), worth=0, at_most=True, unit="us"),
    Requirement("SFQ, 32 flows: Jain's index", Series("fair-sfq", SHAPER), must=0.98, worth=0.995),
    Requirement("fq_codel, 32 flows: Jain's index", Series("fair-fq_codel", SHAPER), must=0.98, worth=0.995),
    _beside("TCP, tap to tap, HTB class of 100 Gbit/s / without", "htb-tcp", "vswitch", subject=SHAPER,
            must=0.9, worth=0.98),
    _at_most("CPU of 1,000 shaped, idle ports", "htb-idle", 1, None, "% of a core"),
)
