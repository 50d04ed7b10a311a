"""Traffic between two guests: TCP, small frames, round-trip time."""

from __future__ import annotations

import json
import re
import statistics
import time

from bench.contenders.base import SERVER_ADDRESS, Contender
from bench.contenders.ovs import (OpenVswitch, OpenVswitchTap, OpenVswitchTapTso, OpenVswitchTso)
from bench.contenders.relays import KernelBridge, PacketRelay, SpinningTapRelay, TapRelay
from bench.contenders.vde import Vde
from bench.contenders.vswitch import Vswitch, VswitchNetdev
from bench.experiments.base import Field, Match, Metric
from bench.limits import program
from bench.namespace import Guest
from bench.shell import BenchError, stop

GIGA = 1e9
TCP_S = 2.0
FLOOD_S = 1.5
FLOOD_SETTLE_S = 0.2
NOBODY = "10.77.0.250"
"""An address no guest has: its stack drops such a frame early and answers nothing."""
SMALL_FRAME = 60  # 64 on the wire, with the check sequence
FAST_PINGS, SLOW_PINGS = 1000, 3


def tcp_throughput(contender: Contender, seconds: float) -> float:
    """One TCP stream from client to server; Gbit/s as the server received it."""
    report = contender.client.run("iperf3", "--client", SERVER_ADDRESS, "--json",
                                  "--time", f"{max(1, round(seconds))}", limit_s=seconds + 20)
    return json.loads(report)["end"]["sum_received"]["bits_per_second"] / GIGA


class TcpTap(Match):
    key = "tcp"
    metrics = (Metric("tcp", "TCP, tap to tap", "Gbit/s", more_is_better=True),)
    contenders = (Vswitch, TapRelay, SpinningTapRelay, KernelBridge, OpenVswitch, OpenVswitchTso,
                  OpenVswitchTap, OpenVswitchTapTso, Vde)

    def measure(self, contender: Contender, field: Field) -> float:
        return tcp_throughput(contender, field.window(TCP_S))


class TcpNetdev(TcpTap):
    key = "tcp-netdev"
    metrics = (Metric("tcp-netdev", "TCP, netdev to netdev", "Gbit/s", more_is_better=True),)
    contenders = (VswitchNetdev, PacketRelay, KernelBridge)


class SmallFrames(Match):
    """As many 64-byte frames as the client can send; what arrives at the server counts."""

    key = "frames"
    metrics = (Metric("frames", "64 B frames, tap to tap", "kframe/s", more_is_better=True),)
    contenders = (Vswitch, TapRelay, SpinningTapRelay, KernelBridge, OpenVswitch, OpenVswitchTap,
                  Vde)

    def measure(self, contender: Contender, field: Field) -> float:
        window = field.window(FLOOD_S)
        client, server = contender.client, contender.server
        load = client.start(program("frame_gen"), client.device, str(window + 1.0),
                            str(SMALL_FRAME), client.mac(), server.mac(), client.address, NOBODY,
                            log=contender.directory / "frame_gen.log")
        try:
            time.sleep(FLOOD_SETTLE_S)
            began, before = time.monotonic(), server.received_frames()
            time.sleep(window)
            arrived, took = server.received_frames() - before, time.monotonic() - began
            if load.poll() is not None:
                raise BenchError(f"{contender.title}: the load ended early")
        finally:
            stop(load)
        return arrived / took / 1000


class PingEveryMillisecond(Match):
    key = "ping"
    metrics = (Metric("ping", "ping every 1 ms", "us"),)
    contenders = (Vswitch, SpinningTapRelay, TapRelay, KernelBridge, OpenVswitch, OpenVswitchTap,
                  Vde)

    def measure(self, contender: Contender, field: Field) -> float:
        return round_trip(contender.client, round(field.window(FAST_PINGS)), interval_s=0.001)


class PingEverySecond(Match):
    """Everyone has gone to sleep between two of these."""

    key = "ping-slow"
    metrics = (Metric("ping-slow", "ping every second", "us"),)
    contenders = (Vswitch, SpinningTapRelay, TapRelay, KernelBridge)

    def measure(self, contender: Contender, field: Field) -> float:
        return round_trip(contender.client, round(field.window(SLOW_PINGS)) + 1, interval_s=1)


def round_trip(guest: Guest, count: int, interval_s: float) -> float:
    """Mean of the middle half of the guest's round trips to the server, in us; the first, just after the warm-up, is out.

    The middle half: ping prints three digits, too coarse for a median, and a mean of all would
    measure the machine's other tenants.
    """
    told = guest.run("ping", "-i", f"{interval_s:g}", "-c", str(count),
                     SERVER_ADDRESS, limit_s=count * interval_s + 30)
    times = sorted(float(ms) for ms in re.findall(r"time=([\d.]+) ms", told)[1:])
    if not times:
        raise BenchError(f"{guest.name}: no ping came back")
    quarter = len(times) // 4
    return statistics.fmean(times[quarter:len(times) - quarter]) * 1000
