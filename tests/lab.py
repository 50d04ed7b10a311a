"""A laboratory for tests on real devices: namespaces, veth pairs, taps and processes that never outlive their test.

    with Lab() as lab:
        guest = lab.namespace("guest")
        near, far = lab.veth("near", "far", far_netns=guest)
        lab.address(far, "10.0.0.2/24", netns=guest)
        server = lab.start("iperf3", "-s", netns=guest)
        wait_for(lambda: "listening" in server.text(), 5, "iperf3 to listen")

Every name carries the lab's prefix, made of the process id and a counter, so that any number of test runs share a
machine. Whatever a lab makes it takes down in the reverse order: at the end of the `with` block, and by `atexit` should
the interpreter end first. Processes are ended by the handle they were started with, never by name. Nothing sleeps:
`wait_for` looks again in small steps until the condition holds or its limit is over.

A lab belongs to one thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import pytest

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")
TUN = Path("/dev/net/tun")
COMMAND_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)  # os.setns is Python 3.12's
_labs = itertools.count()


def require_root(*, tun: bool = True) -> None:
    """Skip the calling test, with the reason, on a machine that cannot make namespaces or taps."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces and devices")
    if tun and not TUN.exists():
        pytest.skip(f"needs {TUN}")


def wait_for(predicate: Callable[[], T], limit_s: float, what: str) -> T:
    """Return the first true value of `predicate`; fail the test, naming `what`, after `limit_s` seconds."""
    never = threading.Event()
    step_s, waited_s = 0.001, 0.0
    while not (value := predicate()):
        if waited_s >= limit_s:
            pytest.fail(f"waited {limit_s:g} s in vain for {what}")
        never.wait(step_s)
        waited_s += step_s
        step_s = min(step_s * 2, 0.05)
    return value


