"""make demo: what the switch is for, in a minute, on real devices.

Three guests (network namespaces) on TAP ports of one switch, A and B in VLAN 10, C in VLAN 20, all in one subnet, so
that nothing but the VLAN parts them. A and B talk; C must hear nothing: its device's counter has to stay at zero
while A broadcasts and B hears it. A kernel bridge between two more namespaces runs the same traffic beside it,
in alternating rounds. The daemon is used as an administrator would use it: a file, `vswitchd`, `vswitchctl`.

Every namespace carries this process's id. Whatever is made is taken down in the reverse order, at the end, on a failure
and on Ctrl-C alike; the kernel bridge lives in a namespace too, so the host's own network is not touched.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROUNDS = 3
ROUND_S = 2
PINGS = 50
START_LIMIT_S = 15.0
STOP_LIMIT_S = 5.0
NOBODY = "10.77.0.99"

PREFIX = f"vd{os.getpid()}"
BIN = Path(sys.executable).parent
SHOWN_METRICS = ("vswitch_build", "vswitch_port_receive", "vswitch_port_dropped", "vswitch_fdb")

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """The demonstration cannot go on; the text says why."""


@dataclass(frozen=True)
class Guest:
    """A namespace with one device."""

    netns: str
    device: str
    address: str

    def argv(self, *command: str) -> list[str]:
        """The command as it runs inside."""
        return ["ip", "netns", "exec", self.netns, *command]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside and return what it prints."""
        return run(*self.argv(*command), check=check)

    def frames_received(self) -> int:
        """What its device has counted."""
        links = json.loads(run("ip", "-n", self.netns, "-j", "-s", "link", "show", "dev", self.device))
        return int(links[0]["stats64"]["rx"]["packets"])


@dataclass(frozen=True)
class Figures:
    """What one way between two guests reached."""

    gbits: float
    ping_us: float


GUESTS = {name: Guest(f"{PREFIX}-{name}", f"tap{name}", f"10.77.0.{i}") for i, name in enumerate("ABC", 1)}
KERNEL = {name: Guest(f"{PREFIX}-{name}", f"veth{name}", f"10.78.0.{i}") for i, name in enumerate("KL", 1)}

CONFIG = """
[switch]
run_dir = "{run_dir}"
[metrics]
listen = "127.0.0.1:0"
[[bridge]]
name = "br0"
"""
PORT = """
[[port]]
name = "{device}"
bridge = "br0"
kind = "tap"
netns = "{netns}"
access = {vlan}
"""


def run(*command: str, check: bool = True) -> str:
    """Run a command and return what it prints; DemoError with its words if it fails and `check` is true."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    if check and result.returncode:
        raise DemoError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def say(text: str) -> None:
    """One line of progress."""
    console.print(f"[bold cyan]==>[/] {text}")


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition that another process brings about; DemoError after START_LIMIT_S."""
    deadline = time.monotonic() + START_LIMIT_S
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {START_LIMIT_S:.0f} s in vain for {what}")
        pause.wait(0.02)


