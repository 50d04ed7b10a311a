"""A mirror of links that says what changed: of our namespace, and of those others that somebody wants to hear of.

All goes by one netlink socket, news and requests, so that an answer stands in line behind the news of everything that
happened before: when `get` or `change` has returned, those have been told. News from other namespaces come by it as
well (NETLINK_LISTEN_ALL_NSID), each marked with its nsid; None stands for our own. Only differences are reported: the
kernel repeats itself a lot.

The kernel drops messages when the socket's buffer is full (ENOBUFS). Nothing is lost by that: the watch reads all links
anew, reports what differs, what has gone among it, and asks again what it was asked.

All of it runs on the event loop it was started on (that of `links.py`, which is not the daemon's).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLMSG_DONE, NLMSG_ERROR, nlmsg
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_DELNSID, RTM_NEWLINK, RTM_NEWNSID
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

from vswitch.ports import netlink
from vswitch.ports.netlink import NETLINK_LISTEN_ALL_NSID, SOL_NETLINK, Link, parse_link

log = logging.getLogger(__name__)

RECEIVE_BYTES = 1 << 16
ANCILLARY_BYTES = socket.CMSG_SPACE(4)
NSID_MARK = [SOL_NETLINK, NETLINK_LISTEN_ALL_NSID]
NLM_F_DUMP_INTR = 0x10  # the links changed under the dump


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link that is new or has changed, or (`gone`) is no longer to be found in its namespace by that name."""

    link: Link
    nsid: int | None  # its namespace; None: our own
    gone: bool = False
    moved: bool = False  # gone because it went to another namespace


class _Overrun(Exception):
    """The kernel dropped messages, answers perhaps among them."""


@dataclass(slots=True)
class _Question:
    """A request under way; a message of the type `until`, or an error, ends it."""

    until: int
    nsid: int | None
    answer: asyncio.Future[nlmsg]


