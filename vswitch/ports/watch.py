"""A mirror of one namespace's links that says what changed.

The watch owns a netlink socket in the namespace. Links are announced on it, and requests go by the same socket, so that
an answer stands in line behind the announcements of everything that happened before it: after `get` has returned, all
older news have been told. Only differences are reported: the kernel repeats itself a lot.

The kernel drops announcements when the socket's buffer is full (ENOBUFS). Nothing is lost by that: the watch dumps all
links anew and reports what differs, including what has gone meanwhile.

All of it runs on the event loop it was made for (that of `links.py`, which is not the daemon's).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

from pyroute2.netlink import NLM_F_DUMP, NLM_F_MULTI, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from vswitch.ports.netlink import Link, parse_link

log = logging.getLogger(__name__)

RECEIVE_BYTES = 1 << 16
NLM_F_DUMP_INTR = 0x10  # the links changed under the dump


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link that is new or has changed, or (`gone`) is no longer to be found in the namespace by that name."""

    link: Link
    netns: int  # the namespace's identity
    gone: bool = False
    moved: bool = False  # gone because it went to another namespace


class _Overrun(Exception):
    """The kernel dropped messages, answers perhaps among them."""


class LinkWatch:
    """The links of the namespace `sock` belongs to; `report` is called with every change, on the loop."""

    def __init__(self, sock: socket.socket, netns: int, report: Callable[[LinkEvent], None]) -> None:
        self.netns = netns
        self.links: dict[int, Link] = {}
        self._sock = sock
        self._port = sock.getsockname()[0]
        self._report = report
        self._marshal = MarshalRtnl()
        self._sequence = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Link | None]] = {}
        self._seen: set[int] | None = None  # the links that the running dump has shown
        self._again = False  # the running dump is worth nothing
        self._resyncing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and read all links; what they are at first is not reported."""
        asyncio.get_running_loop().add_reader(self._sock, self._receive)
        report, self._report = self._report, lambda event: None
        await self._resync()
        self._report = report

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._sock)
        if self._resyncing is not None:
            self._resyncing.cancel()
        self._sock.close()

    async def get(self, name: str) -> Link | None:
        """The link of that name as it is now; what happened to links before has been reported by then."""
        while True:
            try:
                return await self._ask(NLM_F_REQUEST, name)
            except _Overrun:
                continue

    async def _resync(self) -> None:
        while True:
            self._seen, self._again = set(), False
            try:
                await self._ask(NLM_F_REQUEST | NLM_F_DUMP)
            except _Overrun:
                continue
            if not self._again:
                break
        seen, self._seen = self._seen, None
        for ifindex in self.links.keys() - seen:
            self._forget(ifindex, moved=False)

    async def _ask(self, flags: int, name: str | None = None) -> Link | None:
        request = ifinfmsg()
        sequence = next(self._sequence)
        request["header"].update(type=RTM_GETLINK, flags=flags, sequence_number=sequence, pid=self._port)
        if name is not None:
            request["attrs"].append(("IFLA_IFNAME", name))
        request.encode()
        answer = self._waiting[sequence] = asyncio.get_running_loop().create_future()
        try:
            self._sock.send(request.data)
            return await answer
        finally:
            del self._waiting[sequence]

    def _receive(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._overrun()
            return
        for message in self._marshal.parse(data):
            self._take(message)

    def _overrun(self) -> None:
        log.warning("netlink: news of links were lost; reading all links again")
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_Overrun())
        if self._seen is None:
            self._resyncing = asyncio.get_running_loop().create_task(self._resync())

    def _take(self, message: ifinfmsg) -> None:
        header = message["header"]
        link = None
        if header["type"] in (RTM_NEWLINK, RTM_DELLINK):
            if message["family"] != socket.AF_UNSPEC:
                return  # a kernel bridge about its ports
            link = parse_link(message)
            if header["type"] == RTM_NEWLINK:
                self._learn(link)
            else:
                self._forget(link.ifindex, moved=message.get("new_netnsid") is not None)
        if header["pid"] == self._port:
            self._again |= bool(header["flags"] & NLM_F_DUMP_INTR)
            self._answer(header, link)

    def _answer(self, header: dict, link: Link | None) -> None:
        answer = self._waiting.get(header["sequence_number"])
        if answer is None or answer.done():
            return
        part_of_dump = header["flags"] & NLM_F_MULTI and header["type"] not in (NLMSG_DONE, NLMSG_ERROR)
        if not part_of_dump:
            answer.set_result(link)

    def _learn(self, link: Link) -> None:
        if self._seen is not None:
            self._seen.add(link.ifindex)
        old = self.links.get(link.ifindex)
        if old == link:
            return
        self.links[link.ifindex] = link
        if old is not None and old.name != link.name:
            self._report(LinkEvent(old, self.netns, gone=True))
        self._report(LinkEvent(link, self.netns))

    def _forget(self, ifindex: int, *, moved: bool) -> None:
        link = self.links.pop(ifindex, None)
        if link is not None:
            self._report(LinkEvent(link, self.netns, gone=True, moved=moved))
