"""Real virtual machines for tests: Debian's cloud kernel, busybox, and QEMU without any need of KVM.

    kernel = debian_kernel()
    image = make_initramfs(kernel, lab.path("initrd.gz"))
    vm = VirtualMachine(lab, kernel, image, nic="vnet0", mac="52:54:00:00:00:01")
    vm.wait_for_boot()
    vm.run("ip address add 10.0.0.2/24 dev eth0")

The kernel and its modules come from a Debian package, fetched once and kept in .make/qemu. The machine's init becomes a
shell whose script is the second serial port, so a test commands the machine without a network, and goes on doing so
after a live migration. The first serial port is the console, kept in a file for who looks into a failure.

The machine opens a tap that exists, by its name, with the options of docs/qemu.md. It ends, at the latest, with its lab.
A machine belongs to one thread.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, wait_for

CACHE = Path(__file__).resolve().parents[2] / ".make" / "qemu"
META_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX = Path("/bin/busybox")
QEMU = "qemu-system-x86_64"

# In the order in which the one needs the other.
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
    "failover", "net_failover", "virtio_net",
)  # fmt: skip

BOOT_LIMIT_S = 60.0
COMMAND_LIMIT_S = 20.0
MIGRATION_LIMIT_S = 60.0
FETCH_LIMIT_S = 120.0

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
for module in /modules/*.ko; do insmod $module; done
ip link set lo up
ip link set eth0 up
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1
printf '\\n@ 0\\n'
exec sh /dev/ttyS1
"""

ANSWERED = "{}\nprintf '\\n@ %d\\n' $?\n"
_ANSWER_END = re.compile(rb"\n@ (\d+)\n\Z")


def debian_kernel() -> Path:
    """A directory with `vmlinuz` and the modules of a virtio network card, named in the order to load them.

    They are Debian's, fetched on first use; the calling test is skipped where they can be had from nowhere.
    """
    if not CACHE.exists():
        CACHE.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent, prefix="qemu-") as work:
            _fetch_kernel(Path(work)).rename(CACHE)  # whole or not at all: an interrupted fetch leaves no half
    return CACHE


def _fetch_kernel(work: Path) -> Path:
    subprocess.run(["dpkg", "-x", _download(work), work / "package"], check=True)
    kernel = work / "kernel"
    kernel.mkdir()
    shutil.copy(next(work.glob("package/boot/vmlinuz-*")), kernel / "vmlinuz")
    for number, name in enumerate(MODULES):
        shutil.copy(next(work.glob(f"package/lib/modules/*/kernel/**/{name}.ko")), kernel / f"{number:02}-{name}.ko")
    return kernel


def _download(where: Path) -> Path:
    """The package with the kernel that the meta package depends on now. Skips the test when there is none."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get to fetch a guest's kernel with")
    depends = _apt("apt-cache", "depends", META_PACKAGE)
    found = re.search(r"Depends: (\S+)", depends)
    if found is None:
        pytest.skip(f"apt knows no {META_PACKAGE}; apt-get update?")
    _apt("apt-get", "download", found[1], cwd=where)
    return next(where.glob("*.deb"))


def _apt(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=FETCH_LIMIT_S)
    if done.returncode:
        pytest.skip(f"cannot fetch a guest's kernel: {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def make_initramfs(kernel: Path, path: Path) -> Path:
    """Write a compressed initramfs of busybox, the kernel's modules and the init script; returns `path`."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name in ("bin", "dev", "proc", "sys", "tmp", "modules"):
            root.joinpath(name).mkdir()
        shutil.copy(BUSYBOX, root / "bin/busybox")
        for module in kernel.glob("*.ko"):
            shutil.copy(module, root / "modules")
        root.joinpath("init").write_text(INIT)
        root.joinpath("init").chmod(0o755)
        names = "\n".join(str(entry.relative_to(root)) for entry in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
        )
    path.write_bytes(gzip.compress(archive.stdout, compresslevel=1))
    return path


