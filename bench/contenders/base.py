"""What every contender is: two guests, joined by something on a host.

Host and guests are network namespaces, so contenders do not meet. A contender is set up once and
stays up, paused (SIGSTOP to its processes) whenever it is not its turn: one that polls when idle
must not steal the processor from another's measurement. Guests have the same addresses, MTU and
programs whoever joins them; only `connect` differs, and that is all a new contender has to say.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

from bench.namespace import Guest, Namespace
from bench.shell import BenchError, stop, wait_for
from bench.world import SCRATCH

SERVER_ADDRESS, CLIENT_ADDRESS = "10.77.0.1", "10.77.0.2"
WARM_UP_PINGS = 3


class Contender(ABC):
    """One way to join two guests."""

    key: ClassVar[str]
    """Short name: in results, in the names of its namespaces."""
    title: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()
    """What must be installed for it."""

    def __init__(self) -> None:
        self.host = Namespace(f"{self.key}-host")
        self.server = Guest(f"{self.key}-a", "guest-a", SERVER_ADDRESS)
        self.client = Guest(f"{self.key}-b", "guest-b", CLIENT_ADDRESS)
        self.directory = SCRATCH / self.key
        self.processes: list[subprocess.Popen[bytes]] = []
        self._undo = ExitStack()

    @abstractmethod
    def connect(self) -> None:
        """Leave each guest its device, all joined; BenchError where that is impossible."""

    @property
    def guests(self) -> tuple[Guest, ...]:
        return self.server, self.client

    def setup(self) -> None:
        """Build everything, show that the guests reach each other, and pause."""
        for name in self.programs:
            if shutil.which(name) is None:
                raise BenchError(f"{name}: not installed")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        try:
            for namespace in (self.host, *self.guests):
                namespace.create()
                self._undo.callback(namespace.delete)
            self.connect()
            for guest in self.guests:
                guest.configure()
            self._keep(self.server.start("iperf3", "--server", log=self._log("iperf3")))
            self._warm_up()
        except BenchError as error:
            complaint = self._complaint()
            self.teardown()
            raise BenchError(f"{error}{complaint}") from error
        self.pause()

    def teardown(self) -> None:
        self._undo.close()
        self.processes.clear()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run unpaused, tables warm, for the length of the block."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
        try:
            self._warm_up()
            yield
        finally:
            self.pause()

    def pause(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGSTOP)

    def start(self, *words: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program on the host; it is paused and ended with the contender."""
        log = self._log(Path(words[0]).name)
        return self._keep(self.host.start(*words, log=log, **environment))

    def hand_over_taps(self, owner: subprocess.Popen[bytes]) -> None:
        """Wait until `owner` has made a tap for each guest on the host, then move them."""
        for guest in self.guests:
            wait_for(lambda: self.host.has_device(guest.device),
                     f"{self.title}: {guest.device}", process=owner)
            self.host.run("ip", "link", "set", guest.device, "netns", guest.name)

    def plug_veths(self) -> tuple[str, ...]:
        """Give each guest one end of a veth pair; returns the ends on the host, up."""
        ports = tuple(guest.device.replace("guest", "port") for guest in self.guests)
        for guest, port in zip(self.guests, ports):
            self.host.run("ip", "link", "add", port, "type", "veth",
                          "peer", guest.device, "netns", guest.name)
            self.host.run("ip", "link", "set", port, "up")
        return ports

    def _keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self.processes.append(process)
        self._undo.callback(stop, process)
        return process

    def _log(self, program: str) -> Path:
        return self.directory / f"{program}.log"

    def _complaint(self) -> str:
        """The last line of the log written last, in brackets; it often says why."""
        logs = sorted(self.directory.glob("*.log"), key=lambda log: log.stat().st_mtime_ns)
        lines = logs[-1].read_text(errors="replace").split("\n") if logs else []
        told = [line for line in lines if line.strip()]
        return f" ({told[-1].strip()})" if told else ""

    def _warm_up(self) -> None:
        """Addresses resolved, MACs learned, everyone awake."""
        wait_for(self._answered, f"{self.title}: guests reach each other")

    def _answered(self) -> bool:
        try:
            self.client.run("ping", "-q", "-c", str(WARM_UP_PINGS), "-i", "0.01", "-W", "1",
                            SERVER_ADDRESS)
        except BenchError:
            return False
        return True
