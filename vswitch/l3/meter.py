"""How often somebody may ask: token buckets by key, so that one client's haste is not another's wait.

A bucket holds `burst` tokens and fills at `rate` a second; a request takes one. At most `keys` buckets are kept: the
one that was made first goes for a new one, which costs nothing to whoever asks seldom. Belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Hashable


class Meter:
    """Buckets, full at first."""

    def __init__(self, rate: float, burst: float, keys: int = 4096) -> None:
        self._rate, self._burst, self._keys = rate, burst, keys
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # tokens, and when

    def allow(self, key: Hashable, now: float) -> bool:
        """Take a token, if there is one."""
        tokens, then = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - then) * self._rate)
        if key not in self._buckets and len(self._buckets) >= self._keys:
            del self._buckets[next(iter(self._buckets))]
        allowed = tokens >= 1
        self._buckets[key] = (tokens - allowed, now)
        return allowed
