"""QUEUE and LOG in a running switch: the program of docs/queue.md, as it stands there, blocks a name between two guests."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.lab import Lab, require_root, wait_for
from tests.switchhost import LIMIT_S, SwitchHost

ROOT = Path(__file__).parents[2]
RULES = ("-A FORWARD -p udp --dport 53 -j LOG --log-prefix dns:", "-A FORWARD -p udp --dport 53 -j NFQUEUE --queue-num 53")


@pytest.fixture(scope="module")
def lab():
    require_root()
    with Lab() as lab:
        yield lab


def question(src: str, dst: str, name: str) -> bytes:
    return bytes(Ether(src=src, dst=dst) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1053, dport=53) / DNS(qd=DNSQR(qname=name)))


def documented_program() -> str:
    """The one Python program in the page."""
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/queue.md").read_text(), re.DOTALL)
    return program


def test_the_documented_program(lab):
    host = SwitchHost(lab, "host")
    guests = [host.guest("g1"), host.guest("g2")]
    host.start()
    asker, server = (host.wire(guest) for guest in guests)
    for guest in guests:
        host.wait_for_state(guest.name, "up")
    for words in RULES:
        host.ctl("iptables", *words.split())
    program = lab.path("dns_block.py")
    program.write_text(documented_program())

    def ask(name: str) -> bytes:
        frame = question(asker.mac, server.mac, name)
        asker.send(frame)
        return frame

    def drops() -> dict[str, int]:
        return host.stats(guests[0].name)["drops"]

    ask("www.example.net")
    wait_for(lambda: drops().get("queue_unattended"), LIMIT_S, "a question that nobody judges to be dropped")
    listener = lab.start(sys.executable, str(program), "example.com", str(host.run_dir), env={"PYTHONPATH": str(ROOT)})
    wait_for(lambda: "queue 53: somebody listens" in host.daemon.text(), LIMIT_S, "the program to listen")
    ask("www.Example.com")
    ask("example.com")
    free = ask("example.org")
    assert server.until(free, lambda frame: b"xample" in frame) == []
    wait_for(lambda: drops().get("queue_drop") == 2, LIMIT_S, "both blocked questions in the books")
    wait_for(lambda: host.daemon.text().count("dns:IN=br0 OUT=br0 PHYSIN=") == 4, LIMIT_S, "LOG's lines")
    assert f"PHYSIN={guests[0].name} PHYSOUT={guests[1].name} MAC={server.mac}:{asker.mac}:08:00 SRC=10.0.0.1 DST=10.0.0.2" in host.daemon.text()
    assert listener.alive(), listener.text()
    host.daemon.stop()
    assert not os.path.exists(host.run_dir / "queue.sock")
    wait_for(lambda: not listener.alive(), LIMIT_S, "the program to end with the switch")
