"""The bounds: relays that only copy, and the kernel's own bridge."""

from __future__ import annotations

from bench.contenders.base import Contender
from bench.limits import program


class TapRelay(Contender):
    """The least work between two taps: one read, one write, offloads on, asleep when idle."""

    key = "relay"
    title = "bare TAP relay"
    options: tuple[str, ...] = ("-v",)

    def connect(self) -> None:
        taps = [guest.device for guest in self.guests]
        self.hand_over_taps(self.start(program("tap_relay"), *self.options, *taps))


class SpinningTapRelay(TapRelay):
    """The same, polling for 2 ms after the last frame: the shortest round trip there is."""

    key = "spin"
    title = "bare TAP relay, spinning 2 ms"
    options = ("-v", "-s", "2000")


class PacketRelay(Contender):
    """The least work between two existing devices: one recv, one send."""

    key = "packet"
    title = "bare AF_PACKET relay"

    def connect(self) -> None:
        self.start(program("packet_relay"), *self.plug_veths())


class KernelBridge(Contender):
    """Linux's own bridge between two veth pairs."""

    key = "bridge"
    title = "kernel bridge"

    def connect(self) -> None:
        self.host.run("ip link add br0 type bridge")
        for port in self.plug_veths():
            self.host.run("ip", "link", "set", port, "master", "br0")
        self.host.run("ip link set br0 up")
