"""Every route of the control socket: what it does to the configuration, and how it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fake_switch import FakeSwitch
from vswitch.api.server import ControlServer
from vswitch.config.load import parse
from vswitch.observe.report import FdbEntry

FILE = """
[[bridge]]
name = "br0"
[[port]]
name = "tapA"
kind = "tap"
bridge = "br0"
access = 10
[[port]]
name = "up0"
bridge = "br0"
kind = "netdev"
trunk = [10, 20]
[[port]]
name = "vnet0"
bridge = "br0"
kind = "netdev"
create = true
queues = 1
"""


class Client:
    """Requests to one control socket; `(status, decoded JSON)` comes back."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        async with self._session.request(method, f"http://vswitch{path}", json=body, **more) as reply:
            return reply.status, await reply.json()


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch(parse(FILE, "test"))


@pytest.fixture
async def call(switch: FakeSwitch, tmp_path: Path) -> AsyncIterator[Client]:
    server = ControlServer(switch, tmp_path, "nosuchgroup")
    await server.start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(server.path))) as session:
            yield Client(session)
    finally:
        await server.stop()


async def test_reports_are_the_structs_as_they_are(call: Client, switch: FakeSwitch) -> None:
    switch.learned["br0"] = [FdbEntry(mac="52:54:00:00:00:01", vlan=10, port="tapA", age_s=1.5, static=False)]
    _, show = await call("GET", "/v1/show")
    _, stats = await call("GET", "/v1/stats")
    _, fdb = await call("GET", "/v1/fdb?bridge=br0")
    assert [port["name"] for port in show["ports"]] == ["tapA", "up0", "vnet0"]
    assert stats[0]["drops"] == {"vlan_not_allowed": 3}
    assert fdb == [{"mac": "52:54:00:00:00:01", "vlan": 10, "port": "tapA", "age_s": 1.5, "static": False}]


async def test_saved_configuration_reads_back_equal(call: Client, switch: FakeSwitch) -> None:
    status, reply = await call("GET", "/v1/config")
    assert (status, parse(reply["text"], "saved")) == (200, switch.config)


async def test_apply_changes_and_dry_run_does_not(call: Client, switch: FakeSwitch) -> None:
    text = FILE.replace("access = 10", "access = 11")
    status, dry = await call("POST", "/v1/apply", {"text": text, "source": "x.toml", "dry_run": True})
    assert (status, dry["dry_run"]) == (200, True)
    assert switch.config.port[0].access == 10
    status, done = await call("POST", "/v1/apply", {"text": text, "source": "x.toml"})
    assert (status, done["changes"]) == (200, dry["changes"])
    assert switch.config.port[0].access == 11
    assert switch.sources == ["x.toml"]


async def test_apply_names_every_fault_with_the_clients_file(call: Client, switch: FakeSwitch) -> None:
    text = FILE.replace("access = 10", "access = 4095\nmtu = 5")
    before = switch.config
    status, refused = await call("POST", "/v1/apply", {"text": text, "source": "/tmp/x.toml"})
    assert status == 400
    assert len(refused["problems"]) == 2
    assert all(line.startswith("/tmp/x.toml: port[0]") for line in refused["problems"])
    assert switch.config is before


FIREWALL = FILE + '[firewall]\nrules = "rules.v4"\n'


async def test_rules_come_with_the_file_that_names_theirs(call: Client, switch: FakeSwitch) -> None:
    body = {"text": FIREWALL, "source": "x.toml", "rules": "*filter\nCOMMIT\n", "rejudge": True}
    assert (await call("POST", "/v1/apply", body))[0] == 200
    assert (switch.rules, switch.rejudged) == (("*filter\nCOMMIT\n", None), True)
    assert (await call("POST", "/v1/apply", {"text": FILE}))[0] == 200
    assert (switch.rules, switch.rejudged) == ((None, None), False)


UNACCOMPANIED = [
    ({"text": FIREWALL}, 'x.toml: firewall.rules: "rules.v4": its text must come along, as "rules"'),
    ({"text": FIREWALL, "rules": "", "rules6": ""}, "x.toml: firewall.rules6: a text came along, but no file is named"),
    ({"text": FILE, "rules": ""}, "x.toml: firewall.rules: a text came along, but no file is named"),
]


