"""The kernel as a router: a namespace of its own with two taps, which this process holds.

What is written to a tap is routed in the context of the write: when write() returns, what the kernel sends out of the
other tap is there to read. So nothing here waits, and 100 packets take a millisecond. Taps also show frames as they
are: no offload merges or defers anything.

iptables-legacy is used, not iptables-nft, since it loads five tables in 2 ms instead of 55 and counts the same. It
would let connection tracking begin with the first rule that needs it; a table of nftables without any hook holds it on.

Everything that must run inside the namespace does so on one thread that stays there, for entering is dear and
children inherit it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.lab import Closing, Lab, inside
from tests.oracle import topology
from tests.oracle.proc import connections
from tests.oracle.rules import TABLES
from tests.oracle.subject import Connection, Outcome

T = TypeVar("T")

FRAME_MAX = 65536
TOOLS = {4: "iptables-legacy", 6: "ip6tables-legacy"}

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000

# linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h: delete without saying which
NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_DELETE = 2
FLUSH = struct.pack("=IHHIIBBH", 20, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 5, 1, 0, socket.AF_UNSPEC, 0, 0)

TRACK_ALWAYS = "table inet track {\n chain unhooked {\n  ct state new\n }\n}\n"

# Forward, take any source, say every error at once, keep fragments until the namespace goes: no clock decides.
SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/{all,default,a,b}/rp_filter": 0,
    "net/ipv4/conf/{all,default,a,b}/send_redirects": 0,
    "net/ipv4/icmp_ratelimit": 0,
    "net/ipv4/icmp_ratemask": 0,
    "net/ipv6/icmp/ratelimit": 0,
    "net/ipv6/icmp/ratemask": "",
    "net/ipv6/auto_flowlabels": 0,
    "net/ipv4/ip_no_pmtu_disc": 2,
    "net/ipv6/route/mtu_expires": 0,
    "net/ipv4/ipfrag_time": 3600,
    "net/ipv6/ip6frag_time": 3600,
    "net/netfilter/nf_conntrack_frag6_timeout": 3600,
}
MUTE = "addrgenmode none arp off multicast off"  # else IPv6 joins groups, and reports so when a timer says
RENEW_AFTER = 100  # resets: fragments that never end go with the namespace, before identifications come round again

# A restore leaves alone what its text does not name.
BLANK = "".join(
    "".join((f"*{table}\n", *(f":{chain} ACCEPT [0:0]\n" for chain in chains), "COMMIT\n"))
    for table, chains in TABLES.items()
)


class KernelSubject(Closing):
    """The kernel's netfilter; `with KernelSubject() as kernel`, as root."""

    def __init__(self, name: str = "kernel") -> None:
        self.name = name
        self._sysctls: dict[str, object] = dict(SYSCTLS)
        self._resets = 0
        self._undo = contextlib.ExitStack()
        self._taps: dict[str, int] = {}
        self._open()

    def close(self) -> None:
        """Take the namespace down."""
        self._undo.close()

    def reset(self) -> None:
        """Forget all connections; now and then, with a new namespace, unfinished fragments too."""
        self._resets += 1
        if self._resets % RENEW_AFTER == 0:
            self.close()
            self._open()
        self._netlink.send(FLUSH)
        error = struct.unpack_from("=i", self._netlink.recv(4096), 16)[0]
        if error:
            raise OSError(-error, "flushing the connection table")

    def load(self, ipv4_rules: str, ipv6_rules: str) -> None:
        """Put rules in force by iptables-restore."""
        for family, text in ((4, ipv4_rules), (6, ipv6_rules)):
            self._tool(f"{TOOLS[family]}-restore", text=BLANK + text)

    def send(self, port: str, frame: bytes) -> list[Outcome]:
        """Write a frame to a tap, read what has come out of both."""
        os.write(self._taps[port], frame)
        return [(name, out) for name, fd in self._taps.items() for out in _waiting(fd)]

    def conntrack(self) -> list[Connection]:
        """The connection table as /proc shows it."""
        return connections(self._within(Path("/proc/thread-self/net/nf_conntrack").read_text))

    def counters(self) -> dict[int, str]:
        """The rules with their counters."""
        return {family: self._tool(f"{tool}-save", "-c") for family, tool in TOOLS.items()}

    def refuses(self, family: int, rules: str) -> str:
        """What iptables-restore or the kernel has against rules; nothing if they are now in force."""
        try:
            self._tool(f"{TOOLS[family]}-restore", text=rules)
        except RuntimeError as error:
            return str(error)
        return ""

    def sysctl(self, path: str, value: object) -> None:
        """Set one of the namespace's sysctls."""
        self._sysctls[path] = value
        self._lab.sysctl(path, value, netns=self._netns)

    def _open(self) -> None:
        self._lab = lab = self._undo.enter_context(Lab())
        self._netns = lab.namespace("k", ipv6=True)
        self._lock = str(lab.path("xtables.lock"))
        self._inhabitant = ThreadPoolExecutor(1)
        self._undo.callback(self._inhabitant.shutdown)
        self._inhabitant.submit(self._move_in).result()
        self._undo.callback(lambda: self._within(self._stay.close))
        with inside(self._netns):
            self._taps = {port: self._tap(port) for port in topology.PORTS}
            self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._undo.enter_context(self._netlink)
        self._configure()

    def _move_in(self) -> None:
        """Enter until the subject closes. Make sure of it: what follows would replace the machine's own rules."""
        home = os.readlink("/proc/self/ns/net")
        self._stay = contextlib.ExitStack()
        self._stay.enter_context(inside(self._netns))
        if os.readlink("/proc/thread-self/ns/net") == home:
            raise RuntimeError("still in the machine's own network namespace")

    def _tap(self, name: str) -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        self._undo.callback(os.close, fd)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        return fd

    def _configure(self) -> None:
        words = []
        for device in topology.devices():
            words.append(f"link set dev {device.name} address {device.mac} {MUTE}")
            words += [f"address add {address} dev {device.name} nodad" for address in device.addresses]
            words.append(f"link set dev {device.name} up")
        for port, address, mac in topology.neighbours():
            words.append(f"neighbour add {address} lladdr {mac} dev {port} nud permanent")
        self._tool("ip", "-batch", "-", text="\n".join(words))
        self._tool("nft", "-f", "-", text=TRACK_ALWAYS)
        for pattern, value in self._sysctls.items():
            for path in _spread(pattern):
                self._lab.sysctl(path, value, netns=self._netns)

    def _within(self, action: Callable[[], T]) -> T:
        return self._inhabitant.submit(action).result()

    def _tool(self, *argv: str, text: str = "") -> str:
        environment = dict(os.environ, XTABLES_LOCKFILE=self._lock)
        done = self._within(
            lambda: subprocess.run(argv, input=text, env=environment, capture_output=True, text=True)  # noqa: S603
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout


def _waiting(fd: int) -> list[bytes]:
    frames = []
    while True:
        try:
            frame = os.read(fd, FRAME_MAX)
        except BlockingIOError:
            return frames
        frames.append(frame)


def _spread(pattern: str) -> list[str]:
    head, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    choices, _, tail = rest.partition("}")
    return [head + choice + tail for choice in choices.split(",")]
