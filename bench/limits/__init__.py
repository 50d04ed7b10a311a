"""Small C programs: the lower bounds (relays that only copy) and the load.

Built on demand into bench/build, again only when the source is newer.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bench.shell import run
from bench.world import ROOT

SOURCES = Path(__file__).parent
BUILD = ROOT / "bench" / "build"


@cache
def program(name: str) -> Path:
    """Path of the built program; compiles NAME.c where needed, BenchError if that fails."""
    source, built = SOURCES / f"{name}.c", BUILD / name
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        run("cc", "-O2", "-Wall", "-Wextra", "-o", str(built), str(source))
    return built
