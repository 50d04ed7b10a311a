"""What a running switch serves its networks: leases to real clients, advertisements to the kernel, names to guests."""

from __future__ import annotations

import shutil
import signal
from typing import Any

import pytest

from tests.lab import Lab, wait_for
from tests.routerhost import RouterHost, datagram
from tests.switchhost import LIMIT_S, Guest
from tests.udhcpc import Udhcpc, ask, news_of, script, upstream

GATEWAY, FIRST = "10.0.0.1", "10.0.0.100"
RESERVED, RESERVED_MAC = "10.0.0.50", "52:54:00:76:73:50"
DHCP: dict[str, Any] = {
    "range": [FIRST, "10.0.0.109"],
    "domain": "lab.example",
    "mtu": 1400,
    "routes": [{"to": "10.9.0.0/16", "via": "10.0.0.9"}],
    "reservations": [{"mac": RESERVED_MAC, "address": RESERVED, "name": "printer"}],
}


@pytest.fixture
def host(lab: Lab) -> RouterHost:
    return RouterHost(lab, "h")


def serve(host: RouterHost, dhcp: dict[str, Any] = DHCP, **keys: object) -> None:
    """Start the daemon with a network that serves."""
    keys.setdefault("dns", {})
    host.network("br0", f"{GATEWAY}/24", dhcp=dhcp, **keys)
    host.start()


def client(host: RouterHost, guest: Guest, *words: str) -> Udhcpc:
    """busybox's client in a guest."""
    host.lab.ip("link", "set", guest.name, "up", netns=guest.netns)
    return Udhcpc(host.lab, guest.netns, guest.name, *words)


def states(host: RouterHost) -> dict[str, str]:
    """Leases by address."""
    return {lease["address"]: lease["state"] for lease in host.get("leases")}


def test_udhcpc_takes_renews_and_releases(host: RouterHost) -> None:
    guest = host.guest("a")
    serve(host)
    taker = client(host, guest, "-x", "hostname:web")
    assert taker.heard("bound") == (
        f"bound ip={FIRST} router={GATEWAY} dns={GATEWAY} domain=lab.example mtu=1400 lease=3600 "
        f"routes=10.9.0.0/16 10.0.0.9 0.0.0.0/0 {GATEWAY}"
    )
    (lease,) = host.get("leases")
    assert (lease["address"], lease["name"], lease["state"], lease["port"]) == (FIRST, "web", "bound", guest.name)
    assert host.lab.ping(GATEWAY, netns=guest.netns)
    taker.signal(signal.SIGUSR1)
    taker.heard("renew")
    taker.signal(signal.SIGUSR2)
    wait_for(lambda: states(host) == {FIRST: "expired"}, LIMIT_S, "the release")


def test_an_address_in_use_is_not_given_out(host: RouterHost) -> None:
    host.guest("q", f"{FIRST}/24")
    guest = host.guest("a")
    serve(host)
    assert "ip=10.0.0.101 " in client(host, guest).heard("bound")
    assert states(host)[FIRST] == "declined"


def test_a_reservation_is_its_stations(host: RouterHost) -> None:
    other, guest = host.guest("a"), host.guest("b", mac=RESERVED_MAC)
    serve(host, {"reservations": DHCP["reservations"]})
    refused = client(host, other, "-n", "-t", "1")
    assert f"ip={RESERVED} " in client(host, guest).heard("bound")
    refused.heard("leasefail")


def test_leases_outlive_the_daemon(host: RouterHost) -> None:
    first, second = host.guest("a", mac="52:54:00:76:73:0a"), host.guest("b", mac="52:54:00:76:73:0b")
    serve(host)
    client(host, first).heard("bound")
    assert host.daemon.stop() == 0  # the taps go too: the guests' devices are new ones afterwards
    host.start()
    assert states(host) == {FIRST: "bound"}
    assert "ip=10.0.0.101 " in client(host, second).heard("bound")
    again = Guest(first.name, first.netns)
    host.lab.path(f"{first.name}.news").unlink()
    assert f"ip={FIRST} " in client(host, again, "-r", FIRST).heard("bound")


def test_a_port_gets_no_more_than_its_share(host: RouterHost) -> None:
    """A guest with a bridge of its own, and four machines on it."""
    lab, stations = host.lab, host.guest("a")
    serve(host, DHCP | {"per_port": 2})
    behind = [lab.veth(f"p{i}", f"m{i}", near_netns=stations.netns, far_netns=lab.namespace(f"n{i}")) for i in range(4)]
    lab.bridge("br", stations.name, *(near for near, _ in behind), netns=stations.netns)
    lab.ip("link", "set", stations.name, "up", netns=stations.netns)
    takers = [Udhcpc(lab, lab.name(f"n{i}"), far, "-n", "-t", "2") for i, (_, far) in enumerate(behind)]
    assert sorted(taker.process.wait() if not _bound(taker, lab) else 0 for taker in takers) == [0, 0, 1, 1]
    assert list(states(host).values()).count("bound") == 2


