"""The switch against the kernel: some rule sets, each with its packets. `python -m tests.oracle` is the long run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.lab import require_root
from tests.oracle.compare import compare
from tests.oracle.kernel import TOOLS, KernelSubject
from tests.oracle.subject import Subject
from tests.oracle.switch import SwitchSubject

# The long run's finds come last: answers that are refused in turn, half-open connections, ICMP without an identifier,
# zones, ports taken over.
SEEDS = (*range(80), 100, 367, 546, 557, 578, 606, 609, 794, 827, 856, 906, 921, 1028, 1416, 2129, 5433)


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelSubject]:
    require_root()
    for tool in TOOLS.values():
        if shutil.which(f"{tool}-restore") is None:
            pytest.skip(f"{tool} is not installed")
    with KernelSubject() as subject:
        yield subject


@pytest.fixture(scope="module", params=[False, True], ids=["uplinks", "network"])
def switch(request: pytest.FixtureRequest) -> Iterator[SwitchSubject]:
    with SwitchSubject(network=request.param) as subject:
        yield subject


def agree(kernel: Subject, switch: Subject, seed: int) -> None:
    differences = compare(kernel, switch, seed)
    assert not differences, f"seed {seed}:\n" + "\n".join(differences)


def test_the_switch_does_what_the_kernel_does(kernel: KernelSubject, switch: SwitchSubject) -> None:
    for seed in SEEDS:
        agree(kernel, switch, seed)
