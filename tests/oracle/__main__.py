"""The long run: `python -m tests.oracle --rule-sets 1000`, as root.

Each rule set has a seed of its own, first, first + 1, ...; `--first N --rule-sets 1` runs one again, `--shrink` also
brings it down to a few packets and rules and prints those. Exit code 1 if anything differed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tests.oracle.compare import PACKETS, PACKETS_AT_MOST, Case, case, compare_case
from tests.oracle.deliberate import DIFFERENCES
from tests.oracle.features import missing
from tests.oracle.kernel import KernelSubject
from tests.oracle.shrink import shrunk
from tests.oracle.subject import Subject
from tests.oracle.switch import SwitchSubject

PROGRESS_EVERY = 50
# What the kernel can be compared with. Another kernel shows whether the comparison itself holds.
OTHERS: dict[str, Callable[[], contextlib.AbstractContextManager[Subject]]] = {
    "kernel": lambda: KernelSubject("other kernel"),
    "network": lambda: SwitchSubject("switch", network=True),
    "switch": SwitchSubject,
}


def main() -> int:
    """Run, and sum up."""
    arguments = _arguments()
    started = time.monotonic()
    with KernelSubject() as kernel, OTHERS[arguments.against]() as other:
        for word in missing(kernel):
            print(f"this kernel lacks {word}")
        wrong = [seed for seed in _seeds(arguments) if not _agree(kernel, other, seed, arguments)]
    took = time.monotonic() - started
    agreed = f"{arguments.rule_sets - len(wrong)} of {arguments.rule_sets} rule sets agree"
    print(f"{agreed}, {arguments.packets} packets each, in {took:.0f} s")
    print(f"deliberate differences: {', '.join(known.name for known in DIFFERENCES)}")
    if wrong:
        print(f"seeds that differ: {' '.join(map(str, wrong))}")
    return bool(wrong)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__.partition("\n")[0])
    parser.add_argument("--rule-sets", type=int, default=1000)
    parser.add_argument("--packets", type=int, default=PACKETS, help=f"in each, {PACKETS_AT_MOST} at most")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--against", choices=OTHERS, default=list(OTHERS)[-1], help="what the kernel is compared with")
    parser.add_argument("--shrink", action="store_true", help="bring what differs down to a small case")
    return parser.parse_args()


def _seeds(arguments: argparse.Namespace) -> Iterator[int]:
    for done in range(arguments.rule_sets):
        yield arguments.first + done
        if (done + 1) % PROGRESS_EVERY == 0:
            print(f"{done + 1} of {arguments.rule_sets} done", flush=True)


def _agree(kernel: Subject, other: Subject, seed: int, arguments: argparse.Namespace) -> bool:
    one = case(seed, arguments.packets)
    differences = compare_case(kernel, other, one)
    if differences and arguments.shrink:
        one = shrunk(one, lambda smaller: bool(compare_case(kernel, other, smaller)))
        differences = compare_case(kernel, other, one) or differences
        print(_rules(one))
    for difference in differences:
        print(f"seed {seed}: {difference}")
    return not differences


def _rules(small: Case) -> str:
    return "\n".join(line for text in (small.rules.ipv4, small.rules.ipv6) for line in text.splitlines()
                     if line[0] in "*-:" and " ACCEPT [0:0]" not in line)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
