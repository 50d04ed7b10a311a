"""The cost of a frame between memory ports: learning, look-up, forwarding, no device.

Nanoseconds are the best of several tries, and the best round counts: whatever else the machine
does only adds to them. Instructions, counted by valgrind, repeat; they are the figure to gate on.
"""

from __future__ import annotations

import random
import re
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Barrier

from bench import frames
from bench.contenders.vswitch import Vswitch
from bench.experiments.base import Experiment, Field, Metric, Sample
from bench.memory import MemorySwitch, many_ports, two_ports
from bench.shell import run
from bench.world import SCRATCH

STATIONS = 1000
FEW, MANY = 10, 100_000
FRAMES, TRIES = 100_000, 15  # short enough to fit between two interruptions
PORT_STATIONS, PORT_FRAMES, BURST = 1000, 32_000, 32
WORKER_TRIES = 60
LOOP, FIRST_PORT = 1000, 40_000
COUNTED = (20_000, 120_000)
"""Two runs under valgrind: the difference leaves out everything but frames."""


class FrameCost(Experiment):
    key = "memory"
    metrics = (Metric("frame-1000", "memory to memory, 1,000 MACs", "ns"),
               Metric("frame-10", "10 MACs (a ring of 50,000 frames)", "ns"),
               Metric("frame-100000", "100,000 MACs (the same)", "ns"),
               Metric("frame-ports-2", "2 ports, 1,000 MACs", "ns"),
               Metric("frame-ports-1000", "1,000 ports, 1,000 MACs", "ns"))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        for metric, switch in self._stations.items():
            yield _sample(metric, min(switch.replay(0, FRAMES) for _ in range(TRIES)))
            switch.check()
        for ports, switch in self._ports.items():
            tries = [_every_port(switch, ports) for _ in range(TRIES)]
            yield _sample(f"frame-ports-{ports}", min(tries))
            switch.check()

    @cached_property
    def _stations(self) -> dict[str, MemorySwitch]:
        return {"frame-1000": two_ports(STATIONS),
                "frame-10": two_ports(FEW, loop=MANY // 2), "frame-100000": two_ports(MANY)}

    @cached_property
    def _ports(self) -> dict[int, MemorySwitch]:
        return {ports: many_ports(ports, PORT_STATIONS, PORT_FRAMES) for ports in (2, 1000)}


class ClassCost(Experiment):
    """On top of switching: so many classes of HTB at one port, frames to all of them in turn, found by u32 filters.

    The rates are beyond what comes, so nothing waits for tokens: what is measured is work.
    """

    key = "htb-cost"
    metrics = (Metric("htb-0", "memory to memory, no classes", "ns"),
               Metric("htb-10", "the same through HTB of 10 classes", "ns"),
               Metric("htb-1000", "... of 1,000 classes", "ns"))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        for classes, switch in self._switches.items():
            yield _sample(f"htb-{classes}", min(switch.replay(0, FRAMES) for _ in range(TRIES)))
            switch.check()

    @cached_property
    def _switches(self) -> dict[int, MemorySwitch]:
        return {classes: _shaped(classes) for classes in (0, 10, 1000)}


def _shaped(classes: int) -> MemorySwitch:
    switch = MemorySwitch(2)
    near, far = frames.macs(2)
    switch.learn(0, [near])
    switch.learn(1, [far])
    ports = [FIRST_PORT + number % max(classes, 1) for number in range(LOOP)]
    switch.load(0, [frames.tcp(far, near, source_port=port) for port in ports])
    if classes:
        switch.queue(1, _htb_lines(classes))
    return switch


def _htb_lines(classes: int) -> Iterator[str]:
    """A class a source port, which a filter finds."""
    yield "qdisc add root handle 1: htb"
    yield "class add parent 1: classid 1:1 htb rate 100gbit burst 100m cburst 100m quantum 60000"
    for minor in range(classes):
        yield (f"class add parent 1:1 classid 1:{minor + 0x10:x} htb rate 100mbit ceil 100gbit "
               "burst 100m cburst 100m quantum 60000")
        yield (f"filter add parent 1: protocol ip u32 match ip sport {FIRST_PORT + minor} 0xffff "
               f"flowid 1:{minor + 0x10:x}")


class TwoWorkers(Experiment):
    """Each worker takes one direction of 1,000 flows: one learns what the other looks up."""

    key = "workers"
    metrics = (Metric("two-workers", "two workers against one, a frame a worker", "x"),)

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        alone = statistics.fmean(self._work(index) for index in (0, 1))
        yield _sample("two-workers", self._together() / alone)

    def _work(self, index: int) -> float:
        """One worker's ns a frame: the lower quartile of many short replays.

        Not the best of them: that may be one during which the other worker was not running.
        """
        tries = [self._switch.replay(index, FRAMES, worker=index) for _ in range(WORKER_TRIES)]
        return statistics.quantiles(tries)[0]

    def _together(self) -> float:
        """Mean of both workers' ns a frame, while both run."""
        start = Barrier(2)

        def work(index: int) -> float:
            start.wait()
            return self._work(index)

        with ThreadPoolExecutor(2) as threads:
            return statistics.fmean(threads.map(work, (0, 1)))

    @cached_property
    def _switch(self) -> MemorySwitch:
        return two_ports(2 * STATIONS, workers=2)


class Instructions(Experiment):
    key = "instructions"
    metrics = (Metric("instructions", "instructions a frame, 1,000 MACs", ""),)
    rounds = 1

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        fewer, more = (_instructions(count) for count in COUNTED)
        yield _sample("instructions", (more - fewer) / (COUNTED[1] - COUNTED[0]))


def _sample(metric: str, value: float) -> Sample:
    return Sample(metric, Vswitch.key, value)


def _every_port(switch: MemorySwitch, ports: int) -> float:
    """Bursts from all ports in a shuffled order; mean ns a frame."""
    order = [port for port in range(ports) for _ in range(PORT_FRAMES // ports // BURST)]
    random.Random(0).shuffle(order)
    return sum(switch.replay(port, BURST) for port in order) / len(order)


def _instructions(count: int) -> int:
    """All instructions of a process that replays `count` frames."""
    output = SCRATCH / "callgrind.out"
    run("valgrind", "--tool=callgrind", f"--callgrind-out-file={output}",
        sys.executable, "-m", "bench.memory", str(count),
        prefix=("env", "PYTHONHASHSEED=0"), limit_s=300)
    return int(re.search(r"^(?:totals|summary): (\d+)", output.read_text(), re.M)[1])
