"""The OpenAPI 3.1 document of the control socket, made from the route table.

msgspec writes the JSON schemas of the very structs that decode requests and encode replies; this module adds the
paths around them. Pure; built once when the server starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from .. import __version__
from .errors import Error
from .routes import Route

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_REFUSALS = {
    "400": "The request is wrong in itself",
    "403": "The peer is neither root nor in the group",
    "404": "It names something that is not there",
    "409": "The switch cannot do it as it stands; nothing was changed",
}

Json = dict[str, Any]


def document(routes: Sequence[Route]) -> Json:
    """The whole document, ready for a JSON encoder."""
    types = [*dict.fromkeys(kind for route in routes for kind in (route.reply, route.body) if kind is not None), Error]
    refs, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(types, refs, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vswitch control socket",
            "version": __version__,
            "description": "HTTP over the unix socket RUN_DIR/control.sock, for root and the configured group.",
        },
        "paths": _paths(routes, schema_of),
        "components": {"schemas": components},
    }


def _paths(routes: Iterable[Route], schema_of: dict[Any, Json]) -> Json:
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return paths


def _operation(route: Route, schema_of: dict[Any, Json]) -> Json:
    operation: Json = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {
            "200": {"description": "Done", "content": _content(schema_of[route.reply])},
            **{code: {"description": text, "content": _content(schema_of[Error])} for code, text in _REFUSALS.items()},
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(schema_of[route.body])}
    return operation


def _path_parameters(route: Route) -> list[Json]:
    names = _PARAMETER.findall(route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: Route) -> list[Json]:
    schema = msgspec.json.schema(route.query)["$defs"][route.query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": kind}
        for name, kind in schema["properties"].items()
    ]


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
