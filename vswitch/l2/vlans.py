"""VLANs in the words of a command line: "10,20,100-200" for a trunk, "eth0.10" for one VLAN of a port.

Only the grammar is here; whether an id may be used is `config.check`'s to judge, once, for the file and for every
command. Pure text, no state, any thread.
"""

from __future__ import annotations

import re

_ITEM = re.compile(r"(\d+)(?:-(\d+))?")
_SUBINTERFACE = re.compile(r"(.+)\.(\d+)")


def parse_vlans(text: str) -> list[int | str]:
    """The members of a trunk, as the configuration holds them: ids, and ranges as "LOW-HIGH".

    Raises ValueError naming the item that is neither.
    """
    return [_parse_item(item.strip()) for item in text.split(",")]


def _parse_item(item: str) -> int | str:
    matched = _ITEM.fullmatch(item)
    if matched is None:
        raise ValueError(f"{item!r} is no VLAN id or range (right: 10,20,100-200)")
    return item if matched[2] else int(item)


def split_subinterface(name: str) -> tuple[str, int]:
    """vconfig's name for a VLAN of a port: "eth0.10" is eth0 and 10. Raises ValueError when there is no ".VID"."""
    matched = _SUBINTERFACE.fullmatch(name)
    if matched is None:
        raise ValueError(f"{name!r} names no VLAN of a port (right: PORT.VID, as eth0.10)")
    return matched[1], int(matched[2])