class LinkWatch:
    """The links of this and other namespaces; `report` is called with every change, on the loop."""

    def __init__(self, report: Callable[[LinkEvent], None]) -> None:
        self.links: dict[tuple[int | None, int], Link] = {}  # by nsid and ifindex
        self._report = report
        self._sock, self.everywhere = netlink.link_socket()
        self._port = self._sock.getsockname()[0]
        self._marshal = MarshalRtnl()
        self._marshal.msg_map[RTM_DELNSID] = nsidmsg
        self._watched: Counter[int | None] = Counter()
        self._sequence = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._seen: set[tuple[int | None, int]] | None = None  # the links shown since the running dump's first answer
        self._torn = False  # the links changed under the running dump
        self._dumping = asyncio.Lock()
        self._stale = False  # news have been lost since the running resync began
        self._resyncing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and mirror our own namespace. Raises OSError."""
        asyncio.get_running_loop().add_reader(self._sock, self._receive)
        await self.watch(None)

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._sock)
        if self._resyncing is not None:
            self._resyncing.cancel()
        self._sock.close()

    async def watch(self, nsid: int | None) -> None:
        """Mirror a namespace, until `unwatch` has been called as often. Raises OSError."""
        self._watched[nsid] += 1
        if self._watched[nsid] == 1:
            try:
                await self._dump(nsid)
            except OSError:
                self.unwatch(nsid)
                raise

    def unwatch(self, nsid: int | None) -> None:
        """Undo one `watch`."""
        self._watched[nsid] -= 1
        if self._watched[nsid] <= 0:
            del self._watched[nsid]
            for key in self._keys(nsid):
                del self.links[key]

    async def nsid_of(self, namespace: int) -> int:
        """The nsid of another namespace, given by a descriptor; it gets one if it has none. Raises OSError."""
        if (nsid := await self._ask_nsid(namespace)) < 0:
            try:
                await self._ask(netlink.new_nsid_request(namespace), NLMSG_ERROR)
            except FileExistsError:
                pass  # somebody else was faster
            nsid = await self._ask_nsid(namespace)
        return nsid

    async def _ask_nsid(self, namespace: int) -> int:
        answer = await self._ask(netlink.nsid_request(namespace), RTM_NEWNSID)
        return struct.unpack("i", struct.pack("I", answer.get_attr("NETNSA_NSID")))[0]

    async def get(self, name: str, nsid: int | None = None) -> Link | None:
        """The link of that name as it is now, or None. Raises OSError."""
        try:
            return parse_link(await self._ask(netlink.get_request(nsid, name=name), RTM_NEWLINK, nsid))
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EINVAL):  # EINVAL: nor such a namespace
                return None
            raise

    async def change(self, ifindex: int, **changes: Any) -> None:
        """Change a link of our namespace (see `netlink.change_request`). Raises OSError."""
        await self._ask(netlink.change_request(ifindex, **changes), NLMSG_ERROR)

    async def delete(self, ifindex: int) -> None:
        """Delete a link of our namespace. Raises OSError."""
        await self._ask(netlink.delete_request(ifindex), NLMSG_ERROR)

    async def _dump(self, nsid: int | None) -> None:
        """Read all links of a namespace until they hold still; what is not among them has gone."""
        async with self._dumping:
            self._torn = True
            while self._torn:
                self._seen, self._torn = None, False
                try:
                    await self._ask_once(netlink.dump_request(nsid), NLMSG_DONE, nsid)
                except _Overrun:
                    self._torn = True
            seen, self._seen = self._seen or set(), None
        for key in self._keys(nsid):
            if key not in seen:
                self._forget(key)

    async def _ask(self, request: nlmsg, until: int, nsid: int | None = None) -> nlmsg:
        while True:
            try:
                return await self._ask_once(request, until, nsid)
            except _Overrun:
                continue

    async def _ask_once(self, request: nlmsg, until: int, nsid: int | None) -> nlmsg:
        sequence = next(self._sequence)
        request["header"].update(sequence_number=sequence, pid=self._port)
        request.reset()
        request.encode()
        question = self._questions[sequence] = _Question(until, nsid, asyncio.get_running_loop().create_future())
        try:
            self._sock.send(request.data)
            return await question.answer
        finally:
            del self._questions[sequence]

    def _receive(self) -> None:
        """Take all there is; only then ask for what an overrun took away: a full buffer has no room for answers."""
        overrun = False
        while True:
            try:
                data, ancillary, *_ = self._sock.recvmsg(RECEIVE_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overrun = True
                continue
            nsid = next((struct.unpack("i", value)[0] for *what, value in ancillary if what == NSID_MARK), None)
            if nsid is None or nsid in self._watched:
                for message in self._marshal.parse(data):
                    self._take(message, nsid)
        if overrun:
            self._overrun()

    def _overrun(self) -> None:
        log.warning("netlink: the kernel dropped news of links; reading all links again")
        for question in self._questions.values():
            if not question.answer.done():
                question.answer.set_exception(_Overrun())
        self._stale = True
        if self._resyncing is None or self._resyncing.done():
            self._resyncing = asyncio.get_running_loop().create_task(self._resync())

    async def _resync(self) -> None:
        while self._stale:
            self._stale = False
            for nsid in tuple(self._watched):
                await self._dump(nsid)

    def _take(self, message: nlmsg, nsid: int | None) -> None:
        header = message["header"]
        question = self._questions.get(header["sequence_number"]) if header["pid"] == self._port else None
        if header["type"] in (RTM_NEWLINK, RTM_DELLINK):
            if message["family"] != socket.AF_UNSPEC:
                return  # a kernel bridge about its ports
            if question is not None and question.until == NLMSG_DONE and self._seen is None:
                self._seen = set()  # what was announced before this is older than the dump
            self._mirror(message, question.nsid if question else nsid)
        elif header["type"] == RTM_DELNSID:
            for key in self._keys(message.get_attr("NETNSA_NSID")):
                self._forget(key)
        if question is not None and not question.answer.done():
            self._answer(question, message)

    def _answer(self, question: _Question, message: nlmsg) -> None:
        header = message["header"]
        self._torn |= bool(header["flags"] & NLM_F_DUMP_INTR)
        if header["error"] is not None:
            number = header["error"].code
            question.answer.set_exception(OSError(number, os.strerror(number)))
        elif header["type"] == question.until:
            question.answer.set_result(message)

    def _mirror(self, message: nlmsg, nsid: int | None) -> None:
        link, key = parse_link(message), (nsid, message["index"])
        if message["header"]["type"] == RTM_DELLINK:
            self._forget(key, moved=message.get("new_netnsid") is not None)
            return
        if self._seen is not None:
            self._seen.add(key)
        old = self.links.get(key)
        if old == link or nsid not in self._watched:
            return
        self.links[key] = link
        if old is not None and old.name != link.name:
            self._report(LinkEvent(old, nsid, gone=True))
        self._report(LinkEvent(link, nsid))

    def _forget(self, key: tuple[int | None, int], *, moved: bool = False) -> None:
        link = self.links.pop(key, None)
        if link is not None:
            self._report(LinkEvent(link, key[0], gone=True, moved=moved))

    def _keys(self, nsid: int | None) -> list[tuple[int | None, int]]:
        """The links known in a namespace."""
        return [key for key in self.links if key[0] == nsid]
