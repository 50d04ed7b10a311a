"""vswitch/filter/connections.py: argv in, filter out; connections in, the lines of conntrack-tools out."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from vswitch.filter.connections import ConntrackError, deleted, emptied, events_shown, line, parse, shown


class Flow(NamedTuple):
    src: str
    dst: str
    sport: int
    dport: int
    zone: int = 0
    packets: int = 0
    bytes: int = 0


class Row(NamedTuple):
    proto: int
    original: Flow
    reply: Flow
    state: str = ""
    status: int = 8
    mark: int = 0
    timeout_s: int = 29
    family: int = 4
    id: int = 498582133


TCP = Row(6, Flow("127.0.0.1", "127.0.0.1", 54952, 8080, 0, 3, 165),
          Flow("127.0.0.1", "127.0.0.1", 8080, 54952, 0, 3, 164), "CLOSE", 14, 0, 9)
UDP = Row(17, Flow("127.0.0.1", "127.0.0.1", 50229, 9, 7), Flow("127.0.0.1", "127.0.0.1", 9, 50229, 7))
ZONED = Row(17, Flow("127.0.0.1", "127.0.0.1", 50229, 10, 8), Flow("127.0.0.1", "127.0.0.1", 10, 50229))
PING = Row(1, Flow("127.0.0.1", "127.0.0.1", 7681, 0x800), Flow("127.0.0.1", "127.0.0.1", 7681, 0), status=10)
PING6 = Row(58, Flow("::1", "::1", 7681, 0x8000), Flow("::1", "::1", 7681, 0x8100), status=10, family=6)
NATTED = Row(6, Flow("10.0.0.5", "192.0.2.9", 4000, 22), Flow("192.0.2.9", "203.0.113.1", 22, 4000), "ESTABLISHED",
             14 | 16, 5)
GRE = Row(47, Flow("10.0.0.5", "192.0.2.9", 0, 0), Flow("192.0.2.9", "10.0.0.5", 0, 0))
ROWS = {"tcp": TCP, "udp": UDP, "zoned": ZONED, "ping": PING, "ping6": PING6, "natted": NATTED, "gre": GRE}

# Printed by conntrack 1.4.7 itself.
LINES = [
    (TCP, {}, "tcp      6 9 CLOSE src=127.0.0.1 dst=127.0.0.1 sport=54952 dport=8080 src=127.0.0.1 dst=127.0.0.1"
         " sport=8080"
              " dport=54952 [ASSURED] mark=0 use=1"),
    (TCP, {"output": {"extended", "id"}, "counted": True},
     "ipv4     2 tcp      6 9 CLOSE src=127.0.0.1 dst=127.0.0.1 sport=54952 dport=8080 packets=3 bytes=165"
          " src=127.0.0.1"
     " dst=127.0.0.1 sport=8080 dport=54952 packets=3 bytes=164 [ASSURED] mark=0 use=1 id=498582133"),
    (UDP, {}, "udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=50229 dport=9 [UNREPLIED] src=127.0.0.1"
         " dst=127.0.0.1 sport=9"
              " dport=50229 mark=0 zone=7 use=1"),
    (ZONED, {}, "udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=50229 dport=10 zone-orig=8 [UNREPLIED] src=127.0.0.1"
                " dst=127.0.0.1 sport=10 dport=50229 mark=0 use=1"),
    (PING, {}, "icmp     1 29 src=127.0.0.1 dst=127.0.0.1 type=8 code=0 id=7681 src=127.0.0.1 dst=127.0.0.1 type=0"
         " code=0"
               " id=7681 mark=0 use=1"),
    (PING6, {"output": {"extended"}}, "ipv6     10 icmpv6   58 29 src=::1 dst=::1 type=128 code=0 id=7681 src=::1"
         " dst=::1"
                                      " type=129 code=0 id=7681 mark=0 use=1"),
    (GRE, {}, "gre      47 29 src=10.0.0.5 dst=192.0.2.9 [UNREPLIED] src=192.0.2.9 dst=10.0.0.5 mark=0 use=1"),
    (UDP, {"event": 1}, "    [NEW] udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=50229 dport=9 [UNREPLIED]"
         " src=127.0.0.1"
                        " dst=127.0.0.1 sport=9 dport=50229 zone=7"),
    (TCP, {"event": 2, "output": {"timestamp"}, "when": 1795557446.771172},
     "[1795557446.771172]\t [UPDATE] tcp      6 9 CLOSE src=127.0.0.1 dst=127.0.0.1 sport=54952 dport=8080"
          " src=127.0.0.1"
     " dst=127.0.0.1 sport=8080 dport=54952 [ASSURED]"),
    (TCP, {"event": 4, "counted": True},
     "[DESTROY] tcp      6 9 CLOSE src=127.0.0.1 dst=127.0.0.1 sport=54952 dport=8080 packets=3 bytes=165 src=127.0.0.1"
     " dst=127.0.0.1 sport=8080 dport=54952 packets=3 bytes=164 [ASSURED]"),
]


@pytest.mark.parametrize(("row", "options", "text"), LINES)
def test_line(row: Row, options: dict, text: str) -> None:
    assert line(row, **options) == text


@pytest.mark.parametrize(("argv", "names"), [
    ("-L", set(ROWS)), ("-L conntrack", set(ROWS)), ("-L -p tcp", {"tcp", "natted"}), ("-L -p 17", {"udp", "zoned"}),
    ("-L -p tcp --dport 22", {"natted"}), ("-L -p tcp --dport=8080 --sport 54952", {"tcp"}),
    ("-L --sport 9 -p udp", set()),
    ("-L -p tcp --reply-port-dst 4000", {"natted"}), ("-L -s 10.0.0.5", {"natted", "gre"}),
    ("-L -s 10.0.0.0/24 -d 192.0.2.9 -p gre", {"gre"}), ("-L -q 203.0.113.1", {"natted"}),
    ("-L -r 192.0.2.9 -p tcp", {"natted"}),
    ("-L -f ipv6", {"ping6"}), ("-L -p icmp --icmp-type 8", {"ping"}), ("-L -p tcp --state close", {"tcp"}),
    ("-L -w 7", {"udp"}), ("-L --orig-zone 8", {"zoned"}), ("-L --reply-zone 7", {"udp"}),
    ("-L -u ASSURED", {"tcp", "natted"}), ("-L -u UNREPLIED", {"udp", "zoned", "gre"}),
    ("-L -u SRC_NAT,ASSURED", {"natted"}),
    ("-D -m 0", set(ROWS) - {"natted"}), ("-D -m 0x5", {"natted"}), ("-L -m 1/1", {"natted"}), ("-L -m 2/2", set()),
])
def test_filters(argv: str, names: set[str]) -> None:
    command = parse(argv.split())
    assert {name for name, row in ROWS.items() if command.accepts(row)} == names


def test_commands() -> None:
    assert [parse([word]).action for word in ("-L", "--dump", "-E", "-D", "-F", "-C")] == [
        "list", "list", "events", "delete", "flush", "count"]
    assert parse("-E -e NEW,DESTROY -o timestamp,id".split()).events == 5
    assert parse(["-L", "-o", "extended,id"]).output == {"extended", "id"}


@pytest.mark.parametrize(("argv", "message"), [
    ("-L -p foo", "`foo' unsupported protocol"), ("-L -x", "unknown option `-x'"),
    ("-L -u BOGUS", "Bad parameter `BOGUS'"),
    ("-L -p tcp --state BOGUS", "unknown TCP state `BOGUS'"), ("-L --sport 5", "unknown option `--sport'"),
    ("-L --state ESTABLISHED", "unknown option `--state'"), ("-L -o bogus", "Bad parameter `bogus'"),
    ("-L -s bogus", "Invalid IP address `bogus'"), ("-L -D", "Can't use `-L' and `-D' together"),
    ("-L -p", "option `-p' requires an argument"), ("-L -p tcp --dport 65536", "Bad parameter `65536'"),
    ("-p tcp", "You need to supply at least one command"), ("-L -f ipx", "Unknown family `ipx'"),
])
def test_refusals(argv: str, message: str) -> None:
    with pytest.raises(ConntrackError) as caught:
        parse(argv.split())
    assert str(caught.value).startswith(f"conntrack v1.4.7 (vswitch): {message}")


def test_last_words() -> None:
    assert shown(5) == "conntrack v1.4.7 (vswitch): 5 flow entries have been shown.\n"
    assert events_shown(2).endswith("2 flow events have been shown.\n")
    assert deleted(0)[1] == 1 and deleted(3) == ("conntrack v1.4.7 (vswitch): 3 flow entries have been deleted.\n", 0)
    assert emptied().endswith("connection tracking table has been emptied.\n")
