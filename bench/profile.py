"""`python -m bench.profile`: where the worker's time goes while TCP runs from tap to tap.

perf samples the busiest thread of vswitchd by the processor's clock (virtual machines rarely have
hardware counters) and prints its report; what it recorded is kept in bench/results/perf.data.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench import world
from bench.contenders.base import SERVER_ADDRESS
from bench.contenders.nat import VswitchNat
from bench.contenders.rules import VswitchRules
from bench.contenders.vswitch import Vswitch, VswitchNetdev
from bench.report import RESULTS
from bench.shell import run, stop

WARM_UP_S = 0.5
CONTENDERS = {"tap": Vswitch, "netdev": VswitchNetdev, "rules": VswitchRules, "nat": VswitchNat}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.profile", description="Profile the worker.")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--ports", choices=CONTENDERS, default="tap")
    options = parser.parse_args()
    if not world.is_inside():
        return world.enter("bench.profile", sys.argv[1:])
    world.furnish()
    switch = CONTENDERS[options.ports]()
    switch.setup()
    try:
        print(profile(switch, options.seconds))
    finally:
        switch.teardown()
    return 0


def profile(switch: Vswitch, seconds: int) -> str:
    """Record the worker under load for so many seconds; perf's report by symbol."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    data = RESULTS / "perf.data"
    with switch.turn():
        load = switch.client.start("iperf3", "--client", SERVER_ADDRESS,
                                   "--time", str(seconds + 5), log=switch.directory / "load.log")
        try:
            run("perf", "record", "--quiet", "--event", "cpu-clock", "--output", str(data),
                "--tid", str(_busiest_thread(switch.daemon.pid)),
                "--", "sleep", str(seconds))
        finally:
            stop(load)
    return run("perf", "report", "--stdio", "--input", str(data), "--sort", "dso,symbol",
               "--percent-limit", "0.5")


def _busiest_thread(pid: int) -> int:
    """The thread that uses most processor time during the warm-up: the worker."""
    before = _processor_times(pid)
    time.sleep(WARM_UP_S)
    after = _processor_times(pid)
    return max(after, key=lambda thread: after[thread] - before.get(thread, 0))


def _processor_times(pid: int) -> dict[int, int]:
    return {int(task.name): int((task / "schedstat").read_text().split()[0])
            for task in Path(f"/proc/{pid}/task").iterdir()}


if __name__ == "__main__":
    sys.exit(main())
