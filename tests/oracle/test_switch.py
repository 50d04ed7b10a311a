"""The switch against the kernel: rule sets at random, each with its packets. `python -m tests.oracle` is the long run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import pytest

from tests.lab import require_root
from tests.oracle.compare import compare
from tests.oracle.kernel import TOOLS, KernelSubject
from tests.oracle.subject import Subject
from tests.oracle.switch import SwitchSubject

SEEDS = range(100)
ANY_SEEDS = 20  # others with each run, so that time widens what has been seen


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


def test_so_it_does_by_rules_that_nobody_has_seen_before(kernel: KernelSubject, switch: SwitchSubject) -> None:
    first = random.SystemRandom().randrange(10**6, 10**9)
    print(f"seeds {first} to {first + ANY_SEEDS - 1}")
    for seed in range(first, first + ANY_SEEDS):
        agree(kernel, switch, seed)