class VirtualMachine:
    """A running machine with one virtio network card on the tap `nic`.

    With `incoming` it waits for another machine's state at that migration URI instead of booting. The tap is in
    `netns`.
    """

    def __init__(
        self,
        lab: Lab,
        kernel: Path,
        image: Path,
        *,
        nic: str,
        mac: str,
        incoming: str | None = None,
        netns: str | None = None,
    ) -> None:
        self.nic = nic
        self._console = lab.path(f"{nic}.console")
        agent, monitor = lab.path(f"{nic}.agent"), lab.path(f"{nic}.qmp")
        waits = ["-incoming", incoming] if incoming else []
        self.process = lab.start(QEMU, *_machine(kernel, image), *_network_card(nic, mac), *waits, *[
            "-serial", f"file:{self._console}",
            "-serial", f"unix:{agent},server=on,wait=off",
            "-qmp", f"unix:{monitor},server=on,wait=off",
        ], netns=netns)  # fmt: skip
        self._agent = self._connect(lab, agent)
        self._monitor = self._connect(lab, monitor)
        self._monitor_lines = self._monitor.makefile("rb")
        self._monitor_lines.readline()  # its greeting
        self.qmp("qmp_capabilities")

    def wait_for_boot(self) -> None:
        """Wait until the machine's init listens; not for a machine that was migrated here."""
        self._answer(BOOT_LIMIT_S, "boot")

    def run(self, command: str, *, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Run a line of shell in the machine and return what it prints; the test fails with it if it fails."""
        self._agent.sendall(ANSWERED.format(command).encode())
        output, status = self._answer(limit_s, command)
        assert status == 0, f"{command} in the machine: exit {status}\n{output}"
        return output

    def _answer(self, limit_s: float, command: str) -> tuple[str, int]:
        """What a command printed, and its exit status."""
        self._agent.settimeout(limit_s)
        answer = b""
        while (end := _ANSWER_END.search(answer)) is None:
            try:
                received = self._agent.recv(65536)
            except TimeoutError:
                pytest.fail(f"{command}: no end within {limit_s:g} s:\n{answer.decode()}\n{self.logs()}")
            assert received, f"{command}: the machine is gone:\n{self.logs()}"
            answer += received
        return answer[: end.start()].decode(), int(end[1])

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Give QEMU a command by its machine protocol and return the answer; events in between are passed over."""
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while line := self._monitor_lines.readline():
            message = json.loads(line)
            if "return" in message:
                return message["return"]
            assert "error" not in message, f"{command}: {message['error']['desc']}"
        pytest.fail(f"QEMU ended during {command}:\n{self.logs()}")

    def migrate(self, uri: str) -> None:
        """Move the machine, running, to the one that waits at `uri`; returns when that one has taken over."""
        self.qmp("migrate", uri=uri)
        status = wait_for(self._migration_end, MIGRATION_LIMIT_S, "the migration")
        assert status == "completed", self.logs()

    def _migration_end(self) -> str | None:
        status = self.qmp("query-migrate").get("status")
        return status if status in ("completed", "failed") else None

    def stop(self) -> None:
        """Pull the machine's plug."""
        self.process.stop()

    def logs(self) -> str:
        """What QEMU and the machine's console have said."""
        console = self._console.read_text(errors="replace") if self._console.exists() else ""
        return self.process.text() + console

    def _connect(self, lab: Lab, path: Path) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        lab.on_close(peer.close)
        peer.settimeout(COMMAND_LIMIT_S)
        wait_for(lambda: self._is_reached(peer, path), COMMAND_LIMIT_S, f"QEMU to listen on {path.name}")
        return peer

    def _is_reached(self, peer: socket.socket, path: Path) -> bool:
        assert self.process.alive(), self.logs()
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            peer.connect(str(path))
            return True
        return False


def _machine(kernel: Path, image: Path) -> Sequence[str]:
    return [
        "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
        "-kernel", str(kernel / "vmlinuz"), "-initrd", str(image), "-append", "console=ttyS0 quiet panic=-1",
    ]  # fmt: skip


def _network_card(tap: str, mac: str) -> Sequence[str]:
    return [
        "-netdev", f"tap,id=net0,ifname={tap},script=no,downscript=no,vhost=off",
        "-device", f"virtio-net-pci,netdev=net0,mac={mac}",
    ]  # fmt: skip
