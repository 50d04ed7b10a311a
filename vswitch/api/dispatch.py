"""From an HTTP request to a handler and back: the border where everything is checked once.

Each request passes the peer's credentials, the size and time limits of its body, and the types that its route
declares; a handler sees only a `Call`. Whatever goes wrong leaves as one JSON object (`errors.Error`), and a fault of
our own as 500 with the traceback in the log, never on the wire.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from ..config.errors import ApplyError, ConfigError
from . import openapi
from .control import Call, Control
from .errors import Error, Refused
from .peers import Peer, peer_of, refusal
from .routes import ROUTES, Route

MAX_BODY = 4 << 20  # bytes; a file of 10,000 ports has about one MiB
BODY_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


def application(switch: Control, group: Callable[[], str]) -> web.Application:
    """The aiohttp application that answers for `switch` to root, the daemon's user and the group of the moment."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_refusals, _only_for(group)])
    turn = asyncio.Lock()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _endpoint(route, switch, turn))
    document = msgspec.json.encode(openapi.document(ROUTES))

    async def describe(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    app.router.add_get("/openapi.json", describe)
    return app


def _endpoint(route: Route, switch: Control, turn: asyncio.Lock) -> Any:
    decode = None if route.body is None else msgspec.json.Decoder(route.body).decode

    async def endpoint(request: web.Request) -> web.Response:
        raw = await _body(request)
        query = msgspec.convert(dict(request.query), route.query, strict=False)
        body = None if decode is None else decode(raw)
        reply = await route.handler(Call(switch, turn, request.match_info, query, body))
        return _json(200, reply)

    return endpoint


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Refused(408, f"the request's body did not arrive within {BODY_TIMEOUT_S:g} s") from None


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def _refused(error: Refused) -> web.Response:
    return _json(error.status, error.body)


def _only_for(group: Callable[[], str]) -> Any:
    @web.middleware
    async def only_for(request: web.Request, handler: Any) -> web.StreamResponse:
        reason = refusal(_peer(request), group())
        if reason is not None:
            log.warning("refused %s %s: %s", request.method, request.path, reason)
            raise Refused(403, reason)
        return await handler(request)

    return only_for


def _peer(request: web.Request) -> Peer:
    sock: socket.socket | None = request.get_extra_info("socket")
    if sock is None:
        raise Refused(403, "the peer is gone before it could be asked who it is")
    return peer_of(sock)


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as error:
        return _refused(error)
    except ConfigError as error:
        return _refused(_with_problems(400, error.problems))
    except ApplyError as error:
        return _refused(_with_problems(409, error.problems))
    except msgspec.MsgspecError as error:
        return _refused(Refused(400, f"{request.method} {request.path}: {error}"))
    except web.HTTPRequestEntityTooLarge:
        return _refused(Refused(413, f"{request.method} {request.path}: a body has at most {MAX_BODY} bytes"))
    except web.HTTPException as error:
        return _refused(Refused(error.status, f"{request.method} {request.path}: {error.reason}"))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _json(500, Error("internal error of the daemon; its log has the traceback"))


def _with_problems(status: int, problems: list[str]) -> Refused:
    return Refused(status, "; ".join(problems), problems)
