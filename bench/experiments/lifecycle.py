"""The switch's own costs with a hundred ports: to start, to idle, to stop, and in memory."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders.vswitch import DAEMON, Vswitch, configuration, wait_until_applied
from bench.experiments.base import Experiment, Field, Metric, Sample
from bench.limits import program
from bench.namespace import Namespace
from bench.shell import BenchError, stop, wait_for
from bench.world import SCRATCH

PORTS = 100
IDLE_S = 10.0
SETTLE_S = 1.0
FLOOD_S, FLOOD_RATE = 0.5, 1000
STOP_LIMIT_S = 30.0
MEGA, NANO = 1e6, 1e-9


class HundredPorts(Experiment):
    key = "hundred"
    metrics = (Metric("start", f"start with {PORTS} tap ports", "s"),
               Metric("idle-cpu", f"CPU of an idle switch, {PORTS} ports", "% of a core"),
               Metric("memory", f"resident memory, {PORTS} ports", "MB"),
               Metric("stop", f"stop with {PORTS} tap ports", "s"))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        if not DAEMON.exists():
            raise BenchError(f"{DAEMON}: not installed")
        with a_namespace(f"hundred-{number}") as host:
            directory = SCRATCH / host.name
            directory.mkdir()
            began = time.monotonic()
            daemon = start_switch(host, directory, (f'name = "hundred-{port}"\nkind = "tap"' for port in range(PORTS)))
            try:
                wait_until_applied(directory / "run", daemon)
                yield self._sample("start", time.monotonic() - began)
                yield self._sample("idle-cpu", idle_percent(daemon.pid, field.window(IDLE_S)))
                _flood(host, directory)
                yield self._sample("memory", _resident_bytes(daemon.pid) / MEGA)
                yield self._sample("stop", _time_to_stop(daemon))
            finally:
                stop(daemon)

    def _sample(self, metric: str, value: float) -> Sample:
        return Sample(metric, Vswitch.key, value)


@contextmanager
def a_namespace(name: str) -> Iterator[Namespace]:
    namespace = Namespace(name)
    namespace.create()
    try:
        yield namespace
    finally:
        namespace.delete()


def start_switch(host: Namespace, directory: Path, ports: Iterable[str]) -> subprocess.Popen[bytes]:
    """A daemon with these ports, which may not have been made yet."""
    file = directory / "vswitch.toml"
    file.write_text(configuration(directory / "run", ports))
    return host.start(DAEMON, "--config", file, log=directory / "vswitchd.log")


def idle_percent(pid: int, window: float) -> float:
    """Processor time of all threads over `window` seconds, in % of one core."""
    time.sleep(SETTLE_S)
    began, before = time.monotonic(), _processor_seconds(pid)
    time.sleep(window)
    return 100 * (_processor_seconds(pid) - before) / (time.monotonic() - began)


def _processor_seconds(pid: int) -> float:
    """From schedstat, in nanoseconds: ticks of 10 ms would be too coarse for 0.2 %."""
    return NANO * sum(int(task.read_text().split()[0])
                      for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _flood(host: Namespace, directory: Path) -> None:
    """Broadcast through every port, so that no page of a buffer is still untouched."""
    host.run(str(program("frame_gen")), "-r", str(FLOOD_RATE), "hundred-0", str(FLOOD_S), "1514",
             "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "10.77.0.1", "10.77.0.250")


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"process {pid}: ended")


def _time_to_stop(daemon: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    daemon.terminate()
    wait_for(lambda: daemon.poll() is not None, "vswitchd: its end", limit_s=STOP_LIMIT_S)
    return time.monotonic() - began