def _bound(taker: Udhcpc, lab: Lab) -> bool:
    """Whether the client got its lease, when it knows."""
    news = lab.path(f"{taker.device}.news")
    return wait_for(lambda: news_of(news, "bound", 1) or news_of(news, "leasefail", 1), LIMIT_S, "news").startswith("b")


DHCLIENT = """#!/bin/sh
case $reason in
    BOUND|RENEW|REBIND|REBOOT) ip address replace "$new_ip_address/24" dev "$interface" ;;
esac
echo "$reason ip=$new_ip_address router=$new_routers dns=$new_domain_name_servers domain=$new_domain_name" >>"$NEWS"
"""


@pytest.mark.skipif(not shutil.which("dhclient"), reason="needs dhclient (Debian: isc-dhcp-client)")
def test_dhclient_takes_renews_and_releases(host: RouterHost) -> None:
    lab, guest = host.lab, host.guest("a")
    serve(host)
    lab.path("conf").write_text("supersede dhcp-renewal-time 1;\n")
    lab.path("leases").touch()
    files = {"-cf": "conf", "-lf": "leases", "-pf": "pid"}
    words = [word for option, name in files.items() for word in (option, str(lab.path(name)))]
    words += ["-sf", str(script(lab, "hook.sh", DHCLIENT)), "-e", f"NEWS={lab.path('news')}", guest.name]
    running = lab.start("dhclient", "-4", "-d", *words, netns=guest.netns)
    bound = wait_for(lambda: news_of(lab.path("news"), "BOUND", 1), LIMIT_S, f"a lease: {running.text()}")
    assert bound == f"BOUND ip={FIRST} router={GATEWAY} dns={GATEWAY} domain=lab.example"
    wait_for(lambda: news_of(lab.path("news"), "RENEW", 1), LIMIT_S, "the renewal")
    running.stop()
    lab.run("dhclient", "-4", "-r", *words, netns=guest.netns)
    wait_for(lambda: states(host) == {FIRST: "expired"}, LIMIT_S, "the release")


def test_the_kernel_configures_itself(host: RouterHost) -> None:
    guest = host.station("a", "fe80::a/64")
    host.network("br0", f"{GATEWAY}/24", "fd00:5::1/64", ra={"mtu": 1400})
    host.start()
    address = ("-6", "address", "show", guest.name)
    wait_for(lambda: "inet6 fd00:5::" in host.lab.ip(*address, netns=guest.netns), LIMIT_S, "an address of the prefix")
    routes = host.lab.ip("-6", "route", netns=guest.netns)
    assert "default via fe80::" in routes and "mtu 1400" in routes
    assert host.lab.ping("fd00:5::1", netns=guest.netns)


def test_names_of_leases_and_of_the_world(host: RouterHost) -> None:
    """The resolver that is asked is in a namespace beside the daemon's own, and busybox asks as a guest would."""
    lab, guest = host.lab, host.guest("a")
    beside = lab.namespace("r")
    near, far = lab.veth("rn", "rf", near_netns=host.netns, far_netns=beside)
    lab.address(near, "192.0.2.1/24", netns=host.netns)
    lab.address(far, "192.0.2.53/24", netns=beside)
    with upstream(beside, "192.0.2.53") as port:
        serve(host, dns={"servers": ["192.0.2.53"], "port": port})
        client(host, guest, "-x", "hostname:web").heard("bound")
        assert ask(guest.netns, GATEWAY, "web.lab.example") == (0, bytes((10, 0, 0, 100)))
        assert ask(guest.netns, GATEWAY, "printer") == (0, bytes((10, 0, 0, 50)))
        assert ask(guest.netns, GATEWAY, "nobody.lab.example")[0] == 3
        assert ask(guest.netns, GATEWAY, "www.example.org") == (0, bytes((192, 0, 2, 7)))
        said = lab.run("busybox", "nslookup", "web.lab.example", GATEWAY, netns=guest.netns).stdout
        assert f"Address: {FIRST}" in said


def test_services_are_for_the_network_alone(host: RouterHost) -> None:
    """From outside, and from another network, nobody asks the resolver or the server of leases."""
    world = host.uplink("w", "203.0.113.2/24", "203.0.113.254/24")
    guest = host.station("a", "10.0.0.2/24", gateway=GATEWAY)
    serve(host, mode="nat")
    with datagram(guest.netns) as sock:
        sock.sendto(b"not a question", (GATEWAY, 53))
    for address in ("203.0.113.2", GATEWAY):
        with datagram(world.netns) as sock:
            host.lab.ip("route", "replace", "10.0.0.0/24", "via", "203.0.113.2", netns=world.netns)
            sock.connect((address, 53))
            sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1")
            with pytest.raises((ConnectionRefusedError, TimeoutError)):
                sock.settimeout(0.5)
                sock.recv(512)
