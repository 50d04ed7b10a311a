"""Running other programs: once, in the background, and waiting for what they bring about."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

WAIT_LIMIT_S = 15.0
POLL_S = 0.005


class BenchError(Exception):
    """A contender could not be set up, or a measurement did not come about."""


def run(*words: str, prefix: Sequence[str] = (), limit_s: float = 60.0) -> str:
    """Run a command and return its standard output.

    A single word is split at spaces: run("ip link set lo up"). `prefix` goes in front, such as
    what enters a namespace. Raises BenchError with the command and what it complained of.
    """
    command = [*prefix, *(words[0].split() if len(words) == 1 else words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except FileNotFoundError as error:
        raise BenchError(f"{command[len(prefix)]}: not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command)}: not done after {limit_s:g} s") from error
    if done.returncode:
        complaint = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise BenchError(f"{' '.join(command)}: exit {done.returncode}: {complaint[0]}")
    return done.stdout


def start(*words: str | Path, log: Path, prefix: Sequence[str] = (),
          environment: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen[bytes]:
    """Start a program in the background, its output in the file `log`.

    Its standard input stays open and silent: some programs take an end of file for the end.
    """
    command = [*prefix, *map(str, words)]
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **environment})
    except FileNotFoundError as error:
        raise BenchError(f"{command[0]}: not installed") from error


def stop(process: subprocess.Popen[bytes], limit_s: float = 5.0) -> None:
    """End a background program: politely, then not."""
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def wait_for(condition: Callable[[], object], what: str, *,
             process: subprocess.Popen[bytes] | None = None,
             limit_s: float = WAIT_LIMIT_S) -> None:
    """Return once `condition()` holds; BenchError after the limit, or when `process` has ended."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if process is not None and process.poll() is not None:
            raise BenchError(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {limit_s:g} s")
        time.sleep(POLL_S)
