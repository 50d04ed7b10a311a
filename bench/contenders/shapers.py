"""Contenders whose way to the server is shaped: the same words of tc for the switch and for the kernel.

Three guests: the client loads the server's port, a neighbour of it wants to be served meanwhile. What leaves towards
the server is shaped, on the switch's tap and on the kernel bridge's veth.
"""

from __future__ import annotations

import re
import subprocess
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from bench.contenders.base import Contender
from bench.contenders.relays import KernelBridge
from bench.contenders.vswitch import Vswitch
from bench.namespace import Guest
from bench.shell import BenchError, stop, wait_for
from vswitch.cli.client import Client, Refusal

NEIGHBOUR_ADDRESS = "10.77.0.3"
FIRST_PORT = 6000
FOR_EVER = 3600
STREAMS = 4
SENT = re.compile(r"^(?:qdisc|class) \w+ (\w+:\w*) .*\n Sent (\d+) bytes", re.M)


class Shaper(Contender):
    """One that takes tc's words for the port towards the server."""

    def __init__(self) -> None:
        super().__init__()
        self.neighbour = Guest(f"{self.key}-c", "guest-c", NEIGHBOUR_ADDRESS)
        self._ports = count(FIRST_PORT)

    @property
    def guests(self) -> tuple[Guest, ...]:
        return *super().guests, self.neighbour

    @abstractmethod
    def tc(self, words: str) -> str:
        """A command of tc for the server's port, without `dev`; BenchError where it is refused."""

    @contextmanager
    def shaped(self, tree: Iterable[str]) -> Iterator[None]:
        """With these commands in force for the length of the block."""
        with suppress(BenchError):
            self.tc("qdisc del root")
        for line in tree:
            self.tc(line)
        try:
            yield
        finally:
            self.tc("qdisc del root")

    def sent(self) -> dict[str, int]:
        """Bytes on the wire so far, by the handle of discipline or class."""
        return {handle: int(sent) for kind in ("qdisc", "class")
                for handle, sent in SENT.findall(self.tc(f"-s {kind} show"))}

    @contextmanager
    def backlogged(self, *ports: int) -> Iterator[None]:
        """TCP from the client to each of the server's ports, as much as there is room for.

        Several streams each: one alone, its window just what the round trip needs, leaves the queue empty whenever
        either end has to wait for a processor. They are cut off at the end: iperf3's good-bye would have to wait its
        turn behind a slow class's backlog.
        """
        running: list[subprocess.Popen[bytes]] = []
        try:
            for port in ports:
                running.append(self._listening(port))
            for port in ports:
                running.append(self.client.start(
                    "iperf3", "--client", self.server.address, "--port", str(port), "--time", str(FOR_EVER),
                    "--parallel", str(STREAMS), log=self._log(f"client-{port}")))
            yield
            if any(process.poll() is not None for process in running):
                raise BenchError("iperf3: ended early")
        finally:
            for process in running:
                process.kill()
                stop(process)

    def a_port(self) -> int:
        """A port of the server that nobody has had yet."""
        return next(self._ports)

    def _listening(self, port: int) -> subprocess.Popen[bytes]:
        log = self._log(f"server-{port}")
        log.unlink(missing_ok=True)
        server = self.server.start("iperf3", "--server", "--forceflush", "--port", str(port), log=log)
        wait_for(lambda: "listening" in log.read_text(), "iperf3's server", process=server)
        return server


class VswitchShaper(Shaper, Vswitch):
    """The switch, on taps."""

    key = "vswitch-tc"
    title = "vswitch, tc"

    def tc(self, words: str) -> str:
        # Not by vswitchctl: a counter is worth what its time is known to.
        try:
            reply = Client(str(self.run_dir)).post("tc", argv=_placed(words, self.server.device))
        except Refusal as refusal:
            raise BenchError(f"tc {words}: {refusal}") from refusal
        if reply["code"]:
            raise BenchError(f"tc {words}: {reply['stderr'].strip()}")
        return reply["stdout"]


class KernelShaper(Shaper, KernelBridge):
    """The kernel's own disciplines, on a veth of its bridge."""

    key = "kernel-tc"
    title = "kernel tc, bridge"
    programs = ("tc",)

    def tc(self, words: str) -> str:
        return self.host.run("tc", *_placed(words, "port-a"))


def _placed(words: str, device: str) -> list[str]:
    """`dev DEVICE` behind object and command, which options may precede."""
    said = words.split()
    behind = next(index for index, word in enumerate(said) if not word.startswith("-")) + 2
    return [*said[:behind], "dev", device, *said[behind:]]
