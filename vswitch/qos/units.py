"""Numbers, rates, sizes and times as tc reads and prints them.

Rates are bytes a second, sizes bytes, times microseconds. A rate's suffix is decimal or, with an i, binary; "bit"
counts bits and "Bps" bytes, so kbps are kilobytes. A size's suffixes are all binary. Bursts travel to the kernel as the
time that they take at their rate, in ticks of 64 ns, cut to whole microseconds on the way: 1,600 bytes at 2 Gbit/s come
back as 1,250. Who compares our output with tc's sees the same bytes, so that arithmetic is kept, truncation by
truncation. What cannot be read raises ValueError without words; whoever asked knows which option it was.
"""

from __future__ import annotations

import re

TICK_NS = 64
TICKS_IN_US = 15.625
US = 1_000_000
HZ = 1_000_000_000  # the kernel's high resolution timers, as /proc/net/psched has them
TOP32, TOP64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

_RATES = {
    "": 1, "bit": 1, "kibit": 1024, "kbit": 1000, "mibit": 1024**2, "mbit": 1000**2, "gibit": 1024**3, "gbit": 1000**3,
    "tibit": 1024**4, "tbit": 1000**4, "bps": 8, "kibps": 8 * 1024, "kbps": 8000, "mibps": 8 * 1024**2,
    "mbps": 8 * 1000**2, "gibps": 8 * 1024**3, "gbps": 8 * 1000**3, "tibps": 8 * 1024**4, "tbps": 8 * 1000**4,
}  # fmt: skip
_SIZES = {
    "": 1, "b": 1, "k": 1024, "kb": 1024, "m": 1024**2, "mb": 1024**2, "g": 1024**3, "gb": 1024**3,
    "kbit": 128, "mbit": 1024**2 // 8, "gbit": 1024**3 // 8,
}  # fmt: skip
_TIMES = {
    "": 1, "s": US, "sec": US, "secs": US, "ms": 1000, "msec": 1000, "msecs": 1000, "us": 1, "usec": 1, "usecs": 1
}  # fmt: skip

_FLOAT = re.compile(r"\s*(\+?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_DIGITS = {10: "[0-9]", 16: "[0-9a-fA-F]", 8: "[0-7]"}


# Reading


def leading(text: str, base: int) -> tuple[int, str]:
    """The number that a text begins with, and what is behind it, as C's strtoul has it (base 0: by its prefix)."""
    sign, rest = re.fullmatch(r"\s*([+-]?)(.*)", text, re.DOTALL).groups()
    if base in (0, 16) and re.match(r"0[xX][0-9a-fA-F]", rest):
        base, rest = 16, rest[2:]
    elif base == 0:
        base = 8 if rest.startswith("0") else 10
    digits = re.match(_DIGITS[base] + "*", rest)[0]
    if not digits:
        raise ValueError
    value = int(digits, base)
    return -value if sign == "-" else value, rest[len(digits) :]


def whole(text: str, base: int = 0, top: int = TOP32, low: int = 0) -> int:
    """A number from `low` to `top` and nothing else."""
    value, rest = leading(text, base)
    if rest or not low <= value <= top:
        raise ValueError
    return value


def decimal(text: str) -> int:
    return whole(text, 10)


def short(text: str) -> int:
    return whole(text, 10, 0xFFFF)


def signed(text: str) -> int:
    return whole(text, 0, 0x7FFFFFFF, -0x80000000)


def _scaled(text: str, scales: dict[str, int], top: int, divisor: int = 1) -> int:
    match = _FLOAT.fullmatch(text)
    scale = scales.get(match[2].lower()) if match else None
    if match is None or scale is None:
        raise ValueError
    value = float(match[1]) * scale / divisor
    if value > top:
        raise ValueError
    return int(value)


def rate(text: str) -> int:
    return _scaled(text, _RATES, TOP64, 8)


def size(text: str) -> int:
    return _scaled(text, _SIZES, TOP32)


def size_and_cell(text: str) -> int:
    """A size; the cell of rate tables may follow a slash, which no kernel has used for long."""
    bytes_, slash, cell = text.partition("/")
    if slash and whole(cell, 0, 0x7FFFFFFF).bit_count() != 1:
        raise ValueError
    return size(bytes_)


def time(text: str) -> int:
    return _scaled(text, _TIMES, TOP32)


# Bursts


def burst_ticks(rate: int, size: int) -> int:
    """The time that a burst takes. Raises ValueError where the kernel's 32 bits do not hold it."""
    ticks = int(int(US * (size / rate)) * TICKS_IN_US)
    if ticks > TOP32:
        raise ValueError
    return ticks


def ticks_time(ticks: int) -> int:
    return int(ticks / TICKS_IN_US)


def burst_size(rate: int, ticks: int) -> int:
    return int(float(rate) * ticks_time(ticks) / US)


def wire_ns(rate: int, size: int, overhead: int, mpu: int) -> int:
    """What the kernel takes a packet of that size to last, with its rounding: a multiplication and a shift."""
    factor, shift = 10**9, 0
    while not (factor // rate) & (1 << 31) and not factor & (1 << 63):
        factor, shift = factor << 1, shift + 1
    return max(size + overhead, mpu) * (factor // rate) >> shift


# Printing


def rate_text(rate: int) -> str:
    bits, unit = rate * 8, 0
    while unit < 4 and bits >= 1000 and (bits % 1000 == 0 or bits >= 1_000_000):
        bits, unit = bits // 1000, unit + 1
    return f"{bits}{('', 'K', 'M', 'G', 'T')[unit]}bit"


def size_text(size: int) -> str:
    for scale, slack, letter in ((1024**2, 1024, "Mb"), (1024, 16, "Kb")):
        if size >= scale and abs(scale * round(size / scale) - size) < slack:
            return f"{round(size / scale):g}{letter}"
    return f"{size}b"


def time_text(us: int) -> str:
    if us >= US:
        return f"{us / US:.3g}s"
    return f"{us / 1000:.3g}ms" if us >= 1000 else f"{us}us"