async def wait_until(predicate: Callable[[], T], limit_s: float, what: str) -> T:
    """`wait_for` for what happens on the event loop, which runs meanwhile."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while not (value := predicate()):
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"waited {limit_s:g} s in vain for {what}")
        await asyncio.sleep(0.005)
    return value


@contextlib.contextmanager
def inside(netns: str | None) -> Iterator[None]:
    """Run the block with the calling thread in a namespace; sockets opened in it stay there for good."""
    if netns is None:
        yield
        return
    with open("/proc/thread-self/ns/net") as home, open(NETNS_DIR / netns) as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Running:
    """A process of the lab. Its output, both streams, is in the file `log`."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None) -> None:
        self.log = log
        self.argv = argv
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=env
            )

    @property
    def pid(self) -> int:
        """The process id; `ip netns exec` replaces itself, so it is the command's own."""
        return self.process.pid

    def text(self) -> str:
        """What the process has written so far."""
        return self.log.read_text(errors="replace")

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def wait(self, limit_s: float = COMMAND_LIMIT_S) -> int:
        """Wait for the end and return the exit code; fail the test with its output after `limit_s` seconds."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{' '.join(self.argv)} still runs after {limit_s:g} s:\n{self.text()}")

    def stop(self, number: int = signal.SIGTERM, limit_s: float = STOP_LIMIT_S) -> int:
        """Ask the process to end, insist after `limit_s` seconds, and return its exit code."""
        if self.alive():
            self.process.send_signal(number)
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Closing:
    """What is closed at the end of its `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds."""
        raise NotImplementedError


class Lab(Closing):
    """Namespaces, devices and processes with one lifetime."""

    def __init__(self) -> None:
        self.prefix = f"v{os.getpid():x}{_letters(next(_labs))}"
        self._undo = contextlib.ExitStack()
        self._directory: Path | None = None
        self._processes = itertools.count()
        atexit.register(self.close)

    def close(self) -> None:
        """Take down all that the lab made. Doing it twice does no harm."""
        atexit.unregister(self.close)
        self._undo.close()

    def name(self, stem: str) -> str:
        """A name for a device, bridge or namespace that no other lab uses; at most 15 bytes."""
        name = self.prefix + stem
        assert len(name) <= 15, f"{name} is no device name: shorten the stem {stem!r}"
        return name

    def path(self, name: str) -> Path:
        """A path in a directory of the lab's own, which goes with the lab."""
        if self._directory is None:
            self._directory = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix=f"{self.prefix}-")))
        return self._directory / name

    def on_close(self, action: Callable[..., object], *args: object) -> None:
        """Have `action(*args)` called when the lab closes, before what was made earlier goes."""
        self._undo.callback(action, *args)

    def run(
        self, *argv: str, netns: str | None = None, check: bool = True, limit_s: float = COMMAND_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in a namespace if asked; with `check` a failure fails the test with its words."""
        done = subprocess.run(
            _placed(argv, netns), capture_output=True, text=True, timeout=limit_s, stdin=subprocess.DEVNULL
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ip(self, *words: str, netns: str | None = None, check: bool = True) -> str:
        """`ip WORDS`, in a namespace if asked; returns what it prints."""
        where = ["-n", netns] if netns else []
        return self.run("ip", *where, *words, check=check).stdout

    def start(self, *argv: str, netns: str | None = None, env: dict[str, str] | None = None) -> Running:
        """Start a process that ends, at the latest, with the lab."""
        log = self.path(f"{next(self._processes)}-{Path(argv[0]).name}.log")
        running = Running(_placed(argv, netns), log, env)
        self.on_close(running.stop)
        return running

    def namespace(self, stem: str, *, ipv6: bool = False) -> str:
        """Make a network namespace with its loopback up, silent (no IPv6) unless asked; returns its name."""
        name = self.name(stem)
        self.ip("netns", "add", name)
        self.on_close(lambda: self.ip("netns", "del", name, check=False))
        if not ipv6:
            self.sysctl("net/ipv6/conf/all/disable_ipv6", 1, netns=name)
            self.sysctl("net/ipv6/conf/default/disable_ipv6", 1, netns=name)
        self.ip("link", "set", "lo", "up", netns=name)
        return name

    def sysctl(self, path: str, value: object, *, netns: str | None = None) -> None:
        """Set a network sysctl, named by its path below /proc/sys."""
        with inside(netns):
            Path("/proc/sys", path).write_text(str(value))

    def veth(
        self, near: str, far: str, *, near_netns: str | None = None, far_netns: str | None = None
    ) -> tuple[str, str]:
        """Make a pair of devices joined back to back, both up, each in a namespace if asked; returns their names."""
        near, far = self.name(near), self.name(far)
        here = ["name", near, *_netns(near_netns)]
        there = ["name", far, *_netns(far_netns)]
        self.ip("link", "add", *here, "type", "veth", "peer", *there)
        self.forget_device(near, netns=near_netns)
        self.ip("link", "set", near, "up", netns=near_netns)
        self.ip("link", "set", far, "up", netns=far_netns)
        return near, far

    def bridge(self, stem: str, *ports: str, netns: str | None = None) -> str:
        """Make a kernel bridge, up, that forwards at once, with these devices on it; returns its name."""
        name = self.name(stem)
        self.ip("link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0", netns=netns)
        self.forget_device(name, netns=netns)
        for port in ports:
            self.ip("link", "set", port, "master", name, netns=netns)
        self.ip("link", "set", name, "up", netns=netns)
        return name

    def tap(self, stem: str, *, netns: str | None = None) -> str:
        """Make a persistent tap, down and without carrier, that nobody has open; returns its name."""
        name = self.name(stem)
        self.run("ip", "tuntap", "add", "dev", name, "mode", "tap", netns=netns)
        self.forget_device(name, netns=netns)
        return name

    def forget_device(self, name: str, *, netns: str | None = None) -> None:
        """Have a device that someone made, if it is still there, deleted when the lab closes."""
        self.on_close(lambda: self.ip("link", "del", name, netns=netns, check=False))

    def address(self, device: str, address: str, *, netns: str | None = None) -> None:
        """Give a device an address (with its prefix length) and bring it up."""
        nodad = ["nodad"] if ":" in address else []
        self.ip("address", "add", address, "dev", device, *nodad, netns=netns)
        self.ip("link", "set", device, "up", netns=netns)

    def ping(self, address: str, *, netns: str | None = None, count: int = 1, limit_s: float = 1.0) -> bool:
        """Whether `address` answers one of `count` echo requests, each given `limit_s` seconds."""
        words = ["ping", "-n", "-q", "-i", "0.2", "-c", str(count), "-W", str(limit_s), address]
        return self.run(*words, netns=netns, check=False).returncode == 0


def exists(device: str, *, netns: str | None = None) -> bool:
    """Whether a device of that name is in the namespace (None: the caller's own)."""
    with inside(netns):
        return device in {name for _, name in socket.if_nameindex()}


def _placed(argv: tuple[str, ...], netns: str | None) -> list[str]:
    return ["ip", "netns", "exec", netns, *argv] if netns else list(argv)


def _netns(place: str | None) -> list[str]:
    return ["netns", place] if place else []


def _letters(number: int) -> str:
    high, low = divmod(number, 26)
    return (_letters(high - 1) if high else "") + chr(ord("a") + low)