@pytest.mark.parametrize(("body", "line"), UNACCOMPANIED)
async def test_rules_go_with_their_names(call: Client, switch: FakeSwitch, body: dict[str, str], line: str) -> None:
    before = switch.config
    refused = {"error": line, "problems": [line]}
    assert await call("POST", "/v1/apply", {**body, "source": "x.toml"}) == (400, refused)
    assert switch.config is before


async def test_networks_routes_neighbours_and_leases_are_listed(call: Client, switch: FakeSwitch) -> None:
    await call("POST", "/v1/networks", NETWORK)
    await call("POST", "/v1/routes", {"to": "default", "via": "10.0.0.254"})
    _, (network,) = await call("GET", "/v1/networks")
    assert {key: network[key] for key in NETWORK} == {**NETWORK, "dhcp": network["dhcp"]}
    assert network["dhcp"]["range"] == ["10.0.0.100", "10.0.0.200"] and network["dhcp"]["lease_s"] == 3600
    assert [route["to"] for route in (await call("GET", "/v1/routes"))[1]] == ["10.0.0.0/24", "0.0.0.0/0"]
    assert [row["state"] for row in (await call("GET", "/v1/neighbours"))[1]] == ["reachable", "failed"]
    assert (await call("GET", "/v1/leases"))[1][0]["name"] == "web"


async def test_the_words_of_iptables_are_carried(call: Client, switch: FakeSwitch) -> None:
    body = {"program": "iptables-restore", "argv": ["-n"], "stdin": "*filter"}
    assert await call("POST", "/v1/iptables", body) == (
        200, {"stdout": "iptables-restore ['-n']\n", "stderr": "*filter\n", "code": 1}
    )  # fmt: skip
    assert (await call("POST", "/v1/iptables", {"argv": []}))[1]["stdout"] == "iptables []\n"
    assert switch.said == [("iptables-restore", ["-n"], "*filter"), ("iptables", [], "")]


async def test_the_words_of_conntrack_are_carried(call: Client, switch: FakeSwitch) -> None:
    status, words = await call("POST", "/v1/conntrack", {"argv": ["-L", "-p", "udp"]})
    assert (status, words["code"], switch.said) == (200, 0, [("conntrack", ["-L", "-p", "udp"], "")])
    assert (await call("POST", "/v1/conntrack", {"argv": ["-X"]}))[1]["code"] == 2


async def test_events_go_on_where_the_last_answer_ended(call: Client, switch: FakeSwitch) -> None:
    switch.events = ["[NEW] a", "[NEW] b"]
    events = "/v1/conntrack/events"
    assert (await call("GET", events))[1] == {"lines": [], "next": 2, "stderr": "", "code": 0}
    assert (await call("GET", f"{events}?after=1"))[1]["lines"] == ["[NEW] b"]
    assert switch.said[-1] == ("conntrack", ["-E"], "")
    await call("GET", f"{events}?after=2&words=-E+-e+%27NEW%2CDESTROY%27")
    assert switch.said[-1] == ("conntrack", ["-E", "-e", "NEW,DESTROY"], "")


