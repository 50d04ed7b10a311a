"""The OpenAPI document: sound in itself, and true: every route in it is answered by the server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.fake_switch import FakeSwitch
from vswitch.api.openapi import document
from vswitch.api.routes import ROUTES
from vswitch.api.server import ControlServer
from vswitch.config.model import Port

DOCUMENT = document(ROUTES)
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def references(node: Any) -> Iterator[str]:
    """Every $ref in a JSON value."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "$ref" in node:
        yield node["$ref"]
    for child in children:
        yield from references(child)


def test_head_and_operations_are_complete() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert len(OPERATIONS) == len(ROUTES)
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_reference_leads_to_a_schema() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in schemas


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[f"{row[0]} {row[1]}" for row in OPERATIONS])
def test_an_operation_is_well_formed(method: str, path: str, operation: dict[str, Any]) -> None:
    in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    assert all(parameter["required"] for parameter in operation["parameters"] if parameter["in"] == "path")
    assert ("requestBody" in operation) <= (method in ("post", "patch"))
    assert {"200", "400", "403", "404", "409"} == operation["responses"].keys()
    for response in operation["responses"].values():
        assert response["content"]["application/json"]["schema"]


def test_a_port_is_described_with_all_its_fields() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert list(schemas["Port"]["properties"]) == list(Port.__struct_fields__)
    assert set(schemas["PortChange"]["properties"]) == set(Port.__struct_fields__) - {"name"}


async def test_every_route_of_the_served_document_answers(tmp_path: Path) -> None:
    server = ControlServer(FakeSwitch(), tmp_path, "nosuchgroup")
    await server.start()
    try:
        connector = aiohttp.UnixConnector(str(server.path))
        async with aiohttp.ClientSession("http://vswitch", connector=connector) as session:
            served = await (await session.get("/openapi.json")).json()
            assert served == msgspec.json.decode(msgspec.json.encode(DOCUMENT))  # whose tuples are lists on the wire
            for method, path, operation in OPERATIONS:
                await _answers(session, method, re.sub(r"\{\w+\}", "1", path), operation)
    finally:
        await server.stop()


async def _answers(session: aiohttp.ClientSession, method: str, path: str, operation: dict[str, Any]) -> None:
    """A request with a body of the right form for no field at all: answered as the document says."""
    body = {"json": {}} if "requestBody" in operation else {}
    async with session.request(method, path, **body) as reply:
        value = await reply.json()
    assert str(reply.status) in operation["responses"], f"{method} {path}: {value}"
    if reply.status != 200:
        assert value["error"] and value["problems"]
        assert "no such request" not in value["error"]
