"""A sandbox for the benchmark: its own network, mounts and process ids.

The benchmark re-executes itself inside fresh Linux namespaces. Everything it makes there (guest
namespaces, bridges, taps, daemons, sockets below /run) ends with its first process, by the
kernel's own hand: after a normal end, Ctrl-C, SIGTERM or even SIGKILL nothing is left to clean.
Only `bench/build` and `bench/results` are written outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from bench.shell import run

INSIDE = "VSWITCH_BENCH_WORLD"
ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path("/run/bench")
"""Sockets, databases and logs of contenders; a tmpfs that ends with the world."""

ENTER = ["setpriv", "--pdeathsig", "KILL",
         "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def is_inside() -> bool:
    return INSIDE in os.environ


def enter(module: str, arguments: list[str]) -> int:
    """Run `python -m module arguments` in a new world; returns its exit code.

    A signal to this process ends the world at once; Ctrl-C reaches both by the terminal.
    """
    if os.geteuid() != 0:
        print(f"{module}: needs root, for network namespaces and taps", file=sys.stderr)
        return 1
    command = [*ENTER, sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, INSIDE: "1"})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: child.kill())
    code = child.wait()
    return code if code >= 0 else 128 - code


def furnish() -> None:
    """Inside: a private /run, and a loopback."""
    run("mount -t tmpfs tmpfs /run")
    SCRATCH.mkdir()
    run("ip link set lo up")
