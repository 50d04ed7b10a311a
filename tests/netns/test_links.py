"""News of links: what the kernel announces arrives on the daemon's loop, once, in order, from any namespace."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import pytest
import uvloop

from tests.lab import NETNS_DIR, Lab, wait_until
from vswitch.ports import Links
from vswitch.ports.watch import LinkEvent

LIMIT_S = 5.0
LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Ear:
    """A callback that remembers."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []

    def __call__(self, event: LinkEvent) -> None:
        self.events.append(event)

    async def hears(self, predicate: Callable[[LinkEvent], bool], what: str) -> LinkEvent:
        return await wait_until(lambda: next(filter(predicate, self.events), None), LIMIT_S, what)


async def test_a_link_that_comes_changes_and_goes(lab: Lab, links: Links) -> None:
    name, ear = lab.name("a"), Ear()
    following = await links.follow(name, ear)
    assert following.link is None
    lab.veth("a", "b")
    await ear.hears(lambda event: event.link.up and event.link.carrier, "the link to be up")
    lab.ip("link", "set", name, "mtu", "1400")
    await ear.hears(lambda event: event.link.mtu == 1400, "the MTU")
    lab.ip("link", "set", lab.name("b"), "down")
    await ear.hears(lambda event: event.link.mtu == 1400 and not event.link.carrier, "the carrier to go")
    lab.ip("link", "del", name)
    await ear.hears(lambda event: event.gone and not event.moved, "the end")
    assert following.link is None and all(event.link.name == name for event in ear.events)
    following.cancel()


async def test_only_what_differs_is_told(lab: Lab, links: Links) -> None:
    near, _ = lab.veth("a", "b")
    ear = Ear()
    following = await links.follow(near, ear)
    assert following.link.up and following.link.carrier and following.link.kind == "veth"
    lab.ip("link", "set", near, "up", "mtu", str(following.link.mtu))
    assert await links.get(near) == following.link
    assert ear.events == []


async def test_a_new_name_is_another_link(lab: Lab, links: Links) -> None:
    near, _ = lab.veth("a", "b")
    old, new = Ear(), Ear()
    await links.follow(near, old)
    await links.follow(lab.name("c"), new)
    lab.ip("link", "set", near, "down")
    lab.ip("link", "set", near, "name", lab.name("c"))
    lab.forget_device(lab.name("c"))
    ended = await old.hears(lambda event: event.gone, "the old name to end")
    begun = await new.hears(lambda event: not event.gone, "the new name to begin")
    assert ended.link.ifindex == begun.link.ifindex


async def test_a_link_that_moves_is_gone_here_and_new_there(lab: Lab, links: Links) -> None:
    near, _ = lab.veth("a", "b")
    guest = lab.namespace("g")
    here, there = Ear(), Ear()
    await links.follow(near, here)
    namespace = os.open(NETNS_DIR / guest, os.O_RDONLY)
    following = await links.follow(near, there, namespace)
    os.close(namespace)
    assert following.nsid is not None and following.link is None
    lab.ip("link", "set", near, "netns", guest)
    await here.hears(lambda event: event.gone and event.moved, "it to leave")
    await there.hears(lambda event: not event.gone, "it to arrive")
    lab.ip("link", "set", near, "mtu", "1300", netns=guest)
    await there.hears(lambda event: event.link.mtu == 1300, "what happens to it there")
    lab.run("ip", "netns", "del", guest)
    await there.hears(lambda event: event.gone, "its namespace to end: nothing of ours may hold it")


async def test_a_kernel_bridge_letting_go_of_a_port_is_not_its_end(lab: Lab, links: Links) -> None:
    near, _ = lab.veth("a", "b")
    lab.bridge("br", near)
    ear = Ear()
    await links.follow(near, ear)
    lab.ip("link", "set", near, "nomaster")
    assert await links.get(near) is not None
    assert not any(event.gone for event in ear.events)


async def test_lost_news_are_made_up_for(lab: Lab, links: Links, caplog: pytest.LogCaptureFixture) -> None:
    near, _ = lab.veth("a", "b")
    gone, _ = lab.veth("c", "d")
    ear = Ear()
    await links.follow(near, ear)
    await links.follow(gone, ear)
    links._watch._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    halt = asyncio.run_coroutine_threadsafe(_flood(lab, near, gone), links._loop)
    await asyncio.wrap_future(halt)
    await ear.hears(lambda event: event.link.name == near and event.link.mtu == 1333, "the last MTU")
    await ear.hears(lambda event: event.link.name == gone and event.gone, "the end of the other")
    assert "reading all links again" in caplog.text


async def _flood(lab: Lab, changed: str, deleted: str) -> None:
    """Keep the links thread from reading while links change more often than its socket has room for."""
    for mtu in range(1300, 1334):
        lab.ip("link", "set", changed, "mtu", str(mtu))
    lab.ip("link", "del", deleted)


async def test_who_has_cancelled_hears_no_more(lab: Lab, links: Links) -> None:
    near, _ = lab.veth("a", "b")
    ear, everything = Ear(), Ear()
    following = await links.follow(near, ear)
    unsubscribe = links.subscribe(everything)
    following.cancel()
    lab.ip("link", "set", near, "mtu", "1400")
    await everything.hears(lambda event: event.link.mtu == 1400, "the MTU")
    unsubscribe()
    lab.ip("link", "set", near, "mtu", "1410")
    assert (await links.get(near)).mtu == 1410
    assert ear.events == [] and all(event.link.mtu != 1410 for event in everything.events)


async def test_stopping_what_was_never_started() -> None:
    await Links().stop()
