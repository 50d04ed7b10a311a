"""QUEUE: a packet that a user's process has judged goes on as if it had never been away, from every table of every hook."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tests.queueboard import GATEWAY, GUESTS, OUTSIDE, UPLINK, QueueBoard
from tests.switchboard import BROADCAST
from vswitch.queue_client import CHECKSUM_OPEN, HOOKS, SUPER_FRAME, finished
from vswitch.views import NetworkMode

QUEUE = "-j NFQUEUE --queue-num 7"
A, B = GUESTS["a"], GUESTS["b"]
OUT = Ether(src=A, dst=GATEWAY) / IP(src="10.0.0.11", dst="192.0.2.9") / UDP(sport=1000, dport=2000) / b"out"
BRIDGED = Ether(src=A, dst=B) / IP(src="10.0.0.11", dst="10.0.0.12") / UDP(sport=1000, dport=2000) / b"bridged"
PING = Ether(src=A, dst=GATEWAY) / IP(src="10.0.0.11", dst="10.0.0.1") / ICMP(id=7) / b"ping"
SYN = Ether(src=A, dst=GATEWAY) / IP(src="10.0.0.11", dst="192.0.2.9") / TCP(sport=1000, dport=80, flags="S")
OUT6 = Ether(src=A, dst=GATEWAY) / IPv6(src="fd00::11", dst="2001:db8::9") / UDP(sport=1000, dport=2000) / b"out"


def whole(frames):
    """The one frame, taken apart, its checksums right."""
    [frame] = frames
    packet = Ether(frame)
    ip = packet[IP] if IP in packet else packet[IPv6]
    assert finished(bytes(ip)) == bytes(ip)
    return packet


@pytest.mark.parametrize(("rule", "frame", "out"), [
    ("-t raw -A PREROUTING", OUT, "u"),
    ("-t mangle -A PREROUTING", OUT, "u"),
    ("-t nat -A PREROUTING", OUT, "u"),
    ("-t mangle -A FORWARD", OUT, "u"),
    ("-A FORWARD", OUT, "u"),
    ("-t security -A FORWARD", OUT, "u"),
    ("-t mangle -A POSTROUTING", OUT, "u"),
    ("-t nat -A POSTROUTING", OUT, "u"),
    ("-t raw -A PREROUTING", BRIDGED, "b"),
    ("-t mangle -A PREROUTING", BRIDGED, "b"),
    ("-A FORWARD", BRIDGED, "b"),
    ("-t mangle -A POSTROUTING", BRIDGED, "b"),
    ("-t mangle -A INPUT", PING, "a"),
    ("-A INPUT", PING, "a"),
    ("-t security -A INPUT", PING, "a"),
    ("-t nat -A INPUT", PING, "a"),
    ("-t raw -A OUTPUT", PING, "a"),
    ("-t mangle -A OUTPUT", PING, "a"),
    ("-A OUTPUT", PING, "a"),
    ("-t security -A OUTPUT", PING, "a"),
    ("-t mangle -A POSTROUTING -o br0", PING, "a"),
    ("6 -A FORWARD", OUT6, "u"),
    ("6 -t mangle -A PREROUTING", OUT6, "u"),
])
async def test_every_table(rule, frame, out):
    plain = (await QueueBoard.make("-A FORWARD -j ACCEPT", "6 -A FORWARD -j ACCEPT")).pass_by("a", bytes(frame))
    board = await QueueBoard.make(f"{rule} {QUEUE}")
    board.listen(7)
    assert board.pass_by("a", bytes(frame)) == {}
    [packet] = board.packets
    assert HOOKS[packet[0][5]] in rule
    assert board.queued() == 1
    got = board.judge(packet)
    assert got.keys() == {out} == plain.keys() and len(got[out]) == 1
    assert got == plain, (whole(got[out]).show(dump=True), whole(plain[out]).show(dump=True))
    assert board.queued() == 0
    assert len(board.connections()) == board.used() == 1


@pytest.mark.parametrize("rule", ["-t raw -A PREROUTING", "-t mangle -A PREROUTING", "-A FORWARD", "-t mangle -A POSTROUTING"])
async def test_drop(rule):
    board = await QueueBoard.make(f"{rule} {QUEUE}")
    board.listen(7)
    board.pass_by("a", bytes(OUT))
    assert board.judge(board.packets[0], accept=False) == {}
    assert board.drops("a") == {"queue_drop": 1} and board.queued() == 0
    assert board.used() == 0


async def test_drop_of_own():
    board = await QueueBoard.make(f"-A OUTPUT {QUEUE}")
    board.listen(7)
    board.pass_by("a", bytes(PING))
    assert board.judge(board.packets[0], accept=False) == {}
    assert board.dataplane.port_counters(4095).drops == {"queue_drop": 1}


async def test_masquerade_and_back():
    """Queued in PREROUTING, FORWARD and POSTROUTING, both ways, NAT comes out as it does without."""
    rules = [f"-t mangle -A PREROUTING {QUEUE}", f"-A FORWARD {QUEUE}", f"-t mangle -A POSTROUTING {QUEUE}",
             "-t nat -A PREROUTING -d 10.0.0.1 -p tcp --dport 80 -j DNAT --to-destination 192.0.2.9:8080"]
    board = await QueueBoard.make(*rules, mode=NetworkMode.NAT)
    board.listen(7)
    syn = SYN.copy()
    syn[IP].dst, syn[IP].chksum = "10.0.0.1", None
    board.pass_by("a", bytes(syn))
    for turn in range(2):
        assert board.judge(board.packets[turn]) == {}
    out = whole(board.judge(board.packets[2])["u"])
    assert (out[IP].src, out[IP].dst, out[TCP].dport, out[IP].ttl) == ("192.0.2.1", "192.0.2.9", 8080, 63)
    answer = Ether(src=OUTSIDE, dst=UPLINK) / IP(src="192.0.2.9", dst="192.0.2.1") / TCP(sport=8080, dport=out[TCP].sport, flags="SA")
    board.pass_by("u", bytes(answer))
    for turn in range(3, 5):
        assert board.judge(board.packets[turn]) == {}
    back = whole(board.judge(board.packets[5])["a"])
    assert (back[IP].src, back[IP].dst, back[TCP].sport, back[TCP].dport) == ("10.0.0.1", "10.0.0.11", 80, 1000)
    assert len(board.connections()) == 1
    assert board.dataplane.connections.counters().found == 1    # the answer, once


async def test_tables_behind_are_walked_and_see_the_mark():
    board = await QueueBoard.make(f"-t mangle -A FORWARD {QUEUE}", "-A FORWARD -m mark --mark 5 -j DROP")
    board.listen(7)
    board.pass_by("a", bytes(OUT), bytes(OUT))
    assert board.judge(board.packets[0], mark=5) == {} and board.drops("a") == {"rule_filter": 1}
    assert whole(board.judge(board.packets[1])["u"])


async def test_another_queue_behind():
    board = await QueueBoard.make(f"-t mangle -A FORWARD {QUEUE}", "-A FORWARD -j QUEUE")
    board.listen(7, 0)
    board.pass_by("a", bytes(OUT))
    assert board.judge(board.packets[0], mark=9) == {}
    assert board.packets[1][0][1] == 9
    assert whole(board.judge(board.packets[1], queue=0)["u"])[IP].ttl == 63


@pytest.mark.parametrize("bypass", [True, False])
@pytest.mark.parametrize("rule", ["-t raw -A PREROUTING", "-t mangle -A PREROUTING", "-t mangle -A FORWARD", "-t nat -A PREROUTING"])
async def test_unattended(rule, bypass):
    """--queue-bypass passes a table, not those behind it."""
    board = await QueueBoard.make(f"{rule} {QUEUE}" + " --queue-bypass" * bypass, "-A FORWARD -d 192.0.2.9 -p udp --dport 2001 -j DROP")
    blocked = OUT.copy()
    blocked[UDP].dport = 2001
    out = board.pass_by("a", bytes(OUT), bytes(Ether(bytes(blocked))))
    assert set(out) == ({"u"} if bypass else set())
    assert board.drops("a") == ({"rule_filter": 1} if bypass else {"queue_unattended": 2})


async def test_balance_keeps_both_directions_together():
    board = await QueueBoard.make("-A FORWARD -j NFQUEUE --queue-balance 4:7")
    board.listen(4, 5, 6, 7)
    taken = []
    for number in range(64):
        for src, dst in (("10.0.0.11", f"192.0.2.{number + 9}"), (f"192.0.2.{number + 9}", "10.0.0.11")):
            port, eth = ("a", Ether(src=A, dst=GATEWAY)) if src == "10.0.0.11" else ("u", Ether(src=OUTSIDE, dst=UPLINK))
            board.pass_by(port, bytes(eth / IP(src=src, dst=dst) / UDP(sport=53, dport=53)))
            taken.append(next(queue.number for queue in board.queues.queues if board.packets[-1][0][0] in queue.waiting))
    assert taken[::2] == taken[1::2] and set(taken) == {4, 5, 6, 7}


async def test_flooded_copies_are_queued_one_by_one():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    frame = Ether(src=A, dst=BROADCAST) / IP(src="10.0.0.11", dst="10.0.0.255") / UDP(sport=1000, dport=2000) / b"all"
    assert board.pass_by("a", bytes(frame)) == {}
    first, second = board.packets
    assert (board.queued(), board.counters("a").copied) == (2, 1)
    assert board.judge(first, accept=False) == {}
    out = board.judge(second)
    assert list(out.values()) == [[bytes(frame)]] and len(board.connections()) == board.used() == 1


async def test_flooded_copies_all_dropped_leave_no_connection():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    board.pass_by("a", bytes(Ether(src=A, dst=BROADCAST) / IP(src="10.0.0.11", dst="10.0.0.255") / UDP() / b"all"))
    for packet in board.packets:
        board.judge(packet, accept=False)
    assert board.used() == 0 and board.drops("a") == {"queue_drop": 2}


@pytest.mark.parametrize("size", [0, 1, 400, 1472])
@pytest.mark.parametrize("rule", ["-t mangle -A PREROUTING", "-A FORWARD", "-t mangle -A POSTROUTING"])
async def test_another_packet_in_its_place(rule, size):
    board = await QueueBoard.make(f"{rule} {QUEUE}", mode=NetworkMode.NAT)
    board.listen(7)
    board.pass_by("a", bytes(OUT))
    new = board.packets[0][1][:28] + bytes(size)
    out = whole(board.judge(board.packets[0], payload=finished(new))["u"])
    assert (out[IP].src, out[IP].len, out[UDP].len, bytes(out[UDP].payload)[:size]) == ("192.0.2.1", 28 + size, 8 + size, bytes(size))


@pytest.mark.parametrize(("payload", "reason"), [
    (b"", "ip_header"), (b"\x45" + bytes(30), "ip_header"), (bytes(70000), "queue_stale"),
    (bytes(IP(src="10.0.0.11", dst="192.0.2.9") / TCP()), "queue_stale"),
    (bytes(IP(src="10.0.0.11", dst="192.0.2.9", proto=17) / Raw(b"abc")), "queue_stale"),
    (bytes(IP(src="10.0.0.11", dst="192.0.2.9", flags="MF") / UDP(sport=1000, dport=2000) / bytes(8)), "queue_stale"),
    (bytes(IP(src="10.0.0.11", dst="192.0.2.9", flags="DF") / UDP(sport=1000, dport=2000) / bytes(1600)), "packet_too_big"),
])
async def test_what_no_packet_may_become(payload, reason):
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    board.pass_by("a", bytes(OUT))
    out = board.judge(board.packets[0], payload=payload)
    assert "u" not in out and board.drops("a") == {reason: 1} and board.used() == 0


async def test_a_connection_that_ended_meanwhile():
    board = await QueueBoard.make(f"-A FORWARD -m mark --mark 0 -m conntrack --ctstate ESTABLISHED {QUEUE}")
    board.listen(7)
    board.pass_by("a", bytes(OUT))
    board.pass_by("u", bytes(Ether(src=OUTSIDE, dst=UPLINK) / IP(src="192.0.2.9", dst="10.0.0.11") / UDP(sport=2000, dport=1000)))
    board.dataplane.connections.flush()
    assert board.judge(board.packets[0]) == {} and board.drops("u") == {"queue_stale": 1}


async def test_vlan_and_priority():
    trunk = {"trunk": [10], "native": 1}
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}", network=False, a=trunk, b=trunk, c={"access": 10})
    board.table.add_static(B, 10, board.views["b"].id)
    board.listen(7)
    frame = bytes(Ether(src=A, dst=B) / Dot1Q(vlan=10, prio=5) / BRIDGED[IP])
    assert board.pass_by("a", frame) == {}
    assert (board.packets[0][0][3], board.packets[0][1]) == (10, bytes(BRIDGED[IP]))
    assert board.judge(board.packets[0]) == {"b": [frame]}


async def test_a_priority_tag_passes():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}", network=False)
    board.listen(7)
    frame = bytes(Ether(src=A, dst=B) / Dot1Q(vlan=0, prio=5) / BRIDGED[IP])
    board.pass_by("a", frame)
    assert board.judge(board.packets[0]) == {"b": [frame]}


async def test_fragments_are_whole_for_the_listener_and_leave_as_they_came():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    ip = IP(src="10.0.0.11", dst="192.0.2.9", id=5)
    whole_packet = bytes(ip / UDP(sport=1000, dport=2000) / bytes(1000))
    first = Ether(src=A, dst=GATEWAY) / IP(src=ip.src, dst=ip.dst, id=5, proto=17, flags="MF") / Raw(whole_packet[20:620])
    second = Ether(src=A, dst=GATEWAY) / IP(src=ip.src, dst=ip.dst, id=5, proto=17, frag=75) / Raw(whole_packet[620:])
    assert board.pass_by("a", bytes(first), bytes(second)) == {}
    assert board.packets[0][1][20:] == whole_packet[20:]
    out = [Ether(frame)[IP] for frame in board.judge(board.packets[0])["u"]]
    assert [(packet.frag, packet.len) for packet in out] == [(0, 620), (75, 428)]
    assert b"".join(bytes(packet.payload) for packet in out) == whole_packet[20:]


async def test_a_super_frame_goes_on_as_one():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}", mode=NetworkMode.NAT)
    board.listen(7)
    board.pass_by("a", bytes(SYN))
    port = whole(board.judge(board.packets[0])["u"])[TCP].sport
    answer = IP(src="192.0.2.9", dst="192.0.2.1") / TCP(sport=80, dport=port, flags="SA", ack=1)
    board.pass_by("u", bytes(Ether(src=OUTSIDE, dst=UPLINK) / answer))
    board.judge(board.packets[1])
    data = SYN.copy()
    data[TCP].flags, data[TCP].seq, data[TCP].ack = "A", 1, 1
    vnet = struct.pack("<BBHHHHH", 1, 1, 54, 1448, 34, 16, 0)
    assert board.pass_by("a", bytes(data / bytes(6000)), vnet=vnet) == {}
    fields, payload = board.packets[2]
    assert fields[7] == CHECKSUM_OPEN | SUPER_FRAME and len(payload) == 6040
    board.queues.judge(7, fields[0], True, None, None)
    assert board.serve_own() == 1
    [(header, frame)] = board.views["u"].memory.collect(True)
    assert header == vnet and len(frame) == 6054 and Ether(frame)[IP].src == "192.0.2.1"


async def test_limits_and_time():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    for _ in range(1040 // 16):
        board.pass_by("a", *[bytes(BRIDGED)] * 16)
    assert len(board.packets) == 1024 and board.drops("a") == {"queue_full": 16}
    board.now_ns += 6_000_000_000
    board.queues.tick()
    board.settle()
    assert board.drops("a") == {"queue_full": 16, "queue_timeout": 1024} and board.queued() == 0 and board.used() == 0
    assert board.judge(board.packets[0]) == {}          # too late
    counters = board.queues.queues[0].counters
    assert (counters.packets, counters.timeouts, counters.overruns, counters.accepted) == (1024, 1024, 16, 0)


@pytest.mark.parametrize(("bypass", "out", "drops"), [("", {}, {"queue_unattended": 1}), (" --queue-bypass", {"b"}, {})])
async def test_a_listener_that_goes(bypass, out, drops):
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}{bypass}")
    board.listen(7)
    board.pass_by("a", bytes(BRIDGED))
    board.queues.leave(7)
    assert set(board.settle()) == set(out) and board.drops("a") == drops and board.queued() == 0


async def test_a_listener_that_does_not_read():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    board.full = True
    assert board.pass_by("a", bytes(BRIDGED)) == {} and board.drops("a") == {"queue_full": 1}


async def test_a_port_that_goes_meanwhile():
    board = await QueueBoard.make(f"-A FORWARD {QUEUE}")
    board.listen(7)
    board.pass_by("a", bytes(BRIDGED))
    view = board.views.pop("a")
    await board.publish()
    board.dataplane.port_ids.release("a")
    board.add("other")
    await board.publish()
    assert board.views["other"].id == view.id
    assert board.judge(board.packets[0]) == {}
    assert board.counters("other").balance == board.counters("other").queued == 0
    assert board.dataplane.port_counters(4095).drops == {"queue_stale": 1}


async def test_related_errors_pass_translated():
    board = await QueueBoard.make(f"-A FORWARD -m conntrack --ctstate RELATED -p icmp {QUEUE}", mode=NetworkMode.NAT)
    board.listen(7)
    out = whole(board.pass_by("a", bytes(OUT))["u"])
    error = Ether(src=OUTSIDE, dst=UPLINK) / IP(src="192.0.2.9", dst="192.0.2.1") / ICMP(type=3, code=3) / out[IP]
    assert board.pass_by("u", bytes(error)) == {}
    back = whole(board.judge(board.packets[0])["a"])
    assert back[IP].dst == "10.0.0.11" and IP(bytes(back[ICMP].payload)).src == "10.0.0.11"


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize(("how", "proto"), [("tcp-reset", TCP), ("icmp-port-unreachable", ICMP)])
async def test_an_answer_of_ours_keeps_a_connection_that_never_was(how, proto, accept):
    board = await QueueBoard.make(f"-A FORWARD -p tcp -j REJECT --reject-with {how}", f"-A OUTPUT {QUEUE}")
    board.listen(7)
    assert board.pass_by("a", bytes(SYN)) == {} and board.drops("a") == {"rule_reject": 1}
    assert board.used() == 1
    out = board.judge(board.packets[0], accept=accept)
    assert board.used() == 0
    assert proto in whole(out["a"]) if accept else out == {}


async def test_untracked_and_zones_are_kept():
    board = await QueueBoard.make("-t raw -A PREROUTING -p udp --dport 2000 -j CT --notrack", "-t raw -A PREROUTING -j CT --zone 5",
                                  f"-t raw -A PREROUTING {QUEUE}", "-A FORWARD -m conntrack --ctstate UNTRACKED -j MARK --set-mark 1")
    board.listen(7)
    other = Ether(bytes(BRIDGED))
    other[UDP].dport, other[UDP].chksum = 2001, None
    board.pass_by("a", bytes(BRIDGED), bytes(other))
    for packet in board.packets:
        assert set(board.judge(packet)) == {"b"}
    assert board.dataplane.connections.zone_entries() == {5: 1}
