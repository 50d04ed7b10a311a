"""Questions passed on to the configured servers, one after another until one answers.

Whoever would forge an answer has to guess the id and the port it is for: both are new for every attempt, from the
system's randomness and from the kernel (a socket an attempt, connected, so that only the server is heard), and the
question must come back as it was asked. A client's query goes on as it came but for the id, EDNS and all, so the
answer is of a size that the client takes; TC comes through, and it is the client's affair to ask again over TCP.

Outstanding questions are bounded, overall and for each client; one too many is not asked. The relay belongs to one
event loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Hashable

from .message import Address, Code, Query, answers, code_of, error, with_id

_log = logging.getLogger(__name__)

OUTSTANDING_MAX = 512
TIMEOUT_S = 2.0  # of one server
_NEXT = (Code.SERVER_FAILURE, Code.NOT_IMPLEMENTED, Code.REFUSED)  # what another server may know better


class Relay:
    """The servers, and what they have been asked."""

    def __init__(
        self, servers: tuple[Address, ...], port: int, per_client: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.failures: Counter[str] = Counter()  # by server
        self.servers = servers
        self._port = port
        self._per_client = per_client
        self._timeout_s = timeout_s
        self._asking: set[asyncio.Task[None]] = set()
        self._of_client: Counter[Hashable] = Counter()

    def ask(self, payload: bytes, query: Query, client: Hashable, reply: Callable[[bytes], object]) -> bool:
        """Have a query answered, by a failure if by nothing else; False if that would be one too many."""
        if not self.servers:
            reply(error(payload, Code.REFUSED))
            return True
        if len(self._asking) >= OUTSTANDING_MAX or self._of_client[client] >= self._per_client:
            return False
        self._of_client[client] += 1
        task = asyncio.get_running_loop().create_task(self._ask(payload, query, reply))
        self._asking.add(task)
        task.add_done_callback(lambda task: self._done(task, client))
        return True

    def _done(self, task: asyncio.Task[None], client: Hashable) -> None:
        self._asking.discard(task)
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]
        if not task.cancelled() and (fault := task.exception()):
            _log.error("relaying a DNS query", exc_info=fault)

    async def close(self) -> None:
        """Give up what is outstanding."""
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, payload: bytes, query: Query, reply: Callable[[bytes], object]) -> None:
        best = error(payload, Code.SERVER_FAILURE)
        for server in self.servers:
            answer = await self._exchange(server, payload, query)
            if answer is None:
                self.failures[str(server)] += 1
                continue
            best = with_id(answer, query.id)
            if code_of(answer) not in _NEXT:
                break
        reply(best)

    async def _exchange(self, server: Address, payload: bytes, query: Query) -> bytes | None:
        """One server's answer, or None."""
        loop = asyncio.get_running_loop()
        number = secrets.randbelow(1 << 16)
        answered: asyncio.Future[bytes] = loop.create_future()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Listener(number, query.question, answered), remote_addr=(str(server), self._port)
            )
        except OSError:  # no route, or no descriptor left
            return None
        try:
            transport.sendto(with_id(payload, number))
            return await asyncio.wait_for(answered, self._timeout_s)
        except (OSError, asyncio.TimeoutError):
            return None
        finally:
            transport.close()


class _Listener(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers."""

    def __init__(self, number: int, question: bytes, answered: asyncio.Future[bytes]) -> None:
        self._number, self._question, self._answered = number, question, answered

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take an answer; what answers something else is noise, or an attempt."""
        if answers(data, self._number, self._question) and not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody is there: the next server need not wait."""
        if not self._answered.done():
            self._answered.set_exception(exc)
