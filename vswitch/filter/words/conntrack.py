"""conntrack and state: matches on the packet's connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntFlag
from typing import Any

from ..matches import ConnState, Conntrack, Direction, State, Status
from ..values import Net
from .base import Asked, Extension, Option, written
from .complaint import Complaint
from .names import protocol_number
from .readers import FULL, address, mask, port_range, ranged, write_net, write_range

OF_PACKETS = {s.name: s for s in (State.INVALID, State.NEW, State.RELATED, State.ESTABLISHED, State.UNTRACKED)}
STATES = OF_PACKETS | {"SNAT": State.SNAT, "DNAT": State.DNAT}
STATUSES = {
    "NONE": Status(0),
    "EXPECTED": Status.EXPECTED,
    "SEEN_REPLY": Status.SEEN_REPLY,
    "ASSURED": Status.ASSURED,
    "CONFIRMED": Status.CONFIRMED,
}


def _flags(names: dict[Any, Any], none: IntFlag, complaint: str) -> Callable[[str, Asked], Any]:
    """A reader of NAME[,NAME...]."""

    def read(text: str, asked: Asked) -> Any:
        total: Any = none
        for name in text.split(","):
            if name.upper() not in names:
                raise Complaint(complaint.format(name))
            total |= names[name.upper()]
        return total

    return read


def _write(names: Iterable[tuple[Any, Any]]) -> Callable[[Any], str]:
    pairs = tuple(names)

    def write(value: Any) -> str:
        return ",".join(name for name, bit in pairs if value & bit) or "NONE"

    return write


def _net(text: str, asked: Asked) -> Net:
    """As the library's reader of hosts, which keeps the bits beyond the mask; nothing matches by them."""
    first, slash, last = text.partition("/")
    whole = address(first, asked.family)
    if whole is None:
        raise Complaint(f"host/network `{first}' not found")
    under = mask(last, asked.family) if slash else FULL[asked.family]
    return Net(type(whole)(int(whole) & int(under)), under)


def _write_net(value: Net) -> str:
    return write_net(value, always=False)


def _protocol(text: str, asked: Asked) -> int:
    number = protocol_number(text)
    if number == 0:
        raise Complaint("conntrack: rule would never match protocol")
    return number


def _direction(text: str, asked: Asked) -> Direction:
    for direction in Direction:
        if direction.name == text.upper():
            return direction
    raise Complaint(f'conntrack: Bad value for "--ctdir" option: "{text}"')


write_states = _write(STATES.items())
write_statuses = _write(item for item in STATUSES.items() if item[1])


def _address(name: str, field: str) -> Option:
    return Option(name, field, _net, _write_net, invert=True)


def _port(name: str, field: str) -> Option:
    return Option(name, field, port_range, write_range, invert=True)


def _show(value: Conntrack, numeric: bool) -> str:
    return written(CONNTRACK, value).replace(" --", " ")


CONNTRACK = Extension(
    name="conntrack",
    struct=Conntrack,
    options=(
        Option("--ctstate", "states", _flags(STATES, State(0), 'Bad ctstate "{}"'), write_states, invert=True),
        Option("--ctproto", "protocol", _protocol, invert=True),
        _address("--ctorigsrc", "original_source"),
        _address("--ctorigdst", "original_destination"),
        _address("--ctreplsrc", "reply_source"),
        _address("--ctrepldst", "reply_destination"),
        _port("--ctorigsrcport", "original_source_port"),
        _port("--ctorigdstport", "original_destination_port"),
        _port("--ctreplsrcport", "reply_source_port"),
        _port("--ctrepldstport", "reply_destination_port"),
        Option("--ctstatus", "status", _flags(STATUSES, Status(0), 'Bad ctstatus "{}"'), write_statuses, invert=True),
        Option("--ctexpire", "expires", ranged(0xFFFFFFFF), write_range, invert=True),
        Option("--ctdir", "direction", _direction, lambda value: value.name),
    ),
    show=_show,
    missing="conntrack: At least one option is required",
)

STATE = Extension(
    name="state",
    struct=ConnState,
    options=(
        Option(
            "--state",
            "states",
            _flags(OF_PACKETS, State(0), 'Bad state "{}"'),
            write_states,
            invert=True,
            required=True,
        ),
    ),
    show=lambda value, numeric: f" {'! ' if value.inverted else ''}state {write_states(value.states)}",
)

EXTENSIONS = (CONNTRACK, STATE)
