"""From an HTTP request to a handler and back: the border where everything is checked once.

Each request passes the peer's credentials, the size and time limits of its body, and the types that its route
declares; a handler sees only a `Call`. Whatever goes wrong leaves as one JSON object (`errors.Error`), and a fault of
our own as 500 with the traceback in the log, never on the wire.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from ..config.errors import ApplyError, ConfigError
from . import openapi
from .control import Call, Control
from .errors import Refused
from .peers import peer_of, refusal
from .routes import ROUTES, Route

MAX_BODY = 16 << 20  # bytes; a file of 10,000 ports has about one MiB, as has one of 10,000 rules
BODY_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


Endpoint = Callable[[web.Request], Awaitable[web.Response]]


def application(switch: Control, group: Callable[[], str]) -> web.Application:
    """The aiohttp application that answers for `switch` to root, the daemon's user and the group of the moment.

    Endpoints are wrapped here and not by aiohttp's middlewares: those are cached for the life of the process, and the
    switch with them.
    """
    app = web.Application(client_max_size=MAX_BODY)
    document = openapi.document(ROUTES)

    async def describe(_: web.Request) -> web.Response:
        return _json(200, document)

    for route in ROUTES:
        app.router.add_route(route.method, route.path, _guarded(_endpoint(route, switch), group))
    app.router.add_get("/openapi.json", _guarded(describe, group))
    app.router.add_route("*", "/{anywhere:.*}", _guarded(_nowhere, group))
    return app


def _endpoint(route: Route, switch: Control) -> Endpoint:
    decode = None if route.body is None else msgspec.json.Decoder(route.body).decode

    async def endpoint(request: web.Request) -> web.Response:
        raw = await _body(request)
        query = msgspec.convert(dict(request.query), route.query, strict=False)
        body = None if decode is None else decode(raw)
        return _json(200, await route.handler(Call(switch, request.match_info, query, body)))

    return endpoint


async def _nowhere(request: web.Request) -> web.Response:
    raise Refused(404, f"{request.method} {request.path}: no such request; GET /openapi.json lists them")


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Refused(408, f"the request's body did not arrive within {BODY_TIMEOUT_S:g} s") from None


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def _guarded(endpoint: Endpoint, group: Callable[[], str]) -> Endpoint:
    """The endpoint for peers that may use it, every refusal in one form."""

    async def guarded(request: web.Request) -> web.Response:
        try:
            _admit(request, group())
            return await endpoint(request)
        except Exception as error:
            refused = _refusal(request, error)
            return _json(refused.status, refused.body)

    return guarded


def _admit(request: web.Request, group: str) -> None:
    sock: socket.socket | None = request.get_extra_info("socket")
    if sock is None:
        raise Refused(403, "the peer is gone before it could be asked who it is")
    reason = refusal(peer_of(sock), group)
    if reason is not None:
        log.warning("refused %s %s: %s", request.method, request.path, reason)
        raise Refused(403, reason)


def _refusal(request: web.Request, error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case ConfigError():
            return _with_problems(400, error.problems)
        case ApplyError():
            log.warning("refused %s %s: %s", request.method, request.path, "; ".join(error.problems))
            return _with_problems(409, error.problems)
        case msgspec.MsgspecError() | UnicodeDecodeError():
            return Refused(400, f"{request.method} {request.path}: {error}")
        case web.HTTPRequestEntityTooLarge():
            return Refused(413, f"{request.method} {request.path}: a body has at most {MAX_BODY} bytes")
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return Refused(500, "internal error of the daemon; its log has the traceback")


def _with_problems(status: int, problems: list[str]) -> Refused:
    return Refused(status, "; ".join(problems), problems)