NETWORK = {"bridge": "br0", "vlan": 10, "address": "10.0.0.1/24", "dhcp": {"range": ["10.0.0.100", "10.0.0.200"]}}
CHANGES = [
    ("a bridge", "POST", "/v1/bridges", {"name": "br1", "ageing_s": 60}, lambda c: c.find_bridge("br1").ageing_s == 60),
    ("ageing", "PATCH", "/v1/bridges/br0", {"ageing_s": 5}, lambda c: c.find_bridge("br0").ageing_s == 5),
    ("no bridge, forced", "DELETE", "/v1/bridges/br0?force=true", None, lambda c: not c.bridge and len(c.port) == 3),
    ("a port", "POST", "/v1/ports", {"name": "t1", "kind": "tap", "bridge": "br0"},
     lambda c: c.find_port("t1").bridge == "br0"),
    ("a field", "PATCH", "/v1/ports/tapA", {"access": 12}, lambda c: c.find_port("tapA").access == 12),
    ("a cleared field", "PATCH", "/v1/ports/tapA", {"access": None}, lambda c: c.find_port("tapA").access is None),
    ("no port", "DELETE", "/v1/ports/tapA", None, lambda c: c.find_port("tapA") is None),
    ("a VLAN", "POST", "/v1/ports/up0/vlans", {"vid": 30}, lambda c: c.find_port("up0").trunk == (10, 20, 30)),
    ("a VLAN less", "DELETE", "/v1/ports/up0/vlans/10", None, lambda c: c.find_port("up0").trunk == (20,)),
    ("a device", "POST", "/v1/bridges/br0/members", {"port": "eth7"}, lambda c: c.find_port("eth7").kind == "netdev"),
    ("a NIC back", "DELETE", "/v1/bridges/br0/members/up0", None, lambda c: c.find_port("up0") is None),
    ("a tap off", "DELETE", "/v1/bridges/br0/members/tapA", None, lambda c: c.find_port("tapA").bridge is None),
    ("a made tap off", "DELETE", "/v1/bridges/br0/members/vnet0", None, lambda c: c.find_port("vnet0").bridge is None),
    ("dissolved", "POST", "/v1/bridges/br0/dissolve", None, lambda c: not c.bridge and len(c.port) == 2),
    ("a network", "POST", "/v1/networks", NETWORK, lambda c: c.network[0].dhcp.range == ("10.0.0.100", "10.0.0.200")),
    ("a static MAC", "POST", "/v1/fdb", {"bridge": "br0", "mac": "52-54-00-00-00-01", "port": "tapA", "vlan": 10},
     lambda c: c.fdb[0].mac == "52:54:00:00:00:01"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "holds"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
async def test_a_change_edits_the_configuration(
    call: Client, switch: FakeSwitch, method: str, path: str, body: Any, holds: Any
) -> None:
    status, reply = await call(method, path, body)
    assert status == 200, reply
    assert reply["changes"]
    assert holds(switch.config)


REFUSALS = [
    ("no such bridge", "DELETE", "/v1/bridges/br9", None, 404, "bridge 'br9' does not exist (there are: br0)"),
    ("no such port", "PATCH", "/v1/ports/nope", {"mtu": 1400}, 404, "port 'nope' does not exist"),
    ("FDB of no bridge", "GET", "/v1/fdb?bridge=br9", None, 404, "bridge 'br9' does not exist"),
    ("a bridge twice", "POST", "/v1/bridges", {"name": "br0"}, 409, "bridge br0 exists already"),
    ("a port named as a bridge", "POST", "/v1/ports", {"name": "br0", "kind": "tap"}, 409, "bridge br0 exists already"),
    ("ports still on it", "DELETE", "/v1/bridges/br0", None, 400, "still has ports"),
    ("a bad VLAN", "POST", "/v1/ports", {"name": "t1", "kind": "tap", "access": 4095}, 400, "a VLAN id is 1 to 4094"),
    ("VLAN no number", "DELETE", "/v1/ports/up0/vlans/ten", None, 400, "'ten': a VLAN id is 1 to 4094"),
    ("unknown key", "POST", "/v1/ports", {"name": "t1", "kind": "tap", "vlann": 1}, 400, "unknown field `vlann`"),
    ("wrong type", "PATCH", "/v1/bridges/br0", {"ageing_s": "long"}, 400, "Expected `int`"),
    ("unknown parameter", "GET", "/v1/fdb?brigde=br0", None, 400, "unknown field `brigde`"),
    ("twice on a bridge", "POST", "/v1/bridges/br0/members", {"port": "tapA"}, 400, "already a member of bridge br0"),
    ("a bad MAC", "DELETE", "/v1/fdb?bridge=br0&mac=zz", None, 400, "'zz': a MAC address is"),
    ("flush of no VLAN", "POST", "/v1/fdb/flush", {"bridge": "br0", "vlan": -1}, 400, "Expected `int` >= 0"),
    ("flush of a huge one", "POST", "/v1/fdb/flush", {"bridge": "br0", "vlan": 1 << 70}, 400, "Expected `int` <= 4094"),
    ("MAC of no VLAN", "DELETE", "/v1/fdb?bridge=br0&mac=52:54:00:00:00:09&vlan=4095", None, 400, "`int` <= 4094"),
    ("an unknown MAC", "DELETE", "/v1/fdb?bridge=br0&mac=52:54:00:00:00:09", None, 404, "does not know 52:54"),
    ("a bad address", "POST", "/v1/networks", {"bridge": "br0", "address": "10.0.0.1"}, 400,
     'network "br0".address: "10.0.0.1": an address with its prefix length'),
    ("a bad mode", "POST", "/v1/networks", {**NETWORK, "mode": "bridged"}, 400, '"bridged": isolated, routed or nat'),
    ("no such network", "PATCH", "/v1/networks/br9", {"mode": "nat"}, 400, "there is no network br9 (there are: none)"),
    ("a network moved", "PATCH", "/v1/networks/br0", {"bridge": "br1"}, 400, "unknown field `bridge`"),
    ("a route to nowhere", "POST", "/v1/routes", {"to": "default", "via": "10.9.9.9"}, 400, "no neighbour of router main"),
    ("no such static route", "DELETE", "/v1/routes?to=10.0.0.0/8", None, 400, "no static route to 10.0.0.0/8"),
    ("no such program", "POST", "/v1/iptables", {"program": "nft", "argv": []}, 400, "Invalid enum value 'nft'"),
    ("no words", "POST", "/v1/conntrack", {}, 400, "missing required field `argv`"),
    ("words cut short", "GET", "/v1/conntrack/events?words=%22", None, 400, "words: No closing quotation"),
    ("events after no number", "GET", "/v1/conntrack/events?after=x", None, 400, "Expected `int"),
    ("no such route", "GET", "/v2/show", None, 404, "GET /v2/show: no such request"),
    ("no such method", "PUT", "/v1/show", None, 404, "PUT /v1/show: no such request; GET /openapi.json lists them"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
async def test_a_refusal_says_why_and_changes_nothing(
    call: Client, switch: FakeSwitch, method: str, path: str, body: Any, status: int, words: str
) -> None:
    before = switch.config
    assert (await call(method, path, body)) == (status, AnyError(words))
    assert switch.config is before


class AnyError:
    """Equal to an error body whose one line contains the words."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __eq__(self, body: object) -> bool:
        return isinstance(body, dict) and self._words in body["error"] and bool(body["problems"])

    def __repr__(self) -> str:
        return f"an error with {self._words!r}"


async def test_what_this_machine_lacks_is_409_and_logged(
    call: Client, switch: FakeSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    switch.missing = frozenset({"eth9"})
    assert await call("POST", "/v1/bridges/br0/members", {"port": "eth9"}) == (409, AnyError("eth9: no such device"))
    assert "refused POST /v1/bridges/br0/members: " in caplog.text and "eth9: no such device" in caplog.text


async def test_forgetting_and_flushing(call: Client, switch: FakeSwitch) -> None:
    macs = [FdbEntry(mac=f"52:54:00:00:00:0{i}", vlan=10, port="tapA", age_s=0, static=False) for i in range(3)]
    switch.learned["br0"] = macs
    assert (await call("DELETE", "/v1/fdb?bridge=br0&mac=52-54-00-00-00-00&vlan=10"))[0] == 200
    assert switch.learned["br0"] == macs[1:]
    assert await call("POST", "/v1/fdb/flush", {"bridge": "br0", "port": "tapA"}) == (200, {"flushed": 2})


async def test_a_static_entry_leaves_the_configuration(call: Client, switch: FakeSwitch) -> None:
    await call("POST", "/v1/fdb", {"bridge": "br0", "mac": "52:54:00:00:00:01", "port": "tapA", "vlan": 10})
    assert len(switch.config.fdb) == 1
    assert (await call("DELETE", "/v1/fdb?bridge=br0&mac=52:54:00:00:00:01&vlan=10"))[0] == 200
    assert switch.config.fdb == ()


async def test_changes_of_two_clients_do_not_undo_each_other(call: Client, switch: FakeSwitch) -> None:
    names = {f"t{i}" for i in range(20)}
    await asyncio.gather(*(call("POST", "/v1/ports", {"name": name, "kind": "tap"}) for name in names))
    assert names <= {port.name for port in switch.config.port}


async def test_text_that_is_no_utf_8_is_refused(call: Client) -> None:
    status, body = await call("POST", "/v1/ports", data=b'{"name": "\xff", "kind": "tap"}')
    assert status == 400 and "utf-8" in body["error"]


async def test_a_fault_of_ours_is_500_without_the_traceback(
    call: Client, switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(switch, "show", lambda: 1 / 0)
    status, body = await call("GET", "/v1/show")
    assert (status, "division" in body["error"]) == (500, False)
    assert "ZeroDivisionError" in caplog.text

