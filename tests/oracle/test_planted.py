"""A comparison that finds nothing proves nothing: each kind of fault, planted into one of two kernels, is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.lab import require_root
from tests.oracle.compare import Case, case, compare, compare_case
from tests.oracle.kernel import KernelSubject
from tests.oracle.rules import RuleSet
from tests.oracle.shrink import shrunk
from tests.oracle.subject import Connection, Outcome, Tuple
from tests.oracle.wire import Editor, is_ip, parse

PACKETS = 200
NAT = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o b -j MASQUERADE\nCOMMIT\n"
ACCOUNT = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp\n-A FORWARD -m conntrack --ctstate RELATED\nCOMMIT\n"
RULES = RuleSet(NAT + ACCOUNT, NAT + ACCOUNT)


class Faulty(KernelSubject):
    """A kernel that a test spoils."""

    def __init__(self) -> None:
        super().__init__("faulty")
        self.spoil_out: Callable[[list[Outcome]], list[Outcome]] = lambda out: out
        self.spoil_entry: Callable[[Connection], Connection] = lambda entry: entry
        self.spoil_rules: Callable[[str], str] = lambda text: text
        self.spoil_counters: Callable[[str], str] = lambda text: text

    def load(self, ipv4_rules: str, ipv6_rules: str) -> None:
        super().load(self.spoil_rules(ipv4_rules), self.spoil_rules(ipv6_rules))

    def send(self, port: str, frame: bytes) -> list[Outcome]:
        return self.spoil_out(super().send(port, frame))

    def conntrack(self) -> list[Connection]:
        return [self.spoil_entry(entry) for entry in super().conntrack()]

    def counters(self) -> dict[int, str]:
        return {family: self.spoil_counters(text) for family, text in super().counters().items()}


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[KernelSubject, Faulty]]:
    require_root()
    with KernelSubject() as sound, Faulty() as faulty:
        yield sound, faulty


@pytest.fixture
def faulty(pair: tuple[KernelSubject, Faulty]) -> Iterator[Faulty]:
    yield pair[1]
    pair[1].__dict__ |= {name: lambda same: same for name in pair[1].__dict__ if name.startswith("spoil_")}


@pytest.fixture
def differences(pair: tuple[KernelSubject, Faulty]) -> Callable[[], list[str]]:
    return lambda: compare_case(*pair, Case(RULES, case(1, PACKETS).steps))


def edited(**changes: int) -> Callable[[list[Outcome]], list[Outcome]]:
    """Every frame with a tuple changed so, its checksums in order."""

    def spoil(out: list[Outcome]) -> list[Outcome]:
        return [(port, _edited(frame, changes)) for port, frame in out]

    return spoil


def _edited(frame: bytes, changes: dict[str, int]) -> bytes:
    packet = parse(frame) if is_ip(frame) else None
    if packet is None or not packet.port_fields:
        return frame
    editor = Editor(packet)
    editor.readdress(packet, packet.tuple._replace(**changes))
    return editor.done()


FRAME_FAULTS = {
    "one lost": lambda out: out[:-1],
    "one too many": lambda out: out + out[:1],
    "by the wrong port": lambda out: [("a" if port == "b" else "b", frame) for port, frame in out],
    "TTL": lambda out: [(port, frame[:22] + bytes((frame[22] ^ 1,)) + frame[23:]) for port, frame in out],
    "link address": lambda out: [(port, frame[:5] + b"\x7f" + frame[6:]) for port, frame in out],
    "payload": lambda out: [(port, frame[:-1] + bytes((frame[-1] ^ 1,))) for port, frame in out],
    "checksum": lambda out: [(port, frame[:25] + bytes((frame[25] ^ 1,)) + frame[26:]) for port, frame in out],
    "a port for all": edited(sport=2000),
    "a port of another class": edited(dport=600),
}


@pytest.mark.parametrize("fault", FRAME_FAULTS)
def test_a_fault_in_frames_is_found(faulty: Faulty, differences: Callable[[], list[str]], fault: str) -> None:
    faulty.spoil_out = FRAME_FAULTS[fault]
    assert any(told.startswith("step ") for told in differences())


def test_no_fault_is_found_where_none_is(faulty: Faulty, differences: Callable[[], list[str]]) -> None:
    assert differences() == []


SYSCTLS = {  # of net.netfilter, and not the value that it has
    "nf_conntrack_tcp_be_liberal": 1,
    "nf_conntrack_checksum": 0,
    "nf_conntrack_tcp_loose": 0,
}


@pytest.mark.parametrize("name", SYSCTLS)
def test_scenarios_reach_windows_checksums_and_connections_taken_up_midway(
    pair: tuple[KernelSubject, Faulty], name: str
) -> None:
    path = f"net/netfilter/{name}"
    pair[1].sysctl(path, SYSCTLS[name])
    try:
        assert any(compare(*pair, seed) for seed in range(60))
    finally:
        pair[1].sysctl(path, 1 - SYSCTLS[name])


ENTRY_FAULTS = {
    "state": lambda entry: replace(entry, state="CLOSE" if entry.state == "ESTABLISHED" else entry.state),
    "flags": lambda entry: replace(entry, flags=entry.flags - {"ASSURED"}),
    "mark": lambda entry: replace(entry, mark=7),
    "zone": lambda entry: replace(entry, zones=(1, 0)),
    "reply": lambda entry: replace(entry, reply=Tuple(*entry.reply[:4], 601)),
}


@pytest.mark.parametrize("fault", ENTRY_FAULTS)
def test_a_fault_in_the_connection_table_is_found(
    faulty: Faulty, differences: Callable[[], list[str]], fault: str
) -> None:
    faulty.spoil_entry = ENTRY_FAULTS[fault]
    assert any(told.startswith("conntrack: ") for told in differences())


def test_a_rule_counted_once_too_often_is_found(faulty: Faulty, differences: Callable[[], list[str]]) -> None:
    faulty.spoil_counters = lambda text: text.replace("] -A FORWARD -p tcp", "0] -A FORWARD -p tcp")
    assert any(told.startswith("counters: ") for told in differences())


def test_another_order_of_tables_is_none(faulty: Faulty, differences: Callable[[], list[str]]) -> None:
    faulty.spoil_counters = lambda text: "COMMIT\n".join(reversed(text.split("COMMIT\n")))
    assert differences() == []


def test_what_differs_shrinks_to_one_rule_and_one_packet(pair: tuple[KernelSubject, Faulty], faulty: Faulty) -> None:
    faulty.spoil_rules = lambda text: text.replace("-p tcp\n", "-p tcp -j DROP\n")
    small = shrunk(
        Case(RULES, case(1, PACKETS).steps),
        lambda one: any(told.startswith("step ") for told in compare_case(*pair, one)),
    )
    rules = [line for line in (small.rules.ipv4 + small.rules.ipv6).splitlines() if line.startswith("-A")]
    assert rules == ["-A FORWARD -p tcp"] and len(small.steps) == 1