@contextmanager
def process(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of a block. Its output goes to `log`; Ctrl-C does not reach it, we end it."""
    with log.open("wb") as sink:
        child = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """A network namespace for the time of a block."""
    try:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        run("ip", "netns", "del", name, check=False)


def configure(guest: Guest) -> None:
    """Give a guest's device its address."""
    run("ip", "-n", guest.netns, "address", "add", f"{guest.address}/24", "dev", guest.device)
    run("ip", "-n", guest.netns, "link", "set", guest.device, "up")


def make_guests(stack: ExitStack) -> None:
    """The namespaces of both worlds, and the kernel's bridge between two of them."""
    bridge = f"{PREFIX}-bridge"
    for name in (*(guest.netns for guest in (*GUESTS.values(), *KERNEL.values())), bridge):
        stack.enter_context(namespace(name))
    run("ip", "-n", bridge, "link", "add", "br0", "up", "type", "bridge")
    for guest in KERNEL.values():
        end = ("type", "veth", "peer", "name", guest.device, "netns", bridge)
        run("ip", "-n", guest.netns, "link", "add", guest.device, *end)
        run("ip", "-n", bridge, "link", "set", guest.device, "master", "br0", "up")
        configure(guest)


def start_switch(stack: ExitStack, directory: Path) -> None:
    """Write the file, start the daemon, and wait until its ports stand."""
    run_dir, config, log = directory / "run", directory / "vswitch.toml", directory / "vswitchd.log"
    vlans = {"A": 10, "B": 10, "C": 20}
    ports = [PORT.format(device=guest.device, netns=guest.netns, vlan=vlans[name]) for name, guest in GUESTS.items()]
    config.write_text(CONFIG.format(run_dir=run_dir) + "".join(ports))
    daemon = stack.enter_context(process(str(BIN / "vswitchd"), "--config", str(config), log=log))
    until(lambda: (run_dir / "control.sock").exists() or daemon.poll() is not None, "vswitchd to start")
    if daemon.poll() is not None:
        raise DemoError(f"vswitchd ended:\n{log.read_text()}")
    for guest in GUESTS.values():
        configure(guest)


def ping(source: Guest, address: str, count: int, interval_s: float = 0.02) -> float | None:
    """The average round trip in microseconds; None if nothing came back."""
    output = source.run("ping", "-q", "-n", "-c", str(count), "-i", str(interval_s), "-W", "1", address, check=False)
    summary = [line for line in output.splitlines() if line.startswith("rtt ")]
    return float(summary[0].split("=")[1].split("/")[1]) * 1000 if summary else None


def iperf(client: Guest, server: Guest, directory: Path) -> float:
    """TCP from client to server for ROUND_S seconds, in Gbit/s as received."""
    log = directory / "iperf3.log"
    with process(*server.argv("iperf3", "--server", "--one-off", "--forceflush"), log=log):
        until(lambda: "listening" in log.read_text(), "iperf3 to listen")
        report = json.loads(client.run("iperf3", "--client", server.address, "--time", str(ROUND_S), "--json"))
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def measure(directory: Path) -> tuple[Figures, Figures]:
    """Switch and kernel bridge in alternating rounds; the medians of both."""
    ways = {"switch": (GUESTS["A"], GUESTS["B"]), "kernel bridge": (KERNEL["K"], KERNEL["L"])}
    gbits: dict[str, list[float]] = {way: [] for way in ways}
    pings: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(1, ROUNDS + 1):
        for way, (client, server) in ways.items():
            round_trip = ping(client, server.address, PINGS)
            if round_trip is None:
                raise DemoError(f"{way}: {client.address} does not reach {server.address}")
            pings[way].append(round_trip)
            gbits[way].append(iperf(client, server, directory))
            say(f"round {number}, {way}: TCP {gbits[way][-1]:.2f} Gbit/s, ping {pings[way][-1]:.0f} us")
    switch, kernel = (Figures(statistics.median(gbits[way]), statistics.median(pings[way])) for way in ways)
    return switch, kernel


def crossed() -> int:
    """Broadcast in VLAN 10 and call C by its address; the frames that C heard. B must hear them."""
    before = GUESTS["B"].frames_received()
    if ping(GUESTS["A"], NOBODY, 3, 0.2) or ping(GUESTS["A"], GUESTS["C"].address, 3, 0.2):
        raise DemoError("a ping from VLAN 10 was answered in VLAN 20")
    if GUESTS["B"].frames_received() == before:
        raise DemoError("B did not hear A's broadcasts, so that C heard none says nothing")
    return GUESTS["C"].frames_received()


def vswitchctl(directory: Path, *command: str) -> str:
    """The client's words on the running switch."""
    return run(str(BIN / "vswitchctl"), "--run-dir", str(directory / "run"), *command)


def show_the_switch(directory: Path) -> None:
    """The switch's own view: show, FDB, counters, and a scrape of its metrics."""
    for command in (("show",), ("fdb", "br0"), ("stats",)):
        say(f"vswitchctl {' '.join(command)}")
        console.print(vswitchctl(directory, *command), markup=False)
    address = json.loads(vswitchctl(directory, "-o", "json", "show"))["metrics_listen"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=START_LIMIT_S) as answer:
        lines = answer.read().decode().splitlines()
    shown = [line for line in lines if line.startswith(SHOWN_METRICS) and not line.endswith(" 0.0")]
    say(f"http://{address}/metrics: {len(lines)} lines, of which")
    console.print("\n".join(shown), markup=False)
    if not shown:
        raise DemoError("the metrics lack the switch's ports")


def table(switch: Figures, kernel: Figures) -> Table:
    """The end of it."""
    result = Table(title=f"Two guests on one host, median of {ROUNDS} alternating rounds")
    for heading in ("", "switch", "kernel bridge", "ratio"):
        result.add_column(heading, justify="right" if heading else "left")
    ratio = switch.gbits / kernel.gbits
    result.add_row("TCP, Gbit/s", f"{switch.gbits:.2f}", f"{kernel.gbits:.2f}", f"{ratio:.2f}")
    ratio = switch.ping_us / kernel.ping_us
    result.add_row("ping every 20 ms, us", f"{switch.ping_us:.0f}", f"{kernel.ping_us:.0f}", f"{ratio:.2f}")
    result.add_row("frames from VLAN 10 into VLAN 20", "0", "", "")
    return result


def demonstrate(stack: ExitStack) -> None:
    """The whole of it, from nothing to the table."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vswitch-demo-")))
    say("three guests, A and B in VLAN 10, C in VLAN 20; a kernel bridge between K and L")
    make_guests(stack)
    say("vswitchd with three TAP ports")
    start_switch(stack, directory)
    switch, kernel = measure(directory)
    say("A broadcasts, and calls C by its address: C must hear nothing")
    if heard := crossed():
        raise DemoError(f"{heard} frames crossed into VLAN 20")
    show_the_switch(directory)
    console.print(table(switch, kernel))


def main() -> int:
    """Run the demonstration; 0 if all of it held."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a background job of a shell begins with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    if os.geteuid() != 0:
        console.print("the demonstration makes namespaces and devices: run it as root")
        return 1
    try:
        with ExitStack() as stack:
            demonstrate(stack)
    except KeyboardInterrupt:
        console.print("interrupted; everything is taken down")
        return 130
    except (DemoError, OSError) as error:
        console.print(f"failed: {error}", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
