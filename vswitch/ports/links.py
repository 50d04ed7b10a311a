"""The service that knows about links: one thread, a mirror of every namespace that matters, news on the daemon's loop.

pyroute2 does not run on uvloop, so the watches (`watch.py`) live on a thread with a selector loop of its own. The own
namespace is watched from `start` to `stop`; a guest's namespace as long as somebody follows a link in it, by one socket
however many do. Following is by name, for that is what a port is known by: a renamed link is gone under its old name
and new under the other.

    links = Links()
    await links.start()
    unsubscribe = links.subscribe(print)                  # every LinkEvent of every watched namespace
    following = await links.follow("tapA", on_event)      # those about one name; following.link is how it is now
    following.cancel()
    await links.stop()

All methods belong to the event loop that called `start`; callbacks run there, in the order in which the kernel told.
Also here, because it lives exactly as long: the block that keeps the host's own stack off devices (`hoststack.py`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from vswitch.ports import netlink
from vswitch.ports.droptable import DropTable
from vswitch.ports.hoststack import HostStack
from vswitch.ports.netlink import Link
from vswitch.ports.netns import identity, inside, open_own
from vswitch.ports.watch import LinkEvent, LinkWatch

T = TypeVar("T")
Callback = Callable[[LinkEvent], object]


class Watched:
    """A namespace that is being watched, on behalf of `users` followers."""

    def __init__(self, watch: LinkWatch, drops: DropTable) -> None:
        self.watch = watch
        self.drops = drops
        self.users = 0

    def close(self) -> None:
        """Close both descriptors into the namespace."""
        self.watch.close()
        self.drops.close()


class Following:
    """A name that is followed in a namespace, until cancelled. `link` is the latest known; None where there is none."""

    def __init__(self, links: Links, netns: int, name: str, callback: Callback, drops: DropTable) -> None:
        self.netns = netns
        self.name = name
        self.link: Link | None = None
        self.drops = drops
        self._links: Links | None = links
        self._callback = callback
        self._told = self._begun = False

    def begin(self, link: Link | None) -> None:
        """Have the callback called from now on; `link` is how it is, unless newer news have come meanwhile."""
        if not self._told:
            self.link = link
        self._begun = True

    def tell(self, event: LinkEvent) -> None:
        """Take an event about this name."""
        self.link = None if event.gone else event.link
        self._told = True
        if self._begun:
            self._callback(event)

    def cancel(self) -> None:
        """Hear no more. Doing it twice does no harm."""
        if self._links is not None:
            self._links.unfollow(self)
            self._links = None


class Links:
    """The links of this host, as far as ports need them."""

    def __init__(self) -> None:
        self.host_stack = HostStack()
        self._home: asyncio.AbstractEventLoop | None = None
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="links", daemon=True)
        self._watched: dict[int, Watched] = {}  # by identity; the links thread's
        self._opening = asyncio.Lock()  # the links thread's
        self._own = 0
        self._subscribers: list[Callback] = []
        self._followers: defaultdict[tuple[int, str], list[Following]] = defaultdict(list)

    async def start(self) -> None:
        """Start the thread and mirror the own namespace's links. Raises OSError."""
        self._home = asyncio.get_running_loop()
        self._thread.start()
        namespace = open_own()
        try:
            self._own = identity(namespace)
            await self._there(self._acquire(namespace))
        finally:
            os.close(namespace)

    async def stop(self) -> None:
        """End the thread; nobody is told anything any more, and the block on the host's stack is lifted."""
        self._subscribers.clear()
        self._followers.clear()
        if self._thread.is_alive():
            await self._there(self._close_all())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
        self._loop.close()
        await self.host_stack.close()

    async def get(self, name: str) -> Link | None:
        """The own namespace's device of that name, or None; older news have been told by then. Raises OSError."""
        return await self._there(self._watched[self._own].watch.get(name))

    async def set(self, ifindex: int, **attributes: Any) -> None:
        """Change a link of the own namespace in one request (see `netlink.change_link`). Raises OSError."""
        await asyncio.to_thread(netlink.change_link, ifindex, **attributes)

    async def delete(self, ifindex: int) -> None:
        """Delete a link of the own namespace. Raises OSError."""
        await asyncio.to_thread(netlink.delete_link, ifindex)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have every event told; returns what ends it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    async def follow(self, name: str, callback: Callback, namespace: int | None = None) -> Following:
        """Have the events about one name told, in a namespace given by descriptor (None: the own one).

        Raises OSError; PermissionError where the namespace may not be entered.
        """
        owned = open_own() if namespace is None else os.dup(namespace)
        try:
            watched = await self._there(self._acquire(owned))
        finally:
            os.close(owned)
        following = Following(self, watched.watch.netns, name, callback, watched.drops)
        self._followers[following.netns, name].append(following)
        following.begin(await self._there(watched.watch.get(name)))
        return following

    def unfollow(self, following: Following) -> None:
        """What `Following.cancel` does."""
        key = following.netns, following.name
        followers = self._followers.get(key, [])
        if following in followers:
            followers.remove(following)
        if not followers:
            self._followers.pop(key, None)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release, following.netns)

    def _tell(self, event: LinkEvent) -> None:
        for callback in tuple(self._subscribers):
            callback(event)
        for following in tuple(self._followers.get((event.netns, event.link.name), ())):
            following.tell(event)

    # On the links thread from here on.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the links thread, and wait for it here."""
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return await asyncio.wrap_future(future)

    async def _acquire(self, namespace: int) -> Watched:
        async with self._opening:
            netns = identity(namespace)
            watched = self._watched.get(netns)
            if watched is None:
                watched = self._watched[netns] = await self._open(namespace, netns)
            watched.users += 1
            return watched

    async def _open(self, namespace: int, netns: int) -> Watched:
        with inside(namespace):
            sock, drops = netlink.monitor_socket(), DropTable()
        watched = Watched(LinkWatch(sock, netns, self._report), drops)
        await watched.watch.start()
        return watched

    def _report(self, event: LinkEvent) -> None:
        self._home.call_soon_threadsafe(self._tell, event)

    def _release(self, netns: int) -> None:
        watched = self._watched.get(netns)
        if watched is not None:
            watched.users -= 1
            if watched.users == 0:
                self._watched.pop(netns).close()

    async def _close_all(self) -> None:
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()
