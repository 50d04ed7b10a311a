"""LOG's lines: the kernel's words for every kind of packet, and what is made of the workers' records."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.queueboard import GATEWAY, GUESTS, QueueBoard
from tests.switchboard import ethernet, mac
from vswitch.dataplane import Registry
from vswitch.filter.logbook import LogBook
from vswitch.filter.logline import Place, line
from vswitch.filter.targets import Log, LogFlag

HEAD4 = "SRC=10.0.0.1 DST=10.0.0.2 LEN={} TOS=0x00 PREC=0x00 TTL=64 ID=1"
HEAD6 = "SRC=fd00:0000:0000:0000:0000:0000:0000:0001 DST=fd00:0000:0000:0000:0000:0000:0000:0002 LEN={} TC=0 HOPLIMIT=64 FLOWLBL=0"
IP4, IP6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
MSS = [("MSS", 1460)]


def record(packet, **fields) -> dict:
    data = bytes(packet)
    return {"now_ns": 1, "rule": 1, "mark": 0, "length": len(data), "in_port": 0, "out_port": 1, "in_dev": 0, "out_dev": 0,
            "hook": 2, "family": data[0] >> 4, "data": data[:160], "src_mac": mac(GUESTS["a"]), "dst_mac": mac(GUESTS["b"])} | fields


def words(packet, flags: LogFlag = LogFlag(0)) -> str:
    text = line(record(packet), Log(flags=flags), Place(), Place("u", "u"))
    assert text.startswith("IN= OUT=u SRC=")
    return text.removeprefix("IN= OUT=u ")


@pytest.mark.parametrize(("packet", "right"), [
    (IP4 / UDP(sport=1, dport=53) / b"x", HEAD4.format(29) + " PROTO=UDP SPT=1 DPT=53 LEN=9"),
    (IP4 / TCP(sport=1, dport=80, flags="S", seq=7, window=100), HEAD4.format(40) + " PROTO=TCP SPT=1 DPT=80 WINDOW=100 RES=0x00 SYN URGP=0"),
    (IP4 / TCP(sport=1, dport=80, flags="FSRPAUEC", window=1, reserved=0), HEAD4.format(40)
     + " PROTO=TCP SPT=1 DPT=80 WINDOW=1 RES=0x00 CWR ECE URG ACK PSH RST SYN FIN URGP=0"),
    (IP4 / ICMP(id=3, seq=4), HEAD4.format(28) + " PROTO=ICMP TYPE=8 CODE=0 ID=3 SEQ=4"),
    (IP4 / ICMP(type=3, code=4, nexthopmtu=1400) / IP4 / UDP(sport=1, dport=2), HEAD4.format(56) + " PROTO=ICMP TYPE=3 CODE=4 ["
     + HEAD4.format(28) + " PROTO=UDP SPT=1 DPT=2 LEN=8 ] MTU=1400"),
    (IP4 / ICMP(type=5, code=1, gw="10.0.0.9") / IP4 / UDP(sport=1, dport=2), HEAD4.format(56) + " PROTO=ICMP TYPE=5 CODE=1 GATEWAY=10.0.0.9 ["
     + HEAD4.format(28) + " PROTO=UDP SPT=1 DPT=2 LEN=8 ]"),
    (IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB8, flags="DF") / UDP(sport=1, dport=2),
     "SRC=10.0.0.1 DST=10.0.0.2 LEN=28 TOS=0x18 PREC=0xA0 TTL=64 ID=1 DF PROTO=UDP SPT=1 DPT=2 LEN=8"),
    (IP(src="10.0.0.1", dst="10.0.0.2", flags="MF", frag=3, proto=17) / b"x", HEAD4.format(21) + " MF FRAG:3 PROTO=UDP"),
    (IP(src="10.0.0.1", dst="10.0.0.2", proto=6) / Raw(b"abc"), HEAD4.format(23) + " PROTO=TCP INCOMPLETE [3 bytes]"),
    (IP(src="10.0.0.1", dst="10.0.0.2", proto=47), HEAD4.format(20) + " PROTO=47"),
    (IP(src="10.0.0.1", dst="10.0.0.2", proto=50) / Raw(b"\0\0\1\2abcd"), HEAD4.format(28) + " PROTO=ESP SPI=0x102"),
    (IP6 / UDP(sport=1, dport=53), HEAD6.format(48) + " PROTO=UDP SPT=1 DPT=53 LEN=8"),
    (IP6 / ICMPv6EchoRequest(id=3, seq=4), HEAD6.format(48) + " PROTO=ICMPv6 TYPE=128 CODE=0 ID=3 SEQ=4"),
    (IP6 / IPv6ExtHdrFragment(offset=2, m=1, id=9, nh=17) / b"x", HEAD6.format(49) + " FRAG:16 INCOMPLETE ID:00000009 PROTO=UDP"),
])
def test_packets(packet, right):
    assert words(packet) == right


def test_what_options_add():
    packet = IP(src="10.0.0.1", dst="10.0.0.2", options=b"\1\1\1\0") / TCP(sport=1, dport=2, seq=7, ack=8, flags="A", window=9, options=MSS)
    assert "OPT" not in words(packet) and "SEQ" not in words(packet)
    assert " ID=1 OPT (01010100) PROTO=TCP" in words(packet, LogFlag.IP_OPTIONS)
    assert " SPT=1 DPT=2 SEQ=7 ACK=8 WINDOW=9 RES=0x00 ACK URGP=0" in words(packet, LogFlag.TCP_SEQUENCE)
    assert words(packet, LogFlag.TCP_OPTIONS).endswith(" URGP=0 OPT (020405B4)")


def test_places_and_marks():
    text = line(record(IP4 / UDP(), mark=0x10), Log(prefix="dropped: "), Place("br0", "tapA"), Place("br0", "tapB"))
    assert text.startswith("dropped: IN=br0 OUT=br0 PHYSIN=tapA PHYSOUT=tapB MAC=02:00:00:00:00:0c:02:00:00:00:00:0b:08:00 SRC=")
    assert text.endswith(" MARK=0x10")
    assert line(record(IP6 / UDP()), Log(), Place("u", "u"), Place()).startswith("IN=u OUT= MAC=02:00:00:00:00:0c:02:00:00:00:00:0b:86:dd SRC=")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=160), st.sampled_from([4, 6]), st.sampled_from([1, 6, 17, 44, 58]))
def test_rubbish_is_written_down_too(data, family, proto):
    data = bytearray(data)
    if len(data) > 9:
        data[9 if family == 4 else 6] = proto
    line(record(b"\x45", family=family, data=bytes(data)), Log(flags=LogFlag(15)), Place("a"), Place())


class FakePlane:
    """Records, given out once."""

    def __init__(self, *records: dict, lost: int = 0) -> None:
        self.records, self.lost = list(records), lost
        self.port_ids, self.device_ids = Registry(4, "ports"), Registry(4, "devices")
        self.port_ids.allocate("tapA")
        self.device_ids.allocate("br0")

    def logged(self) -> tuple[list[dict], int]:
        records, self.records = self.records, []
        return records, self.lost


def test_the_rule_decides_level_and_prefix(caplog):
    caplog.set_level(logging.DEBUG)
    plane = FakePlane(record(IP4 / UDP(), rule=1), record(IP4 / UDP(), rule=2), record(IP4 / UDP(), rule=9), lost=3)
    book = LogBook(plane, Rules({1: Log(level=7, prefix="one "), 2: Log(level=3, prefix="two ")}))
    book.tick()
    book.tick()
    assert [(entry.levelname, entry.getMessage()[:11]) for entry in caplog.records] == [
        ("DEBUG", "one IN=br0 "), ("ERROR", "two IN=br0 "), ("WARNING", "IN=br0 OUT="), ("WARNING", "LOG: 3 pack")]


class Rules:
    """Which LOG counts at which place."""

    def __init__(self, logs: dict[int, Log]) -> None:
        self.log_at = logs.get


async def test_from_the_workers_ring(caplog):
    """A rule that has just been deleted still names its records."""
    board = await QueueBoard.make("-A FORWARD -p udp -j LOG --log-prefix [gone] --log-level info", "-A FORWARD -j DROP")
    payload = bytes(IP(src="10.0.0.11", dst="192.0.2.9") / UDP(sport=5, dport=6))
    board.send("a", ethernet(GATEWAY, GUESTS["a"], payload=payload, ethertype=0x0800))
    await board.load("-A FORWARD -j DROP")
    with caplog.at_level(logging.INFO):
        LogBook(board.dataplane, board.firewall).tick()
    [entry] = caplog.records
    assert entry.levelname == "INFO" and entry.getMessage() == (
        f"[gone]IN=br0 OUT=u PHYSIN=a MAC={GATEWAY}:{GUESTS['a']}:08:00 SRC=10.0.0.11 DST=192.0.2.9 LEN=28 TOS=0x00 PREC=0x00 "
        "TTL=63 ID=1 PROTO=UDP SPT=5 DPT=6 LEN=8")
