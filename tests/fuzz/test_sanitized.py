"""The fast path under AddressSanitizer and UndefinedBehaviorSanitizer: random frames, and the tests that it has anyway.

The instrumented build lies beside the tree (setup.py, VSWITCH_SANITIZE) and is brought up to date first, which takes a
minute or two after a change. Whatever needs it runs in a process of its own with the sanitizers' libraries preloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "build/asan/lib"
FRAMES = int(os.environ.get("VSWITCH_FUZZ_FRAMES", 1_000_000))
LIMIT_S = 900
PRELUDE = f"""
import asyncio
from tests.switchboard import BROADCAST, Switchboard, ethernet, station
from vswitch._fastpath import _probe
board = asyncio.run(Switchboard.make({{"a": {{}}}}))
board.views["a"].memory.inject([ethernet(BROADCAST, station(1))] * 2)
worker = board.dataplane.workers.workers[0]
"""


def libraries() -> list[str]:
    """The sanitizers' run-time libraries; empty without a compiler that brings them."""
    if shutil.which("gcc") is None:
        return []
    found = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
             for name in ("libasan.so", "libubsan.so")]
    return found if all(map(os.path.isabs, found)) else []


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """What a process needs to use the instrumented build, which is up to date then."""
    preload = libraries()
    if not preload:
        pytest.skip("gcc with libasan and libubsan is not installed")
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(LIBRARY)]
    kind = {"VSWITCH_PROBE": "1", "VSWITCH_SANITIZE": "address,undefined"}
    result = subprocess.run(build, cwd=ROOT, env=os.environ | kind, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    environment = os.environ | {
        "LD_PRELOAD": ":".join(preload),
        "PYTHONMALLOC": "malloc",       # Python's own allocator would hide small overruns
        "PYTHONPATH": f"{LIBRARY}:{ROOT}",
        "PYTHONSAFEPATH": "1",          # not the tree's own build, which the working directory would bring
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    used = run(environment, "-c", "from vswitch._fastpath import _probe; print(_probe.__file__)")
    assert used.stdout.startswith(str(LIBRARY)), used.stderr
    return environment


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=LIMIT_S)


def test_a_million_random_frames(environment):
    result = run(environment, "tests/fuzz/driver.py", "--frames", str(FRAMES))
    assert result.returncode == 0, f"{result.stderr[:8000]}\n{result.stdout}"
    print(result.stderr, result.stdout)


@pytest.mark.parametrize("at", [60, 60 + 7, -13 - 7], ids=["one byte", "a few bytes", "before its header"])
def test_a_read_beyond_a_frame_would_be_found(environment, at):
    """The frames lie in mapped memory, in which a sanitizer sees bounds only because receive draws them."""
    result = run(environment, "-c", f"{PRELUDE}\n_probe.byte_at(worker, 0, {at})")
    assert result.returncode != 0
    assert "AddressSanitizer: use-after-poison" in result.stderr


@pytest.mark.parametrize("at", [0, 59, -12], ids=["first", "last", "virtio-net header"])
def test_a_read_within_a_frame_is_none_of_its_business(environment, at):
    result = run(environment, "-c", f"{PRELUDE}\n_probe.byte_at(worker, 0, {at})")
    assert result.returncode == 0, result.stderr


def test_the_fast_paths_own_tests(environment):
    result = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=",
                 "tests/fastpath", "tests/property/test_gso_segments.py", "tests/property/test_routes.py",
                 "tests/property/test_neighbour_model.py")
    assert result.returncode == 0, f"{result.stdout[-8000:]}\n{result.stderr[:8000]}"
