"""Virtual Distributed Ethernet: the user-space switch of the QEMU and UML world."""

from __future__ import annotations

from bench.contenders.base import Contender


class Vde(Contender):
    key = "vde"
    title = "VDE"
    programs = ("vde_switch",)

    def connect(self) -> None:
        taps = [word for guest in self.guests for word in ("--tap", guest.device)]
        self.hand_over_taps(self.start(
            "vde_switch", "--rcfile", "/dev/null", "--sock", self.directory / "ctl",
            "--mgmt", self.directory / "mgmt", *taps))
