"""Build the fast path: every .pyx below vswitch/_fastpath becomes an extension.

Everything else about the package is in pyproject.toml. Four environment variables choose what is built:

VSWITCH_PROBE=1                     also the test doors (_probe*.pyx), which a wheel never carries
VSWITCH_SANITIZE=address,undefined  instrumented and hardly optimised: ``make asan`` builds it beside the tree
VSWITCH_PURE=1                      no extension: for the editable install of a tree where make builds them in place
VSWITCH_JOBS=N                      compilers at once (default: the processors this process may use)

Each kind has a build directory of its own, so that nothing of one slips into another.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FASTPATH = Path("vswitch/_fastpath")

# The checks are switched off because lengths are checked once, at the border; cdivision because Python's division
# takes the GIL to raise.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "nonecheck": False,
}

# Cython emits a copy of every cimported inline into every unit, most of them unused there, and its own loop limits are
# signed whatever they are compared with.
WARNINGS = ["-Wall", *map("-Wno-{}".format, ("unused-function", "unused-variable", "unused-but-set-variable", "sign-compare"))]


def macros() -> list[tuple[str, str]]:
    """Stages are inlines in .pxd files: only always_inline makes the way of a plain frame one function.

    Instrumented, that one function would keep the compiler busy for minutes."""
    inline = "__inline__" if os.environ.get("VSWITCH_SANITIZE") else "__inline__ __attribute__((always_inline))"
    return [("CYTHON_INLINE", inline)]


def compile_flags() -> list[str]:
    """The code generation flags of this build."""
    if sanitizers := os.environ.get("VSWITCH_SANITIZE"):
        return ["-O1", "-g", "-fno-omit-frame-pointer", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined"]
    flags = ["-O3", "-fno-plt"]
    if platform.machine() == "x86_64":
        flags.append("-march=x86-64-v2")
    return flags


def link_flags() -> list[str]:
    """Link flags: the sanitizers' run-time, when they are wanted."""
    sanitizers = os.environ.get("VSWITCH_SANITIZE")
    return [f"-fsanitize={sanitizers}"] if sanitizers else []


def extension(source: Path) -> Extension:
    """The extension module of one .pyx file."""
    return Extension(
        ".".join(source.with_suffix("").parts),
        [str(source)],
        include_dirs=[str(FASTPATH / "core")],
        define_macros=macros(),
        extra_compile_args=WARNINGS + compile_flags(),
        extra_link_args=link_flags(),
        # A changed .pxd makes Cython write its users' .c anew; headers and this file it does not see.
        depends=["setup.py", *map(str, sorted(FASTPATH.rglob("*.h")))],
    )


def with_probes() -> bool:
    """Whether the test doors are wanted."""
    return os.environ.get("VSWITCH_PROBE") == "1"


def sources() -> list[Path]:
    """Every .pyx to build, the test doors only when asked for."""
    if os.environ.get("VSWITCH_PURE") == "1":
        return []
    return [path for path in sorted(FASTPATH.rglob("*.pyx")) if with_probes() or not path.name.startswith("_probe")]


def build_base() -> str:
    """The directory of this kind of build."""
    if os.environ.get("VSWITCH_SANITIZE"):
        return "build/asan"
    return "build/probe" if with_probes() else "build/release"


def jobs() -> int:
    """How many compilers run at once."""
    return int(os.environ.get("VSWITCH_JOBS", 0)) or len(os.sched_getaffinity(0))


setup(
    ext_modules=cythonize([extension(path) for path in sources()], compiler_directives=DIRECTIVES),
    options={"build": {"build_base": build_base()}, "build_ext": {"parallel": jobs()}},
)
