"""The service that knows about links: one thread with a netlink socket, and news on the daemon's loop.

pyroute2 does not run on uvloop, so the watch (`watch.py`) lives on a thread with a selector loop of its own. It
mirrors our namespace from `start` to `stop`, and another one as long as somebody follows a link there. Following is by
name, for that is what a port is known by: a renamed link is gone under its old name and new under the other.

    links = Links()
    await links.start()
    unsubscribe = links.subscribe(print)                  # every LinkEvent
    following = await links.follow("tapA", on_event)      # those about one name; following.link is how it is now
    following.cancel()
    await links.stop()

All methods belong to the event loop that called `start`, but for those that say otherwise; callbacks run there, in the
order in which the kernel told. Also here, because they live exactly as long: the block that keeps the host's own stack
off devices (`hoststack.py`) and the reader of what the kernel dropped (`drops.py`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from vswitch.ports import netns
from vswitch.ports.drops import DropReader
from vswitch.ports.hoststack import HostStack
from vswitch.ports.netlink import Link
from vswitch.ports.netns import identity
from vswitch.ports.pool import in_thread
from vswitch.ports.watch import LinkEvent, LinkWatch

T = TypeVar("T")
Callback = Callable[[LinkEvent], object]


class Following:
    """A name that is followed in a namespace, until cancelled. `link` is the latest known; None where there is none."""

    def __init__(self, links: Links, name: str, nsid: int | None, callback: Callback) -> None:
        self.name = name
        self.nsid = nsid
        self.link: Link | None = None
        self._links = links
        self._callback = callback
        self._told = self._begun = self._cancelled = False

    def drops(self) -> int | None:
        """Frames that the kernel dropped on their way into the link, a tap, since it was made. From any thread."""
        link = self.link
        return None if link is None else self._links.drops.get(link.ifindex, self.nsid)

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
        if not self._cancelled:
            self._cancelled = True
            self._links.unfollow(self)


class Links:
    """The links of this host, as far as ports need them."""

    def __init__(self) -> None:
        self.host_stack = HostStack()
        self.drops = DropReader()
        self._home: asyncio.AbstractEventLoop | None = None
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="links", daemon=True)
        self._watch: LinkWatch | None = None  # the links thread's
        self._own = 0  # our namespace's identity
        self._subscribers: list[Callback] = []
        self._followers: defaultdict[tuple[int | None, str], list[Following]] = defaultdict(list)

    async def start(self) -> None:
        """Start the thread and mirror our namespace's links. Raises OSError."""
        self._home = asyncio.get_running_loop()
        self._own = identity(netns.OWN)
        self._thread.start()
        await self._there(self._open())

    async def stop(self) -> None:
        """End the thread; nobody is told anything any more, and the block on the host's stack is lifted."""
        self._subscribers.clear()
        self._followers.clear()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._close)
            await in_thread(self._thread.join)
        self._loop.close()
        self.drops.close()
        await self.host_stack.close()

    async def get(self, name: str) -> Link | None:
        """Our namespace's device of that name, or None; older news have been told by then. Raises OSError."""
        return await self._there(self._watch.get(name))

    async def change(self, ifindex: int, **changes: Any) -> None:
        """Change a link of our namespace (see `netlink.change_request`). Raises OSError."""
        await self._there(self._watch.change(ifindex, **changes))

    async def delete(self, ifindex: int) -> None:
        """Delete a link of our namespace. Raises OSError."""
        await self._there(self._watch.delete(ifindex))

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have every event told; returns what ends it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    async def follow(self, name: str, callback: Callback, namespace: int | None = None) -> Following:
        """Have the events about one name told, in a namespace given by descriptor (None: our own).

        Raises OSError; PermissionError where other namespaces cannot be heard (it takes CAP_NET_BROADCAST).
        """
        nsid = await self._there(self._begin_watch(namespace))
        following = Following(self, name, nsid, callback)
        self._followers[nsid, name].append(following)
        try:
            following.begin(await self._there(self._watch.get(name, nsid)))
        except OSError:
            following.cancel()
            raise
        return following

    def unfollow(self, following: Following) -> None:
        """What `Following.cancel` does."""
        key = following.nsid, following.name
        followers = self._followers.get(key, [])
        if following in followers:
            followers.remove(following)
        if not followers:
            self._followers.pop(key, None)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._watch.unwatch, following.nsid)

    def _tell(self, event: LinkEvent) -> None:
        for callback in tuple(self._subscribers):
            callback(event)
        for following in tuple(self._followers.get((event.nsid, event.link.name), ())):
            following.tell(event)

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the links thread and wait for it here."""
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return await asyncio.wrap_future(future)

    # On the links thread from here on.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> None:
        self._watch = LinkWatch(self._report)
        await self._watch.start()

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._loop.stop()

    async def _begin_watch(self, namespace: int | None) -> int | None:
        """Watch a namespace; returns its nsid, None for our own."""
        nsid = None
        if namespace is not None and identity(namespace) != self._own:
            if not self._watch.everywhere:
                raise PermissionError(errno.EPERM, "hearing of other namespaces takes CAP_NET_BROADCAST")
            nsid = await self._watch.nsid_of(namespace)
        await self._watch.watch(nsid)
        return nsid

    def _report(self, event: LinkEvent) -> None:
        self._home.call_soon_threadsafe(self._tell, event)
