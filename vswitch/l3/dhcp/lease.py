"""A lease, and who asks for one."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

import msgspec

from ..report import LeaseReport, LeaseState


class Lease(msgspec.Struct, kw_only=True):
    """An address and whose it is, or was: the table's record, and a line of the lease file.

    `expires` is in seconds since the epoch, for it must mean the same after a restart. An expired lease is kept until
    its address is needed, so that a client that comes back finds its address again.
    """

    address: IPv4Address
    identity: str
    mac: str
    name: str = ""
    port: str
    state: LeaseState
    expires: float

    def busy(self) -> bool:
        """Whether the address can be given to nobody else."""
        return self.state != "expired"

    def report(self, now: float) -> LeaseReport:
        """The lease as `vswitchctl` shows it."""
        left = max(0.0, round(self.expires - now, 1))
        return LeaseReport(
            address=str(self.address), mac=self.mac, name=self.name, expires_s=left, state=self.state, port=self.port
        )


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: `identity` is what the client calls itself (option 61), or its MAC when it does not."""

    identity: str
    mac: str
    port: str
    name: str = ""
