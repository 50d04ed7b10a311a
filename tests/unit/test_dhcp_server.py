"""The DHCP exchange, message by message, in virtual time."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from tests.dhcp_client import GATEWAY, GATEWAY_MAC, Client, Clock, mac, server, states
from vswitch.l3.settings import Reservation, Route

FIRST = "10.0.0.100"
FREE = tuple(f"10.0.0.{host}" for host in range(100, 104))


async def test_whole_exchange():
    clock = Clock()
    dhcp = server(clock=clock, lease_s=3600)
    client = Client(dhcp, hostname="Guest.lab")
    offer = await client.send("discover")
    assert (offer.kind, offer.address, states(dhcp)) == ("offer", FIRST, {FIRST: "offered"})
    ack = await client.take(FIRST)
    assert (ack.kind, ack.address) == ("ack", FIRST)
    assert ack.options["server_id"] == GATEWAY
    assert (ack.options["lease_time"], ack.options["renewal_time"], ack.options["rebinding_time"]) == (3600, 1800, 3150)
    clock.now += 1800
    assert (await client.renew(FIRST)).kind == "ack"
    (report,) = dhcp.reports()
    assert (report.mac, report.name, report.port, report.state) == (client.mac, "guest", "tap1", "bound")
    assert report.expires_s == 3600
    await client.release(FIRST)
    assert states(dhcp) == {FIRST: "expired"}
    assert await client.lease() == FIRST  # it comes back, and finds it again
    assert dhcp.messages == {"DISCOVER": 2, "OFFER": 2, "REQUEST": 3, "ACK": 3, "RELEASE": 1}


async def test_options():
    dhcp = server(
        domain="lab.example", mtu=1400, options=("42:0a000005",), routes=(Route(to="192.168.128.0/17", via="10.0.0.9"),)
    )
    offer = await Client(dhcp).send("discover")
    assert offer.options["subnet_mask"] == "255.255.255.0"
    assert offer.options["router"] == offer.options["name_server"] == GATEWAY
    assert offer.options["domain"] == b"lab.example"
    assert offer.options["interface-mtu"] == 1400
    assert offer.options["NTP_server"] == "10.0.0.5"
    raw = bytes(offer.frame)
    assert bytes((121, 8 + 5, 17, 192, 168, 128, 10, 0, 0, 9, 0, 10, 0, 0, 1)) in raw  # and the default route


async def test_only_what_is_asked_for():
    offer = await Client(server(domain="lab.example")).send("discover", param_req_list=[15, 3])
    told = [option[0] for option in offer.frame["DHCP"].options if isinstance(option, tuple)]
    assert told[-3:] == ["subnet_mask", "domain", "router"]
    assert "name_server" not in told


async def test_no_way_out():
    offer = await Client(server(router="", dns=())).send("discover")
    assert not {"router", "name_server"} & offer.options.keys()


@pytest.mark.parametrize("flags, eth_dst, ip_dst", [
    (0x8000, "ff:ff:ff:ff:ff:ff", "255.255.255.255"),
    (0, mac(1), FIRST),
])
async def test_where_an_offer_goes(flags, eth_dst, ip_dst):
    offer = await Client(server()).send("discover", flags=flags)
    assert (offer.frame.dst, offer.frame.src, offer.frame["IP"].dst) == (eth_dst, GATEWAY_MAC, ip_dst)


async def test_where_others_go():
    dhcp = server()
    client = Client(dhcp)
    await client.lease()
    ack = await client.renew(FIRST)
    assert (ack.frame.dst, ack.frame["IP"].dst) == (client.mac, FIRST)
    nak = await client.send("request", requested_addr="192.168.1.1")
    assert (nak.kind, nak.frame.dst, nak.frame["IP"].dst) == ("nak", "ff:ff:ff:ff:ff:ff", "255.255.255.255")
    assert nak.address == "0.0.0.0"


# description, what the client has, what it sends, the answer
REQUESTS = [
    ("selecting, another's address", None, {"requested_addr": FREE[1], "server_id": GATEWAY}, "nak"),
    ("selecting, never offered", None, {"requested_addr": FREE[2], "server_id": GATEWAY}, "nak"),
    ("init-reboot, its own", FIRST, {"requested_addr": FIRST}, "ack"),
    ("init-reboot, not its own", FIRST, {"requested_addr": FREE[2]}, "nak"),
    ("init-reboot, another network", None, {"requested_addr": "192.168.1.5"}, "nak"),
    ("init-reboot, the gateway's", None, {"requested_addr": GATEWAY}, "nak"),
    ("init-reboot, held by another", None, {"requested_addr": FREE[1]}, "nak"),
    ("init-reboot, unknown client", None, {"requested_addr": FREE[2]}, None),
    ("renewing, its own", FIRST, {"ciaddr": FIRST, "dst": GATEWAY}, "ack"),
    ("rebinding, its own", FIRST, {"ciaddr": FIRST}, "ack"),
    ("renewing, held by another", None, {"ciaddr": FREE[1], "dst": GATEWAY}, "nak"),
    ("rebinding, unknown client", None, {"ciaddr": FREE[2]}, None),
    ("no address at all", FIRST, {}, None),
    ("for another server", FIRST, {"requested_addr": FIRST, "server_id": "10.0.0.7"}, None),
]


@pytest.mark.parametrize("has, fields, answer", [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
async def test_request(has, fields, answer):
    dhcp = server()
    client = Client(dhcp)
    if has:
        assert await client.lease() == has
    assert await Client(dhcp, 2).lease(requested_addr=FREE[1]) == FREE[1]
    reply = await client.send("request", **fields)
    assert (reply and reply.kind) == answer


async def test_another_server_was_chosen():
    dhcp = server()
    client = Client(dhcp)
    await client.send("discover")
    assert await client.send("request", requested_addr="10.0.0.9", server_id="10.0.0.7") is None
    assert states(dhcp) == {FIRST: "expired"}


async def test_inform():
    ack = await Client(server()).send("inform", ciaddr="10.0.0.50", dst=GATEWAY)
    assert (ack.kind, ack.address, ack.frame["IP"].dst) == ("ack", "0.0.0.0", "10.0.0.50")
    assert "lease_time" not in ack.options and ack.options["router"] == GATEWAY
    assert await Client(server()).send("inform", ciaddr="10.9.0.50") is None


async def test_shorter_lease_if_wanted():
    offer = await Client(server(lease_s=3600)).send("discover", lease_time=600)
    assert offer.options["lease_time"] == 600
    assert (await Client(server(lease_s=3600)).send("discover", lease_time=1)).options["lease_time"] == 60
    assert (await Client(server(lease_s=3600)).send("discover", lease_time=0xFFFFFFFF)).options["lease_time"] == 3600


async def test_client_id():
    dhcp = server()
    first = Client(dhcp, 1, client_id=b"\xffone")
    second = Client(dhcp, 1, client_id=b"\xfftwo")  # the same MAC: a firmware, then a system
    assert [await first.lease(), await second.lease()] == list(FREE[:2])
    changed = Client(dhcp, 9, client_id=b"\xffone")  # the same client with another card
    offer = await changed.send("discover")
    assert (offer.address, offer.options["client_id"]) == (FIRST, b"\xffone")


async def test_reservations():
    entry = Reservation(mac=mac(1).upper(), address="10.0.0.50", name="Web")
    inside = Reservation(mac=mac(2), address=FIRST)
    dhcp = server(reservations=(entry, inside), per_port=1)
    assert await Client(dhcp, 1, client_id=b"\xffone").lease() == "10.0.0.50"
    ack = await Client(dhcp, 1, client_id=b"\xfftwo").send("request", requested_addr="10.0.0.50")
    assert (ack.kind, ack.options["hostname"]) == ("ack", b"Web")
    assert (await Client(dhcp, 1).send("request", requested_addr=FREE[1])).kind == "nak"
    assert await Client(dhcp, 3, "tap3").lease(requested_addr=FIRST) == FREE[1]  # reserved, though in the range
    assert await Client(dhcp, 2).lease() == FIRST  # beyond the budget of its port
    assert (await Client(dhcp, 2).renew(FIRST)).kind == "ack"


async def test_reserved_client_is_known_without_a_lease():
    dhcp = server(reservations=(Reservation(mac=mac(1), address="10.0.0.50"),))
    assert (await Client(dhcp).renew("10.0.0.50")).kind == "ack"
    assert states(dhcp) == {"10.0.0.50": "bound"}


async def test_names_are_taken_once():
    dhcp = server(reservations=(Reservation(mac=mac(9), address="10.0.0.50", name="db"),))
    for number, name in ((1, "web"), (2, "web"), (3, "db"), (4, "wpad")):
        await Client(dhcp, number, hostname=name).lease()
    assert [report.name for report in dhcp.reports()] == ["web", "", "", ""]
    assert (await Client(dhcp, 4, hostname="no good").renew(FREE[3])).kind == "ack"
    assert dhcp.reports()[3].name == ""
    leases = dhcp.leases
    assert str(leases.address_of("web")) == FIRST and str(leases.address_of("db")) == "10.0.0.50"
    await Client(dhcp, 1).release(FIRST)
    assert leases.address_of("web") is None and leases.name_of(IPv4Address(FIRST)) is None
    assert (await Client(dhcp, 2, hostname="web").renew(FREE[1])).kind == "ack"
    assert str(leases.address_of("web")) == FREE[1]


async def test_offers_and_leases_run_out():
    clock = Clock()
    dhcp = server(clock=clock, lease_s=600)
    await Client(dhcp, 1).send("discover")
    await Client(dhcp, 2).lease()
    clock.now += 61
    assert states(dhcp) == {FREE[0]: "expired", FREE[1]: "bound"}
    clock.now += 600
    assert states(dhcp) == {FREE[0]: "expired", FREE[1]: "expired"}
    numbers = [await Client(dhcp, number).lease() for number in (3, 4, 5, 6)]
    assert numbers == [FREE[2], FREE[3], FREE[0], FREE[1]]  # the longest unused first
    assert (await Client(dhcp, 2).renew(FREE[1])).kind == "nak"


async def test_full():
    dhcp = server()
    for number in range(1, 5):
        await Client(dhcp, number).lease()
    assert await Client(dhcp, 5).send("discover") is None
    assert dhcp.ignored == {"no free address": 1}


# What an enemy may try


async def test_budget_of_a_port():
    dhcp = server(range=("10.0.0.100", "10.0.0.200"), per_port=3)
    greedy = [await Client(dhcp, number).send("discover") for number in range(1, 20)]
    assert [bool(offer) for offer in greedy] == [True] * 3 + [False] * 16
    assert dhcp.ignored == {"over budget": 16}
    assert await Client(dhcp, 50, "tap2").lease() == "10.0.0.103"


async def test_declines_are_bounded():
    clock = Clock()
    dhcp = server(range=("10.0.0.100", "10.0.0.110"), per_port=2, clock=clock)
    for number in range(1, 9):
        client = Client(dhcp, number)
        address = await client.lease()
        assert await client.send("decline", requested_addr=address, server_id=GATEWAY) is None
    assert list(states(dhcp).values()).count("declined") == 2
    clock.now += 601
    assert "declined" not in states(dhcp).values()


async def test_declined_address_is_given_to_nobody():
    dhcp = server()
    client = Client(dhcp)
    await client.lease()
    await client.send("decline", requested_addr=FIRST, server_id=GATEWAY)
    assert await client.lease(requested_addr=FIRST) == FREE[1]


# description, what is sent in the name of the victim by a client behind another port
THEFTS = [
    ("release", "release", {"ciaddr": FIRST, "server_id": GATEWAY}),
    ("decline", "decline", {"requested_addr": FIRST, "server_id": GATEWAY}),
]


@pytest.mark.parametrize("kind, fields", [row[1:] for row in THEFTS], ids=[row[0] for row in THEFTS])
async def test_nobody_gives_back_for_another(kind, fields):
    dhcp = server()
    await Client(dhcp, 1, client_id=b"\xffone").lease()
    for thief in (Client(dhcp, 1, "tap2", client_id=b"\xffone"), Client(dhcp, 2, "tap2", client_id=b"\xffone")):
        assert await thief.send(kind, **fields) is None
    assert states(dhcp) == {FIRST: "bound"}
    assert dhcp.ignored == {"not its lease": 2}


async def test_an_identity_is_not_taken_over():
    dhcp = server()
    await Client(dhcp, 1, client_id=b"\xffone").lease()
    assert await Client(dhcp, 2, "tap2", client_id=b"\xffone").lease() == FREE[1]
    assert (await Client(dhcp, 1, client_id=b"\xffone").renew(FIRST)).kind == "ack"


async def test_a_mac_is_not_taken_over():
    """A forger gets an address of its own, which runs out by itself; so does a guest that has really moved."""
    clock = Clock()
    dhcp = server(clock=clock, lease_s=600)
    await Client(dhcp, 1).lease()
    moved = Client(dhcp, 1, "tap2")
    assert (await moved.renew(FIRST)).kind == "nak"
    assert await moved.lease() == FREE[1]
    assert (await Client(dhcp, 1).renew(FIRST)).kind == "ack"
    clock.now += 400
    assert (await moved.renew(FREE[1])).kind == "ack"
    clock.now += 400
    assert states(dhcp) == {FIRST: "expired", FREE[1]: "bound"}
    assert (await moved.renew(FREE[1])).kind == "ack"  # it keeps what it got


async def test_a_guest_whose_port_is_gone_keeps_its_lease_within_the_budget():
    dhcp = server(per_port=1, gone=("tap1",))
    await Client(dhcp, 1).lease()
    assert (await Client(dhcp, 1, "tap2").renew(FIRST)).kind == "ack"
    assert [report.port for report in dhcp.reports()] == ["tap2"]
    await Client(dhcp, 2, "tap1").lease()
    assert await Client(dhcp, 2, "tap2").send("discover") is None
    assert dhcp.ignored == {"over budget": 1}


IGNORED = [
    ("MAC in the message is another's", {"chaddr": bytes.fromhex(mac(2).replace(":", ""))}, "speaks for another"),
    ("Ethernet source is another's", {"eth_src": mac(2)}, "speaks for another"),
    ("a relay's", {"giaddr": "10.0.0.77"}, "relayed"),
    ("with a relay agent's option", {"raw": b"\x52\x03\x01\x01x"}, "relayed"),
    ("a reply", {"op": 2}, "not a request"),
    ("to another host", {"dst": "10.0.0.9"}, "not for the server"),
]


@pytest.mark.parametrize("fields, reason", [row[1:] for row in IGNORED], ids=[row[0] for row in IGNORED])
async def test_ignored(fields, reason):
    dhcp = server()
    assert await Client(dhcp).send("discover", **fields) is None
    assert dhcp.ignored == {reason: 1}
    assert states(dhcp) == {}


async def test_haste():
    clock = Clock()
    dhcp = server(clock=clock)
    frame = Client(dhcp).frame("discover")
    answers = [await dhcp.handle(frame, "tap1") for _ in range(100)]
    assert sum(map(len, answers)) == 60 and dhcp.ignored == {"too fast": 40}
    assert await Client(dhcp, 2, "tap2").lease() == FREE[1]
    clock.now += 1
    assert await dhcp.handle(frame, "tap1")


# The conflict check


async def test_address_in_use():
    asked = []

    async def probe(address):
        asked.append(str(address))
        return str(address) in FREE[:2]

    dhcp = server(probe=probe)
    client = Client(dhcp)
    assert await client.lease() == FREE[2]
    assert asked == list(FREE[:3])
    assert states(dhcp) == {FREE[0]: "declined", FREE[1]: "declined", FREE[2]: "bound"}
    await client.renew(FREE[2])
    await client.lease()
    assert asked == list(FREE[:3])  # its own is not looked for


async def test_everything_in_use():
    async def probe(address):
        return True

    dhcp = server(probe=probe)
    assert await Client(dhcp).send("discover") is None
    assert dhcp.ignored == {"no free address": 1}


async def test_meanwhile():
    """While one client's address is probed, its repetitions wait and others are served."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def probe(address):
        return await asyncio.shield(answer) if str(address) == FIRST else False

    dhcp = server(probe=probe)
    client = Client(dhcp)
    first = asyncio.ensure_future(client.send("discover"))
    await asyncio.sleep(0)
    assert await client.send("discover") is None and dhcp.ignored == {"being probed": 1}
    assert (await client.take(FIRST)).kind == "nak"  # it has not been offered yet
    assert await Client(dhcp, 2).lease() == FREE[1]
    answer.set_result(False)
    assert (await first).address == FIRST


async def test_probe_fails():
    async def probe(address):
        raise OSError("no such device")

    dhcp = server(probe=probe)
    with pytest.raises(OSError):
        await Client(dhcp).send("discover")
    assert states(dhcp) == {FIRST: "expired"}
