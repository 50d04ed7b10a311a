"""The link layer that rates are meant for: here it is Ethernet."""

from __future__ import annotations

from ..complaint import illegal
from ..words import matches


def ethernet(text: str) -> str:
    if matches(text, "atm") or matches(text, "adsl"):
        raise illegal(f'linklayer "{text}": the switch counts no ATM cells; right: ethernet')
    if not matches(text, "ethernet"):
        raise ValueError
    return "ethernet"
