"""The kinds of disciplines, each a file: grammar, defaults, printing."""

from __future__ import annotations

from ..model import Qdisc
from .base import Kind
from .fifo import BFIFO, PFIFO
from .fq_codel import FQ_CODEL
from .htb import HTB
from .ingress import CLSACT, INGRESS
from .prio import PFIFO_FAST, PRIO
from .sfq import SFQ
from .tbf import TBF

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (PFIFO, BFIFO, PFIFO_FAST, PRIO, SFQ, TBF, HTB, FQ_CODEL, INGRESS, CLSACT)
}


def lasting(old: Qdisc, new: Qdisc) -> bool:
    """Whether a discipline can become the other with what it holds."""
    fixed = KINDS[old.kind].fixed
    return (old.handle, old.kind) == (new.handle, new.kind) and fixed(old.options) == fixed(new.options)
