"""Threads for calls that wait in the kernel.

Opening, changing and closing devices waits for the kernel's link lock and for its grace periods, 20 ms for one tap. The
waits overlap: a hundred taps closed by as many threads as here take a tenth of the time, so the pool is far larger than
the number of processors. Threads are made when wanted, and none computes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="ports")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread of the pool, and wait for what it returns or raises."""
    return await asyncio.get_running_loop().run_in_executor(_pool, lambda: work(*args, **kwargs))
