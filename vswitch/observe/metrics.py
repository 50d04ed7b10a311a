"""GET /metrics: the switch's numbers for Prometheus, over TCP.

`MetricsServer` runs in the daemon's loop. A scrape looks at the switch on the loop, where the control side's state
may be read, and is then rendered and compressed by one thread beside it: ten thousand samples take 129 ms, which
the loop cannot spare; nor can it the look at every connection that goes before. One thread, so that many scrapers queue up rather than crowd out the workers.

The text is Prometheus' own format or OpenMetrics, whichever the scraper asks for, and gzip where it accepts it.

Thread safety: all methods belong to the loop's thread; the rendering thread sees only an immutable snapshot.
"""

import asyncio
import errno
import gzip
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder, gzip_accepted

from ..config.errors import Problem
from ..config.text import split_listen
from .collector import Observed, Snapshot, SwitchCollector

SHUTDOWN_S = 0.5  # grace for a scrape under way when the server stops
IDLE_S = 75.0  # a connection that asks for nothing is closed; scrapes come every minute at least

REMEDIES = {
    errno.EADDRINUSE: "the address is in use by another program; choose a free port, or 0 for any",
    errno.EADDRNOTAVAIL: "this host has no such address; choose one of its own",
    errno.EACCES: "the port needs more privilege than the daemon has; choose one above 1023",
}


class MetricsError(Exception):
    """The metrics cannot be served where the configuration wants them. The text names path, value and remedy."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """A rendered scrape."""

    body: bytes
    headers: dict[str, str]


def render(snapshot: Snapshot, accept: str, accept_encoding: str) -> Exposition:
    """Write a snapshot and the process's own metrics in the format the two request headers ask for."""
    registry = CollectorRegistry()
    registry.register(SwitchCollector(snapshot))
    ProcessCollector(registry=registry)
    encoder, content_type = choose_encoder(accept)
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    body = encoder(registry)
    if gzip_accepted(accept_encoding):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=6)
    return Exposition(body, headers)


class MetricsServer:
    """Serves /metrics of one switch on at most one address."""

    def __init__(self, switch: Observed) -> None:
        self._switch = switch
        self._listen = ""
        self._runner: web.AppRunner | None = None
        self._renderer: ThreadPoolExecutor | None = None

    @property
    def address(self) -> str | None:
        """Where the metrics are served now, with the actual port; None: nowhere."""
        if self._runner is None:
            return None
        host, port = self._runner.addresses[0][:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self, listen: str) -> str | None:
        """Serve on `listen` from now on, and only there; "" serves nowhere. Returns the actual address.

        Raises MetricsError if that cannot be; the metrics then stay where they were.
        """
        if listen == self._listen:
            return self.address
        before, address_before = self._listen, self.address
        await self.stop()  # first: the new address may be the old port on more or fewer interfaces
        if not listen:
            return None
        try:
            await self._open(listen, listen)
        except MetricsError:
            if address_before is not None:
                await self._open(before, address_before)
            raise
        return self.address

    async def stop(self) -> None:
        """Close the socket; a scrape under way has half a second to end."""
        runner, renderer = self._runner, self._renderer
        self._runner = self._renderer = None
        self._listen = ""
        if runner is not None and renderer is not None:
            await runner.cleanup()
            renderer.shutdown(wait=False, cancel_futures=True)

    async def _open(self, listen: str, address: str) -> None:
        """Serve on `address`; `listen` is how the configuration puts it."""
        app = web.Application()
        app.router.add_get("/metrics", self._scrape)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=IDLE_S, shutdown_timeout=SHUTDOWN_S)
        try:
            host, port = split_listen(address)
            await runner.setup()
            await web.TCPSite(runner, host or None, port).start()
        except (OSError, ValueError) as error:
            await runner.cleanup()
            raise _refusal(listen, error) from error
        self._runner, self._listen = runner, listen
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    async def _scrape(self, request: web.Request) -> web.Response:
        accept = ",".join(request.headers.getall("Accept", []))
        accept_encoding = ",".join(request.headers.getall("Accept-Encoding", []))
        loop = asyncio.get_running_loop()
        census = await loop.run_in_executor(self._renderer, self._switch.census)
        snapshot = Snapshot.take(self._switch, census)
        page = await loop.run_in_executor(self._renderer, render, snapshot, accept, accept_encoding)
        return web.Response(body=page.body, headers=page.headers)


def _refusal(listen: str, error: OSError | ValueError) -> MetricsError:
    right = str(error)
    if isinstance(error, OSError):
        right = REMEDIES.get(error.errno, error.strerror or right)
    return MetricsError(Problem("metrics.listen", right, listen).line())
