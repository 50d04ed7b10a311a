"""The small grammars inside configuration values: device names, MAC addresses, VLAN lists, listen addresses.

Pure functions. What cannot be read raises ValueError with the words that say what would be right; the caller adds
where it stood.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

VLAN_MIN, VLAN_MAX = 1, 4094
NAME_MAX = 15

_MAC = re.compile(r"[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}|([0-9a-f]{4}\.){2}[0-9a-f]{4}")
_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")

VLAN_RULE = f"a VLAN id is {VLAN_MIN} to {VLAN_MAX}"
LISTEN_RULE = 'an address to listen on is HOST:PORT or [IPV6]:PORT, like "127.0.0.1:9478"; port 0: any free one'


def check_name(name: str) -> str:
    """The name, if the kernel would take it for a device (dev_valid_name), less what templates and terminals eat."""
    if not 1 <= len(name.encode()) <= NAME_MAX:
        raise ValueError(f"a name has 1 to {NAME_MAX} bytes (this has {len(name.encode())})")
    if name in (".", ".."):
        raise ValueError('a name is not "." or ".."')
    if any(char in "/:%" or char.isspace() or not char.isprintable() for char in name):
        raise ValueError("a name has no space, control character, slash, colon or percent sign")
    return name


def normal_mac(text: str) -> str:
    """A MAC address in lower case with colons; also read: 52-54-00-12-34-56 and 5254.0012.3456."""
    lowered = text.lower()
    if not _MAC.fullmatch(lowered):
        raise ValueError('a MAC address is six hex pairs, like "52:54:00:12:34:56"')
    digits = re.sub("[:.-]", "", lowered)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def unicast_mac(text: str) -> str:
    """A MAC address that one station can have, in normal form: not a group address, not all zeros."""
    mac = normal_mac(text)
    if int(mac[:2], 16) & 1:
        raise ValueError("a station's MAC is unicast: its first byte is even")
    if mac == "00:00:00:00:00:00":
        raise ValueError("a station's MAC is not all zeros")
    return mac


def check_vlan(vid: int) -> int:
    """The VLAN id, if it is one."""
    if not VLAN_MIN <= vid <= VLAN_MAX:
        raise ValueError(VLAN_RULE)
    return vid


def vlan_set(items: Iterable[int | str]) -> frozenset[int]:
    """The VLAN ids of a trunk list: ids and "LOW-HIGH" ranges, both ends included."""
    return frozenset(vid for item in items for vid in _item_vlans(item))


def _item_vlans(item: int | str) -> range:
    if isinstance(item, int):
        return range(check_vlan(item), item + 1)
    match = _RANGE.fullmatch(item)
    if not match:
        raise ValueError('a trunk lists VLAN ids and ranges, like [10, 20, "100-200"]')
    low, high = check_vlan(int(match[1])), check_vlan(int(match[2]))
    if low > high:
        raise ValueError("a range goes from the lower VLAN id to the higher")
    return range(low, high + 1)


def vlan_list(vids: Iterable[int]) -> tuple[int | str, ...]:
    """The shortest trunk list for a set of VLAN ids, in order: three or more in a row make a range."""
    items: list[int | str] = []
    for low, high in _runs(sorted(vids)):
        items += [f"{low}-{high}"] if high - low > 1 else range(low, high + 1)
    return tuple(items)


def _runs(ordered: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for vid in ordered:
        if runs and vid == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], vid)
        else:
            runs.append((vid, vid))
    return runs


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [IPV6]:PORT or :PORT, where host "" stands for all addresses."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(LISTEN_RULE)
    if host.startswith("[") and host.endswith("]"):
        return _ip(host[1:-1], version=6), int(port)
    if host and not _HOST.fullmatch(host):
        raise ValueError(LISTEN_RULE)
    if host and host.replace(".", "").isdigit():
        return _ip(host, version=4), int(port)
    return host, int(port)


def _ip(host: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(LISTEN_RULE) from None
    if address.version != version:
        raise ValueError(LISTEN_RULE)
    return host
