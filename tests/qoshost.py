"""A switch whose ports are shaped, and loads that never let up.

    host = QosHost(lab, "h")
    sender, server = host.guest("a", "10.0.0.1/24"), host.guest("s", "10.0.0.9/24")
    host.start()
    host.tc(server.name, "qdisc add root handle 1: tbf rate 10mbit burst 16kb latency 50ms")
    with flood(sender.netns, "10.0.0.9"):
        host.wait_for_bytes(server.name, "1:", 100_000)

A flood is UDP that nobody reads, from a thread of its own, larger than what any class of a test may have.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from tests.lab import inside, wait_for
from tests.routerhost import RouterHost
from tests.switchhost import LIMIT_S, balance

FLOOD_PORT = 9  # discard
FLOOD_PAYLOAD = bytes(1400)
FLOOD_STEP_S, FLOOD_BURST = 0.002, 20  # 100 Mbit/s; all there is would starve whom it is to load
COUNTED = re.compile(
    r"^(?:qdisc|class) \w+ (\w+:\w*) .*\n Sent (\d+) bytes (\d+) pkt \(dropped (\d+), overlimits (\d+) requeues \d+\) *"
    r"\n(?: rate .*\n)? backlog (\w+) (\d+)p",
    re.M,
)


class Counted(NamedTuple):
    """What a discipline or class has done."""

    sent: int
    packets: int
    dropped: int
    overlimits: int
    waiting: int


def counted(text: str) -> dict[str, Counted]:
    """The counters in what `tc -s qdisc show` or `tc -s class show` prints, by handle."""
    return {handle: Counted(int(sent), int(packets), int(dropped), int(over), int(waiting))
            for handle, sent, packets, dropped, over, _, waiting in COUNTED.findall(text)}  # fmt: skip


def placed(words: str, device: str) -> list[str]:
    """tc's words, with `dev DEVICE` behind object and command, which options may precede."""
    said = words.split()
    behind = next(index for index, word in enumerate(said) if not word.startswith("-")) + 2
    return [*said[:behind], "dev", device, *said[behind:]]


class QosHost(RouterHost):
    """A switch, its ports' queues in the words of tc."""

    def tc(self, port: str, *lines: str) -> str:
        """Commands for a port, all of which must do; what the last one printed."""
        answer = {"stdout": ""}
        for line in lines:
            answer = self.post("tc", {"argv": placed(line, port)})
            assert answer["code"] == 0, (line, answer)
        return answer["stdout"]

    def counted(self, port: str) -> dict[str, Counted]:
        """What a port's disciplines and classes have done, by handle."""
        return {
            handle: counters
            for kind in ("class", "qdisc")
            for handle, counters in counted(self.tc(port, f"-s {kind} show")).items()
        }

    def wait_for_bytes(self, port: str, handle: str, more: int) -> float:
        """Wait until so many more bytes have left; returns bits a second meanwhile."""
        began, before = time.monotonic(), self.counted(port)[handle].sent
        after = wait_for(lambda: self._sent(port, handle, before + more), LIMIT_S, f"{more} bytes to leave by {handle}")
        return 8 * (after - before) / (time.monotonic() - began)

    def _sent(self, port: str, handle: str, goal: int) -> int:
        sent = self.counted(port)[handle].sent
        return sent if sent >= goal else 0

    def wait_for_waiting(self, port: str, handle: str, least: int) -> None:
        """Wait until at least so many frames wait."""
        wait_for(lambda: self.counted(port)[handle].waiting >= least, LIMIT_S, f"{least} frames to wait in {handle}")

    def wait_for_rest(self) -> None:
        """Wait until nothing waits and every port's account is settled."""
        wait_for(self.settled, LIMIT_S, "the books to balance")

    def settled(self) -> bool:
        """Whether every frame has met its fate."""
        return not any(port["queued"] or balance(port) for port in self.get("stats"))


@contextmanager
def flood(netns: str, address: str, port: int = FLOOD_PORT) -> Iterator[None]:
    """UDP to an address, a hundred megabits a second where there is room for it."""
    with inside(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, port))
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(FLOOD_STEP_S):
            for _ in range(FLOOD_BURST):
                with suppress(ConnectionRefusedError):  # nobody reads it
                    sock.send(FLOOD_PAYLOAD)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        sock.close()


@contextmanager
def floods(netns: str, address: str, *ports: int) -> Iterator[None]:
    """One to each port."""
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(flood(netns, address, port))
        yield
