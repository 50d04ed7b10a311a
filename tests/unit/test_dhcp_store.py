"""Leases that outlive the process, on disks as they are: damaged, full, gone."""

from __future__ import annotations

import logging
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.dhcp_client import Client, Clock, mac, server, states
from vswitch.l3.dhcp.lease import Lease
from vswitch.l3.dhcp.store import LeaseFile, MemoryStore
from vswitch.l3.settings import Reservation

FIRST = "10.0.0.100"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "br0.leases"


def lease(number: int, expires: float = 5.0) -> Lease:
    address = IPv4Address("10.0.0.0") + number
    return Lease(address=address, identity=mac(number), mac=mac(number), port="tap1", state="bound", expires=expires)


async def test_a_restart(path):
    clock = Clock()
    before = server(LeaseFile(path), clock)
    await Client(before, 1, hostname="web").lease()
    await Client(before, 2, client_id=b"\xfftwo").lease()
    gone = Client(before, 3)
    await gone.release(await gone.lease())
    declines = Client(before, 4)
    declined = await declines.lease()
    await declines.send("decline", requested_addr=declined, server_id="10.0.0.1")
    after = server(LeaseFile(path), clock)
    assert states(after) == states(before)
    assert str(after.leases.address_of("web")) == FIRST
    assert (await Client(after, 2, client_id=b"\xfftwo").renew("10.0.0.101")).kind == "ack"
    clock.now += 3601
    assert states(server(LeaseFile(path), clock)) == dict.fromkeys(states(before), "expired")


async def test_acknowledged_only_when_on_the_disk(path, monkeypatch):
    synced = []
    dhcp = server(LeaseFile(path))
    await Client(dhcp, 1).lease()  # which makes the file
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(path.stat().st_size))
    await Client(dhcp, 2).lease()
    assert synced[-1] == path.stat().st_size
    count = len(synced)
    await Client(dhcp, 2).renew("10.0.0.101")  # it has been promised no less already
    assert len(synced) == count


async def test_other_settings(path):
    """What the settings no longer give is forgotten, and a reservation is its MAC's."""
    before = server(LeaseFile(path))
    for number in (1, 2, 3):
        await Client(before, number, client_id=bytes((255, number))).lease()
    entries = (Reservation(mac=mac(2), address="10.0.0.101"), Reservation(mac=mac(3), address="10.0.0.50"))
    after = server(LeaseFile(path), range=("10.0.0.101", "10.0.0.110"), reservations=entries)
    assert states(after) == {"10.0.0.101": "bound"}
    assert (await Client(after, 2, client_id=b"\xff\x02").renew("10.0.0.101")).kind == "ack"
    assert (await Client(after, 3, client_id=b"\xff\x03").renew("10.0.0.102")).kind == "nak"


@pytest.mark.parametrize("damage", [
    b"\n{", b'{"address":"10.0.0.7"}\n', b"\xff\xfe\0\n", b"[]\n", b'{"address":"10.0.0.700"}', b"9" * 5000,
])
def test_damaged_lines(path, damage, caplog):
    store = LeaseFile(path)
    store.put(lease(1))
    store.put(lease(2))
    store.close()
    path.write_bytes(path.read_bytes() + damage)
    with caplog.at_level(logging.WARNING):
        assert set(map(str, LeaseFile(path).load())) == {"10.0.0.1", "10.0.0.2"}
    (record,) = caplog.records
    assert record.getMessage() == f"{path}: 1 damaged lines: their leases are forgotten"
    caplog.clear()
    assert len(LeaseFile(path).load()) == 2 and not caplog.records  # mended


def test_overtaken_lines_go(path):
    store = LeaseFile(path)
    for turn in range(3000):
        store.put(lease(1, float(turn)))
    store.close()
    assert path.read_bytes().count(b"\n") <= 1100
    assert LeaseFile(path).load()[IPv4Address("10.0.0.1")].expires == 2999.0
    assert path.read_bytes().count(b"\n") == 1
    assert os.listdir(path.parent) == [path.name]


def test_a_directory_in_its_place(path, caplog):
    path.mkdir(parents=True)
    store = LeaseFile(path)
    assert store.load() == {}
    store.put(lease(1))
    store.put(lease(2))
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "Is a directory" in caplog.text and len(MemoryStore.load(store)) == 2


async def test_a_full_disk_costs_memory_not_service(path, monkeypatch, caplog):
    store = LeaseFile(path)
    dhcp = server(store)
    await Client(dhcp, 1).lease()
    write = os.write

    def full(fd, data):
        write(fd, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for number in (2, 3):
        await Client(dhcp, number).lease()
    assert len(caplog.records) == 1 and "No space left on device: a restart would forget leases" in caplog.text
    monkeypatch.setattr(os, "write", write)
    await Client(dhcp, 4).lease()
    assert len(LeaseFile(path).load()) == 4


async def test_the_disk_fails_at_commit(path, monkeypatch, caplog):
    store = LeaseFile(path)
    store.put(lease(1))
    store.put(lease(2))

    def broken(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    await store.commit()
    assert "Input/output error" in caplog.text
