"""No frame waits for the interpreter: the generated worker takes no GIL between receive and transmit."""

import re
import threading
import time
from pathlib import Path

import pytest

from vswitch._fastpath.worker import Shared, Worker

FASTPATH = Path(__file__).parents[2] / "vswitch/_fastpath"
#: The units that frames pass through: the worker, and the IP stages that it calls.
SOURCES = FASTPATH / "worker.c", FASTPATH / "stages.c"
#: What Cython writes where nogil code wants the interpreter: taking the GIL, or reporting an error that it cannot raise.
FORBIDDEN = re.compile(r"PyGILState_Ensure|PyEval_RestoreThread|Py_BLOCK_THREADS|__Pyx_PyGILState|WriteUnraisable"
                       r"|__Pyx_AddTraceback|PyErr_|PyObject|Py_INCREF|Py_DECREF")


def functions(source: str) -> dict[str, str]:
    """The bodies of all C functions of vswitch's own, by name."""
    pattern = re.compile(r"^static [^\n;]*?(__pyx_f_7vswitch_\w+)\([^;]*?\) \{\n(.*?)^\}", re.M | re.S)
    return {match[1]: match[2] for match in pattern.finditer(source)}


def reachable(bodies: dict[str, str], root: str) -> set[str]:
    """Every function that `root` calls, directly or not."""
    seen, todo = set(), [root]
    while todo:
        name = todo.pop()
        if name not in seen and name in bodies:
            seen.add(name)
            todo += re.findall(r"__pyx_f_7vswitch_\w+", bodies[name])
    return seen


@pytest.fixture(scope="module")
def bodies() -> dict[str, str]:
    return {name: body for source in SOURCES for name, body in functions(source.read_text()).items()}


def test_the_loop_takes_no_gil(bodies):
    root = next(name for name in bodies if name.endswith("_6worker_work"))
    way = reachable(bodies, root)
    stages = {"parse", "ingress", "lookup", "forward", "transmit", "receive", "pipeline", "send_tap", "send_packet"}
    assert stages <= {name.rsplit("_", 1)[-1] if "send" not in name else "send_" + name.rsplit("_", 1)[-1]
                      for name in way}, "the search must see the whole way"
    guilty = {name: found[0] for name in way if (found := FORBIDDEN.search(bodies[name]))}
    assert not guilty


def rare_functions() -> list[tuple[Path, str]]:
    """What the worker calls in units of their own: declared in a .pxd without a body, defined in the .pyx beside it."""
    declared = re.compile(r"^cdef [^\n=]*?(\w+)\((?:[^()]|\n)*\) noexcept nogil$", re.M)
    found = []
    for header in sorted(FASTPATH.rglob("*.pxd")):
        unit = header.with_suffix(".c")
        if unit.exists() and unit != SOURCES[0]:
            found += [(unit, name) for name in declared.findall(header.read_text())]
    return found


@pytest.mark.parametrize(("unit", "name"), rare_functions(), ids=lambda value: getattr(value, "stem", value))
def test_neither_does_what_it_calls_in_other_units(unit: Path, name: str):
    there = functions(unit.read_text())
    (root,) = [body for body in there if body.endswith(f"{unit.stem}_{name}")]
    guilty = {name: found[0] for name in reachable(there, root) if (found := FORBIDDEN.search(there[name]))}
    assert not guilty


def test_the_ip_stages_and_the_rare_half_are_found():
    assert {"ip_dissect", "ip_prerouting", "ip_route", "ip_forward"} <= {name for _, name in rare_functions()}
    assert {"router_tick", "serve_packet", "bind_connection", "refuse", "walk_way", "ct_confirm", "gather", "hold", "serve",
            "take_handed", "adopt_trees"} <= {
        name for _, name in rare_functions()
    }


def test_the_search_would_find_it(bodies):
    """The same search does find the interpreter in the unit's cold half."""
    assert FORBIDDEN.search(SOURCES[0].read_text())


def test_a_running_worker_leaves_the_interpreter_alone():
    """Python code runs while a worker is in its loop, and the worker's thread comes home when told to."""
    worker = Worker(0, Shared(), 0)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    limit = time.monotonic() + 5
    while not worker.stats()["started_ns"]:
        assert time.monotonic() < limit
    worker.stop()
    thread.join(5)
    assert not thread.is_alive()
