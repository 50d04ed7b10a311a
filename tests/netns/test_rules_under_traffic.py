"""Rules change while connections come and go: nothing crashes, nothing leaks, no frame is lost, the books balance."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root, wait_for
from tests.routerhost import RouterHost, datagram, listening, repeating
from tests.switchhost import LIMIT_S, Guest, balance
from tests.webserver import require_web_tools, short_connections, start_nginx

GATEWAY, GUEST, NEIGHBOUR = "10.0.0.1", "10.0.0.2", "10.0.0.3"
UPLINK, WORLD = "203.0.113.2", "203.0.113.254"
CONNECTIONS = 4_000
RULES = 1_000
STREAM_STEP_S, STREAM_BURST = 0.002, 4
# Long enough for a segment that is sent again, short enough to be waited for.
SHORT = {"tcp_time_wait": 1, "tcp_close": 1, "udp": 1, "udp_stream": 1} | dict.fromkeys(
    ("tcp_established", "tcp_fin_wait", "tcp_last_ack", "tcp_close_wait", "tcp_syn_sent", "tcp_syn_recv"), 3
)


class Site:
    """Two guests behind NAT on one bridge, with hooks; and the world, with a web server."""

    def __init__(self, lab: Lab, workers: int) -> None:
        self.host = host = RouterHost(lab, "h", workers=workers)
        self.guest = host.station("g", f"{GUEST}/24", gateway=GATEWAY)
        self.neighbour = host.station("n", f"{NEIGHBOUR}/24", gateway=GATEWAY)
        self.world = host.uplink("w", f"{UPLINK}/24", f"{WORLD}/24", gateway=WORLD)
        host.network("br0", f"{GATEWAY}/24", mode="nat")
        host.conntrack_keys["timeouts"] = SHORT
        host.start()
        self.web_servers = False

    def serve(self) -> None:
        """Have web servers outside and beside the guest."""
        require_web_tools()
        if not self.web_servers:
            for machine, address in ((self.world, WORLD), (self.neighbour, NEIGHBOUR)):
                start_nginx(self.host.lab, machine.netns, address, 80)
        self.web_servers = True

    def restore(self, generation: int) -> None:
        """A thousand rules that let everything pass, different ones each time."""
        rules = "".join(
            f"-A FORWARD -s 10.{i >> 8}.{i & 255}.{generation & 255} -p udp --dport {1000 + i} -j DROP\n"
            for i in range(RULES)
        )
        nat = "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
        self.host.rules("iptables-restore", f"*filter\n:FORWARD ACCEPT\n{rules}COMMIT\n{nat}")

    def insert_and_delete(self, generation: int) -> None:
        """Single rules, as by hand, in a table that the restore leaves alone."""
        rule = ["FORWARD", "-t", "mangle", "-p", "tcp", "--dport", str(1000 + generation), "-j", "DROP"]
        for command in ("-I", "-D"):
            body = {"program": "iptables", "argv": [command, *rule], "stdin": ""}
            answer = self.host.post("iptables", body)
            assert answer["code"] == 0, answer


@pytest.fixture(scope="module", params=[2, 4], ids=["2 workers", "4 workers"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab, request.param)


def test_connections_come_and_go_while_rules_change(site: Site) -> None:
    host, lab = site.host, site.host.lab
    site.serve()
    with repeating(site.restore) as restored, repeating(site.insert_and_delete) as changed:
        for address in (WORLD, NEIGHBOUR):
            assert short_connections(lab, site.guest.netns, f"http://{address}/", CONNECTIONS // 2) >= CONNECTIONS // 2
    assert len(restored) > 1 and len(changed) > 1
    assert host.daemon.alive() and "Traceback" not in host.daemon.text()
    wait_for(lambda: host.count() == 0, LIMIT_S, "all connections to time out")
    wait_for(lambda: not any(map(balance, host.get("stats"))), LIMIT_S, "the books to balance")
    assert not {"nat_exhausted", "conntrack_full", "rule_filter", "rule_nat"} & host.drops().keys(), host.drops()


def test_a_flush_forgets_all_while_they_come(site: Site) -> None:
    host, lab = site.host, site.host.lab
    site.serve()
    with repeating(lambda _: host.flush()):
        wrk = ["wrk", "-t", "1", "-c", "8", "-d", "1s", "-H", "Connection: close", f"http://{WORLD}/"]
        lab.run(*wrk, netns=site.guest.netns)  # those under way at a flush lose their addresses, and fail
    host.flush()
    wait_for(lambda: host.count() == 0, LIMIT_S, "no connection to be left")
    wait_for(lambda: not any(map(balance, host.get("stats"))), LIMIT_S, "the books to balance")
    assert host.daemon.alive() and "Traceback" not in host.daemon.text()


@pytest.mark.parametrize("where", ["routed", "bridged"])
def test_a_restore_loses_no_frame_of_a_flow(site: Site, where: str) -> None:
    receiver, address = (site.world, WORLD) if where == "routed" else (site.neighbour, NEIGHBOUR)
    site.restore(0)
    with Stream(site.guest, receiver, address) as stream:
        stream.goes_on()
        for generation in range(1, 6):
            site.restore(generation)
            stream.goes_on()
    assert stream.received == list(range(stream.sent))


class Stream:
    """Numbered datagrams from one machine to another."""

    def __init__(self, sender: Guest, receiver: Guest, address: str) -> None:
        self.sent = 0
        self.received: list[int] = []
        self._listening = listening(receiver.netns, address, socket.SOCK_DGRAM)
        self._sender = datagram(sender.netns)
        self._ending = threading.Event()

    def __enter__(self) -> Stream:
        self._receiver = self._listening.__enter__()
        self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._sender.connect(self._receiver.getsockname())
        self._answered()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()
        return self

    def _answered(self) -> None:
        """Both ways once: from now on it is an established flow."""
        self._sender.send(b"hello")
        message, peer = self._receiver.recvfrom(64)
        self._receiver.sendto(message, peer)
        assert self._sender.recv(64) == b"hello"

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._listening.__exit__(None, None, None)

    def goes_on(self) -> None:
        """Wait until some more have been sent."""
        goal = self.sent + 100
        wait_for(lambda: self.sent >= goal, LIMIT_S, "the stream to go on")

    def _send(self) -> None:
        while not self._ending.wait(STREAM_STEP_S):
            for _ in range(STREAM_BURST):
                self._sender.send(struct.pack("!I", self.sent))
                self.sent += 1
        self._sender.send(b"the end")

    def _receive(self) -> None:
        while (message := self._receiver.recv(64)) != b"the end":
            self.received.append(*struct.unpack("!I", message))
