"""The control socket itself: when it appears, whom it lets in, and that no client can hold it."""

from __future__ import annotations

import asyncio
import gc
import grp
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from tests.fake_switch import FakeSwitch, served
from vswitch.api import dispatch, peers, server
from vswitch.api.peers import Peer, peer_of, refusal
from vswitch.api.server import ControlServer

LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
GET = b"GET /v1/show HTTP/1.1\r\nHost: vswitch\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlServer]:
    running = ControlServer(FakeSwitch(), tmp_path, "nosuchgroup")
    await running.start()
    yield running
    await running.stop()


async def ask(path: Path, request: bytes = GET) -> tuple[int, dict]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


async def test_it_answers_the_daemons_own_user(control: ControlServer) -> None:
    status, show = await ask(control.path)
    assert (status, show["pid"]) == (200, 4711)


async def test_the_file_is_for_owner_and_group(control: ControlServer) -> None:
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o660
    assert [entry.name for entry in control.path.parent.iterdir()] == ["control.sock"]


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "control.sock"))
    running = ControlServer(FakeSwitch(), tmp_path, "nosuchgroup")
    await running.start()
    assert (await ask(running.path))[0] == 200
    await running.stop()
    assert not list(tmp_path.iterdir())


async def test_stop_leaves_a_socket_that_is_not_its_own(control: ControlServer) -> None:
    control.path.unlink()
    control.path.touch()
    await control.stop()
    assert control.path.exists()


async def test_a_run_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    running = ControlServer(FakeSwitch(), tmp_path / "gone", "nosuchgroup")
    with pytest.raises(OSError, match=r"control socket .*/gone/control.sock: No such file or directory"):
        await running.start()
    await running.stop()


async def test_open_connections_do_not_delay_stop(control: ControlServer) -> None:
    idle = await asyncio.open_unix_connection(control.path)
    half = await asyncio.open_unix_connection(control.path)
    half[1].write(GET[:20])
    body = await asyncio.open_unix_connection(control.path)
    body[1].write(b"POST /v1/apply HTTP/1.1\r\nHost: v\r\nContent-Length: 100\r\n\r\n{")
    while len(control._runner.server.connections) < 3:
        await asyncio.sleep(0)
    await asyncio.wait_for(control.stop(), 1)
    for reader, writer in (idle, half, body):
        await asyncio.wait_for(reader.read(), 1)
        writer.close()


async def test_nothing_keeps_the_switch_alive_after_stop(tmp_path: Path) -> None:
    switch = FakeSwitch()
    running, remembered = ControlServer(switch, tmp_path, "nosuchgroup"), weakref.ref(switch)
    await running.start()
    assert (await ask(running.path))[0] == 200
    await running.stop()
    del running, switch
    gc.collect()
    assert remembered() is None


async def test_a_client_that_says_nothing_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.05)
    running = ControlServer(FakeSwitch(), tmp_path, "nosuchgroup")
    await running.start()
    reader, writer = await asyncio.open_unix_connection(running.path)
    writer.write(GET[:20])
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await running.stop()


async def test_a_body_that_does_not_come_is_given_up(control: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BODY_TIMEOUT_S", 0.05)
    status, body = await ask(control.path, b"POST /v1/apply HTTP/1.1\r\nHost: v\r\nContent-Length: 9\r\n\r\n{")
    assert (status, "did not arrive within" in body["error"]) == (408, True)


async def test_a_body_beyond_the_limit_is_refused(control: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    big = dispatch.MAX_BODY + 1
    reader, writer = await asyncio.open_unix_connection(control.path)
    writer.write(b"POST /v1/apply HTTP/1.1\r\nHost: v\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % big)
    writer.write(b" " * big)
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert b"413" in reply.split(b"\r\n")[0]
    assert b"a body has at most" in reply


async def test_connections_beyond_the_limit_are_told(control: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    first = await asyncio.open_unix_connection(control.path)
    while not control._runner.server.connections:
        await asyncio.sleep(0)
    status, body = await ask(control.path, b"")
    first[1].close()
    assert (status, body["error"]) == (503, "too many connections to the control socket; try again")


# Who is let in


def test_credentials_are_the_kernels() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        peer = peer_of(here)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert {os.getgid(), *os.getgroups()} == peer.groups


def test_groups_are_looked_up_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SO_PEERGROUPS", 0x7FFF)
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert os.getgid() in peer_of(here).groups
    assert peers._listed_groups(4_000_000_000, 5) == []


def test_only_root_the_daemon_and_the_group_are_let_in() -> None:
    group = grp.getgrall()[-1]
    stranger = Peer(1, 4_000_000_000, frozenset({4_000_000_000}))
    member = Peer(1, 4_000_000_000, frozenset({group.gr_gid}))
    assert refusal(Peer(1, 0, frozenset()), "nosuchgroup") is None
    assert refusal(Peer(1, os.geteuid(), frozenset()), "nosuchgroup") is None
    assert refusal(member, group.gr_name) is None
    assert f"right: root or a member of group '{group.gr_name}'" in str(refusal(stranger, group.gr_name))
    assert "group 'nosuchgroup' does not exist" in str(refusal(member, "nosuchgroup"))
    assert "does not exist" in str(refusal(stranger, "a\0b"))
    assert str(Peer(1, 0, frozenset())) == "user root (uid 0)"


STRANGER = """
import os, socket, sys
os.setgroups([int(g) for g in sys.argv[3:]]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX); sock.connect(sys.argv[1])
sock.sendall(b"GET /v1/show HTTP/1.1\\r\\nHost: v\\r\\nConnection: close\\r\\n\\r\\n")
print(b"".join(iter(lambda: sock.recv(65536), b"")).decode())
"""


def ask_as(path: Path, uid: int, *groups: int) -> str:
    command = [sys.executable, "-S", "-c", STRANGER, path, uid, *groups]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=20, check=False).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_needs_the_group(tmp_path: Path) -> None:
    group, nobody = grp.getgrgid(pwd.getpwnam("daemon").pw_gid), pwd.getpwnam("nobody").pw_uid
    run_dir = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        run_dir.chmod(0o755)
        with served(FakeSwitch(), run_dir, group.gr_name) as running:
            assert running.path.stat().st_gid == group.gr_gid
            assert ask_as(running.path, nobody, group.gr_gid).startswith("HTTP/1.1 200")
            assert ask_as(running.path, nobody) == ""  # the file's mode keeps it out
            running.path.chmod(0o666)
            refused = ask_as(running.path, nobody)
            assert refused.startswith("HTTP/1.1 403")
            assert f"right: root or a member of group '{group.gr_name}'" in refused
            running.use_group("nosuchgroup")
            assert running.path.stat().st_gid == os.getegid()
    finally:
        run_dir.rmdir()


def test_stop_is_quick_with_a_request_under_way(tmp_path: Path) -> None:
    class Stuck(FakeSwitch):
        async def apply(self, *args: object, **kwargs: object) -> list[str]:
            await asyncio.Event().wait()
            return []

    with served(Stuck(), tmp_path) as running:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(running.path))
        sock.sendall(b'POST /v1/bridges HTTP/1.1\r\nHost: v\r\nContent-Length: 14\r\n\r\n{"name":"br0"}')
        begun = time.monotonic()
    sock.close()
    assert time.monotonic() - begun < 5
