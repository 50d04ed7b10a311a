"""The words of conntrack-tools: `conntrack -L -p tcp --dport 22` read, and connections printed as it prints them.

Pure text: whoever has the table asks `parse` for a Command, keeps the rows that its filter `accepts`, and prints each
with `line`. Messages and exit codes are conntrack's own (1.4.7); what it offers beyond is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vswitch._fastpath.filter.rows import Connection, Flow

BANNER = "conntrack v1.4.7 (vswitch): "
HELP = "\nTry `conntrack -h' or 'conntrack --help' for more information.\n"

PROTOCOLS = {"tcp": 6, "udp": 17, "udplite": 136, "icmp": 1, "icmpv6": 58, "ipv6-icmp": 58, "sctp": 132, "gre": 47,
             "dccp": 33}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items() if name != "ipv6-icmp"}
PORTED = {6, 17, 33, 132, 136}
ICMPS = {1, 58}
TCP_STATES = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
              "LISTEN", "SYN_SENT2")
SEEN_REPLY, ASSURED, SRC_NAT, DST_NAT = 2, 4, 16, 32
STATUSES = {"ASSURED": (ASSURED, ASSURED), "SEEN_REPLY": (SEEN_REPLY, SEEN_REPLY), "UNSET": (0, 0),
            "UNREPLIED": (SEEN_REPLY, 0), "SRC_NAT": (SRC_NAT, SRC_NAT), "DST_NAT": (DST_NAT, DST_NAT)}
EVENTS = {"NEW": 1, "UPDATES": 2, "DESTROY": 4, "ALL": 7}
EVENT_WORDS = {1: "    [NEW]", 2: " [UPDATE]", 4: "[DESTROY]"}
FAMILIES = {"ipv4": 4, "ipv6": 6}
OUTPUTS = {"extended", "id", "timestamp", "ktimestamp"}
ACTIONS = {"-L": "list", "--dump": "list", "-E": "events", "--event": "events", "-D": "delete", "--delete": "delete",
           "-F": "flush", "--flush": "flush", "-C": "count", "--count": "count"}

Test = Callable[["Connection"], bool]


class ConntrackError(Exception):
    """What conntrack writes to stderr; it exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{BANNER}{message}{HELP}")


@dataclass
class Command:
    action: str                         # list, events, delete, flush, count
    tests: list[Test] = field(default_factory=list)
    output: set[str] = field(default_factory=set)
    events: int = 7                     # of -E: which kinds

    def accepts(self, row: Connection) -> bool:
        """Whether the command is about this connection."""
        return all(test(row) for test in self.tests)


def parse(argv: Sequence[str]) -> Command:
    """The words after `conntrack`. Raises ConntrackError."""
    words = [part for word in argv for part in _split(word)]
    actions = [word for word in words if word in ACTIONS]
    if not actions:
        raise ConntrackError("You need to supply at least one command: -L, -E, -C, -D or -F")
    if len(actions) > 1:
        raise ConntrackError(f"Can't use `{actions[0]}' and `{actions[1]}' together")
    words.remove(actions[0])
    command = Command(ACTIONS[actions[0]])
    if words and words[0] == "conntrack":   # the name of the table
        words.pop(0)
    protocol = _protocol_of(words)
    while words:
        _option(command, words, protocol)
    return command


def _split(word: str) -> list[str]:
    """--dport=22 is --dport 22."""
    name, equals, value = word.partition("=")
    return [name, value] if word.startswith("--") and equals else [word]


def _protocol_of(words: list[str]) -> int | None:
    for at, word in enumerate(words[:-1]):
        if word in ("-p", "--proto", "--protonum"):
            return _protocol(words[at + 1])
    return None


def _option(command: Command, words: list[str], protocol: int | None) -> None:
    name = words.pop(0)
    if name in PROTOCOL_OPTIONS:
        protocols, read = PROTOCOL_OPTIONS[name]
        known = protocol in protocols
    else:
        read = OPTIONS.get(name)
        known = read is not None
    if not known:
        raise ConntrackError(f"unknown option `{name}'")
    if not words:
        raise ConntrackError(f"option `{name}' requires an argument")
    read(command, words.pop(0))


