"""Kernel against kernel: two namespaces agree on everything, so that where another router differs, it is the router."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import require_root
from tests.oracle import topology
from tests.oracle.build import UDP, Envelope, ethernet, packets, udp
from tests.oracle.compare import case, compare
from tests.oracle.features import missing
from tests.oracle.kernel import KernelSubject
from tests.oracle.subject import Tuple
from tests.oracle.wire import ETHERNET_BYTES, parse

SEEDS = range(20)
MASQUERADE = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o b -j MASQUERADE\nCOMMIT\n"
NOTHING = "*filter\nCOMMIT\n"


@pytest.fixture(scope="module")
def kernels() -> Iterator[tuple[KernelSubject, KernelSubject]]:
    require_root()
    with KernelSubject("one") as one, KernelSubject("two") as two:
        yield one, two


def test_this_kernel_knows_all_words_in_scope(kernels: tuple[KernelSubject, KernelSubject]) -> None:
    assert missing(kernels[0]) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_two_kernels_agree(kernels: tuple[KernelSubject, KernelSubject], seed: int) -> None:
    differences = compare(*kernels, seed)
    assert not differences, f"seed {seed}:\n" + "\n".join(differences)


def test_a_kernel_translates_and_remembers(kernels: tuple[KernelSubject, KernelSubject]) -> None:
    kernel = kernels[0]
    kernel.reset()
    kernel.load(MASQUERADE, NOTHING)
    guest, host = topology.packed("a", 4, 2), topology.packed("b", 4, 3)
    packet = packets(guest, host, UDP, udp((guest, 1024, host, 53), b"hello"), Envelope())[0]
    [(port, frame)] = kernel.send("a", ethernet(topology.mac("a", 1), topology.mac("a", 2), 4, packet))
    router = topology.packed("b", 4, 1)
    assert port == "b" and frame[:ETHERNET_BYTES] == topology.mac("b", 3) + topology.mac("b", 1) + b"\x08\0"
    assert parse(frame).tuple == Tuple(UDP, router, 1024, host, 53)
    [entry] = kernel.conntrack()
    assert (entry.original, entry.reply) == (Tuple(UDP, guest, 1024, host, 53), Tuple(UDP, host, 53, router, 1024))
    assert entry.flags == frozenset() and entry.zones == (0, 0) and entry.icmp is None
    assert "[1:33] -A POSTROUTING -o b -j MASQUERADE" in kernel.counters()[4]


def test_a_reset_kernel_remembers_nothing(kernels: tuple[KernelSubject, KernelSubject]) -> None:
    compare(*kernels, 0)
    assert kernels[0].conntrack()
    kernels[0].reset()
    assert not kernels[0].conntrack()


def test_a_seed_is_a_case() -> None:
    assert case(7) == case(7) != case(8)
    assert len(case(7, 30).steps) == 30
