"""What an administrator may say of a port's rates in its [[port]]: `limit`, for the common case.

    limit = { egress = "100mbit", ingress = "50mbit" }
    limit = { egress = { rate = "1gbit", burst = "64kb" } }
    limit = { ingress = { rate = "50mbit", vlans = [{ vlan = 10, rate = "10mbit" }] } }

Trees are said in tc's words instead (`tc = [...]`). The directions are the port's, as tc has them: egress is what
leaves the switch by it, which its guest receives; ingress is what the guest sends. Rates and sizes are texts as tc
reads them.
"""

from __future__ import annotations

from ..config.table import Table


class Egress(Table):
    """What leaves by the port: no more than `rate`."""

    rate: str
    burst: str | None = None


class VlanLimit(Table):
    """What comes in by the port in one VLAN, like `Ingress`."""

    vlan: int
    rate: str | None = None
    burst: str | None = None
    frames: int | None = None
    frame_burst: int | None = None
    mark: int | None = None


class Ingress(Table):
    """What comes in by the port: no more than `rate`, and `frames` a second. More is dropped or, with `mark`, marked.

    A VLAN in `vlans` is policed by itself and does not count towards the port's own limit.
    """

    rate: str | None = None
    burst: str | None = None
    frames: int | None = None
    frame_burst: int | None = None
    mark: int | None = None
    vlans: tuple[VlanLimit, ...] = ()


class Limit(Table):
    """Port.limit: a rate alone, or a table, for each direction."""

    egress: str | Egress | None = None
    ingress: str | Ingress | None = None