def _protocol(word: str) -> int:
    if word.lower() in PROTOCOLS:
        return PROTOCOLS[word.lower()]
    if word.isdigit() and int(word) < 256:
        return int(word)
    raise ConntrackError(f"`{word}' unsupported protocol")


def _number(word: str, most: int) -> int:
    try:
        value = int(word, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise ConntrackError(f"Bad parameter `{word}'")
    return value


def _address(pick: Callable[[Connection], str]) -> Callable[[Command, str], None]:
    def read(command: Command, word: str) -> None:
        try:
            network = ip_network(word, strict=False)
        except ValueError:
            raise ConntrackError(f"Invalid IP address `{word}'") from None
        command.tests.append(lambda row: ip_address(pick(row)) in network)
    return read


def _value(pick: Callable[[Connection], int], most: int) -> Callable[[Command, str], None]:
    def read(command: Command, word: str) -> None:
        wanted = _number(word, most)
        command.tests.append(lambda row: pick(row) == wanted)
    return read


def _read_protocol(command: Command, word: str) -> None:
    wanted = _protocol(word)
    command.tests.append(lambda row: row.proto == wanted)


def _read_family(command: Command, word: str) -> None:
    if word not in FAMILIES:
        raise ConntrackError(f"Unknown family `{word}'")
    command.tests.append(lambda row: row.family == FAMILIES[word])


def _read_mark(command: Command, word: str) -> None:
    value, _, mask = word.partition("/")
    wanted, bits = _number(value, 0xFFFFFFFF), _number(mask, 0xFFFFFFFF) if mask else 0xFFFFFFFF
    command.tests.append(lambda row: row.mark & bits == wanted)


def _read_status(command: Command, word: str) -> None:
    for name in word.upper().split(","):
        if name not in STATUSES:
            raise ConntrackError(f"Bad parameter `{word}'")
        command.tests.append(lambda row, want=STATUSES[name]: row.status & want[0] == want[1])


def _read_state(command: Command, word: str) -> None:
    if word.upper() not in TCP_STATES:
        raise ConntrackError(f"unknown TCP state `{word}'")
    command.tests.append(lambda row: row.state == word.upper())


def _read_zone(command: Command, word: str) -> None:
    wanted = _number(word, 0xFFFF)
    command.tests.append(lambda row: row.original.zone == row.reply.zone == wanted)


def _read_output(command: Command, word: str) -> None:
    for name in word.split(","):
        if name not in OUTPUTS:
            raise ConntrackError(f"Bad parameter `{word}'")
        command.output.add(name)


def _read_events(command: Command, word: str) -> None:
    command.events = 0
    for name in word.upper().split(","):
        if name not in EVENTS:
            raise ConntrackError(f"Bad parameter `{word}'")
        command.events |= EVENTS[name]


OPTIONS: dict[str, Callable[[Command, str], None]] = {
    **dict.fromkeys(("-s", "--src", "--orig-src"), _address(lambda row: row.original.src)),
    **dict.fromkeys(("-d", "--dst", "--orig-dst"), _address(lambda row: row.original.dst)),
    **dict.fromkeys(("-r", "--reply-src"), _address(lambda row: row.reply.src)),
    **dict.fromkeys(("-q", "--reply-dst"), _address(lambda row: row.reply.dst)),
    **dict.fromkeys(("-p", "--proto", "--protonum"), _read_protocol),
    **dict.fromkeys(("-f", "--family"), _read_family),
    **dict.fromkeys(("-m", "--mark"), _read_mark),
    **dict.fromkeys(("-u", "--status"), _read_status),
    **dict.fromkeys(("-w", "--zone"), _read_zone),
    "--orig-zone": _value(lambda row: row.original.zone, 0xFFFF),
    "--reply-zone": _value(lambda row: row.reply.zone, 0xFFFF),
    **dict.fromkeys(("-o", "--output"), _read_output),
    **dict.fromkeys(("-e", "--event-mask"), _read_events),
}
#: Options that a protocol brings: which protocols, and how they are read.
PROTOCOL_OPTIONS: dict[str, tuple[set[int], Callable[[Command, str], None]]] = {
    **dict.fromkeys(("--sport", "--orig-port-src"), (PORTED, _value(lambda row: row.original.sport, 0xFFFF))),
    **dict.fromkeys(("--dport", "--orig-port-dst"), (PORTED, _value(lambda row: row.original.dport, 0xFFFF))),
    "--reply-port-src": (PORTED, _value(lambda row: row.reply.sport, 0xFFFF)),
    "--reply-port-dst": (PORTED, _value(lambda row: row.reply.dport, 0xFFFF)),
    "--state": ({6}, _read_state),
    "--icmp-type": ({1}, _value(lambda row: row.original.dport >> 8, 0xFF)),
    "--icmp-code": ({1}, _value(lambda row: row.original.dport & 0xFF, 0xFF)),
    "--icmp-id": ({1}, _value(lambda row: row.original.sport, 0xFFFF)),
    "--icmpv6-type": ({58}, _value(lambda row: row.original.dport >> 8, 0xFF)),
    "--icmpv6-code": ({58}, _value(lambda row: row.original.dport & 0xFF, 0xFF)),
    "--icmpv6-id": ({58}, _value(lambda row: row.original.sport, 0xFFFF)),
}


def _flow(proto: int, flow: Flow, zone: str, counted: bool) -> list[str]:
    words = [f"src={flow.src}", f"dst={flow.dst}"]
    if proto in PORTED:
        words += [f"sport={flow.sport}", f"dport={flow.dport}"]
    elif proto in ICMPS:
        words += [f"type={flow.dport >> 8}", f"code={flow.dport & 0xFF}", f"id={flow.sport}"]
    if zone:
        words.append(zone)
    if counted:
        words += [f"packets={flow.packets}", f"bytes={flow.bytes}"]
    return words


def _zones(row: Connection) -> tuple[str, str, str]:
    """What is said of zones behind either direction, and at the end."""
    one, other = row.original.zone, row.reply.zone
    if one == other:
        return "", "", f"zone={one}" if one else ""
    return f"zone-orig={one}" if one else "", f"zone-reply={other}" if other else "", ""


def line(row: Connection, output: set[str] = frozenset(), event: int = 0, counted: bool = False,
         when: float | None = None) -> str:
    """A connection, or with `event` (1 NEW, 2 UPDATE, 4 DESTROY) what became of it, at the time `when`.

    `counted`: whether the table counts packets (nf_conntrack_acct)."""
    orig_zone, reply_zone, zone = _zones(row)
    counted = counted and event in (0, 4)
    words = []
    if "extended" in output:
        words.append(f"{'ipv4' if row.family == 4 else 'ipv6':<8} {2 if row.family == 4 else 10}")
    words.append(f"{PROTOCOL_NAMES.get(row.proto, 'unknown'):<8} {row.proto}")
    if event != 4 or row.timeout_s:
        words.append(str(row.timeout_s))
    if row.state:
        words.append(row.state)
    words += _flow(row.proto, row.original, orig_zone, counted)
    if not row.status & SEEN_REPLY:
        words.append("[UNREPLIED]")
    words += _flow(row.proto, row.reply, reply_zone, counted)
    if row.status & ASSURED:
        words.append("[ASSURED]")
    if row.mark or not event:
        words.append(f"mark={row.mark}")
    if zone:
        words.append(zone)
    if not event:
        words.append("use=1")
    if "id" in output:
        words.append(f"id={row.id}")
    stamp = f"[{when:.6f}]\t" if "timestamp" in output and event and when is not None else ""
    return stamp + (f"{EVENT_WORDS[event]} " if event else "") + " ".join(words)


def shown(n: int) -> str:
    """What conntrack -L says on stderr at the end."""
    return f"{BANNER}{n} flow entries have been shown.\n"


def events_shown(n: int) -> str:
    return f"{BANNER}{n} flow events have been shown.\n"


def deleted(n: int) -> tuple[str, int]:
    """What conntrack -D says at the end, and its exit code: 1 if there was nothing to delete."""
    return f"{BANNER}{n} flow entries have been deleted.\n", 0 if n else 1


def emptied() -> str:
    return f"{BANNER}connection tracking table has been emptied.\n"
